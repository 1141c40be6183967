//! Values for the unit tests of this module.

use std::collections::BTreeMap;
use std::sync::Arc;

use towpath_model::id::{ReleaseNumber, ServiceName};
use towpath_model::port::InstanceStart;
use towpath_model::workload::{Command, WorkloadSpec};

/// Returns the start of a container with nothing special, in the environment `shop/dev`.
pub(super) fn start() -> InstanceStart {
    let spec = WorkloadSpec {
        container: Some(Box::default()),
        ..spec()
    };
    InstanceStart {
        id: "shop/dev/web-1".parse().unwrap(),
        workload: spec.id(),
        release: ReleaseNumber(1),
        spec: Arc::new(spec),
        fixed_port: None,
        peers: BTreeMap::new(),
    }
}

/// Returns a specification of the service `web` that asks for nothing.
pub(super) fn spec() -> WorkloadSpec {
    WorkloadSpec::new(ServiceName::new("web").unwrap(), Command::Exec(Vec::new()))
}
