//! The rollout: how a deployment moves from phase to phase. It changes the deployment, the shares
//! of traffic and, at its end, the stable release; instances follow by [`crate::reconcile`].

mod enter;
mod trouble;

use std::time::Duration;

use jiff::Timestamp;

use crate::analysis::Verdict;
use crate::deployment::{Deployment, Failure, JobState, Kind, Outcome, PauseReason, Phase};
use crate::desired::{Allocation, allocate, desired, share_of};
use crate::environment::Environment;
use crate::id::ServiceName;
use crate::instance::{after, elapsed};
use crate::observation::ArtifactState;
use crate::reconcile::is_as_good_as_gone;
use crate::release::RenderedService;
use crate::rollout::Strategy;
use crate::routing::FULL_WEIGHT;
use crate::step::Turn;
use enter::{end, enter, fail, pause, refuse, resume};
use trouble::{failure, trouble, verdicts};

/// What a deployment does next.
#[derive(Debug, Clone, PartialEq)]
enum Move {
    Stay,
    To(Phase),
    Pause(PauseReason, String),
    Resume,
    Fail(Failure),
}

/// Moves the active deployment by at most one phase. Returns whether it moved.
pub(crate) fn advance(turn: &mut Turn<'_>) -> bool {
    let Some(deployment) = turn.environment.deployment.clone() else {
        return begin(turn);
    };
    let next = match trouble(turn, &deployment) {
        Some(failure) => Move::Fail(failure),
        None if deployment.paused.is_some() => paused(turn, &deployment),
        None => decide(turn, &deployment),
    };
    match next {
        Move::Stay => false,
        Move::To(Phase::Ended(outcome)) => end(turn, outcome),
        Move::To(phase) => enter(turn, phase),
        Move::Pause(reason, detail) => pause(turn, reason, detail),
        Move::Resume => resume(turn),
        Move::Fail(failure) => fail(turn, failure),
    }
}

/// Makes the waiting deployment the active one.
fn begin(turn: &mut Turn<'_>) -> bool {
    let Some(mut deployment) = turn.environment.waiting.take() else {
        return false;
    };
    if let Some(hold) = turn
        .environment
        .hold
        .clone()
        .filter(|_| deployment.automatic)
    {
        return refuse(turn, deployment, &hold);
    }
    deployment.started_at = Some(turn.now);
    deployment.from = turn.environment.stable;
    turn.environment.deployment = Some(deployment);
    enter(turn, Phase::Preparing)
}

/// Returns the moments at which time alone may move a deployment.
pub(crate) fn deadlines(deployment: &Deployment) -> Vec<Timestamp> {
    let settings = &deployment.settings;
    if let Some(pause) = &deployment.paused {
        return vec![after(pause.since, settings.pause_expiry)];
    }
    let progress = after(deployment.progress_at, settings.progress_deadline);
    match deployment.phase {
        Phase::Baking { since } => vec![after(since, settings.bake)],
        Phase::Soaking { stage, since } => vec![after(since, soak(deployment, stage)), progress],
        Phase::Queued
        | Phase::Preparing
        | Phase::Vacating
        | Phase::Provisioning { .. }
        | Phase::Shifting { .. }
        | Phase::Draining
        | Phase::Restoring
        | Phase::Reverting
        | Phase::Discarding
        | Phase::Ended(_) => vec![progress],
    }
}

fn soak(deployment: &Deployment, stage: usize) -> Duration {
    match deployment.settings.strategy {
        Strategy::Canary => deployment
            .settings
            .steps
            .get(stage)
            .map_or(Duration::ZERO, |step| step.soak),
        Strategy::Rolling | Strategy::BlueGreen | Strategy::Recreate => Duration::ZERO,
    }
}

// What goes well.

fn paused(turn: &Turn<'_>, deployment: &Deployment) -> Move {
    let Some(pause) = &deployment.paused else {
        return Move::Stay;
    };
    if elapsed(pause.since, turn.now) >= deployment.settings.pause_expiry {
        let reason = format!("the pause expired: {}", pause.detail);
        // A rollback that has the traffic is not rolled back because somebody forgot it: a person decides.
        let keeps_traffic =
            deployment.kind == Kind::Rollback && matches!(deployment.phase, Phase::Shifting { .. });
        return Move::Fail(Failure {
            aborted: !keeps_traffic,
            ..failure(turn, None, reason)
        });
    }
    let conclusive = verdicts(turn, deployment)
        .iter()
        .all(|(_, verdict)| *verdict == Verdict::Pass);
    match pause.reason {
        PauseReason::Inconclusive if conclusive => Move::Resume,
        PauseReason::Inconclusive
        | PauseReason::Manual
        | PauseReason::Step
        | PauseReason::Failed => Move::Stay,
    }
}

