//! What one service may say together, and whether what it refers to is there.

use std::collections::BTreeMap;

use super::Checked;
use crate::diagnostic::{Diagnostic, nearest};
use crate::model::{Build, Decimal, Deploy, MountKind, Service};

/// The most references that what was meant is looked for.
const SUGGESTIONS: usize = 100;

/// One service that is being checked.
struct Check<'c, 'p> {
    checked: &'c Checked<'p>,
    name: &'c str,
    service: &'c Service,
    found: &'c mut Vec<Diagnostic>,
}

/// Checks one service.
pub(super) fn check(
    checked: &Checked<'_>,
    name: &str,
    service: &Service,
    found: &mut Vec<Diagnostic>,
) {
    let mut check = Check {
        checked,
        name,
        service,
        found,
    };
    check.source();
    check.references();
    check.dependencies();
    check.network_mode();
    check.healthcheck();
    check.limits();
    check.scale();
    check.watches();
    check.mounts();
}

impl Check<'_, '_> {
    fn report(&mut self, code: &'static str, key: &str, message: String) {
        let path = format!("services.{}.{key}", self.name);
        let diagnostic = self.checked.error(code, &path, message);
        self.found.push(diagnostic);
    }

    fn source(&mut self) {
        let (name, service) = (self.name, self.service);
        let Some(build) = &service.build else {
            if service.image.is_none() && service.provider.is_none() {
                let message = format!("service `{name}` needs `image` or `build`");
                self.report("no-image", "image", message);
            }
            return;
        };
        if build.dockerfile.is_some() && build.dockerfile_inline.is_some() {
            let message = "`dockerfile` and `dockerfile_inline` exclude one another".to_owned();
            self.report("exclusive-keys", "build.dockerfile_inline", message);
        }
        self.contexts(build);
        if let Some(platform) = &service.platform
            && !build.platforms.is_empty()
            && !build.platforms.contains(platform)
        {
            let message =
                format!("`build.platforms` has to contain `platform`, which is {platform}");
            self.report("platform-not-built", "build.platforms", message);
        }
    }

    fn contexts(&mut self, build: &Build) {
        for (context, target) in &build.additional_contexts {
            let Some(target) = target.strip_prefix("service:") else {
                continue;
            };
            let key = format!("build.additional_contexts.{context}");
            match self.checked.project.services.get(target) {
                None => {
                    let message = format!("there is no service `{target}` for context `{context}`");
                    self.report("unknown-service", &key, message);
                }
                Some(service) if service.build.is_none() => {
                    let message =
                        format!("context `{context}` needs service `{target}` to have `build`");
                    self.report("not-built", &key, message);
                }
                Some(_) => {}
            }
        }
    }

    /// Reports when `name` is not among `known`, which are of one `kind`.
    fn refer<T>(&mut self, kind: &str, name: &str, known: &BTreeMap<String, T>, key: &str) {
        if known.contains_key(name) {
            return;
        }
        let message = format!(
            "service `{}` refers to {kind} `{name}`, which is not defined",
            self.name
        );
        let path = format!("services.{}.{key}", self.name);
        let refused = self.checked.error("undefined-reference", &path, message);
        // To look for a word among many takes long, and nobody reads so many suggestions.
        let candidates = known.keys().map(String::as_str);
        let near = match self.found.len() {
            ..SUGGESTIONS => nearest(name, candidates),
            _ => None,
        };
        self.found.push(match near {
            Some(near) => refused.help(format!("did you mean `{near}`?")),
            None => refused.help(format!("define it under `{kind}s`")),
        });
    }

    fn references(&mut self) {
        let (service, project) = (self.service, self.checked.project);
        for name in service.networks.keys() {
            self.refer(
                "network",
                name,
                &project.networks,
                &format!("networks.{name}"),
            );
        }
        for (at, mount) in service.volumes.iter().enumerate() {
            if let (MountKind::Volume, Some(source)) = (mount.kind, &mount.source) {
                self.refer(
                    "volume",
                    source,
                    &project.volumes,
                    &format!("volumes[{at}].source"),
                );
            }
        }
        for (at, config) in service.configs.iter().enumerate() {
            self.refer(
                "config",
                &config.source,
                &project.configs,
                &format!("configs[{at}].source"),
            );
        }
        for (at, secret) in service.secrets.iter().enumerate() {
            self.refer(
                "secret",
                &secret.source,
                &project.secrets,
                &format!("secrets[{at}].source"),
            );
        }
        for (at, secret) in service
            .build
            .iter()
            .flat_map(|build| &build.secrets)
            .enumerate()
        {
            self.refer(
                "secret",
                &secret.source,
                &project.secrets,
                &format!("build.secrets[{at}].source"),
            );
        }
        for name in service.models.keys() {
            self.refer("model", name, &project.models, &format!("models.{name}"));
        }
    }

