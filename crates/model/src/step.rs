//! One step of an environment: the present record and what is observed go in, the next record and
//! what is to be done come out. The record is written down before anything is done, and all that
//! is done is idempotent, so a crash at any line is harmless.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::adoption::takeover::{self, Redirect};
use crate::adoption::{Adopted, AdoptedContainer};
use crate::deployment::{Deployment, Phase};
use crate::environment::{Environment, Lifecycle};
use crate::event::NewEvent;
use crate::id::{InstanceId, ServiceName};
use crate::instance::{self, Health, after};
use crate::observation::{InstanceState, Observation};
use crate::pipeline::{JOB_SERVICE, is_ephemeral};
use crate::port::{Artifacts, ImageRequest, InstanceStart, ProbeTarget, Stop};
use crate::{advance, names, reconcile};

/// The most rounds of one step. Each round moves a deployment by at least one phase, of which
/// there are fewer than this, so the limit only bounds a bug.
const MOST_ROUNDS: usize = 64;

/// Who is named as the actor of what happens by itself.
pub const SYSTEM: &str = "towpath";

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Make a release's artifacts.
    Prepare(Artifacts),
    /// Tell the router [`Environment::published`].
    Publish,
    /// Start an instance.
    Start(InstanceStart),
    /// Stop an instance.
    Stop {
        /// Which.
        id: InstanceId,
        /// How.
        stop: Stop,
    },
    /// Forget an instance that ended.
    Remove(InstanceId),
    /// Take a container over as an instance, as it runs.
    Adopt(AdoptedContainer),
    /// Forget an instance that was taken over, with nothing stopped.
    LetGo(InstanceId),
    /// Have these redirects of published ports in force, and no others of the environment.
    Redirect(BTreeSet<Redirect>),
}

/// The outcome of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The record to write down.
    pub environment: Environment,
    /// What to do when it is written down.
    pub actions: Vec<Action>,
    /// What to add to the audit trail, with the record.
    pub events: Vec<NewEvent>,
    /// Deployments that ended in this step and are no longer in the record.
    pub finished: Vec<Deployment>,
    /// When the next step is due, though nothing should be observed before.
    pub wake_at: Option<Timestamp>,
}

/// Moves an environment by one step.
pub fn step(environment: &Environment, observation: &Observation, now: Timestamp) -> Step {
    let mut turn = Turn::new(environment.clone(), observation, now);
    reconcile::absorb(&mut turn);
    for _ in 0..MOST_ROUNDS {
        let moved = advance::advance(&mut turn);
        let placed = reconcile::place(&mut turn);
        let routed = turn.environment.refresh_routes();
        let drained = reconcile::drain(&mut turn);
        let taken = takeover::advance(&mut turn);
        if !(moved || placed || routed || drained || taken) {
            break;
        }
    }
    turn.environment.forget_unused();
    let wake_at = wake_at(&turn.environment, now);
    Step {
        actions: actions(&turn.environment, observation),
        environment: turn.environment,
        events: turn.events,
        finished: turn.finished,
        wake_at,
    }
}

/// A step in the making.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) environment: Environment,
    pub(crate) observation: &'a Observation,
    pub(crate) now: Timestamp,
    pub(crate) events: Vec<NewEvent>,
    pub(crate) finished: Vec<Deployment>,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(
        environment: Environment,
        observation: &'a Observation,
        now: Timestamp,
    ) -> Self {
        Self {
            environment,
            observation,
            now,
            events: Vec::new(),
            finished: Vec::new(),
        }
    }

    /// Adds a line to the audit trail.
    pub(crate) fn event(&mut self, what: &str, subject: String, reason: Option<String>) {
        self.transition(what, subject, [None, None], reason);
    }

    /// Adds a line with what was before and what is now.
    pub(crate) fn transition(
        &mut self,
        what: &str,
        subject: String,
        [from, to]: [Option<String>; 2],
        reason: Option<String>,
    ) {
        self.events.push(NewEvent {
            at: self.now,
            actor: SYSTEM.to_owned(),
            what: what.to_owned(),
            subject,
            from,
            to,
            reason,
        });
    }
}