fn decide(turn: &Turn<'_>, deployment: &Deployment) -> Move {
    let environment = &turn.environment;
    let acknowledged = environment.is_acknowledged(turn.observation);
    match deployment.phase {
        Phase::Queued => Move::To(Phase::Preparing),
        Phase::Preparing => prepared(turn, deployment),
        Phase::Vacating => when(
            is_vacated(environment, deployment),
            Phase::Provisioning { stage: 0 },
        ),
        Phase::Provisioning { stage } => {
            let ready = jobs_are_done(environment, deployment)
                && unready(turn, deployment, stage).is_none();
            when(ready, Phase::Shifting { stage })
        }
        Phase::Shifting { stage } if acknowledged => shifted(turn, deployment, stage),
        Phase::Soaking { stage, since } => soaked(turn, deployment, stage, since),
        Phase::Baking { since } => {
            let done = elapsed(since, turn.now) >= deployment.settings.bake;
            when(done || environment.waiting.is_some(), Phase::Draining)
        }
        // What still drains goes on draining beside the next deployment.
        Phase::Draining => when(
            is_settled(turn, deployment) || environment.waiting.is_some(),
            Phase::Ended(Outcome::Succeeded),
        ),
        Phase::Restoring if is_restored(environment, deployment) => Move::To(Phase::Reverting),
        Phase::Reverting if acknowledged => Move::To(Phase::Discarding),
        // A way back that does not get on needs a person.
        Phase::Restoring | Phase::Reverting => {
            let over =
                elapsed(deployment.progress_at, turn.now) >= deployment.settings.progress_deadline;
            when(over, Phase::Ended(Outcome::RollbackFailed))
        }
        Phase::Discarding => when(
            is_settled(turn, deployment),
            Phase::Ended(way_back(deployment)),
        ),
        Phase::Shifting { .. } | Phase::Ended(_) => Move::Stay,
    }
}

fn when(condition: bool, phase: Phase) -> Move {
    if condition {
        Move::To(phase)
    } else {
        Move::Stay
    }
}

fn prepared(turn: &Turn<'_>, deployment: &Deployment) -> Move {
    let ready = turn.observation.artifacts.get(&deployment.release) == Some(&ArtifactState::Ready);
    let vacate = deployment.settings.strategy == Strategy::Recreate
        && deployment.kind == Kind::Release
        && turn.environment.stable.is_some();
    when(
        ready,
        if vacate {
            Phase::Vacating
        } else {
            Phase::Provisioning { stage: 0 }
        },
    )
}

/// Tells whether no instance is left of a service that the candidate changes, but for its own.
fn is_vacated(environment: &Environment, deployment: &Deployment) -> bool {
    let stays = |name: &ServiceName| {
        let workload = |release| environment.service(release, name).map(|one| &one.workload);
        environment.stable.and_then(workload) == workload(deployment.release)
    };
    environment.instances.values().all(|one| {
        let service = &one.workload.service;
        let candidate = environment.service(deployment.release, service);
        stays(service) || candidate.is_none_or(|candidate| candidate.workload == one.workload)
    })
}

fn jobs_are_done(environment: &Environment, deployment: &Deployment) -> bool {
    let Some(rendering) = environment.renderings.get(&deployment.release) else {
        return false;
    };
    deployment.kind == Kind::Rollback
        || rendering
            .services
            .iter()
            .filter(|(_, service)| service.is_job())
            .all(|(name, _)| deployment.jobs.get(name) == Some(&JobState::Succeeded))
}

/// Returns a service of the candidate that lacks the healthy instances for the stage.
fn unready(turn: &Turn<'_>, deployment: &Deployment, stage: usize) -> Option<ServiceName> {
    let environment = &turn.environment;
    let rendering = environment.renderings.get(&deployment.release)?;
    let lacking = rendering.services.iter().find(|(_, service)| {
        !service.is_job() && {
            let need = needed(environment, deployment, stage, service);
            !environment.completed.contains(&service.workload)
                && (environment.serving(&service.workload) < need
                    || lacks_stable(environment, deployment, stage, service))
        }
    });
    lacking.map(|(name, _)| name.clone())
}

/// Returns how many healthy instances of a candidate's service the stage needs. A service that has
/// all the traffic already, and keeps it, is not waited for: the deployment may be what mends it.
fn needed(
    environment: &Environment,
    deployment: &Deployment,
    stage: usize,
    service: &RenderedService,
) -> u32 {
    let wanted = environment.wanted(service);
    let stable = environment
        .stable
        .and_then(|one| environment.service(one, &service.spec.service));
    let unchanged = stable.is_some_and(|stable| stable.workload == service.workload);
    if unchanged && environment.weight(&service.workload) == FULL_WEIGHT {
        0
    } else if unchanged
        || service.is_exclusive()
        || environment.starts_afresh(&service.spec.service)
    {
        wanted
    } else {
        allocation(environment, deployment, stage, wanted).candidate
    }
}

