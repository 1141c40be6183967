//! The simulated router: a table in force, acknowledgements that come late or not at all, requests
//! in flight, and counters. It keeps the contract of [`towpath_model::port::Router`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use towpath_model::environment::{Published, PublishedRoute};
use towpath_model::id::{EnvironmentId, InstanceId, WorkloadId};
use towpath_model::routing::{BackendLoad, RouterReport};
use towpath_model::traffic::{RouteTraffic, TrafficCounters};

use super::clock::Ms;

/// A request or an upgraded connection that an instance is busy with.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) instance: InstanceId,
    pub(super) until: Ms,
    pub(super) upgraded: bool,
}

/// The router.
#[derive(Debug)]
pub(super) struct Router {
    environment: EnvironmentId,
    /// The table in force.
    pub(super) table: Published,
    /// When the record that the table is of was written down.
    pub(super) written_at: Ms,
    /// Tables that were sent and come into force later.
    delayed: Vec<(Ms, Published, Ms)>,
    /// It does not answer and forwards nothing before this.
    pub(super) down_until: Ms,
    boot: u32,
    pub(super) flights: Vec<Flight>,
    pub(super) counters: BTreeMap<(String, WorkloadId), TrafficCounters>,
    /// Since when each instance that was named in a table is not named any more.
    pub(super) unrouted_since: BTreeMap<InstanceId, Ms>,
    /// Since when each address is no answer any more that was one.
    pub(super) unnamed_since: BTreeMap<IpAddr, Ms>,
}

impl Router {
    pub(super) fn new(environment: EnvironmentId) -> Self {
        Self {
            environment,
            table: Published::default(),
            written_at: 0,
            delayed: Vec::new(),
            down_until: 0,
            boot: 1,
            flights: Vec::new(),
            counters: BTreeMap::new(),
            unrouted_since: BTreeMap::new(),
            unnamed_since: BTreeMap::new(),
        }
    }

    pub(super) fn is_up(&self, now: Ms) -> bool {
        self.down_until <= now
    }

    pub(super) fn due(&self, now: Ms) -> Option<Ms> {
        let delayed = self.delayed.iter().map(|(at, _, _)| *at);
        let back = Some(self.down_until).filter(|at| *at > now);
        let flights = self.flights.iter().map(|flight| flight.until);
        delayed.chain(back).chain(flights).min()
    }

    /// Lets requests end. Returns whether a load changed.
    pub(super) fn land(&mut self, now: Ms) -> bool {
        let before = self.flights.len();
        self.flights.retain(|flight| flight.until > now);
        self.flights.len() != before
    }

    /// Takes the next delayed table that is due.
    pub(super) fn take_delayed(&mut self, now: Ms) -> Option<(Published, Ms)> {
        if !self.is_up(now) {
            return None;
        }
        let index = self.delayed.iter().position(|(at, _, _)| *at <= now)?;
        let (_, table, written_at) = self.delayed.remove(index);
        Some((table, written_at))
    }

    pub(super) fn delay(&mut self, at: Ms, table: Published, written_at: Ms) {
        self.delayed.push((at, table, written_at));
    }

    /// Puts a table in force, unless it is older than the present one. Returns the one before.
    pub(super) fn put(&mut self, table: Published, written_at: Ms, now: Ms) -> Option<Published> {
        if table.generation < self.table.generation || table == self.table {
            return None;
        }
        let before = std::mem::replace(&mut self.table, table);
        self.written_at = written_at;
        for id in named(&before) {
            if !self.names(&id) {
                self.unrouted_since.insert(id, now);
            }
        }
        for id in named(&self.table) {
            self.unrouted_since.remove(&id);
        }
        let told: BTreeSet<IpAddr> = told_of(&self.table).collect();
        for address in told_of(&before).filter(|address| !told.contains(address)) {
            self.unnamed_since.insert(address, now);
        }
        self.unnamed_since
            .retain(|address, _| !told.contains(address));
        Some(before)
    }

    /// Tells whether the table in force names an instance.
    pub(super) fn names(&self, id: &InstanceId) -> bool {
        let mut backends = self
            .table
            .routes
            .iter()
            .flat_map(|one| one.route.targets.iter())
            .flat_map(|target| &target.backends);
        backends.any(|backend| &backend.instance == id)
    }

    /// Starts again: it forgets its counters and connections and keeps its table.
    pub(super) fn restart(&mut self, back_at: Ms) {
        self.boot += 1;
        self.down_until = back_at;
        self.flights.clear();
        self.counters.clear();
        self.delayed.clear();
    }

    pub(super) fn report(&self, now: Ms) -> Option<RouterReport> {
        if !self.is_up(now) {
            return None;
        }
        let traffic = self.counters.iter().map(|((route, workload), counters)| {
            let environment = self.environment.clone();
            RouteTraffic {
                environment,
                route: route.clone(),
                workload: workload.clone(),
                counters: counters.clone(),
            }
        });
        Some(RouterReport {
            boot: self.boot.to_string(),
            generation: self.table.generation,
            environments: [(self.environment.clone(), self.table.generation)].into(),
            faults: Vec::new(),
            loads: self.loads(),
            traffic: traffic.collect(),
        })
    }

    fn loads(&self) -> Vec<BackendLoad> {
        let mut loads: BTreeMap<&InstanceId, BackendLoad> = BTreeMap::new();
        for flight in &self.flights {
            let load = loads
                .entry(&flight.instance)
                .or_insert_with(|| BackendLoad {
                    instance: flight.instance.clone(),
                    in_flight: 0,
                    upgraded: 0,
                    answering: true,
                });
            if flight.upgraded {
                load.upgraded += 1;
            } else {
                load.in_flight += 1;
            }
        }
        loads.into_values().collect()
    }
}

/// Returns every address that a name is answered with.
pub(super) fn told_of(table: &Published) -> impl Iterator<Item = IpAddr> {
    let views = table.names.values().flat_map(|server| &server.views);
    views
        .flat_map(|view| view.names.values())
        .flatten()
        .copied()
}

/// Returns every instance that a table names.
pub(super) fn named(table: &Published) -> Vec<InstanceId> {
    let targets = table
        .routes
        .iter()
        .flat_map(|PublishedRoute { route, .. }| &route.targets);
    targets
        .flat_map(|target| &target.backends)
        .map(|backend| backend.instance.clone())
        .collect()
}
