//! Loading a project from beginning to end. The steps themselves are in the modules that it calls.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::consistency::{self, Checked};
use crate::diagnostic::{Diagnostic, Diagnostics, nearest};
use crate::environment::Resolver;
use crate::files::Files;
use crate::loader::{Context, Loader, Paths};
use crate::model::{MountKind, Project, Service};
use crate::normalise::normalise;
use crate::options::{LoadOptions, Resolved, Step, resolve};
use crate::project_name::project_name;
use crate::spans::SpanTable;
use crate::typed;
use crate::yaml::{Node, Value};

/// A project, and what is known of it beside what it says.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The project: the enabled services, all resolved.
    pub project: Project,
    /// The services that no active profile enables.
    pub disabled: BTreeMap<String, Service>,
    /// Where each part was written.
    pub spans: SpanTable,
    /// What is accepted but unwise.
    pub warnings: Vec<Diagnostic>,
    /// The Compose files, absolute.
    pub files: Vec<PathBuf>,
    /// What relative paths were relative to.
    pub directory: PathBuf,
    /// The variables that were used: the caller's and those of env files.
    pub environment: BTreeMap<String, String>,
}

/// A model: a project as a tree, before its values have types.
#[derive(Debug, Clone)]
pub struct Model {
    /// The tree.
    pub root: Node,
    /// What is accepted but unwise.
    pub warnings: Vec<Diagnostic>,
}

/// Loads a project.
pub fn load(options: &LoadOptions, files: &dyn Files) -> Result<Loaded, Diagnostics> {
    let (model, resolved) = read(options, files, Variables::FilledIn)?;
    let spans = SpanTable::of(&model.root);
    let mut project = typed::project(&model.root)?;
    let mut profiles = resolved.profiles.clone();
    profiles.extend(wanted_profiles(&project, &options.services)?);
    let disabled = disable(&mut project, &profiles);
    if !options.skipped.contains(&Step::Consistency) {
        consistency::check(&Checked {
            project: &project,
            disabled: &disabled,
            spans: &spans,
        })?;
        for service in project.services.values_mut() {
            if let (Some(scale), Some(deploy)) = (service.scale, &mut service.deploy) {
                deploy.replicas = Some(scale);
            }
        }
    }
    select(&mut project, &options.services);
    Resolver {
        files,
        environment: &resolved.environment,
        spans: &spans,
        directory: &resolved.directory,
        env_files: !options.skipped.contains(&Step::EnvFiles),
    }
    .resolve(&mut project)?;
    if !options.keep_unused {
        drop_unused(&mut project);
    }
    Ok(Loaded {
        project,
        disabled,
        spans,
        warnings: model.warnings,
        files: resolved.files.iter().map(PathBuf::from).collect(),
        directory: PathBuf::from(resolved.directory),
        environment: resolved.environment,
    })
}

/// Loads the model of a project without filling in variables.
pub fn load_model(options: &LoadOptions, files: &dyn Files) -> Result<Model, Diagnostics> {
    read(options, files, Variables::AsWritten).map(|(model, _)| model)
}

/// Whether variables in files are filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variables {
    FilledIn,
    AsWritten,
}

fn read(
    options: &LoadOptions,
    files: &dyn Files,
    variables: Variables,
) -> Result<(Model, Resolved), Diagnostics> {
    let mut resolved = resolve(options, files)?;
    let paths = if options.skipped.contains(&Step::Paths) {
        Paths::Relative
    } else {
        Paths::Absolute
    };
    let loader = Loader::new(files, variables == Variables::FilledIn, paths);
    let loader = if options.skipped.contains(&Step::Schema) {
        loader.unjudged()
    } else {
        loader
    };
    let name = project_name(options, &resolved, &loader)?;
    resolved
        .environment
        .insert("COMPOSE_PROJECT_NAME".to_owned(), name.clone());
    let context = Context {
        directory: &resolved.directory,
        environment: &resolved.environment,
        including: &[],
        scope: 0,
        outer: None,
    };
    let model = loader.model(&resolved.files, context)?;
    let Some(mut root) = model.filter(|root| root.as_map().is_some_and(|map| !map.is_empty()))
    else {
        let file = resolved.files.first().cloned().unwrap_or_default();
        return Err(Diagnostic::error("empty-file", "the Compose file is empty")
            .in_file(file)
            .into());
    };
    if name.is_empty() {
        return Err(
            Diagnostic::error("no-project-name", "the project has no name")
                .help("write `name` at the top of the Compose file")
                .into(),
        );
    }
    match (options.skipped.contains(&Step::Normalisation), variables) {
        (false, Variables::FilledIn) => normalise(&mut root, &name, &resolved.environment)?,
        (false, Variables::AsWritten) => normalise(&mut root, &name, &BTreeMap::new())?,
        (true, Variables::FilledIn) => {
            let entry = root.entry_here(Value::Text(name));
            if let Some(map) = root.as_map_mut() {
                map.insert("name".to_owned(), entry);
            }
        }
        (true, Variables::AsWritten) => {}
    }
    let mut warnings = std::mem::take(&mut resolved.warnings);
    warnings.extend(loader.into_warnings());
    Ok((Model { root, warnings }, resolved))
}

