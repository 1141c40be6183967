//! What an environment should have at this moment, derived from its deployment. Not what is done
//! about it ([`crate::reconcile`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::deployment::{Deployment, Phase};
use crate::environment::{Environment, Lifecycle};
use crate::id::{ReleaseNumber, ServiceName, WorkloadId};
use crate::release::RenderedService;
use crate::rollout::{Settings, Strategy};
use crate::routing::FULL_WEIGHT;

/// One release's part in a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// The workload.
    pub workload: WorkloadId,
    /// The release that renders it.
    pub release: ReleaseNumber,
    /// How many instances there should be.
    pub count: u32,
    /// Whether new ones may be started. A failed candidate gets none.
    pub may_start: bool,
}

/// What an environment should have: by service, the sides that should be there.
pub type Desired = BTreeMap<ServiceName, Vec<Side>>;

/// What one stage of a rollout asks of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// Candidate instances.
    pub candidate: u32,
    /// Stable instances.
    pub stable: u32,
    /// The candidate's share of [`FULL_WEIGHT`] once it is healthy.
    pub weight: u32,
}

/// Returns how many stages a rollout of services with so many instances has, at least 1.
pub fn stage_count(settings: &Settings, largest: u32) -> usize {
    let stages = match settings.strategy {
        Strategy::BlueGreen | Strategy::Recreate => 1,
        Strategy::Canary => settings.steps.len(),
        Strategy::Rolling => {
            usize::try_from(largest.div_ceil(batch(settings))).unwrap_or(usize::MAX)
        }
    };
    stages.max(1)
}

/// Returns how many instances a rolling stage replaces, at least 1.
fn batch(settings: &Settings) -> u32 {
    settings.surge.saturating_add(settings.unavailable).max(1)
}

/// Returns what stage `stage` asks of a service of which the candidate wants `wanted` instances and
/// the stable release `before`. The last stage gives the candidate everything, whatever the settings
/// say.
pub fn allocate(
    settings: &Settings,
    stage: usize,
    stages: usize,
    [wanted, before]: [u32; 2],
) -> Allocation {
    let last = stage + 1 >= stages;
    match settings.strategy {
        Strategy::BlueGreen => Allocation {
            candidate: wanted,
            stable: before,
            weight: FULL_WEIGHT,
        },
        Strategy::Recreate => Allocation {
            candidate: wanted,
            stable: 0,
            weight: FULL_WEIGHT,
        },
        Strategy::Canary => {
            let step = settings
                .steps
                .get(stage)
                .map_or(FULL_WEIGHT, |step| step.weight);
            let weight = if last {
                FULL_WEIGHT
            } else {
                step.min(FULL_WEIGHT)
            };
            Allocation {
                candidate: share_of(wanted, weight),
                stable: before,
                weight,
            }
        }
        Strategy::Rolling => {
            let candidate = if last {
                wanted
            } else {
                replaced(settings, stage, wanted)
            };
            Allocation {
                candidate,
                stable: stable_beside(settings, stage, candidate, [wanted, before]),
                weight: weight_of(candidate, wanted),
            }
        }
    }
}

/// Returns how many instances a rolling deployment has replaced after so many stages more than none.
fn replaced(settings: &Settings, stage: usize, wanted: u32) -> u32 {
    let number = u32::try_from(stage).unwrap_or(u32::MAX).saturating_add(1);
    batch(settings).saturating_mul(number).min(wanted)
}

/// Returns how many stable instances there are beside so many of a rolling candidate: what the surge
/// leaves, and never less than what the share of the stage before needs, but for those that may be
/// missing.
fn stable_beside(
    settings: &Settings,
    stage: usize,
    candidate: u32,
    [wanted, before]: [u32; 2],
) -> u32 {
    let surge = if settings.unavailable == 0 {
        settings.surge.max(1)
    } else {
        settings.surge
    };
    let left = wanted
        .saturating_add(surge)
        .saturating_sub(candidate)
        .min(wanted);
    let product = u64::from(left) * u64::from(before);
    let left = u32::try_from(product.div_ceil(u64::from(wanted.max(1)))).unwrap_or(u32::MAX);
    let weight = stage.checked_sub(1).map_or(0, |stage| {
        weight_of(replaced(settings, stage, wanted), wanted)
    });
    let needed = share_of(before, FULL_WEIGHT - weight).saturating_sub(settings.unavailable);
    left.max(needed).min(before)
}

