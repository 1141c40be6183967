//! Rules 7 and 14: one deployment at a time, and everything in the trail.

use towpath_model::command::Change;
use towpath_model::environment::Environment;

use crate::sim::invariant::{Broken, Invariant};
use crate::sim::world::World;

/// Rule 7: one deployment is active, and those that are not over are in the record. Rule 8: nobody
/// but people asks for deployments.
pub(in crate::sim) fn rows(world: &World, after: &Environment) -> Result<(), Broken> {
    let rows = &world.ledger.rows;
    let active: Vec<String> = rows
        .values()
        .filter(|row| row.is_active())
        .map(|row| row.deployment.number.to_string())
        .collect();
    if active.len() > 1 {
        return Invariant::TwoActive.broken(format!("deployments {} are", active.join(" and ")));
    }
    let present = |row: &&crate::sim::ledger::Row| {
        let number = row.deployment.number;
        let mut current = after.deployment.iter().chain(&after.waiting);
        current.any(|one| one.number == number)
    };
    if let Some(row) = rows.values().find(|row| !row.is_over() && !present(row)) {
        return Invariant::NotInTheTrail.broken(format!(
            "deployment {} is gone from the record and never ended",
            row.deployment.number
        ));
    }
    match rows
        .keys()
        .find(|number| !world.ledger.asked_for.contains(number))
    {
        Some(number) => Invariant::WrongBaseline
            .broken(format!("deployment {number} began and nobody asked for it")),
        None => Ok(()),
    }
}

/// Rule 14: whatever changed has its line.
pub(in crate::sim) fn trail(
    world: &World,
    after: &Environment,
    change: &Change,
) -> Result<(), Broken> {
    let before = &world.ledger.record;
    let has = |what: &str, subject: &str| {
        change
            .events
            .iter()
            .any(|event| event.what.starts_with(what) && event.subject == subject)
    };
    let environment = after.id.to_string();
    let missing = |what: &str| {
        Invariant::NotInTheTrail.broken(format!("{what} and the trail does not say so"))
    };
    let numbers = [
        &before.deployment,
        &before.waiting,
        &after.deployment,
        &after.waiting,
    ];
    for number in numbers.into_iter().flatten().map(|one| one.number) {
        let find = |environment: &Environment| {
            let mut all = environment.deployment.iter().chain(&environment.waiting);
            let one = all.find(|one| one.number == number)?;
            Some((one.phase.clone(), one.paused.clone()))
        };
        if find(before) != find(after) && !has("deployment.", &format!("{environment}/{number}")) {
            return missing(&format!("deployment {number} moved"));
        }
    }
    if before.hold.is_some() != after.hold.is_some() && !has("environment.", &environment) {
        return missing("automatic deployment was held or released");
    }
    if before.lifecycle != after.lifecycle && !has("environment.", &environment) {
        return missing("the environment went up or down");
    }
    if before.traffic != after.traffic && !has("traffic.", &environment) {
        return missing("the traffic was switched");
    }
    let mut moved = change.events.iter().filter(|event| {
        event.what.starts_with("deployment.") || event.what.starts_with("environment.")
    });
    let shifted = before.shares != after.shares || before.stable != after.stable;
    if shifted && moved.next().is_none() {
        return missing("shares of the traffic changed");
    }
    Ok(())
}
