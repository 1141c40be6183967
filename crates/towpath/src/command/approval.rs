//! `towpath approvals`: what waits for people, of all apps. Not their answer, which is `towpath approve`.

use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;
use towpath_api::AwaitedApproval;

use super::table::{ago, table};
use super::{connect, print};
use crate::arguments::Approvals;
use crate::settings::Settings;

/// Lists what waits for who asks; for anybody when they say so.
pub(crate) async fn run(arguments: &Approvals, settings: &Settings) -> Result<ExitCode> {
    let mut waiting = connect::client(settings)?.approvals().await?;
    waiting.retain(|one| arguments.all || one.yours);
    if arguments.json {
        return print(&format!("{}\n", serde_json::to_string(&waiting)?));
    }
    if waiting.is_empty() {
        let whom = if arguments.all { "anybody" } else { "you" };
        return print(&format!("nothing waits for {whom}\n"));
    }
    let now = Timestamp::now();
    let columns = [
        "environment",
        "run",
        "release",
        "of",
        "commit",
        "by",
        "since",
        "approvals",
        "message",
        "",
    ];
    let rows = waiting.iter().map(|one| row(one, now));
    print(&format!("{}\n", table(&columns, rows)))
}

fn row(one: &AwaitedApproval, now: Timestamp) -> Vec<String> {
    let commit = one.commit.as_deref().unwrap_or_default();
    let of = if one.of.is_empty() {
        String::new()
    } else {
        format!(" of {}", one.of.join(" or "))
    };
    let reference = if one.hotfix {
        format!("hotfix, {}", one.reference)
    } else {
        one.reference.clone()
    };
    vec![
        format!("{}/{}", one.app, one.environment),
        one.run.to_string(),
        one.release.to_string(),
        reference,
        commit.chars().take(12).collect(),
        one.actor.clone(),
        ago(one.since, now),
        format!("{}/{}{of}", one.approvals.len(), one.wanted),
        one.message.lines().next().unwrap_or_default().to_owned(),
        one.because.clone().unwrap_or_default(),
    ]
}
