//! A release as one environment will run it, before the versions of its secrets are known: what
//! the command line makes and the server pins. Not how it is made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::container::Image;
use crate::id::{Digest, SecretName, SecretVersion, ServiceName, WorkloadId};
use crate::notify::Targets;
use crate::pipeline::Demands;
use crate::preview::Terms;
use crate::release::{Condition, RenderedService, Rendering, Restart, Role, RouteSpec};
use crate::rollout::Settings;
use crate::routing::{Protocol, RoutePolicy};
use crate::workload::{SecretMount, WorkloadSpec};

/// A rendering whose secrets are named but not yet pinned to versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// The services by name.
    pub services: BTreeMap<ServiceName, DraftService>,
    /// Where Compose says that the value of a secret comes from. Only for secrets that a service
    /// reads; never the value.
    pub secret_sources: BTreeMap<SecretName, SecretSource>,
    /// How the release is rolled out.
    pub settings: Settings,
    /// The source tree that images are built from or that containers have parts of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Digest>,
    /// Who is told of what happens in the environment.
    #[serde(default, skip_serializing_if = "Targets::is_empty")]
    pub notify: Targets,
    /// What is said of previews that are like the environment, where anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Terms>,
    /// The release job that fills the volumes of a new preview, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<Box<DraftService>>,
    /// What the environment demands of a release.
    #[serde(default, skip_serializing_if = "Demands::are_none")]
    pub demands: Demands,
}

/// One service of a draft.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DraftService {
    /// What an instance of it is; its `secrets` are empty.
    pub spec: WorkloadSpec,
    /// The secrets that an instance is given.
    pub secrets: Vec<SecretUse>,
    /// How many instances there are when nobody scaled it.
    pub replicas: u32,
    /// What must be true of others before it starts.
    pub depends_on: BTreeMap<ServiceName, Condition>,
    /// Those whose replacement replaces it too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub restart_with: BTreeSet<ServiceName>,
    /// Whether it runs for ever or to its end.
    pub role: Role,
    /// Whether an instance that ends is started again.
    pub restart: Restart,
    /// How requests from outside reach it.
    pub routes: Vec<RouteSpec>,
    /// What it speaks with the other services; `None` when it does not listen.
    pub internal: Option<Protocol>,
    /// The limits and timeouts of its routes.
    pub policy: RoutePolicy,
    /// Where the Compose file asks for what makes it exclusive (`compose.yaml:12:7`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusive_at: Option<String>,
}

/// A secret as a service asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUse {
    /// Which secret.
    pub secret: SecretName,
    /// The name of the file in the instance's secrets directory; for a container also an absolute
    /// path.
    pub file: Option<String>,
    /// The variable that holds the value.
    pub variable: Option<String>,
}

/// Where Compose says that the value of a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// A file, by its absolute path.
    File(String),
    /// A variable of whoever runs the command, by its name.
    Variable(String),
}

/// Secrets that a release reads and that have no value in the environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct MissingSecrets {
    /// Their names and a service that reads each.
    pub secrets: BTreeMap<SecretName, ServiceName>,
}

impl fmt::Display for MissingSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<String> = self
            .secrets
            .iter()
            .map(|(secret, service)| format!("`{secret}` (read by {service})"))
            .collect();
        write!(f, "secrets without a value: {}", named.join(", "))
    }
}

impl Draft {
    /// Makes a draft again of a rendering whose secrets are to be pinned anew, in another environment.
    pub fn of(rendering: &Rendering) -> Self {
        let services = rendering.services.iter();
        let services = services.map(|(name, one)| (name.clone(), DraftService::of(one)));
        Self {
            services: services.collect(),
            secret_sources: BTreeMap::new(),
            settings: rendering.settings.clone(),
            source: rendering.source.clone(),
            notify: rendering.notify.clone(),
            preview: rendering.preview.clone(),
            seed: rendering.seed.clone(),
            // Those are of the environment that it was rendered for.
            demands: Demands::default(),
        }
    }

    /// Returns the names of all secrets that its services read.
    pub fn secrets(&self) -> BTreeSet<&SecretName> {
        let services = self.services.values();
        services.flat_map(DraftService::reads).collect()
    }

