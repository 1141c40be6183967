//! Instances: from what should be there and what is observed to what is decided about each. Not
//! the rollout, which says what should be there.

use std::time::Duration;

use jiff::Timestamp;

use crate::deployment::{Failure, JobState, Kind, Phase as Rollout};
use crate::desired::{Side, desired};
use crate::environment::{Environment, Lifecycle};
use crate::id::{ReleaseNumber, ServiceName, WorkloadId};
use crate::instance::{Backoff, Health, Instance, Phase, elapsed};
use crate::observation::{Exit, InstanceState};
use crate::release::{Condition, RenderedService, Restart};
use crate::rollout::{Settings, Strategy};
use crate::step::Turn;

/// Takes in what is observed: who runs, who ended, who is well.
pub(crate) fn absorb(turn: &mut Turn<'_>) {
    let numbers: Vec<u32> = turn.environment.instances.keys().copied().collect();
    for number in numbers {
        let Some(one) = turn.environment.instances.get(&number).cloned() else {
            continue;
        };
        let id = turn.environment.instance_id(&one);
        let observed = turn
            .observation
            .instances
            .iter()
            .find(|observed| observed.id == id);
        match (&one.phase, observed.map(|observed| &observed.state)) {
            (_, Some(InstanceState::Exited(exit))) => ended(turn, &one, exit),
            (Phase::Pending { .. }, Some(InstanceState::Running { address, since })) => {
                set_phase(
                    turn,
                    number,
                    Phase::Running {
                        address: *address,
                        since: *since,
                    },
                );
                turn.event("instance.started", id.to_string(), None);
                probe(turn, number);
            }
            (Phase::Running { .. }, None) => ended(turn, &one, &disappeared(turn)),
            // One that drains may have been started a moment ago and not be seen yet: it is gone
            // when it still is not seen after it was to stop.
            (Phase::Stopping { .. }, None) => {
                turn.environment.instances.remove(&number);
            }
            (Phase::Running { .. }, Some(_)) => probe(turn, number),
            (Phase::Pending { .. } | Phase::Draining { .. } | Phase::Stopping { .. }, _) => {}
        }
    }
}

fn disappeared(turn: &Turn<'_>) -> Exit {
    Exit {
        code: None,
        signal: None,
        error: Some("the engine has no record of it any more".to_owned()),
        note: None,
        at: turn.now,
        log_tail: Vec::new(),
    }
}

fn set_phase(turn: &mut Turn<'_>, number: u32, phase: Phase) {
    if let Some(one) = turn.environment.instances.get_mut(&number) {
        one.phase = phase;
    }
}

/// Takes in what the prober found of a running instance.
fn probe(turn: &mut Turn<'_>, number: u32) {
    let Some(one) = turn.environment.instances.get(&number).cloned() else {
        return;
    };
    let id = turn.environment.instance_id(&one);
    let Some(record) = turn.observation.probes.get(&id) else {
        return;
    };
    let Some(service) = turn.environment.service(one.release, &one.workload.service) else {
        return;
    };
    let Phase::Running { since, .. } = one.phase else {
        return;
    };
    let age = elapsed(since, turn.now);
    let health = one.health.after(record, &service.spec.health, age);
    if health == one.health {
        return;
    }
    let stateful = service.is_stateful();
    let reason = record
        .last_error
        .clone()
        .filter(|_| health == Health::Unhealthy);
    if let Some(one) = turn.environment.instances.get_mut(&number) {
        one.health = health;
    }
    let what = match health {
        Health::Healthy => "instance.healthy",
        Health::Unhealthy => "instance.unhealthy",
        Health::Unknown => return,
    };
    turn.event(what, id.to_string(), reason.clone());
    if health == Health::Healthy {
        progress(turn);
    } else if !stateful {
        let met = reason.unwrap_or_else(|| "no answer".to_owned());
        count_failure(
            turn,
            &one,
            &format!("health check failed: {met}"),
            Vec::new(),
        );
        retire(turn, number);
    }
}

fn progress(turn: &mut Turn<'_>) {
    let now = turn.now;
    if let Some(deployment) = &mut turn.environment.deployment {
        deployment.progress_at = now;
    }
}

/// Takes in the end of an instance, wanted or not.
fn ended(turn: &mut Turn<'_>, one: &Instance, exit: &Exit) {
    let id = turn.environment.instance_id(one);
    turn.environment.instances.remove(&one.number);
    if one.job.is_some() {
        return job_ended(turn, one, exit);
    }
    if matches!(one.phase, Phase::Draining { .. } | Phase::Stopping { .. }) {
        return turn.event("instance.stopped", id.to_string(), None);
    }
    turn.event("instance.exited", id.to_string(), Some(exit.summary()));
    let restart = turn
        .environment
        .service(one.release, &one.workload.service)
        .map_or(Restart::Always, |service| service.restart);
    let done = match restart {
        Restart::Always => false,
        Restart::OnFailure | Restart::No => exit.is_success(),
    };
    if done {
        turn.environment.completed.insert(one.workload.clone());
    } else {
        count_failure(turn, one, &exit.summary(), exit.log_tail.clone());
    }
}

