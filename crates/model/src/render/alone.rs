//! Services of which there are never two instances at once: which line of the Compose file is the
//! cause, and that nobody asks for more. The rule itself is [`crate::exclusive`]'s.

use std::net::IpAddr;

use towpath_compose::source::Span;

use super::context::{Context, Subject};
use super::draft::DraftService;
use crate::exclusive::Exclusive;

/// Returns where the Compose file asks for what makes the service exclusive.
pub(super) fn place(context: &Context<'_>, subject: &Subject<'_>, why: &Exclusive) -> Option<Span> {
    let service = subject.service;
    let numbered = |key: &str, index: Option<usize>| {
        let index = format!("[{}]", index?);
        context.compose(&subject.at(&[key, &index]))
    };
    let mounted = |source: &str| {
        let mut mounts = service.volumes.iter();
        let index =
            mounts.position(|mount| mount.source.as_deref() == Some(source) && !mount.read_only);
        let own = numbered("volumes", index);
        own.or_else(|| context.compose(&subject.at(&["volumes_from"])))
    };
    match why {
        Exclusive::Volume(source) | Exclusive::Path(source) => mounted(source),
        Exclusive::Port { port, protocol } => {
            let port = port.to_string();
            let mut ports = service.ports.iter();
            let index = ports.position(|one| {
                let spoken = one.protocol.as_deref().unwrap_or("tcp");
                one.published.as_ref() == Some(&port) && spoken.eq_ignore_ascii_case(protocol)
            });
            numbered("ports", index)
        }
        Exclusive::Address(address) => {
            let is_it = |text: &Option<String>| {
                text.as_deref().and_then(|text| text.parse::<IpAddr>().ok()) == Some(*address)
            };
            let (name, _) = service.networks.iter().find(|(_, join)| {
                join.as_ref()
                    .is_some_and(|join| is_it(&join.ipv4_address) || is_it(&join.ipv6_address))
            })?;
            context.compose(&subject.at(&["networks", name]))
        }
        Exclusive::HardwareAddress(_) => context.compose(&subject.at(&["mac_address"])),
        Exclusive::HostNetwork => context.compose(&subject.at(&["network_mode"])),
    }
}

/// Refuses more than one instance of a service of which there are never two.
pub(super) fn refuse_second(
    context: &mut Context<'_>,
    subject: &Subject<'_>,
    service: &DraftService,
) {
    let name = subject.name.as_str();
    let exclusive = service.spec.exclusive();
    if service.replicas <= 1 || !(exclusive.is_some() || subject.is_job) {
        return;
    }
    let span = if context.environment.scale.contains_key(&subject.name) {
        context.in_environment(&["scale", name])
    } else if subject.service.scale.is_some() {
        context.compose(&subject.at(&["scale"]))
    } else {
        context.compose(&subject.at(&["deploy", "replicas"]))
    };
    let Some(exclusive) = exclusive.filter(|_| !subject.is_job) else {
        let message = format!("`{name}` is a release job: it runs once for each deployment");
        context.refuse("too-many", message, span, "write 1, or remove the number");
        return;
    };
    let message = format!("`{name}` {exclusive}: there is never more than one instance of it");
    let help = match &exclusive {
        Exclusive::Volume(name) | Exclusive::Path(name) => format!(
            "write 1; or `volumes: {{ {name}: {{ shared: true }} }}` in towpath.yaml if several instances may write to it at once"
        ),
        Exclusive::Port { .. }
        | Exclusive::Address(_)
        | Exclusive::HardwareAddress(_)
        | Exclusive::HostNetwork => "write 1, or remove what only one instance can have".to_owned(),
    };
    context.refuse("too-many", message, span, help);
}
