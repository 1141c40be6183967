//! Rules 1 and 5 for names: who is told of whom, and who may be told to stop that somebody was told of.
//! It is derived anew from releases and truth, not as the product does it.

use std::net::IpAddr;

use towpath_model::environment::Environment;
use towpath_model::id::{InstanceId, ServiceName, WorkloadId};
use towpath_model::instance::{Health, Instance, Phase};
use towpath_model::observation::{InstanceState, Observation};
use towpath_model::release::RenderedService;
use towpath_model::rollout::Strategy;
use towpath_model::routing::NAME_TTL;

use crate::sim::clock::ms;
use crate::sim::engine::network_address;
use crate::sim::invariant::{Broken, Invariant};
use crate::sim::router::told_of;
use crate::sim::world::World;

/// Rule 1, for every record: no name is answered with somebody who was seen ended or ill, nor with
/// one of the other side.
pub(in crate::sim) fn names_agree_with_what_was_seen(
    after: &Environment,
    observation: &Observation,
) -> Result<(), Broken> {
    for server in after.published.names.values() {
        for view in &server.views {
            for address in view.names.values().flatten() {
                let told = instance(after, *address)?;
                is_well(after, observation, told)?;
                for client in &view.clients {
                    if let Ok(asker) = instance(after, *client) {
                        is_of_its_side(after, asker, told)?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn instance(after: &Environment, address: IpAddr) -> Result<&Instance, Broken> {
    let mut all = after.instances.values();
    match all.find(|one| network_address(one.number) == address) {
        Some(one) => Ok(one),
        None => Invariant::RoutedToTheUnwell.broken(format!(
            "a name is answered with {address}, which nobody has"
        )),
    }
}

fn is_well(after: &Environment, observation: &Observation, told: &Instance) -> Result<(), Broken> {
    let id = after.instance_id(told);
    let seen = observation.instances.iter().find(|one| one.id == id);
    if !seen.is_some_and(|one| matches!(one.state, InstanceState::Running { .. })) {
        return Invariant::RoutedToTheUnwell.broken(format!(
            "a name is answered with {id}, which was seen not to run"
        ));
    }
    let record = observation.probes.get(&id);
    let ill = record.is_some_and(|record| record.successes == 0 && record.counted_failures >= 3);
    // One that was never well is told of where there is nobody else.
    if ill && told.health == Health::Healthy && matches!(told.phase, Phase::Running { .. }) {
        return Invariant::RoutedToTheUnwell.broken(format!(
            "a name is answered with {id}, which was seen unhealthy"
        ));
    }
    Ok(())
}

/// Which release alone an instance belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Stable,
    Candidate,
}

fn side(after: &Environment, one: &Instance) -> Option<Side> {
    let (stable, candidate) = workloads(after, &one.workload.service);
    let own = Some(&one.workload);
    match (stable == own, candidate == own) {
        (true, false) => Some(Side::Stable),
        (false, true) => Some(Side::Candidate),
        (true, true) | (false, false) => None,
    }
}

fn workloads<'a>(
    after: &'a Environment,
    service: &ServiceName,
) -> (Option<&'a WorkloadId>, Option<&'a WorkloadId>) {
    let workload = |release| after.service(release, service).map(|one| &one.workload);
    let candidate = after.deployment.as_ref().map(|active| active.release);
    (
        after.stable.and_then(workload),
        candidate.and_then(workload),
    )
}

fn is_of_its_side(after: &Environment, asker: &Instance, told: &Instance) -> Result<(), Broken> {
    let Some(active) = &after.deployment else {
        return Ok(());
    };
    let service = &told.workload.service;
    let exclusive = [after.stable, Some(active.release)]
        .into_iter()
        .flatten()
        .filter_map(|release| after.service(release, service))
        .any(RenderedService::is_exclusive);
    let (Some(of), false) = (side(after, told), exclusive) else {
        return Ok(());
    };
    let rolling = active.settings.strategy == Strategy::Rolling;
    let has_traffic = after.weight(&told.workload) > 0;
    let afresh = after.starts_afresh(service);
    let goes = !matches!(asker.phase, Phase::Running { .. });
    let right = match (side(after, asker), of) {
        // Nobody but its own knows a candidate before it has traffic.
        (Some(Side::Stable), Side::Candidate) => goes || (rolling && has_traffic),
        (None, Side::Candidate) => goes || asker.job.is_some() || has_traffic || afresh,
        // A job comes before the candidate.
        (Some(Side::Candidate), Side::Stable) => goes || rolling || asker.job.is_some(),
        (Some(Side::Stable) | None, Side::Stable) | (Some(Side::Candidate), Side::Candidate) => {
            true
        }
    };
    if right {
        return Ok(());
    }
    let (asker, told) = (after.instance_id(asker), after.instance_id(told));
    Invariant::RoutedToTheUnwell.broken(format!(
        "{asker} is told of {told}, which is of the other side"
    ))
}

/// Rule 5: nobody is told to stop whom a name in force is answered with, or was until a moment ago.
pub(in crate::sim) fn may_stop(
    world: &World,
    environment: &Environment,
    id: &InstanceId,
    waited_for: bool,
) -> Result<(), Broken> {
    let address = network_address(id.number);
    if told_of(&world.router.table).any(|told| told == address) {
        return Invariant::StoppedWhileInUse
            .broken(format!("{id} is told to stop and is still named"));
    }
    let release = environment.instances.get(&id.number).map(|one| one.release);
    let rendering = release.and_then(|release| environment.renderings.get(&release));
    let (Some(rendering), Some(since)) = (rendering, world.router.unnamed_since.get(&address))
    else {
        return Ok(());
    };
    let waited = world.now.saturating_sub(*since);
    if !waited_for && waited < ms(NAME_TTL + rendering.settings.drain) {
        return Invariant::StoppedWhileInUse.broken(format!(
            "{id} is told to stop {waited} ms after its name was taken back"
        ));
    }
    Ok(())
}
