//! Webhooks with the shape of each forge's documentation: what they tell, and that forged ones tell
//! nothing.

use axum::http::{HeaderName, HeaderValue};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;

use super::*;

const SECRET: &[u8] = b"a secret of sixteen bytes or more";

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let pairs = fields.iter().map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        (name, HeaderValue::from_str(value).unwrap())
    });
    pairs.collect()
}

/// A webhook as a forge signs it: its event, its body.
fn signed(forge: Forge, event: &str, body: &[u8]) -> HeaderMap {
    let signature = hex(&hmac(SECRET, body));
    let prefixed = format!("sha256={signature}");
    match forge {
        Forge::GitHub => headers(&[
            ("X-GitHub-Event", event),
            ("X-GitHub-Delivery", "72d3162e"),
            ("X-Hub-Signature-256", &prefixed),
        ]),
        Forge::GitLab => headers(&[
            ("X-Gitlab-Event", event),
            ("Idempotency-Key", "f5e5f430"),
            ("X-Gitlab-Token", std::str::from_utf8(SECRET).unwrap()),
        ]),
        Forge::BitbucketCloud => headers(&[
            ("X-Event-Key", event),
            ("X-Request-UUID", "6f5b7c0a"),
            ("X-Hub-Signature", &prefixed),
        ]),
        Forge::BitbucketDataCenter => headers(&[
            ("X-Event-Key", event),
            ("X-Request-Id", "ab12cd34"),
            ("X-Hub-Signature", &prefixed),
        ]),
        Forge::Gitea => headers(&[
            ("X-Gitea-Event", event),
            ("X-GitHub-Event", event),
            ("X-Gitea-Delivery", "f6266f16"),
            ("X-Gitea-Signature", &signature),
        ]),
    }
}

fn request(forge: Forge, closed: bool) -> Told {
    Told::Request(PullRequest {
        forge,
        number: 7,
        from: "basket".to_owned(),
        into: "main".to_owned(),
        fork: false,
        closed,
    })
}

