//! What people ask of an environment: checked here, written into its record, carried out by later
//! steps.

mod hold;
mod one_off;
mod scale;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;

use crate::deployment::{Deployment, Failure, Kind, Origin, Outcome, Pause, PauseReason, Phase};
use crate::environment::{Environment, Hold, Lifecycle};
use crate::event::NewEvent;
use crate::id::{DeploymentNumber, EnvironmentId, ReleaseNumber, ServiceName};
use crate::release::Rendering;
use crate::rollout::{Settings, Strategy};

pub use one_off::{OneOffRequest, program};

/// Why a request was not accepted. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The release has no service: to deploy it would remove everything.
    #[error("the release has no service: deploying it would remove everything")]
    Empty,
    /// No deployment is active or waiting.
    #[error("no deployment is under way")]
    NoDeployment,
    /// The candidate is the stable release already.
    #[error("deployment {0} has succeeded and only clears away the old release: use rollback")]
    TooLate(DeploymentNumber),
    /// It is on its way back already.
    #[error("deployment {0} is being rolled back already")]
    RollingBack(DeploymentNumber),
    /// It is paused already.
    #[error("deployment {0} is paused already")]
    AlreadyPaused(DeploymentNumber),
    /// It is not paused.
    #[error("deployment {0} is not paused")]
    NotPaused(DeploymentNumber),
    /// It failed, and going on would bring out what failed.
    #[error("deployment {0} failed and cannot go on: abort it or deploy a mended release")]
    Failed(DeploymentNumber),
    /// There is no such service in the stable release.
    #[error("there is no service `{0}` to scale")]
    NoService(ServiceName),
    /// There are never two instances of it.
    #[error("service `{0}` has a volume of its own: there is never more than one instance of it")]
    Stateful(ServiceName),
    /// It runs to its end.
    #[error("service `{0}` is a release job and is not scaled")]
    Job(ServiceName),
    /// There is no such service in the stable release.
    #[error("the stable release has no service `{0}`")]
    NotInRelease(ServiceName),
    /// Processes have none.
    #[error("service `{0}` is a process: it has no entry point")]
    NoEntrypoint(ServiceName),
    /// Nothing is to run in the environment.
    #[error("the environment is down: towpath up brings it back")]
    Down,
    /// Automatic deployment is on hold.
    #[error("automatic deployment is on hold: {0}")]
    OnHold(String),
    /// Nothing was ever deployed.
    #[error("nothing was ever deployed here")]
    NothingDeployed,
    /// The environment is not held.
    #[error("automatic deployment is not on hold")]
    NotOnHold,
    /// Something was deployed before.
    #[error("`{0}` is not new: only an environment in which nothing runs can take a project over")]
    NotNew(EnvironmentId),
    /// It was never taken over.
    #[error("nothing was taken over from Docker Compose here")]
    NotAdopted,
    /// Not everything is as it was when it was taken over.
    #[error(
        "it cannot be let go any more: something was deployed, scaled or stopped since it was taken over"
    )]
    NotAsAdopted,
    /// It is being let go.
    #[error("what was taken over here is being let go")]
    Leaving,
}

/// A deployment that is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Why.
    pub kind: Kind,
    /// The release to bring out.
    pub release: ReleaseNumber,
    /// What it renders to here.
    pub rendering: Arc<Rendering>,
    /// Other settings than the rendering's own.
    pub settings: Option<Settings>,
    /// Where each service is to be reached by the others; kept for ever once given.
    pub peers: BTreeMap<ServiceName, SocketAddr>,
    /// Who asks.
    pub actor: String,
    /// Whether nobody in particular asks (a push, a schedule): refused while on hold.
    pub automatic: bool,
}

/// What a request changed, to be written down with the record.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// What to add to the audit trail.
    pub events: Vec<NewEvent>,
    /// Deployments that ended by it.
    pub finished: Vec<Deployment>,
}

impl Change {
    /// Returns what only adds an event to the audit trail.
    pub(crate) fn told(
        at: Timestamp,
        actor: &str,
        what: &str,
        subject: String,
        reason: Option<String>,
    ) -> Self {
        let mut change = Self::default();
        change.event(at, actor, what, subject, reason);
        change
    }

