//! Whether an instance may be started now. Not how many there should be.

use crate::deployment::{JobState, Kind};
use crate::desired::Side;
use crate::environment::Environment;
use crate::id::{ReleaseNumber, ServiceName};
use crate::instance::Instance;
use crate::observation::InstanceState;
use crate::release::{Condition, RenderedService};
use crate::step::Turn;

pub(super) fn may_start(turn: &Turn<'_>, side: &Side) -> bool {
    let environment = &turn.environment;
    let Some(service) = environment.service(side.release, &side.workload.service) else {
        return false;
    };
    let waits = environment
        .backoff
        .get(&side.workload)
        .is_some_and(|backoff| backoff.until > turn.now);
    let occupied = service.is_exclusive() && is_occupied(turn, &side.workload.service);
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
pub(super) fn dependencies_are_met(
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
