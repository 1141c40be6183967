//! The rollout: how a deployment moves from phase to phase. It changes the deployment, the shares
//! of traffic and, at its end, the stable release; instances follow by [`crate::reconcile`].

use std::time::Duration;

use jiff::Timestamp;

use crate::analysis::{self, Verdict};
use crate::deployment::{
    Baseline, Deployment, Failure, JobState, Kind, Outcome, Pause, PauseReason, Phase,
};
use crate::desired::{Allocation, allocate, share_of};
use crate::environment::{Environment, Hold, Share};
use crate::id::{ReleaseNumber, ServiceName};
use crate::instance::{after, elapsed};
use crate::observation::ArtifactState;
use crate::release::{RenderedService, Role};
use crate::rollout::Strategy;
use crate::routing::FULL_WEIGHT;
use crate::step::Turn;

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
    let Some(deployment) = turn.environment.deployment.clone() else { return begin(turn) };
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
    let Some(mut deployment) = turn.environment.waiting.take() else { return false };
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
        Strategy::Canary => {
            deployment.settings.steps.get(stage).map_or(Duration::ZERO, |step| step.soak)
        }
        Strategy::Rolling | Strategy::BlueGreen | Strategy::Recreate => Duration::ZERO,
    }
}

// What goes wrong.

/// Returns why the deployment must not go on, if it must not.
fn trouble(turn: &Turn<'_>, deployment: &Deployment) -> Option<Failure> {
    let forward = match deployment.phase {
        Phase::Preparing
        | Phase::Vacating
        | Phase::Provisioning { .. }
        | Phase::Shifting { .. }
        | Phase::Soaking { .. }
        | Phase::Baking { .. } => true,
        Phase::Queued
        | Phase::Draining
        | Phase::Restoring
        | Phase::Reverting
        | Phase::Discarding
        | Phase::Ended(_) => false,
    };
    let held = deployment.paused.as_ref().is_some_and(|pause| pause.reason == PauseReason::Failed);
    if !forward || held {
        return None;
    }
    artifacts_failed(turn, deployment)
        .or_else(|| candidate_failed(deployment))
        .or_else(|| analysis_failed(turn, deployment))
        .or_else(|| no_progress(turn, deployment))
}

fn failure(turn: &Turn<'_>, service: Option<ServiceName>, reason: String) -> Failure {
    Failure { reason, service, log_tail: Vec::new(), aborted: false, at: turn.now }
}

fn artifacts_failed(turn: &Turn<'_>, deployment: &Deployment) -> Option<Failure> {
    let state = turn.observation.artifacts.get(&deployment.release)?;
    match state {
        // An older attempt may have failed too; this one has not answered yet.
        ArtifactState::Failed { reason, log_tail, at }
            if deployment.phase == Phase::Preparing && Some(*at) >= deployment.started_at =>
        {
            let failure = failure(turn, None, format!("build failed: {reason}"));
            Some(Failure { log_tail: log_tail.clone(), ..failure })
        }
        ArtifactState::Failed { .. } | ArtifactState::Building | ArtifactState::Ready => None,
    }
}

fn candidate_failed(deployment: &Deployment) -> Option<Failure> {
    let job = deployment.jobs.values().any(|job| *job == JobState::Failed);
    let limit = deployment.settings.start_failures.max(1);
    let (workload, count) = deployment.failures.iter().max_by_key(|(_, count)| **count).unzip();
    let given_up = count.is_some_and(|count| *count >= limit);
    if !job && !given_up {
        return None;
    }
    let mut failure = deployment.last_failure.clone()?;
    if !job && failure.service.as_ref() == workload.map(|workload| &workload.service) {
        failure.reason = format!("{} ({} times)", failure.reason, count.unwrap_or(&limit));
    }
    Some(failure)
}

fn analysis_failed(turn: &Turn<'_>, deployment: &Deployment) -> Option<Failure> {
    if deployment.kind == Kind::Rollback {
        return None;
    }
    verdicts(turn, deployment).into_iter().find_map(|(service, verdict)| match verdict {
        Verdict::Failed(reason) => {
            Some(failure(turn, Some(service.clone()), format!("service `{service}`: {reason}")))
        }
        Verdict::Pass | Verdict::NoData { .. } => None,
    })
}

