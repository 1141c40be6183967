//! Webhooks of Gitea and Forgejo, as their documentation has them under "Webhooks".

use axum::http::HeaderMap;
use serde_json::Value;
use towpath_model::repository::outside::Forge;

use super::signature::is_hex_hmac;
use super::{Places, Refused, Told, Webhook, field, id, pull_request};

pub(super) const EVENT: &str = "x-gitea-event";
pub(super) const FORGEJO_EVENT: &str = "x-forgejo-event";

const PLACES: Places = Places {
    number: "/number",
    from: "/pull_request/head/ref",
    into: "/pull_request/base/ref",
    repositories: ["/pull_request/head/repo/id", "/pull_request/base/repo/id"],
};

pub(super) fn verify(headers: &HeaderMap, body: &[u8], secret: &[u8]) -> Result<(), Refused> {
    let signature = field(headers, "x-forgejo-signature");
    let signature = signature.or_else(|| field(headers, "x-gitea-signature"));
    match signature {
        Some(signature) if is_hex_hmac(secret, &[body], signature) => Ok(()),
        _ => Err(Refused::Signature),
    }
}

pub(super) fn read(headers: &HeaderMap, body: &Value) -> Result<Webhook, Refused> {
    let event = field(headers, FORGEJO_EVENT).or_else(|| field(headers, EVENT));
    let action = body.get("action").and_then(Value::as_str);
    let told = match (event, action) {
        (Some("push" | "create" | "delete"), _) => Told::Push,
        // The fields of an update have `pull_request_sync` in some versions.
        (Some("pull_request" | "pull_request_sync"), Some("closed")) => {
            pull_request(Forge::Gitea, body, &PLACES, true)?
        }
        (
            Some("pull_request" | "pull_request_sync"),
            Some("opened" | "reopened" | "synchronized" | "edited"),
        ) => pull_request(Forge::Gitea, body, &PLACES, false)?,
        _ => Told::Nothing,
    };
    Ok(Webhook {
        forge: Forge::Gitea,
        id: id(headers, &["x-forgejo-delivery", "x-gitea-delivery"]),
        told,
    })
}
