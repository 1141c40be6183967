//! Webhooks of GitHub, as its documentation has them under "Webhook events and payloads" and "Validating
//! webhook deliveries".

use axum::http::HeaderMap;
use serde_json::Value;
use towpath_model::repository::outside::Forge;

use super::signature::is_hex_hmac;
use super::{Places, Refused, Told, Webhook, field, id, pull_request};

pub(super) const EVENT: &str = "x-github-event";

const PLACES: Places = Places {
    number: "/number",
    from: "/pull_request/head/ref",
    into: "/pull_request/base/ref",
    repositories: ["/pull_request/head/repo/id", "/pull_request/base/repo/id"],
};

pub(super) fn verify(headers: &HeaderMap, body: &[u8], secret: &[u8]) -> Result<(), Refused> {
    let signature = field(headers, "x-hub-signature-256");
    let signature = signature.and_then(|text| text.strip_prefix("sha256="));
    match signature {
        Some(signature) if is_hex_hmac(secret, &[body], signature) => Ok(()),
        _ => Err(Refused::Signature),
    }
}

pub(super) fn read(headers: &HeaderMap, body: &Value) -> Result<Webhook, Refused> {
    let action = body.get("action").and_then(Value::as_str);
    let told = match (field(headers, EVENT), action) {
        (Some("push" | "create" | "delete"), _) => Told::Push,
        (
            Some("pull_request"),
            Some("opened" | "reopened" | "synchronize" | "edited" | "ready_for_review"),
        ) => pull_request(Forge::GitHub, body, &PLACES, false)?,
        (Some("pull_request"), Some("closed")) => pull_request(Forge::GitHub, body, &PLACES, true)?,
        _ => Told::Nothing,
    };
    Ok(Webhook {
        forge: Forge::GitHub,
        id: id(headers, &["x-github-delivery"]),
        told,
    })
}
