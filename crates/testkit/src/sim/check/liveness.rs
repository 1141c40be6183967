//! Rule 9: nothing is held for ever, and in the end everything is as it should be.

use towpath_model::environment::{Environment, Lifecycle};
use towpath_model::id::DeploymentNumber;
use towpath_model::release::RenderedService;
use towpath_model::rollout::Strategy;

use crate::sim::clock::{Ms, ms, since_start};
use crate::sim::invariant::{Broken, Invariant};
use crate::sim::nature::Nature;
use crate::sim::plane::Plane;
use crate::sim::world::World;

/// What a control plane that comes back late may add to a deadline.
const SLACK: Ms = 30_000;

/// A world in which nothing changed for so long is at rest.
const REST: Ms = 30_000;

/// Notes since when the active deployment is in its phase.
pub(in crate::sim) fn note_phase(world: &mut World, after: &Environment) {
    // A deployment that fails while a person paused it waits anew, for another reason.
    let now = after.deployment.as_ref().map(|one| {
        let paused = one.paused.as_ref().map(|pause| pause.reason);
        (one.number, format!("{:?} paused: {paused:?}", one.phase))
    });
    let before = world.ledger.phase_since.take();
    world.ledger.phase_since = now.map(|(number, phase)| match before {
        Some(earlier) if earlier.0 == number && earlier.1 == phase => earlier,
        Some(_) | None => (number, phase, world.now),
    });
    let waits = |environment: &Environment| {
        let active = environment.deployment.as_ref();
        environment.lifecycle == Lifecycle::Down
            || active.is_some_and(|one| one.settings.strategy == Strategy::Recreate)
    };
    if waits(after) || waits(&world.ledger.record) {
        world.ledger.waited_for_at = world.now;
    }
    if after != &world.ledger.record {
        world.ledger.changed_at = world.now;
    }
}

/// Checks that the active deployment left its phase within its deadlines.
pub(in crate::sim) fn no_phase_lasts_for_ever(world: &World) -> Result<(), Broken> {
    let Some((number, phase, since)) = &world.ledger.phase_since else {
        return Ok(());
    };
    let Some(active) = &world.ledger.record.deployment else {
        return Ok(());
    };
    let Plane::Up(memory) = &world.plane else {
        return Ok(());
    };
    let settings = &active.settings;
    let longest = match &active.paused {
        Some(_) => ms(settings.pause_expiry),
        // Several instances may become healthy one after the other, and failures to start are
        // counted; each of them is progress.
        None => 4 * ms(settings.progress_deadline) + ms(settings.bake),
    };
    let begun = (*since).max(memory.up_since);
    let over = world.now > begun + longest + SLACK;
    if over && *number == active.number {
        return stuck(*number, phase, world.now - since);
    }
    Ok(())
}

fn stuck(number: DeploymentNumber, phase: &str, since: Ms) -> Result<(), Broken> {
    Invariant::Stuck.broken(format!("deployment {number} is in {phase} for {since} ms"))
}

/// Tells whether nothing changes any more.
pub(in crate::sim) fn is_at_rest(world: &World) -> bool {
    let ledger = &world.ledger;
    let calm = ledger.calm_since.unwrap_or(Ms::MAX - REST);
    let record = &ledger.record;
    record.deployment.is_none()
        && record.waiting.is_none()
        && world.now > ledger.changed_at.max(calm).max(restart_due(record)) + REST
}

/// Returns when the last sound service that ended too often may be started again.
fn restart_due(record: &Environment) -> Ms {
    let services = record
        .stable_rendering()
        .into_iter()
        .flat_map(|rendering| rendering.services.values());
    services
        .filter(|service| Nature::of(&service.spec).is_sound())
        .filter_map(|service| record.backoff.get(&service.workload))
        .map(|backoff| since_start(backoff.until))
        .max()
        .unwrap_or(0)
}

/// Checks the world at its end: no deployment hangs, what should serve does, nothing else is left.
pub(in crate::sim) fn at_the_end(world: &World) -> Result<(), Broken> {
    let record = &world.ledger.record;
    if let Some(one) = record.deployment.as_ref().or(record.waiting.as_ref()) {
        return Invariant::Stuck.broken(format!(
            "everything works for minutes and deployment {} is still in {:?}, paused: {:?}",
            one.number, one.phase, one.paused
        ));
    }
    if let Some(row) = world.ledger.rows.values().find(|row| !row.is_over()) {
        return Invariant::Stuck
            .broken(format!("deployment {} never ended", row.deployment.number));
    }
    let sides = record.shares.values().flatten();
    let failed_way_back = sides
        .into_iter()
        .any(|share| Some(share.release) != record.stable && share.weight > 0);
    match record.stable_rendering() {
        Some(rendering) if record.lifecycle == Lifecycle::Up && !failed_way_back => rendering
            .services
            .values()
            .filter(|service| !service.is_job())
            .try_for_each(|service| serves(world, service))?,
        Some(_) | None => {}
    }
    no_orphans(world, failed_way_back)
}

/// Checks that a service whose instances are sound has as many as are wanted, healthy and routed.
fn serves(world: &World, service: &RenderedService) -> Result<(), Broken> {
    let record = &world.ledger.record;
    let wanted = usize::try_from(record.wanted(service)).unwrap_or(usize::MAX);
    let sound = Nature::of(&service.spec).is_sound();
    let well: Vec<_> = world
        .engine
        .processes
        .values()
        .filter(|one| one.workload == service.workload && one.is_well(world.now))
        .collect();
    if !sound {
        return Ok(());
    }
    if well.len() != wanted {
        return Invariant::Stuck.broken(format!(
            "{} has {} healthy instances in the end, {wanted} are wanted",
            service.workload,
            well.len()
        ));
    }
    let routed = record
        .published
        .routes
        .iter()
        .any(|one| one.route.name.split(':').next() == Some(service.spec.service.as_str()));
    match well
        .iter()
        .find(|one| routed && !world.router.names(&one.id))
    {
        Some(one) => Invariant::Stuck.broken(format!("{} is healthy and never routed", one.id)),
        None if world.router.table != record.published => {
            Invariant::Stuck.broken("the router never got the last table")
        }
        None => Ok(()),
    }
}

/// Checks that nothing runs that nobody wants.
fn no_orphans(world: &World, failed_way_back: bool) -> Result<(), Broken> {
    let record = &world.ledger.record;
    let wanted = |process: &&crate::sim::engine::Process| {
        let stable = record
            .stable
            .and_then(|stable| record.service(stable, &process.id.service));
        let is_stable = stable.is_some_and(|stable| stable.workload == process.workload);
        record.lifecycle == Lifecycle::Up && (is_stable || failed_way_back)
    };
    let mut ours = world
        .engine
        .processes
        .values()
        .filter(|one| one.id.environment == record.id);
    match ours.find(|one| !wanted(one)) {
        Some(orphan) => Invariant::Stuck.broken(format!(
            "{} is left over in the end: {:?}, {:?}",
            orphan.id,
            orphan.state,
            record
                .instances
                .values()
                .map(|one| (one.number, &one.workload, &one.phase, one.health))
                .collect::<Vec<_>>()
        )),
        None => Ok(()),
    }
}
