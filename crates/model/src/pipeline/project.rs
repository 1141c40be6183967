//! What a job runs: a project of the services beside it and the job itself, rendered like every
//! other, and then cut off from everything that is not the job's own. Not when it runs
//! ([`super::step()`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use towpath_compose::Loaded;
use towpath_compose::diagnostic::{Diagnostic, Diagnostics, nearest};
use towpath_compose::model::{self, Condition, Dependency, Mount, MountKind, Service};

use super::cache::{Identity, Subject};
use super::endpoint::Endpoint;
use super::run::Job;
use super::{Demands, JOB_SERVICE, glob};
use crate::container::{Container, MountSource, NetworkMode};
use crate::delivery::pipeline::JobSettings;
use crate::delivery::{Delivery, Engine, EnvironmentSettings, Rollout, ServiceSettings};
use crate::id::{Digest, EnvironmentName, ServiceName};
use crate::release::{Restart, Role};
use crate::render::{Draft, RenderInputs, render};
use crate::rollout::Settings;
use crate::workload::Command;

/// Where a container finds the source tree, which it may only read.
const SOURCE: &str = "/source";

/// Where a container has its own copy of it, in which the job runs.
const WORKSPACE: &str = "/workspace";

/// Where a container finds what it is given, before its own copy of the source tree is made.
const GIVEN: &str = "/given";

/// How long a job's environment may go without progress: the run has deadlines of its own, which are
/// shorter.
const PATIENCE: Duration = Duration::from_hours(24 * 7);

/// Everything that the project of a job is made of.
#[derive(Debug, Clone)]
pub struct JobInputs<'a> {
    /// The Compose project of the environment that the job's own is like.
    pub loaded: &'a Loaded,
    /// The delivery file.
    pub delivery: &'a Delivery,
    /// The environment that the job's own is like.
    pub like: &'a EnvironmentName,
    /// The place of the job in the delivery file's list.
    pub place: usize,
    /// The values of the matrix.
    pub variant: &'a BTreeMap<String, String>,
    /// Variables that every job has.
    pub variables: &'a BTreeMap<String, String>,
    /// Where the environment answers that the job looks at.
    pub target: Option<&'a Endpoint>,
    /// The digest of the source tree.
    pub source: &'a Digest,
    /// The digest of every file of it.
    pub tree: &'a BTreeMap<String, Digest>,
    /// The content of the files that the rendering needs.
    pub files: &'a BTreeMap<String, String>,
}

/// Returns where a container has to find the files that it is given; `None` for its working directory
/// itself. A container that makes its workspace from the source tree lays them over that.
pub fn place_of_given(container: &Container) -> Option<&'static str> {
    let has_tree = container.mounts.iter().any(|mount| mount.target == SOURCE);
    has_tree.then_some(GIVEN)
}

/// Returns where the settings of a job stand in the delivery file's list.
pub fn place_of(delivery: &Delivery, job: &Job) -> Option<usize> {
    let mut jobs = delivery.file.pipeline.iter();
    jobs.position(|settings| settings.name == job.name)
}

/// Returns what the cache of a job is called by, where it has one.
pub fn cache_of(
    delivery: &Delivery,
    tree: &BTreeMap<String, Digest>,
    job: &Job,
) -> Option<Identity> {
    let settings = delivery.file.pipeline.get(place_of(delivery, job)?)?;
    let base = delivery.file.environment(&job.like).unwrap_or_default();
    let image = settings.image.as_deref();
    let image = image.map(|image| filled_in(image, &job.variant));
    let service = settings.service.as_ref().map(ServiceName::as_str);
    Some(Identity::of(&Subject {
        label: &job.label(),
        settings: settings.cache.as_ref()?,
        engine: settings.engine().unwrap_or(base.engine),
        place: image.as_deref().or(service).unwrap_or_default(),
        tree,
    }))
}

