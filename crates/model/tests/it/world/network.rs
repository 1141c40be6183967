//! The network in which the instances of a world ask for one another by name. Not what they should be
//! told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use towpath_model::id::InstanceId;
use towpath_model::observation::{InstanceState, Network};
use towpath_model::routing::View;

use super::World;

/// What the network is called on the machine.
pub(crate) const NETWORK: &str = "shop-production_default";

const GATEWAY: [u8; 4] = [10, 0, 0, 1];

impl World {
    /// Returns the network, where there is one.
    pub(super) fn networks(&self) -> BTreeMap<String, Network> {
        let runs = self.running.iter().filter(|(_, one)| {
            matches!(
                one.state,
                InstanceState::Running { .. } | InstanceState::Stopping
            )
        });
        let members: BTreeMap<_, _> = runs
            .map(|(id, _)| (id.clone(), vec![address(id)]))
            .collect();
        let network = self.naming.clone().map(|naming| Network {
            server: naming.map(|()| GATEWAY.into()),
            members,
            guests: BTreeSet::new(),
        });
        network
            .map(|network| (NETWORK.to_owned(), network))
            .into_iter()
            .collect()
    }

    /// Notes that an instance is told to stop, which nobody may have been told of in the last table.
    pub(super) fn note_stop(&mut self, id: &InstanceId) {
        self.deeds.push(format!("stop {}", id.local()));
        assert!(!self.is_named(id), "{id} is stopped and named");
    }

    /// Returns the instances of a version that there are, by their names within the environment.
    pub(crate) fn all_of(&self, version: &str) -> Vec<String> {
        let versions = self.versions.iter();
        let found = versions.filter(|(id, it)| *it == version && self.running.contains_key(id));
        found.map(|(id, _)| id.local()).collect()
    }

    /// Returns those of some instances that nobody told to go.
    pub(crate) fn running_only(&self, all: &[String]) -> Vec<String> {
        let instances = self.environment.instances.values();
        let live = instances.filter(|one| one.is_running());
        let live = live.map(|one| self.environment.instance_id(one).local());
        live.filter(|one| all.contains(one)).collect()
    }

    /// Tells whether a name is answered with an instance.
    fn is_named(&self, id: &InstanceId) -> bool {
        let own = address(id);
        let views = self.views().iter();
        let mut named = views.flat_map(|view| view.names.values()).flatten();
        named.any(|address| *address == own)
    }

    pub(crate) fn views(&self) -> &[View] {
        let mut servers = self.environment.published.names.values();
        servers.next().map_or(&[], |server| &server.views)
    }

    /// Returns the versions that an instance is told of when it asks for a service, with how many of
    /// each there are; `None` where there is no such name, or nobody answers.
    pub(crate) fn told(&self, instance: &str, name: &str) -> Option<BTreeMap<String, usize>> {
        let client = address(&self.id(instance));
        let mut views = self.views().iter();
        let view = views.find(|view| view.clients.is_empty() || view.clients.contains(&client))?;
        let mut versions = BTreeMap::new();
        for found in view.names.get(name)? {
            let id = self.running.keys().find(|id| address(id) == *found);
            let version = self.versions[id.unwrap()].clone();
            *versions.entry(version).or_insert(0) += 1;
        }
        Some(versions)
    }
}

fn address(id: &InstanceId) -> IpAddr {
    let number = u8::try_from(id.number).unwrap();
    [10, 0, 0, number + 1].into()
}
