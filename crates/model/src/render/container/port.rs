//! Who serves the ports of a container: the router those over which HTTP is spoken and those TCP
//! ports whose service may be there twice; the engine itself the others. Not the host names, which
//! are [`crate::render::route`]'s.

use towpath_compose::model::Port;
use towpath_compose::source::Span;

use super::has_host_network;
use crate::container::{Container, PublishedPort};
use crate::id::ServiceName;
use crate::release::RouteSpec;
use crate::render::context::{Context, Subject};
use crate::render::{route, well_known};
use crate::routing::Protocol;
use crate::workload::WorkloadSpec;

/// How the ports of a service are reached from outside.
#[derive(Debug, Default)]
pub(super) struct Ports {
    /// Those that the router serves, and the host names.
    pub(super) routes: Vec<RouteSpec>,
    /// Those that the engine publishes.
    pub(super) published: Vec<PublishedPort>,
}

/// Returns how the ports of the service are reached. `spec` is complete but for them.
pub(super) fn ports(
    context: &mut Context<'_>,
    subject: &Subject<'_>,
    spec: &WorkloadSpec,
) -> Ports {
    let mut ports = Ports::default();
    let container = spec.container.as_deref();
    let is_hosted = container.is_some_and(|container| has_host_network(&container.network));
    if subject.is_job || is_hosted || super::is_cut_off(subject.service) {
        refuse_domains_of_unreachable(context, subject, is_hosted);
        if is_hosted && subject.listens {
            ports.routes = route::of_domains(context, subject);
        }
        return ports;
    }
    let is_alone = spec.exclusive().is_some() || has_udp(subject);
    for (index, port) in subject.service.ports.iter().enumerate() {
        let index = format!("[{index}]");
        let span = context.compose(&subject.at(&["ports", &index]));
        publish(context, subject, port, is_alone, span, &mut ports);
    }
    ports.routes.extend(route::of_domains(context, subject));
    ports
}

fn refuse_domains_of_unreachable(
    context: &mut Context<'_>,
    subject: &Subject<'_>,
    is_hosted: bool,
) {
    if !is_hosted {
        let why = if subject.is_job {
            "it is a release job"
        } else {
            "it has no network"
        };
        route::refuse_domains(context, subject, why);
    }
}

fn has_udp(subject: &Subject<'_>) -> bool {
    let mut ports = subject.service.ports.iter();
    ports.any(|port| protocol(port) != "tcp" && !is_any(port))
}

fn protocol(port: &Port) -> String {
    let stated = port.protocol.as_deref().unwrap_or("tcp");
    stated.to_ascii_lowercase()
}

/// Tells whether a port is published at any free one.
fn is_any(port: &Port) -> bool {
    matches!(port.published.as_deref(), None | Some("" | "0"))
}

fn publish(
    context: &mut Context<'_>,
    subject: &Subject<'_>,
    port: &Port,
    is_alone: bool,
    span: Option<Span>,
    ports: &mut Ports,
) {
    let Ok(target) = u16::try_from(port.target) else {
        let message = format!("`{}` is not a port", port.target);
        context.refuse("bad-value", message, span, "write one from 1 to 65535");
        return;
    };
    let Some(host) = route::host_ip(context, port, span.clone()) else {
        return;
    };
    let transport = protocol(port);
    let name = &subject.name;
    if is_any(port) {
        let message = format!(
            "the port {target} of `{name}` is any free one of the machine: another with every release"
        );
        let help = format!("write `\"8080:{target}\"` to have it served without a gap");
        context.warn("no-published-port", message, span, help);
        ports.published.push(PublishedPort {
            host,
            port: None,
            target,
            protocol: transport,
        });
        return;
    }
    let Some(number) = route::number(context, port, span) else {
        return;
    };
    let spoken = spoken(subject, port, target);
    if transport != "tcp" || (spoken == Protocol::Tcp && is_alone) {
        ports.published.push(PublishedPort {
            host,
            port: Some(number),
            target,
            protocol: transport,
        });
        return;
    }
    let route = RouteSpec {
        host_ip: host,
        port: number,
        protocol: spoken,
        hosts: Vec::new(),
        path_prefix: "/".to_owned(),
        target: (subject.container_port != Some(target)).then_some(target),
    };
    if !ports.routes.contains(&route) {
        ports.routes.push(route);
    }
}

/// Returns what is spoken on a port: as Compose's `app_protocol` says, for the port that stands for
/// the service as the delivery file says, else as is usual for the number and the image.
fn spoken(subject: &Subject<'_>, port: &Port, target: u16) -> Protocol {
    let stated = subject.settings.protocol;
    let stated = stated.filter(|_| subject.container_port == Some(target));
    stated
        .or_else(|| route::application(port))
        .unwrap_or_else(|| {
            let image = subject.service.image.as_deref().unwrap_or_default();
            let is_store = well_known::store(image).is_some_and(|(_, own)| own == target);
            if is_store || well_known::is_tcp(target) || well_known::is_tls(target) {
                Protocol::Tcp
            } else {
                Protocol::Http
            }
        })
}

/// Returns what the port that stands for the service speaks.
pub(in crate::render) fn of_service(subject: &Subject<'_>) -> Protocol {
    let Some(target) = subject.container_port else {
        return subject.settings.protocol.unwrap_or(Protocol::Http);
    };
    let mut ports = subject.service.ports.iter();
    let published = ports.find(|port| port.target == u32::from(target));
    spoken(subject, &published.cloned().unwrap_or_default(), target)
}

/// Refuses ports of the machine that two services, or a service and the router, would have.
pub(in crate::render) fn refuse_conflicts<'s>(
    context: &mut Context<'_>,
    services: impl Iterator<Item = (&'s ServiceName, &'s WorkloadSpec, &'s [RouteSpec])>,
) {
    let mut taken: Vec<(&ServiceName, PublishedPort)> = Vec::new();
    let services: Vec<_> = services.collect();
    for (name, _, routes) in &services {
        taken.extend(routes.iter().map(|route| {
            let port = PublishedPort {
                host: route.host_ip,
                port: Some(route.port),
                target: 0,
                protocol: "tcp".to_owned(),
            };
            (*name, port)
        }));
    }
    for (name, spec, _) in &services {
        let container: Option<&Container> = spec.container.as_deref();
        for port in container.map_or(&[][..], |container| &container.published) {
            let rival = taken.iter().find(|(_, other)| clashes(other, port));
            if let Some((other, _)) = rival {
                let span = context.compose(&["services", name.as_str(), "ports"]);
                let number = port.port.unwrap_or_default();
                let message = if other == name {
                    format!("`{name}` publishes the port {number} twice")
                } else {
                    format!("`{name}` and `{other}` both publish the port {number}")
                };
                let help = "publish one of them on another port";
                context.refuse("conflict", message, span, help);
            }
            taken.push((*name, port.clone()));
        }
    }
}

fn clashes(a: &PublishedPort, b: &PublishedPort) -> bool {
    let overlap = a.host.is_none() || b.host.is_none() || a.host == b.host;
    a.port.is_some() && a.port == b.port && a.protocol == b.protocol && overlap
}