/// Tells whether the stage gives the stable side of a service more traffic than it has, as after a
/// way back that failed half-way, and it lacks the instances for it.
fn lacks_stable(
    environment: &Environment,
    deployment: &Deployment,
    stage: usize,
    service: &RenderedService,
) -> bool {
    let name = &service.spec.service;
    let stable = environment
        .stable
        .and_then(|stable| environment.service(stable, name))
        .filter(|stable| !stable.is_exclusive() && !environment.starts_afresh(name));
    stable.is_some_and(|stable| {
        let wanted = environment.wanted(service);
        let weight = FULL_WEIGHT - allocation(environment, deployment, stage, wanted).weight;
        weight > environment.weight(&stable.workload)
            && environment.serving(&stable.workload) < share_of(environment.wanted(stable), weight)
    })
}

fn allocation(
    environment: &Environment,
    deployment: &Deployment,
    stage: usize,
    wanted: u32,
) -> Allocation {
    allocate(
        &deployment.settings,
        stage,
        environment.stages(deployment),
        [wanted, wanted],
    )
}

fn shifted(turn: &Turn<'_>, deployment: &Deployment, stage: usize) -> Move {
    let environment = &turn.environment;
    if stage + 1 < environment.stages(deployment) {
        return Move::To(Phase::Soaking {
            stage,
            since: turn.now,
        });
    }
    // Somebody scaled down meanwhile, and there are fewer stages than there were.
    if !is_shifted(environment, deployment) {
        return Move::To(Phase::Provisioning { stage });
    }
    let bakes = deployment.kind == Kind::Release
        && environment.stable.is_some()
        && !deployment.settings.bake.is_zero();
    Move::To(if bakes {
        Phase::Baking { since: turn.now }
    } else {
        Phase::Draining
    })
}

/// Tells whether the candidate has all the traffic of all its services.
fn is_shifted(environment: &Environment, deployment: &Deployment) -> bool {
    let rendering = environment.renderings.get(&deployment.release);
    let mut services = rendering
        .into_iter()
        .flat_map(|rendering| rendering.services.values())
        .filter(|service| !service.is_job());
    services.all(|service| environment.weight(&service.workload) == FULL_WEIGHT)
}

fn soaked(turn: &Turn<'_>, deployment: &Deployment, stage: usize, since: Timestamp) -> Move {
    if elapsed(since, turn.now) < soak(deployment, stage) {
        return Move::Stay;
    }
    let step = deployment.settings.steps.get(stage);
    if deployment.settings.strategy != Strategy::Canary || deployment.kind == Kind::Rollback {
        return Move::To(Phase::Provisioning { stage: stage + 1 });
    }
    let least =
        verdicts(turn, deployment)
            .into_iter()
            .find_map(|(service, verdict)| match verdict {
                Verdict::NoData { requests } => Some((service, requests)),
                Verdict::Pass | Verdict::Failed(_) => None,
            });
    let needed = deployment.settings.analysis.min_requests;
    if let Some((service, requests)) = least {
        let detail = format!(
            "service `{service}` had {requests} requests, {needed} are needed for a verdict"
        );
        return Move::Pause(PauseReason::Inconclusive, detail);
    }
    if step.is_some_and(|step| step.pause) {
        return Move::Pause(
            PauseReason::Step,
            format!("step {} asks for a person", stage + 1),
        );
    }
    Move::To(Phase::Provisioning { stage: stage + 1 })
}

/// Tells whether nothing that should go is left. After the progress deadline the deployment ends
/// all the same: the reconciler goes on with what is left.
fn is_settled(turn: &Turn<'_>, deployment: &Deployment) -> bool {
    let desired = desired(&turn.environment);
    let settled = turn.environment.instances.values().all(|one| {
        let sides = desired.get(&one.workload.service);
        let wanted =
            sides.is_some_and(|sides| sides.iter().any(|side| side.workload == one.workload));
        (wanted && one.job.is_none()) || is_as_good_as_gone(turn, one)
    });
    settled || elapsed(deployment.progress_at, turn.now) >= deployment.settings.progress_deadline
}

/// Tells whether the stable release can take all the traffic. A service that has it already is not
/// waited for, but for one that was stopped to be recreated: its requests are held.
fn is_restored(environment: &Environment, deployment: &Deployment) -> bool {
    let Some(stable) = environment.stable_rendering() else {
        return true;
    };
    stable
        .services
        .values()
        .filter(|service| !service.is_job())
        .all(|service| {
            let was_stopped = deployment.settings.strategy == Strategy::Recreate;
            (!was_stopped && environment.weight(&service.workload) == FULL_WEIGHT)
                || environment.completed.contains(&service.workload)
                || environment.serving(&service.workload) >= environment.wanted(service)
        })
}

fn way_back(deployment: &Deployment) -> Outcome {
    let aborted = deployment
        .failure
        .as_ref()
        .is_some_and(|failure| failure.aborted);
    match (aborted, deployment.kind, deployment.from) {
        (true, _, _) => Outcome::Aborted,
        (false, Kind::Rollback, _) => Outcome::RollbackFailed,
        (false, Kind::Release, Some(_)) => Outcome::RolledBack,
        (false, Kind::Release, None) => Outcome::Failed,
    }
}