impl Environment {
    fn forget_unused(&mut self) {
        let in_play = self.releases_in_play();
        self.renderings
            .retain(|release, _| in_play.contains(release));
        let rendered: Vec<_> = self
            .renderings
            .values()
            .flat_map(|rendering| rendering.services.values().map(|service| &service.workload))
            .collect();
        self.backoff
            .retain(|workload, _| rendered.contains(&workload));
        self.completed
            .retain(|workload| rendered.contains(&workload));
    }

    /// Returns what is to be probed now.
    pub fn probe_targets(&self) -> Vec<ProbeTarget> {
        let running = self
            .instances
            .values()
            .filter(|instance| instance.job.is_none());
        running
            .filter_map(|one| {
                let instance::Phase::Running { address, since } = one.phase else {
                    return None;
                };
                let service = self.service(one.release, &one.workload.service)?;
                let check = service.spec.health.clone();
                let interval = if one.health == Health::Healthy {
                    check.interval
                } else {
                    check.start_interval
                };
                Some(ProbeTarget {
                    id: self.instance_id(one),
                    address,
                    check,
                    since,
                    interval,
                })
            })
            .collect()
    }
}

fn actions(environment: &Environment, observation: &Observation) -> Vec<Action> {
    let observed: BTreeMap<&InstanceId, &InstanceState> = observation
        .instances
        .iter()
        .map(|one| (&one.id, &one.state))
        .collect();
    let mut actions: Vec<Action> = prepare(environment).into_iter().collect();
    if !environment.is_acknowledged(observation) {
        actions.push(Action::Publish);
    }
    for one in environment.instances.values() {
        let id = environment.instance_id(one);
        let state = observed.get(&id).copied();
        match one.phase {
            instance::Phase::Pending { .. }
                if state.is_none() && may_ask(environment, observation, one) =>
            {
                actions.extend(adopt(environment, one).map_or_else(
                    || start(environment, one).map(Action::Start),
                    |container| Some(Action::Adopt(container)),
                ));
            }
            // One that the engine stops already is not told again.
            instance::Phase::Stopping { .. }
                if matches!(
                    state,
                    Some(InstanceState::Starting | InstanceState::Running { .. })
                ) =>
            {
                actions.push(Action::Stop {
                    stop: stop(environment, one),
                    id,
                });
            }
            instance::Phase::Pending { .. }
            | instance::Phase::Running { .. }
            | instance::Phase::Draining { .. }
            | instance::Phase::Stopping { .. } => {}
        }
    }
    actions.extend(left_overs(environment, observation));
    actions.extend(redirect(environment, observation));
    actions
}

/// Tells whether an instance may come to be, as far as names go: the first one of a candidate waits
/// until the router knows that not everybody is told the same, lest it is told of the stable side.
fn may_ask(environment: &Environment, observation: &Observation, one: &instance::Instance) -> bool {
    environment.published.names.is_empty()
        || !names::is_candidate(environment, one)
        || environment.is_acknowledged(observation)
}

fn redirect(environment: &Environment, observation: &Observation) -> Option<Action> {
    let observed = observation.redirects.as_ref()?;
    let wanted = environment.adopted.as_ref().map(Adopted::redirects);
    let wanted = wanted.unwrap_or_default();
    (*observed != wanted).then_some(Action::Redirect(wanted))
}

fn adopt(environment: &Environment, one: &instance::Instance) -> Option<AdoptedContainer> {
    let container = environment.adopted_container(one.number)?;
    let service = environment.service(one.release, &one.workload.service)?;
    Some(AdoptedContainer {
        id: environment.instance_id(one),
        workload: one.workload.clone(),
        release: one.release,
        spec: Arc::clone(&service.spec),
        container: container.clone(),
    })
}

fn prepare(environment: &Environment) -> Option<Action> {
    let deployment = environment.deployment.as_ref()?;
    if deployment.phase != Phase::Preparing {
        return None;
    }
    let rendering = environment.renderings.get(&deployment.release)?;
    let services = rendering.start_order().into_iter().filter_map(|name| {
        let service = rendering.services.get(name)?;
        Some((name, &service.spec))
    });
    let specs: Vec<_> = services.collect();
    Some(Action::Prepare(Artifacts {
        environment: environment.id.clone(),
        release: deployment.release,
        source: specs
            .iter()
            .find_map(|(_, spec)| spec.source.clone())
            .or_else(|| rendering.source.clone()),
        builds: specs
            .iter()
            .filter_map(|(name, spec)| Some(((*name).clone(), spec.build.clone()?)))
            .collect(),
        images: specs
            .iter()
            .filter_map(|(name, spec)| {
                let container = spec.container.as_deref()?;
                let image = ImageRequest {
                    image: container.image.clone(),
                    platform: container.platform.clone(),
                };
                Some(((*name).clone(), image))
            })
            .collect(),
    }))
}

