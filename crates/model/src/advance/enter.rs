//! What a move of a deployment changes: its record, the shares of traffic, the stable release. Not
//! when it moves.

use std::collections::BTreeSet;

use super::allocation;
use crate::analysis;
use crate::deployment::{Baseline, Deployment, Failure, Kind, Outcome, Pause, PauseReason, Phase};
use crate::environment::{Environment, Hold, Share};
use crate::id::{ReleaseNumber, ServiceName};
use crate::last_words;
use crate::release::{RenderedService, Rendering, Role};
use crate::routing::FULL_WEIGHT;
use crate::step::Turn;

/// Enters a phase: the shares of traffic that belong to it are set.
pub(super) fn enter(turn: &mut Turn<'_>, phase: Phase) -> bool {
    let now = turn.now;
    let Some(before) = turn.environment.deployment.clone() else {
        return false;
    };
    match &phase {
        Phase::Provisioning { stage: 0 } => hand_over(turn, before.release),
        Phase::Shifting { stage } => set_shares(turn, &before, *stage),
        Phase::Reverting => set_stable_shares(turn),
        Phase::Restoring => {
            if let Some(stable) = turn.environment.stable {
                hand_over(turn, stable);
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
    let turns = matches!(phase, Phase::Restoring);
    let confirmed = matches!(before.phase, Phase::Shifting { .. });
    let complete = matches!(phase, Phase::Baking { .. } | Phase::Draining);
    let baseline = confirmed.then(|| baseline(turn)).flatten();
    let from = before.state().to_string();
    let Some(deployment) = &mut turn.environment.deployment else {
        return false;
    };
    if confirmed {
        deployment.baseline = baseline;
    }
    if complete && deployment.shifted_at.is_none() {
        deployment.shifted_at = Some(now);
    }
    if turns {
        deployment.reached.clear();
    }
    deployment.phase = phase;
    deployment.progress_at = now;
    let to = deployment.state().to_string();
    let (subject, detail) = (subject(turn), phase_detail(turn));
    // Phases that people see as one state differ only in the detail.
    let states = if from == to {
        [None, None]
    } else {
        [Some(from), Some(to)]
    };
    turn.transition("deployment.moved", subject, states, detail);
    true
}

fn subject(turn: &Turn<'_>) -> String {
    let number = turn
        .environment
        .deployment
        .as_ref()
        .map_or(0, |deployment| deployment.number.0);
    format!("{}/{number}", turn.environment.id)
}

fn phase_detail(turn: &Turn<'_>) -> Option<String> {
    let deployment = turn.environment.deployment.as_ref()?;
    let stages = turn.environment.stages(deployment);
    match deployment.phase {
        Phase::Provisioning { stage } | Phase::Shifting { stage } if stages > 1 => {
            Some(format!("step {} of {stages}", stage + 1))
        }
        Phase::Soaking { stage, .. } => Some(format!(
            "step {} of {stages}: the router confirmed it",
            stage + 1
        )),
        Phase::Reverting => Some("all traffic goes to the stable release".to_owned()),
        Phase::Discarding => Some("the traffic went back; what failed is stopped".to_owned()),
        _ => deployment
            .failure
            .as_ref()
            .map(|failure| failure.reason.clone()),
    }
}

fn baseline(turn: &Turn<'_>) -> Option<Baseline> {
    let report = turn.observation.router.as_ref()?;
    Some(Baseline {
        boot: report.boot.clone(),
        counters: analysis::counters(report),
    })
}

/// Gives a service of which there are never two to the release whose instance is to run; and one that
/// a release job waits for and that only the other services can ask, where no release has it yet: the
/// job asks it before any traffic moves.
fn hand_over(turn: &mut Turn<'_>, release: ReleaseNumber) {
    let Some(rendering) = turn.environment.renderings.get(&release).cloned() else {
        return;
    };
    let needed = needed_by_jobs(&rendering);
    for (name, service) in &rendering.services {
        let is_theirs_alone = service.routes.is_empty()
            && needed.contains(name)
            && turn.environment.starts_afresh(name);
        if (service.is_exclusive() || is_theirs_alone) && !service.is_job() {
            turn.environment
                .shares
                .insert(name.clone(), vec![full_share(service, release)]);
        }
    }
}

/// Returns the services that release jobs wait for, and those that these wait for.
fn needed_by_jobs(rendering: &Rendering) -> BTreeSet<&ServiceName> {
    let services = rendering.services.values();
    let jobs = services.filter(|service| service.is_job());
    let mut waiting: Vec<&ServiceName> = jobs.flat_map(|job| job.depends_on.keys()).collect();
    let mut needed = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if needed.insert(name) {
            let service = rendering.services.get(name);
            waiting.extend(
                service
                    .into_iter()
                    .flat_map(|service| service.depends_on.keys()),
            );
        }
    }
    needed
}

fn full_share(service: &RenderedService, release: ReleaseNumber) -> Share {
    Share {
        workload: service.workload.clone(),
        release,
        weight: FULL_WEIGHT,
    }
}

/// Sets the shares of a stage. Whoever else had traffic has none any more.
fn set_shares(turn: &mut Turn<'_>, deployment: &Deployment, stage: usize) {
    let environment = &mut turn.environment;
    let release = deployment.release;
    let Some(rendering) = environment.renderings.get(&release).cloned() else {
        return;
    };
    let last = stage + 1 >= environment.stages(deployment);
    for (name, service) in rendering
        .services
        .iter()
        .filter(|(_, service)| !service.is_job())
    {
        let candidate = full_share(service, release);
        let stable = environment.stable.and_then(|stable| {
            let before = environment
                .service(stable, name)
                .filter(|before| !before.is_job())?;
            Some(full_share(before, stable))
        });
        let wanted = environment.wanted(service);
        let weight = allocation(environment, deployment, stage, wanted).weight;
        let shares = match stable {
            Some(stable)
                if stable.workload != candidate.workload
                    && !service.is_exclusive()
                    && !environment.starts_afresh(name) =>
            {
                vec![
                    Share {
                        weight: FULL_WEIGHT - weight,
                        ..stable
                    },
                    Share {
                        weight,
                        ..candidate
                    },
                ]
            }
            _ => vec![candidate],
        };
        environment.shares.insert(name.clone(), shares);
    }
    if last {
        environment
            .shares
            .retain(|name, _| rendering.services.contains_key(name));
    }
}

/// Gives all traffic to the stable release, or to nobody when there is none.
fn set_stable_shares(turn: &mut Turn<'_>) {
    let environment = &mut turn.environment;
    environment.shares.clear();
    let Some((release, rendering)) = environment
        .stable
        .zip(environment.stable_rendering().cloned())
    else {
        return;
    };
    for (name, service) in rendering
        .services
        .iter()
        .filter(|(_, service)| !service.is_job())
    {
        environment
            .shares
            .insert(name.clone(), vec![full_share(service, release)]);
    }
}

/// Makes the candidate the stable release.
fn become_stable(turn: &mut Turn<'_>, deployment: &Deployment) {
    let environment = &mut turn.environment;
    let release = deployment.release;
    environment.stable = Some(release);
    environment.history.retain(|earlier| *earlier != release);
    environment.history.push(release);
    let surplus = environment
        .history
        .len()
        .saturating_sub(Environment::HISTORY);
    environment.history.drain(..surplus);
    set_stable_shares(turn);
    // A hold that began after this was asked for is about something else.
    let mends =
        |hold: &mut Hold| deployment.kind == Kind::Release && hold.since <= deployment.requested_at;
    if turn.environment.hold.take_if(mends).is_some() {
        let subject = turn.environment.id.to_string();
        let reason = format!("release {release} was brought out");
        turn.event("environment.released", subject, Some(reason));
    }
}

pub(super) fn pause(turn: &mut Turn<'_>, reason: PauseReason, detail: String) -> bool {
    let since = turn.now;
    let subject = subject(turn);
    let Some(deployment) = &mut turn.environment.deployment else {
        return false;
    };
    deployment.paused = Some(Pause {
        reason,
        since,
        detail: detail.clone(),
    });
    turn.event("deployment.paused", subject, Some(detail));
    true
}

pub(super) fn resume(turn: &mut Turn<'_>) -> bool {
    let now = turn.now;
    let subject = subject(turn);
    let Some(deployment) = &mut turn.environment.deployment else {
        return false;
    };
    deployment.paused = None;
    deployment.progress_at = now;
    turn.event("deployment.resumed", subject, None);
    true
}

/// Starts the way back, or pauses for a person where the deployment must not go back by itself.
pub(super) fn fail(turn: &mut Turn<'_>, mut failure: Failure) -> bool {
    let subject = subject(turn);
    let irreversible = ran_irreversible_job(turn);
    let deserted = is_deserted(&turn.environment);
    if let Some(deployment) = &turn.environment.deployment {
        last_words::want(&turn.environment, deployment, &mut failure);
    }
    let Some(deployment) = &mut turn.environment.deployment else {
        return false;
    };
    if deployment.kind == Kind::Rollback
        && !failure.aborted
        && matches!(deployment.phase, Phase::Shifting { .. })
        && !deserted
    {
        // The traffic was given to the release that is to come back: to take it away again would
        // roll a rollback back. A person decides, while there is somebody to answer.
        deployment.failure = Some(failure);
        return end(turn, Outcome::RollbackFailed);
    }
    let by_itself = match deployment.kind {
        Kind::Rollback => deserted || deployment.settings.automatic_rollback,
        Kind::Release => deployment.settings.automatic_rollback && irreversible.is_none(),
    };
    if !failure.aborted && !by_itself && turn.environment.stable.is_some() {
        let why = irreversible.map_or_else(
            || "automatic rollback is off".to_owned(),
            |job| format!("release job `{job}` is irreversible and ran"),
        );
        let detail = format!(
            "{}; {why}: abort or deploy a mended release",
            failure.reason
        );
        deployment.failure = Some(failure);
        return pause(turn, PauseReason::Failed, detail);
    }
    let what = if failure.aborted {
        "deployment.aborting"
    } else {
        "deployment.failing"
    };
    let reason = failure.reason.clone();
    deployment.failure = Some(failure);
    deployment.paused = None;
    turn.event(what, subject, Some(reason));
    enter(turn, Phase::Restoring)
}

/// Tells whether nobody is left to answer of a service that the candidate was given the traffic of.
fn is_deserted(environment: &Environment) -> bool {
    let candidate = environment.candidate_rendering();
    let mut services = candidate
        .into_iter()
        .flat_map(|rendering| rendering.services.values());
    services.any(|service| {
        service.internal.is_some()
            && environment.weight(&service.workload) == FULL_WEIGHT
            && environment.wanted(service) > 0
            && environment.serving(&service.workload) == 0
    })
}

fn ran_irreversible_job(turn: &Turn<'_>) -> Option<ServiceName> {
    let deployment = turn.environment.deployment.as_ref()?;
    let rendering = turn.environment.candidate_rendering()?;
    let irreversible = |name: &ServiceName| {
        let service = rendering.services.get(name);
        service.is_some_and(|service| service.role == Role::Job { irreversible: true })
    };
    deployment
        .jobs
        .keys()
        .find(|name| irreversible(name))
        .cloned()
}

/// Ends a deployment that nobody in particular asked for and that must not begin.
pub(super) fn refuse(turn: &mut Turn<'_>, mut deployment: Deployment, hold: &Hold) -> bool {
    let reason = format!("automatic deployment is on hold: {}", hold.reason);
    let from = deployment.state().to_string();
    deployment.phase = Phase::Ended(Outcome::Aborted);
    deployment.finished_at = Some(turn.now);
    deployment.failure = Some(Failure {
        reason: reason.clone(),
        service: None,
        log_tail: Vec::new(),
        unheard: None,
        aborted: true,
        at: turn.now,
    });
    let to = deployment.state().to_string();
    let subject = format!("{}/{}", turn.environment.id, deployment.number);
    turn.transition(
        "deployment.ended",
        subject,
        [Some(from), Some(to)],
        Some(reason),
    );
    turn.finished.push(deployment);
    true
}

/// Ends the active deployment.
pub(super) fn end(turn: &mut Turn<'_>, outcome: Outcome) -> bool {
    let subject = subject(turn);
    let Some(mut deployment) = turn.environment.deployment.take() else {
        return false;
    };
    let from = deployment.state().to_string();
    deployment.phase = Phase::Ended(outcome);
    deployment.paused = None;
    deployment.finished_at = Some(turn.now);
    let reason = deployment
        .failure
        .as_ref()
        .map(|failure| failure.reason.clone());
    if matches!(outcome, Outcome::RolledBack | Outcome::RollbackFailed) {
        let why = reason.clone().unwrap_or_default();
        let text = format!(
            "deployment {} ended {}: {why}",
            deployment.number,
            deployment.state()
        );
        turn.environment.hold = Some(Hold {
            reason: text.clone(),
            since: turn.now,
        });
        let environment = turn.environment.id.to_string();
        turn.event("environment.held", environment, Some(text));
    }
    let to = deployment.state().to_string();
    turn.transition("deployment.ended", subject, [Some(from), Some(to)], reason);
    turn.finished.push(deployment);
    true
}
