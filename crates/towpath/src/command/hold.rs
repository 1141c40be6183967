//! `towpath hold` and `towpath release-hold`: whether an environment may be deployed to when nobody in
//! particular asks. People may deploy to one on hold.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use towpath_api::HoldRequest;

use super::{connect, print};
use crate::arguments::{Hold, OnEnvironment};
use crate::settings::Settings;

/// Holds automatic deployment.
pub(crate) async fn hold(arguments: &Hold, settings: &Settings) -> Result<ExitCode> {
    let id = connect::choose(&arguments.choice, settings).await?;
    let reason = arguments
        .reason
        .clone()
        .unwrap_or_else(|| format!("held by {}", settings.actor));
    let request = HoldRequest { reason };
    connect::client(settings)?.hold(&id, &request).await?;
    if arguments.json {
        let held = json!({ "id": id.to_string(), "on_hold": true, "reason": request.reason });
        return print(&format!("{held}\n"));
    }
    print(&format!(
        "{id} is on hold: {}\nlet it go on with towpath release-hold {id}\n",
        request.reason
    ))
}

/// Lets automatic deployment go on.
pub(crate) async fn release(arguments: &OnEnvironment, settings: &Settings) -> Result<ExitCode> {
    let id = connect::choose(&arguments.choice, settings).await?;
    connect::client(settings)?.release_hold(&id).await?;
    if arguments.json {
        let released = json!({ "id": id.to_string(), "on_hold": false });
        return print(&format!("{released}\n"));
    }
    print(&format!("{id} is not on hold any more\n"))
}
