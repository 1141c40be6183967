//! What a container may do and see of the machine, and the names that it has and knows.

use crate::container::{Isolation, Naming};
use crate::render::context::Subject;

/// Returns what the container may do and see.
pub(super) fn isolation(subject: &Subject<'_>) -> Isolation {
    let service = subject.service;
    let devices = service.devices.iter().map(|device| {
        let target = device.target.as_ref().unwrap_or(&device.source);
        let permissions = device.permissions.as_deref().unwrap_or("rwm");
        format!("{}:{target}:{permissions}", device.source)
    });
    Isolation {
        privileged: service.privileged,
        read_only: service.read_only,
        cap_add: service.cap_add.clone(),
        cap_drop: service.cap_drop.clone(),
        security_opt: service.security_opt.clone(),
        group_add: service.group_add.clone(),
        pid: service.pid.clone(),
        ipc: service.ipc.clone(),
        uts: service.uts.clone(),
        userns: service.userns_mode.clone(),
        cgroup: service.cgroup.clone(),
        cgroup_parent: service.cgroup_parent.clone(),
        runtime: service.runtime.clone(),
        devices: devices.collect(),
        device_cgroup_rules: service.device_cgroup_rules.clone(),
        device_requests: super::device_requests(subject),
        sysctls: service.sysctls.clone(),
        storage_opt: service.storage_opt.clone(),
    }
}

/// Returns the names that the container has and knows.
pub(super) fn naming(subject: &Subject<'_>) -> Naming {
    let service = subject.service;
    let mut joins = service.networks.values().flatten();
    let of_network = joins.find_map(|join| join.mac_address.clone());
    Naming {
        hostname: service.hostname.clone(),
        domainname: service.domainname.clone(),
        extra_hosts: service
            .extra_hosts
            .iter()
            .filter_map(|line| host(line))
            .collect(),
        dns: service.dns.clone(),
        dns_opt: service.dns_opt.clone(),
        dns_search: service.dns_search.clone(),
        mac_address: service.mac_address.clone().or(of_network),
    }
}

/// Reads a line for `/etc/hosts`, which the loader writes `name=address`.
pub(super) fn host(line: &str) -> Option<(String, String)> {
    let (name, address) = line.split_once('=').or_else(|| line.split_once(':'))?;
    let address = address.trim_matches(['[', ']']);
    Some((name.to_owned(), address.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_the_hosts_has_a_name_and_an_address() {
        let read = |line| host(line).unwrap();
        assert_eq!(read("a=10.0.0.1"), ("a".to_owned(), "10.0.0.1".to_owned()));
        assert_eq!(read("a=[::1]"), ("a".to_owned(), "::1".to_owned()));
        assert_eq!(
            read("h=host-gateway"),
            ("h".to_owned(), "host-gateway".to_owned())
        );
        assert_eq!(host("nothing"), None);
    }
}