    fn event(
        &mut self,
        at: Timestamp,
        actor: &str,
        what: &str,
        subject: String,
        reason: Option<String>,
    ) {
        self.events.push(NewEvent {
            at,
            actor: actor.to_owned(),
            what: what.to_owned(),
            subject,
            from: None,
            to: None,
            reason,
        });
    }

    fn finish(&mut self, mut deployment: Deployment, outcome: Outcome, at: Timestamp) {
        deployment.phase = Phase::Ended(outcome);
        deployment.paused = None;
        deployment.finished_at = Some(at);
        self.finished.push(deployment);
    }
}

impl Deployment {
    /// Makes one that was asked for and has not begun.
    fn queued(
        number: DeploymentNumber,
        kind: Kind,
        release: ReleaseNumber,
        actor: String,
        settings: Settings,
        at: Timestamp,
    ) -> Self {
        Self {
            number,
            kind,
            release,
            from: None,
            actor,
            automatic: false,
            origin: None,
            settings,
            requested_at: at,
            started_at: None,
            shifted_at: None,
            finished_at: None,
            phase: Phase::Queued,
            progress_at: at,
            reached: BTreeMap::new(),
            paused: None,
            failure: None,
            jobs: BTreeMap::new(),
            failures: BTreeMap::new(),
            last_failure: None,
            never_well: None,
            baseline: None,
        }
    }

    /// Starts the way back because a person wishes so.
    fn turn_back(&mut self, reason: String, at: Timestamp) {
        self.failure = Some(Failure {
            reason,
            service: None,
            log_tail: Vec::new(),
            unheard: None,
            aborted: true,
            at,
        });
        self.paused = None;
        self.phase = Phase::Restoring;
        self.reached.clear();
        self.progress_at = at;
    }
}

impl Environment {
    fn deployment_subject(&self, number: DeploymentNumber) -> String {
        format!("{}/{number}", self.id)
    }

    /// Refuses what cannot be brought out here now.
    fn accepts(&self, request: &Request) -> Result<(), Refusal> {
        if let Some(hold) = self.hold.as_ref().filter(|_| request.automatic) {
            return Err(Refusal::OnHold(hold.reason.clone()));
        }
        if request.rendering.services.is_empty() {
            return Err(Refusal::Empty);
        }
        if self.is_leaving() {
            return Err(Refusal::Leaving);
        }
        Ok(())
    }

    /// Asks for a deployment. It waits while another is active; one that waited already is
    /// superseded. A rollback takes the place of an active deployment at once.
    pub fn request(
        &mut self,
        request: Request,
        at: Timestamp,
    ) -> Result<(DeploymentNumber, Change), Refusal> {
        self.accepts(&request)?;
        let mut change = Change::default();
        self.supersede_waiting(&mut change, &request.actor, at);
        if request.kind == Kind::Rollback {
            let reason = format!("rollback to release {} was asked for", request.release);
            self.give_way(&mut change, &request.actor, reason, at);
            self.hold_for_rollback(&mut change, &request, at);
        }
        let number = DeploymentNumber(self.next_deployment);
        self.next_deployment += 1;
        let Request {
            kind,
            release,
            rendering,
            settings,
            peers,
            actor,
            automatic,
        } = request;
        let subject = self.deployment_subject(number);
        change.event(
            at,
            &actor,
            "deployment.requested",
            subject,
            Some(format!("release {release}")),
        );
        let settings = settings.unwrap_or_else(|| rendering.settings.clone());
        let settings = match kind {
            Kind::Rollback => all_at_once(settings),
            Kind::Release => settings,
        };
        self.waiting = Some(Deployment {
            automatic,
            from: self.stable,
            ..Deployment::queued(number, kind, release, actor.clone(), settings, at)
        });
        self.renderings.insert(release, rendering);
        for (service, address) in peers {
            self.peers.entry(service).or_insert(address);
        }
        if self.lifecycle == Lifecycle::Down {
            self.lifecycle = Lifecycle::Up;
            change.event(at, &actor, "environment.up", self.id.to_string(), None);
        }
        Ok((number, change))
    }

