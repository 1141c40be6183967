//! Deployments and their progress, for the wire.

use towpath_api as api;
use towpath_control::Snapshot;
use towpath_model::deployment::{Deployment, Failure, JobState, Kind, Pause, PauseReason, State};
use towpath_model::environment::Environment;
use towpath_model::id::{DeploymentNumber, EnvironmentId};
use towpath_model::release::RenderedService;
use towpath_model::rollout::Strategy;

use super::environment::percent;

pub(crate) fn deployment(id: &EnvironmentId, deployment: &Deployment) -> api::Deployment {
    api::Deployment {
        environment: id.to_string(),
        number: deployment.number.0,
        kind: match deployment.kind {
            Kind::Release => api::DeploymentKind::Release,
            Kind::Rollback => api::DeploymentKind::Rollback,
        },
        release: deployment.release.0,
        from: deployment.from.map(|release| release.0),
        strategy: strategy(deployment.settings.strategy),
        state: state(deployment.state()),
        ended: deployment.outcome().is_some(),
        actor: deployment.actor.clone(),
        requested_at: deployment.requested_at,
        started_at: deployment.started_at,
        shifted_at: deployment.shifted_at,
        finished_at: deployment.finished_at,
        pause: deployment.paused.as_ref().map(pause),
        failure: deployment.failure.as_ref().map(failure),
        last_failure: deployment.last_failure.as_ref().map(failure),
        jobs: deployment
            .jobs
            .iter()
            .map(|(service, state)| api::Job {
                service: service.to_string(),
                state: match state {
                    JobState::Running { .. } => api::JobState::Running,
                    JobState::Succeeded => api::JobState::Succeeded,
                    JobState::Failed => api::JobState::Failed,
                },
            })
            .collect(),
    }
}

pub(crate) fn strategy(strategy: Strategy) -> api::Strategy {
    match strategy {
        Strategy::Rolling => api::Strategy::Rolling,
        Strategy::BlueGreen => api::Strategy::BlueGreen,
        Strategy::Canary => api::Strategy::Canary,
        Strategy::Recreate => api::Strategy::Recreate,
    }
}

pub(crate) fn to_strategy(strategy: api::Strategy) -> Strategy {
    match strategy {
        api::Strategy::Rolling => Strategy::Rolling,
        api::Strategy::BlueGreen => Strategy::BlueGreen,
        api::Strategy::Canary => Strategy::Canary,
        api::Strategy::Recreate => Strategy::Recreate,
    }
}

pub(crate) fn state(state: State) -> api::DeploymentState {
    use api::DeploymentState as Wire;
    match state {
        State::Queued => Wire::Queued,
        State::Preparing => Wire::Preparing,
        State::Provisioning => Wire::Provisioning,
        State::Shifting => Wire::Shifting,
        State::Baking => Wire::Baking,
        State::Draining => Wire::Draining,
        State::Paused => Wire::Paused,
        State::RollingBack => Wire::RollingBack,
        State::Succeeded => Wire::Succeeded,
        State::Failed => Wire::Failed,
        State::RolledBack => Wire::RolledBack,
        State::Aborted => Wire::Aborted,
        State::Superseded => Wire::Superseded,
        State::RollbackFailed => Wire::RollbackFailed,
    }
}

fn pause(pause: &Pause) -> api::Pause {
    api::Pause {
        reason: match pause.reason {
            PauseReason::Manual => api::PauseReason::Manual,
            PauseReason::Step => api::PauseReason::Step,
            PauseReason::Inconclusive => api::PauseReason::Inconclusive,
            PauseReason::Failed => api::PauseReason::Failed,
        },
        since: pause.since,
        detail: pause.detail.clone(),
    }
}

fn failure(failure: &Failure) -> api::Failure {
    api::Failure {
        reason: failure.reason.clone(),
        service: failure.service.as_ref().map(ToString::to_string),
        log_tail: failure.log_tail.clone(),
        aborted: failure.aborted,
        at: failure.at,
    }
}

/// Returns the progress of a deployment that is active or waits; `None` for another one.
pub(crate) fn progress(snapshot: &Snapshot, number: DeploymentNumber) -> Option<api::Progress> {
    let environment = &snapshot.environment;
    let found = [&environment.deployment, &environment.waiting]
        .into_iter()
        .flatten()
        .find(|deployment| deployment.number == number)?;
    let rendering = environment.renderings.get(&found.release)?;
    let services = rendering.start_order().into_iter().filter_map(|name| {
        let service = rendering.services.get(name)?;
        Some(service_progress(environment, found, service))
    });
    Some(api::Progress {
        deployment: deployment(&environment.id, found),
        services: services.collect(),
        engine_fault: snapshot.engine_fault.clone(),
    })
}

fn service_progress(
    environment: &Environment,
    deployment: &Deployment,
    service: &RenderedService,
) -> api::ServiceProgress {
    let workload = &service.workload;
    let unchanged = !service.is_job()
        && environment
            .stable_rendering()
            .and_then(|stable| stable.services.get(&workload.service))
            .is_some_and(|stable| &stable.workload == workload);
    let running = environment.live(workload).filter(|one| one.is_running());
    api::ServiceProgress {
        service: workload.service.to_string(),
        unchanged,
        wanted: if service.is_job() {
            0
        } else {
            environment.wanted(service)
        },
        running: u32::try_from(running.count()).unwrap_or(u32::MAX),
        healthy: environment.serving(workload),
        traffic_percent: service
            .internal
            .is_some()
            .then(|| percent(environment.weight(workload))),
        failures: deployment.failures.get(workload).copied().unwrap_or(0),
    }
}
