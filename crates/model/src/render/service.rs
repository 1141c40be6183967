//! One service of a draft, and the draft as a whole. The rules for its parts are beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use towpath_compose::model;
use towpath_compose::source::Span;

use super::context::{Context, Subject, is_path};
use super::draft::{Draft, DraftService};
use super::support::{Support, support};
use super::translate::Translator;
use super::{address, alone, command, container, health, limits, mount, route, settings};
use crate::container::{Image, MountSource};
use crate::delivery::Engine;
use crate::id::ServiceName;
use crate::pipeline::Demands;
use crate::preview::Terms;
use crate::release::{Condition, Restart, Role};
use crate::workload::{Command, WorkloadSpec};

/// Renders all services. The draft is only good when nothing was complained of.
pub(super) fn draft(context: &mut Context<'_>) -> Draft {
    refuse_unknown_names(context);
    refuse_jobs_of_the_file(context);
    let subjects = subjects(context);
    judge_attributes(context, &subjects);
    if context.environment.engine == Engine::Docker {
        container::judge_networks(context);
        container::judge_volumes(context);
    }
    let ports = subjects
        .iter()
        .filter(|subject| subject.listens)
        .filter_map(|subject| Some((subject.name.to_string(), subject.container_port?)))
        .collect();
    let services: BTreeMap<ServiceName, DraftService> = subjects
        .iter()
        .map(|subject| (subject.name.clone(), service(context, subject, &ports)))
        .collect();
    let routes = services
        .iter()
        .map(|(name, service)| (name.clone(), service.routes.clone()))
        .collect();
    route::refuse_conflicts(context, &routes);
    let specs = services.iter();
    let specs = specs.map(|(name, one)| (name, &one.spec, one.routes.as_slice()));
    container::refuse_conflicts(context, specs);
    let secrets = services.values().flat_map(DraftService::reads);
    let has_source = services.values().any(|one| uses_source(&one.spec));
    Draft {
        source: context.inputs.source.clone().filter(|_| has_source),
        secret_sources: mount::sources(&context.inputs.loaded.project, secrets),
        settings: settings::settings(context),
        notify: context.inputs.delivery.file.targets(),
        preview: terms(context),
        seed: None,
        demands: Demands::of(&context.inputs.delivery.file, context.inputs.environment),
        services,
    }
}

/// Returns what is said of previews that are like the environment; `None` when that is nothing.
fn terms(context: &Context<'_>) -> Option<Terms> {
    let terms = context
        .inputs
        .delivery
        .file
        .preview_terms(context.inputs.environment);
    (terms != Terms::default()).then_some(terms)
}

/// Tells whether a container is made of the source tree, or has a part of it mounted.
fn uses_source(spec: &WorkloadSpec) -> bool {
    spec.container.as_deref().is_some_and(|container| {
        let mut mounts = container.mounts.iter();
        matches!(container.image, Image::Built(_))
            || mounts.any(|mount| matches!(mount.source, MountSource::Source { .. }))
    })
}

fn subjects<'a>(context: &mut Context<'a>) -> Vec<Subject<'a>> {
    let mut subjects = Vec::new();
    for (name, service) in &context.inputs.loaded.project.services {
        match ServiceName::new(name.as_str()) {
            Ok(name) => subjects.push(Subject::new(context, name, service)),
            Err(invalid) => {
                let span = context.compose(&["services", name]);
                context.refuse("bad-name", invalid.to_string(), span, invalid.rule);
            }
        }
    }
    subjects
}

