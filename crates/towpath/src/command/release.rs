//! `towpath releases`: the releases of an app.

use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;
use towpath_api::Release;

use super::table::{ago, table};
use super::{connect, print};
use crate::arguments::Releases;
use crate::settings::Settings;

/// Lists them, newest first.
pub(crate) async fn run(arguments: &Releases, settings: &Settings) -> Result<ExitCode> {
    let app = connect::app(arguments.of.as_deref(), settings)?;
    let releases = connect::client(settings)?.releases(&app).await?;
    if arguments.json {
        return print(&format!("{}\n", serde_json::to_string(&releases)?));
    }
    let now = Timestamp::now();
    let columns = ["release", "commit", "made", "by", "stable in", "message"];
    let rows = releases.iter().map(|release| row(release, now));
    print(&format!("{}\n", table(&columns, rows)))
}

fn row(release: &Release, now: Timestamp) -> Vec<String> {
    let commit = release.commit.as_deref().unwrap_or_default();
    vec![
        release.number.to_string(),
        commit.chars().take(12).collect(),
        ago(release.created_at, now),
        release.created_by.clone(),
        release.stable_in.join(", "),
        release.message.clone().unwrap_or_default(),
    ]
}
