//! The names of an environment's services: who is told which instances' addresses. Derived from the
//! deployment, the shares, the instances and the networks that they are in. Not the answering, which
//! is the router's, nor the routes of requests ([`crate::routes`]).
//!
//! Everybody is told his own side: a candidate's instances the candidate's, the stable release's the
//! stable ones. What both releases share follows the traffic. An instance that is not well is named to
//! nobody, but for one that was never well yet, to its own side, where it has no other: services that
//! wait for one another would else wait for ever. One that goes is named to nobody but those that go
//! with it, and to them as long as they are busy with requests.

mod asker;
mod side;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::environment::Environment;
use crate::instance::Instance;
use crate::observation::Network;
use crate::routing::{NAME_PORT, NameServer, View};
use asker::Asker;
use side::Sides;

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
fn views<'a>(environment: &'a Environment, name: &'a str, network: &Network) -> Vec<View> {
    let mut answers: Vec<(Asker<'a>, View)> = Vec::new();
    let mut tell = |clients: &[IpAddr], asker: Asker<'a>| match answers
        .iter_mut()
        .find(|(other, _)| other.is_told_as(&asker))
    {
        Some((_, view)) => view.clients.extend(clients),
        None => answers.push((
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
    for (_, told) in answers {
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
