//! What is observed, taken into the instances' records: who runs, who ended, who is well. Not what
//! follows from it.

use super::drift::{Deed, Drift, is_done};
use super::{retire, set_phase};
use crate::deployment::{Deployment, Failure, JobState};
use crate::id::WorkloadId;
use crate::instance::{Backoff, Health, Instance, Phase, elapsed};
use crate::observation::{Exit, InstanceState};
use crate::step::Turn;

/// Takes in what is observed: who runs, who ended, who is well.
pub(crate) fn absorb(turn: &mut Turn<'_>) {
    networks(turn);
    let mut drift = Drift::default();
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
        let limits = observed.and_then(|observed| observed.limits.clone());
        let observed = observed.map(|observed| observed.state.clone());
        drift.note_limits(turn, &one, limits.as_ref());
        match (&one.phase, observed.as_ref()) {
            (_, Some(InstanceState::Exited(exit))) => {
                drift.note_end(turn, &one, Some(exit));
                ended(turn, &one, exit);
            }
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
            (Phase::Running { .. }, None) => {
                drift.note_end(turn, &one, None);
                ended(turn, &one, &disappeared(turn));
            }
            // Somebody took it off its network, and the engine puts it back.
            (Phase::Running { .. }, Some(InstanceState::Starting)) => {
                let since = turn.now;
                drift.note(turn, &one, Deed::CutOff);
                begin_anew(
                    turn,
                    number,
                    Phase::Pending { since },
                    "instance.unreachable",
                );
            }
            (
                Phase::Running { address, since },
                Some(InstanceState::Running {
                    address: now_at,
                    since: runs_since,
                }),
            ) if (address, since) != (now_at, runs_since) => {
                let (what, deed) = elsewhere(since == runs_since);
                drift.note(turn, &one, deed);
                let phase = Phase::Running {
                    address: *now_at,
                    since: *runs_since,
                };
                begin_anew(turn, number, phase, what);
            }
            // One that goes may have been started a moment ago. It is gone when the engine, asked
            // after it was to stop, does not have it: an older answer may be from before its start.
            (Phase::Stopping { since }, None) if turn.observation.at > *since => {
                turn.environment.instances.remove(&number);
            }
            (Phase::Running { .. }, Some(_)) => probe(turn, number),
            (Phase::Pending { .. } | Phase::Draining { .. } | Phase::Stopping { .. }, _) => {}
        }
    }
    drift.tell(turn);
}

/// Says what became of one that is not where it was, or not what it was.
fn elsewhere(is_the_same_run: bool) -> (&'static str, Deed) {
    if is_the_same_run {
        ("instance.moved", Deed::Moved)
    } else {
        ("instance.restarted", Deed::Restarted)
    }
}

/// Takes in the networks. That names are answered in one without regard to who asks is worth a line
/// in the trail, once.
fn networks(turn: &mut Turn<'_>) {
    let seen = &turn.observation.networks;
    let known = std::mem::replace(&mut turn.environment.networks, seen.clone());
    for (name, network) in seen {
        let before = known.get(name).map(|network| &network.server);
        if let Err(reason) = &network.server
            && before != Some(&network.server)
        {
            let subject = turn.environment.id.to_string();
            let reason = format!(
                "in the network `{name}` the engine answers for names, with the instances of both \
                 releases while two run side by side: {reason}"
            );
            turn.event("environment.names", subject, Some(reason));
        }
    }
}

/// Takes in that an instance is not where it was, or was started again by somebody: nothing is known
/// of how it is, and nobody is sent there, before it was tried again.
fn begin_anew(turn: &mut Turn<'_>, number: u32, phase: Phase, what: &str) {
    let Some(one) = turn.environment.instances.get_mut(&number) else {
        return;
    };
    one.phase = phase;
    one.health = Health::Unknown;
    let one = one.clone();
    let id = turn.environment.instance_id(&one);
    turn.event(what, id.to_string(), None);
}

fn disappeared(turn: &Turn<'_>) -> Exit {
    Exit {
        code: None,
        signal: None,
        error: Some("the engine has no record of it any more".to_owned()),
        is_by_hand: false,
        note: None,
        at: turn.now,
        log_tail: Vec::new(),
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
    let stays = service.is_exclusive() || was_never_well(turn, &one);
    let patience = service.spec.health.first_patience();
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
        return progress(turn, &one.workload);
    }
    let met = reason.unwrap_or_else(|| "no answer".to_owned());
    let met = if one.health == Health::Unknown {
        let met = format!("not healthy {patience:.0?} after its start: {met}");
        give_up(turn, &one, &met);
        met
    } else {
        format!("health check failed: {met}")
    };
    if !stays {
        count_failure(turn, &one, &met, Vec::new());
        retire(turn, number);
    }
}

/// Tells whether an instance was taken over and has not passed our check once: then the check is
/// more likely wrong than what served before.
fn was_never_well(turn: &Turn<'_>, one: &Instance) -> bool {
    one.health == Health::Unknown && turn.environment.adopted_container(one.number).is_some()
}

/// Notes progress: more instances of a workload are healthy than ever before in this deployment. What
/// only comes back is none, or one that is well and ill by turns would keep a deployment for ever.
fn progress(turn: &mut Turn<'_>, workload: &WorkloadId) {
    let serving = turn.environment.serving(workload);
    let now = turn.now;
    if let Some(deployment) = &mut turn.environment.deployment {
        let most = deployment.reached.entry(workload.clone()).or_insert(0);
        if serving > *most {
            *most = serving;
            deployment.progress_at = now;
        }
    }
}

/// Notes that an instance of a candidate had all the time that its check grants and never became
/// well. It is tried many times meanwhile, so another instance would only take as long.
fn give_up(turn: &mut Turn<'_>, one: &Instance, met: &str) {
    let failure = failure(turn, one, met, Vec::new());
    if let Some(deployment) = candidate_of(turn, &one.workload) {
        deployment.never_well.get_or_insert(failure);
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
    if is_done(turn, one, exit) {
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
                unheard: None,
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
    let failure = failure(turn, one, reason, log_tail);
    if let Some(deployment) = candidate_of(turn, workload) {
        *deployment.failures.entry(workload.clone()).or_insert(0) += 1;
        deployment.last_failure = Some(failure);
    }
}

fn failure(turn: &Turn<'_>, one: &Instance, met: &str, log_tail: Vec<String>) -> Failure {
    let service = &one.workload.service;
    Failure {
        reason: format!("service `{service}`: {met}"),
        service: Some(service.clone()),
        unheard: log_tail
            .is_empty()
            .then(|| turn.environment.instance_id(one)),
        log_tail,
        aborted: false,
        at: turn.now,
    }
}

/// Returns the active deployment where its candidate brings this workload out: the stable release
/// does not have it.
fn candidate_of<'t>(turn: &'t mut Turn<'_>, workload: &WorkloadId) -> Option<&'t mut Deployment> {
    let environment = &mut turn.environment;
    let renders = |release| {
        let service = environment.service(release, &workload.service);
        service.is_some_and(|service| &service.workload == workload)
    };
    let candidate = environment.deployment.as_ref()?.release;
    let brought_out = renders(candidate) && !environment.stable.is_some_and(renders);
    environment.deployment.as_mut().filter(|_| brought_out)
}
