//! The way of one request: match, wait, choose, send, retry, shield. Not the wire on either side.

mod attempt;
mod replies;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use towpath_model::routing::Shield;

use crate::admission::{Admission, Choice, Pick, Query, admit, cookies};
use crate::body::Body;
use crate::codec::Noted;
use crate::counters::Counters;
use crate::header_maps::HeaderMaps;
use crate::headers::{self, is_idempotent, is_safe};
use crate::instance::{Instance, Upgraded};
use crate::interim::Interim;
use crate::shared::Shared;
use crate::table::{Route, normal_host};
use attempt::{Fault, Outgoing};
pub(crate) use replies::{CloseAfter, reply};

/// Where a request came in.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) shared: Arc<Shared>,
    pub(crate) worker: usize,
    pub(crate) tasks: TaskTracker,
    pub(crate) listener: SocketAddr,
    pub(crate) header_maps: Arc<HeaderMaps>,
    /// The address of the client, as it is told to backends.
    pub(crate) peer: HeaderValue,
}

/// What the client gets.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A response.
    Response(Response<Body>),
    /// The head of a `101 Switching Protocols`, and then a tunnel.
    Switch(Box<Response<()>>, Box<Tunnel>),
}

/// The backend's end of an upgraded connection.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) io: TcpStream,
    /// What the backend sent behind its head.
    pub(crate) early: BytesMut,
    pub(crate) idle_timeout: Duration,
    pub(crate) lease: Upgraded,
}

/// A request on its way, over all attempts.
struct Job<'a> {
    parts: Parts,
    authority: HeaderValue,
    interim: &'a Interim,
    body: Option<Body>,
    body_length: Option<u64>,
    /// Backends that failed.
    tried: Vec<Arc<Instance>>,
    /// Whether the request was counted against the route's rate.
    charged: bool,
    /// Since when the request is held by a pause.
    held_since: Option<Instant>,
    /// The shield in use: only its stable side may answer now.
    shield: Option<Shield>,
    /// The candidate's own answer, for when the stable side has none.
    spare: Option<Response<Body>>,
    /// Who is to be blamed for the failed attempts, unless it answers after all.
    blamed: Option<Arc<Counters>>,
    /// The answer when no further backend can be tried.
    last_fault: Option<StatusCode>,
}

enum Step {
    Again,
    Done(Outcome),
}

fn done(response: Response<Body>) -> Step {
    Step::Done(Outcome::Response(response))
}

/// Forwards `request` and returns what the client gets. It always returns something.
///
/// `noted` are the fields for one connection that it may have; interim answers go to `interim`.
pub(crate) async fn forward(
    origin: &Origin,
    request: Request<Body>,
    noted: Noted,
    interim: &Interim,
) -> Outcome {
    let (mut parts, body) = request.into_parts();
    let authority = match headers::authority(&parts.uri, &parts.headers, parts.version) {
        Ok(authority) => authority,
        Err(headers::BadRequest(rule)) => {
            return Outcome::Response(replies::bad_request(rule));
        }
    };
    if parts.method == Method::CONNECT {
        return Outcome::Response(reply(
            StatusCode::METHOD_NOT_ALLOWED,
            "this is no forward proxy",
        ));
    }
    let upgrade = noted
        .has(Noted::CONNECTION)
        .then(|| headers::upgrade(&parts.headers, parts.version))
        .flatten();
    headers::prepare_request(
        &mut parts.headers,
        noted,
        &origin.peer,
        &authority,
        upgrade.as_ref(),
    );
    let mut job = Job {
        body_length: http_body::Body::size_hint(&body).exact(),
        parts,
        authority,
        interim,
        body: Some(body),
        tried: Vec::new(),
        charged: false,
        held_since: None,
        shield: None,
        spare: None,
        blamed: None,
        last_fault: None,
    };
    loop {
        match job.step(origin).await {
            Step::Again => {}
            Step::Done(outcome) => {
                origin.header_maps.give(job.parts.headers);
                return outcome;
            }
        }
    }
}

