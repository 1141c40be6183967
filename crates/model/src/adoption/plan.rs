//! What would become of a Compose project that is taken over: which containers become which
//! instances, which ports move, what stands in the way. A value; nothing is done.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::adopt_names;
use super::compare::{as_it_runs, differences};
use super::found::{FoundContainer, FoundProject, FoundState};
use super::takeover::socket;
use crate::exclusive::Exclusive;
use crate::id::ServiceName;
use crate::release::{RenderedService, Rendering, Restart};

/// What would become of a project.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The project.
    pub project: String,
    /// The containers that become instances.
    pub containers: Vec<PlannedContainer>,
    /// The volumes that are kept: their names on the machine.
    pub volumes: BTreeMap<String, String>,
    /// The networks that are kept: their names on the machine.
    pub networks: BTreeMap<String, String>,
    /// The published ports that move to the router.
    pub ports: Vec<PlannedPort>,
    /// How many instances a service has, where the files say another number.
    pub scale: BTreeMap<ServiceName, u32>,
    /// Services that ran to their good end.
    pub completed: BTreeSet<ServiceName>,
    /// What is good to know.
    pub notes: Vec<String>,
    /// Why it cannot be taken over; empty when it can.
    pub refusals: Vec<String>,
    /// The release that stands for what runs.
    pub rendering: Rendering,
}

/// A container that becomes an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedContainer {
    /// The service.
    pub service: ServiceName,
    /// The container's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What is not as the files say, in Compose's words: the next release replaces it.
    pub differs: Vec<String>,
}

/// A published port that moves to the router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPort {
    /// The service.
    pub service: ServiceName,
    /// The socket.
    pub listen: SocketAddr,
    /// The container that has it.
    pub container: String,
}

/// Compares what runs with what the files say, and plans its adoption. `rendering` is what they
/// render to, with the environment's own volumes and networks.
pub fn plan(found: &FoundProject, rendering: &Rendering) -> Plan {
    let mut rendering = rendering.clone();
    adopt_names(&mut rendering, &found.volumes, &found.networks);
    let mut plan = Plan {
        project: found.name.clone(),
        containers: Vec::new(),
        volumes: found.volumes.clone(),
        networks: found.networks.clone(),
        ports: Vec::new(),
        scale: BTreeMap::new(),
        completed: BTreeSet::new(),
        notes: Vec::new(),
        refusals: Vec::new(),
        rendering,
    };
    plan.leave_out(found);
    let names: Vec<ServiceName> = plan.rendering.services.keys().cloned().collect();
    for name in names {
        let containers: Vec<&FoundContainer> = found
            .containers
            .iter()
            .filter(|one| one.service == name.as_str() && !one.one_off)
            .collect();
        plan.service(&name, &containers);
    }
    if plan.containers.is_empty() && plan.refusals.is_empty() {
        plan.refusals
            .push("none of its containers runs: start it with `docker compose up -d`".to_owned());
    }
    plan
}

/// Says what a release does to a service of which there can be only one instance, and what to do.
fn stop_first(name: &ServiceName, service: &RenderedService, reason: &Exclusive) -> String {
    let meanwhile = if service.routes.is_empty() {
        ""
    } else {
        ", and its requests are answered 503 in between"
    };
    let remedy = match reason {
        Exclusive::Path(_) => {
            "; mount it `:ro` where it only reads, or name it under `volumes` in towpath.yaml with `shared: true` where several may write"
        }
        Exclusive::Volume(_) => {
            "; name it under `volumes` in towpath.yaml with `shared: true` where several may write"
        }
        Exclusive::Port { .. }
        | Exclusive::Address(_)
        | Exclusive::HardwareAddress(_)
        | Exclusive::HostNetwork => "",
    };
    format!(
        "`{name}` {reason}: a release that changes it stops it before the new one starts{meanwhile}{remedy}"
    )
}

impl Plan {
    /// Names what is not taken over.
    fn leave_out(&mut self, found: &FoundProject) {
        for one in &found.containers {
            let is_known = self
                .rendering
                .services
                .keys()
                .any(|name| name.as_str() == one.service);
            if one.one_off {
                self.notes.push(format!(
                    "{} was made by `docker compose run`: it is left alone",
                    one.name
                ));
            } else if !is_known {
                self.notes.push(format!(
                    "{} is of service `{}`, which the files do not have: it is left alone",
                    one.name, one.service
                ));
            }
        }
    }

