//! Who answers for the names of services in a network: the router, or Docker. That is decided when the
//! network is made and written on it, so that all containers in it agree. Not what is answered.
//!
//! Docker's own resolver, which every container asks, knows aliases first and passes on what it does
//! not know, from the container's address. So where the router answers, a container has no alias of
//! Docker's, and the network's gateway as its resolver.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, Ipam};
use bollard::query_parameters::ListNetworksOptionsBuilder;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::Instant;
use towpath_model::container::{Container, NetworkJoin, NetworkSource};
use towpath_model::id::EnvironmentId;
use towpath_model::observation::Network;
use towpath_model::routing::NAME_PORT;

use super::client::{Trouble, label_filter};
use super::config::Names;
use super::join::{docker_name, joins};
use super::names::{self, Labelled};
use super::shared::Shared;
use crate::redirect::iptables;

/// On a network: who answers, or why the router does not.
const ANSWERS: &str = "towpath.names";

const ROUTER: &str = "router";

/// How long the router may take to answer in a network that was made just now.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time between two looks whether it does.
const LOOK: Duration = Duration::from_millis(20);

/// Networks by what they are called on the machine, each with the address at which the router answers,
/// or why it does not.
pub(super) type Servers = BTreeMap<String, Result<IpAddr, String>>;

/// Returns the label that a new network has.
pub(super) async fn label(
    shared: &Shared,
    docker: &Docker,
    source: &NetworkSource,
) -> Option<(String, String)> {
    let value = match shared.config.names {
        Names::Docker => return None,
        Names::Router => match obstacle(shared, docker, source).await {
            None => ROUTER.to_owned(),
            Some(reason) => reason,
        },
    };
    Some((ANSWERS.to_owned(), value))
}

/// Returns why the router could not answer for names in a new network.
async fn obstacle(shared: &Shared, docker: &Docker, source: &NetworkSource) -> Option<String> {
    if let Some(driver) = source
        .driver
        .as_deref()
        .filter(|driver| *driver != "bridge")
    {
        return Some(format!(
            "the machine has no address in a network of the driver `{driver}`"
        ));
    }
    let version = docker
        .version()
        .await
        .map_err(|error| shared.client.trouble(&error));
    let components = version.ok().and_then(|version| version.components);
    let mut components = components.into_iter().flatten();
    if components.any(|component| component.name.contains("Podman")) {
        return Some("Podman answers for names itself".to_owned());
    }
    if let Err(error) = listen_somewhere().await {
        return Some(format!(
            "the router cannot listen on port {NAME_PORT} of the machine: {error}"
        ));
    }
    // Where it cannot be asked, nobody has made rules with it.
    let rules = iptables(&["-S"]).await.unwrap_or_default();
    drops_questions(&rules).then(|| {
        format!(
            "the machine's firewall drops what it does not know: allow port {NAME_PORT} over UDP and \
             TCP from containers"
        )
    })
}

/// Tells whether rules, as `iptables -S` prints them, drop questions of containers.
fn drops_questions(rules: &str) -> bool {
    let port = NAME_PORT.to_string();
    let allows = |line: &str| {
        let mut words = line.split_whitespace();
        let names_port =
            words.by_ref().any(|word| word == "--dport") && words.next() == Some(port.as_str());
        names_port && line.ends_with("-j ACCEPT")
    };
    rules.lines().any(|line| line == "-P INPUT DROP") && !rules.lines().any(allows)
}

/// Tries the port at an address that nobody else has: another program may have it at every address.
async fn listen_somewhere() -> io::Result<()> {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let address = (Ipv4Addr::new(127, 128 | high, middle, low), NAME_PORT);
    TcpListener::bind(address).await?;
    UdpSocket::bind(address).await.map(drop)
}

/// Tells whether the router does not answer in a network and could, if it were made now.
pub(super) async fn could_be_the_routers(
    shared: &Shared,
    docker: &Docker,
    labels: &HashMap<String, String>,
    source: &NetworkSource,
) -> bool {
    let is_dockers = labels.get(ANSWERS).is_none_or(|value| value != ROUTER);
    shared.config.names == Names::Router
        && is_dockers
        && obstacle(shared, docker, source).await.is_none()
}

