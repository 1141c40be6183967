//! A first delivery file for a Compose project that has none: what can be guessed, with words on
//! what cannot. It is a starting point for a person, and parses as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use towpath_compose::model::{Condition, Project, Service};

use super::Engine;
use super::dockerfile::{self, Image};
use crate::render::{http_path, shell_line, suggestion, well_known};

/// Writes a commented delivery file for a Compose project.
pub fn scaffold(project: &Project) -> String {
    scaffold_with(project, &Surroundings::default())
}

/// What lies around a Compose file and says how its services are made and run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The texts of the Dockerfiles that could be read, by the path that [`super::dockerfile_of`]
    /// returns for a service.
    pub dockerfiles: BTreeMap<String, String>,
    /// The names of what is in the directories that services are built from, by their paths.
    pub files: BTreeMap<String, BTreeSet<String>>,
    /// What the first environment is to run on.
    pub engine: Engine,
}

/// Tells whether a service has an image or a Dockerfile and no command of its own, so that only an
/// engine for containers knows what to run.
pub fn needs_containers(project: &Project) -> bool {
    project.services.values().any(|service| {
        let stated = [&service.entrypoint, &service.command];
        let program = stated.into_iter().flatten().flatten().next();
        let is_stated = program.is_some_and(|program| !program.starts_with('-'));
        (service.image.is_some() || service.build.is_some()) && !is_stated
    })
}

/// Files that say what a directory is made with, and the command for it: the surest first. A
/// Makefile may do anything, so it is the last.
const MADE_WITH: [(&str, &str); 11] = [
    ("Cargo.toml", "cargo build --release"),
    ("go.mod", "go build -o app ."),
    ("pom.xml", "mvn -q package"),
    ("gradlew", "./gradlew build"),
    ("mix.exs", "mix deps.get && mix release"),
    ("composer.json", "composer install --no-dev"),
    ("Gemfile", "bundle install"),
    (
        "requirements.txt",
        "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt",
    ),
    (
        "pyproject.toml",
        "python3 -m venv .venv && .venv/bin/pip install .",
    ),
    ("package.json", "npm install"),
    ("Makefile", "make"),
];

/// Writes a commented delivery file, with what its surroundings say.
pub fn scaffold_with(project: &Project, surroundings: &Surroundings) -> String {
    let app = app_name(&project.name);
    let mut text = format!(
        "# How the app is delivered. The Compose file says what it is made of; this file says the rest.\n\
         # Every key may be left out. All keys with their defaults: `towpath schema`.\n\
         app: {}\n\n",
        key(&app)
    );
    text.push_str(&environments(project, &app, surroundings.engine));
    text.push_str(&volumes(project));
    if surroundings.engine == Engine::Docker {
        text.push_str(&containers(project));
        return text;
    }
    text.push_str(
        "# How each service runs as a plain process, where that differs from Compose.\nservices:",
    );
    if project.services.is_empty() {
        text.push_str(" {}");
    }
    text.push('\n');
    for (name, service) in &project.services {
        let image = image(service, &surroundings.dockerfiles);
        let build = build(service, &surroundings.files);
        text.push_str(&service_settings(project, name, service, &image, build));
    }
    text
}

/// Writes what the Compose file does not say about services that are containers.
fn containers(project: &Project) -> String {
    let mut text = "# What Compose does not say about a service. Containers are run as Compose has them.\nservices:".to_owned();
    let mut services = String::new();
    for (name, service) in &project.services {
        let line = if is_job(project, name) {
            "irreversible: false   # a release job; true when old code must not run on what it leaves behind"
        } else if service.healthcheck.is_none()
            && !service.ports.is_empty()
            && store_of(service).is_none()
        {
            "# health: { http: /healthz }   # a path that answers when it is ready; else its port is tried"
        } else {
            continue;
        };
        let is_empty = line.starts_with('#');
        let _infallible = writeln!(
            services,
            "  {}:{}\n    {line}",
            key(name),
            if is_empty { " {}" } else { "" }
        );
    }
    text.push_str(if services.is_empty() { " {}\n" } else { "\n" });
    text.push_str(&services);
    text
}

fn environments(project: &Project, app: &str, engine: Engine) -> String {
    let web = project
        .services
        .iter()
        .find(|(_, service)| !service.ports.is_empty() && store_of(service).is_none())
        .map_or("web", |(name, _)| name.as_str());
    format!(
        "# Isolated running copies of the app. `process`: plain processes on this machine; `docker`: containers.\n\
         environments:\n  \
           dev:\n    \
             engine: {engine}\n  \
           # production:\n  \
           #   engine: {engine}\n  \
           #   compose: [compose.yaml, compose.production.yaml]   # merged by Compose's own rules\n  \
           #   variables: {{ HTTP_PORT: \"8081\" }}                   # for ${{HTTP_PORT}} in the Compose files\n  \
           #   domains: {{ {}: {app}.example.com }}\n  \
           #   scale: {{ {}: 2 }}\n  \
           #   rollout: {{ strategy: blue-green, bake: 10m }}\n\n",
        key(web),
        key(web),
        engine = engine.as_str(),
    )
}

fn volumes(project: &Project) -> String {
    let mut text = String::new();
    if project.volumes.is_empty() {
        return text;
    }
    text.push_str(
        "# A service that writes to a volume never has two instances at once, unless the volume is shared.\n\
         volumes:\n",
    );
    for name in project.volumes.keys() {
        let _infallible = writeln!(text, "  {}: {{ shared: false }}", key(name));
    }
    text.push('\n');
    text
}