/// A kind of webhook: its forge, event, body, and what it tells.
type Case = (Forge, &'static str, Value, Told);

fn like_github(action: &str) -> Value {
    json!({
        "action": action, "number": 7,
        "pull_request": {
            "head": { "ref": "basket", "sha": "1b", "repo": { "id": 12 } },
            "base": { "ref": "main", "repo": { "id": 12 } },
        },
    })
}

fn of_github() -> Vec<Case> {
    let case = |event, body, told| (Forge::GitHub, event, body, told);
    let requested = |action, told| case("pull_request", like_github(action), told);
    let open = || request(Forge::GitHub, false);
    let tag = json!({ "ref": "v1", "ref_type": "tag" });
    vec![
        case("push", push(), Told::Push),
        case("create", tag, Told::Push),
        requested("opened", open()),
        requested("synchronize", open()),
        requested("closed", request(Forge::GitHub, true)),
        requested("labeled", Told::Nothing),
        case("ping", json!({ "zen": "Keep it plain" }), Told::Nothing),
    ]
}

fn of_gitea() -> Vec<Case> {
    let case = |event, body, told| (Forge::Gitea, event, body, told);
    let requested = |action, told| case("pull_request", like_github(action), told);
    vec![
        case("push", push(), Told::Push),
        requested("synchronized", request(Forge::Gitea, false)),
        requested("closed", request(Forge::Gitea, true)),
    ]
}

fn of_gitlab() -> Vec<Case> {
    let case = |event, body, told| (Forge::GitLab, event, body, told);
    let kind = |kind: &str| json!({ "object_kind": kind });
    let requested = |action: &str, told| {
        let body = json!({ "object_kind": "merge_request", "object_attributes": {
            "iid": 7, "action": action, "source_branch": "basket", "target_branch": "main",
            "source_project_id": 12, "target_project_id": 12,
        } });
        case("Merge Request Hook", body, told)
    };
    vec![
        case("Push Hook", kind("push"), Told::Push),
        case("Tag Push Hook", kind("tag_push"), Told::Push),
        requested("open", request(Forge::GitLab, false)),
        requested("merge", request(Forge::GitLab, true)),
        case("Note Hook", kind("note"), Told::Nothing),
    ]
}

fn of_bitbucket() -> Vec<Case> {
    let cloud = |event, told| {
        let body = json!({ "pullrequest": {
            "id": 7,
            "source": { "branch": { "name": "basket" } },
            "destination": { "branch": { "name": "main" } },
        } });
        (Forge::BitbucketCloud, event, body, told)
    };
    let center = |event, told| {
        let body = json!({ "pullRequest": {
            "id": 7,
            "fromRef": { "displayId": "basket", "repository": { "id": 12 } },
            "toRef": { "displayId": "main", "repository": { "id": 12 } },
        } });
        (Forge::BitbucketDataCenter, event, body, told)
    };
    let requested = |closed| request(Forge::BitbucketDataCenter, closed);
    vec![
        cloud("repo:push", Told::Push),
        cloud("pullrequest:created", Told::Push),
        cloud("pullrequest:fulfilled", Told::Nothing),
        center("repo:refs_changed", Told::Push),
        center("pr:opened", requested(false)),
        center("pr:merged", requested(true)),
        center("diagnostics:ping", Told::Nothing),
    ]
}

fn push() -> Value {
    json!({ "ref": "refs/heads/main", "before": "0a", "after": "1b" })
}

/// Returns every kind of webhook.
fn cases() -> Vec<Case> {
    [of_github(), of_gitlab(), of_bitbucket(), of_gitea()].concat()
}

#[test]
fn every_kind_of_webhook_tells_what_it_is_about() {
    for (forge, event, body, told) in cases() {
        let body = serde_json::to_vec(&body).unwrap();
        let read = read(
            &signed(forge, event, &body),
            &body,
            SECRET,
            Timestamp::UNIX_EPOCH,
        );
        let read = read.unwrap_or_else(|refused| panic!("{forge:?} {event}: {refused}"));
        assert_eq!((read.forge, &read.told), (forge, &told), "{event}");
        assert!(read.id.is_some(), "{forge:?} {event}");
    }
}

#[test]
fn a_pull_request_from_another_repository_or_from_nowhere_is_that_of_a_fork() {
    let of = |forge, event, body: &Value| {
        let body = serde_json::to_vec(body).unwrap();
        let headers = signed(forge, event, &body);
        let told = read(&headers, &body, SECRET, Timestamp::UNIX_EPOCH)
            .unwrap()
            .told;
        match told {
            Told::Request(request) => request.fork,
            told => panic!("{told:?}"),
        }
    };
    let github = |repository: Value| {
        let mut body = like_github("opened");
        body["pull_request"]["head"]["repo"] = repository;
        body
    };
    for repository in [json!({ "id": 13 }), Value::Null] {
        let body = github(repository);
        assert!(of(Forge::GitHub, "pull_request", &body), "{body}");
        assert!(of(Forge::Gitea, "pull_request", &body), "{body}");
    }
    assert!(!of(
        Forge::GitHub,
        "pull_request",
        &github(json!({ "id": 12 }))
    ));
    let (_, event, mut body, _) = of_gitlab().swap_remove(2);
    body["object_attributes"]["source_project_id"] = json!(13);
    assert!(of(Forge::GitLab, event, &body));
    let (forge, event, mut body, _) = of_bitbucket().swap_remove(4);
    body["pullRequest"]["fromRef"]["repository"]["id"] = json!(13);
    assert!(of(forge, event, &body));
}

#[test]
fn a_webhook_that_is_not_signed_with_the_secret_tells_nothing() {
    for (forge, event, body, _) in cases() {
        let body = serde_json::to_vec(&body).unwrap();
        let good = signed(forge, event, &body);
        let read = |headers: &HeaderMap, body: &[u8], secret: &[u8]| {
            super::read(headers, body, secret, Timestamp::UNIX_EPOCH)
        };
        assert_eq!(
            read(&good, &body, b"another"),
            Err(Refused::Signature),
            "{forge:?}"
        );
        assert_eq!(
            read(&good, &body, b""),
            Err(Refused::Signature),
            "{forge:?}"
        );
        let mut unsigned = good.clone();
        for name in [
            "x-hub-signature-256",
            "x-hub-signature",
            "x-gitea-signature",
            "x-gitlab-token",
        ] {
            unsigned.remove(name);
        }
        assert_eq!(
            read(&unsigned, &body, SECRET),
            Err(Refused::Signature),
            "{forge:?}"
        );
        // GitLab's token says nothing of the body: its signature does, which is tested by itself.
        if forge != Forge::GitLab {
            let mut changed = body.clone();
            changed.push(b' ');
            assert_eq!(
                read(&good, &changed, SECRET),
                Err(Refused::Signature),
                "{forge:?}"
            );
        }
    }
}

#[test]
fn a_signing_token_of_gitlab_covers_id_time_and_body_and_lasts_five_minutes() {
    use base64::Engine as _;
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let key = [7; 32];
    let secret = format!("whsec_{}", base64(&key));
    let body = br#"{"object_kind":"push"}"#;
    let signature = hmac(&key, &[b"id-1.1000.".as_slice(), body].concat());
    let signature = format!("v1,{} v1,{}", base64(b"an old one"), base64(&signature));
    let fields = |id, time, signature: &str| {
        headers(&[
            ("X-Gitlab-Event", "Push Hook"),
            ("webhook-id", id),
            ("webhook-timestamp", time),
            ("webhook-signature", signature),
        ])
    };
    let read = |headers: &HeaderMap, body: &[u8], now: i64| {
        let now = Timestamp::from_second(now).unwrap();
        super::read(headers, body, secret.as_bytes(), now).map(|read| read.told)
    };
    let good = fields("id-1", "1000", &signature);
    assert_eq!(read(&good, body, 1000), Ok(Told::Push));
    assert_eq!(read(&good, body, 1300), Ok(Told::Push));
    assert_eq!(read(&good, body, 1301), Err(Refused::Old));
    assert_eq!(read(&good, body, 600), Err(Refused::Old));
    assert_eq!(read(&good, b"{}", 1000), Err(Refused::Signature));
    assert_eq!(
        read(&fields("id-2", "1000", &signature), body, 1000),
        Err(Refused::Signature)
    );
    assert_eq!(
        read(&fields("id-1", "1001", &signature), body, 1000),
        Err(Refused::Signature)
    );
    // A token in the head is no way around the signature.
    let token = headers(&[("X-Gitlab-Event", "Push Hook"), ("X-Gitlab-Token", &secret)]);
    assert_eq!(read(&token, body, 1000), Err(Refused::Signature));
}

#[test]
fn what_is_no_webhook_or_no_branch_is_refused() {
    let now = Timestamp::UNIX_EPOCH;
    assert_eq!(
        read(&HeaderMap::new(), b"{}", SECRET, now),
        Err(Refused::Unknown)
    );
    let form = b"payload=%7B%7D";
    let refused = read(&signed(Forge::GitHub, "push", form), form, SECRET, now);
    assert!(matches!(refused, Err(Refused::Malformed(_))), "{refused:?}");
    for (number, branch) in [(json!(7), "a\nb"), (json!(7), ""), (json!(-1), "main")] {
        let body = json!({
            "action": "opened", "number": number,
            "pull_request": { "head": { "ref": branch }, "base": { "ref": "main" } },
        });
        let body = serde_json::to_vec(&body).unwrap();
        let refused = read(
            &signed(Forge::GitHub, "pull_request", &body),
            &body,
            SECRET,
            now,
        );
        assert!(matches!(refused, Err(Refused::Malformed(_))), "{refused:?}");
    }
}
