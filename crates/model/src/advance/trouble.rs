//! Why a deployment must not go on. Not what follows from it ([`mod@super::enter`]).

use super::unready;
use crate::analysis::{self, Verdict};
use crate::deployment::{Deployment, Failure, JobState, Kind, PauseReason, Phase};
use crate::id::ServiceName;
use crate::instance::elapsed;
use crate::observation::ArtifactState;
use crate::step::Turn;

/// Who is waited for where it is nobody else.
const ROUTER: &str = "the router";

/// Returns why the deployment must not go on, if it must not.
pub(super) fn trouble(turn: &Turn<'_>, deployment: &Deployment) -> Option<Failure> {
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
    let held = deployment
        .paused
        .as_ref()
        .is_some_and(|pause| pause.reason == PauseReason::Failed);
    if !forward || held {
        return None;
    }
    artifacts_failed(turn, deployment)
        .or_else(|| candidate_failed(deployment))
        .or_else(|| deployment.never_well.clone())
        .or_else(|| analysis_failed(turn, deployment))
        .or_else(|| no_progress(turn, deployment))
}

pub(super) fn failure(turn: &Turn<'_>, service: Option<ServiceName>, reason: String) -> Failure {
    Failure {
        reason,
        service,
        log_tail: Vec::new(),
        unheard: None,
        aborted: false,
        at: turn.now,
    }
}

fn artifacts_failed(turn: &Turn<'_>, deployment: &Deployment) -> Option<Failure> {
    let state = turn.observation.artifacts.get(&deployment.release)?;
    match state {
        // An older attempt may have failed too; this one has not answered yet.
        ArtifactState::Failed {
            reason,
            log_tail,
            at,
        } if deployment.phase == Phase::Preparing && Some(*at) >= deployment.started_at => {
            let failure = failure(turn, None, format!("build failed: {reason}"));
            Some(Failure {
                log_tail: log_tail.clone(),
                ..failure
            })
        }
        ArtifactState::Failed { .. } | ArtifactState::Building | ArtifactState::Ready => None,
    }
}

fn candidate_failed(deployment: &Deployment) -> Option<Failure> {
    let job = deployment.jobs.values().any(|job| *job == JobState::Failed);
    let limit = deployment.settings.start_failures.max(1);
    let (workload, count) = deployment
        .failures
        .iter()
        .max_by_key(|(_, count)| **count)
        .unzip();
    let given_up = count.is_some_and(|count| *count >= limit);
    if !job && !given_up {
        return None;
    }
    let mut failure = deployment.last_failure.clone()?;
    let count = count.copied().unwrap_or(limit);
    if !job && count > 1 && failure.service.as_ref() == workload.map(|workload| &workload.service) {
        failure.reason = format!("{} ({count} times)", failure.reason);
    }
    Some(failure)
}

fn analysis_failed(turn: &Turn<'_>, deployment: &Deployment) -> Option<Failure> {
    if deployment.kind == Kind::Rollback {
        return None;
    }
    verdicts(turn, deployment)
        .into_iter()
        .find_map(|(service, verdict)| match verdict {
            Verdict::Failed(reason) => Some(failure(
                turn,
                Some(service.clone()),
                format!("service `{service}`: {reason}"),
            )),
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
        let (service, waits) = waiting_for(turn, deployment);
        failure(
            turn,
            service,
            format!("no progress for {deadline:.0?} while {state}, waiting for {waits}"),
        )
    })
}

/// Names what a deployment waits for, and the service where it is one.
fn waiting_for(turn: &Turn<'_>, deployment: &Deployment) -> (Option<ServiceName>, String) {
    let running = |job: &JobState| matches!(job, JobState::Running { .. });
    match deployment.phase {
        Phase::Preparing => (None, "the build".to_owned()),
        Phase::Vacating => (None, "the stable release to stop".to_owned()),
        Phase::Provisioning { stage } => {
            let mut jobs = deployment.jobs.iter();
            if let Some((name, _)) = jobs.find(|(_, job)| running(job)) {
                return (Some(name.clone()), format!("release job `{name}`"));
            }
            let Some(name) = unready(turn, deployment, stage) else {
                return (None, ROUTER.to_owned());
            };
            let waits = format!("service `{name}` to become healthy");
            (Some(name), waits)
        }
        Phase::Queued
        | Phase::Shifting { .. }
        | Phase::Soaking { .. }
        | Phase::Baking { .. }
        | Phase::Draining
        | Phase::Restoring
        | Phase::Reverting
        | Phase::Discarding
        | Phase::Ended(_) => (None, ROUTER.to_owned()),
    }
}

/// Judges every changed service that has traffic to be judged by. While the router does not report
/// there is no data.
pub(super) fn verdicts(turn: &Turn<'_>, deployment: &Deployment) -> Vec<(ServiceName, Verdict)> {
    let known = deployment
        .baseline
        .as_ref()
        .zip(turn.observation.router.as_ref())
        .map(|(baseline, report)| (baseline, report, analysis::counters(report)));
    let environment = &turn.environment;
    let candidates = environment
        .candidate_rendering()
        .map(|rendering| &rendering.services);
    let mut verdicts = Vec::new();
    for (name, candidate) in candidates.into_iter().flatten() {
        let stable = environment
            .stable
            .and_then(|stable| environment.service(stable, name));
        let Some(stable) = stable else { continue };
        if candidate.routes.is_empty()
            || stable.workload == candidate.workload
            || environment.weight(&candidate.workload) == 0
        {
            continue;
        }
        let verdict = match &known {
            None => Verdict::NoData { requests: 0 },
            Some((baseline, report, counted)) => {
                let of = |workload| analysis::since(baseline, report, counted, workload);
                let (new, old) = (of(&candidate.workload), of(&stable.workload));
                analysis::judge(&deployment.settings.analysis, &new, &old)
            }
        };
        verdicts.push((name.clone(), verdict));
    }
    verdicts
}
