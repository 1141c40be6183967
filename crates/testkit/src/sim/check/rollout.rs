//! Rules 4, 6, 7, 8 and 10: how deployments move and end, and what they leave.

use jiff::Timestamp;
use towpath_model::command::Change;
use towpath_model::deployment::{Deployment, Kind, Outcome, Phase};
use towpath_model::environment::Environment;
use towpath_model::id::{ReleaseNumber, WorkloadId};
use towpath_model::port::InstanceStart;
use towpath_model::release::RenderedService;
use towpath_model::rollout::Strategy;
use towpath_model::routing::FULL_WEIGHT;

use crate::sim::clock::{ms, since_start};
use crate::sim::invariant::{Broken, Invariant};
use crate::sim::ledger::Row;
use crate::sim::world::World;

/// Rule 9: whoever waits has a moment at which time alone moves it.
pub(in crate::sim) fn has_a_deadline(
    world: &World,
    after: &Environment,
    wake_at: Option<Timestamp>,
) -> Result<(), Broken> {
    let Some(active) = &after.deployment else {
        return Ok(());
    };
    let patience = 180_000;
    match wake_at.map(since_start) {
        Some(at) if at <= world.now + patience => Ok(()),
        Some(_) | None => {
            Invariant::Stuck.broken(format!("{:?} is held with no deadline", active.phase))
        }
    }
}

/// Rule 14: what ended stays as it ended.
pub(in crate::sim) fn row(before: Option<&Row>, now: &Deployment) -> Result<(), Broken> {
    match before.filter(|row| row.is_over()) {
        Some(row) if row.deployment.outcome() != now.outcome() => {
            Invariant::NotInTheTrail.broken(format!(
                "deployment {} had ended {:?} and is now {:?}",
                now.number,
                row.deployment.outcome(),
                now.phase
            ))
        }
        Some(_) | None => Ok(()),
    }
}

/// Rule 9: what was aborted goes back.
pub(in crate::sim) fn abort_is_heard(before: Option<&Row>, now: &Deployment) -> Result<(), Broken> {
    let ended_so = matches!(
        now.outcome(),
        Some(Outcome::Aborted | Outcome::RollbackFailed)
    );
    if before.is_some_and(|row| row.aborted) && !now.is_rolling_back() && !ended_so {
        return Invariant::Stuck.broken(format!(
            "deployment {} was aborted and is {}",
            now.number,
            now.state()
        ));
    }
    Ok(())
}

/// Rule 8: the stable release is one that truly has all the traffic, and only changes by that.
pub(in crate::sim) fn stable(
    world: &mut World,
    after: &Environment,
    change: &Change,
) -> Result<(), Broken> {
    if after.stable == world.ledger.record.stable {
        return Ok(());
    }
    let Some(release) = after.stable else {
        return Invariant::WrongBaseline.broken("there is no stable release any more");
    };
    let ended = change.finished.iter().chain(&after.deployment);
    let by_its_own = ended
        .filter(|one| one.release == release)
        .any(|one| one.phase == Phase::Draining || one.outcome() == Some(Outcome::Succeeded));
    if !by_its_own {
        return Invariant::WrongBaseline.broken(format!(
            "release {release} became stable without a deployment that succeeded"
        ));
    }
    for service in routed(after, release) {
        let weight = true_weight(world, &service.workload);
        if weight != FULL_WEIGHT {
            return Invariant::WrongBaseline.broken(format!(
                "release {release} became stable while {} has {weight} of the traffic",
                service.workload
            ));
        }
    }
    world.ledger.brought_out.insert(release);
    Ok(())
}

/// Rule 8: what a rollback goes to was brought out completely.
pub(in crate::sim) fn is_a_baseline(world: &World, release: ReleaseNumber) -> Result<(), Broken> {
    if world.ledger.brought_out.contains(&release) {
        return Ok(());
    }
    Invariant::WrongBaseline.broken(format!(
        "a rollback would go to release {release}, which was never brought out completely"
    ))
}