fn no_progress(turn: &Turn<'_>, deployment: &Deployment) -> Option<Failure> {
    let deadline = deployment.settings.progress_deadline;
    let over = elapsed(deployment.progress_at, turn.now) >= deadline;
    let counts = deployment.paused.is_none() && !matches!(deployment.phase, Phase::Baking { .. });
    let soaking = matches!(deployment.phase, Phase::Soaking { .. });
    (over && counts && !soaking).then(|| {
        let state = deployment.state();
        let waits = waiting_for(turn, deployment).unwrap_or_else(|| "the router".to_owned());
        failure(turn, None, format!("no progress for {deadline:.0?} while {state}, waiting for {waits}"))
    })
}

/// Names what a deployment waits for.
fn waiting_for(turn: &Turn<'_>, deployment: &Deployment) -> Option<String> {
    let running = |job: &JobState| matches!(job, JobState::Running { .. });
    match deployment.phase {
        Phase::Preparing => Some("the build".to_owned()),
        Phase::Vacating => Some("the stable release to stop".to_owned()),
        Phase::Provisioning { stage } => deployment
            .jobs
            .iter()
            .find(|(_, job)| running(job))
            .map(|(name, _)| format!("release job `{name}`"))
            .or_else(|| {
                let name = unready(turn, deployment, stage)?;
                Some(format!("service `{name}` to become healthy"))
            }),
        _ => None,
    }
}

/// Judges every changed service that has traffic to be judged by.
fn verdicts(turn: &Turn<'_>, deployment: &Deployment) -> Vec<(ServiceName, Verdict)> {
    let (Some(baseline), Some(report)) = (&deployment.baseline, &turn.observation.router) else {
        return Vec::new();
    };
    let counted = analysis::counters(report);
    let environment = &turn.environment;
    let candidates = environment.candidate_rendering().map(|rendering| &rendering.services);
    let mut verdicts = Vec::new();
    for (name, candidate) in candidates.into_iter().flatten() {
        let stable = environment.stable.and_then(|stable| environment.service(stable, name));
        let Some(stable) = stable else { continue };
        if candidate.routes.is_empty()
            || stable.workload == candidate.workload
            || environment.weight(&candidate.workload) == 0
        {
            continue;
        }
        let of = |workload| analysis::since(baseline, report, &counted, workload);
        let (new, old) = (of(&candidate.workload), of(&stable.workload));
        verdicts.push((name.clone(), analysis::judge(&deployment.settings.analysis, &new, &old)));
    }
    verdicts
}

// What goes well.

fn paused(turn: &Turn<'_>, deployment: &Deployment) -> Move {
    let Some(pause) = &deployment.paused else { return Move::Stay };
    if elapsed(pause.since, turn.now) >= deployment.settings.pause_expiry {
        let reason = format!("the pause expired: {}", pause.detail);
        return Move::Fail(Failure { aborted: true, ..failure(turn, None, reason) });
    }
    let conclusive = verdicts(turn, deployment).iter().all(|(_, verdict)| *verdict == Verdict::Pass);
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
        Phase::Vacating => when(is_vacated(environment, deployment), Phase::Provisioning { stage: 0 }),
        Phase::Provisioning { stage } => {
            let ready = jobs_are_done(environment, deployment)
                && unready(turn, deployment, stage).is_none();
            when(ready, Phase::Shifting { stage })
        }
        Phase::Shifting { stage } if acknowledged => shifted(turn, deployment, stage),
        Phase::Shifting { .. } => Move::Stay,
        Phase::Soaking { stage, since } => soaked(turn, deployment, stage, since),
        Phase::Baking { since } => {
            let done = elapsed(since, turn.now) >= deployment.settings.bake;
            when(done || environment.waiting.is_some(), Phase::Draining)
        }
        Phase::Draining => {
            when(is_settled(turn, deployment), Phase::Ended(Outcome::Succeeded))
        }
        Phase::Restoring if is_restored(environment) => Move::To(Phase::Reverting),
        Phase::Restoring => {
            let over = elapsed(deployment.progress_at, turn.now) >= deployment.settings.progress_deadline;
            when(over, Phase::Ended(Outcome::RollbackFailed))
        }
        Phase::Reverting => when(acknowledged, Phase::Discarding),
        Phase::Discarding => {
            when(is_settled(turn, deployment), Phase::Ended(way_back(deployment)))
        }
        Phase::Ended(_) => Move::Stay,
    }
}

fn when(condition: bool, phase: Phase) -> Move {
    if condition { Move::To(phase) } else { Move::Stay }
}

fn prepared(turn: &Turn<'_>, deployment: &Deployment) -> Move {
    let ready = turn.observation.artifacts.get(&deployment.release) == Some(&ArtifactState::Ready);
    let vacate = deployment.settings.strategy == Strategy::Recreate
        && deployment.kind == Kind::Release
        && turn.environment.stable.is_some();
    when(ready, if vacate { Phase::Vacating } else { Phase::Provisioning { stage: 0 } })
}

