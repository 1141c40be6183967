//! Rules 2 and 3 in the record: whom a step retires, and to whom it gives traffic.

use towpath_model::environment::{Environment, Lifecycle};
use towpath_model::id::WorkloadId;
use towpath_model::instance::{Instance, Phase};
use towpath_model::observation::{InstanceState, Observation};
use towpath_model::release::RenderedService;
use towpath_model::routing::FULL_WEIGHT;

use crate::sim::invariant::{Broken, Invariant};
use crate::sim::world::World;

/// Rule 3: whose share of the traffic grows has the healthy instances for it.
pub(in crate::sim) fn shifts(world: &World, after: &Environment) -> Result<(), Broken> {
    let before = &world.ledger.record;
    for target in after
        .published
        .routes
        .iter()
        .flat_map(|one| &one.route.targets)
    {
        let grows = target.weight > published_weight(before, &target.workload);
        let Some(service) = rendered(after, &target.workload) else {
            continue;
        };
        if !grows || service.is_exclusive() {
            continue;
        }
        let wanted = after.wanted(service);
        let need = needed(wanted, target.weight);
        let has = u64::try_from(target.backends.len()).unwrap_or(u64::MAX);
        if has < need {
            return Invariant::ShiftWithoutCapacity.broken(format!(
                "{} is given {} of {FULL_WEIGHT} with {has} healthy instances of {wanted}, {need} are needed",
                target.workload, target.weight
            ));
        }
    }
    Ok(())
}

/// Returns how many of so many instances carry a weight. Rounding of the weight itself is not asked
/// for: 2 of 3 carry 6 667.
fn needed(wanted: u32, weight: u32) -> u64 {
    let exact = u64::from(wanted) * u64::from(weight.saturating_sub(1));
    exact.div_ceil(u64::from(FULL_WEIGHT))
}

/// Rule 3: whoever keeps its share of the traffic is not left without the healthy instances for it by
/// a decision.
pub(in crate::sim) fn keeps(
    world: &World,
    after: &Environment,
    observation: &Observation,
) -> Result<(), Broken> {
    let before = &world.ledger.record;
    for share in before.shares.values().flatten() {
        let workload = &share.workload;
        let weight = share.weight.min(after.weight(workload));
        let Some(service) = rendered(after, workload) else {
            continue;
        };
        let need = needed(after.wanted(service), weight);
        let mut retired = before
            .live(workload)
            .filter(|one| is_retired(after, one) && is_seen_running(after, one, observation));
        let has = u64::from(after.serving(workload));
        if let Some(one) = retired.next()
            && has < need
            && !may_go(after, one)
            && !may_be_missing(after)
        {
            return Invariant::ShiftWithoutCapacity.broken(format!(
                "{} is retired, {workload} has {weight} of {FULL_WEIGHT} and {has} healthy instances left, {need} are needed",
                after.instance_id(one)
            ));
        }
    }
    Ok(())
}

/// Tells whether an instance that served was told to go, and not for its health.
fn is_retired(after: &Environment, one: &Instance) -> bool {
    one.is_serving()
        && after.instances.get(&one.number).is_some_and(|now| {
            matches!(now.phase, Phase::Draining { .. } | Phase::Stopping { .. })
                && now.health == one.health
        })
}

/// Tells whether the settings let some of the instances be missing.
fn may_be_missing(after: &Environment) -> bool {
    let active = after.deployment.as_ref();
    active.is_some_and(|active| active.settings.unavailable > 0)
}

fn published_weight(environment: &Environment, workload: &WorkloadId) -> u32 {
    let targets = environment
        .published
        .routes
        .iter()
        .flat_map(|one| &one.route.targets);
    targets
        .filter(|target| &target.workload == workload)
        .map(|target| target.weight)
        .max()
        .unwrap_or(0)
}

fn rendered<'a>(
    environment: &'a Environment,
    workload: &WorkloadId,
) -> Option<&'a RenderedService> {
    environment
        .renderings
        .values()
        .filter_map(|rendering| rendering.services.get(&workload.service))
        .find(|service| &service.workload == workload)
}

/// Rule 2 for services that the router does not know: a worker is retired only while another
/// one of its service is seen running and held to be healthy.
pub(in crate::sim) fn decisions(
    world: &World,
    after: &Environment,
    observation: &Observation,
) -> Result<(), Broken> {
    let before = &world.ledger.record;
    for one in before
        .instances
        .values()
        .filter(|one| one.is_serving() && before.weight(&one.workload) > 0)
    {
        if !is_retired(after, one)
            || !is_seen_running(after, one, observation)
            || may_go(after, one)
        {
            continue;
        }
        let other = after.instances.values().any(|other| {
            other.workload.service == one.workload.service
                && other.is_serving()
                && is_seen_running(after, other, observation)
        });
        if !other {
            return Invariant::LastHealthyGone.broken(format!(
                "{} is retired and nobody else of its service is healthy",
                after.instance_id(one)
            ));
        }
    }
    Ok(())
}

fn is_seen_running(environment: &Environment, one: &Instance, observation: &Observation) -> bool {
    let id = environment.instance_id(one);
    observation
        .instances
        .iter()
        .any(|seen| seen.id == id && matches!(seen.state, InstanceState::Running { .. }))
}

/// Tells whether the service may be without anybody: it is not wanted, changes hands because of
/// its volume, or is replaced stop-first by its own settings.
fn may_go(after: &Environment, one: &Instance) -> bool {
    use towpath_model::rollout::Strategy;
    let name = &one.workload.service;
    let candidate = after
        .deployment
        .as_ref()
        .filter(|active| !active.is_rolling_back())
        .map(|active| active.release);
    let sides = [after.stable, candidate];
    let wanted: Vec<Option<u32>> = sides
        .into_iter()
        .flatten()
        .map(|release| Some(after.wanted(after.service(release, name)?)))
        .collect();
    let stateful = sides
        .into_iter()
        .flatten()
        .filter_map(|release| after.service(release, name))
        .any(RenderedService::is_exclusive);
    let stops_first = after.deployment.as_ref().is_some_and(|active| {
        let least = wanted.iter().flatten().min().copied().unwrap_or(0);
        active.settings.strategy == Strategy::Recreate
            || (active.settings.strategy == Strategy::Rolling
                && active.settings.unavailable >= least)
    });
    after.lifecycle == Lifecycle::Down
        || wanted.is_empty()
        || wanted
            .iter()
            .any(|count| count.is_none_or(|count| count == 0))
        || stateful
        || stops_first
}