/// Returns how many of `wanted` instances carry `weight`, rounded up, but for what is only the
/// rounding of the weight itself (2 of 3 instances carry 6 667, not 3).
pub fn share_of(wanted: u32, weight: u32) -> u32 {
    let product = u64::from(wanted) * u64::from(weight);
    let exact = product
        .saturating_sub(u64::from(wanted))
        .div_ceil(u64::from(FULL_WEIGHT));
    u32::try_from(exact)
        .unwrap_or(u32::MAX)
        .max(u32::from(weight > 0 && wanted > 0))
}

fn weight_of(candidate: u32, wanted: u32) -> u32 {
    if candidate >= wanted {
        return FULL_WEIGHT;
    }
    let exact = u64::from(FULL_WEIGHT) * u64::from(candidate) / u64::from(wanted.max(1));
    u32::try_from(exact).unwrap_or(FULL_WEIGHT)
}

/// Returns what the environment should have now.
pub fn desired(environment: &Environment) -> Desired {
    if environment.lifecycle == Lifecycle::Down {
        return Desired::new();
    }
    let mut desired = Desired::new();
    for name in service_names(environment) {
        let mut sides = planned_sides(environment, &name);
        carry_serving(environment, &name, &mut sides);
        sides.retain(|side| side.count > 0);
        if !sides.is_empty() {
            desired.insert(name, sides);
        }
    }
    desired
}

fn service_names(environment: &Environment) -> BTreeSet<ServiceName> {
    let renderings = environment
        .stable_rendering()
        .into_iter()
        .chain(environment.candidate_rendering());
    renderings
        .flat_map(|rendering| rendering.services.keys().cloned())
        .chain(environment.shares.keys().cloned())
        .collect()
}

/// A release's view of one service: what it wants of it.
struct View<'a> {
    release: ReleaseNumber,
    service: &'a RenderedService,
    wanted: u32,
}

impl View<'_> {
    fn side(&self, count: u32) -> Side {
        Side {
            workload: self.service.workload.clone(),
            release: self.release,
            count,
            may_start: true,
        }
    }
}

fn view<'a>(
    environment: &'a Environment,
    release: Option<ReleaseNumber>,
    name: &ServiceName,
) -> Option<View<'a>> {
    let release = release?;
    let service = environment
        .service(release, name)
        .filter(|service| !service.is_job())?;
    Some(View {
        release,
        service,
        wanted: environment.wanted(service),
    })
}

fn planned_sides(environment: &Environment, name: &ServiceName) -> Vec<Side> {
    let stable = view(environment, environment.stable, name);
    let Some(deployment) = &environment.deployment else {
        return stable
            .map(|stable| stable.side(stable.wanted))
            .into_iter()
            .collect();
    };
    let candidate = view(environment, Some(deployment.release), name);
    // Where nothing serves there is nothing to replace: the old release is started only to go back.
    let afresh = environment.starts_afresh(name) && !deployment.is_rolling_back();
    let stable = stable.filter(|stable| !afresh || is_same(stable, candidate.as_ref()));
    match (stable, candidate) {
        (Some(stable), Some(candidate)) if is_same(&stable, Some(&candidate)) => {
            unchanged(deployment, &stable, &candidate)
        }
        (stable, candidate) => changed(deployment, environment, stable, candidate),
    }
}

fn is_same(stable: &View<'_>, candidate: Option<&View<'_>>) -> bool {
    candidate.is_some_and(|candidate| candidate.service.workload == stable.service.workload)
}

/// A service that the candidate renders as the stable release does: it is not touched, and is
/// counted for the release that will be stable.
fn unchanged(deployment: &Deployment, stable: &View<'_>, candidate: &View<'_>) -> Vec<Side> {
    let forward = matches!(deployment.phase, Phase::Draining);
    let view = if forward { candidate } else { stable };
    vec![view.side(view.wanted)]
}

