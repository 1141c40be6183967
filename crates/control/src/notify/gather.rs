//! Reads the audit trail from where it was left, and makes messages of it.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use towpath_model::deployment::{Deployment, Kind};
use towpath_model::event::Event;
use towpath_model::id::{DeploymentNumber, InstanceId, RunId, RunNumber};
use towpath_model::instance::elapsed;
use towpath_model::notify::{Facts, Occurrence, Origin, kind_of, origin_of, route};
use towpath_store::{EventOrder, EventQuery, NotifyProgress};

use super::audience::Known;
use crate::error::{Error, describe};
use crate::mask::Mask;
use crate::platform::Shared;

/// How often is looked for new lines: nobody waits for a message more impatiently.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The time until the next look after something failed.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The most lines that are looked at in one transaction.
const BATCH: u32 = 200;

/// Makes messages until `stop`. `made` is told when there are new ones.
pub(super) async fn run(shared: &Shared, made: &Notify, stop: &CancellationToken) {
    let mut known = Known::default();
    // What is written down, as long as nothing failed: nobody else writes it.
    let mut progress = None;
    loop {
        let wait = match turn(shared, &mut known, &mut progress, made).await {
            Ok(wait) => wait,
            Err(error) => {
                progress = None;
                let error = describe(&error);
                tracing::warn!(error, "messages cannot be made and are tried again");
                RETRY_AFTER
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Looks once. Returns how long nothing has to be done.
async fn turn(
    shared: &Shared,
    known: &mut Known,
    written: &mut Option<NotifyProgress>,
    made: &Notify,
) -> Result<Duration, Error> {
    let store = &shared.ports.store;
    let progress = match written.take() {
        Some(progress) => progress,
        None => store.notify_progress().await?,
    };
    let query = EventQuery {
        environment: None,
        skips_jobs: false,
        after: Some(progress.sequence),
        before: None,
        limit: BATCH,
        order: EventOrder::OldestFirst,
    };
    let events = store.events(&query).await?;
    let sequence = events
        .last()
        .map_or(progress.sequence, |last| last.sequence);
    let is_all = events.len() < usize::try_from(BATCH).unwrap_or(usize::MAX);
    let mut occurrences = Vec::new();
    for event in events {
        occurrences.extend(occurrence(shared, known, event).await?);
    }
    let now = shared.ports.clock.now();
    let routed = route(&progress.state, &occurrences, now);
    let next = NotifyProgress {
        sequence,
        state: routed.state,
    };
    if next != progress {
        store
            .commit_notifications(progress.sequence, &next, &routed.messages, now)
            .await?;
    }
    *written = Some(next);
    if !routed.messages.is_empty() {
        made.notify_one();
    }
    if !is_all {
        return Ok(Duration::ZERO);
    }
    let due = |at: Timestamp| elapsed(now, at).min(LOOK_EVERY);
    Ok(routed.wake_at.map_or(LOOK_EVERY, due))
}

/// Finds out what has to be known of an event; `None` when nobody is to be told of it.
async fn occurrence(
    shared: &Shared,
    known: &mut Known,
    mut event: Event,
) -> Result<Option<Occurrence>, Error> {
    let Some(origin) = origin_of(&event) else {
        return Ok(None);
    };
    let Some((environment, targets)) = known.targets(shared, &origin).await? else {
        return Ok(None);
    };
    if targets.is_empty() {
        return Ok(None);
    }
    let mut facts = facts(shared, &event).await?;
    if kind_of(&event, &facts).is_none() {
        return Ok(None);
    }
    let mask = Mask::of(shared, &environment, facts.release).await?;
    mask.cover(&mut event, &mut facts);
    let about = match origin {
        Origin::Environment(id) => Some(id),
        Origin::App(_) => None,
    };
    Ok(Some(Occurrence {
        event,
        about,
        environment,
        facts,
        targets,
    }))
}

/// Looks up what the record of a deployment, the id of an instance, or the log of a run says beyond the
/// event.
async fn facts(shared: &Shared, event: &Event) -> Result<Facts, Error> {
    let mut facts = Facts::default();
    let Some(id) = &event.environment else {
        if event.what == "run.failed"
            && let Some(run) = run_of(&event.subject)
        {
            facts.log = shared.last_lines_of(&run).await;
        }
        return Ok(facts);
    };
    if let Ok(instance) = event.subject.parse::<InstanceId>() {
        facts.service = Some(instance.service.to_string());
        return Ok(facts);
    }
    let number = event.subject.rsplit_once('/');
    let number = number.and_then(|(_, number)| number.parse().ok());
    let Some(number) = number.filter(|_| event.what.starts_with("deployment.")) else {
        return Ok(facts);
    };
    let store = &shared.ports.store;
    let Some(row) = store.deployment(id, DeploymentNumber(number)).await? else {
        return Ok(facts);
    };
    // What cannot be read is not told, and holds up nothing.
    let Ok(deployment) = serde_json::from_value::<Deployment>(row.document) else {
        return Ok(facts);
    };
    facts.release = Some(deployment.release);
    facts.rollback = deployment.kind == Kind::Rollback;
    let release = store.release(&id.app, deployment.release).await?;
    facts.commit = release.and_then(|release| release.commit);
    if let Some(failure) = deployment.failure {
        facts.service = failure.service.map(|name| name.to_string());
        facts.log = failure.log_tail;
    }
    Ok(facts)
}

/// Returns the run that a line of the trail is about: `shop run 12`.
fn run_of(subject: &str) -> Option<RunId> {
    let (app, number) = subject.split_once(" run ")?;
    let number = RunNumber(number.parse().ok()?);
    Some(RunId::new(app.parse().ok()?, number))
}