/// The profiles of the services that are asked for by name: asking enables them.
fn wanted_profiles(project: &Project, wanted: &[String]) -> Result<Vec<String>, Diagnostics> {
    let mut profiles = Vec::new();
    for name in wanted {
        let Some(service) = project.services.get(name) else {
            let message = format!("there is no service `{name}`");
            let refused = Diagnostic::error("unknown-service", message);
            let near = nearest(name, project.services.keys().map(String::as_str));
            return Err(match near {
                Some(near) => refused.help(format!("did you mean `{near}`?")),
                None => refused,
            }
            .into());
        };
        profiles.extend(service.profiles.iter().cloned());
    }
    Ok(profiles)
}

/// Takes the services out that no profile enables, and returns them.
fn disable(project: &mut Project, profiles: &[String]) -> BTreeMap<String, Service> {
    let enabled = |own: &[String]| {
        own.is_empty()
            || profiles
                .iter()
                .any(|profile| profile == "*" || own.contains(profile))
    };
    project.jobs.retain(|_, job| enabled(&job.profiles));
    let (enabled, disabled) = std::mem::take(&mut project.services)
        .into_iter()
        .partition(|(_, service)| enabled(&service.profiles));
    project.services = enabled;
    disabled
}

/// Leaves only the services that are wanted and what they depend on.
fn select(project: &mut Project, wanted: &[String]) {
    if wanted.is_empty() {
        return;
    }
    let mut kept = BTreeSet::new();
    let mut open: Vec<String> = wanted.to_vec();
    while let Some(name) = open.pop() {
        if let Some(service) = project.services.get(&name)
            && kept.insert(name)
        {
            open.extend(service.depends_on.keys().cloned());
        }
    }
    project.services.retain(|name, _| kept.contains(name));
}

/// Takes out what no service uses.
fn drop_unused(project: &mut Project) {
    let services: Vec<&Service> = project.services.values().collect();
    let jobs = project.jobs.values();
    let networks: BTreeSet<&String> = services
        .iter()
        .flat_map(|service| service.networks.keys())
        .chain(jobs.clone().flat_map(|job| job.networks.keys()))
        .collect();
    project.networks.retain(|name, _| networks.contains(name));
    let mounts = services.iter().flat_map(|service| &service.volumes);
    let volumes: BTreeSet<&String> = mounts
        .chain(jobs.clone().flat_map(|job| &job.volumes))
        .filter(|mount| mount.kind == MountKind::Volume)
        .filter_map(|mount| mount.source.as_ref())
        .collect();
    project.volumes.retain(|name, _| volumes.contains(name));
    let secrets: BTreeSet<&String> = services
        .iter()
        .flat_map(|service| &service.secrets)
        .chain(jobs.clone().flat_map(|job| &job.secrets))
        .chain(
            services
                .iter()
                .filter_map(|service| service.build.as_ref())
                .flat_map(|build| &build.secrets),
        )
        .map(|secret| &secret.source)
        .collect();
    project.secrets.retain(|name, _| secrets.contains(name));
    let configs: BTreeSet<&String> = services
        .iter()
        .flat_map(|service| &service.configs)
        .chain(jobs.clone().flat_map(|job| &job.configs))
        .map(|config| &config.source)
        .collect();
    project.configs.retain(|name, _| configs.contains(name));
    let models: BTreeSet<&String> = services
        .iter()
        .flat_map(|service| service.models.keys())
        .chain(jobs.flat_map(|job| job.models.keys()))
        .collect();
    project.models.retain(|name, _| models.contains(name));
}
