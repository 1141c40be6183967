//! The way of an instance out of service: unrouted and unnamed, confirmed, drained, stopped. Not who
//! goes.

use std::time::Duration;

use jiff::Timestamp;

use super::set_phase;
use crate::environment::{Environment, Lifecycle};
use crate::instance::{Instance, Phase, Unnamed, elapsed};
use crate::names;
use crate::release::RenderedService;
use crate::rollout::{Settings, Strategy};
use crate::routing::NAME_TTL;
use crate::step::Turn;

/// Stops what was drained: the router confirmed that it gives it nothing new and names it to nobody,
/// and what was in flight ended, or had its time. Returns whether anything was decided.
pub(crate) fn drain(turn: &mut Turn<'_>) -> bool {
    let mut decided = false;
    let numbers: Vec<u32> = turn.environment.instances.keys().copied().collect();
    for number in numbers {
        let Some(one) = turn.environment.instances.get(&number).cloned() else {
            continue;
        };
        let Some(phase) = next(turn, &one) else {
            continue;
        };
        if phase != one.phase {
            set_phase(turn, number, phase);
            decided = true;
        }
    }
    decided
}

/// Returns how far an instance is that drains.
fn next(turn: &Turn<'_>, one: &Instance) -> Option<Phase> {
    let Phase::Draining {
        since,
        generation,
        confirmed,
        idle,
        unnamed,
    } = one.phase
    else {
        return None;
    };
    if is_drained(turn, one, confirmed) && is_forgotten(turn, one, unnamed) {
        return Some(Phase::Stopping { since: turn.now });
    }
    let present = turn.environment.published.generation;
    let confirms = |generation| {
        turn.environment
            .has_acknowledged(turn.observation, generation)
    };
    let (generation, confirmed) = if generation == 0 && present > 0 {
        (present, confirmed)
    } else {
        let confirmed = confirmed.or_else(|| confirms(generation).then_some(turn.now));
        (generation, confirmed)
    };
    let unnamed = match unnamed {
        None => is_unnamed(turn, one).then_some(Unnamed {
            generation: present,
            confirmed: None,
        }),
        Some(table) => Some(Unnamed {
            confirmed: table
                .confirmed
                .or_else(|| confirms(table.generation).then_some(turn.now)),
            ..table
        }),
    };
    Some(Phase::Draining {
        since,
        generation,
        confirmed,
        idle: idle || is_idle(turn, one, confirmed),
        unnamed,
    })
}

fn is_unnamed(turn: &Turn<'_>, one: &Instance) -> bool {
    let environment = &turn.environment;
    names::may_be_named(environment, one) && names::is_unnamed(environment, one)
}

/// Tells whether an instance drains that only those could still ask for something who were told its
/// address some time ago: nobody has to wait for that.
pub(crate) fn is_as_good_as_gone(turn: &Turn<'_>, one: &Instance) -> bool {
    match one.phase {
        Phase::Draining {
            confirmed,
            unnamed: Some(Unnamed {
                confirmed: Some(_), ..
            }),
            ..
        } => is_drained(turn, one, confirmed),
        Phase::Draining { .. }
        | Phase::Pending { .. }
        | Phase::Running { .. }
        | Phase::Stopping { .. } => false,
    }
}

fn is_drained(turn: &Turn<'_>, one: &Instance, confirmed: Option<Timestamp>) -> bool {
    let (_, upgraded) = request_drains(&turn.environment, one);
    is_idle(turn, one, confirmed) && load_is_over(turn, one, confirmed, upgraded, Kind::Upgraded)
}

/// Tells whether no request is in flight, or all had their time. Upgraded connections may be.
fn is_idle(turn: &Turn<'_>, one: &Instance, confirmed: Option<Timestamp>) -> bool {
    let (requests, _) = request_drains(&turn.environment, one);
    load_is_over(turn, one, confirmed, requests, Kind::Requests)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Requests,
    Upgraded,
}

fn load_is_over(
    turn: &Turn<'_>,
    one: &Instance,
    confirmed: Option<Timestamp>,
    limit: Duration,
    kind: Kind,
) -> bool {
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
    report
        .load(&environment.instance_id(one))
        .is_none_or(|load| {
            let count = match kind {
                Kind::Requests => load.in_flight,
                Kind::Upgraded => load.upgraded,
            };
            count == 0 || elapsed(confirmed, turn.now) >= limit
        })
}

/// Tells whether nobody who was told the address of an instance has a use for it any more: no name is
/// answered with it, that is confirmed, and what was answered before had its time.
fn is_forgotten(turn: &Turn<'_>, one: &Instance, unnamed: Option<Unnamed>) -> bool {
    if !names::may_be_named(&turn.environment, one) {
        return true;
    }
    let confirmed = unnamed.and_then(|table| table.confirmed);
    confirmed.is_some_and(|at| elapsed(at, turn.now) >= name_drain(&turn.environment, one))
}

/// Returns how long an instance stays after its name was taken back. The router cannot see requests
/// among instances, so they get their time whether or not there are any; none where its successor
/// waits for it.
pub(crate) fn name_drain(environment: &Environment, one: &Instance) -> Duration {
    if is_waited_for(environment, one) {
        return Duration::ZERO;
    }
    NAME_TTL + settings(environment, one).drain
}

/// Returns how long requests, and upgraded connections, may take to end on an instance. Where its
/// successor waits for it, upgraded connections get no more than requests.
pub(crate) fn request_drains(environment: &Environment, one: &Instance) -> (Duration, Duration) {
    let settings = settings(environment, one);
    let upgraded = if is_waited_for(environment, one) {
        settings.drain_upgraded.min(settings.drain)
    } else {
        settings.drain_upgraded
    };
    (settings.drain, upgraded)
}

fn settings(environment: &Environment, one: &Instance) -> Settings {
    environment
        .renderings
        .get(&one.release)
        .map_or_else(Settings::default, |rendering| rendering.settings.clone())
}

fn is_waited_for(environment: &Environment, one: &Instance) -> bool {
    environment.lifecycle == Lifecycle::Down
        || environment
            .deployment
            .as_ref()
            .is_some_and(|active| active.settings.strategy == Strategy::Recreate)
        || environment
            .service(one.release, &one.workload.service)
            .is_some_and(RenderedService::is_exclusive)
}
