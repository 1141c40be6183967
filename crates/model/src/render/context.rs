//! What the rules of rendering share: the inputs, what was complained of, and what one service is
//! beside the others. No rules of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use towpath_compose::diagnostic::{Diagnostic, nearest};
use towpath_compose::model::{Condition, Service};
use towpath_compose::source::Span;

use super::RenderInputs;
use super::address::Names;
use crate::delivery::{EnvironmentSettings, ServiceSettings};
use crate::id::ServiceName;

/// The inputs and the complaints.
pub(super) struct Context<'a> {
    pub(super) inputs: &'a RenderInputs<'a>,
    pub(super) environment: EnvironmentSettings,
    /// Services that others wait for with `service_completed_successfully`.
    pub(super) jobs: BTreeSet<&'a str>,
    /// Ports under which services are named in the variables of others (`db:5432`).
    pub(super) mentioned: BTreeMap<String, u16>,
    /// The names of services in Compose's network.
    pub(super) names: Rc<Names>,
    found: Vec<Diagnostic>,
}

impl<'a> Context<'a> {
    pub(super) fn new(inputs: &'a RenderInputs<'a>, environment: EnvironmentSettings) -> Self {
        let project = &inputs.loaded.project;
        let names = Rc::new(Names::of(project));
        let jobs = inputs
            .loaded
            .project
            .services
            .values()
            .flat_map(|service| &service.depends_on)
            .filter(|(_, dependency)| dependency.condition == Condition::CompletedSuccessfully)
            .map(|(name, _)| name.as_str())
            .collect();
        Self {
            inputs,
            environment,
            jobs,
            mentioned: names.mentioned_ports(project),
            names,
            found: Vec::new(),
        }
    }

    /// Returns the complaints in the order of their files.
    pub(super) fn into_found(mut self) -> Vec<Diagnostic> {
        let place = |span: &Span| (span.path().to_owned(), span.start);
        self.found
            .sort_by_cached_key(|one| one.span.as_ref().map(place));
        self.found
    }

    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// Refuses what stands at `span`.
    pub(super) fn refuse(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        span: Option<Span>,
        help: impl Into<String>,
    ) {
        let complaint = Diagnostic::error(code, message).help(help);
        self.report(Diagnostic { span, ..complaint });
    }

    /// Warns of what stands at `span`.
    pub(super) fn warn(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        span: Option<Span>,
        help: impl Into<String>,
    ) {
        let complaint = Diagnostic::warning(code, message).help(help);
        self.report(Diagnostic { span, ..complaint });
    }

    /// Returns where a path of keys stands in the Compose files, or the nearest one above it. The
    /// index of a list is written `[0]`.
    pub(super) fn compose(&self, path: &[&str]) -> Option<Span> {
        let path = path.join(".").replace(".[", "[");
        self.inputs.loaded.spans.get(&path).cloned()
    }

    /// Returns where a path of keys stands in the delivery file, or the nearest one above it.
    pub(super) fn delivery(&self, path: &[&str]) -> Option<Span> {
        self.inputs.delivery.span(path).cloned()
    }

    /// Returns where a path of keys stands in the environment's part of the delivery file.
    pub(super) fn in_environment(&self, path: &[&str]) -> Option<Span> {
        let root = ["environments", self.inputs.environment.as_str()];
        self.delivery(&[&root, path].concat())
    }

    /// Complains of a name in the delivery file that the project does not have.
    pub(super) fn unknown(&mut self, what: &str, name: &str, known: &[&str], span: Option<Span>) {
        let help = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => format!("the Compose project has no {what}"),
            None => format!("the Compose project has: {}", known.join(", ")),
        };
        let message = format!("there is no {what} `{name}` in the Compose project");
        self.refuse("unknown-name", message, span, help);
    }
}

/// One service, from all sides.
pub(super) struct Subject<'a> {
    pub(super) name: ServiceName,
    pub(super) service: &'a Service,
    pub(super) settings: ServiceSettings,
    /// Whether it is a release job.
    pub(super) is_job: bool,
    /// Host names that the environment gives it.
    pub(super) domains: Vec<String>,
    /// The port inside that stands for the service: that of Compose, or the usual one of its image.
    pub(super) container_port: Option<u16>,
    /// Whether it listens at all.
    pub(super) listens: bool,
}

impl<'a> Subject<'a> {
    pub(super) fn new(context: &Context<'a>, name: ServiceName, service: &'a Service) -> Self {
        let settings = context.inputs.delivery.file.services.get(&name);
        let settings = settings.cloned().unwrap_or_default();
        let domains = context.environment.domains.get(&name);
        let domains = domains.cloned().unwrap_or_default();
        let is_job = context.jobs.contains(name.as_str());
        let container_port = container_port(context, &name, service, &settings);
        let probes_port = settings
            .health
            .as_ref()
            .is_some_and(|health| health.http.is_some() || health.tcp.is_some());
        let wants_port = container_port.is_some()
            || probes_port
            || settings.protocol.is_some()
            || !domains.is_empty();
        Self {
            listens: settings.listen.unwrap_or(!is_job && wants_port),
            name,
            service,
            settings,
            is_job,
            domains,
            container_port,
        }
    }

    /// Returns the path of an attribute in the Compose file.
    pub(super) fn at<'s>(&'s self, rest: &[&'s str]) -> Vec<&'s str> {
        [&["services", self.name.as_str()], rest].concat()
    }
}

fn container_port(
    context: &Context<'_>,
    name: &ServiceName,
    service: &Service,
    settings: &ServiceSettings,
) -> Option<u16> {
    let published = service.ports.iter().map(|port| port.target);
    let exposed = service
        .expose
        .iter()
        .filter_map(|text| text.split('/').next()?.parse::<u32>().ok());
    let compose = published
        .chain(exposed)
        .find_map(|port| u16::try_from(port).ok());
    settings
        .port
        .or(compose)
        .or_else(|| context.mentioned.get(name.as_str()).copied())
        .or_else(|| {
            let (_, port) = super::well_known::store(service.image.as_deref()?)?;
            Some(port)
        })
}