    /// Pins every secret to its version in `versions`. Refuses when one has none.
    pub fn pin(
        &self,
        versions: &BTreeMap<SecretName, SecretVersion>,
    ) -> Result<Rendering, MissingSecrets> {
        let mut missing = BTreeMap::new();
        let mut secrets = BTreeMap::new();
        for (name, service) in &self.services {
            for secret in service.reads() {
                match versions.get(secret) {
                    Some(version) => {
                        secrets.insert(secret.clone(), *version);
                    }
                    None => {
                        missing
                            .entry(secret.clone())
                            .or_insert_with(|| name.clone());
                    }
                }
            }
        }
        if !missing.is_empty() {
            return Err(MissingSecrets { secrets: missing });
        }
        Ok(Rendering {
            services: self.pinned(&secrets),
            secrets,
            settings: self.settings.clone(),
            source: self.source.clone(),
            notify: self.notify.clone(),
            preview: self.preview.clone(),
            seed: self.seed.clone(),
            demands: self.demands.clone(),
            hotfix: None,
        })
    }
}

impl Draft {
    /// Makes all services with their secrets pinned, each after those that it is replaced with.
    fn pinned(
        &self,
        versions: &BTreeMap<SecretName, SecretVersion>,
    ) -> BTreeMap<ServiceName, RenderedService> {
        let mut done: BTreeMap<ServiceName, RenderedService> = BTreeMap::new();
        while done.len() < self.services.len() {
            let waiting =
                |name: &ServiceName| self.services.contains_key(name) && !done.contains_key(name);
            let mut left = self.services.iter().filter(|(name, _)| waiting(name));
            let ready = left
                .clone()
                .find(|(_, service)| !service.restart_with.iter().any(waiting));
            // The compose crate refuses cycles; a document from elsewhere may have one.
            let Some((name, service)) = ready.or_else(|| left.next()) else {
                break;
            };
            let with = service.restart_with.iter();
            let with = with
                .filter_map(|name| Some(done.get(name)?.workload.clone()))
                .collect();
            let service = service.pinned(versions, with);
            done.insert(name.clone(), service);
        }
        done
    }
}

impl DraftService {
    fn of(rendered: &RenderedService) -> Self {
        let mut spec = WorkloadSpec::clone(&rendered.spec);
        let secrets = std::mem::take(&mut spec.secrets).into_iter();
        let secrets = secrets.map(|mount| SecretUse {
            secret: mount.secret,
            file: mount.file,
            variable: mount.variable,
        });
        let with = std::mem::take(&mut spec.restart_with).into_iter();
        if let Some(container) = &mut spec.container
            && let Image::Built(recipe) = &mut container.image
        {
            for one in &mut recipe.secrets {
                one.version = None;
            }
        }
        Self {
            secrets: secrets.collect(),
            restart_with: with.map(|workload| workload.service).collect(),
            spec,
            replicas: rendered.replicas,
            depends_on: rendered.depends_on.clone(),
            role: rendered.role,
            restart: rendered.restart,
            routes: rendered.routes.clone(),
            internal: rendered.internal,
            policy: rendered.policy.clone(),
            exclusive_at: rendered.exclusive_at.clone(),
        }
    }

    /// Returns the secrets that an instance is given, and those that its image is built with.
    pub(super) fn reads(&self) -> impl Iterator<Item = &SecretName> {
        let given = self.secrets.iter().map(|usage| &usage.secret);
        given.chain(self.spec.build_secrets().iter().map(|one| &one.secret))
    }

    /// Makes the service with its secrets pinned; all of them have to be in `versions`.
    fn pinned(
        &self,
        versions: &BTreeMap<SecretName, SecretVersion>,
        restart_with: Vec<WorkloadId>,
    ) -> RenderedService {
        let mut spec = self.spec.clone();
        spec.restart_with = restart_with;
        spec.secrets = self
            .secrets
            .iter()
            .filter_map(|usage| {
                Some(SecretMount {
                    secret: usage.secret.clone(),
                    version: *versions.get(&usage.secret)?,
                    file: usage.file.clone(),
                    variable: usage.variable.clone(),
                })
            })
            .collect();
        if let Some(container) = &mut spec.container
            && let Image::Built(recipe) = &mut container.image
        {
            for one in &mut recipe.secrets {
                one.version = versions.get(&one.secret).copied();
            }
        }
        RenderedService {
            workload: spec.id(),
            spec: Arc::new(spec),
            replicas: self.replicas,
            depends_on: self.depends_on.clone(),
            role: self.role,
            restart: self.restart,
            routes: self.routes.clone(),
            internal: self.internal,
            policy: self.policy.clone(),
            exclusive_at: self.exclusive_at.clone(),
        }
    }

    /// Tells whether there are never two instances of the service at once.
    pub fn is_exclusive(&self) -> bool {
        self.spec.exclusive().is_some()
    }
}
