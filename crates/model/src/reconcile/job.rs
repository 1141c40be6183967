//! Release jobs: which to start, and which to stop. Not what their end means
//! ([`mod@super::absorb`]).

use super::start::dependencies_are_met;
use super::{decide_on, retire};
use crate::deployment::{JobState, Kind, Phase as Rollout};
use crate::environment::Lifecycle;
use crate::instance::Phase;
use crate::step::Turn;

pub(super) fn start_jobs(turn: &mut Turn<'_>) {
    let Some(deployment) = &turn.environment.deployment else {
        return;
    };
    let provisioning = matches!(deployment.phase, Rollout::Provisioning { .. });
    let down = turn.environment.lifecycle == Lifecycle::Down;
    if !provisioning || deployment.kind == Kind::Rollback || down || deployment.paused.is_some() {
        return;
    }
    let (release, number) = (deployment.release, deployment.number);
    let Some(rendering) = turn.environment.renderings.get(&release).cloned() else {
        return;
    };
    for name in rendering.start_order() {
        let Some(service) = rendering
            .services
            .get(name)
            .filter(|service| service.is_job())
        else {
            continue;
        };
        let begun = turn
            .environment
            .deployment
            .as_ref()
            .is_some_and(|one| one.jobs.contains_key(name));
        if begun || !dependencies_are_met(&turn.environment, release, service) {
            continue;
        }
        let instance = decide_on(turn, &service.workload, release, Some(number));
        if let Some(deployment) = &mut turn.environment.deployment {
            deployment
                .jobs
                .insert(name.clone(), JobState::Running { instance });
        }
        turn.event(
            "job.started",
            format!("{}/{name}-{instance}", turn.environment.id),
            None,
        );
    }
}

/// Stops release jobs whose deployment is over or on its way back.
pub(super) fn stop_stray_jobs(turn: &mut Turn<'_>) {
    let wanted = turn
        .environment
        .deployment
        .as_ref()
        .filter(|active| !active.is_rolling_back() && turn.environment.lifecycle == Lifecycle::Up)
        .map(|active| active.number);
    let strays: Vec<u32> = turn
        .environment
        .instances
        .values()
        .filter(|one| one.job.is_some() && one.job != wanted)
        .filter(|one| matches!(one.phase, Phase::Pending { .. } | Phase::Running { .. }))
        .map(|one| one.number)
        .collect();
    for number in strays {
        retire(turn, number);
    }
}
