//! `towpath status` and `towpath deployments`: what runs, and what was brought out.

use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;
use towpath_api::{Behind, Deployment, Environment, Instance, Service, Traffic};

use super::table::{ago, table};
use super::{connect, print, traffic};
use crate::arguments::{Deployments, OnEnvironment};
use crate::settings::Settings;

/// Shows an environment.
pub(crate) async fn status(arguments: &OnEnvironment, settings: &Settings) -> Result<ExitCode> {
    let id = connect::choose(&arguments.choice, settings).await?;
    let environment = connect::client(settings)?.environment(&id).await?;
    if arguments.json {
        return print(&format!("{}\n", serde_json::to_string(&environment)?));
    }
    print(&describe(&environment, Timestamp::now()))
}

fn describe(environment: &Environment, now: Timestamp) -> String {
    let release = environment
        .stable
        .map_or_else(|| "none".to_owned(), |release| release.to_string());
    let mut text = format!("{}  stable release {release}\n", environment.id);
    if let Some(deployment) = &environment.deployment {
        let Deployment {
            number,
            release,
            state,
            ..
        } = deployment;
        text.push_str(&format!(
            "deployment {number} of release {release}: {}\n",
            state.words()
        ));
        if let Some(pause) = &deployment.pause {
            text.push_str(&format!("  {}\n", pause.detail));
        }
    }
    if let Some(hold) = &environment.hold {
        text.push_str(&format!("on hold: {}\n", hold.reason));
    }
    if let Some(preview) = &environment.preview {
        let of = match preview.pull_request {
            Some(number) => format!(" of pull request {number}"),
            None => String::new(),
        };
        let end = super::environment::end(preview);
        text.push_str(&format!("a preview{of} like {}: {end}\n", preview.like));
    }
    for behind in &environment.behind {
        text.push_str(&behind_words(behind));
    }
    if environment.destroying {
        text.push_str("it is being destroyed\n");
    }
    if environment.traffic != Traffic::Serving {
        text.push_str(&format!("{}\n", traffic::words(&environment.traffic)));
    }
    if !environment.router_answers {
        text.push_str("the router does not answer\n");
    }
    if let Some(fault) = &environment.engine_fault {
        text.push_str(&format!("nothing is known of what runs: {fault}\n"));
    }
    let services = environment.services.iter().map(service_row);
    text.push_str(&format!(
        "\n{}\n",
        table(&["service", "healthy", "traffic", ""], services)
    ));
    text.push_str(&format!("\n{}\n", instances(environment, now)));
    for route in environment.routes.iter().filter(|route| !route.internal) {
        text.push_str(&format!("\n{:<12} {}", route.service, route.url));
        if let Some(fault) = &route.fault {
            text.push_str(&format!("  NOT SERVED: {fault}"));
        }
    }
    text.push('\n');
    text
}

fn instances(environment: &Environment, now: Timestamp) -> String {
    let rows = environment.instances.iter();
    let titles = [
        "instance", "release", "phase", "health", "address", "since", "",
    ];
    table(&titles, rows.map(|one| instance_row(one, now)))
}

/// Says which hotfix an environment lacks.
fn behind_words(behind: &Behind) -> String {
    let commit: String = behind.commit.chars().take(12).collect();
    let unsure = if behind.sure {
        ""
    } else {
        ", as far as is known: Towpath does not have the history of its commit"
    };
    let (of, release) = (&behind.of, behind.release);
    format!("behind {of}: it lacks the hotfix {commit} of release {release}{unsure}\n")
}

fn service_row(service: &Service) -> Vec<String> {
    let shares: Vec<String> = service
        .shares
        .iter()
        .map(|share| format!("release {} {:.0}%", share.release, share.percent))
        .collect();
    vec![
        service.name.clone(),
        format!("{}/{}", service.healthy, service.wanted),
        shares.join(", "),
        service
            .crash_loop
            .as_ref()
            .map_or_else(String::new, |why| format!("crash loop: {why}")),
    ]
}

fn instance_row(instance: &Instance, now: Timestamp) -> Vec<String> {
    vec![
        format!("{}-{}", instance.service, instance.number),
        instance.release.to_string(),
        instance.phase.words().to_owned(),
        instance.health.words().to_owned(),
        instance.address.clone().unwrap_or_default(),
        ago(instance.since, now),
        instance.failing_check.clone().unwrap_or_default(),
    ]
}

/// Lists deployments, newest first.
pub(crate) async fn deployments(arguments: &Deployments, settings: &Settings) -> Result<ExitCode> {
    let id = connect::choose(&arguments.choice, settings).await?;
    let deployments = connect::client(settings)?
        .deployments(&id, arguments.limit)
        .await?;
    if arguments.json {
        return print(&format!("{}\n", serde_json::to_string(&deployments)?));
    }
    let now = Timestamp::now();
    let rows = deployments.iter().map(|one| {
        vec![
            one.number.to_string(),
            one.release.to_string(),
            one.strategy.words().to_owned(),
            one.state.words().to_owned(),
            ago(one.requested_at, now),
            one.actor.clone(),
            one.failure
                .as_ref()
                .map_or_else(String::new, |failure| failure.reason.clone()),
        ]
    });
    let columns = [
        "deployment",
        "release",
        "strategy",
        "state",
        "asked for",
        "by",
        "why",
    ];
    print(&format!("{}\n", table(&columns, rows)))
}