/// Refuses services and volumes in the delivery file that the project does not have.
fn refuse_unknown_names(context: &mut Context<'_>) {
    let loaded = context.inputs.loaded;
    let file = &context.inputs.delivery.file;
    let services: Vec<&str> = loaded.project.services.keys().map(String::as_str).collect();
    let volumes: Vec<&str> = loaded.project.volumes.keys().map(String::as_str).collect();
    let domains = context
        .environment
        .domains
        .keys()
        .map(|name| ("domains", name));
    let scale = context.environment.scale.keys().map(|name| ("scale", name));
    let named: Vec<(&str, ServiceName)> = domains
        .chain(scale)
        .map(|(key, name)| (key, name.clone()))
        .collect();
    for (key, name) in named {
        let name = name.as_str();
        let span = context.in_environment(&[key, name]);
        match loaded.disabled.get(name) {
            Some(disabled) => refuse_disabled(context, name, disabled, span),
            None if services.contains(&name) => {}
            None => context.unknown("service", name, &services, span),
        }
    }
    // Settings of a service that other environments have a profile for are no mistake.
    for name in file.services.keys().map(ServiceName::as_str) {
        if !services.contains(&name) && !loaded.disabled.contains_key(name) {
            let span = context.delivery(&["services", name]);
            context.unknown("service", name, &services, span);
        }
    }
    for name in file.volumes.keys() {
        if !volumes.contains(&name.as_str()) && !is_mounted_path(context, name) {
            let span = context.delivery(&["volumes", name]);
            context.unknown("volume", name, &volumes, span);
        }
    }
}

/// Tells whether a name is a path, and one that a service has mounted.
fn is_mounted_path(context: &Context<'_>, name: &str) -> bool {
    let loaded = context.inputs.loaded;
    let path = loaded.directory.join(name);
    let services = loaded.project.services.values();
    let mut mounts = services.flat_map(|service| &service.volumes);
    is_path(name)
        && mounts.any(|mount| mount.source.as_deref().map(Path::new) == Some(path.as_path()))
}

fn refuse_disabled(
    context: &mut Context<'_>,
    name: &str,
    service: &model::Service,
    span: Option<Span>,
) {
    let message = format!("no active profile enables the service `{name}`");
    let environment = context.inputs.environment;
    let help = format!(
        "write `profiles: [{}]` for the environment `{environment}`",
        service.profiles.join(", ")
    );
    context.refuse("not-enabled", message, span, help);
}

fn refuse_jobs_of_the_file(context: &mut Context<'_>) {
    if let Some(name) = context.inputs.loaded.project.jobs.keys().next() {
        let span = context.compose(&["jobs", name]);
        let help = "write a service, and wait for it with `service_completed_successfully`";
        context.refuse("not-supported", "`jobs` are not supported yet", span, help);
    }
}

/// What becomes of an attribute, and the services that miss it.
type Judged<'s> = (Support, Vec<&'s Subject<'s>>);

/// Refuses or warns of the attributes that the engine does not honour, each once with all the
/// services that have it.
fn judge_attributes(context: &mut Context<'_>, subjects: &[Subject<'_>]) {
    let engine = context.environment.engine;
    let title = match engine {
        Engine::Process => "process",
        Engine::Docker => "Docker",
    };
    let mut found: BTreeMap<String, Judged<'_>> = BTreeMap::new();
    for subject in subjects {
        for (attribute, value) in attributes(subject.service) {
            let support = support(engine, &attribute, &value);
            let entry = found
                .entry(attribute)
                .or_insert_with(|| (support, Vec::new()));
            if matches!(support, Support::Ignored(_) | Support::Refused(_)) {
                entry.0 = support;
                entry.1.push(subject);
            }
        }
    }
    for (attribute, (support, subjects)) in found {
        let Some(first) = subjects.first() else {
            continue;
        };
        let keys: Vec<&str> = attribute.split('.').collect();
        let span = context.compose(&first.at(&keys));
        let names: Vec<String> = subjects
            .iter()
            .map(|subject| format!("`{}`", subject.name))
            .collect();
        let names = names.join(", ");
        match support {
            Support::Refused(why) => {
                let message =
                    format!("the {title} engine cannot give {names} what `{attribute}` asks for");
                context.refuse("not-supported", message, span, why);
            }
            Support::Ignored(why) => {
                let message =
                    format!("`{attribute}` of {names} has no effect on the {title} engine");
                context.warn("ignored", message, span, why);
            }
            Support::Honoured | Support::Translated(_) | Support::Needless(_) => {}
        }
    }
}

