//! Webhooks of GitLab, as its documentation has them under "Webhook events" and "Webhooks": with a secret
//! token, or signed as the Standard Webhooks specification says.

use std::time::Duration;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use towpath_model::repository::outside::Forge;

use super::signature::{is_base64_hmac, is_same};
use super::{Places, Refused, Told, Webhook, field, id, pull_request};

pub(super) const EVENT: &str = "x-gitlab-event";

/// What a signing token begins with.
const SIGNING: &str = "whsec_";

/// How far the time of a signature may be from now.
const TOLERANCE: Duration = Duration::from_mins(5);

const PLACES: Places = Places {
    number: "/object_attributes/iid",
    from: "/object_attributes/source_branch",
    into: "/object_attributes/target_branch",
    repositories: [
        "/object_attributes/source_project_id",
        "/object_attributes/target_project_id",
    ],
};

/// Verifies a webhook. Where the secret is a signing token nothing but a signature is good.
pub(super) fn verify(
    headers: &HeaderMap,
    body: &[u8],
    secret: &[u8],
    now: Timestamp,
) -> Result<(), Refused> {
    let text = std::str::from_utf8(secret).unwrap_or_default().trim();
    if let Some(key) = text.strip_prefix(SIGNING) {
        let key = STANDARD.decode(key).map_err(|_| Refused::Signature)?;
        return verify_signature(headers, body, &key, now);
    }
    match field(headers, "x-gitlab-token") {
        Some(token) if is_same(secret, token.as_bytes()) => Ok(()),
        _ => Err(Refused::Signature),
    }
}

fn verify_signature(
    headers: &HeaderMap,
    body: &[u8],
    key: &[u8],
    now: Timestamp,
) -> Result<(), Refused> {
    let get = |name| field(headers, name).ok_or(Refused::Signature);
    let (id, time) = (get("webhook-id")?, get("webhook-timestamp")?);
    let signed: [&[u8]; 5] = [id.as_bytes(), b".", time.as_bytes(), b".", body];
    // There may be several, while the token is changed.
    let mut signatures = get("webhook-signature")?
        .split(' ')
        .filter_map(|one| one.strip_prefix("v1,"));
    if !signatures.any(|one| is_base64_hmac(key, &signed, one)) {
        return Err(Refused::Signature);
    }
    let at = time
        .parse()
        .ok()
        .and_then(|at| Timestamp::from_second(at).ok());
    let at = at.ok_or(Refused::Old)?;
    let tolerance = SignedDuration::try_from(TOLERANCE).unwrap_or_default();
    if now.duration_since(at).abs() > tolerance {
        return Err(Refused::Old);
    }
    Ok(())
}

pub(super) fn read(headers: &HeaderMap, body: &Value) -> Result<Webhook, Refused> {
    let kind = body.get("object_kind").and_then(Value::as_str);
    let action = body.pointer("/object_attributes/action");
    let told = match (kind, action.and_then(Value::as_str)) {
        (Some("push" | "tag_push"), _) => Told::Push,
        (Some("merge_request"), Some("open" | "reopen" | "update")) => {
            pull_request(Forge::GitLab, body, &PLACES, false)?
        }
        (Some("merge_request"), Some("close" | "merge")) => {
            pull_request(Forge::GitLab, body, &PLACES, true)?
        }
        _ => Told::Nothing,
    };
    Ok(Webhook {
        forge: Forge::GitLab,
        id: id(
            headers,
            &["webhook-id", "idempotency-key", "x-gitlab-event-uuid"],
        ),
        told,
    })
}
