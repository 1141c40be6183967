//! How requests from outside reach a service: Compose's `ports` and the environment's `domains`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use towpath_compose::model::Port;
use towpath_compose::source::Span;

use super::container;
use super::context::{Context, Subject};
use super::well_known;
use crate::delivery::{Engine, Policy};
use crate::id::ServiceName;
use crate::release::RouteSpec;
use crate::routing::{Protocol, RoutePolicy};

/// Returns the routes of a service.
pub(super) fn routes(context: &mut Context<'_>, subject: &Subject<'_>) -> Vec<RouteSpec> {
    let mut routes = Vec::new();
    if !subject.listens {
        refuse_domains(context, subject, "it does not listen");
        return routes;
    }
    for (index, port) in subject.service.ports.iter().enumerate() {
        let index = format!("[{index}]");
        let span = context.compose(&subject.at(&["ports", &index]));
        let route = published(context, subject, port, span);
        routes.extend(route.filter(|route| !routes.contains(route)));
    }
    routes.extend(of_domains(context, subject));
    routes
}

/// Returns the route of the host names that the environment gives a service, where it has any.
pub(super) fn of_domains(context: &mut Context<'_>, subject: &Subject<'_>) -> Vec<RouteSpec> {
    if subject.domains.is_empty() {
        return Vec::new();
    }
    if internal(context, subject) == Protocol::Tcp {
        refuse_domains(context, subject, "it does not speak HTTP");
        return Vec::new();
    }
    let route = RouteSpec {
        host_ip: None,
        port: context.environment.http_port(),
        protocol: Protocol::Http,
        hosts: subject
            .domains
            .iter()
            .map(|host| host.to_ascii_lowercase())
            .collect(),
        path_prefix: "/".to_owned(),
        target: None,
    };
    vec![route]
}

/// Refuses the host names of a service that cannot have any.
pub(super) fn refuse_domains(context: &mut Context<'_>, subject: &Subject<'_>, why: &str) {
    let name = subject.name.as_str();
    if !subject.domains.is_empty() {
        let span = context.in_environment(&["domains", name]);
        let message = format!("`{name}` cannot have a host name: {why}");
        let help =
            "remove the host name, or write `listen: true` and `protocol: http` for the service";
        context.refuse("no-domain", message, span, help);
    }
}

/// Returns what a service speaks with the others.
pub(super) fn internal(context: &Context<'_>, subject: &Subject<'_>) -> Protocol {
    if context.environment.engine == Engine::Docker {
        return container::port_protocol(subject);
    }
    let stated = subject.settings.protocol;
    let port = subject.container_port;
    let published = subject
        .service
        .ports
        .iter()
        .find(|published| port.map(u32::from) == Some(published.target));
    stated
        .or_else(|| application(published?))
        .unwrap_or_else(|| match port {
            Some(port) if well_known::is_tcp(port) => Protocol::Tcp,
            _ => Protocol::Http,
        })
}

/// Reads Compose's `app_protocol`.
pub(super) fn application(port: &Port) -> Option<Protocol> {
    let name = port.app_protocol.as_deref()?.to_ascii_lowercase();
    Some(match name.as_str() {
        "http" | "http2" | "h2c" | "grpc" | "ws" | "kubernetes.io/h2c" | "kubernetes.io/ws" => {
            Protocol::Http
        }
        _ => Protocol::Tcp,
    })
}

/// Returns the route of a published port, or says why there is none.
fn published(
    context: &mut Context<'_>,
    subject: &Subject<'_>,
    port: &Port,
    span: Option<Span>,
) -> Option<RouteSpec> {
    let name = subject.name.as_str();
    if port
        .protocol
        .as_deref()
        .is_some_and(|protocol| !protocol.eq_ignore_ascii_case("tcp"))
    {
        let message = "the router carries TCP, not UDP".to_owned();
        context.refuse("not-supported", message, span, "remove the port");
        return None;
    }
    if subject.container_port.map(u32::from) != Some(port.target) {
        let message = format!(
            "`{name}` has more than one port: a process gets one `PORT`, which stands for {}",
            subject
                .container_port
                .map_or_else(|| "none".to_owned(), |port| port.to_string())
        );
        if subject.settings.port.is_some() {
            let help = format!("the port {} is not served", port.target);
            context.warn("second-port", message, span, help);
        } else {
            let port = subject.container_port.unwrap_or_default();
            let help = format!(
                "write `services.{name}.port: {port}` in towpath.yaml to serve that one alone"
            );
            context.refuse("second-port", message, span, help);
        }
        return None;
    }
    let number = published_port(context, subject, port, span.as_ref())?;
    let host_ip = host_ip(context, port, span)?;
    Some(RouteSpec {
        host_ip,
        port: number,
        protocol: internal(context, subject),
        hosts: Vec::new(),
        path_prefix: "/".to_owned(),
        target: None,
    })
}