    fn service(&mut self, name: &ServiceName, containers: &[&FoundContainer]) {
        let Some(service) = self.rendering.services.get(name).cloned() else {
            return;
        };
        for one in containers {
            if let FoundState::Other(word) = &one.state {
                self.refusals
                    .push(format!("{} is {word}: bring it up first", one.name));
            }
        }
        let running: Vec<&FoundContainer> = containers
            .iter()
            .copied()
            .filter(|one| one.state == FoundState::Running)
            .collect();
        if service.is_job() {
            if let Some(one) = running.first() {
                self.refusals.push(format!(
                    "{} is a release job and still runs: wait for its end",
                    one.name
                ));
            }
            return;
        }
        self.count(name, &service, containers, running.len());
        let Some(differs) = self.compare(name, &service, &running) else {
            return;
        };
        if let Some(reason) = service.spec.exclusive().filter(|_| !running.is_empty()) {
            self.notes.push(stop_first(name, &service, &reason));
        }
        for one in &running {
            self.containers.push(PlannedContainer {
                service: name.clone(),
                id: one.id.clone(),
                name: one.name.clone(),
                differs: differs.clone(),
            });
            self.ports(name, &service, one);
            self.warn_of_anonymous(&service, one);
        }
    }

    /// Keeps as many as there are.
    fn count(
        &mut self,
        name: &ServiceName,
        service: &RenderedService,
        containers: &[&FoundContainer],
        running: usize,
    ) {
        let running = u32::try_from(running).unwrap_or(u32::MAX);
        let is_done = running == 0
            && service.restart != Restart::Always
            && containers
                .iter()
                .any(|one| one.state == FoundState::Exited { code: 0 });
        if is_done {
            self.completed.insert(name.clone());
        } else if running != service.replicas {
            self.scale.insert(name.clone(), running);
            let replicas = service.replicas;
            self.notes.push(format!(
                "{running} of `{name}` run, the files say {replicas}: it stays so until `towpath scale`"
            ));
        }
        if service.is_exclusive() && running > 1 {
            self.refusals.push(format!(
                "{running} of `{name}` run, which never has more than one instance: mark its volume `shared` in towpath.yaml, or `docker compose up -d --scale {name}=1`"
            ));
        }
    }

    /// Compares the containers of a service with the files, and makes what runs the release's. `None`
    /// when that is not one thing.
    fn compare(
        &mut self,
        name: &ServiceName,
        service: &RenderedService,
        running: &[&FoundContainer],
    ) -> Option<Vec<String>> {
        let first = running.first()?;
        let differs = differences(service, first);
        let is_alike = |one: &&FoundContainer| {
            one.image.id == first.image.id
                && one.settings == first.settings
                && differences(service, one) == differs
        };
        if !running.iter().all(is_alike) {
            self.refusals.push(format!(
                "the containers of `{name}` are not alike: make them so with `docker compose up -d`"
            ));
            return None;
        }
        if !differs.is_empty()
            && let Some(service) = self.rendering.services.get_mut(name)
        {
            let spec = as_it_runs(&service.spec, first, &differs);
            service.workload = spec.id();
            service.spec = Arc::new(spec);
        }
        Some(differs)
    }

    fn ports(&mut self, name: &ServiceName, service: &RenderedService, one: &FoundContainer) {
        let mut claimed = BTreeSet::new();
        for route in &service.routes {
            let mut ports = one.ports.iter();
            let has_it = ports.any(|port| port.port == route.port && port.protocol == "tcp");
            if has_it && claimed.insert((route.host_ip, route.port)) {
                self.ports.push(PlannedPort {
                    service: name.clone(),
                    listen: socket(route.host_ip, route.port),
                    container: one.id.clone(),
                });
            }
        }
    }

    fn warn_of_anonymous(&mut self, service: &RenderedService, one: &FoundContainer) {
        let container = service.spec.container.as_deref();
        let stated = |target: &str| {
            let mounts = container.map_or(&[][..], |container| &container.mounts);
            mounts.iter().any(|mount| mount.target == target)
        };
        let unstated = one
            .mounts
            .iter()
            .filter(|mount| mount.anonymous && !stated(&mount.target));
        for mount in unstated {
            self.notes.push(format!(
                "{} keeps {} in a volume without a name: a release that replaces it begins with an empty one (name it in the Compose file to keep it)",
                one.name, mount.target
            ));
        }
    }
}
