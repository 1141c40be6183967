//! Webhooks of Bitbucket, Cloud and Data Center, as their documentation has them under "Event payloads".

use axum::http::HeaderMap;
use serde_json::Value;
use towpath_model::repository::outside::Forge;

use super::signature::is_hex_hmac;
use super::{Places, Refused, Told, Webhook, field, id, pull_request};

pub(super) const EVENT: &str = "x-event-key";

const PLACES: Places = Places {
    number: "/pullRequest/id",
    from: "/pullRequest/fromRef/displayId",
    into: "/pullRequest/toRef/displayId",
    repositories: [
        "/pullRequest/fromRef/repository/id",
        "/pullRequest/toRef/repository/id",
    ],
};

pub(super) fn verify(headers: &HeaderMap, body: &[u8], secret: &[u8]) -> Result<(), Refused> {
    let signature = field(headers, "x-hub-signature");
    let signature = signature.and_then(|text| text.strip_prefix("sha256="));
    match signature {
        Some(signature) if is_hex_hmac(secret, &[body], signature) => Ok(()),
        _ => Err(Refused::Signature),
    }
}

pub(super) fn read(headers: &HeaderMap, body: &Value) -> Result<Webhook, Refused> {
    let event = field(headers, EVENT).unwrap_or_default();
    let is_cloud = event == "repo:push" || event.starts_with("pullrequest:");
    let forge = if is_cloud {
        Forge::BitbucketCloud
    } else {
        Forge::BitbucketDataCenter
    };
    let told = match event {
        // Cloud has no reference for the head of a pull request: that of a fork could not be told from
        // a branch of the same name, so only branches are looked at.
        "repo:push" | "pullrequest:created" | "pullrequest:updated" | "repo:refs_changed" => {
            Told::Push
        }
        "pr:opened" | "pr:from_ref_updated" | "pr:modified" => {
            pull_request(forge, body, &PLACES, false)?
        }
        "pr:merged" | "pr:declined" | "pr:deleted" => pull_request(forge, body, &PLACES, true)?,
        _ => Told::Nothing,
    };
    Ok(Webhook {
        forge,
        id: id(headers, &["x-request-uuid", "x-request-id"]),
        told,
    })
}
