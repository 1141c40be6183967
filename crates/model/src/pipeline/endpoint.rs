//! Where a job reaches the environment that it looks at, from the machine and from a container. Not
//! whether anybody answers there.

use std::net::{IpAddr, SocketAddr};

use crate::release::Rendering;
use crate::routing::Protocol;

/// The machine's name in a container of a job, as Docker Desktop has it.
const MACHINE: &str = "host.docker.internal";

/// Where an environment answers HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: Option<String>,
    address: Option<IpAddr>,
    port: u16,
    path: String,
}

impl Endpoint {
    /// Returns where the first service of an environment is published that speaks HTTP.
    pub fn of(rendering: &Rendering) -> Option<Self> {
        let mut routes = rendering.services.values().flat_map(|one| &one.routes);
        let route = routes.find(|route| route.protocol == Protocol::Http)?;
        Some(Self {
            host: route.hosts.first().cloned(),
            address: route.host_ip.filter(|address| !address.is_unspecified()),
            port: route.port,
            path: route.path_prefix.clone(),
        })
    }

    /// Returns the URL for a process of the machine.
    pub fn url(&self) -> String {
        let Self { host, port, .. } = self;
        let address = self.address.unwrap_or(IpAddr::from([127, 0, 0, 1]));
        let authority = match host {
            Some(host) => format!("{host}:{port}"),
            None => SocketAddr::new(address, *port).to_string(),
        };
        format!("http://{authority}{}", self.path)
    }

    /// Returns the URL for a container, and the name in it that has to stand for the machine; `None`
    /// where no container comes to it, because it is the machine's own address.
    pub fn url_in_container(&self) -> Option<(String, Option<&str>)> {
        let Self { port, path, .. } = self;
        match (&self.host, self.address) {
            (_, Some(address)) if address.is_loopback() => None,
            (Some(host), _) => Some((self.url(), Some(host))),
            (None, Some(_)) => Some((self.url(), None)),
            (None, None) => Some((format!("http://{MACHINE}:{port}{path}"), Some(MACHINE))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: Option<&str>, address: Option<&str>) -> Endpoint {
        Endpoint {
            host: host.map(str::to_owned),
            address: address.map(|text| text.parse().unwrap()),
            port: 8081,
            path: "/".to_owned(),
        }
    }

    #[test]
    fn a_process_finds_it_at_its_name_its_address_or_this_machine() {
        for (host, address, wanted) in [
            (None, None, "http://127.0.0.1:8081/"),
            (None, Some("10.1.2.3"), "http://10.1.2.3:8081/"),
            (None, Some("::1"), "http://[::1]:8081/"),
            (Some("shop.test"), None, "http://shop.test:8081/"),
        ] {
            assert_eq!(endpoint(host, address).url(), wanted);
        }
    }

    #[test]
    fn a_container_finds_it_by_a_name_that_stands_for_the_machine() {
        let found = |host, address| {
            let endpoint = endpoint(host, address);
            let found = endpoint.url_in_container();
            found.map(|(url, name)| (url, name.map(str::to_owned)))
        };
        let some = |url: &str, name: Option<&str>| Some((url.to_owned(), name.map(str::to_owned)));
        let machine = "http://host.docker.internal:8081/";
        assert_eq!(found(None, None), some(machine, Some(MACHINE)));
        let named = some("http://shop.test:8081/", Some("shop.test"));
        assert_eq!(found(Some("shop.test"), None), named);
        let addressed = some("http://10.1.2.3:8081/", None);
        assert_eq!(found(None, Some("10.1.2.3")), addressed);
        assert_eq!(found(None, Some("127.0.0.1")), None);
        assert_eq!(found(Some("shop.test"), Some("::1")), None);
    }
}
