//! The names of an environment's services: who is told which instances' addresses. Derived from the
//! deployment, the shares, the instances and the networks that they are in. Not the answering, which
//! is the router's, nor the routes of requests ([`crate::routes`]).
//!
//! Everybody is told his own side: a candidate's instances the candidate's, the stable release's the
//! stable ones. What both releases share follows the traffic. An instance that is not well is named to
//! nobody, but for one that was never well yet, to its own side, where it has no other: services that
//! wait for one another would else wait for ever. One that goes is named to nobody but those that go
//! with it, and to them as long as they are busy with requests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::deployment::Deployment;
use crate::environment::Environment;
use crate::id::{InstanceId, ReleaseNumber, ServiceName, WorkloadId};
use crate::instance::{Health, Instance, Phase};
use crate::observation::Network;
use crate::release::RenderedService;
use crate::rollout::Strategy;
use crate::routing::{FULL_WEIGHT, NAME_PORT, NameServer, View};

/// Returns the name servers that the environment should have now.
pub fn build(environment: &Environment) -> BTreeMap<SocketAddr, NameServer> {
    if environment.instances.is_empty() {
        return BTreeMap::new();
    }
    let mut servers = BTreeMap::new();
    for (name, network) in &environment.networks {
        if let Ok(address) = network.server {
            let server = NameServer {
                environment: environment.id.clone(),
                views: views(environment, name, network),
            };
            servers.insert(SocketAddr::new(address, NAME_PORT), server);
        }
    }
    servers
}

/// Tells whether an instance is the candidate's alone, beside a stable release that others are told
/// of.
pub(crate) fn is_candidate(environment: &Environment, one: &Instance) -> bool {
    Sides::new(environment).is_candidate(one)
}

/// Tells whether a name could be answered with an instance at all.
pub(crate) fn may_be_named(environment: &Environment, one: &Instance) -> bool {
    one.job.is_none() && !addresses(environment, one).is_empty()
}

/// Tells whether no name is answered with an instance in what the router was last told.
pub(crate) fn is_unnamed(environment: &Environment, one: &Instance) -> bool {
    let own = addresses(environment, one);
    let servers = environment.published.names.values();
    let mut named = servers
        .flat_map(|server| &server.views)
        .flat_map(|view| view.names.values())
        .flatten();
    !named.any(|address| own.contains(address))
}

/// Returns the addresses of an instance in the networks that the router answers for names in.
fn addresses(environment: &Environment, one: &Instance) -> BTreeSet<IpAddr> {
    let id = environment.instance_id(one);
    let networks = environment.networks.values();
    networks
        .filter(|network| network.server.is_ok())
        .filter_map(|network| network.members.get(&id))
        .flatten()
        .copied()
        .collect()
}

/// Returns what each client in a network is told.
fn views(environment: &Environment, name: &str, network: &Network) -> Vec<View> {
    let mut asked: Vec<(Asker<'_>, View)> = Vec::new();
    let mut tell = |clients: &[IpAddr], asker: Asker<'_>| match asked
        .iter_mut()
        .find(|(other, _)| other.is_told_as(&asker))
    {
        Some((_, view)) => view.clients.extend(clients),
        None => asked.push((
            asker.clone(),
            View {
                clients: clients.to_vec(),
                ..asker.view()
            },
        )),
    };
    let sides = Sides::new(environment);
    for (id, addresses) in &network.members {
        let one = environment.instances.get(&id.number);
        let one = one.filter(|one| one.workload.service == id.service);
        let asker = one.map_or_else(
            || Asker::anybody(environment, name),
            |one| Asker::instance(environment, id, one, sides.of(one)),
        );
        tell(addresses, asker);
    }
    let guests: Vec<IpAddr> = network.guests.iter().copied().collect();
    if !guests.is_empty() {
        tell(&guests, Asker::anybody(environment, name));
    }
    let mut views: Vec<View> = Vec::new();
    for (_, told) in asked {
        let same = |view: &&mut View| {
            view.names == told.names && view.refuses_others == told.refuses_others
        };
        match views.iter_mut().find(same) {
            Some(view) => view.clients.extend(told.clients),
            None => views.push(told),
        }
    }
    let mut instances = environment.instances.values();
    if !instances.any(|one| sides.is_candidate(one)) {
        // Whoever is not known yet is told what everybody is.
        let anybody = Asker::anybody(environment, name).view();
        views.retain(|view| view.names != anybody.names || view.refuses_others);
        views.push(anybody);
    }
    views
}

/// Which releases an instance belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// The stable release and the candidate, or the only one that there is.
    Both,
    /// The stable release, and not the candidate.
    Stable,
    /// The candidate, and not the stable release.
    Candidate,
    /// It is a release job of the candidate.
    Job,
    /// None of them, and it still serves: what an earlier deployment left. It came with this release.
    Neither(ReleaseNumber),
    /// None of them any more. It goes, and may be busy with requests; it came with this release.
    Leaving(ReleaseNumber),
}