impl Job<'_> {
    async fn step(&mut self, origin: &Origin) -> Step {
        match self.admit(origin) {
            Admission::Forward(pick) => match self.refusal(&pick.route) {
                Some(status) => done(replies::refusal(&pick.route, status)),
                None => self.attempt(origin, pick).await,
            },
            Admission::Hold(route, max_wait_ms) => self.hold(origin, &route, max_wait_ms).await,
            Admission::Maintenance(route) => done(replies::maintenance(&route)),
            Admission::NoRoute => done(reply(StatusCode::NOT_FOUND, "no route matches")),
            Admission::NoBackend(route) => self.give_up(origin, &route),
        }
    }

    fn admit(&self, origin: &Origin) -> Admission {
        let host = normal_host(self.authority.to_str().unwrap_or_default());
        let query = Query {
            listener: origin.listener,
            host: &host,
            path: self.parts.uri.path(),
            headers: Some(&self.parts.headers),
        };
        let choice = match &self.shield {
            Some(shield) => Choice::Only(&shield.stable),
            None => Choice::Weighted,
        };
        admit(&origin.shared, query, choice, &self.tried)
    }

    /// Returns the status when the route's limits refuse the request.
    fn refusal(&mut self, route: &Route) -> Option<StatusCode> {
        if self.charged {
            return None;
        }
        self.charged = true;
        if self
            .body_length
            .is_some_and(|length| length > route.policy.max_body_bytes)
        {
            return Some(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let limit = route.policy.rate_limit_per_s;
        let within = limit == 0 || route.state.is_within_rate(limit, replies::now_ns());
        (!within).then_some(StatusCode::TOO_MANY_REQUESTS)
    }

    /// Waits until the table changes, or gives up when the request was held for long enough.
    async fn hold(&mut self, origin: &Origin, route: &Arc<Route>, max_wait_ms: u64) -> Step {
        let mut swaps = origin.shared.swaps();
        // The table may have changed before the subscription.
        if !matches!(self.admit(origin), Admission::Hold(..)) {
            return Step::Again;
        }
        let Some(_held) = route.state.hold(origin.shared.limits.held_requests) else {
            return done(replies::refusal(route, StatusCode::SERVICE_UNAVAILABLE));
        };
        let since = *self.held_since.get_or_insert_with(Instant::now);
        let until = since + Duration::from_millis(max_wait_ms);
        match tokio::time::timeout_at(until, swaps.changed()).await {
            Ok(_) => Step::Again,
            Err(_) => done(replies::refusal(route, StatusCode::GATEWAY_TIMEOUT)),
        }
    }

    fn give_up(&mut self, origin: &Origin, route: &Route) -> Step {
        self.blame(origin, None);
        if let Some(response) = self.spare.take() {
            return done(response);
        }
        let status = self.last_fault.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        done(replies::refusal(route, status))
    }

    /// Sends the request to the backend of `pick`.
    async fn attempt(&mut self, origin: &Origin, pick: Pick) -> Step {
        let started = Instant::now();
        let outgoing = Outgoing {
            parts: &self.parts,
            body: self.body.take().unwrap_or(Body::Empty),
            interim: self.interim,
        };
        let instance = Arc::clone(pick.lease.instance());
        match attempt::send(origin, outgoing, &pick).await {
            Ok(received) => {
                let status = received.status();
                if let Some(target) = pick.target() {
                    let blamed = self.blamed.take();
                    self.blamed = blamed.filter(|other| !Arc::ptr_eq(other, &target.counters));
                    self.blame(origin, None);
                    target
                        .counters
                        .answered(origin.worker, status, started.elapsed());
                }
                let shielded = status.is_server_error() && self.raise_shield(origin, &pick);
                let route = Arc::clone(&pick.route);
                let cookie = self.sticky_cookie(&pick);
                let outcome = received.finish(pick.lease, origin.worker, &route, cookie);
                match outcome {
                    Outcome::Response(response) if shielded => {
                        self.spare = Some(response);
                        self.tried.clear();
                        self.body = Some(Body::Empty);
                        Step::Again
                    }
                    outcome => Step::Done(outcome),
                }
            }
            Err(fault) => self.after(origin, &pick, &instance, fault),
        }
    }

    /// Decides what follows an attempt without an answer.
    fn after(
        &mut self,
        origin: &Origin,
        pick: &Pick,
        instance: &Arc<Instance>,
        fault: Fault,
    ) -> Step {
        if let Some((status, rule)) = fault.client_status() {
            return done(reply(status, rule));
        }
        tracing::debug!(instance.id = %instance.id, %fault, "a backend did not answer");
        let status = fault.status();
        self.last_fault = Some(status);
        self.tried.push(Arc::clone(instance));
        let retry = fault.may_retry(is_idempotent(&self.parts.method));
        self.blame(origin, pick.target().map(|target| &target.counters));
        if self.raise_shield(origin, pick) {
            self.tried.clear();
            self.body = Some(Body::Empty);
            return Step::Again;
        }
        self.body = fault.into_body();
        if retry && self.body.is_some() && self.tried.len() < origin.shared.limits.attempts {
            return Step::Again;
        }
        self.give_up(origin, &pick.route)
    }

    /// Counts the request as unanswered by whom failed it last, unless that is `next`: a workload
    /// that answers at another instance has answered.
    fn blame(&mut self, origin: &Origin, next: Option<&Arc<Counters>>) {
        let blamed = std::mem::replace(&mut self.blamed, next.cloned());
        if let Some(blamed) = blamed
            && !next.is_some_and(|next| Arc::ptr_eq(next, &blamed))
        {
            blamed.unanswered(origin.worker);
        }
    }

    /// Turns to the stable side if `pick` was the candidate's and the request is one that the
    /// shield replays.
    fn raise_shield(&mut self, origin: &Origin, pick: &Pick) -> bool {
        let Some(shield) = &pick.route.shield else {
            return false;
        };
        let Some(target) = pick.target() else {
            return false;
        };
        let covers = self.shield.is_none()
            && target.workload == shield.candidate
            && is_safe(&self.parts.method)
            && self.body_length == Some(0);
        if covers {
            target.counters.shielded(origin.worker);
            self.shield = Some(shield.clone());
        }
        covers
    }

    /// Returns the cookie that keeps the client on the release that answered, unless it has it.
    fn sticky_cookie(&self, pick: &Pick) -> Option<HeaderValue> {
        let cookie = pick.target()?.cookie.as_ref()?;
        let pair = cookie.to_str().ok()?.split(';').next()?;
        let known = cookies(&self.parts.headers)
            .is_some_and(|cookies| cookies.split(';').any(|known| known.trim() == pair));
        (!known).then(|| cookie.clone())
    }
}
