//! The audit trail: read, followed, verified.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use futures_util::Stream;
use serde::Deserialize;
use towpath_api::{Event, Problem, Verification};
use towpath_control::{EventOrder, EventQuery};
use towpath_model::id::EnvironmentId;

use super::stream;
use crate::app::Context;
use crate::extract::Filter;
use crate::map::rest;
use crate::problem::Error;

/// How often the trail is looked at for new lines.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// The most lines that are read at a time.
const BATCH: u32 = 1000;

/// Which lines are wanted.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Wanted {
    environment: Option<EnvironmentId>,
    after: Option<u64>,
    limit: Option<u32>,
    #[serde(default)]
    jobs: bool,
}

impl Wanted {
    fn newest(&self) -> EventQuery {
        EventQuery {
            environment: self.environment.clone(),
            skips_jobs: !self.jobs,
            after: self.after,
            limit: self.limit.unwrap_or(100).min(BATCH),
            order: EventOrder::NewestFirst,
            ..EventQuery::default()
        }
    }
}

/// Lists lines of the audit trail, oldest first: the latest ones where a limit leaves some out.
#[utoipa::path(get, path = "/v1/events", tag = "events", operation_id = "event_list",
params(
    ("environment" = Option<String>, Query, description = "only those of this environment, `app/environment`"),
    ("jobs" = Option<bool>, Query, description = "also those of the environments in which jobs of pipelines run"),
    ("after" = Option<u64>, Query, description = "only those after this place in the trail"),
    ("limit" = Option<u32>, Query, description = "at most so many: the latest ones; 100 when absent, 1000 at the most"),
),
responses(
    (status = 200, body = [Event]),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(context): State<Context>,
    Filter(wanted): Filter<Wanted>,
) -> Result<Json<Vec<Event>>, Error> {
    let mut events = context.platform.events(&wanted.newest()).await?;
    events.reverse();
    Ok(Json(events.into_iter().map(rest::event).collect()))
}

/// Follows the audit trail: server-sent events named `event`, first what `GET /v1/events` gives,
/// then each line as it is written.
#[utoipa::path(get, path = "/v1/events/stream", tag = "events", operation_id = "event_follow",
params(
    ("environment" = Option<String>, Query, description = "only those of this environment, `app/environment`"),
    ("jobs" = Option<bool>, Query, description = "also those of the environments in which jobs of pipelines run"),
    ("after" = Option<u64>, Query, description = "only those after this place in the trail"),
    ("limit" = Option<u32>, Query, description = "begin with at most so many that are there"),
),
responses(
    (status = 200, body = Event, content_type = "text/event-stream"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn follow(
    State(context): State<Context>,
    Filter(wanted): Filter<Wanted>,
) -> Result<Response, Error> {
    let mut events = context.platform.events(&wanted.newest()).await?;
    events.reverse();
    let waiting: VecDeque<Event> = events.into_iter().map(rest::event).collect();
    let mut query = EventQuery {
        order: EventOrder::OldestFirst,
        limit: BATCH,
        ..wanted.newest()
    };
    query.after = waiting.back().map(|last| last.sequence).or(wanted.after);
    let follow = Follow {
        context,
        query,
        waiting,
    };
    Ok(stream::events("event", follow.stream()))
}

/// The audit trail as it is followed.
struct Follow {
    context: Context,
    query: EventQuery,
    waiting: VecDeque<Event>,
}

impl Follow {
    fn stream(self) -> impl Stream<Item = Event> + Send + 'static {
        futures_util::stream::unfold(self, |mut follow| async move {
            let event = follow.next().await?;
            Some((event, follow))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        let stop = self.context.stop.clone();
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let events = self.context.platform.events(&self.query).await.ok()?;
            self.waiting.extend(events.into_iter().map(rest::event));
            if let Some(last) = self.waiting.back() {
                self.query.after = Some(last.sequence);
            }
        }
    }
}

/// Checks that no line of the audit trail was changed, removed or added by another hand.
#[utoipa::path(get, path = "/v1/events/verification", tag = "events", operation_id = "event_verify", responses(
    (status = 200, body = Verification),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn verify(State(context): State<Context>) -> Result<Json<Verification>, Error> {
    let verification = context.platform.verify_events().await?;
    let last_good = EventQuery {
        before: verification.count.checked_add(1),
        limit: 1,
        ..EventQuery::default()
    };
    let events = context.platform.events(&last_good).await?;
    let head = events.first().map(|event| event.hash.to_string());
    Ok(Json(rest::verification(verification, head)))
}