fn start(environment: &Environment, one: &instance::Instance) -> Option<InstanceStart> {
    let service = environment.service(one.release, &one.workload.service)?;
    let own = environment.peers.get(&service.spec.service);
    Some(InstanceStart {
        id: environment.instance_id(one),
        workload: one.workload.clone(),
        release: one.release,
        spec: Arc::clone(&service.spec),
        fixed_port: own
            .filter(|_| service.is_exclusive())
            .map(std::net::SocketAddr::port),
        peers: environment.peers.clone(),
    })
}

/// Returns how an instance is to be stopped. One whose rendering is gone is stopped by Compose's
/// defaults.
fn stop(environment: &Environment, one: &instance::Instance) -> Stop {
    let name: &ServiceName = &one.workload.service;
    environment
        .service(one.release, name)
        .map_or_else(default_stop, |service| Stop {
            signal: service.spec.stop_signal.clone(),
            grace: service.spec.stop_grace,
        })
}

fn default_stop() -> Stop {
    Stop {
        signal: "SIGTERM".to_owned(),
        grace: Duration::from_secs(10),
    }
}

/// What the engine has and the record does not: ended instances are forgotten, others stopped.
/// What another environment has is not touched, should the engine show it.
fn left_overs(environment: &Environment, observation: &Observation) -> Vec<Action> {
    let known = |id: &InstanceId| {
        environment
            .instances
            .get(&id.number)
            .is_some_and(|one| one.workload.service == id.service)
    };
    let unknown = observation
        .instances
        .iter()
        .filter(|one| one.id.environment == environment.id && !known(&one.id));
    unknown
        .filter_map(|one| match one.state {
            // What was taken over stays as it is.
            _ if environment.is_leaving() => Some(Action::LetGo(one.id.clone())),
            // What a job left behind is looked at until its environment goes.
            InstanceState::Exited(_) if keeps_ended(environment, &one.id) => None,
            InstanceState::Exited(_) => Some(Action::Remove(one.id.clone())),
            InstanceState::Starting | InstanceState::Running { .. } => Some(Action::Stop {
                id: one.id.clone(),
                stop: default_stop(),
            }),
            InstanceState::Stopping => None,
        })
        .collect()
}

/// Tells whether an instance that ended is that of a pipeline's job whose environment is there still.
fn keeps_ended(environment: &Environment, id: &InstanceId) -> bool {
    let is_up = environment.lifecycle == Lifecycle::Up;
    is_up && id.service.as_str() == JOB_SERVICE && is_ephemeral(&environment.id.name)
}

/// Returns the next moment at which time alone changes something.
fn wake_at(environment: &Environment, now: Timestamp) -> Option<Timestamp> {
    let deployment = environment.deployment.as_ref();
    let moments = deployment
        .map(advance::deadlines)
        .into_iter()
        .flatten()
        .chain(environment.backoff.values().map(|backoff| backoff.until))
        .chain(environment.adopted.iter().flat_map(Adopted::deadlines))
        .chain(
            environment
                .instances
                .values()
                .flat_map(|one| match one.phase {
                    instance::Phase::Draining {
                        confirmed: Some(confirmed),
                        unnamed,
                        ..
                    } => {
                        let (requests, upgraded) = reconcile::request_drains(environment, one);
                        let unnamed = unnamed.and_then(|unnamed| unnamed.confirmed);
                        let names =
                            unnamed.map(|at| after(at, reconcile::name_drain(environment, one)));
                        [after(confirmed, requests), after(confirmed, upgraded)]
                            .into_iter()
                            .chain(names)
                            .collect()
                    }
                    instance::Phase::Running { since, .. } if one.health == Health::Unknown => {
                        let service = environment.service(one.release, &one.workload.service);
                        let patience = service.map(|found| found.spec.health.first_patience());
                        patience
                            .map(|patience| after(since, patience))
                            .into_iter()
                            .collect()
                    }
                    _ => Vec::new(),
                }),
        );
    moments.filter(|moment| *moment > now).min()
}