fn job_ended(turn: &mut Turn<'_>, one: &Instance, exit: &Exit) {
    let id = turn.environment.instance_id(one);
    let service = one.workload.service.clone();
    let now = turn.now;
    let (what, state) = if exit.is_success() {
        ("job.succeeded", JobState::Succeeded)
    } else {
        ("job.failed", JobState::Failed)
    };
    let deployment = turn.environment.deployment.as_mut();
    if let Some(deployment) = deployment.filter(|active| Some(active.number) == one.job) {
        if state == JobState::Failed {
            deployment.last_failure = Some(Failure {
                reason: format!("release job `{service}` {}", exit.summary()),
                service: Some(service.clone()),
                log_tail: exit.log_tail.clone(),
                aborted: false,
                at: now,
            });
        }
        deployment.jobs.insert(service, state);
        deployment.progress_at = now;
    }
    turn.event(what, id.to_string(), Some(exit.summary()));
}

/// Writes down that an instance failed: the next start waits, and a candidate comes nearer to
/// being given up.
fn count_failure(turn: &mut Turn<'_>, one: &Instance, reason: &str, log_tail: Vec<String>) {
    let workload = &one.workload;
    let before = turn.environment.backoff.get(workload);
    let backoff = Backoff::after_failure(before, reason.to_owned(), turn.now);
    let looping = backoff.failures == Backoff::CRASH_LOOP;
    turn.environment.backoff.insert(workload.clone(), backoff);
    if looping {
        let id = turn.environment.instance_id(one);
        turn.event(
            "instance.crash_looping",
            id.to_string(),
            Some(reason.to_owned()),
        );
    }
    let stable = turn.environment.stable;
    let is_stable = stable
        .and_then(|stable| turn.environment.service(stable, &workload.service))
        .is_some_and(|service| &service.workload == workload);
    let now = turn.now;
    let Some(deployment) = turn.environment.deployment.as_mut().filter(|_| !is_stable) else {
        return;
    };
    *deployment.failures.entry(workload.clone()).or_insert(0) += 1;
    deployment.last_failure = Some(Failure {
        reason: format!("service `{}`: {reason}", workload.service),
        service: Some(workload.service.clone()),
        log_tail,
        aborted: false,
        at: now,
    });
}

/// Decides which instances to start and which to retire. Returns whether anything was decided.
pub(crate) fn place(turn: &mut Turn<'_>) -> bool {
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
    sides.sort_by_key(|side| (position(side), side.workload.clone()));
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

fn may_start(turn: &Turn<'_>, side: &Side) -> bool {
    let environment = &turn.environment;
    let Some(service) = environment.service(side.release, &side.workload.service) else {
        return false;
    };
    let waits = environment
        .backoff
        .get(&side.workload)
        .is_some_and(|backoff| backoff.until > turn.now);
    let occupied = service.is_stateful() && is_occupied(turn, &side.workload.service);
    let completed = environment.completed.contains(&side.workload);
    if !side.may_start || waits || occupied || completed {
        return false;
    }
    // One that joins others which serve found its dependencies met when they started.
    environment.serving(&side.workload) > 0
        || dependencies_are_met(environment, side.release, service)
}

/// Tells whether any instance of the service is there, whatever its release and its phase, and
/// whether or not the record knows it.
fn is_occupied(turn: &Turn<'_>, service: &ServiceName) -> bool {
    let id = &turn.environment.id;
    let decided = turn.environment.instances.values();
    let mut seen =
        turn.observation.instances.iter().filter(|one| {
            one.id.environment == *id && !matches!(one.state, InstanceState::Exited(_))
        });
    decided
        .map(|one| &one.workload.service)
        .any(|one| one == service)
        || seen.any(|one| &one.id.service == service)
}

/// Tells whether what a service waits for is so (Compose's `depends_on` conditions).
fn dependencies_are_met(
    environment: &Environment,
    release: ReleaseNumber,
    service: &RenderedService,
) -> bool {
    service.depends_on.iter().all(|(name, condition)| {
        let Some(dependency) = environment.service(release, name) else {
            return true;
        };
        let workload = &dependency.workload;
        if !dependency.is_job() && environment.wanted(dependency) == 0 {
            // Nobody wants any of it, so nobody can wait for it.
            return true;
        }
        match condition {
            Condition::Started => environment.live(workload).any(Instance::is_running),
            Condition::Healthy => environment.serving(workload) > 0,
            Condition::Completed => job_is_done(environment, release, name),
        }
    })
}

/// Tells whether a release job was done. It has to be only while its release is brought out: what
/// is started again later found its migration done.
fn job_is_done(environment: &Environment, release: ReleaseNumber, name: &ServiceName) -> bool {
    match &environment.deployment {
        Some(active) if active.release == release && active.kind == Kind::Release => {
            active.jobs.get(name) == Some(&JobState::Succeeded)
        }
        _ => true,
    }
}

/// Writes down a new instance.
fn decide_on(
    turn: &mut Turn<'_>,
    workload: &WorkloadId,
    release: ReleaseNumber,
    job: Option<crate::id::DeploymentNumber>,
) -> u32 {
    let number = turn.environment.next_instance;
    turn.environment.next_instance += 1;
    let one = Instance {
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
/// built, in [`drain`].
fn retire(turn: &mut Turn<'_>, number: u32) {
    let now = turn.now;
    set_phase(
        turn,
        number,
        Phase::Draining {
            since: now,
            generation: 0,
            confirmed: None,
        },
    );
}

fn start_jobs(turn: &mut Turn<'_>) {
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
fn stop_stray_jobs(turn: &mut Turn<'_>) {
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