/// Tells whether no instance of a service that the candidate changes is left.
fn is_vacated(environment: &Environment, deployment: &Deployment) -> bool {
    let stays = |name: &ServiceName| {
        let workload = |release| environment.service(release, name).map(|one| &one.workload);
        environment.stable.and_then(workload) == workload(deployment.release)
    };
    environment.instances.values().all(|one| {
        let service = &one.workload.service;
        stays(service) || environment.service(deployment.release, service).is_none()
    })
}

fn jobs_are_done(environment: &Environment, deployment: &Deployment) -> bool {
    let Some(rendering) = environment.renderings.get(&deployment.release) else { return false };
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
                && environment.serving(&service.workload) < need
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
    let stable = environment.stable.and_then(|one| environment.service(one, &service.spec.service));
    let unchanged = stable.is_some_and(|stable| stable.workload == service.workload);
    if unchanged && environment.weight(&service.workload) == FULL_WEIGHT {
        0
    } else if unchanged || service.is_stateful() || stable.is_none() {
        wanted
    } else {
        allocation(environment, deployment, stage, wanted).candidate
    }
}

fn allocation(
    environment: &Environment,
    deployment: &Deployment,
    stage: usize,
    wanted: u32,
) -> Allocation {
    allocate(&deployment.settings, stage, environment.stages(deployment), wanted)
}

fn shifted(turn: &Turn<'_>, deployment: &Deployment, stage: usize) -> Move {
    let environment = &turn.environment;
    if stage + 1 < environment.stages(deployment) {
        return Move::To(Phase::Soaking { stage, since: turn.now });
    }
    let bakes = deployment.kind == Kind::Release
        && environment.stable.is_some()
        && !deployment.settings.bake.is_zero();
    Move::To(if bakes { Phase::Baking { since: turn.now } } else { Phase::Draining })
}

fn soaked(turn: &Turn<'_>, deployment: &Deployment, stage: usize, since: Timestamp) -> Move {
    if elapsed(since, turn.now) < soak(deployment, stage) {
        return Move::Stay;
    }
    let step = deployment.settings.steps.get(stage);
    if deployment.settings.strategy != Strategy::Canary || deployment.kind == Kind::Rollback {
        return Move::To(Phase::Provisioning { stage: stage + 1 });
    }
    let least = verdicts(turn, deployment).into_iter().find_map(|(service, verdict)| match verdict {
        Verdict::NoData { requests } => Some((service, requests)),
        Verdict::Pass | Verdict::Failed(_) => None,
    });
    let needed = deployment.settings.analysis.min_requests;
    if let Some((service, requests)) = least {
        let detail = format!("service `{service}` had {requests} requests, {needed} are needed for a verdict");
        return Move::Pause(PauseReason::Inconclusive, detail);
    }
    if deployment.baseline.is_none() {
        return Move::Pause(PauseReason::Inconclusive, "the router does not report".to_owned());
    }
    if step.is_some_and(|step| step.pause) {
        return Move::Pause(PauseReason::Step, format!("step {} asks for a person", stage + 1));
    }
    Move::To(Phase::Provisioning { stage: stage + 1 })
}

/// Tells whether nothing that should go is left. After the progress deadline the deployment ends
/// all the same: the reconciler goes on with what is left.
fn is_settled(turn: &Turn<'_>, deployment: &Deployment) -> bool {
    let desired = crate::desired::desired(&turn.environment);
    let settled = turn.environment.instances.values().all(|one| {
        let sides = desired.get(&one.workload.service);
        let wanted = sides.is_some_and(|sides| sides.iter().any(|side| side.workload == one.workload));
        wanted && one.job.is_none()
    });
    settled || elapsed(deployment.progress_at, turn.now) >= deployment.settings.progress_deadline
}

/// Tells whether the stable release can take all the traffic.
fn is_restored(environment: &Environment) -> bool {
    let Some(stable) = environment.stable_rendering() else { return true };
    stable.services.values().filter(|service| !service.is_job()).all(|service| {
        let weight = environment.weight(&service.workload);
        weight == FULL_WEIGHT
            || environment.completed.contains(&service.workload)
            || environment.serving(&service.workload) >= environment.wanted(service)
    })
}

fn way_back(deployment: &Deployment) -> Outcome {
    let aborted = deployment.failure.as_ref().is_some_and(|failure| failure.aborted);
    match (aborted, deployment.kind, deployment.from) {
        (true, _, _) => Outcome::Aborted,
        (false, Kind::Rollback, _) => Outcome::RollbackFailed,
        (false, Kind::Release, Some(_)) => Outcome::RolledBack,
        (false, Kind::Release, None) => Outcome::Failed,
    }
}

