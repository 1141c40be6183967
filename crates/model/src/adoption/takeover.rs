//! The way of a published port from the container that has it to the router, in one step that can
//! be undone and without a moment in which nobody answers.
//!
//! As long as the container is there nobody else can listen on its port. So the router listens on
//! another one, and the machine is asked to send new connections there (a redirect); those that
//! are open go on as they are. When the container is gone the router takes the port itself, and
//! only then the redirect goes, and after it the other port.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Adopted;
use crate::environment::{Environment, Lifecycle};
use crate::id::ServiceName;
use crate::instance::{after, elapsed};
use crate::observation::Observation;
use crate::step::Turn;

/// How long the router still listens on the other port when no redirect leads there: a connection
/// may be on its way.
const LINGER: Duration = Duration::from_secs(2);

/// A published port on its way to the router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// The service that it is of.
    pub service: ServiceName,
    /// The socket that the container publishes.
    pub listen: SocketAddr,
    /// The port that the router listens on meanwhile; without one the traffic stays where it is
    /// until the container is gone.
    pub via: Option<u16>,
    /// The instance that has the port.
    pub holder: u32,
    /// How far it is.
    pub stage: Stage,
}

/// How far a takeover is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The container is given its connections as ever; the router is not ready for them.
    Waiting,
    /// New connections are sent to the router.
    Moved,
    /// The container is gone, and the router is to take the port.
    Binding,
    /// The redirect is not needed any more.
    Closing {
        /// Since when it is known to be gone.
        since: Option<Timestamp>,
    },
}

/// What the machine is asked to do with new connections to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Redirect {
    /// Where they go to; any address of the machine where it is unspecified.
    pub listen: SocketAddr,
    /// The port that gets them in its place.
    pub via: u16,
}

impl Takeover {
    /// Returns the sockets on which the router serves in place of the published one.
    pub fn sockets(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let is_free = match self.stage {
            Stage::Waiting | Stage::Moved => false,
            Stage::Binding | Stage::Closing { .. } => true,
        };
        let own = is_free.then_some(self.listen);
        self.via_socket().into_iter().chain(own)
    }

    fn via_socket(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.listen.ip(), self.via?))
    }

    fn redirect(&self) -> Option<Redirect> {
        let is_wanted = match self.stage {
            Stage::Moved | Stage::Binding => true,
            Stage::Waiting | Stage::Closing { .. } => false,
        };
        is_wanted.then_some(())?;
        Some(Redirect {
            listen: self.listen,
            via: self.via?,
        })
    }

    /// Returns when time alone changes something.
    fn wake_at(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Closing { since } => since.map(|since| after(since, LINGER)),
            Stage::Waiting | Stage::Moved | Stage::Binding => None,
        }
    }
}

impl Adopted {
    /// Returns the redirects that should be in force.
    pub fn redirects(&self) -> BTreeSet<Redirect> {
        self.takeovers
            .iter()
            .filter_map(Takeover::redirect)
            .collect()
    }

    pub(crate) fn deadlines(&self) -> impl Iterator<Item = Timestamp> {
        self.takeovers.iter().filter_map(Takeover::wake_at)
    }
}

/// Moves every takeover on as far as it can go, and ends a leave whose traffic is back. Returns
/// whether anything changed.
pub(crate) fn advance(turn: &mut Turn<'_>) -> bool {
    let Some(before) = turn.environment.adopted.clone() else {
        return false;
    };
    let mut adopted = before.clone();
    let instances = &turn.environment.instances;
    adopted
        .containers
        .retain(|number, _| instances.contains_key(number));
    let mut told = Vec::new();
    adopted.takeovers = before
        .takeovers
        .iter()
        .filter_map(|one| {
            let stage = next(turn, one);
            let what = match (one.stage, stage) {
                (Stage::Waiting, Some(Stage::Moved)) => Some("port.moved"),
                (Stage::Moved, Some(Stage::Closing { .. })) => Some("port.given_back"),
                (Stage::Binding, Some(Stage::Closing { .. }) | None) => Some("port.taken_over"),
                _ => None,
            };
            told.extend(what.map(|what| (what, one.listen)));
            stage.map(|stage| Takeover {
                stage,
                ..one.clone()
            })
        })
        .collect();
    for (what, listen) in told {
        let subject = format!("{}/{listen}", turn.environment.id);
        turn.event(what, subject, None);
    }
    let is_back = adopted.leaving.is_some() && adopted.takeovers.is_empty();
    let changed = adopted != before;
    turn.environment.adopted = Some(adopted);
    let left = is_back && leave(turn);
    changed || left
}

/// Forgets everything, with nothing stopped: the engine is told by the actions of this step.
fn leave(turn: &mut Turn<'_>) -> bool {
    let environment = &mut turn.environment;
    if environment.lifecycle == Lifecycle::Down {
        return false;
    }
    environment.lifecycle = Lifecycle::Down;
    environment.instances.clear();
    environment.shares.clear();
    environment.stable = None;
    environment.history.clear();
    let id = environment.id.to_string();
    turn.event("environment.left", id, None);
    true
}

/// Returns the next stage; `None` when the takeover is over.
fn next(turn: &Turn<'_>, one: &Takeover) -> Option<Stage> {
    let environment = &turn.environment;
    let is_leaving = environment.is_leaving();
    let is_gone = !environment.instances.contains_key(&one.holder);
    let is_down = environment.lifecycle == Lifecycle::Down;
    let given_up = one.via.map(|_| Stage::Closing { since: None });
    match one.stage {
        Stage::Waiting if is_leaving => None,
        Stage::Waiting | Stage::Moved | Stage::Binding if is_gone && is_down => given_up,
        Stage::Moved if is_leaving => Some(Stage::Closing { since: None }),
        Stage::Waiting | Stage::Moved if is_gone => Some(Stage::Binding),
        Stage::Waiting => {
            let is_ready = one
                .via_socket()
                .is_some_and(|via| is_open(turn, via) && has_backends(environment, via));
            Some(if is_ready {
                Stage::Moved
            } else {
                Stage::Waiting
            })
        }
        Stage::Binding if is_open(turn, one.listen) => given_up,
        Stage::Moved | Stage::Binding => Some(one.stage),
        Stage::Closing { since } => {
            let observed = turn.observation.redirects.as_ref();
            let stands = observed.is_none_or(|all| all.iter().any(|it| it.listen == one.listen));
            match since {
                _ if stands => Some(Stage::Closing { since: None }),
                None => Some(Stage::Closing {
                    since: Some(turn.now),
                }),
                Some(since) if elapsed(since, turn.now) >= LINGER => None,
                Some(_) => Some(one.stage),
            }
        }
    }
}

/// Tells whether the router said that it listens there.
fn is_open(turn: &Turn<'_>, socket: SocketAddr) -> bool {
    let environment = &turn.environment;
    let faults = |observation: &Observation| {
        let report = observation.router.as_ref();
        report.is_none_or(|report| report.faults.iter().any(|fault| fault.address == socket))
    };
    environment.listens_on().contains(&socket)
        && environment.is_acknowledged(turn.observation)
        && !faults(turn.observation)
}

/// Tells whether the routes on a socket have somebody to give requests to.
fn has_backends(environment: &Environment, socket: SocketAddr) -> bool {
    let mut routes = environment.published.routes.iter();
    routes.any(|published| {
        let mut targets = published.route.targets.iter();
        published.listen == socket
            && targets.any(|target| target.weight > 0 && !target.backends.is_empty())
    })
}

/// Returns the socket of a published port; every address of the machine when none is named.
pub fn socket(host: Option<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(host.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port)
}
