//! Sends the messages that wait, each lane in its own order: one that does not arrive holds up those
//! behind it, and nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use towpath_model::id::{EnvironmentId, SecretName};
use towpath_model::instance::elapsed;
use towpath_model::notify::{Channel, Lane, Message, retry_at};
use towpath_model::port::PortError;
use towpath_model::workload::SecretValue;
use towpath_store::Waiting;

use crate::error::{Error, describe};
use crate::platform::Shared;

/// The most messages under way at once; each has a connection.
const MOST_AT_ONCE: usize = 16;

/// The longest time between two looks though nothing was made.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// The time until the next look after something failed here.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How long what is under way may go on when the platform stops. A message that has not arrived by
/// then is sent again after the next start.
const LAST_CHANCE: Duration = Duration::from_secs(5);

/// The longest that one attempt may take; the notifier has shorter ones of its own for each step.
const LONGEST_ATTEMPT: Duration = Duration::from_mins(1);

type Attempt = (Waiting, Result<String, PortError>);

/// Sends messages until `stop`. `made` says that there are new ones.
pub(super) async fn run(shared: &Arc<Shared>, made: &Notify, stop: &CancellationToken) {
    let mut under_way: JoinSet<Attempt> = JoinSet::new();
    let mut busy = BTreeSet::new();
    loop {
        let begun = begin(shared, &mut under_way, &mut busy).await;
        let wait = begun.unwrap_or_else(|error| {
            complain(&error);
            RETRY_AFTER
        });
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = under_way.join_next() => {
                if let Ok((waiting, outcome)) = ended {
                    let lane = waiting.outgoing.lane.clone();
                    if let Err(error) = settle(shared, waiting, outcome).await {
                        complain(&error);
                    }
                    busy.remove(&lane);
                }
            }
            () = made.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    let finish = async {
        while let Some(ended) = under_way.join_next().await {
            if let Ok((waiting, outcome)) = ended
                && let Err(error) = settle(shared, waiting, outcome).await
            {
                complain(&error);
            }
        }
    };
    if tokio::time::timeout(LAST_CHANCE, finish).await.is_err() {
        tracing::info!("messages under way are sent again after the next start");
    }
}

fn complain(error: &Error) {
    let error = describe(error);
    tracing::warn!(error, "messages cannot be sent and are tried again");
}

/// Begins to send what is due and not under way. Returns how long nothing else is due.
async fn begin(
    shared: &Arc<Shared>,
    under_way: &mut JoinSet<Attempt>,
    busy: &mut BTreeSet<Lane>,
) -> Result<Duration, Error> {
    let now = shared.ports.clock.now();
    let mut wait = LONGEST_WAIT;
    for waiting in shared.ports.store.waiting_messages().await? {
        let lane = &waiting.outgoing.lane;
        if busy.contains(lane) || busy.len() >= MOST_AT_ONCE {
            continue;
        }
        if waiting.next_at > now {
            wait = wait.min(elapsed(now, waiting.next_at));
            continue;
        }
        busy.insert(lane.clone());
        let shared = Arc::clone(shared);
        under_way.spawn(async move {
            let outcome = attempt(&shared, &waiting).await;
            (waiting, outcome)
        });
    }
    Ok(wait)
}

async fn attempt(shared: &Shared, waiting: &Waiting) -> Result<String, PortError> {
    let outgoing = &waiting.outgoing;
    let sending = shared.send_message(
        &outgoing.lane.environment,
        &outgoing.channel,
        &outgoing.message,
    );
    tokio::time::timeout(LONGEST_ATTEMPT, sending)
        .await
        .unwrap_or_else(|_| {
            Err(PortError::Failed {
                attempted: "sending".to_owned(),
                reason: format!("it took more than {LONGEST_ATTEMPT:?}"),
            })
        })
}

/// Writes down what became of an attempt.
async fn settle(
    shared: &Shared,
    waiting: Waiting,
    outcome: Result<String, PortError>,
) -> Result<(), Error> {
    let store = &shared.ports.store;
    let now = shared.ports.clock.now();
    let lane = waiting.outgoing.lane.to_string();
    let error = match outcome {
        Ok(answer) => {
            tracing::info!(target = lane, answer, "a message was sent");
            return Ok(store.message_arrived(waiting.id).await?);
        }
        Err(error) => error,
    };
    let attempts = waiting.attempts.saturating_add(1);
    let again = match &error {
        PortError::Refused(_) => None,
        PortError::Failed { .. } => retry_at(attempts, waiting.created_at, now),
    };
    tracing::warn!(target = lane, attempts, error = %error, again = again.is_some(), "a message did not arrive");
    if let Some(next_at) = again {
        store.message_failed(waiting.id, attempts, next_at).await?;
        return Ok(());
    }
    let title = &waiting.outgoing.message.title;
    let reason = format!("given up after {attempts} attempts: {error}; it said: {title}");
    Ok(store.give_up_message(&waiting, reason, now).await?)
}

impl Shared {
    /// Sends a message once, with the latest values of the secrets that its channel names.
    pub(super) async fn send_message(
        &self,
        id: &EnvironmentId,
        channel: &Channel,
        message: &Message,
    ) -> Result<String, PortError> {
        let secrets = self.secrets_of(id, channel).await?;
        self.ports.notifier.send(channel, &secrets, message).await
    }

    async fn secrets_of(
        &self,
        id: &EnvironmentId,
        channel: &Channel,
    ) -> Result<BTreeMap<SecretName, SecretValue>, PortError> {
        let failed = |reason: String| PortError::Failed {
            attempted: "reading the target's secrets".to_owned(),
            reason,
        };
        let store = &self.ports.store;
        let mut values = BTreeMap::new();
        let names = channel.secrets();
        if names.is_empty() {
            return Ok(values);
        }
        let versions = store.latest_versions(id).await;
        let versions = versions.map_err(|error| failed(error.to_string()))?;
        for name in names {
            let Some(version) = versions.get(name) else {
                let environment = &id.name;
                let reason = format!(
                    "secret `{name}` has no value: towpath secret set {environment} {name}"
                );
                return Err(failed(reason));
            };
            let value = store.reveal_secret(id, name, *version).await;
            let value = value.map_err(|error| failed(error.to_string()))?;
            values.insert(name.clone(), value);
        }
        Ok(values)
    }
}