/// Renders the environment of a job.
pub fn draft(inputs: &JobInputs<'_>) -> Result<Draft, Diagnostics> {
    let pipeline = &inputs.delivery.file.pipeline;
    let Some(settings) = pipeline.get(inputs.place) else {
        return Err(Diagnostic::error("unknown-name", "there is no such job").into());
    };
    cache_has_files(inputs, settings)?;
    let base = inputs.delivery.file.environment(inputs.like);
    let base = base.unwrap_or_default();
    let engine = settings.engine().unwrap_or(base.engine);
    let wanted = wanted(inputs, settings)?;
    let view = View::of(inputs, engine)?;
    let loaded = project(inputs, settings, engine, wanted, &view);
    let delivery = delivery(inputs, settings, engine, base, &loaded, &view);
    let rendered = render(&RenderInputs {
        loaded: &loaded,
        delivery: &delivery,
        environment: inputs.like,
        source: Some(inputs.source.clone()),
        tree: inputs.tree,
        files: inputs.files,
    })?;
    let mut draft = rendered.draft;
    isolate(&mut draft);
    Ok(draft)
}

/// Returns the services that the job names, and all that they depend on.
fn wanted(
    inputs: &JobInputs<'_>,
    settings: &JobSettings,
) -> Result<BTreeMap<String, Service>, Diagnostics> {
    let loaded = inputs.loaded;
    let find = |name: &str| {
        let enabled = loaded.project.services.get(name);
        enabled.or_else(|| loaded.disabled.get(name))
    };
    let place = inputs.place.to_string();
    let mut found = Vec::new();
    let mut check = |name: &ServiceName, path: &[&str]| {
        let name = name.as_str();
        if find(name).is_some() && name != JOB_SERVICE {
            return;
        }
        let known = loaded.project.services.keys().chain(loaded.disabled.keys());
        let help = match nearest(name, known.map(String::as_str)) {
            _ if name == JOB_SERVICE => {
                "the job itself has that name: rename the service".to_owned()
            }
            Some(near) => format!("did you mean `{near}`?"),
            None => "name a service of the Compose files".to_owned(),
        };
        let message = format!("a job cannot have a service `{name}`");
        let path = [&["pipeline", place.as_str()], path].concat();
        let span = inputs.delivery.span(&path);
        found.push(
            Diagnostic::error("unknown-name", message)
                .at_maybe(span)
                .help(help),
        );
    };
    for (index, name) in settings.services.iter().enumerate() {
        check(name, &["services", &index.to_string()]);
    }
    if let Some(name) = &settings.service {
        check(name, &["service"]);
    }
    Diagnostics::check(found)?;
    let mut names: Vec<String> = settings.services.iter().map(ToString::to_string).collect();
    if let Some(own) = settings
        .service
        .as_ref()
        .and_then(|name| find(name.as_str()))
    {
        names.extend(own.depends_on.keys().cloned());
    }
    let mut wanted = BTreeMap::new();
    while let Some(name) = names.pop() {
        if wanted.contains_key(&name) {
            continue;
        }
        if let Some(service) = find(&name) {
            names.extend(service.depends_on.keys().cloned());
            wanted.insert(name, service.clone());
        }
    }
    Ok(wanted)
}

/// Refuses a cache that is kept by files that are not there: it would always count as good as new.
fn cache_has_files(inputs: &JobInputs<'_>, settings: &JobSettings) -> Result<(), Diagnostics> {
    let files = settings.cache.iter().flat_map(|cache| &cache.files);
    let place = inputs.place.to_string();
    let mut found = Vec::new();
    for (index, pattern) in files.enumerate() {
        if inputs.tree.keys().any(|path| glob::matches(pattern, path)) {
            continue;
        }
        let index = index.to_string();
        let path = ["pipeline", &place, "cache", "files", &index];
        let span = inputs.delivery.span(&path);
        let span = span.or_else(|| inputs.delivery.span(&path[..4]));
        let message = format!("no file of the source tree is called `{pattern}`");
        let near = nearest(pattern, inputs.tree.keys().map(String::as_str));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "name a file whose content decides, such as a lock file".to_owned(),
        };
        let unknown = Diagnostic::error("unknown-name", message);
        found.push(unknown.at_maybe(span).help(help));
    }
    Diagnostics::check(found)
}

