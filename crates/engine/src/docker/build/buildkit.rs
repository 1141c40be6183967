//! Builds by BuildKit, by the call of Docker's API that has it as its second version (`/build`).
//! Not what it asks of us meanwhile, the files among it ([`super::session`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bollard::Docker;
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Method, Request};
use towpath_model::id::Digest;
use towpath_model::workload::SecretValue;

use super::Order;
use super::progress::Progress;
use super::session::{Answers, Session};
use super::sync::Directory;
use crate::docker::client::Trouble;
use crate::docker::context::{self, Survey};
use crate::docker::image::Failure;
use crate::docker::shared::Shared;
use crate::docker::wire::{Wire, away, empty, refusal};

/// Tells the sessions of this process apart.
static SESSIONS: AtomicU64 = AtomicU64::new(0);

/// Has an image built.
pub(super) async fn send(
    shared: &Shared,
    docker: &Docker,
    order: &Order<'_>,
) -> Result<(), Failure> {
    let Survey { found, dockerfile } = order.read(shared, context::survey).await?;
    let version = docker.client_version().to_string();
    let name = session_name(shared, order);
    let (dockerfile_name, dockerfile) = dockerfile;
    let shared_key = shared_key(order, &name, &dockerfile);
    let answers = Answers {
        config: shared.config.clone(),
        secrets: secrets(order)?,
        directories: BTreeMap::from([
            ("context", Arc::new(Directory::of(found))),
            (
                "dockerfile",
                Arc::new(Directory::with(&dockerfile_name, dockerfile)),
            ),
        ]),
        agents: agents(shared, order)?,
    };
    // It lasts as long as the build.
    let session = Session::open(&shared.client, &version, &name, &shared_key, answers).await?;
    let query = query(order, &dockerfile_name, &shared.data_id, &name);
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("/v{version}/build?{query}"))
        .body(empty())
        .map_err(|error| Failure::because(format!("it cannot be asked for: {error}")))?;
    let mut wire = Wire::connect(&shared.client).await?;
    let answer = wire.send(request).await?;
    if !answer.status().is_success() {
        return Err(refusal(answer).await.into());
    }
    let mut progress = Progress::default();
    let heard = hear(shared, answer.into_body(), &mut progress).await;
    drop(session);
    let reason = match (progress.error(), heard) {
        (Some(error), _) => explained(&error),
        (None, Err(trouble)) => trouble.words().to_owned(),
        (None, Ok(())) => return Ok(()),
    };
    Err(Failure {
        reason,
        log_tail: progress.lines(),
    })
}

async fn hear(shared: &Shared, mut body: Incoming, progress: &mut Progress) -> Result<(), Trouble> {
    let mut come = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| away(shared.client.host(), &error))?;
        if let Some(data) = frame.data_ref() {
            come.extend_from_slice(data);
        }
        while let Some(end) = come.iter().position(|byte| *byte == b'\n') {
            progress.hear(&come.split_to(end + 1));
        }
    }
    progress.hear(&come);
    Ok(())
}

/// Names the content of a build. BuildKit compares what is sent with what was sent under the same name,
/// and takes a file of the same size and time for the same.
fn shared_key(order: &Order<'_>, session: &str, dockerfile: &[u8]) -> String {
    let recipe = order.recipe;
    let Some(content) = &recipe.content else {
        return session.to_owned();
    };
    let mut text = format!("{content} {} ", recipe.context).into_bytes();
    text.extend_from_slice(dockerfile);
    Digest::of(&text).as_str().to_owned()
}

/// Makes a name that no other session of this Docker has.
fn session_name(shared: &Shared, order: &Order<'_>) -> String {
    let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
    let now = shared.clock.now().as_nanosecond();
    let text = format!("{} {} {number} {now}", shared.data_id, order.name());
    Digest::of(text.as_bytes()).as_str().to_owned()
}

