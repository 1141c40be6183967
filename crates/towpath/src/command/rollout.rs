//! `towpath rollback`, `abort`, `pause`, `resume`: what is done to a deployment under way, or
//! after one.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use towpath_api::{Deployment, RollbackRequest};

use super::{connect, print, progress};
use crate::arguments::{OnEnvironment, Rollback, Wait};
use crate::settings::Settings;

/// Brings an earlier release back.
pub(crate) async fn rollback(arguments: &Rollback, settings: &Settings) -> Result<ExitCode> {
    let id = connect::choose(&arguments.choice, settings).await?;
    let client = connect::client(settings)?;
    let request = RollbackRequest {
        release: arguments.release,
    };
    let requested = client.rollback(&id, &request).await?;
    let deployment = requested.deployment;
    let deployment = deployment.context("the control plane named no deployment")?;
    progress::watch(&client, &id, deployment, Wait::Traffic, arguments.json).await
}

/// What may be done to a deployment under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Go back to the stable release.
    Abort,
    /// Stay where it is.
    Pause,
    /// Go on.
    Resume,
}

/// Does it, and shows the deployment.
pub(crate) async fn run(
    verb: Verb,
    arguments: &OnEnvironment,
    settings: &Settings,
) -> Result<ExitCode> {
    let id = connect::choose(&arguments.choice, settings).await?;
    let client = connect::client(settings)?;
    let deployment = match verb {
        Verb::Abort => client.abort(&id).await?,
        Verb::Pause => client.pause(&id).await?,
        Verb::Resume => client.resume(&id).await?,
    };
    show(&deployment, arguments.json)
}

fn show(deployment: &Deployment, json: bool) -> Result<ExitCode> {
    if json {
        return print(&format!("{}\n", serde_json::to_string(deployment)?));
    }
    let Deployment {
        number,
        release,
        environment,
        state,
        ..
    } = deployment;
    print(&format!(
        "deployment {number} of release {release} to {environment}: {}\n",
        state.words()
    ))
}
