//! Hears from Docker what happens to our containers, so that one that died is noticed at once. Not
//! what is made of it: whoever is told looks for himself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::EventMessageTypeEnum;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt as _;
use towpath_model::id::{EnvironmentId, InstanceId};

use super::client::Trouble;
use super::names;
use super::shared::{Hand, Shared};

/// The waits before Docker is asked again after it went away.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What happens often and changes nothing that is observed.
const NOISE: [&str; 4] = ["exec_create", "exec_start", "exec_die", "top"];

/// Listens until it is dropped.
pub(super) async fn listen(shared: Arc<Shared>) {
    let mut wait = FIRST_WAIT;
    loop {
        match hear(&shared).await {
            // It was there: the next time is the first again.
            Ok(()) => wait = FIRST_WAIT,
            Err(trouble) => {
                tracing::debug!(reason = trouble.words(), "Docker cannot be heard");
                wait = wait.saturating_mul(2).min(LONGEST_WAIT);
            }
        }
        shared.forget_hands();
        shared.tell_all();
        tokio::time::sleep(wait).await;
    }
}

/// Listens until Docker goes away.
async fn hear(shared: &Shared) -> Result<(), Trouble> {
    let docker = shared.client.get().await?;
    // Those that were taken over carry no label of ours.
    let kinds = vec!["container".to_owned(), "network".to_owned()];
    let filter = HashMap::from([("type".to_owned(), kinds)]);
    let options = EventsOptionsBuilder::default().filters(&filter).build();
    let mut events = docker.events(Some(options));
    // What happened before it was listened to is seen now.
    shared.tell_all();
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| shared.client.trouble(&error))?;
        let action = event.action.unwrap_or_default();
        if NOISE.iter().any(|noise| action.starts_with(noise)) {
            continue;
        }
        let actor = event.actor.unwrap_or_default();
        if event.typ == Some(EventMessageTypeEnum::NETWORK) {
            let name = actor.attributes.unwrap_or_default().remove("name");
            if action == "disconnect" {
                tell_of_network(shared, &name.unwrap_or_default());
            }
            continue;
        }
        let ours = actor.attributes.as_ref().filter(|labels| {
            labels.get(names::DATA).map(String::as_str) == Some(shared.data_id.as_str())
        });
        let labelled = ours.and_then(names::environment_of);
        let instance = ours.and_then(|labels| labels.get(names::INSTANCE)?.parse().ok());
        let instance: Option<InstanceId> =
            instance.or_else(|| shared.adopted(actor.id.as_deref()?));
        if let Some(instance) = &instance {
            let signal = actor.attributes.as_ref().and_then(|all| all.get("signal"));
            note(shared, instance, &action, signal.map(String::as_str));
        }
        let environment = labelled.or_else(|| Some(instance?.environment));
        if let Some(environment) = environment {
            shared.forget_seen(&environment);
            shared.tell(&environment);
        }
    }
    Ok(())
}

/// Notes what somebody did to the end of an instance. `docker stop` sends a signal and, when all is over,
/// says `stop`; of `docker kill` there is only the signal, and only one of them is certain to end it.
fn note(shared: &Shared, instance: &InstanceId, action: &str, signal: Option<&str>) {
    match (action, signal) {
        ("stop", _) | ("kill", Some("9" | "SIGKILL" | "KILL")) => {
            shared.note_hand(instance, Some(Hand::Ended));
        }
        ("kill", _) => shared.note_hand(instance, Some(Hand::Signalled)),
        ("start", _) => shared.note_hand(instance, None),
        _ => {}
    }
}

/// Tells whoever has a network of this name that something left it. (What shares a network of somebody
/// else's finds it out by looking from time to time.)
fn tell_of_network(shared: &Shared, name: &str) {
    let known: Vec<EnvironmentId> = shared.lock().keys().cloned().collect();
    for environment in known {
        if name.starts_with(&format!("{}-{}_", environment.app, environment.name)) {
            shared.tell(&environment);
        }
    }
}
