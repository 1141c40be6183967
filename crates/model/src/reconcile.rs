//! Instances: from what should be there and what is observed to what is decided about each. Not
//! the rollout, which says what should be there.

mod absorb;
mod drain;
mod drift;
mod job;
mod start;

use crate::desired::{Side, desired};
use crate::environment::{Environment, Lifecycle};
use crate::id::{DeploymentNumber, ReleaseNumber, WorkloadId};
use crate::instance::{Health, Instance, Phase};
use crate::observation::InstanceState;
use crate::step::Turn;
use job::{start_jobs, stop_stray_jobs};
use start::may_start;

pub(crate) use absorb::absorb;
pub(crate) use drain::{drain, is_as_good_as_gone, name_drain, request_drains};

/// Decides which instances to start and which to retire. Returns whether anything was decided.
pub(crate) fn place(turn: &mut Turn<'_>) -> bool {
    if turn.environment.is_leaving() {
        return false;
    }
    let desired = desired(&turn.environment);
    let before = turn.environment.instances.clone();
    let undesired: Vec<u32> = before
        .values()
        .filter(|one| one.is_live())
        .filter(|one| {
            let sides = desired.get(&one.workload.service);
            !sides.is_some_and(|sides| sides.iter().any(|side| side.workload == one.workload))
        })
        .filter(|one| !is_still_used(&turn.environment, one))
        .map(|one| one.number)
        .collect();
    for number in undesired {
        retire(turn, number);
    }
    for side in in_start_order(&turn.environment, desired.into_values().flatten().collect()) {
        level(turn, &side);
    }
    start_jobs(turn);
    stop_stray_jobs(turn);
    turn.environment.instances != before
}

/// Tells whether an instance must outlive others while all of its environment is stopped: those
/// whose service depends on its, so that they can finish what they do with it.
fn is_still_used(environment: &Environment, one: &Instance) -> bool {
    let instances = || environment.instances.values();
    // One release's word for all: those of two could make a cycle.
    let newest = instances().map(|other| other.release).max();
    let Some(release) = newest.filter(|_| environment.lifecycle == Lifecycle::Down) else {
        return false;
    };
    instances().any(|other| {
        environment
            .service(release, &other.workload.service)
            .is_some_and(|service| service.depends_on.contains_key(&one.workload.service))
    })
}

/// Sorts sides so that each comes after those that its service depends on.
fn in_start_order(environment: &Environment, mut sides: Vec<Side>) -> Vec<Side> {
    let position = |side: &Side| {
        let rendering = environment.renderings.get(&side.release);
        rendering.and_then(|rendering| {
            rendering
                .start_order()
                .iter()
                .position(|name| **name == side.workload.service)
        })
    };
    sides.sort_by_cached_key(|side| (position(side), side.workload.clone()));
    sides
}

/// Starts what is missing of a side, or retires what is too much.
fn level(turn: &mut Turn<'_>, side: &Side) {
    let live = u32::try_from(turn.environment.live(&side.workload).count()).unwrap_or(u32::MAX);
    if live > side.count {
        for number in surplus(&turn.environment, &side.workload, live - side.count) {
            retire(turn, number);
        }
    } else if live < side.count && side.may_start {
        let live = live + take_back(turn, side, side.count - live);
        if live >= side.count || !may_start(turn, side) {
            return;
        }
        for _ in live..side.count {
            decide_on(turn, &side.workload, side.release, None);
        }
    }
}

/// Takes back healthy instances that were to go and were not told to stop yet: the router may still
/// give them requests, and they may be the last ones that can answer. Returns how many.
fn take_back(turn: &mut Turn<'_>, side: &Side, missing: u32) -> u32 {
    let leaving = turn.environment.instances.values().filter(|one| {
        one.job.is_none()
            && one.workload == side.workload
            && one.health == Health::Healthy
            && matches!(one.phase, Phase::Draining { .. })
    });
    let running: Vec<(u32, Phase)> = leaving
        .filter_map(|one| {
            let id = turn.environment.instance_id(one);
            let seen = turn
                .observation
                .instances
                .iter()
                .find(|seen| seen.id == id)?;
            let InstanceState::Running { address, since } = seen.state else {
                return None;
            };
            Some((one.number, Phase::Running { address, since }))
        })
        .take(usize::try_from(missing).unwrap_or(usize::MAX))
        .collect();
    for (number, phase) in &running {
        set_phase(turn, *number, phase.clone());
    }
    u32::try_from(running.len()).unwrap_or(u32::MAX)
}

/// Chooses who goes: who is not well first, then who came last.
fn surplus(environment: &Environment, workload: &WorkloadId, count: u32) -> Vec<u32> {
    let mut live: Vec<&Instance> = environment.live(workload).collect();
    live.sort_by_key(|one| (one.is_serving(), std::cmp::Reverse(one.number)));
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    live.into_iter().take(count).map(|one| one.number).collect()
}

/// Writes down a new instance.
fn decide_on(
    turn: &mut Turn<'_>,
    workload: &WorkloadId,
    release: ReleaseNumber,
    job: Option<DeploymentNumber>,
) -> u32 {
    let number = turn.environment.next_instance;
    turn.environment.next_instance += 1;
    let one = Instance {
        limits: None,
        number,
        workload: workload.clone(),
        release,
        job,
        phase: Phase::Pending { since: turn.now },
        health: Health::Unknown,
    };
    turn.environment.instances.insert(number, one);
    number
}

/// Begins to take an instance out of service. The generation is set when the routes without it are
/// built, in [`drain()`].
fn retire(turn: &mut Turn<'_>, number: u32) {
    let now = turn.now;
    set_phase(turn, number, Phase::draining(now));
}

fn set_phase(turn: &mut Turn<'_>, number: u32, phase: Phase) {
    if let Some(one) = turn.environment.instances.get_mut(&number) {
        one.phase = phase;
    }
}