/// Returns the attributes that a service has, those of `deploy` and `build` as `deploy.name`.
fn attributes(service: &model::Service) -> Vec<(String, Value)> {
    let Ok(Value::Object(map)) = serde_json::to_value(service) else {
        return Vec::new();
    };
    let mut attributes = Vec::new();
    for (key, value) in map.into_iter().filter(|(key, _)| !key.starts_with("x-")) {
        if let Value::Object(parts) = &value
            && matches!(key.as_str(), "build" | "deploy")
        {
            let parts = parts.iter().filter(|(part, _)| !part.starts_with("x-"));
            attributes.extend(parts.map(|(part, value)| (format!("{key}.{part}"), value.clone())));
        }
        // `deploy` itself means nothing.
        if key != "deploy" {
            attributes.push((key, value));
        }
    }
    attributes
}

fn service(
    context: &mut Context<'_>,
    subject: &Subject<'_>,
    ports: &BTreeMap<String, u16>,
) -> DraftService {
    let made = match context.environment.engine {
        Engine::Process => process(context, subject, ports),
        Engine::Docker => container::render(context, subject),
    };
    let mut service = DraftService {
        spec: made.spec,
        secrets: made.secrets,
        replicas: replicas(context, subject),
        depends_on: depends_on(context, subject),
        restart_with: restart_with(subject),
        role: role(context, subject),
        restart: restart(subject),
        routes: made.routes,
        internal: subject.listens.then(|| route::internal(context, subject)),
        policy: route::policy(&subject.settings.policy),
        exclusive_at: None,
    };
    let exclusive = service.spec.exclusive();
    let place = exclusive.and_then(|why| alone::place(context, subject, &why));
    service.exclusive_at = place.map(|span| context.relative(&span));
    alone::refuse_second(context, subject, &service);
    service
}

/// Renders a service as a process.
fn process(
    context: &mut Context<'_>,
    subject: &Subject<'_>,
    ports: &BTreeMap<String, u16>,
) -> container::Parts {
    let process = &subject.settings.process;
    let uses_source = command::uses_source(context, subject);
    let directory = command::working_directory(context, subject);
    let translator = Translator::new(context, ports, subject, directory.as_deref());
    // A service without a command was complained of: the draft is never used.
    let command = command::command(context, subject, &translator)
        .unwrap_or_else(|| Command::Exec(Vec::new()));
    let spec = WorkloadSpec {
        environment: environment(context, subject, &translator),
        working_directory: directory,
        source: context.inputs.source.clone().filter(|_| uses_source),
        build: process.build.clone(),
        user: process
            .user
            .clone()
            .or_else(|| subject.service.user.clone()),
        configs: mount::configs(context, subject),
        volumes: mount::volumes(context, subject),
        container_port: subject.container_port,
        listens: subject.listens,
        health: health::check(context, subject, &translator),
        stop_signal: limits::stop_signal(context, subject),
        stop_grace: limits::stop_grace(subject),
        limits: limits::limits(context, subject),
        ..WorkloadSpec::new(subject.name.clone(), command)
    };
    container::Parts {
        spec,
        secrets: mount::secrets(context, subject),
        routes: route::routes(context, subject),
    }
}

/// Returns the plain variables: Compose's, with addresses and paths made to work, and over
/// them the delivery file's.
fn environment(
    context: &mut Context<'_>,
    subject: &Subject<'_>,
    translator: &Translator<'_>,
) -> BTreeMap<String, String> {
    let stated = subject.service.environment.iter();
    let mut variables: BTreeMap<String, String> = stated
        .filter_map(|(name, value)| {
            let value = translator.text(value.as_ref()?);
            Some((name.clone(), value))
        })
        .collect();
    name_hosts(context, subject, translator, &mut variables);
    variables.extend(subject.settings.process.environment.clone());
    variables
}