// What a move changes.

/// Enters a phase: the shares of traffic that belong to it are set.
fn enter(turn: &mut Turn<'_>, phase: Phase) -> bool {
    let now = turn.now;
    let Some(before) = turn.environment.deployment.clone() else { return false };
    match &phase {
        Phase::Provisioning { stage: 0 } => hand_over_stateful(turn, before.release),
        Phase::Shifting { stage } => set_shares(turn, &before, *stage),
        Phase::Reverting => set_stable_shares(turn),
        Phase::Restoring => {
            if let Some(stable) = turn.environment.stable {
                hand_over_stateful(turn, stable);
            }
        }
        Phase::Draining => become_stable(turn, &before),
        Phase::Queued
        | Phase::Preparing
        | Phase::Vacating
        | Phase::Provisioning { .. }
        | Phase::Soaking { .. }
        | Phase::Baking { .. }
        | Phase::Discarding
        | Phase::Ended(_) => {}
    }
    let confirmed = matches!(before.phase, Phase::Shifting { .. });
    let complete = matches!(phase, Phase::Baking { .. } | Phase::Draining);
    let baseline = confirmed.then(|| baseline(turn)).flatten();
    let from = before.state().to_string();
    let Some(deployment) = &mut turn.environment.deployment else { return false };
    if confirmed {
        deployment.baseline = baseline;
    }
    if complete && deployment.shifted_at.is_none() {
        deployment.shifted_at = Some(now);
    }
    deployment.phase = phase;
    deployment.progress_at = now;
    let to = deployment.state().to_string();
    let (subject, detail) = (subject(turn), phase_detail(turn));
    turn.transition("deployment.moved", subject, [Some(from), Some(to)], detail);
    true
}

fn subject(turn: &Turn<'_>) -> String {
    let number = turn.environment.deployment.as_ref().map_or(0, |deployment| deployment.number.0);
    format!("{}/{number}", turn.environment.id)
}

fn phase_detail(turn: &Turn<'_>) -> Option<String> {
    let deployment = turn.environment.deployment.as_ref()?;
    let stages = turn.environment.stages(deployment);
    match deployment.phase {
        Phase::Provisioning { stage } | Phase::Shifting { stage } | Phase::Soaking { stage, .. }
            if stages > 1 =>
        {
            Some(format!("step {} of {stages}", stage + 1))
        }
        _ => deployment.failure.as_ref().map(|failure| failure.reason.clone()),
    }
}

fn baseline(turn: &Turn<'_>) -> Option<Baseline> {
    let report = turn.observation.router.as_ref()?;
    Some(Baseline { boot: report.boot.clone(), counters: analysis::counters(report) })
}

/// Gives a service of which there are never two to the release whose instance is to run.
fn hand_over_stateful(turn: &mut Turn<'_>, release: ReleaseNumber) {
    let Some(rendering) = turn.environment.renderings.get(&release).cloned() else { return };
    for (name, service) in &rendering.services {
        if service.is_stateful() && !service.is_job() {
            turn.environment.shares.insert(name.clone(), vec![full_share(service, release)]);
        }
    }
}

fn full_share(service: &RenderedService, release: ReleaseNumber) -> Share {
    Share { workload: service.workload.clone(), release, weight: FULL_WEIGHT }
}

/// Sets the shares of a stage. Whoever else had traffic has none any more.
fn set_shares(turn: &mut Turn<'_>, deployment: &Deployment, stage: usize) {
    let environment = &mut turn.environment;
    let release = deployment.release;
    let Some(rendering) = environment.renderings.get(&release).cloned() else { return };
    let last = stage + 1 >= environment.stages(deployment);
    for (name, service) in rendering.services.iter().filter(|(_, service)| !service.is_job()) {
        let candidate = full_share(service, release);
        let stable = environment.stable.and_then(|stable| {
            let before = environment.service(stable, name).filter(|before| !before.is_job())?;
            Some(full_share(before, stable))
        });
        let wanted = environment.wanted(service);
        let weight = allocation(environment, deployment, stage, wanted).weight;
        let shares = match stable {
            Some(stable) if stable.workload != candidate.workload && !service.is_stateful() => vec![
                Share { weight: FULL_WEIGHT - weight, ..stable },
                Share { weight, ..candidate },
            ],
            _ => vec![candidate],
        };
        environment.shares.insert(name.clone(), shares);
    }
    if last {
        environment.shares.retain(|name, _| rendering.services.contains_key(name));
    }
}

