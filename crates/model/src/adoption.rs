//! Taking over what Docker Compose started, as it runs: the record of it in the environment, and
//! the rules by which it becomes one like any other, or is let go again. Nothing is stopped by it.
//!
//! What is found is in [`found`], its comparison with the files in [`compare`], what would become of
//! it in [`plan`], and the way of a published port to the router in [`takeover`].

pub mod compare;
pub mod found;
pub mod plan;
pub mod takeover;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::command::{Change, Refusal};
use crate::container::{Container, NetworkJoin, NetworkMode};
use crate::environment::{Environment, Lifecycle, Share};
use crate::id::{InstanceId, ReleaseNumber, ServiceName, WorkloadId};
use crate::instance::{Health, Instance, Phase};
use crate::release::Rendering;
use crate::routing::FULL_WEIGHT;
use crate::workload::WorkloadSpec;
use takeover::{Stage, Takeover};

/// What an environment took over from Docker Compose. The names of volumes and networks hold for
/// ever: every later release has the same data and meets the same neighbours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// The Compose project.
    pub project: String,
    /// The release that stands for what ran.
    pub release: ReleaseNumber,
    /// The volumes' names on the machine, by their names in the Compose file.
    pub volumes: BTreeMap<String, String>,
    /// The networks' names on the machine, by their names in the Compose file.
    pub networks: BTreeMap<String, String>,
    /// The containers that are still there, by the number of the instance that each became.
    pub containers: BTreeMap<u32, String>,
    /// The published ports that are on their way to the router.
    pub takeovers: Vec<Takeover>,
    /// Since when everything is let go again.
    pub leaving: Option<Timestamp>,
}

/// A container that becomes an instance, as the engine is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdoptedContainer {
    /// The instance.
    pub id: InstanceId,
    /// What it is a copy of.
    pub workload: WorkloadId,
    /// The release that stands for it.
    pub release: ReleaseNumber,
    /// What it is.
    pub spec: Arc<WorkloadSpec>,
    /// The container's id.
    pub container: String,
}

/// What is to be taken over, all of it at once.
#[derive(Debug, Clone)]
pub struct Adoption {
    /// The Compose project.
    pub project: String,
    /// The release that stands for what runs.
    pub release: ReleaseNumber,
    /// What it renders to, volumes and networks by their names on the machine.
    pub rendering: Arc<Rendering>,
    /// The volumes' names on the machine.
    pub volumes: BTreeMap<String, String>,
    /// The networks' names on the machine.
    pub networks: BTreeMap<String, String>,
    /// The containers that run, each with its service.
    pub containers: Vec<(ServiceName, String)>,
    /// The published ports that move to the router.
    pub ports: Vec<PortClaim>,
    /// How many containers of a service run, where the files say another number.
    pub scale: BTreeMap<ServiceName, u32>,
    /// Services that ran to their good end and are not started again.
    pub completed: BTreeSet<ServiceName>,
    /// Where each service is to be reached by the others.
    pub peers: BTreeMap<ServiceName, SocketAddr>,
    /// Who asks.
    pub actor: String,
}

/// A port that a container publishes and that the router is to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortClaim {
    /// The service.
    pub service: ServiceName,
    /// The socket.
    pub listen: SocketAddr,
    /// The port that the router listens on until the socket is free; `None` leaves the traffic where
    /// it is until then.
    pub via: Option<u16>,
    /// The container.
    pub container: String,
}

impl Adopted {
    /// Gives a rendering the volumes and networks that were taken over, in place of the
    /// environment's own. Both sides of a comparison of workloads have to have been through this.
    pub fn apply(&self, rendering: &mut Rendering) {
        adopt_names(rendering, &self.volumes, &self.networks);
    }

    /// Returns the published socket whose connections come in at `socket`.
    pub fn published(&self, socket: SocketAddr) -> SocketAddr {
        let mut takeovers = self.takeovers.iter();
        let found = takeovers.find(|one| one.sockets().any(|at| at == socket));
        found.map_or(socket, |one| one.listen)
    }

    /// Returns the way of a socket to the router, while it is under way.
    pub fn takeover(&self, listen: SocketAddr) -> Option<&Takeover> {
        self.takeovers.iter().find(|one| one.listen == listen)
    }
}

/// Names volumes and networks of a rendering by what they are on the machine.
pub fn adopt_names(
    rendering: &mut Rendering,
    volumes: &BTreeMap<String, String>,
    networks: &BTreeMap<String, String>,
) {
    for service in rendering.services.values_mut() {
        let mut spec = (*service.spec).clone();
        let mounted: Vec<String> = spec.volumes.iter().map(|one| one.volume.clone()).collect();
        let Some(container) = spec.container.as_deref_mut() else {
            continue;
        };
        for name in mounted {
            if let Some(on_machine) = volumes.get(&name) {
                let source = container.volumes.entry(name).or_default();
                source.external.get_or_insert_with(|| on_machine.clone());
            }
        }
        adopt_networks(container, networks);
        service.workload = spec.id();
        service.spec = Arc::new(spec);
    }
}

