//! Rules 1 and 2 at the router: who is named in tables, and who gets requests.

use std::collections::BTreeMap;

use towpath_model::environment::{Environment, Lifecycle, Published};
use towpath_model::id::{InstanceId, ServiceName};
use towpath_model::observation::{InstanceState, Observation, ProbeRecord};
use towpath_model::release::RenderedService;
use towpath_model::routing::{RouteMode, Target};

use crate::sim::clock::Ms;
use crate::sim::engine::Process;
use crate::sim::invariant::{Broken, Invariant};
use crate::sim::router::named;
use crate::sim::world::World;

/// Rule 1, for every request: it is not given to somebody who was told to stop, nor to somebody
/// who never was healthy. Who fell ill is dropped when that was seen, see
/// [`table_agrees_with_what_was_seen`].
pub(in crate::sim) fn given(world: &World, id: &InstanceId) -> Result<(), Broken> {
    told_to_stop(world, id)?;
    match world.engine.processes.get(id) {
        Some(process) if !process.was_well(world.now) => Invariant::RoutedToTheUnwell.broken(
            format!("a request was given to {id}, which never was healthy"),
        ),
        Some(_) | None => Ok(()),
    }
}

fn told_to_stop(world: &World, id: &InstanceId) -> Result<(), Broken> {
    if world.ledger.told_to_stop.contains(id) {
        return Invariant::RoutedToTheUnwell.broken(format!(
            "{id} was told to stop and is named in the table in force"
        ));
    }
    Ok(())
}

/// Rule 1, at every moment: the table in force names nobody who was told to stop.
pub(in crate::sim) fn nobody_told_to_stop_is_routed(world: &World) -> Result<(), Broken> {
    let targets = world
        .router
        .table
        .routes
        .iter()
        .flat_map(|one| &one.route.targets);
    for backend in targets.flat_map(|target| &target.backends) {
        told_to_stop(world, &backend.instance)?;
    }
    Ok(())
}

/// Rule 1, for every record: its table names nobody whom the step saw ended or ill.
pub(in crate::sim) fn table_agrees_with_what_was_seen(
    world: &World,
    after: &Environment,
    observation: &Observation,
) -> Result<(), Broken> {
    for id in named(&after.published) {
        let seen = observation.instances.iter().find(|one| one.id == id);
        let runs = seen.is_some_and(|one| matches!(one.state, InstanceState::Running { .. }));
        if !runs {
            return Invariant::RoutedToTheUnwell
                .broken(format!("the table names {id}, which was seen not to run"));
        }
        let ill = |record: &ProbeRecord| record.successes == 0 && record.counted_failures >= 3;
        if observation.probes.get(&id).is_some_and(ill) {
            return Invariant::RoutedToTheUnwell
                .broken(format!("the table names {id}, which was seen unhealthy"));
        }
        let process = world.engine.processes.get(&id);
        if process.is_some_and(|one| !one.was_well(world.now)) {
            return Invariant::RoutedToTheUnwell
                .broken(format!("the table names {id}, which never was healthy"));
        }
    }
    Ok(())
}

/// What of rules 1 to 3 shows when a table comes into force.
pub(in crate::sim) fn on_table(
    world: &mut World,
    before: &Published,
    written_at: Ms,
) -> Result<(), Broken> {
    for id in named(&world.router.table) {
        given(world, &id)?;
    }
    let old = sides(before);
    let table = world.router.table.clone();
    let new = sides(&table);
    remember_shares(world, &old, &new);
    for (name, targets) in &old {
        let had = targets.iter().any(|target| {
            target.weight > 0
                && target.backends.iter().any(|backend| {
                    let process = world.engine.processes.get(&backend.instance);
                    process.is_some_and(|one| one.nature.is_sound() && one.is_well(world.now))
                })
        });
        let has = new.get(name).is_some_and(|targets| {
            targets
                .iter()
                .any(|target| target.weight > 0 && !target.backends.is_empty())
        });
        if had && !has && !may_go(world, name, written_at) {
            return Invariant::LastHealthyGone.broken(format!(
                "the table in force names nobody for {name}, and the one before named somebody healthy"
            ));
        }
    }
    Ok(())
}

/// Tells whether a service may be without anybody: nobody wants it, or requests are held for it.
fn may_go(world: &World, name: &ServiceName, written_at: Ms) -> bool {
    let record = &world.ledger.record;
    let stable = record
        .stable
        .and_then(|stable| record.service(stable, name));
    let candidate = record
        .deployment
        .as_ref()
        .and_then(|active| record.service(active.release, name));
    let unwanted = |service: Option<&RenderedService>| {
        service.is_none_or(|service| record.wanted(service) == 0)
    };
    let held = world
        .router
        .table
        .routes
        .iter()
        .filter(|one| one.route.name.split(':').next() == Some(name.as_str()))
        .any(|one| matches!(one.route.mode, RouteMode::Paused { .. }));
    let stateful = [stable, candidate]
        .into_iter()
        .flatten()
        .any(RenderedService::is_exclusive);
    let least = [stable, candidate]
        .into_iter()
        .flatten()
        .map(|service| record.wanted(service))
        .min()
        .unwrap_or(0);
    let stops_first = record
        .deployment
        .as_ref()
        .is_some_and(|active| active.settings.unavailable >= least);
    // It may have been taken down and up again before the router was told of either.
    let was_down = world.ledger.waited_for_at > written_at;
    record.lifecycle == Lifecycle::Down
        || was_down
        || unwanted(stable)
        || (record.deployment.is_some() && unwanted(candidate))
        || held
        || stateful
        || stops_first
}

type Sides<'a> = BTreeMap<ServiceName, Vec<&'a Target>>;

fn sides(table: &Published) -> Sides<'_> {
    let mut sides = Sides::new();
    for one in &table.routes {
        for target in &one.route.targets {
            sides
                .entry(target.workload.service.clone())
                .or_default()
                .push(target);
        }
    }
    sides
}

/// Counts of a workload begin anew when its share changes.
fn remember_shares(world: &mut World, old: &Sides<'_>, new: &Sides<'_>) {
    let weight = |sides: &Sides<'_>, target: &Target| {
        let targets = sides.get(&target.workload.service)?;
        let same = targets.iter().find(|one| one.workload == target.workload)?;
        Some(same.weight)
    };
    let mut changed = Vec::new();
    for target in new.values().flatten() {
        if weight(old, target) != Some(target.weight) {
            let service = &target.workload.service;
            changed.extend(
                new.get(service)
                    .into_iter()
                    .flatten()
                    .map(|one| one.workload.clone()),
            );
        }
    }
    let ledger = &mut world.ledger;
    for workload in changed {
        let now = ledger.given.get(&workload).copied().unwrap_or_default();
        ledger.given_at_share.insert(workload, now);
    }
}

impl Process {
    /// Tells whether it answered a health check at some moment up to now.
    pub(in crate::sim) fn was_well(&self, now: Ms) -> bool {
        self.answers(now)
            || !self.is_alive()
            || self
                .running_since()
                .zip(self.nature.first_answer())
                .is_some_and(|(since, after)| now >= since + after)
    }
}