/// Notes who answers in a network of an environment's own.
pub(super) fn note(
    shared: &Shared,
    environment: &EnvironmentId,
    name: &str,
    labels: &HashMap<String, String>,
    addresses: Option<&Ipam>,
) {
    if shared.config.names == Names::Docker {
        return;
    }
    let answers = answers(labels, addresses);
    let is_new = shared.lock().get_mut(environment).is_some_and(|known| {
        known.networks.insert(name.to_owned(), answers.clone()) != Some(answers)
    });
    if is_new {
        shared.tell(environment);
    }
}

fn answers(labels: &HashMap<String, String>, addresses: Option<&Ipam>) -> Result<IpAddr, String> {
    match labels.get(ANSWERS).map(String::as_str) {
        None => Err("it was made before the router answered for names".to_owned()),
        Some(ROUTER) => gateway(addresses).ok_or_else(|| {
            "its subnet is fixed and its gateway is not: say both in `ipam`".to_owned()
        }),
        Some(reason) => Err(reason.to_owned()),
    }
}

fn gateway(addresses: Option<&Ipam>) -> Option<IpAddr> {
    let pools = addresses?.config.iter().flatten();
    pools
        .filter_map(|pool| pool.gateway.as_deref()?.parse().ok())
        .find(IpAddr::is_ipv4)
}

/// Returns the networks of an environment's own with who answers in each. Docker is asked once; after
/// that every network that is made or found is noted.
pub(super) async fn networks(
    shared: &Shared,
    docker: &Docker,
    environment: &EnvironmentId,
) -> Result<Servers, Trouble> {
    let (known, are_all) = noted(shared, environment);
    if are_all || shared.config.names == Names::Docker {
        return Ok(known);
    }
    let filter = label_filter(&names::filter(&shared.data_id, environment));
    let options = ListNetworksOptionsBuilder::default()
        .filters(&filter)
        .build();
    let call = docker.list_networks(Some(options));
    for network in shared.client.look_up(call).await? {
        let (name, labels) = (network.name.unwrap_or_default(), network.labels);
        let labels = labels.unwrap_or_default();
        note(shared, environment, &name, &labels, network.ipam.as_ref());
    }
    if let Some(known) = shared.lock().get_mut(environment) {
        known.networks_are_known = true;
    }
    Ok(noted(shared, environment).0)
}

fn noted(shared: &Shared, environment: &EnvironmentId) -> (Servers, bool) {
    let known = shared.lock();
    let known = known.get(environment);
    known.map_or_else(Default::default, |known| {
        (known.networks.clone(), known.networks_are_known)
    })
}

/// Says who is in the networks: instances, and other containers of the environment.
pub(super) fn observed<'a>(
    networks: Servers,
    instances: impl Iterator<Item = &'a (Labelled, ContainerSummary)>,
    guests: &[ContainerSummary],
) -> BTreeMap<String, Network> {
    let mut observed: BTreeMap<String, Network> = networks
        .into_iter()
        .map(|(name, server)| {
            let network = Network {
                server,
                members: BTreeMap::new(),
                guests: std::collections::BTreeSet::new(),
            };
            (name, network)
        })
        .collect();
    for (labelled, summary) in instances {
        for (name, addresses) in addresses(summary) {
            if let Some(network) = observed.get_mut(&name) {
                network.members.insert(labelled.id.clone(), addresses);
            }
        }
    }
    for summary in guests {
        for (name, addresses) in addresses(summary) {
            if let Some(network) = observed.get_mut(&name) {
                network.guests.extend(addresses);
            }
        }
    }
    for network in observed
        .values_mut()
        .filter(|network| network.server.is_err())
    {
        network.members.clear();
        network.guests.clear();
    }
    observed
}

/// Returns the addresses of a container that runs, by network.
fn addresses(summary: &ContainerSummary) -> Vec<(String, Vec<IpAddr>)> {
    let runs = summary.state == Some(ContainerSummaryStateEnum::RUNNING);
    let settings = summary.network_settings.as_ref().filter(|_| runs);
    let networks = settings.and_then(|settings| settings.networks.as_ref());
    let addresses = networks.into_iter().flatten().map(|(name, endpoint)| {
        let both = [&endpoint.ip_address, &endpoint.global_ipv6_address];
        let addresses = both.into_iter().flatten();
        let addresses = addresses.filter_map(|text| text.parse().ok());
        (name.clone(), addresses.collect::<Vec<_>>())
    });
    addresses.filter(|(_, all)| !all.is_empty()).collect()
}

