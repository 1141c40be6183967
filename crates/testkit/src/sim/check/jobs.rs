//! Rule 11: a release job runs exactly once for each deployment.

use towpath_model::deployment::Kind;
use towpath_model::environment::Environment;
use towpath_model::port::InstanceStart;

use crate::sim::engine::State;
use crate::sim::invariant::{Broken, Invariant};
use crate::sim::world::World;

/// Notes that an instance was truly started, and checks that a job was not before.
pub(in crate::sim) fn launched(
    world: &mut World,
    environment: &Environment,
    start: &InstanceStart,
) -> Result<(), Broken> {
    let job = environment
        .instances
        .get(&start.id.number)
        .and_then(|one| one.job);
    let Some(deployment) = job else {
        return Ok(());
    };
    world.ledger.job_of.insert(start.id.clone(), deployment);
    let key = (deployment, start.id.service.clone());
    let count = world.ledger.job_launches.entry(key).or_insert(0);
    *count += 1;
    if *count > 1 {
        return Invariant::JobNotOnce.broken(format!(
            "release job {} was started {count} times for deployment {deployment}",
            start.id.service
        ));
    }
    Ok(())
}

/// Checks that no candidate gets traffic before the release's jobs truly ended well.
pub(in crate::sim) fn none_is_skipped(
    world: &mut World,
    after: &Environment,
) -> Result<(), Broken> {
    let done = world.engine.processes.values().filter_map(|process| {
        let State::Exited(exit) = &process.state else {
            return None;
        };
        let deployment = world.ledger.job_of.get(&process.id)?;
        exit.is_success()
            .then(|| (*deployment, process.id.service.clone()))
    });
    let done: Vec<_> = done.collect();
    world.ledger.jobs_done.extend(done);
    let Some(active) = after
        .deployment
        .as_ref()
        .filter(|active| active.kind == Kind::Release && !active.is_rolling_back())
    else {
        return Ok(());
    };
    let Some(rendering) = after.renderings.get(&active.release) else {
        return Ok(());
    };
    let before = &world.ledger.record;
    // A deployment before it may have moved traffic in the same step.
    if before.deployment.as_ref().map(|one| one.number) != Some(active.number) {
        return Ok(());
    }
    let shifted = rendering.services.values().any(|service| {
        !service.is_exclusive()
            && after.weight(&service.workload) > before.weight(&service.workload)
    });
    let skipped = rendering.services.iter().find(|(name, service)| {
        service.is_job()
            && !world
                .ledger
                .jobs_done
                .contains(&(active.number, (*name).clone()))
    });
    match skipped {
        Some((name, _)) if shifted => Invariant::JobNotOnce.broken(format!(
            "traffic moves to release {} and its job {name} never ended well",
            active.release
        )),
        Some(_) | None => Ok(()),
    }
}