/// Gives all traffic to the stable release, or to nobody when there is none.
fn set_stable_shares(turn: &mut Turn<'_>) {
    let environment = &mut turn.environment;
    environment.shares.clear();
    let Some((release, rendering)) = environment.stable.zip(environment.stable_rendering().cloned())
    else {
        return;
    };
    for (name, service) in rendering.services.iter().filter(|(_, service)| !service.is_job()) {
        environment.shares.insert(name.clone(), vec![full_share(service, release)]);
    }
}

/// Makes the candidate the stable release.
fn become_stable(turn: &mut Turn<'_>, deployment: &Deployment) {
    let environment = &mut turn.environment;
    let release = deployment.release;
    environment.stable = Some(release);
    environment.history.retain(|earlier| *earlier != release);
    environment.history.push(release);
    let surplus = environment.history.len().saturating_sub(Environment::HISTORY);
    environment.history.drain(..surplus);
    set_stable_shares(turn);
    if deployment.kind == Kind::Release {
        turn.environment.hold = None;
    }
}

fn pause(turn: &mut Turn<'_>, reason: PauseReason, detail: String) -> bool {
    let since = turn.now;
    let subject = subject(turn);
    let Some(deployment) = &mut turn.environment.deployment else { return false };
    deployment.paused = Some(Pause { reason, since, detail: detail.clone() });
    turn.event("deployment.paused", subject, Some(detail));
    true
}

fn resume(turn: &mut Turn<'_>) -> bool {
    let now = turn.now;
    let subject = subject(turn);
    let Some(deployment) = &mut turn.environment.deployment else { return false };
    deployment.paused = None;
    deployment.progress_at = now;
    turn.event("deployment.resumed", subject, None);
    true
}

/// Starts the way back, or pauses for a person where the deployment must not go back by itself.
fn fail(turn: &mut Turn<'_>, failure: Failure) -> bool {
    let subject = subject(turn);
    let irreversible = ran_irreversible_job(turn);
    let Some(deployment) = &mut turn.environment.deployment else { return false };
    let by_itself = deployment.settings.automatic_rollback && irreversible.is_none();
    if !failure.aborted && !by_itself && turn.environment.stable.is_some() {
        let why = irreversible.map_or_else(
            || "automatic rollback is off".to_owned(),
            |job| format!("release job `{job}` is irreversible and ran"),
        );
        let detail = format!("{}; {why}: abort or deploy a mended release", failure.reason);
        deployment.failure = Some(failure);
        return pause(turn, PauseReason::Failed, detail);
    }
    let what = if failure.aborted { "deployment.aborting" } else { "deployment.failing" };
    let reason = failure.reason.clone();
    deployment.failure = Some(failure);
    deployment.paused = None;
    turn.event(what, subject, Some(reason));
    enter(turn, Phase::Restoring)
}

fn ran_irreversible_job(turn: &Turn<'_>) -> Option<ServiceName> {
    let deployment = turn.environment.deployment.as_ref()?;
    let rendering = turn.environment.candidate_rendering()?;
    let irreversible = |name: &ServiceName| {
        let service = rendering.services.get(name);
        service.is_some_and(|service| service.role == Role::Job { irreversible: true })
    };
    deployment.jobs.keys().find(|name| irreversible(name)).cloned()
}

/// Ends the active deployment.
fn end(turn: &mut Turn<'_>, outcome: Outcome) -> bool {
    let subject = subject(turn);
    let Some(mut deployment) = turn.environment.deployment.take() else { return false };
    let from = deployment.state().to_string();
    deployment.phase = Phase::Ended(outcome);
    deployment.paused = None;
    deployment.finished_at = Some(turn.now);
    let reason = deployment.failure.as_ref().map(|failure| failure.reason.clone());
    if matches!(outcome, Outcome::RolledBack | Outcome::RollbackFailed) {
        let why = reason.clone().unwrap_or_default();
        let text = format!("deployment {} ended {}: {why}", deployment.number, deployment.state());
        turn.environment.hold = Some(Hold { reason: text, since: turn.now });
    }
    let to = deployment.state().to_string();
    turn.transition("deployment.ended", subject, [Some(from), Some(to)], reason);
    turn.finished.push(deployment);
    true
}

/// Returns the capacity that a share of traffic needs of a service, for checks from outside.
pub fn capacity_for(environment: &Environment, service: &RenderedService, weight: u32) -> u32 {
    share_of(environment.wanted(service), weight)
}
