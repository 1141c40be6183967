//! The way of an instance out of service: unrouted, confirmed, drained, stopped. Not who goes.

use std::time::Duration;

use jiff::Timestamp;

use super::set_phase;
use crate::environment::{Environment, Lifecycle};
use crate::instance::{Instance, Phase, elapsed};
use crate::release::RenderedService;
use crate::rollout::{Settings, Strategy};
use crate::step::Turn;

/// Stops what was drained: the router confirmed that it gives it nothing new, and what was in
/// flight ended, or had its time. Returns whether anything was decided.
pub(crate) fn drain(turn: &mut Turn<'_>) -> bool {
    let present = turn.environment.published.generation;
    let mut decided = false;
    let numbers: Vec<u32> = turn.environment.instances.keys().copied().collect();
    for number in numbers {
        let Some(one) = turn.environment.instances.get(&number).cloned() else {
            continue;
        };
        let Phase::Draining {
            since,
            generation,
            confirmed,
        } = one.phase
        else {
            continue;
        };
        let confirms = || {
            turn.environment
                .has_acknowledged(turn.observation, generation)
        };
        let phase = if is_drained(turn, &one, confirmed) {
            Phase::Stopping { since: turn.now }
        } else if generation == 0 && present > 0 {
            Phase::Draining {
                since,
                generation: present,
                confirmed,
            }
        } else if confirmed.is_none() && confirms() {
            Phase::Draining {
                since,
                generation,
                confirmed: Some(turn.now),
            }
        } else {
            continue;
        };
        set_phase(turn, number, phase);
        decided = true;
    }
    decided
}

fn is_drained(turn: &Turn<'_>, one: &Instance, confirmed: Option<Timestamp>) -> bool {
    let environment = &turn.environment;
    let listens = environment
        .service(one.release, &one.workload.service)
        .is_none_or(|service| service.internal.is_some());
    if one.job.is_some() || !listens || environment.published.generation == 0 {
        return true;
    }
    let (Some(confirmed), Some(report)) = (confirmed, &turn.observation.router) else {
        return false;
    };
    let id = environment.instance_id(one);
    let waited = elapsed(confirmed, turn.now);
    let (requests, upgraded) = drain_times(environment, one);
    report.load(&id).is_none_or(|load| {
        (load.in_flight == 0 || waited >= requests) && (load.upgraded == 0 || waited >= upgraded)
    })
}

/// Returns how long requests, and upgraded connections, may take to end on an instance. Where its
/// successor waits for it, upgraded connections get no more than requests.
pub(crate) fn drain_times(environment: &Environment, one: &Instance) -> (Duration, Duration) {
    let settings = environment
        .renderings
        .get(&one.release)
        .map_or_else(Settings::default, |rendering| rendering.settings.clone());
    let waited_for = environment.lifecycle == Lifecycle::Down
        || environment
            .deployment
            .as_ref()
            .is_some_and(|active| active.settings.strategy == Strategy::Recreate)
        || environment
            .service(one.release, &one.workload.service)
            .is_some_and(RenderedService::is_stateful);
    let upgraded = if waited_for {
        settings.drain_upgraded.min(settings.drain)
    } else {
        settings.drain_upgraded
    };
    (settings.drain, upgraded)
}
