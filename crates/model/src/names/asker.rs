//! Somebody who asks for names, and what he is told. Not who asks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::side::{Side, is_leaving, rendered, workload};
use crate::deployment::Deployment;
use crate::environment::Environment;
use crate::id::{InstanceId, ReleaseNumber, ServiceName, WorkloadId};
use crate::instance::{Health, Instance, Phase};
use crate::observation::Network;
use crate::release::RenderedService;
use crate::rollout::Strategy;
use crate::routing::{FULL_WEIGHT, View};

/// Somebody who asks for names.
#[derive(Clone)]
pub(super) struct Asker<'a> {
    environment: &'a Environment,
    side: Side,
    /// Its share of the traffic of its own service.
    weight: u32,
    /// The networks that it is in.
    networks: BTreeMap<&'a str, &'a Network>,
    /// Whether it has resolvers of its own for other names.
    has_resolvers: bool,
}

impl<'a> Asker<'a> {
    pub(super) fn instance(
        environment: &'a Environment,
        id: &InstanceId,
        one: &Instance,
        side: Side,
    ) -> Self {
        let networks = environment.networks.iter();
        let joined = networks.filter(|(_, network)| network.members.contains_key(id));
        let service = environment.service(one.release, &one.workload.service);
        let container = service.and_then(|service| service.spec.container.as_deref());
        Self {
            environment,
            side,
            weight: environment.weight(&one.workload),
            networks: joined
                .map(|(name, network)| (name.as_str(), network))
                .collect(),
            has_resolvers: container.is_some_and(|container| !container.naming.dns.is_empty()),
        }
    }

    /// Somebody in a network of whom nothing is known: what both releases share is told the same.
    pub(super) fn anybody(environment: &'a Environment, network: &'a str) -> Self {
        let networks = environment.networks.get(network);
        Self {
            environment,
            side: if environment.stable.is_some() {
                Side::Both
            } else {
                Side::Candidate
            },
            weight: FULL_WEIGHT,
            networks: networks.map(|one| (network, one)).into_iter().collect(),
            has_resolvers: false,
        }
    }

    /// Tells whether another one is told the same, without a look at what.
    pub(super) fn is_told_as(&self, other: &Self) -> bool {
        self.side == other.side
            && self.weight == other.weight
            && self.has_resolvers == other.has_resolvers
            && self.networks.keys().eq(other.networks.keys())
    }

    /// Returns what it is told.
    pub(super) fn view(&self) -> View {
        let mut names: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        for service in self.services() {
            let Some(targets) = self.targets(service) else {
                continue;
            };
            for (name, addresses) in self.named(service, &targets) {
                let known = names.entry(name).or_default();
                for address in addresses {
                    if !known.contains(&address) {
                        known.push(address);
                    }
                }
            }
        }
        View {
            clients: Vec::new(),
            names,
            refuses_others: self.has_resolvers,
        }
    }

