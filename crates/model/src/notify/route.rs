//! From lines of the audit trail to messages: which targets want what, what belongs together, what
//! was told already. A pure function: the same events, rules, memory and time make the same messages.

use std::sync::Arc;

use jiff::Timestamp;

use super::kind::{Kind, Problem, fits, kind_of};
use super::letter;
use super::state::{Lane, Notice, Outgoing, State};
use super::{Facts, Severity, Target, Targets};
use crate::event::Event;
use crate::id::{AppName, EnvironmentId};
use crate::pipeline::is_ephemeral;

/// A line of the audit trail, with what has to be known of it.
#[derive(Debug, Clone)]
pub struct Occurrence {
    /// The line.
    pub event: Event,
    /// The environment that it is about, where it is about one.
    pub about: Option<EnvironmentId>,
    /// The environment whose targets and secrets count.
    pub environment: EnvironmentId,
    /// What is known beyond the line.
    pub facts: Facts,
    /// Who may want to be told.
    pub targets: Arc<Targets>,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// One environment.
    Environment(EnvironmentId),
    /// An app as a whole.
    App(AppName),
}

/// What events came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Routed {
    /// What to remember.
    pub state: State,
    /// What to send, in this order.
    pub messages: Vec<Outgoing>,
    /// When to come again though nothing happens.
    pub wake_at: Option<Timestamp>,
}

/// Returns what an event is about; `None` for one that nobody can be told of.
pub fn origin_of(event: &Event) -> Option<Origin> {
    if let Some(id) = &event.environment {
        // What happens in a job's environment is the run's business, which tells how it ends.
        return (!is_ephemeral(&id.name)).then(|| Origin::Environment(id.clone()));
    }
    // `shop run 12`, `shop run 12 to production`, `shop refs/heads/main`.
    let mut words = event.subject.split(' ');
    let (app, noun) = (words.next()?.parse().ok()?, words.next()?);
    if event.what.starts_with("reference.") {
        return Some(Origin::App(app));
    }
    if noun != "run" {
        return None;
    }
    match (words.nth(1), words.next()) {
        (Some("to"), Some(name)) => {
            let name = name.parse().ok()?;
            Some(Origin::Environment(EnvironmentId::new(app, name)))
        }
        _ => Some(Origin::App(app)),
    }
}

/// Takes in events, in the order of the trail, and returns what is to be sent at this time.
pub fn route(state: &State, occurrences: &[Occurrence], now: Timestamp) -> Routed {
    let mut state = state.clone();
    let mut messages = state.due(now);
    for occurrence in occurrences {
        let Some(kind) = kind_of(&occurrence.event, &occurrence.facts) else {
            continue;
        };
        state.follow(&occurrence.event);
        let severity = severity(&state, kind, &occurrence.event);
        for (name, target) in occurrence.targets.iter() {
            let wanted = wants(target, kind, severity, occurrence);
            if !wanted && !matches!(kind.problem, Some(Problem::Ends(_))) {
                continue;
            }
            let lane = Lane {
                environment: occurrence.environment.clone(),
                target: name.clone(),
            };
            let message = letter::message(kind, severity, occurrence, &lane);
            let matter = matter(occurrence);
            let scope = scope(occurrence);
            let notice = Notice {
                lane,
                target,
                kind,
                matter: &matter,
                scope: &scope,
                wanted,
                message,
            };
            state.take(notice, now);
        }
        messages.extend(state.due(now));
    }
    let wake_at = state.wake_at();
    Routed {
        state,
        messages,
        wake_at,
    }
}

/// Returns how much it matters. What instances do while a deployment is under way is its business:
/// it tells how it ends.
fn severity(state: &State, kind: &Kind, event: &Event) -> Severity {
    if event.what.starts_with("instance.") && state.is_deploying(event) {
        return Severity::Info;
    }
    kind.severity
}

fn wants(target: &Target, kind: &Kind, severity: Severity, occurrence: &Occurrence) -> bool {
    let of_kind = target.on.is_empty() || target.on.iter().any(|wanted| fits(wanted, kind.word));
    let about = occurrence.about.as_ref();
    let of_place = target.environments.is_empty()
        || about.is_some_and(|id| target.environments.contains(&id.name));
    of_kind && of_place && severity >= target.severity
}

/// Returns what an event belongs to together with others: a deployment, a service, a run.
fn matter(occurrence: &Occurrence) -> String {
    let Event {
        what,
        subject,
        reason,
        ..
    } = &occurrence.event;
    match what.split('.').next() {
        Some("instance") => service_of(subject).to_owned(),
        Some("environment") => reason
            .as_deref()
            .and_then(|reason| reason.strip_prefix("deployment ")?.split(' ').next())
            .map_or_else(|| subject.clone(), |number| format!("{subject}/{number}")),
        _ => subject.clone(),
    }
}

/// Returns of what a problem is one: what is not well, and is well again when another one of it is.
fn scope(occurrence: &Occurrence) -> String {
    let Event { what, subject, .. } = &occurrence.event;
    match what.split('.').next() {
        Some("instance") => service_of(subject).to_owned(),
        _ => occurrence.about.as_ref().map_or_else(
            || occurrence.environment.app.to_string(),
            ToString::to_string,
        ),
    }
}

/// Returns an instance's id without its number.
fn service_of(subject: &str) -> &str {
    subject
        .rsplit_once('-')
        .map_or(subject, |(service, _)| service)
}
