//! The environment: the one aggregate that a deployment changes. Everything that must survive a
//! crash of the control plane is in it; it is written down before anything is done.
//!
//! The rules are in the modules that take it: [`crate::command`] (what people ask for),
//! [`crate::advance`] (the rollout), [`crate::reconcile`] (instances), [`crate::routes`] (the route
//! table). [`crate::step`] puts them together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::adoption::Adopted;
use crate::deployment::Deployment;
use crate::id::{EnvironmentId, InstanceId, ReleaseNumber, ServiceName, WorkloadId};
use crate::instance::{Backoff, Instance};
use crate::observation::Network;
use crate::preview::Preview;
use crate::release::{RenderedService, Rendering};
use crate::routing::RouteMode;
use crate::routing::{NameServer, Route};

/// One environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Its id.
    pub id: EnvironmentId,
    /// Whether it should run.
    pub lifecycle: Lifecycle,
    /// The last release that was brought out completely.
    pub stable: Option<ReleaseNumber>,
    /// The releases that were brought out completely, oldest first, each once, the last
    /// [`Environment::HISTORY`] of them.
    pub history: Vec<ReleaseNumber>,
    /// The active deployment.
    pub deployment: Option<Deployment>,
    /// The deployment that comes next.
    pub waiting: Option<Deployment>,
    /// The renderings of all releases in play.
    pub renderings: BTreeMap<ReleaseNumber, Arc<Rendering>>,
    /// The instances that were decided on and are not gone.
    pub instances: BTreeMap<u32, Instance>,
    /// The number of the next instance.
    pub next_instance: u32,
    /// The number of the next deployment.
    pub next_deployment: u32,
    /// How many instances somebody asked for, where it differs from the release.
    pub scale: BTreeMap<ServiceName, u32>,
    /// Where each service is reached by the others.
    pub peers: BTreeMap<ServiceName, SocketAddr>,
    /// Who gets the requests of each service.
    pub shares: BTreeMap<ServiceName, Vec<Share>>,
    /// What the router was last told.
    pub published: Published,
    /// Workloads whose instances failed lately.
    pub backoff: BTreeMap<WorkloadId, Backoff>,
    /// Workloads that ran to their good end and are not to be started again.
    pub completed: BTreeSet<WorkloadId>,
    /// Why nothing may be deployed by itself, where that is so.
    pub hold: Option<Hold>,
    /// What somebody asked the router to do with all requests.
    pub traffic: RouteMode,
    /// The networks in which instances ask for one another by name, as they were last seen.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<String, Network>,
    /// What was taken over from Docker Compose, where that is how it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adopted>,
    /// What makes it a preview, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
}

impl Environment {
    /// How many releases are remembered for a rollback.
    pub const HISTORY: usize = 10;

    /// Makes an environment in which nothing was ever deployed.
    pub fn new(id: EnvironmentId) -> Self {
        Self {
            id,
            lifecycle: Lifecycle::Up,
            stable: None,
            history: Vec::new(),
            deployment: None,
            waiting: None,
            renderings: BTreeMap::new(),
            instances: BTreeMap::new(),
            next_instance: 1,
            next_deployment: 1,
            scale: BTreeMap::new(),
            peers: BTreeMap::new(),
            shares: BTreeMap::new(),
            published: Published::default(),
            backoff: BTreeMap::new(),
            completed: BTreeSet::new(),
            hold: None,
            traffic: RouteMode::Serving,
            networks: BTreeMap::new(),
            adopted: None,
            preview: None,
        }
    }

    /// Returns the full id of the instance with this number.
    pub fn instance_id(&self, instance: &Instance) -> InstanceId {
        InstanceId {
            environment: self.id.clone(),
            service: instance.workload.service.clone(),
            number: instance.number,
        }
    }

    /// Returns the rendering of the stable release.
    pub fn stable_rendering(&self) -> Option<&Arc<Rendering>> {
        self.renderings.get(&self.stable?)
    }

    /// Returns the rendering of the active deployment's candidate.
    pub fn candidate_rendering(&self) -> Option<&Arc<Rendering>> {
        self.renderings.get(&self.deployment.as_ref()?.release)
    }

    /// Returns a service as a release in play renders it.
    pub fn service(&self, release: ReleaseNumber, name: &ServiceName) -> Option<&RenderedService> {
        self.renderings.get(&release)?.services.get(name)
    }

    /// Returns how many instances a service of a release should have.
    pub fn wanted(&self, service: &RenderedService) -> u32 {
        if service.is_exclusive() {
            return service.replicas.min(1);
        }
        self.scale
            .get(&service.spec.service)
            .copied()
            .unwrap_or(service.replicas)
    }

    /// Returns the instances of a workload that nobody told to go.
    pub fn live<'a>(&'a self, workload: &'a WorkloadId) -> impl Iterator<Item = &'a Instance> {
        self.instances
            .values()
            .filter(move |instance| &instance.workload == workload && instance.is_live())
    }

    /// Returns how many instances of a workload requests may be given to.
    pub fn serving(&self, workload: &WorkloadId) -> u32 {
        let count = self
            .live(workload)
            .filter(|instance| instance.is_serving())
            .count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Returns the share of traffic of a workload.
    pub fn weight(&self, workload: &WorkloadId) -> u32 {
        self.shares
            .get(&workload.service)
            .and_then(|shares| shares.iter().find(|share| &share.workload == workload))
            .map_or(0, |share| share.weight)
    }

    /// Tells whether the stable release has no part in a service's traffic, because nothing was
    /// ever brought out or because the environment was down: there is nothing to replace, so a
    /// candidate comes whole and at once.
    pub fn starts_afresh(&self, service: &ServiceName) -> bool {
        let stable = self.stable.and_then(|stable| self.service(stable, service));
        let mut shares = self.shares.get(service).into_iter().flatten();
        stable.is_none_or(|stable| shares.all(|share| share.workload != stable.workload))
    }

    /// Returns the releases that something still needs: nothing of them may be pruned.
    pub fn releases_in_play(&self) -> BTreeSet<ReleaseNumber> {
        let deployments = self.deployment.iter().chain(&self.waiting);
        deployments
            .flat_map(|deployment| [Some(deployment.release), deployment.from])
            .flatten()
            .chain(self.stable)
            .chain(self.instances.values().map(|instance| instance.release))
            .chain(self.shares.values().flatten().map(|share| share.release))
            .collect()
    }

    /// Tells whether nothing of the environment runs any more and the router knows.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
            && self.published.routes.is_empty()
            && self.published.names.is_empty()
    }
}

/// Whether an environment should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// It should.
    Up,
    /// Everything in it should be stopped.
    Down,
}

/// Who gets how much of a service's requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The workload.
    pub workload: WorkloadId,
    /// A release that renders it.
    pub release: ReleaseNumber,
    /// Its part of [`crate::routing::FULL_WEIGHT`].
    pub weight: u32,
}

/// What the router was last told of an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Grows with every change.
    pub generation: u64,
    /// The routes, each with the socket to listen on.
    pub routes: Vec<PublishedRoute>,
    /// The sockets on which the names of the environment's services are answered for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<SocketAddr, NameServer>,
}

/// A route and the socket that it is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedRoute {
    /// The socket to listen on.
    pub listen: SocketAddr,
    /// What is spoken on it.
    pub protocol: crate::routing::Protocol,
    /// The route.
    pub route: Route,
}

/// Why nothing may be deployed by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}