    fn dependencies(&mut self) {
        let (service, checked) = (self.service, self.checked);
        for (name, dependency) in &service.depends_on {
            if checked.project.services.contains_key(name) {
                continue;
            }
            let disabled = checked.disabled.contains_key(name);
            if disabled && !dependency.required {
                continue;
            }
            let key = format!("depends_on.{name}");
            if disabled {
                let message = format!(
                    "service `{}` depends on `{name}`, which no active profile enables",
                    self.name
                );
                let path = format!("services.{}.{key}", self.name);
                let refused = checked.error("disabled-dependency", &path, message);
                self.found
                    .push(refused.help("activate its profile, or write `required: false`"));
            } else {
                self.refer("service", name, &checked.project.services, &key);
            }
        }
    }

    fn network_mode(&mut self) {
        let (service, checked) = (self.service, self.checked);
        let Some(mode) = &service.network_mode else {
            return;
        };
        if !service.networks.is_empty() {
            let message = "`network_mode` and `networks` exclude one another".to_owned();
            self.report("exclusive-keys", "network_mode", message);
        }
        if let Some(target) = mode.strip_prefix("service:") {
            self.refer("service", target, &checked.project.services, "network_mode");
        }
    }

    fn healthcheck(&mut self) {
        let test = self.service.healthcheck.as_ref().map(|check| &check.test);
        if let Some(first) = test.and_then(|test| test.first())
            && !matches!(first.as_str(), "CMD" | "CMD-SHELL" | "NONE")
        {
            let message = format!("`test` has to start with CMD, CMD-SHELL or NONE, not `{first}`");
            self.report("invalid-healthcheck", "healthcheck.test", message);
        }
    }

    /// Limits that are given in two places have to be the same.
    fn limits(&mut self) {
        let service = self.service;
        let Some(resources) = service.deploy.as_ref().map(|deploy| &deploy.resources) else {
            return;
        };
        let mut differ = Vec::new();
        if let Some(limits) = &resources.limits {
            let same_cpus = |cpus: Decimal| limits.cpus.unwrap_or_default() == cpus;
            if service.cpus.is_some_and(|cpus| !same_cpus(cpus)) {
                differ.push(("cpus", "deploy.resources.limits.cpus"));
            }
            let memory = limits.memory.unwrap_or_default();
            if service.mem_limit.is_some_and(|limit| limit != memory) {
                differ.push(("mem_limit", "deploy.resources.limits.memory"));
            }
            let pids = limits.pids.unwrap_or_default();
            if service.pids_limit.is_some_and(|limit| limit != pids) {
                differ.push(("pids_limit", "deploy.resources.limits.pids"));
            }
        }
        if let Some(reservations) = &resources.reservations {
            let memory = reservations.memory.unwrap_or_default();
            if service.mem_reservation.is_some_and(|one| one != memory) {
                differ.push(("mem_reservation", "deploy.resources.reservations.memory"));
            }
        }
        for (key, other) in differ {
            let message = format!("`{key}` and `{other}` cannot have different values");
            self.report("conflicting-values", key, message);
        }
    }

    fn scale(&mut self) {
        let service = self.service;
        let replicas = service
            .deploy
            .as_ref()
            .and_then(|deploy: &Deploy| deploy.replicas);
        if let (Some(scale), Some(replicas)) = (service.scale, replicas)
            && scale != replicas
        {
            let message = "`scale` and `deploy.replicas` cannot have different values".to_owned();
            self.report("conflicting-values", "scale", message);
        }
        if service.replicas() > 1 && service.container_name.is_some() {
            let message = format!(
                "a container name is for one instance, but there are {}",
                service.replicas()
            );
            self.report("container-name-scaled", "container_name", message);
        }
    }

    fn watches(&mut self) {
        let watches = self
            .service
            .develop
            .iter()
            .flat_map(|develop| &develop.watch);
        for (at, watch) in watches.enumerate() {
            if watch.target.is_none() && !matches!(watch.action.as_str(), "rebuild" | "restart") {
                let message = format!("action `{}` needs `target`", watch.action);
                self.report("missing-key", &format!("develop.watch[{at}]"), message);
            }
        }
    }

    /// Nothing is mounted where something else is.
    fn mounts(&mut self) {
        let service = self.service;
        let tmpfs = service.tmpfs.iter().enumerate().map(|(at, tmpfs)| {
            let path = tmpfs.split(':').next().unwrap_or_default();
            (path, format!("tmpfs[{at}]"))
        });
        let volumes = service.volumes.iter().enumerate().map(|(at, mount)| {
            let path = mount.target.as_deref().unwrap_or_default();
            (path, format!("volumes[{at}]"))
        });
        let mut seen: BTreeMap<&str, String> = BTreeMap::new();
        for (path, key) in tmpfs.chain(volumes) {
            match seen.get(path) {
                Some(first) => {
                    let message = format!("`{first}` is mounted at {path} already");
                    self.report("duplicate-mount", &key, message);
                }
                None => {
                    seen.insert(path, key);
                }
            }
        }
    }
}
