//! What the rules of rendering share: the inputs, what was complained of, and what one service is
//! beside the others. No rules of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use towpath_compose::diagnostic::{Diagnostic, nearest};
use towpath_compose::model::{Condition, Service};
use towpath_compose::source::Span;

use super::RenderInputs;
use super::address::Names;
use crate::delivery::{Engine, EnvironmentSettings, ServiceSettings};
use crate::id::{Digest, ServiceName};

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

    /// Writes a place with its file relative to the project directory (`compose.yaml:12:7`).
    pub(super) fn relative(&self, span: &Span) -> String {
        let directory = &self.inputs.loaded.directory;
        let file = span.path();
        let file = file.strip_prefix(directory).unwrap_or(file);
        format!(
            "{}:{}:{}",
            file.display(),
            span.start.line,
            span.start.column
        )
    }

    /// Returns a path relative to the source tree (`.` for the tree itself); `None` outside of it.
    pub(super) fn in_tree(&self, path: &Path) -> Option<String> {
        let relative = path.strip_prefix(&self.inputs.loaded.directory).ok()?;
        Some(match relative.to_str()? {
            "" => ".".to_owned(),
            relative => relative.trim_end_matches('/').to_owned(),
        })
    }

    /// Returns the digest of what the source tree has at these paths; `None` when that is not known.
    pub(super) fn content(&self, paths: &[String]) -> Option<Digest> {
        let mut text = String::new();
        for (file, digest) in self.inputs.tree {
            if paths.iter().any(|path| is_below(file, path)) {
                text.extend([file, "\0", digest.as_str(), "\n"]);
            }
        }
        (!self.inputs.tree.is_empty()).then(|| Digest::of(text.as_bytes()))
    }

    /// Tells whether the release's own copy of the source tree has something at a path. True when
    /// nobody knows what the tree has.
    pub(super) fn is_released(&self, path: &str) -> bool {
        let tree = self.inputs.tree;
        tree.is_empty() || tree.keys().any(|file| is_below(file, path))
    }

    /// Tells whether the source tree has a file at a path. When nobody knows what the tree has,
    /// a name with an extension is taken for one.
    pub(super) fn is_file(&self, path: &str) -> bool {
        let tree = self.inputs.tree;
        if tree.is_empty() {
            return Path::new(path).extension().is_some();
        }
        tree.contains_key(path)
    }

    /// Returns whether the delivery file lets several instances write to a path of the machine;
    /// `None` when it does not name the path.
    pub(super) fn shared_path(&self, path: &str) -> Option<bool> {
        let volumes = &self.inputs.delivery.file.volumes;
        let mut named = volumes.iter().filter(|(name, _)| is_path(name));
        named
            .find(|(name, _)| self.inputs.loaded.directory.join(name) == Path::new(path))
            .map(|(_, settings)| settings.shared)
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

/// Tells whether a name of the delivery file is a path, and not the name of a volume.
pub(super) fn is_path(name: &str) -> bool {
    name.starts_with(['.', '/'])
}

fn is_below(file: &str, path: &str) -> bool {
    path == "." || Path::new(file).starts_with(path)
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
        let is_container = context.environment.engine == Engine::Docker;
        let container_port = if is_container {
            port_of_container(service, settings.port)
        } else {
            container_port(context, &name, service, &settings)
        };
        let probes_port = settings
            .health
            .as_ref()
            .is_some_and(|health| health.http.is_some() || health.tcp.is_some());
        let is_asked = probes_port || settings.protocol.is_some() || !domains.is_empty();
        // A container opens its own port: without one there is nothing to reach.
        let wants_port = container_port.is_some() || (is_asked && !is_container);
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

/// Returns the port that stands for a container: what the delivery file says, the first TCP port of
/// `ports` and `expose`, the usual one of a store's image.
pub(super) fn port_of_container(service: &Service, stated: Option<u16>) -> Option<u16> {
    let is_tcp =
        |protocol: Option<&str>| protocol.is_none_or(|one| one.eq_ignore_ascii_case("tcp"));
    let published = service.ports.iter();
    let published = published
        .filter(|port| is_tcp(port.protocol.as_deref()))
        .map(|port| port.target);
    let exposed = service.expose.iter().filter_map(|text| {
        let (port, protocol) = match text.split_once('/') {
            Some((port, protocol)) => (port, Some(protocol)),
            None => (text.as_str(), None),
        };
        is_tcp(protocol).then(|| port.parse::<u32>().ok())?
    });
    let mut compose = published
        .chain(exposed)
        .filter_map(|port| u16::try_from(port).ok());
    let store = || {
        let (_, port) = super::well_known::store(service.image.as_deref()?)?;
        Some(port)
    };
    if super::container::is_cut_off(service) {
        return None;
    }
    stated.or_else(|| compose.next()).or_else(store)
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