fn changed(
    deployment: &Deployment,
    environment: &Environment,
    stable: Option<View<'_>>,
    candidate: Option<View<'_>>,
) -> Vec<Side> {
    let views = [&stable, &candidate];
    let stateful = views
        .into_iter()
        .flatten()
        .any(|view| view.service.is_exclusive());
    let (candidate_count, stable_count) = match (&stable, &candidate) {
        // A service that the candidate does not have goes when the old release goes.
        (Some(stable), None) => {
            let stays = !matches!(deployment.phase, Phase::Draining);
            (0, if stays { stable.wanted } else { 0 })
        }
        // A service that is new comes whole: there is nothing to replace step by step.
        (None, Some(candidate)) => (
            if is_in_play(deployment) {
                candidate.wanted
            } else {
                0
            },
            0,
        ),
        (Some(_), Some(_)) if stateful => stateful_counts(deployment),
        _ => {
            let wanted = |view: &Option<View<'_>>| view.as_ref().map_or(0, |view| view.wanted);
            counts(
                deployment,
                environment,
                [wanted(&candidate), wanted(&stable)],
            )
        }
    };
    let rolling_back = deployment.is_rolling_back();
    let candidate = candidate.map(|view| Side {
        may_start: !rolling_back,
        ..view.side(candidate_count)
    });
    let stable = stable.map(|view| view.side(stable_count.min(view.wanted)));
    candidate.into_iter().chain(stable).collect()
}

/// Tells whether the candidate has, or keeps, instances in this phase.
fn is_in_play(deployment: &Deployment) -> bool {
    match deployment.phase {
        Phase::Provisioning { .. }
        | Phase::Shifting { .. }
        | Phase::Soaking { .. }
        | Phase::Baking { .. }
        | Phase::Draining
        | Phase::Restoring
        | Phase::Reverting => true,
        Phase::Queued
        | Phase::Preparing
        | Phase::Vacating
        | Phase::Discarding
        | Phase::Ended(_) => false,
    }
}

/// Candidate and stable counts of a service that may never run twice: it changes hands when the
/// candidate is provisioned.
fn stateful_counts(deployment: &Deployment) -> (u32, u32) {
    match deployment.phase {
        Phase::Provisioning { .. }
        | Phase::Shifting { .. }
        | Phase::Soaking { .. }
        | Phase::Baking { .. }
        | Phase::Draining => (1, 0),
        Phase::Queued
        | Phase::Preparing
        | Phase::Vacating
        | Phase::Restoring
        | Phase::Reverting
        | Phase::Discarding
        | Phase::Ended(_) => (0, 1),
    }
}

/// Candidate and stable counts of a service without a volume of its own, of which they want `wanted`
/// and `before`.
fn counts(
    deployment: &Deployment,
    environment: &Environment,
    [wanted, before]: [u32; 2],
) -> (u32, u32) {
    let stages = environment.stages(deployment);
    match deployment.phase {
        Phase::Queued | Phase::Preparing | Phase::Discarding | Phase::Ended(_) => (0, before),
        Phase::Vacating => (0, 0),
        Phase::Provisioning { stage }
        | Phase::Shifting { stage }
        | Phase::Soaking { stage, .. } => {
            let allocation = allocate(&deployment.settings, stage, stages, [wanted, before]);
            (allocation.candidate, allocation.stable)
        }
        Phase::Baking { .. } => {
            let allocation = allocate(&deployment.settings, stages - 1, stages, [wanted, before]);
            (wanted, allocation.stable)
        }
        Phase::Draining => (wanted, 0),
        // The candidate goes on with what it has until the stable release has all the traffic.
        Phase::Restoring | Phase::Reverting => (wanted, before),
    }
}