/// The router's part in the names of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Naming {
    /// The gateways of the networks in which the router answers, by what they are called on the
    /// machine.
    pub(super) servers: BTreeMap<String, IpAddr>,
    /// Docker's resolver would not pass questions on: the container has none of Docker's.
    is_alone: bool,
}

impl Naming {
    /// Says who answers a container.
    pub(super) fn of(shared: &Shared, environment: &EnvironmentId, container: &Container) -> Self {
        let (known, _) = noted(shared, environment);
        let joined = joins(container);
        let servers = joined.iter().filter_map(|(name, join)| {
            let name = docker_name(environment, name, join);
            let server = known.get(&name)?.as_ref().ok().copied()?;
            Some((name, server))
        });
        Self::new(servers.collect(), container, &joined)
    }

    fn new(
        servers: BTreeMap<String, IpAddr>,
        container: &Container,
        joined: &BTreeMap<String, NetworkJoin>,
    ) -> Self {
        // Later versions of Docker do not pass on what comes from networks without a way out, and
        // none does for names without a dot where `ndots` is set.
        let is_internal = joined.iter().all(|(_, join)| join.network.internal);
        let mut options = container.naming.dns_opt.iter();
        let has_ndots = options.any(|option| option.starts_with("ndots"));
        Self {
            is_alone: !servers.is_empty() && (is_internal || has_ndots),
            servers,
        }
    }

    /// Returns the resolvers of a container: the router, and its own for other names.
    pub(super) fn resolvers(&self, container: &Container) -> Vec<String> {
        let router = self.servers.values().next().map(ToString::to_string);
        let own = container.naming.dns.iter().cloned();
        router.into_iter().chain(own).collect()
    }

    /// Returns the text of the container's own `resolv.conf`, where it needs one.
    pub(super) fn file(&self, container: &Container) -> Option<String> {
        let is_given = |target: &str| target == RESOLV_CONF;
        let mut mounts = container.mounts.iter().map(|mount| mount.target.as_str());
        if !self.is_alone || mounts.any(is_given) {
            return None;
        }
        let resolvers = self.resolvers(container);
        let resolvers = resolvers.iter().map(|one| format!("nameserver {one}\n"));
        let mut text: String = resolvers.collect();
        let naming = &container.naming;
        for (word, values) in [("search", &naming.dns_search), ("options", &naming.dns_opt)] {
            if !values.is_empty() {
                text.push_str(&format!("{word} {}\n", values.join(" ")));
            }
        }
        Some(text)
    }