/// Tells sides. What is the same for all instances is looked up once.
struct Sides<'a> {
    environment: &'a Environment,
    /// Requests from outside are in flight on some that go.
    leavers_are_busy: bool,
}

impl<'a> Sides<'a> {
    fn new(environment: &'a Environment) -> Self {
        let leavers_are_busy = environment.instances.values().any(|one| {
            matches!(one.phase, Phase::Draining { idle: false, .. }) && is_leaving(environment, one)
        });
        Self {
            environment,
            leavers_are_busy,
        }
    }

    fn is_candidate(&self, one: &Instance) -> bool {
        let alone = match self.of(one) {
            Side::Candidate | Side::Job => true,
            Side::Stable | Side::Both | Side::Neither(_) | Side::Leaving(_) => false,
        };
        alone && self.environment.stable.is_some()
    }

    fn of(&self, one: &Instance) -> Side {
        let environment = self.environment;
        let active = environment.deployment.as_ref();
        if let Some(job) = one.job {
            let its = active.is_some_and(|active| active.number == job);
            return if its { Side::Job } else { Side::Both };
        }
        if matches!(one.phase, Phase::Stopping { .. }) {
            return Side::Both;
        }
        if is_leaving(environment, one) {
            return if self.leavers_are_busy {
                Side::Leaving(one.release)
            } else {
                Side::Both
            };
        }
        let service = &one.workload.service;
        let is = |release| workload(environment, release, service) == Some(&one.workload);
        let stable = is(environment.stable);
        match (stable, active.map(|active| is(Some(active.release)))) {
            (true, Some(true) | None) => Side::Both,
            (true, Some(false)) => Side::Stable,
            (false, Some(true)) => Side::Candidate,
            (false, Some(false) | None) => Side::Neither(one.release),
        }
    }
}

/// Tells whether an instance goes and all others of its workload do.
fn is_leaving(environment: &Environment, one: &Instance) -> bool {
    one.job.is_none()
        && matches!(one.phase, Phase::Draining { .. })
        && environment.live(&one.workload).next().is_none()
}

fn workload<'a>(
    environment: &'a Environment,
    release: Option<ReleaseNumber>,
    service: &ServiceName,
) -> Option<&'a WorkloadId> {
    rendered(environment, release, service).map(|service| &service.workload)
}

/// Returns a service that may be asked for: release jobs are not.
fn rendered<'a>(
    environment: &'a Environment,
    release: Option<ReleaseNumber>,
    service: &ServiceName,
) -> Option<&'a RenderedService> {
    environment
        .service(release?, service)
        .filter(|service| !service.is_job())
}

/// Somebody who asks for names.
#[derive(Clone)]
struct Asker<'a> {
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
    fn instance(environment: &'a Environment, id: &InstanceId, one: &Instance, side: Side) -> Self {
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
    fn anybody(environment: &'a Environment, network: &'a str) -> Self {
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
    fn is_told_as(&self, other: &Self) -> bool {
        self.side == other.side
            && self.weight == other.weight
            && self.has_resolvers == other.has_resolvers
            && self.networks.keys().eq(other.networks.keys())
    }

    /// Returns what it is told.
    fn view(&self) -> View {
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
            .any(RenderedService::is_stateful);
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