/// How the job sees the environment that it looks at.
#[derive(Debug, Default)]
struct View {
    url: Option<String>,
    /// The name that stands for the machine.
    name: Option<String>,
}

impl View {
    fn of(inputs: &JobInputs<'_>, engine: Engine) -> Result<Self, Diagnostics> {
        let Some(target) = inputs.target else {
            return Ok(Self::default());
        };
        if engine != Engine::Docker {
            let url = Some(target.url());
            return Ok(Self { url, name: None });
        }
        let Some((url, name)) = target.url_in_container() else {
            let place = inputs.place.to_string();
            let url = target.url();
            let message = format!("a container does not reach {url}, an address of the machine");
            let help = "publish the port on all addresses, as `8080:80`, or give the environment a \
                        domain with `domains`";
            let at = inputs.delivery.span(&["pipeline", &place, "after"]);
            let found = Diagnostic::error("unreachable", message);
            return Err(found.at_maybe(at).help(help).into());
        };
        Ok(Self {
            url: Some(url),
            name: name.map(str::to_owned),
        })
    }
}

/// Makes the project: the services, and the job that waits for them.
fn project(
    inputs: &JobInputs<'_>,
    settings: &JobSettings,
    engine: Engine,
    services: BTreeMap<String, Service>,
    view: &View,
) -> Loaded {
    let mut loaded = inputs.loaded.clone();
    let all = loaded.project.services.iter().chain(&loaded.disabled);
    let own = settings.service.as_ref().and_then(|name| {
        let mut all = all.clone();
        all.find(|(other, _)| *other == name.as_str())
            .map(|(_, service)| service.clone())
    });
    let has_own = own.is_some();
    let mut job = own.unwrap_or_default();
    job.ports.clear();
    job.expose.clear();
    job.healthcheck = None;
    job.container_name = None;
    job.scale = None;
    job.deploy = None;
    job.restart = None;
    job.entrypoint = Some(Vec::new());
    if let Some(image) = &settings.image {
        job.image = Some(filled_in(image, inputs.variant));
    }
    let mut words = words(&settings.command());
    if engine == Engine::Docker && !has_own {
        job.volumes.push(Mount {
            kind: MountKind::Bind,
            source: loaded.directory.to_str().map(str::to_owned),
            target: Some(SOURCE.to_owned()),
            read_only: true,
            ..Mount::default()
        });
        words = in_workspace(&mut job, words);
    }
    job.command = Some(words);
    job.extra_hosts
        .extend(view.name.iter().map(|name| format!("{name}=host-gateway")));
    for (name, value) in variables(inputs, settings, view) {
        job.environment.insert(name, Some(value));
    }
    let waited_for: BTreeSet<&String> = services
        .values()
        .flat_map(|service| &service.depends_on)
        .filter(|(_, dependency)| dependency.condition == Condition::CompletedSuccessfully)
        .map(|(name, _)| name)
        .collect();
    job.depends_on = services
        .keys()
        .map(|name| {
            let condition = if waited_for.contains(name) {
                Condition::CompletedSuccessfully
            } else {
                Condition::Healthy
            };
            let dependency = Dependency {
                condition,
                restart: false,
                required: true,
                extensions: BTreeMap::new(),
            };
            (name.clone(), dependency)
        })
        .collect();
    for (network, join) in services.values().flat_map(|service| &service.networks) {
        let join = join.as_ref().map(|_| model::ServiceNetwork::default());
        job.networks.entry(network.clone()).or_insert(join);
    }
    loaded
        .disabled
        .retain(|name, _| !services.contains_key(name));
    loaded.project.services = services;
    loaded.project.services.insert(JOB_SERVICE.to_owned(), job);
    loaded
}