    /// Waits until the router answers: a container that is told nothing when it begins may give up.
    pub(super) async fn wait(&self) -> Result<(), Trouble> {
        let deadline = Instant::now() + PATIENCE;
        for server in self.servers.values() {
            let at = SocketAddr::new(*server, NAME_PORT);
            while let Err(error) = TcpStream::connect(at).await {
                if Instant::now() >= deadline {
                    return Err(Trouble::Refused(format!(
                        "the router does not answer for names at {at}: {error}"
                    )));
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }
}

/// Where the C library reads which resolvers there are.
pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerSummaryNetworkSettings, EndpointSettings, IpamConfig};
    use towpath_model::container::NetworkMode;
    use towpath_model::id::{Digest, InstanceId, ReleaseNumber, WorkloadId};

    use super::*;

    fn labels(value: Option<&str>) -> HashMap<String, String> {
        let value = value.map(|value| (ANSWERS.to_owned(), value.to_owned()));
        value.into_iter().collect()
    }

    fn pool(gateway: Option<&str>) -> Ipam {
        let config = IpamConfig {
            subnet: Some("172.28.0.0/16".to_owned()),
            gateway: gateway.map(str::to_owned),
            ..IpamConfig::default()
        };
        Ipam {
            config: Some(vec![config]),
            ..Ipam::default()
        }
    }

    #[test]
    fn who_answers_in_a_network_is_written_on_it() {
        let read = |label, gateway| answers(&labels(label), Some(&pool(gateway)));
        let gateway: IpAddr = "172.28.0.1".parse().unwrap();
        assert_eq!(read(Some(ROUTER), Some("172.28.0.1")), Ok(gateway));
        assert!(read(Some(ROUTER), None).unwrap_err().contains("gateway"));
        assert!(
            read(None, Some("172.28.0.1"))
                .unwrap_err()
                .contains("before")
        );
        let reason = "nobody may listen on port 53";
        assert_eq!(
            read(Some(reason), Some("172.28.0.1")),
            Err(reason.to_owned())
        );
    }

    #[test]
    fn a_firewall_that_drops_questions_is_seen() {
        let allowed = "-A ufw-user-input -p udp -m udp --dport 53 -j ACCEPT\n";
        let other = "-A ufw-user-input -p tcp -m tcp --dport 5353 -j ACCEPT\n";
        for (rules, drops) in [
            ("-P INPUT ACCEPT\n".to_owned(), false),
            ("-P INPUT DROP\n".to_owned(), true),
            (format!("-P INPUT DROP\n{other}"), true),
            (format!("-P INPUT DROP\n{allowed}"), false),
        ] {
            assert_eq!(drops_questions(&rules), drops, "{rules}");
        }
    }

    fn container(internal: bool, dns_opt: &[&str]) -> Container {
        let mut join = NetworkJoin::default();
        join.network.internal = internal;
        let mut container = Container {
            network: NetworkMode::Networks([("default".to_owned(), join)].into()),
            ..Container::default()
        };
        container.naming.dns = vec!["192.0.2.1".to_owned()];
        container.naming.dns_opt = dns_opt.iter().map(|one| (*one).to_owned()).collect();
        container
    }

    fn naming(container: &Container) -> Naming {
        let servers = [("shop-dev_default".to_owned(), [172, 28, 0, 1].into())];
        Naming::new(servers.into(), container, &joins(container))
    }

    #[test]
    fn the_router_is_asked_first_and_the_containers_own_resolvers_for_the_rest() {
        let container = container(false, &["timeout:1"]);
        let naming = naming(&container);
        assert_eq!(naming.resolvers(&container), ["172.28.0.1", "192.0.2.1"]);
        assert_eq!(naming.file(&container), None);
        let nowhere = Naming::default();
        assert_eq!(nowhere.resolvers(&container), ["192.0.2.1"]);
    }

    #[test]
    fn where_docker_passes_no_question_on_the_container_asks_the_router_itself() {
        for container in [container(true, &[]), container(false, &["ndots:2"])] {
            let text = naming(&container).file(&container).unwrap();
            assert!(
                text.starts_with("nameserver 172.28.0.1\nnameserver 192.0.2.1\n"),
                "{text}"
            );
            let options = container.naming.dns_opt.join(" ");
            assert!(text.ends_with(&format!("options {options}\n")) || options.is_empty());
            assert_eq!(Naming::default().file(&container), None);
        }
    }

    #[test]
    fn only_what_runs_is_in_a_network() {
        let summary = |state| {
            let endpoint = EndpointSettings {
                ip_address: Some("172.28.0.2".to_owned()),
                global_ipv6_address: Some(String::new()),
                ..EndpointSettings::default()
            };
            let networks = ["shop-dev_default", "elsewhere"];
            let networks = networks.map(|name| (name.to_owned(), endpoint.clone()));
            ContainerSummary {
                state: Some(state),
                network_settings: Some(ContainerSummaryNetworkSettings {
                    networks: Some(networks.into()),
                }),
                ..ContainerSummary::default()
            }
        };
        let labelled = |id: &str| {
            let id: InstanceId = id.parse().unwrap();
            Labelled {
                workload: WorkloadId::new(id.service.clone(), &Digest::of(b"specification")),
                id,
                release: ReleaseNumber(1),
                port: 80,
                network: None,
            }
        };
        let all = [
            (
                labelled("shop/dev/web-1"),
                summary(ContainerSummaryStateEnum::RUNNING),
            ),
            (
                labelled("shop/dev/web-2"),
                summary(ContainerSummaryStateEnum::EXITED),
            ),
        ];
        let guests = [summary(ContainerSummaryStateEnum::RUNNING)];
        let networks = [("shop-dev_default".to_owned(), Ok([172, 28, 0, 1].into()))];
        let observed = observed(networks.into(), all.iter(), &guests);
        let network = &observed["shop-dev_default"];
        let members: Vec<_> = network.members.keys().map(ToString::to_string).collect();
        assert_eq!(
            (observed.len(), members),
            (1, vec!["shop/dev/web-1".to_owned()])
        );
        assert_eq!(network.guests, [[172, 28, 0, 2].into()].into());
    }
}
