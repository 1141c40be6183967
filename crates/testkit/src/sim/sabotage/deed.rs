//! How each sabotage is done.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use towpath_model::deployment::{Deployment, Failure, JobState, Outcome, Phase};
use towpath_model::environment::Environment;
use towpath_model::event::NewEvent;
use towpath_model::id::WorkloadId;
use towpath_model::instance;
use towpath_model::observation::Observation;
use towpath_model::port::Stop;
use towpath_model::routing::{Backend, FULL_WEIGHT, Target};
use towpath_model::step::{Action, Step};
use towpath_model::traffic::{RouteTraffic, TrafficCounters};

use crate::sim::check::data::SECRET;
use crate::sim::clock::moment;
use crate::sim::engine::foreign;

pub(super) fn confirm_everything(observation: &mut Observation, before: &Environment) {
    if let Some(report) = &mut observation.router {
        report.environments.insert(before.id.clone(), u64::MAX);
    }
}

pub(super) fn invent_requests(observation: &mut Observation, before: &Environment) {
    let Some(report) = &mut observation.router else {
        return;
    };
    for share in before.shares.values().flatten() {
        report.traffic.push(RouteTraffic {
            environment: before.id.clone(),
            route: "invented".to_owned(),
            workload: share.workload.clone(),
            counters: TrafficCounters {
                classes: [0, 1_000, 0, 0, 0],
                ..TrafficCounters::default()
            },
        });
    }
}

pub(super) fn forget_the_baseline(next: &mut Step) {
    let active = next.environment.deployment.as_mut();
    if let Some(baseline) = active.and_then(|active| active.baseline.as_mut()) {
        baseline.counters.clear();
    }
}

fn is_provisioning(environment: &Environment) -> bool {
    environment
        .deployment
        .as_ref()
        .is_some_and(|one| matches!(one.phase, Phase::Provisioning { .. }))
}

fn targets(environment: &mut Environment) -> impl Iterator<Item = &mut Vec<Target>> {
    let routes = environment.published.routes.iter_mut();
    routes.map(|one| &mut one.route.targets)
}

pub(super) fn route_all(next: &mut Step) {
    let mut running: BTreeMap<WorkloadId, Vec<Backend>> = BTreeMap::new();
    for one in next.environment.instances.values() {
        if let instance::Phase::Running { address, .. } = one.phase {
            let backend = Backend {
                instance: next.environment.instance_id(one),
                address,
            };
            running
                .entry(one.workload.clone())
                .or_default()
                .push(backend);
        }
    }
    for target in targets(&mut next.environment).flatten() {
        target.backends = running.get(&target.workload).cloned().unwrap_or_default();
    }
}

pub(super) fn tell_of_all(next: &mut Step) {
    for server in next.environment.published.names.values_mut() {
        let mut all: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        for view in &server.views {
            for (name, addresses) in &view.names {
                let known = all.entry(name.clone()).or_default();
                known.extend(addresses);
                known.sort_unstable();
                known.dedup();
            }
        }
        for view in &mut server.views {
            view.names.clone_from(&all);
        }
    }
}

pub(super) fn stop_the_lately_named(next: &mut Step) {
    let lately = next.environment.instances.values().filter(|one| {
        matches!(
            one.phase,
            instance::Phase::Draining {
                confirmed: Some(_),
                idle: true,
                unnamed: Some(instance::Unnamed {
                    confirmed: Some(_),
                    ..
                }),
                ..
            }
        )
    });
    let stops: Vec<Action> = lately
        .map(|one| Action::Stop {
            id: next.environment.instance_id(one),
            stop: a_stop(),
        })
        .collect();
    next.actions.extend(stops);
}

pub(super) fn unroute_stable(next: &mut Step) {
    if !is_provisioning(&next.environment) {
        return;
    }
    next.environment.published.generation += 1;
    for target in targets(&mut next.environment).flatten() {
        target.backends.clear();
    }
}

pub(super) fn shift_all(next: &mut Step) {
    let candidate = next.environment.candidate_rendering().cloned();
    let Some(candidate) = candidate.filter(|_| is_provisioning(&next.environment)) else {
        return;
    };
    for targets in targets(&mut next.environment) {
        let service = targets
            .first()
            .and_then(|target| candidate.services.get(&target.workload.service));
        if let Some(service) = service {
            *targets = vec![Target {
                workload: service.workload.clone(),
                weight: FULL_WEIGHT,
                backends: Vec::new(),
            }];
        }
    }
}

pub(super) fn retire_one(next: &mut Step) {
    if !is_provisioning(&next.environment) {
        return;
    }
    let environment = &next.environment;
    let serving = environment.instances.values().find(|one| {
        one.is_serving()
            && Some(one.release) == environment.stable
            && environment.weight(&one.workload) == FULL_WEIGHT
            && environment.serving(&one.workload) > 1
    });
    let number = serving.map(|one| one.number);
    if let Some(one) = number.and_then(|number| next.environment.instances.get_mut(&number)) {
        one.phase = instance::Phase::draining(moment(0));
    }
}

