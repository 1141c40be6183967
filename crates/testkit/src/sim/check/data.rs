//! Rules 12 and 13: volumes, what is not ours, and secrets.

use std::collections::BTreeMap;

use towpath_model::command::Change;
use towpath_model::environment::Environment;
use towpath_model::id::{InstanceId, ServiceName};

use crate::sim::invariant::{Broken, Invariant};
use crate::sim::store::Draft;
use crate::sim::world::World;

/// The value of every secret of the simulation.
pub(in crate::sim) const SECRET: &str = "correct-horse-battery-staple";

/// Rule 12: a volume is never written by two.
pub(in crate::sim) fn never_two_stateful(world: &World) -> Result<(), Broken> {
    let mut alive: BTreeMap<&ServiceName, &InstanceId> = BTreeMap::new();
    for process in world.engine.processes.values() {
        let owns =
            |volume: &towpath_model::workload::VolumeMount| !volume.read_only && !volume.shared;
        if !process.is_alive() || !process.spec.volumes.iter().any(owns) {
            continue;
        }
        if let Some(other) = alive.insert(&process.id.service, &process.id) {
            return Invariant::DataHarmed
                .broken(format!("{other} and {} have the same volume", process.id));
        }
    }
    Ok(())
}

/// Rule 12: only what is of this environment is touched.
pub(in crate::sim) fn is_ours(environment: &Environment, id: &InstanceId) -> Result<(), Broken> {
    if id.environment == environment.id {
        return Ok(());
    }
    Invariant::DataHarmed.broken(format!("{id} is of another environment and is touched"))
}

/// Rule 13, for what is written down.
pub(in crate::sim) fn no_secret(draft: &Draft, change: &Change) -> Result<(), Broken> {
    for text in draft.texts() {
        hides_the_secret(text, "the record")?;
    }
    for event in &change.events {
        let line = serde_json::to_string(event).unwrap_or_default();
        hides_the_secret(&line, "an event")?;
    }
    Ok(())
}

/// Rule 13, for any text.
pub(in crate::sim) fn hides_the_secret(text: &str, what: &str) -> Result<(), Broken> {
    if text.contains(SECRET) {
        return Invariant::SecretShown.broken(format!("{what} shows the value of a secret"));
    }
    Ok(())
}