/// Rule 8: after a deployment went back, and from a rollback on, nothing is deployed by itself.
pub(in crate::sim) fn hold(
    world: &World,
    after: &Environment,
    change: &Change,
) -> Result<(), Broken> {
    let before = &world.ledger.record;
    let held = change
        .events
        .iter()
        .any(|event| event.what == "environment.held");
    if let Some(one) = after
        .waiting
        .as_ref()
        .filter(|one| one.kind == Kind::Rollback)
        && before.waiting.as_ref().map(|one| one.number) != Some(one.number)
        && after.hold.is_none()
    {
        return Invariant::WrongBaseline.broken(format!(
            "rollback {} was asked for and automatic deployment is not on hold",
            one.number
        ));
    }
    if let Some(one) = after.deployment.as_ref().filter(|one| one.automatic)
        && before.deployment.as_ref().map(|one| one.number) != Some(one.number)
        && before.hold.is_some()
    {
        return Invariant::WrongBaseline.broken(format!(
            "deployment {}, which nobody asked for, begins while on hold",
            one.number
        ));
    }
    for one in &change.finished {
        let back = matches!(
            one.outcome(),
            Some(Outcome::RolledBack | Outcome::RollbackFailed)
        );
        if back && !held {
            return Invariant::WrongBaseline.broken(format!(
                "deployment {} ended {} and automatic deployment is not on hold",
                one.number,
                one.state()
            ));
        }
    }
    Ok(())
}

/// Rule 10: everything in play has its rendering.
pub(in crate::sim) fn needs_are_kept(after: &Environment) -> Result<(), Broken> {
    let missing = after
        .releases_in_play()
        .into_iter()
        .find(|release| !after.renderings.contains_key(release));
    match missing {
        Some(release) => Invariant::IncompleteRollback.broken(format!(
            "the rendering of release {release}, which is in play, is gone"
        )),
        None => Ok(()),
    }
}

/// Rule 10: an instance is exactly what its release rendered, pinned secrets included, and its
/// artifacts are there.
pub(in crate::sim) fn start_is_whole(world: &World, start: &InstanceStart) -> Result<(), Broken> {
    let made = world
        .app
        .releases
        .get(&start.release)
        .and_then(|rendering| rendering.services.get(&start.id.service));
    if made.is_none_or(|service| service.spec != start.spec) {
        return Invariant::IncompleteRollback.broken(format!(
            "{} is not started as release {} rendered it",
            start.id, start.release
        ));
    }
    if !world.engine.has_artifacts(start.release) {
        return Invariant::IncompleteRollback.broken(format!(
            "{} is started and the artifacts of release {} are not there",
            start.id, start.release
        ));
    }
    Ok(())
}

/// Rule 6: a step is left only when its weight is in force, with enough data, and no alarm.
pub(in crate::sim) fn advances(world: &World, after: &Environment) -> Result<(), Broken> {
    let before = &world.ledger.record;
    let (Some(was), Some(is)) = (&before.deployment, &after.deployment) else {
        return Ok(());
    };
    if was.number != is.number || is.is_rolling_back() || was.phase == is.phase {
        return Ok(());
    }
    if let Phase::Shifting { stage } = was.phase {
        confirmed(world, before, was, stage)?;
    }
    let leaves_soak = matches!(was.phase, Phase::Soaking { .. });
    if leaves_soak && was.settings.strategy == Strategy::Canary && was.kind == Kind::Release {
        measured(world, before, was)?;
    }
    if let Some(pause) = &was.paused {
        let expired = since_start(pause.since) + ms(was.settings.pause_expiry);
        if world.now > expired && is.paused.is_none() {
            return Invariant::AdvancedBlindly
                .broken("a deployment went on after its pause had expired");
        }
    }
    Ok(())
}

fn confirmed(
    world: &World,
    before: &Environment,
    was: &Deployment,
    stage: usize,
) -> Result<(), Broken> {
    for service in routed(before, was.release) {
        let told = before.weight(&service.workload);
        let truly = true_weight(world, &service.workload);
        if told != truly {
            return Invariant::AdvancedBlindly.broken(format!(
                "step {stage} is left and {} has {truly} of the traffic, not {told}",
                service.workload
            ));
        }
    }
    Ok(())
}

fn measured(world: &World, before: &Environment, was: &Deployment) -> Result<(), Broken> {
    let analysis = &was.settings.analysis;
    for service in routed(before, was.release) {
        let stable = before
            .stable
            .and_then(|stable| before.service(stable, &service.spec.service));
        let Some(stable) = stable.filter(|stable| stable.workload != service.workload) else {
            continue;
        };
        if service.routes.is_empty() || service.is_exclusive() {
            continue;
        }
        let given = world.ledger.given_since_share(&service.workload);
        if given.requests < analysis.min_requests {
            return Invariant::AdvancedBlindly.broken(format!(
                "a step is left and {} had {} requests",
                service.workload, given.requests
            ));
        }
        let beside = world.ledger.given_since_share(&stable.workload);
        let alarms = given.failures * 2 > given.requests
            && beside.failures * 10 < beside.requests
            && given.requests > 4 * analysis.min_requests;
        if alarms && world.faults.router_restart == 0 {
            return Invariant::AdvancedBlindly.broken(format!(
                "a step is left and {} failed {} of {} requests",
                service.workload, given.failures, given.requests
            ));
        }
    }
    Ok(())
}