pub(super) fn end_before_the_way_back(next: &mut Step, before: &Environment) {
    let going_back = next
        .environment
        .deployment
        .take_if(|active| active.is_rolling_back());
    let Some(active) = going_back else { return };
    next.environment.shares.clone_from(&before.shares);
    next.environment.published.clone_from(&before.published);
    end(next, active, Outcome::Aborted);
}

fn end(next: &mut Step, mut deployment: Deployment, outcome: Outcome) {
    deployment.phase = Phase::Ended(outcome);
    deployment.paused = None;
    deployment.failure.get_or_insert(Failure {
        reason: "sabotage".to_owned(),
        service: None,
        log_tail: Vec::new(),
        unheard: None,
        aborted: true,
        at: moment(0),
    });
    let subject = format!("{}/{}", next.environment.id, deployment.number);
    next.events.push(event("deployment.ended", subject));
    next.finished.push(deployment);
}

fn event(what: &str, subject: String) -> NewEvent {
    NewEvent {
        at: moment(0),
        actor: "saboteur".to_owned(),
        what: what.to_owned(),
        subject,
        from: None,
        to: None,
        reason: None,
    }
}

pub(super) fn stop_the_draining(next: &mut Step) {
    let draining = next
        .environment
        .instances
        .values()
        .filter(|one| matches!(one.phase, instance::Phase::Draining { .. }));
    let stops: Vec<Action> = draining
        .map(|one| Action::Stop {
            id: next.environment.instance_id(one),
            stop: a_stop(),
        })
        .collect();
    next.actions.extend(stops);
}

fn a_stop() -> Stop {
    Stop {
        signal: "SIGTERM".to_owned(),
        grace: std::time::Duration::from_secs(1),
    }
}

pub(super) fn start_the_waiting(next: &mut Step, before: &Environment) {
    if before.deployment.is_none() {
        return;
    }
    if let Some(mut waiting) = next.environment.waiting.take() {
        waiting.phase = Phase::Preparing;
        next.environment.deployment = Some(waiting);
    }
}

pub(super) fn make_the_failed_stable(next: &mut Step) {
    let failed = next
        .finished
        .iter()
        .find(|one| matches!(one.outcome(), Some(Outcome::RolledBack | Outcome::Aborted)));
    if let Some(failed) = failed {
        next.environment.stable = Some(failed.release);
    }
}

pub(super) fn redeploy(next: &mut Step) {
    let failed = next
        .finished
        .iter()
        .find(|one| one.outcome() == Some(Outcome::RolledBack));
    let Some(mut again) = failed.cloned() else {
        return;
    };
    again.number.0 = next.environment.next_deployment;
    next.environment.next_deployment += 1;
    again.phase = Phase::Queued;
    again.failure = None;
    let subject = format!("{}/{}", next.environment.id, again.number);
    next.events.push(event("deployment.requested", subject));
    next.environment.waiting = Some(again);
}

pub(super) fn raise_secret_versions(next: &mut Step) {
    for action in &mut next.actions {
        if let Action::Start(start) = action {
            for mount in &mut Arc::make_mut(&mut start.spec).secrets {
                mount.version.0 += 1;
            }
        }
    }
}

pub(super) fn prune_stable(next: &mut Step) {
    if let Some(stable) = next
        .environment
        .stable
        .filter(|_| next.environment.deployment.is_some())
    {
        next.environment.renderings.remove(&stable);
    }
}

pub(super) fn forget_jobs(next: &mut Step) {
    if let Some(active) = &mut next.environment.deployment {
        active
            .jobs
            .retain(|_, job| !matches!(job, JobState::Running { .. }));
    }
}

pub(super) fn call_jobs_done(next: &mut Step) {
    let jobs: Vec<_> = next
        .environment
        .candidate_rendering()
        .into_iter()
        .flat_map(|rendering| &rendering.services)
        .filter(|(_, service)| service.is_job())
        .map(|(name, _)| (name.clone(), JobState::Succeeded))
        .collect();
    if let Some(active) = &mut next.environment.deployment {
        active.jobs.extend(jobs);
    }
}

pub(super) fn start_stateful_twice(next: &mut Step) {
    let second = next.actions.iter().find_map(|action| match action {
        Action::Start(start) if !start.spec.volumes.is_empty() => {
            let mut second = start.clone();
            second.id.number += 1_000;
            Some(second)
        }
        _ => None,
    });
    next.actions.extend(second.map(Action::Start));
}

pub(super) fn stop_foreign(next: &mut Step) {
    let id = foreign();
    next.actions.push(Action::Stop { id, stop: a_stop() });
}

pub(super) fn show_secret(next: &mut Step) {
    if let Some(event) = next.events.first_mut() {
        event.reason = Some(format!("the token is {SECRET}"));
    }
}

pub(super) fn call_success(next: &mut Step) {
    for one in &mut next.finished {
        if one.outcome() == Some(Outcome::RolledBack) {
            one.phase = Phase::Ended(Outcome::Succeeded);
        }
    }
}
