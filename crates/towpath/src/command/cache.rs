//! `towpath cache`: the caches of an app's jobs, listed and removed.

use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;
use towpath_api::Cache;

use super::table::{ago, size, table};
use super::{connect, print};
use crate::arguments::{CacheCommand, CacheLs, CacheRm};
use crate::settings::Settings;

/// Runs `towpath cache`.
pub(crate) async fn run(command: &CacheCommand, settings: &Settings) -> Result<ExitCode> {
    match command {
        CacheCommand::Ls(arguments) => list(arguments, settings).await,
        CacheCommand::Rm(arguments) => remove(arguments, settings).await,
    }
}

async fn list(arguments: &CacheLs, settings: &Settings) -> Result<ExitCode> {
    let app = connect::app(arguments.app.as_deref(), settings)?;
    let caches = connect::client(settings)?.caches(&app).await?;
    if arguments.json {
        return print(&format!("{}\n", serde_json::to_string(&caches)?));
    }
    let now = Timestamp::now();
    let rows = caches.iter().map(|one| {
        vec![
            one.name.clone(),
            one.scope.clone(),
            one.key.clone().unwrap_or_default(),
            one.files.to_string(),
            size(one.bytes),
            format!("{} by run {}", ago(one.made_at, now), one.run),
            ago(one.used_at, now),
        ]
    });
    let heads = ["cache", "of", "key", "files", "size", "left", "used"];
    print(&format!("{}\n", table(&heads, rows)))
}

async fn remove(arguments: &CacheRm, settings: &Settings) -> Result<ExitCode> {
    let app = connect::app(arguments.app.as_deref(), settings)?;
    let name = arguments.name.as_deref();
    let gone = connect::client(settings)?.remove_caches(&app, name).await?;
    if arguments.json {
        return print(&format!("{}\n", serde_json::to_string(&gone)?));
    }
    let bytes = gone.iter().map(|one: &Cache| one.bytes).sum();
    let count = gone.len();
    let caches = if count == 1 { "cache is" } else { "caches are" };
    print(&format!("{count} {caches} gone: {}\n", size(bytes)))
}