    /// Asks for a deployment on behalf of a run. Asked again by the same attempt, it is the same one.
    pub fn request_for(
        &mut self,
        origin: Origin,
        request: Request,
        at: Timestamp,
    ) -> Result<(DeploymentNumber, Change), Refusal> {
        let mut asked = self.deployment.iter().chain(&self.waiting);
        if let Some(same) = asked.find(|one| one.origin == Some(origin)) {
            return Ok((same.number, Change::default()));
        }
        let answer = self.request(request, at)?;
        if let Some(waiting) = &mut self.waiting {
            waiting.origin = Some(origin);
        }
        Ok(answer)
    }

    /// After a rollback nothing is deployed by itself until a person says so: automation would
    /// bring back what was just taken away.
    fn hold_for_rollback(&mut self, change: &mut Change, request: &Request, at: Timestamp) {
        let reason = format!("release {} was rolled back to", request.release);
        let subject = self.id.to_string();
        change.event(
            at,
            &request.actor,
            "environment.held",
            subject,
            Some(reason.clone()),
        );
        self.hold = Some(Hold { reason, since: at });
    }

    fn supersede_waiting(&mut self, change: &mut Change, actor: &str, at: Timestamp) {
        let Some(waiting) = self.waiting.take() else {
            return;
        };
        let subject = self.deployment_subject(waiting.number);
        let reason = Some("a newer deployment was asked for".to_owned());
        change.event(at, actor, "deployment.superseded", subject, reason);
        change.finish(waiting, Outcome::Superseded, at);
    }

    /// Lets a rollback take over from the active deployment. One whose strategy stopped the stable
    /// release first goes its own way back: until that is done requests are held, and a rollback
    /// that took over would let them go to nobody.
    fn give_way(&mut self, change: &mut Change, actor: &str, reason: String, at: Timestamp) {
        let stopped_first = |active: &&mut Deployment| {
            let between = match active.phase {
                Phase::Vacating
                | Phase::Provisioning { .. }
                | Phase::Shifting { .. }
                | Phase::Restoring
                | Phase::Reverting => active.shifted_at.is_none(),
                Phase::Queued
                | Phase::Preparing
                | Phase::Soaking { .. }
                | Phase::Baking { .. }
                | Phase::Draining
                | Phase::Discarding
                | Phase::Ended(_) => false,
            };
            between && active.settings.strategy == Strategy::Recreate
        };
        match self.deployment.as_mut().filter(stopped_first) {
            Some(active) if active.is_rolling_back() => {}
            Some(active) => {
                active.turn_back(reason.clone(), at);
                let subject = format!("{}/{}", self.id, active.number);
                change.event(at, actor, "deployment.aborting", subject, Some(reason));
            }
            None => self.cut_short(change, actor, reason, at),
        }
    }

    /// Ends the active deployment where it is. What has traffic keeps it until something else moves
    /// it.
    fn cut_short(&mut self, change: &mut Change, actor: &str, reason: String, at: Timestamp) {
        let Some(mut active) = self.deployment.take() else {
            return;
        };
        let subject = self.deployment_subject(active.number);
        if active.phase == Phase::Draining {
            change.event(at, actor, "deployment.ended", subject, Some(reason));
            return change.finish(active, Outcome::Succeeded, at);
        }
        active.failure.get_or_insert(Failure {
            reason: reason.clone(),
            service: None,
            log_tail: Vec::new(),
            unheard: None,
            aborted: true,
            at,
        });
        change.event(at, actor, "deployment.aborted", subject, Some(reason));
        change.finish(active, Outcome::Aborted, at);
    }

