//! One-off instances, which people start beside those that serve: which release they have, and what
//! is different about them. Not their life, which is as long as somebody is attached.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Change, Refusal};
use crate::container::{Container, NetworkMode};
use crate::environment::{Environment, Lifecycle};
use crate::id::{InstanceId, ServiceName};
use crate::port::InstanceStart;
use crate::workload::{Command, Probe, WorkloadSpec};

/// A one-off instance that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOffRequest {
    /// The service that it is an instance of.
    pub service: ServiceName,
    /// What to run; the service's own command when empty.
    pub words: Vec<String>,
    /// What a container's words are given to; the service's own entry point when absent.
    pub entrypoint: Option<Vec<String>>,
    /// Variables beside the service's own.
    pub variables: BTreeMap<String, String>,
    /// Where to run it; where the service runs when absent.
    pub directory: Option<String>,
    /// Who runs it; who the service runs as when absent.
    pub user: Option<String>,
}

impl OneOffRequest {
    /// Returns the name of the program that is asked for, for the audit trail: what follows it may
    /// be secret.
    pub fn program(&self) -> Option<&str> {
        let first = self.entrypoint.iter().flatten().chain(&self.words).next();
        first.map(|word| program(word))
    }
}

/// Returns the name of a program without its directory.
pub fn program(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

impl Environment {
    /// Gives a one-off instance its number, and says what to start: the service of the stable release
    /// as it is, but that it takes nothing from those that serve.
    pub fn begin_one_off(
        &mut self,
        request: &OneOffRequest,
        actor: &str,
        at: Timestamp,
    ) -> Result<(InstanceStart, Change), Refusal> {
        if self.lifecycle == Lifecycle::Down {
            return Err(Refusal::Down);
        }
        let release = self.stable.ok_or(Refusal::NothingDeployed)?;
        let service = self
            .service(release, &request.service)
            .ok_or_else(|| Refusal::NotInRelease(request.service.clone()))?;
        if request.entrypoint.is_some() && service.spec.container.is_none() {
            return Err(Refusal::NoEntrypoint(request.service.clone()));
        }
        let start = InstanceStart {
            id: InstanceId {
                environment: self.id.clone(),
                service: request.service.clone(),
                number: self.next_instance,
            },
            workload: service.workload.clone(),
            release,
            spec: Arc::new(specification(&service.spec, request)),
            fixed_port: None,
            peers: self.peers.clone(),
        };
        self.next_instance += 1;
        let mut change = Change::default();
        let reason = request.program().map(str::to_owned);
        change.event(at, actor, "run.started", start.id.local(), reason);
        Ok((start, change))
    }
}

/// Returns what a one-off instance is.
fn specification(own: &WorkloadSpec, request: &OneOffRequest) -> WorkloadSpec {
    let mut spec = own.clone();
    spec.environment.extend(request.variables.clone());
    // What is asked for goes before a secret of the same name.
    for mount in &mut spec.secrets {
        let replaced = |name: &String| request.variables.contains_key(name);
        if mount.variable.as_ref().is_some_and(replaced) {
            mount.variable = None;
        }
    }
    if let Some(directory) = &request.directory {
        spec.working_directory = Some(directory.clone());
    }
    if let Some(user) = &request.user {
        spec.user = Some(user.clone());
    }
    spec.health.probe = Probe::Running;
    match &mut spec.container {
        Some(container) => alone(container, request),
        None if request.words.is_empty() => {}
        None => spec.command = Command::Exec(request.words.clone()),
    }
    spec
}

/// Takes from a container what only one can have, and gives it what is asked for.
fn alone(container: &mut Container, request: &OneOffRequest) {
    container.published.clear();
    container.post_start.clear();
    container.pre_stop.clear();
    container.image_health = false;
    if let NetworkMode::Networks(networks) = &mut container.network {
        for join in networks.values_mut() {
            join.aliases.clear();
            join.address = None;
            join.address_v6 = None;
        }
    }
    if let Some(entrypoint) = &request.entrypoint {
        container.entrypoint = Some(entrypoint.clone());
        // The command was meant for the other entry point.
        container.command = None;
    }
    if !request.words.is_empty() {
        container.command = Some(request.words.clone());
    }
}