    fn active(&self) -> Option<&'a Deployment> {
        self.environment.deployment.as_ref()
    }

    fn candidate(&self) -> Option<ReleaseNumber> {
        self.active().map(|active| active.release)
    }

    /// The release whose words it has: the aliases are those of it.
    fn own_release(&self) -> Option<ReleaseNumber> {
        match self.side {
            Side::Both | Side::Stable => self.environment.stable.or(self.candidate()),
            Side::Candidate | Side::Job => self.candidate().or(self.environment.stable),
            Side::Neither(release) | Side::Leaving(release) => Some(release),
        }
    }

    fn services(&self) -> BTreeSet<&'a ServiceName> {
        let releases = [
            self.environment.stable,
            self.candidate(),
            self.own_release(),
        ];
        let releases = releases.into_iter().flatten();
        releases
            .filter_map(|release| self.environment.renderings.get(&release))
            .flat_map(|rendering| rendering.services.keys())
            .collect()
    }

    /// Returns the names of a service for it, each with the addresses in the first network of its own
    /// in which there is one.
    fn named(&self, service: &ServiceName, targets: &[&Instance]) -> Vec<(String, Vec<IpAddr>)> {
        let found = |release| rendered(self.environment, release, service);
        let rendered = found(self.own_release())
            .or_else(|| found(self.environment.stable))
            .or_else(|| found(self.candidate()));
        let container = rendered.and_then(|service| service.spec.container.as_deref());
        let joins = container.map(|container| {
            let joins = container.joins().into_iter();
            joins
                .map(|(name, join)| (join.on_machine(&self.environment.id, &name), join.aliases))
                .collect::<BTreeMap<_, _>>()
        });
        let mut named: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        for (name, network) in &self.networks {
            let aliases = match &joins {
                Some(joins) => joins.get(*name).cloned(),
                None => Some(Vec::new()),
            };
            let Some(aliases) = aliases else { continue };
            let members = |one: &&Instance| {
                let id = self.environment.instance_id(one);
                network.members.get(&id).cloned().unwrap_or_default()
            };
            let addresses: Vec<IpAddr> = targets.iter().flat_map(members).collect();
            for name in aliases.into_iter().chain([service.to_string()]) {
                let known = named.entry(name).or_default();
                if known.is_empty() {
                    known.clone_from(&addresses);
                }
            }
        }
        named.into_iter().collect()
    }

    /// Returns the instances that it is told of when it asks for a service; `None` where there is no
    /// such service for it.
    fn targets(&self, service: &ServiceName) -> Option<Vec<&'a Instance>> {
        let stable = workload(self.environment, self.environment.stable, service);
        let candidate = workload(self.environment, self.candidate(), service);
        let exclusive = [self.environment.stable, self.candidate()]
            .into_iter()
            .filter_map(|release| rendered(self.environment, release, service))
            .any(RenderedService::is_exclusive);
        let of = |release| workload(self.environment, Some(release), service);
        let shared = || self.shared_targets(service, stable, candidate);
        let some = |all: &Vec<_>| !all.is_empty();
        match (self.side, stable, candidate) {
            (Side::Neither(release), ..) => {
                let own = of(release).map(|own| self.own(own));
                own.filter(some).or_else(shared)
            }
            (Side::Leaving(release), ..) => {
                let with_it = of(release).map(|own| self.leaving(own));
                with_it.filter(some).or_else(shared)
            }
            (_, Some(stable), Some(candidate)) if exclusive || stable == candidate => {
                Some(self.any_of([stable, candidate]))
            }
            (Side::Both, ..) => shared(),
            (Side::Stable, stable, candidate) => Some(self.side_of(stable?, candidate)),
            (Side::Candidate, stable, candidate) => Some(self.side_of(candidate?, stable)),
            (Side::Job, stable, candidate) => {
                let own = candidate.map(|own| self.own(own));
                let others = || stable.map(|stable| self.own(stable));
                own.filter(some).or_else(others)
            }
        }
    }

    /// What is told to those that belong to both releases: the stable ones until the candidate has all
    /// the traffic. While instances are replaced a few at a time it is those of both.
    fn shared_targets(
        &self,
        service: &ServiceName,
        stable: Option<&'a WorkloadId>,
        candidate: Option<&'a WorkloadId>,
    ) -> Option<Vec<&'a Instance>> {
        let weight = |workload| self.environment.weight(workload);
        let (stable, candidate) = match (stable, candidate) {
            (Some(stable), Some(candidate)) if stable != candidate => (stable, candidate),
            (Some(stable), _) => return Some(self.own(stable)),
            (None, Some(candidate)) => {
                let is_out = self.environment.stable.is_none() || weight(candidate) > 0;
                return is_out.then(|| self.own(candidate));
            }
            (None, None) => return None,
        };
        let afresh = self.environment.starts_afresh(service)
            && self
                .active()
                .is_some_and(|active| !active.is_rolling_back());
        Some(if afresh || weight(candidate) == FULL_WEIGHT {
            self.own(candidate)
        } else if self.is_rolling() && weight(candidate) > 0 {
            self.any_of([stable, candidate])
        } else {
            self.own(stable)
        })
    }

    /// What is told to one side: its own. While instances are replaced a few at a time, its own may be
    /// fewer than its requests need: then it is those of both.
    fn side_of(&self, own: &'a WorkloadId, other: Option<&'a WorkloadId>) -> Vec<&'a Instance> {
        match other {
            Some(other)
                if self.is_rolling()
                    && self.environment.weight(own) < self.weight
                    && self.environment.weight(other) > 0 =>
            {
                self.any_of([own, other])
            }
            _ => self.own(own),
        }
    }

    fn is_rolling(&self) -> bool {
        self.active()
            .is_some_and(|active| active.settings.strategy == Strategy::Rolling)
    }

    /// Returns the instances of a workload that are well, or else those that were never well yet.
    fn own(&self, workload: &'a WorkloadId) -> Vec<&'a Instance> {
        self.any_of([workload, workload])
    }

    fn any_of(&self, workloads: [&'a WorkloadId; 2]) -> Vec<&'a Instance> {
        let all = |is_told: fn(&Instance) -> bool| {
            let instances = self.environment.instances.values();
            let live = instances.filter(|one| one.is_live() && is_told(one));
            live.filter(|one| workloads.contains(&&one.workload))
                .collect::<Vec<_>>()
        };
        let well = all(Instance::is_serving);
        if well.is_empty() {
            all(|one| one.is_running() && one.health == Health::Unknown)
        } else {
            well
        }
    }

    /// Returns the instances of a workload that go, and of which nobody else knows any more.
    fn leaving(&self, workload: &'a WorkloadId) -> Vec<&'a Instance> {
        let instances = self.environment.instances.values();
        let leaving = instances.filter(|one| {
            one.workload == *workload
                && one.health == Health::Healthy
                && match one.phase {
                    Phase::Draining { unnamed, .. } => {
                        unnamed.is_none() && is_leaving(self.environment, one)
                    }
                    Phase::Pending { .. } | Phase::Running { .. } | Phase::Stopping { .. } => false,
                }
        });
        leaving.collect()
    }
}