    /// Stops the active deployment, or the waiting one, and goes back to the stable release.
    pub fn abort(
        &mut self,
        actor: &str,
        at: Timestamp,
    ) -> Result<(DeploymentNumber, Change), Refusal> {
        let mut change = Change::default();
        let reason = format!("aborted by {actor}");
        let Some(active) = &mut self.deployment else {
            let waiting = self.waiting.take().ok_or(Refusal::NoDeployment)?;
            let number = waiting.number;
            let subject = self.deployment_subject(number);
            change.event(at, actor, "deployment.aborted", subject, Some(reason));
            change.finish(waiting, Outcome::Aborted, at);
            return Ok((number, change));
        };
        let number = active.number;
        if active.phase == Phase::Draining {
            return Err(Refusal::TooLate(number));
        }
        if active.is_rolling_back() {
            return Err(Refusal::RollingBack(number));
        }
        active.turn_back(reason.clone(), at);
        let subject = self.deployment_subject(number);
        change.event(at, actor, "deployment.aborting", subject, Some(reason));
        Ok((number, change))
    }

    /// Keeps the active deployment where it is. A candidate that fails is rolled back all the same.
    pub fn pause(
        &mut self,
        actor: &str,
        at: Timestamp,
    ) -> Result<(DeploymentNumber, Change), Refusal> {
        let active = self.deployment.as_mut().ok_or(Refusal::NoDeployment)?;
        let number = active.number;
        if active.phase == Phase::Draining {
            return Err(Refusal::TooLate(number));
        }
        if active.is_rolling_back() {
            return Err(Refusal::RollingBack(number));
        }
        if active.paused.is_some() {
            return Err(Refusal::AlreadyPaused(number));
        }
        let detail = format!("paused by {actor}");
        active.paused = Some(Pause {
            reason: PauseReason::Manual,
            since: at,
            detail: detail.clone(),
        });
        let mut change = Change::default();
        let subject = self.deployment_subject(number);
        change.event(at, actor, "deployment.paused", subject, Some(detail));
        Ok((number, change))
    }

    /// Lets a paused deployment go on. After a canary step that asks for a person, or a verdict
    /// that did not come, it goes on with the next step.
    pub fn resume(
        &mut self,
        actor: &str,
        at: Timestamp,
    ) -> Result<(DeploymentNumber, Change), Refusal> {
        let active = self.deployment.as_mut().ok_or(Refusal::NoDeployment)?;
        let number = active.number;
        let pause = active.paused.as_ref().ok_or(Refusal::NotPaused(number))?;
        match pause.reason {
            PauseReason::Failed => return Err(Refusal::Failed(number)),
            PauseReason::Step | PauseReason::Inconclusive => {
                if let Phase::Soaking { stage, .. } = active.phase {
                    active.phase = Phase::Provisioning { stage: stage + 1 };
                }
            }
            PauseReason::Manual => {
                if let Phase::Soaking { since, .. } | Phase::Baking { since } = &mut active.phase {
                    *since = at;
                }
            }
        }
        active.paused = None;
        active.progress_at = at;
        let mut change = Change::default();
        let subject = self.deployment_subject(number);
        change.event(at, actor, "deployment.resumed", subject, None);
        Ok((number, change))
    }

    /// Stops everything. Volumes and releases stay; a later deployment brings it up again.
    pub fn take_down(&mut self, actor: &str, at: Timestamp) -> Change {
        let mut change = Change::default();
        self.supersede_waiting(&mut change, actor, at);
        let reason = format!("the environment was taken down by {actor}");
        self.cut_short(&mut change, actor, reason, at);
        self.lifecycle = Lifecycle::Down;
        self.shares.clear();
        change.event(at, actor, "environment.down", self.id.to_string(), None);
        change
    }

    /// Returns the release that a rollback without a target goes to: the stable one while a
    /// candidate is being brought out, else the one before it.
    pub fn rollback_target(&self) -> Option<ReleaseNumber> {
        let active = self
            .deployment
            .as_ref()
            .filter(|active| active.phase != Phase::Draining);
        match active {
            Some(active) => self.stable.filter(|stable| *stable != active.release),
            None => self
                .history
                .iter()
                .rev()
                .find(|release| Some(**release) != self.stable)
                .copied(),
        }
    }
}

/// A rollback brings the whole release up beside the present one and moves all traffic at once.
fn all_at_once(settings: Settings) -> Settings {
    Settings {
        strategy: Strategy::BlueGreen,
        ..settings
    }
}