/// Makes the delivery file: what it says of the services, and of the job.
fn delivery(
    inputs: &JobInputs<'_>,
    settings: &JobSettings,
    engine: Engine,
    base: EnvironmentSettings,
    loaded: &Loaded,
    view: &View,
) -> Delivery {
    let mut delivery = inputs.delivery.clone();
    let file = &mut delivery.file;
    let own = settings.service.as_ref();
    let mut own: ServiceSettings = own
        .and_then(|name| file.services.get(name).cloned())
        .unwrap_or_default();
    own.process.command = Some(settings.command());
    own.process
        .environment
        .extend(variables(inputs, settings, view));
    own.process.source = Some(true);
    own.health = None;
    own.listen = Some(false);
    own.port = None;
    own.protocol = None;
    own.irreversible = false;
    own.secrets.extend(settings.secrets.clone());
    let project = &loaded.project;
    file.services
        .retain(|name, _| project.services.contains_key(name.as_str()));
    file.volumes
        .retain(|name, _| project.volumes.contains_key(name));
    if let Ok(name) = ServiceName::new(JOB_SERVICE) {
        file.services.insert(name, own);
    }
    file.rollout = Rollout::default();
    let environment = EnvironmentSettings {
        engine,
        domains: BTreeMap::new(),
        scale: BTreeMap::new(),
        rollout: Rollout::default(),
        ..base
    };
    file.environments.insert(inputs.like.clone(), environment);
    delivery
}

/// Returns the variables of a job, later ones winning.
fn variables(
    inputs: &JobInputs<'_>,
    settings: &JobSettings,
    view: &View,
) -> BTreeMap<String, String> {
    let mut variables = inputs.variables.clone();
    let url = view.url.iter();
    variables.extend(url.map(|url| ("TOWPATH_URL".to_owned(), url.clone())));
    variables.extend(inputs.variant.clone());
    variables.extend(settings.environment.clone());
    variables
}

fn words(command: &Command) -> Vec<String> {
    match command {
        Command::Shell(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
        Command::Exec(words) => words.clone(),
    }
}

/// Has a command run in a copy of the source tree that it may write to.
fn in_workspace(job: &mut Service, words: Vec<String>) -> Vec<String> {
    job.working_dir = Some(WORKSPACE.to_owned());
    let line = format!(
        "mkdir -p {WORKSPACE} && cp -a {SOURCE}/. {WORKSPACE}/ && cd {WORKSPACE} && \
         if [ -d {GIVEN} ]; then cp -a {GIVEN}/. {WORKSPACE}/; fi && exec \"$@\""
    );
    let shell = ["/bin/sh", "-c", line.as_str(), "job"].map(str::to_owned);
    shell.into_iter().chain(words).collect()
}

/// Puts the values of the matrix into a text that has `${NAME}`.
fn filled_in(text: &str, variant: &BTreeMap<String, String>) -> String {
    variant.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("${{{name}}}"), value)
    })
}

/// Cuts a job's environment off: nothing is published, nothing is shared with another environment,
/// nothing of the machine is written to.
fn isolate(draft: &mut Draft) {
    for (name, service) in &mut draft.services {
        service.routes.clear();
        service.restart_with.clear();
        service.replicas = service.replicas.min(1);
        if let Some(container) = &mut service.spec.container {
            isolate_container(container);
        }
        if name.as_str() == JOB_SERVICE {
            service.role = Role::Job {
                irreversible: false,
            };
            service.restart = Restart::No;
            service.internal = None;
        }
    }
    draft.demands = Demands::default();
    draft.settings = Settings {
        progress_deadline: PATIENCE,
        bake: Duration::ZERO,
        drain: Duration::ZERO,
        drain_upgraded: Duration::ZERO,
        ..Settings::default()
    };
}

/// Cuts a container off from what is not its environment's own: nothing is published, no network or
/// volume is another one's, nothing of the machine is written to.
pub(crate) fn isolate_container(container: &mut Container) {
    container.published.clear();
    container.naming.mac_address = None;
    if let NetworkMode::Networks(networks) = &mut container.network {
        for join in networks.values_mut() {
            join.address = None;
            join.address_v6 = None;
            join.network.external = None;
            join.network.subnets.clear();
        }
    }
    for volume in container.volumes.values_mut() {
        volume.external = None;
        // Another volume with the same options would be the same directory or share.
        volume.driver = None;
        volume.driver_opts.clear();
    }
    for mount in &mut container.mounts {
        if matches!(mount.source, MountSource::Path { .. }) && !mount.read_only {
            mount.source = MountSource::Anonymous;
        }
    }
}
