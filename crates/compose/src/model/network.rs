//! Networks, and how a service is reached.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Extensions, TextMap, is_default, is_false};

/// A network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent attributes of the format"
)]
pub struct Network {
    /// The name on the engine.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Options of the driver.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_opts: TextMap,
    /// How addresses are given.
    #[serde(default)]
    pub ipam: Ipam,
    /// Whether it exists already and is not managed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub external: bool,
    /// Whether it has no way out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub internal: bool,
    /// Whether other containers may join.
    #[serde(default, skip_serializing_if = "is_false")]
    pub attachable: bool,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: TextMap,
    /// Whether it has IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_ipv4: Option<bool>,
    /// Whether it has IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_ipv6: Option<bool>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// How addresses are given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Ipam {
    /// The driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Pools of addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config: Vec<IpamPool>,
    /// Options of the driver.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: TextMap,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// A pool of addresses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct IpamPool {
    /// The subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// The gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// The range that is given to containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<String>,
    /// Addresses of hosts by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aux_addresses: TextMap,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// How a service joins a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct ServiceNetwork {
    /// More names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Options of the driver.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_opts: TextMap,
    /// Which network gives the gateway: the highest.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gw_priority: i64,
    /// The name of the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_name: Option<String>,
    /// The IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_address: Option<String>,
    /// The IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<String>,
    /// Link-local addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link_local_ips: Vec<String>,
    /// The MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
    /// Which network is joined first: the highest.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i64,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Port {
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `ingress` or `host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The address of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<String>,
    /// The port inside.
    #[serde(default, skip_serializing_if = "is_default")]
    pub target: u32,
    /// The port, or range of ports, of the host; none is any free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<String>,
    /// `tcp` or `udp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The protocol of the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}