/// Rule 8: once a rollback has the traffic, it is not given back, but for a service of which nobody
/// is left to answer: rule 2 comes first.
pub(in crate::sim) fn no_way_back_from_a_rollback(
    world: &World,
    after: &Environment,
) -> Result<(), Broken> {
    let before = &world.ledger.record;
    let Some(was) = before
        .deployment
        .as_ref()
        .filter(|was| was.kind == Kind::Rollback && after.stable != Some(was.release))
        .filter(|was| !was.failure.as_ref().is_some_and(|failure| failure.aborted))
    else {
        return Ok(());
    };
    let services = routed(before, was.release);
    let deserted = services
        .iter()
        .any(|service| after.wanted(service) > 0 && after.serving(&service.workload) == 0);
    let changed = services.into_iter().find(|service| {
        !deserted
            && !service.is_exclusive()
            && before.weight(&service.workload) == FULL_WEIGHT
            && after.weight(&service.workload) < FULL_WEIGHT
            && after.shares.contains_key(&service.spec.service)
    });
    match changed {
        Some(service) => Invariant::WrongBaseline.broken(format!(
            "rollback {} is rolled back: {} loses its traffic",
            was.number, service.workload
        )),
        None => Ok(()),
    }
}

/// Rules 4 and 14: what is said of the end of a deployment is true.
pub(in crate::sim) fn outcomes(
    world: &mut World,
    after: &Environment,
    change: &Change,
) -> Result<(), Broken> {
    for one in &change.finished {
        world.ledger.figures.deployments += 1;
        let Some(outcome) = one.outcome() else {
            return Invariant::NotInTheTrail.broken("a deployment ended without an outcome");
        };
        let wrong = match outcome {
            Outcome::Succeeded => after.stable != Some(one.release) || one.failure.is_some(),
            Outcome::Failed | Outcome::RolledBack | Outcome::Aborted => one.failure.is_none(),
            Outcome::Superseded | Outcome::RollbackFailed => false,
        };
        if wrong {
            return Invariant::NotInTheTrail.broken(format!(
                "deployment {} is said to have ended {}",
                one.number,
                one.state()
            ));
        }
        if matches!(outcome, Outcome::RolledBack | Outcome::Aborted) && one.started_at.is_some() {
            went_back(world, after, one)?;
        }
    }
    Ok(())
}

/// Rule 4: after a failure the stable side truly has all the traffic.
fn went_back(world: &World, after: &Environment, one: &Deployment) -> Result<(), Broken> {
    if after.stable != one.from {
        return Invariant::WrongSideKept.broken(format!(
            "deployment {} went back to {:?}, not to {:?}",
            one.number, after.stable, one.from
        ));
    }
    let Some(stable) = after.stable else {
        return Ok(());
    };
    for service in routed(after, stable) {
        let weight = true_weight(world, &service.workload);
        if weight != FULL_WEIGHT {
            return Invariant::WrongSideKept.broken(format!(
                "deployment {} went back and {} of the stable release has {weight} of the traffic",
                one.number, service.workload
            ));
        }
    }
    Ok(())
}

/// Returns the services of a release that the router knows.
fn routed(environment: &Environment, release: ReleaseNumber) -> Vec<&RenderedService> {
    let services = environment
        .renderings
        .get(&release)
        .into_iter()
        .flat_map(|rendering| rendering.services.values());
    services
        .filter(|service| {
            let inside = environment.peers.contains_key(&service.spec.service);
            !service.is_job()
                && service.internal.is_some()
                && (!service.routes.is_empty() || (inside && !service.is_exclusive()))
        })
        .collect()
}

/// Returns the share of a workload in the table in force, the least over its routes.
fn true_weight(world: &World, workload: &WorkloadId) -> u32 {
    let routes = world
        .router
        .table
        .routes
        .iter()
        .filter(|one| one.route.name.split(':').next() == Some(workload.service.as_str()));
    routes
        .map(|one| {
            let target = one
                .route
                .targets
                .iter()
                .find(|target| &target.workload == workload);
            target.map_or(0, |target| target.weight)
        })
        .min()
        .unwrap_or(0)
}