fn adopt_networks(container: &mut Container, networks: &BTreeMap<String, String>) {
    let NetworkMode::Networks(joins) = &mut container.network else {
        return;
    };
    if joins.is_empty() {
        // What names no network is in the one of this name.
        joins.insert("default".to_owned(), NetworkJoin::default());
    }
    for (name, join) in joins {
        if let Some(on_machine) = networks.get(name) {
            join.network
                .external
                .get_or_insert_with(|| on_machine.clone());
        }
    }
}

impl Environment {
    /// Takes over what runs. Its containers become the instances of the stable release, with all of
    /// the traffic; the engine is told by the next step. Refused where anything was ever deployed.
    pub fn adopt(&mut self, adoption: Adoption, at: Timestamp) -> Result<Change, Refusal> {
        let is_new = self.stable.is_none() && self.deployment.is_none() && self.waiting.is_none();
        if !is_new || !self.instances.is_empty() {
            return Err(Refusal::NotNew(self.id.clone()));
        }
        if adoption.rendering.services.is_empty() || adoption.containers.is_empty() {
            return Err(Refusal::Empty);
        }
        let Adoption {
            project,
            release,
            rendering,
            ..
        } = &adoption;
        let reason = format!("the Compose project `{project}` as release {release}");
        let adopted = Adopted {
            project: project.clone(),
            release: *release,
            volumes: adoption.volumes.clone(),
            networks: adoption.networks.clone(),
            containers: self.number_containers(&adoption, at),
            takeovers: Vec::new(),
            leaving: None,
        };
        self.lifecycle = Lifecycle::Up;
        self.stable = Some(*release);
        self.history = vec![*release];
        self.renderings.insert(*release, Arc::clone(rendering));
        self.adopted = Some(adopted);
        self.claim(&adoption);
        self.scale.extend(adoption.scale);
        for (service, address) in adoption.peers {
            self.peers.entry(service).or_insert(address);
        }
        let workload = |name| Some(adoption.rendering.services.get(name)?.workload.clone());
        self.completed
            .extend(adoption.completed.iter().filter_map(workload));
        self.backoff.clear();
        let id = self.id.to_string();
        Ok(Change::told(
            at,
            &adoption.actor,
            "environment.adopted",
            id,
            Some(reason),
        ))
    }

    /// Writes an instance down for each container, and gives it all the traffic of its service.
    fn number_containers(&mut self, adoption: &Adoption, at: Timestamp) -> BTreeMap<u32, String> {
        let mut containers = BTreeMap::new();
        for (name, container) in &adoption.containers {
            let Some(service) = adoption.rendering.services.get(name) else {
                continue;
            };
            let number = self.next_instance;
            self.next_instance += 1;
            let one = Instance {
                limits: None,
                number,
                workload: service.workload.clone(),
                release: adoption.release,
                job: None,
                phase: Phase::Pending { since: at },
                health: Health::Unknown,
            };
            self.instances.insert(number, one);
            containers.insert(number, container.clone());
            let share = Share {
                workload: service.workload.clone(),
                release: adoption.release,
                weight: FULL_WEIGHT,
            };
            self.shares.insert(name.clone(), vec![share]);
        }
        containers
    }

    fn claim(&mut self, adoption: &Adoption) {
        let Some(adopted) = &mut self.adopted else {
            return;
        };
        for claim in &adoption.ports {
            let mut containers = adopted.containers.iter();
            let holder = containers.find(|(_, container)| **container == claim.container);
            if let Some((holder, _)) = holder {
                adopted.takeovers.push(Takeover {
                    service: claim.service.clone(),
                    listen: claim.listen,
                    via: claim.via,
                    holder: *holder,
                    stage: Stage::Waiting,
                });
            }
        }
    }

    /// Begins to let go of what was taken over: traffic goes back to the published ports, then the
    /// records are forgotten. Nothing is stopped. Refused when something was deployed since.
    pub fn let_go(&mut self, actor: &str, at: Timestamp) -> Result<Change, Refusal> {
        let is_as_adopted = self.is_as_adopted();
        let Some(adopted) = &mut self.adopted else {
            return Err(Refusal::NotAdopted);
        };
        if adopted.leaving.is_some() {
            return Ok(Change::default());
        }
        if !is_as_adopted {
            return Err(Refusal::NotAsAdopted);
        }
        adopted.leaving = Some(at);
        let id = self.id.to_string();
        Ok(Change::told(at, actor, "environment.leaving", id, None))
    }

    /// Tells whether everything that runs is what was taken over.
    pub fn is_as_adopted(&self) -> bool {
        let Some(adopted) = &self.adopted else {
            return false;
        };
        let settled = self.deployment.is_none() && self.waiting.is_none();
        settled
            && self.lifecycle == Lifecycle::Up
            && self.stable == Some(adopted.release)
            && self
                .instances
                .values()
                .all(|one| adopted.containers.contains_key(&one.number) && one.is_live())
    }

    /// Tells whether what was taken over is let go.
    pub fn is_leaving(&self) -> bool {
        self.adopted
            .as_ref()
            .is_some_and(|adopted| adopted.leaving.is_some())
    }

    /// Returns the container that an instance was before it was taken over.
    pub fn adopted_container(&self, number: u32) -> Option<&String> {
        self.adopted.as_ref()?.containers.get(&number)
    }
}