/// Reads the address of the machine that a port is published on: `Some(None)` is all of them.
#[expect(
    clippy::option_option,
    reason = "outside is what was complained of, inside is what Compose leaves out"
)]
pub(super) fn host_ip(
    context: &mut Context<'_>,
    port: &Port,
    span: Option<Span>,
) -> Option<Option<IpAddr>> {
    let Some(ip) = port.host_ip.as_deref().filter(|ip| !ip.is_empty()) else {
        return Some(None);
    };
    match ip.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => Some(None),
        Ok(address) => Some(Some(address)),
        Err(_) => {
            let message = format!("`{ip}` is not an IP address");
            context.refuse("bad-value", message, span, "write one such as `127.0.0.1`");
            None
        }
    }
}

fn published_port(
    context: &mut Context<'_>,
    subject: &Subject<'_>,
    port: &Port,
    span: Option<&Span>,
) -> Option<u16> {
    let name = subject.name.as_str();
    let target = port.target;
    if !matches!(port.published.as_deref(), None | Some("" | "0")) {
        return number(context, port, span.cloned());
    }
    let message =
        format!("the port {target} of `{name}` has no fixed number outside: it is not published");
    let help =
        format!("write `\"8080:{target}\"`, or give the service a host name under `domains`");
    context.warn("no-published-port", message, span.cloned(), help);
    None
}

/// Reads the number of a published port.
pub(super) fn number(context: &mut Context<'_>, port: &Port, span: Option<Span>) -> Option<u16> {
    let text = port.published.as_deref().unwrap_or_default();
    let number = text.parse::<u16>().ok().filter(|number| *number > 0);
    if number.is_none() {
        let message = format!("`{text}` is not one port: a route has one");
        let help = format!("write `\"8080:{}\"`", port.target);
        context.refuse("bad-value", message, span, help);
    }
    number
}

/// Refuses routes of different services that could not be told apart.
pub(super) fn refuse_conflicts(
    context: &mut Context<'_>,
    routes: &BTreeMap<ServiceName, Vec<RouteSpec>>,
) {
    let all: Vec<(&ServiceName, &RouteSpec)> = routes
        .iter()
        .flat_map(|(service, routes)| routes.iter().map(move |route| (service, route)))
        .collect();
    for (index, (service, route)) in all.iter().enumerate() {
        let earlier = all.iter().take(index);
        let rival = earlier
            .filter(|(other, _)| other != service)
            .find_map(|(other, theirs)| Some((other, clash(theirs, route)?)));
        let Some((other, clash)) = rival else {
            continue;
        };
        let (span, message, help) = match clash {
            Clash::Port => (
                context.compose(&["services", service.as_str(), "ports"]),
                format!(
                    "`{service}` and `{other}` both publish the port {}",
                    route.port
                ),
                "publish one of them on another port, or set `http_port` of the environment to another one",
            ),
            Clash::Host(host) => (
                context.in_environment(&["domains", service.as_str()]),
                format!("`{service}` and `{other}` both have the host name `{host}`"),
                "give it to one of them",
            ),
        };
        context.refuse("conflict", message, span, help);
    }
}

enum Clash<'r> {
    Port,
    Host(&'r str),
}

fn clash<'r>(a: &'r RouteSpec, b: &RouteSpec) -> Option<Clash<'r>> {
    let overlap = a.host_ip.is_none() || b.host_ip.is_none() || a.host_ip == b.host_ip;
    if a.port != b.port || !overlap {
        return None;
    }
    if a.protocol == Protocol::Tcp || b.protocol == Protocol::Tcp {
        return Some(Clash::Port);
    }
    if a.hosts.is_empty() && b.hosts.is_empty() {
        return Some(Clash::Port);
    }
    let host = a.hosts.iter().find(|host| b.hosts.contains(host))?;
    Some(Clash::Host(host))
}

/// Returns the limits and timeouts of a service's routes.
pub(super) fn policy(settings: &Policy) -> RoutePolicy {
    let default = RoutePolicy::default();
    let milliseconds = |time: Option<std::time::Duration>, default: u64| {
        time.map_or(default, |time| {
            u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
        })
    };
    RoutePolicy {
        connect_timeout_ms: milliseconds(settings.connect_timeout, default.connect_timeout_ms),
        response_timeout_ms: milliseconds(settings.response_timeout, default.response_timeout_ms),
        idle_timeout_ms: milliseconds(settings.idle_timeout, default.idle_timeout_ms),
        max_body_bytes: settings.max_body.unwrap_or(default.max_body_bytes),
        rate_limit_per_s: settings.rate_limit.unwrap_or(default.rate_limit_per_s),
        sticky: settings.sticky.unwrap_or(default.sticky),
    }
}
