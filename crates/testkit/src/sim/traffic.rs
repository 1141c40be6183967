//! Requests from outside: a few at every tick for every route in force, forwarded as the router's
//! contract says, each checked for who it was given to.

use std::time::Duration;

use towpath_model::id::InstanceId;
use towpath_model::routing::{Route, RouteMode, Target};
use towpath_model::traffic::TrafficCounters;

use super::check;
use super::clock::Ms;
use super::invariant::Broken;
use super::nature::Nature;
use super::router::Flight;
use super::world::World;

/// Requests for each route at each tick.
const REQUESTS: u32 = 5;

/// Sends one tick's requests.
pub(super) fn flow(world: &mut World) -> Result<(), Broken> {
    if !world.router.is_up(world.now) {
        return Ok(());
    }
    // Requests change nothing of the table, so it is set aside for them, not copied.
    let routes = std::mem::take(&mut world.router.table.routes);
    let done = routes
        .iter()
        .map(|one| &one.route)
        .filter(|route| route.mode == RouteMode::Serving)
        .try_for_each(|route| (0..REQUESTS).try_for_each(|_| request(world, route)));
    world.router.table.routes = routes;
    done
}

fn request(world: &mut World, route: &Route) -> Result<(), Broken> {
    world.ledger.figures.requests += 1;
    let Some(target) = draw(world, route) else {
        world.ledger.figures.unserved += 1;
        return Ok(());
    };
    let Some(backend) = world.chance.pick(&target.backends) else {
        return Ok(());
    };
    check::routing::given(world, &backend.instance)?;
    let failed = serve(world, route, target, &backend.instance);
    let shielded = route
        .shield
        .as_ref()
        .filter(|shield| failed && shield.candidate == target.workload);
    if let Some(shield) = shielded {
        let stable = route
            .targets
            .iter()
            .find(|one| one.workload == shield.stable);
        if let Some(stable) = stable
            && let Some(backend) = world.chance.pick(&stable.backends)
        {
            check::routing::given(world, &backend.instance)?;
            serve(world, route, stable, &backend.instance);
        }
    }
    Ok(())
}

/// Draws a target by weight. One without backends leaves its requests to the others.
fn draw<'a>(world: &mut World, route: &'a Route) -> Option<&'a Target> {
    let able: Vec<(u32, usize)> = route
        .targets
        .iter()
        .enumerate()
        .filter(|(_, target)| target.weight > 0 && !target.backends.is_empty())
        .map(|(index, target)| (target.weight, index))
        .collect();
    let index = world.chance.weighted(&able)?;
    route.targets.get(index)
}

/// Has an instance answer. Returns whether it failed the request.
fn serve(world: &mut World, route: &Route, target: &Target, id: &InstanceId) -> bool {
    let now = world.now;
    let process = world.engine.processes.get(id);
    let answers = process.is_some_and(|one| one.answers(now));
    let nature = process.map_or(Nature::Good, |one| one.nature);
    let failed = !answers || (nature == Nature::Errors && world.chance.hits(400));
    let latency = if nature == Nature::Slow { 900 } else { 5 };
    let key = (route.name.clone(), target.workload.clone());
    let counters = world.router.counters.entry(key).or_default();
    if answers {
        count(counters, failed, latency);
    } else {
        counters.unanswered += 1;
    }
    let given = world
        .ledger
        .given
        .entry(target.workload.clone())
        .or_default();
    given.requests += 1;
    given.failures += u64::from(failed);
    if answers && world.chance.hits(200) {
        let upgraded = world.chance.hits(200);
        let most = if upgraded { 12_000 } else { 4_000 };
        let until = now + world.chance.between(50, most);
        world.router.flights.push(Flight {
            instance: id.clone(),
            until,
            upgraded,
        });
    }
    failed
}

fn count(counters: &mut TrafficCounters, failed: bool, latency: Ms) {
    let [_, good, _, _, bad] = &mut counters.classes;
    if failed {
        *bad += 1;
    } else {
        *good += 1;
    }
    counters.latency.record(Duration::from_millis(latency));
}
