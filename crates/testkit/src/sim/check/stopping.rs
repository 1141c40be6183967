//! Rules 4 and 5: who may be told to stop.

use towpath_model::deployment::Phase;
use towpath_model::environment::{Environment, Lifecycle};
use towpath_model::id::InstanceId;
use towpath_model::release::RenderedService;

use crate::sim::check::naming;
use crate::sim::clock::ms;
use crate::sim::invariant::{Broken, Invariant};
use crate::sim::world::World;

/// Checks that an instance that is about to be told to stop may be.
pub(in crate::sim) fn may_stop(
    world: &World,
    environment: &Environment,
    id: &InstanceId,
) -> Result<(), Broken> {
    let process = world.engine.processes.get(id);
    let Some(process) = process.filter(|one| one.is_alive() && one.told_to_stop.is_none()) else {
        return Ok(());
    };
    if world.router.names(id) {
        return Invariant::StoppedWhileInUse
            .broken(format!("{id} is told to stop and is still routed"));
    }
    naming::may_stop(
        world,
        environment,
        id,
        is_waited_for(world, environment, id),
    )?;
    drain_ended(world, environment, id)?;
    healthy_side_stays(world, environment, id, process.nature.is_sound())
}

/// Rule 5: what was in flight ended, or had its time.
fn drain_ended(world: &World, environment: &Environment, id: &InstanceId) -> Result<(), Broken> {
    let release = environment.instances.get(&id.number).map(|one| one.release);
    let Some(rendering) = release.and_then(|release| environment.renderings.get(&release)) else {
        return Ok(());
    };
    let waited_for = is_waited_for(world, environment, id);
    let settings = &rendering.settings;
    let requests = ms(settings.drain);
    let upgraded = if waited_for {
        requests.min(ms(settings.drain_upgraded))
    } else {
        ms(settings.drain_upgraded)
    };
    let since = world.router.unrouted_since.get(id).copied().unwrap_or(0);
    let waited = world.now.saturating_sub(since);
    let cut = world
        .router
        .flights
        .iter()
        .filter(|flight| &flight.instance == id)
        .find(|flight| waited < if flight.upgraded { upgraded } else { requests });
    match cut {
        Some(flight) => Invariant::StoppedWhileInUse.broken(format!(
            "{id} is told to stop {waited} ms after it was unrouted, with a request in flight (upgraded: {})",
            flight.upgraded
        )),
        None => Ok(()),
    }
}

/// Tells whether the successor of an instance waits for it, now or some moments ago.
fn is_waited_for(world: &World, environment: &Environment, id: &InstanceId) -> bool {
    let release = environment.instances.get(&id.number).map(|one| one.release);
    let service = release.and_then(|release| environment.service(release, &id.service));
    let at = world.ledger.waited_for_at;
    environment.lifecycle == Lifecycle::Down
        || (at > 0 && world.now < at + 15_000)
        || service.is_some_and(RenderedService::is_exclusive)
}

/// Rule 4: on the way back, nobody sound of the stable side is removed while it has no more than
/// is wanted.
fn healthy_side_stays(
    world: &World,
    environment: &Environment,
    id: &InstanceId,
    sound: bool,
) -> Result<(), Broken> {
    let Some(active) = environment.deployment.as_ref() else {
        return Ok(());
    };
    let stable = environment
        .stable
        .and_then(|stable| environment.service(stable, &id.service));
    let Some(stable) = stable.filter(|_| {
        sound
            && matches!(
                active.phase,
                Phase::Restoring | Phase::Reverting | Phase::Discarding
            )
    }) else {
        return Ok(());
    };
    let is_stable = environment
        .instances
        .get(&id.number)
        .is_some_and(|one| one.workload == stable.workload);
    let others = environment.instances.values().filter(|one| {
        one.workload == stable.workload && one.is_serving() && one.number != id.number
    });
    let wanted = usize::try_from(environment.wanted(stable)).unwrap_or(usize::MAX);
    let still_draining = world
        .ledger
        .phase_since
        .as_ref()
        .is_some_and(|(_, _, since)| world.now < since + 15_000);
    if is_stable && others.count() < wanted && !still_draining {
        return Invariant::WrongSideKept.broken(format!(
            "{id} of the stable release is told to stop on the way back to it"
        ));
    }
    Ok(())
}