/// Replaces the bare name of a service, as in `DB_HOST=db`, and the port beside it, as in
/// `DB_PORT=5432`.
fn name_hosts(
    context: &mut Context<'_>,
    subject: &Subject<'_>,
    translator: &Translator<'_>,
    variables: &mut BTreeMap<String, String>,
) {
    let named: Vec<address::BareName> = variables
        .iter()
        .filter_map(|(name, value)| address::bare_name(name, value, &context.names))
        .collect();
    for bare in named {
        let host = format!("${{{}_HOST}}", bare.prefix);
        let port = format!("${{{}_PORT}}", bare.prefix);
        let usual = translator
            .port_of(&bare.service)
            .map(|port| port.to_string());
        let beside = variables.get_mut(&bare.port_variable);
        if let Some(stated) = beside.filter(|stated| usual.as_ref() == Some(*stated)) {
            *stated = port;
        } else {
            let span = context.compose(&subject.at(&["environment", &bare.variable]));
            let message = format!(
                "`{}` is no host name for a process: `{}` gets `{host}` instead",
                bare.service, bare.variable
            );
            let help = format!(
                "give the program `{port}` too, under `process.environment` in towpath.yaml"
            );
            context.warn("host-translated", message, span, help);
        }
        variables.insert(bare.variable, host);
    }
}

fn replicas(context: &Context<'_>, subject: &Subject<'_>) -> u32 {
    let scale = context.environment.scale.get(&subject.name).copied();
    let deploy = subject.service.deploy.as_ref();
    let is_global = deploy.is_some_and(|deploy| deploy.mode.as_deref() == Some("global"));
    let compose = if is_global {
        1
    } else {
        subject.service.replicas()
    };
    scale.unwrap_or(compose)
}

/// Returns what must be true of others; a dependency that is not required and not there is none.
fn depends_on(
    context: &mut Context<'_>,
    subject: &Subject<'_>,
) -> BTreeMap<ServiceName, Condition> {
    let mut conditions = BTreeMap::new();
    for (name, dependency) in &subject.service.depends_on {
        let is_there = context.inputs.loaded.project.services.contains_key(name);
        match ServiceName::new(name.as_str()) {
            Ok(name) if is_there => {
                let condition = match dependency.condition {
                    model::Condition::Started => Condition::Started,
                    model::Condition::Healthy => Condition::Healthy,
                    model::Condition::CompletedSuccessfully => Condition::Completed,
                };
                conditions.insert(name, condition);
            }
            _ if dependency.required => {
                let span = context.compose(&subject.at(&["depends_on", name]));
                let message = format!("`{}` depends on `{name}`, which is not there", subject.name);
                let help = "add the service or its profile, or write `required: false`";
                context.refuse("no-dependency", message, span, help);
            }
            Ok(_) | Err(_) => {}
        }
    }
    conditions
}

/// Returns the services whose replacement replaces this one too. A job runs with every release
/// anyway.
fn restart_with(subject: &Subject<'_>) -> BTreeSet<ServiceName> {
    let dependencies = subject.service.depends_on.iter();
    dependencies
        .filter(|(_, dependency)| dependency.restart && !subject.is_job)
        .filter_map(|(name, _)| ServiceName::new(name.as_str()).ok())
        .collect()
}

fn role(context: &mut Context<'_>, subject: &Subject<'_>) -> Role {
    let irreversible = subject.settings.irreversible;
    if subject.is_job {
        return Role::Job { irreversible };
    }
    if irreversible {
        let name = subject.name.as_str();
        let span = context.delivery(&["services", name, "irreversible"]);
        let message =
            format!("`{name}` is not a release job: nothing it does could be irreversible");
        let help = "let the services that need it wait for it with `condition: service_completed_successfully`";
        context.refuse("not-a-job", message, span, help);
    }
    Role::Service
}

/// Returns whether an instance that ends is started again. Where Compose does not say, a service
/// is kept running (as with `deploy`), not left stopped (as on a laptop).
fn restart(subject: &Subject<'_>) -> Restart {
    if subject.is_job {
        return Restart::No;
    }
    let deploy = subject.service.deploy.as_ref();
    let policy = deploy.and_then(|deploy| deploy.restart_policy.as_ref());
    let stated = policy
        .and_then(|policy| policy.condition.as_deref())
        .or(subject.service.restart.as_deref());
    match stated {
        Some("none" | "no") => Restart::No,
        Some(text) if text.starts_with("on-failure") => Restart::OnFailure,
        _ => Restart::Always,
    }
}
