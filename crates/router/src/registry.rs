//! Compiles wire tables, and keeps what outlives them: instances, counters, walks of routes. Not
//! in the path of a request: only the control side uses it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;
use towpath_model::id::{EnvironmentId, InstanceId, WorkloadId};
use towpath_model::routing::{self, RouteTable};
use towpath_model::traffic::RouteTraffic;

use crate::counters::Counters;
use crate::instance::{Instance, Signals};
use crate::names::Views;
use crate::table::{HostIndex, ListenerTable, Policy, Route, RouteState, Table, Target};

/// Counters are kept for as long after their workload left the table.
const COUNTERS_KEPT: Duration = Duration::from_hours(1);

/// Names the counters of one workload behind one route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CountersKey {
    pub(crate) environment: EnvironmentId,
    pub(crate) route: String,
    pub(crate) workload: WorkloadId,
}

#[derive(Debug)]
struct Kept {
    counters: Arc<Counters>,
    /// Since when no table names the workload.
    left: Option<Instant>,
}

/// What outlives a table.
#[derive(Debug)]
pub(crate) struct Registry {
    workers: usize,
    signals: Arc<Signals>,
    version: u64,
    instances: HashMap<(InstanceId, SocketAddr), Arc<Instance>>,
    routes: HashMap<(EnvironmentId, String), Arc<RouteState>>,
    counters: HashMap<CountersKey, Kept>,
}

impl Registry {
    pub(crate) fn new(workers: usize, signals: Arc<Signals>) -> Self {
        Self {
            workers,
            signals,
            version: 0,
            instances: HashMap::new(),
            routes: HashMap::new(),
            counters: HashMap::new(),
        }
    }

    /// Compiles `source`. Instances that it names again are in the choice as soon as the result is
    /// in force; call [`Self::retire`] after that for those that it no longer names.
    pub(crate) fn compile(&mut self, source: &RouteTable) -> Table {
        self.version += 1;
        let mut listeners = BTreeMap::new();
        for (&address, listener) in &source.listeners {
            let routes: Vec<_> = listener
                .routes
                .iter()
                .map(|route| (route.hosts.clone(), Arc::new(self.route(route))))
                .collect();
            let compiled = ListenerTable {
                routes: HostIndex::new(routes),
            };
            listeners.insert(address, compiled);
        }
        let names = source.names.iter();
        Table {
            version: self.version,
            listeners,
            names: names
                .map(|(&address, server)| (address, Views::from(server)))
                .collect(),
        }
    }

    fn route(&mut self, route: &routing::Route) -> Route {
        let key = (route.environment.clone(), route.name.clone());
        let state = Arc::clone(self.routes.entry(key).or_default());
        let policy = Policy::from(&route.policy);
        let targets = route
            .targets
            .iter()
            .map(|target| self.target(route, target, policy.sticky))
            .collect();
        Route {
            prefix: crate::table::normal_prefix(&route.path_prefix),
            targets,
            shield: route.shield.clone(),
            mode: route.mode.clone(),
            policy,
            state,
        }
    }

    fn target(&mut self, route: &routing::Route, target: &routing::Target, sticky: bool) -> Target {
        let key = CountersKey {
            environment: route.environment.clone(),
            route: route.name.clone(),
            workload: target.workload.clone(),
        };
        let workers = self.workers;
        let kept = self.counters.entry(key).or_insert_with(|| Kept {
            counters: Arc::new(Counters::new(workers)),
            left: None,
        });
        kept.left = None;
        let counters = Arc::clone(&kept.counters);
        let backends = target
            .backends
            .iter()
            .map(|backend| self.instance(backend))
            .collect();
        Target {
            workload: target.workload.clone(),
            weight: target.weight,
            backends,
            counters,
            cookie: sticky.then(|| sticky_cookie(&target.workload)).flatten(),
        }
    }

    fn instance(&mut self, backend: &routing::Backend) -> Arc<Instance> {
        let key = (backend.instance.clone(), backend.address);
        let new = || {
            let signals = Arc::clone(&self.signals);
            Arc::new(Instance::new(
                backend.instance.clone(),
                backend.address,
                self.workers,
                signals,
            ))
        };
        let instance = self.instances.entry(key).or_insert_with(new);
        instance.set_retired(false);
        Arc::clone(instance)
    }

    /// Marks what `table`, now in force, no longer names, and forgets what is of no more use.
    pub(crate) fn retire(&mut self, table: &RouteTable, now: Instant) {
        let mut instances = HashSet::new();
        let mut counters = HashSet::new();
        let mut routes = HashSet::new();
        for route in table
            .listeners
            .values()
            .flat_map(|listener| &listener.routes)
        {
            routes.insert((route.environment.clone(), route.name.clone()));
            for target in &route.targets {
                counters.insert(CountersKey {
                    environment: route.environment.clone(),
                    route: route.name.clone(),
                    workload: target.workload.clone(),
                });
                let named = target.backends.iter();
                instances.extend(named.map(|backend| (backend.instance.clone(), backend.address)));
            }
        }
        for (key, instance) in &self.instances {
            if !instances.contains(key) && !instance.is_retired() {
                instance.set_retired(true);
            }
        }
        for (key, kept) in &mut self.counters {
            if !counters.contains(key) {
                kept.left.get_or_insert(now);
            }
        }
        self.routes
            .retain(|key, state| routes.contains(key) || state.held() > 0);
        self.forget(now);
    }

    /// Forgets instances that are idle and retired, and counters that left long ago.
    pub(crate) fn forget(&mut self, now: Instant) {
        self.instances.retain(|_, instance| {
            !instance.is_retired() || instance.in_flight() > 0 || instance.upgraded() > 0
        });
        self.counters.retain(|_, kept| {
            kept.left
                .is_none_or(|left| now.duration_since(left) < COUNTERS_KEPT)
        });
    }

    pub(crate) fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.instances.values()
    }

    pub(crate) fn routes(
        &self,
    ) -> impl Iterator<Item = (&(EnvironmentId, String), &Arc<RouteState>)> {
        self.routes.iter()
    }

    pub(crate) fn counters(&self) -> impl Iterator<Item = (&CountersKey, &Arc<Counters>)> {
        self.counters
            .iter()
            .map(|(key, kept)| (key, &kept.counters))
    }

    /// Returns the counters of every workload that ever had a request, in a stable order.
    pub(crate) fn traffic(&self) -> Vec<RouteTraffic> {
        let mut keys: Vec<_> = self.counters().collect();
        keys.sort_by_key(|&(key, _)| key);
        keys.into_iter()
            .map(|(key, counters)| RouteTraffic {
                environment: key.environment.clone(),
                route: key.route.clone(),
                workload: key.workload.clone(),
                counters: counters.snapshot(),
            })
            .filter(|traffic| traffic.counters.requests() > 0)
            .collect()
    }
}

/// The name of the cookie that keeps a client on one release of `workload`'s service.
pub(crate) fn sticky_name(workload: &WorkloadId) -> String {
    format!("towpath-{}", workload.service)
}

fn sticky_cookie(workload: &WorkloadId) -> Option<HeaderValue> {
    let name = sticky_name(workload);
    let value = format!(
        "{name}={}; Path=/; HttpOnly; SameSite=Lax",
        workload.digest()
    );
    HeaderValue::try_from(value).ok()
}
