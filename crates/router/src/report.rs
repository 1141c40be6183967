//! What the router tells the control plane. Not the text for Prometheus: that is `metrics`.

use std::collections::BTreeMap;

use towpath_model::id::InstanceId;
use towpath_model::routing::{BackendLoad, ListenerFault, RouteTable, RouterReport};

use crate::registry::Registry;

/// Makes the report of this moment. `acknowledged` is the newest table in force and on disk.
pub(crate) fn report(
    boot: &str,
    acknowledged: &RouteTable,
    faults: Vec<ListenerFault>,
    registry: &Registry,
) -> RouterReport {
    RouterReport {
        boot: boot.to_owned(),
        generation: acknowledged.generation,
        environments: acknowledged.environments.clone(),
        faults,
        loads: loads(registry),
        traffic: registry.traffic(),
    }
}

/// Instances that are busy, and those that do not answer.
fn loads(registry: &Registry) -> Vec<BackendLoad> {
    let mut loads: BTreeMap<&InstanceId, BackendLoad> = BTreeMap::new();
    for instance in registry.instances() {
        let (in_flight, upgraded) = (instance.in_flight(), instance.upgraded());
        let answering = instance.is_answering();
        if in_flight == 0 && upgraded == 0 && (answering || instance.is_retired()) {
            continue;
        }
        // An instance that changed its address is here twice.
        let load = loads.entry(&instance.id).or_insert_with(|| BackendLoad {
            instance: instance.id.clone(),
            in_flight: 0,
            upgraded: 0,
            answering: true,
        });
        load.in_flight += in_flight;
        load.upgraded += upgraded;
        load.answering &= answering;
    }
    loads.into_values().collect()
}