fn service_settings(
    project: &Project,
    name: &str,
    service: &Service,
    image: &Image,
    build: &str,
) -> String {
    let mut lines: Vec<String> = Vec::new();
    let store = store_of(service);
    if let Some((store, _)) = store {
        lines.push(format!(
            "# A store ({store}): its data stays where it is, and traffic to it is TCP."
        ));
    }
    if is_job(project, name) {
        lines.push(
            "# A release job: it runs once for each deployment, before traffic moves.".to_owned(),
        );
        lines.push(
            "irreversible: false   # true when old code must not run on what it leaves behind"
                .to_owned(),
        );
    }
    lines.extend(process(service, image, build));
    if !is_job(project, name) {
        lines.push(health(service, store.is_some()));
    }
    let is_empty = lines.iter().all(|line| line.trim_start().starts_with('#'));
    let mut text = format!("  {}:{}\n", key(name), if is_empty { " {}" } else { "" });
    for line in lines {
        let _infallible = writeln!(text, "    {line}");
    }
    text
}

/// Returns the lines on how a service runs: active ones only where Compose does not say it.
fn process(service: &Service, image: &Image, build: &str) -> Vec<String> {
    let build = format!(
        "build: {}   # what makes the program, once for each release",
        quoted(build)
    );
    let stated = [&service.entrypoint, &service.command];
    let program = stated.into_iter().flatten().flatten().next();
    let is_stated = program.is_some_and(|program| !program.starts_with('-'));
    let port = container_port(service).or(image.port).unwrap_or_default();
    let guess = suggestion(service).or_else(|| Some(shell_line(image.command.as_ref()?, port)));
    let (mark, command) = match guess {
        Some(line) if is_stated => (
            "# ",
            format!("command: {}   # as Compose has it", quoted(&line)),
        ),
        Some(line) => ("", format!("command: {}", quoted(&line))),
        None => (
            "# ",
            "command: \"./serve --port $PORT\"   # needed: nothing says what the image runs"
                .to_owned(),
        ),
    };
    let mut lines = vec![format!("{mark}process:")];
    if service.build.is_some() {
        let commented = if mark.is_empty() { "  # " } else { "#   " };
        lines.push(format!("{commented}{build}"));
    }
    lines.push(format!("{mark}  {command}"));
    lines
}

/// Returns the command that most likely makes the program, going by the files beside it.
fn build(service: &Service, files: &BTreeMap<String, BTreeSet<String>>) -> &'static str {
    let context = service
        .build
        .as_ref()
        .and_then(|build| build.context.as_ref());
    let names = context.and_then(|context| files.get(context));
    let found = MADE_WITH
        .iter()
        .find(|(file, _)| names.is_some_and(|names| names.contains(*file)));
    found.map_or("./build", |(_, command)| command)
}

fn image(service: &Service, dockerfiles: &BTreeMap<String, String>) -> Image {
    let path = dockerfile::dockerfile_of(service);
    let text = path.and_then(|path| dockerfiles.get(&path));
    let target = service
        .build
        .as_ref()
        .and_then(|build| build.target.as_deref());
    text.map(|text| dockerfile::read(text, target))
        .unwrap_or_default()
}

fn store_of(service: &Service) -> Option<(&'static str, u16)> {
    well_known::store(service.image.as_deref()?)
}

fn is_job(project: &Project, name: &str) -> bool {
    project.services.values().any(|service| {
        let dependency = service.depends_on.get(name);
        dependency.is_some_and(|on| on.condition == Condition::CompletedSuccessfully)
    })
}

fn container_port(service: &Service) -> Option<u16> {
    let port = service.ports.first()?.target;
    u16::try_from(port).ok()
}

/// Returns the line of the health check: that of Compose where it can be had without a command.
fn health(service: &Service, is_store: bool) -> String {
    let test = service
        .healthcheck
        .as_ref()
        .map(|check| check.test.as_slice());
    let words: Vec<String> = match test.and_then(|test| test.split_first()) {
        Some((kind, words)) if kind == "CMD-SHELL" => words
            .join(" ")
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        Some((_, words)) => words.to_vec(),
        None => Vec::new(),
    };
    let listens = is_store || container_port(service).is_some();
    if let Some(path) = http_path(&words, container_port(service)) {
        format!("health: {{ http: {} }}", quoted(&path))
    } else if is_store {
        "health: { tcp: true }".to_owned()
    } else if !words.is_empty() {
        "# health: { command: \"./check\" }   # else the check that Compose has".to_owned()
    } else if listens {
        "health: { tcp: true }   # better: { http: /healthz }, a path that answers when it is ready"
            .to_owned()
    } else {
        "health: { none: true }   # better: { command: \"./check\" }, what exits 0 when it is well"
            .to_owned()
    }
}

/// Turns a project's name into an app's: both are nearly DNS labels.
fn app_name(project: &str) -> String {
    let mapped: String = project
        .to_ascii_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                c
            } else {
                '-'
            }
        })
        .take(63)
        .collect();
    let name = mapped.trim_matches('-');
    if name.is_empty() {
        "app".to_owned()
    } else {
        name.to_owned()
    }
}

/// Writes a name as a YAML key or value that is surely a text.
fn key(name: &str) -> String {
    let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && !matches!(
            name.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if is_word {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// Writes a text in double quotes; JSON's escapes are YAML's too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