/// Returns the values of the recipe's secrets, by the names that the Dockerfile has for them.
fn secrets(order: &Order<'_>) -> Result<BTreeMap<String, SecretValue>, Failure> {
    let mut values = BTreeMap::new();
    for one in &order.recipe.secrets {
        let Some(value) = order.secrets.get(&one.secret) else {
            return Err(Failure::because(format!(
                "the value of the secret `{}` is not known any more: deploy again",
                one.secret
            )));
        };
        values.insert(one.id.clone(), value.clone());
    }
    Ok(values)
}

/// Returns the sockets of the recipe's SSH agents.
fn agents(
    shared: &Shared,
    order: &Order<'_>,
) -> Result<BTreeMap<String, std::path::PathBuf>, Failure> {
    let mut agents = BTreeMap::new();
    for name in &order.recipe.agents {
        let Some(socket) = &shared.config.ssh_agent else {
            return Err(Failure::because(format!(
                "`build.ssh` asks for the SSH agent `{name}`, and `towpath serve` was started without one (SSH_AUTH_SOCK)"
            )));
        };
        agents.insert(name.clone(), socket.clone());
    }
    Ok(agents)
}

/// Writes the options of the call.
fn query(order: &Order<'_>, dockerfile: &str, data_id: &str, session: &str) -> String {
    let recipe = order.recipe;
    let json = |value: serde_json::Value| value.to_string();
    let mut options: Vec<(&str, String)> = vec![
        ("version", "2".to_owned()),
        ("session", session.to_owned()),
        ("remote", "client-session".to_owned()),
        ("dockerfile", dockerfile.to_owned()),
        ("t", order.name()),
        ("buildargs", json(serde_json::json!(recipe.args))),
        ("labels", json(serde_json::json!(order.labels(data_id)))),
        ("target", recipe.target.clone().unwrap_or_default()),
        ("platform", order.platform.unwrap_or_default().to_owned()),
        ("networkmode", recipe.network.clone().unwrap_or_default()),
        ("cachefrom", json(serde_json::json!(recipe.cache_from))),
    ];
    if recipe.no_cache {
        options.push(("nocache", "1".to_owned()));
    }
    if recipe.pull {
        options.push(("pull", "1".to_owned()));
    }
    if let Some(bytes) = recipe.shm_bytes {
        options.push(("shmsize", bytes.to_string()));
    }
    if !recipe.ulimits.is_empty() {
        let number = |limit: u64| i64::try_from(limit).unwrap_or(-1);
        let limits = recipe.ulimits.iter().map(|(name, (soft, hard))| {
            serde_json::json!({ "Name": name, "Soft": number(*soft), "Hard": number(*hard) })
        });
        options.push(("ulimits", json(limits.collect())));
    }
    for (name, address) in &recipe.extra_hosts {
        options.push(("extrahosts", format!("{name}:{address}")));
    }
    let written = options
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={}", encoded(value)));
    written.collect::<Vec<_>>().join("&")
}

/// Writes a text as a query may have it.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Adds what to do.
fn explained(words: &str) -> String {
    let denied = [
        "401 Unauthorized",
        "403 Forbidden",
        "access denied",
        "authorization failed",
    ];
    if denied.iter().any(|sign| words.contains(sign)) {
        return format!(
            "{words} (may you pull it? `docker login` says who you are at its registry)"
        );
    }
    let newer = ["unknown flag", "unknown instruction", "Unknown flag"];
    if newer.iter().any(|sign| words.contains(sign)) {
        return format!(
            "{words} (where a newer Docker knows it: `# syntax=docker/dockerfile:1` as the first line of the Dockerfile has this one know it as well)"
        );
    }
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_end_its_place_in_the_query() {
        assert_eq!(encoded("a=b&c d/ü%"), "a%3Db%26c%20d%2F%C3%BC%25");
        assert_eq!(encoded("A-z_0.9~"), "A-z_0.9~");
    }
}