/// Keeps what has traffic, though the deployment does not ask for so much of it: another number was
/// wanted when the share was given, or an earlier deployment was cut short. It goes only after the
/// traffic went.
fn carry_serving(environment: &Environment, name: &ServiceName, sides: &mut Vec<Side>) {
    for share in environment.shares.get(name).into_iter().flatten() {
        let Some(service) = environment.service(share.release, name) else {
            continue;
        };
        if share.weight == 0 || service.is_exclusive() {
            continue;
        }
        let wanted = environment.wanted(service);
        let needed = share_of(wanted, share.weight).min(wanted);
        let is_stable = environment
            .stable
            .and_then(|stable| environment.service(stable, name))
            .is_some_and(|stable| stable.workload == share.workload);
        // A candidate that is not in play yet has no artifacts to start anything with.
        let in_play = |side: &&mut Side| side.workload == share.workload && side.count > 0;
        match sides.iter_mut().find(in_play) {
            // How many of these may be missing is the deployment's to say.
            Some(side) if is_stable => {
                let deployment = environment.deployment.as_ref();
                let missing = deployment.map_or(0, |one| one.settings.unavailable);
                side.count = side.count.max(needed.saturating_sub(missing));
            }
            Some(side) => side.count = side.count.max(needed),
            // What has none of it is to go.
            None if is_stable => {}
            None => sides.push(Side {
                workload: share.workload.clone(),
                release: share.release,
                count: wanted,
                may_start: false,
            }),
        }
    }
}

impl Environment {
    /// Returns how many stages a deployment has here.
    pub fn stages(&self, deployment: &Deployment) -> usize {
        let largest = self
            .renderings
            .get(&deployment.release)
            .into_iter()
            .flat_map(|rendering| rendering.services.values())
            .filter(|service| !service.is_job() && !service.is_exclusive())
            .map(|service| self.wanted(service))
            .max();
        stage_count(&deployment.settings, largest.unwrap_or(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(strategy: Strategy) -> Settings {
        Settings {
            strategy,
            ..Settings::default()
        }
    }

    #[test]
    fn rolling_never_has_less_than_wanted_nor_more_than_the_surge() {
        let settings = settings(Strategy::Rolling);
        for wanted in 1..=7 {
            let stages = stage_count(&settings, wanted);
            for stage in 0..stages {
                let at = allocate(&settings, stage, stages, [wanted, wanted]);
                assert!(
                    at.candidate + at.stable <= wanted + 1,
                    "{wanted} {stage} {at:?}"
                );
                assert!(
                    at.candidate + at.stable >= wanted,
                    "{wanted} {stage} {at:?}"
                );
            }
            let last = allocate(&settings, stages - 1, stages, [wanted, wanted]);
            assert_eq!((last.candidate, last.weight), (wanted, FULL_WEIGHT));
        }
    }

    #[test]
    fn stable_has_the_capacity_for_its_share_when_the_candidate_wants_another_number() {
        for strategy in [Strategy::Rolling, Strategy::BlueGreen, Strategy::Canary] {
            let settings = settings(strategy);
            for (wanted, before) in (1..=6).flat_map(|one| (1..=6).map(move |two| (one, two))) {
                let stages = stage_count(&settings, wanted);
                let mut weight = 0;
                for stage in 0..stages {
                    let at = allocate(&settings, stage, stages, [wanted, before]);
                    assert!(
                        at.stable >= share_of(before, FULL_WEIGHT - weight),
                        "{strategy:?} {wanted} {before} {stage} {at:?}"
                    );
                    weight = at.weight;
                }
            }
        }
    }

    #[test]
    fn a_canary_has_the_capacity_for_its_share_and_stable_for_all() {
        let settings = settings(Strategy::Canary);
        let stages = stage_count(&settings, 10);
        let counts: Vec<_> = (0..stages)
            .map(|stage| allocate(&settings, stage, stages, [10, 10]))
            .map(|at| (at.candidate, at.stable, at.weight))
            .collect();
        assert_eq!(
            counts,
            [
                (1, 10, 500),
                (3, 10, 2_500),
                (5, 10, 5_000),
                (10, 10, FULL_WEIGHT)
            ]
        );
    }

    #[test]
    fn the_last_stage_always_gives_the_candidate_everything() {
        let mut settings = settings(Strategy::Canary);
        settings.steps.truncate(2);
        assert_eq!(allocate(&settings, 1, 2, [4, 4]).weight, FULL_WEIGHT);
        settings.steps.clear();
        assert_eq!(stage_count(&settings, 4), 1);
        assert_eq!(allocate(&settings, 0, 1, [4, 4]).candidate, 4);
    }
}
