//! Why there can never be two instances of a service at once. The one rule that the rollout, the
//! plan and the checks ask. Not what a release does about it: the old instance stops first.

use std::fmt;
use std::net::IpAddr;

use crate::container::{Container, MountSource, NetworkMode};
use crate::workload::WorkloadSpec;

/// What an instance has that a second one beside it could not have, or would spoil.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exclusive {
    /// A named volume of its own that it may write.
    Volume(String),
    /// A path of the machine that it may write.
    Path(String),
    /// A port of the machine that the engine itself publishes.
    Port {
        /// The port on the machine.
        port: u16,
        /// `tcp`, `udp` or `sctp`.
        protocol: String,
    },
    /// A fixed address in a network.
    Address(IpAddr),
    /// A fixed hardware address.
    HardwareAddress(String),
    /// The machine's own network, with all its ports.
    HostNetwork,
}

impl fmt::Display for Exclusive {
    /// Says it of the service, in words that go after its name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(volume) => write!(f, "writes to the volume `{volume}`"),
            Self::Path(path) => write!(f, "writes to `{path}` of the machine"),
            Self::Port { port, protocol } => {
                write!(f, "has the port {port}/{protocol} of the machine to itself")
            }
            Self::Address(address) => write!(f, "has the fixed address {address}"),
            Self::HardwareAddress(address) => write!(f, "has the fixed MAC address {address}"),
            Self::HostNetwork => f.write_str("has the machine's own network"),
        }
    }
}

impl WorkloadSpec {
    /// Returns why there can never be two instances at once; `None` when there can.
    pub fn exclusive(&self) -> Option<Exclusive> {
        let mut volumes = self.volumes.iter();
        let volume = volumes.find(|volume| !volume.read_only && !volume.shared);
        volume
            .map(|volume| Exclusive::Volume(volume.volume.clone()))
            .or_else(|| self.container.as_deref()?.exclusive())
    }
}

impl Container {
    fn exclusive(&self) -> Option<Exclusive> {
        self.written_path()
            .or_else(|| self.fixed_port())
            .or_else(|| self.fixed_address())
    }

    fn written_path(&self) -> Option<Exclusive> {
        let mut mounts = self.mounts.iter();
        mounts.find_map(|mount| match &mount.source {
            MountSource::Path { path, .. } if !mount.read_only && !mount.shared => {
                Some(Exclusive::Path(path.clone()))
            }
            _ => None,
        })
    }

    fn fixed_port(&self) -> Option<Exclusive> {
        self.published.iter().find_map(|published| {
            Some(Exclusive::Port {
                port: published.port?,
                protocol: published.protocol.clone(),
            })
        })
    }

    fn fixed_address(&self) -> Option<Exclusive> {
        let address = match &self.network {
            NetworkMode::Host => return Some(Exclusive::HostNetwork),
            NetworkMode::None => None,
            NetworkMode::Networks(networks) => networks.values().find_map(|join| {
                let v6 = join.address_v6.map(IpAddr::V6);
                join.address.or(v6).map(Exclusive::Address)
            }),
        };
        let hardware = self.naming.mac_address.clone();
        address.or_else(|| hardware.map(Exclusive::HardwareAddress))
    }
}
