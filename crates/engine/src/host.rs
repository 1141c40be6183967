//! The engines of this machine as one: processes and containers, told apart by the workload. Not how
//! either runs them. A Docker that is away disturbs no environment that has no containers.

mod console;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use towpath_model::adoption::AdoptedContainer;
use towpath_model::adoption::found::FoundProject;
use towpath_model::id::{EnvironmentId, InstanceId, ReleaseNumber, SecretName, ServiceName};
use towpath_model::observation::{ArtifactState, InstanceState};
use towpath_model::port::{
    Artifacts, Capabilities, Engine, EngineObservation, FilesTaken, FilesWanted, InstanceStart,
    LogLine, LogLines, LogQuery, PortError, Stop, Volumes,
};
use towpath_model::workload::{Command, SecretValue};

use crate::docker::DockerEngine;
use crate::probe::RunInInstance;
use crate::process::ProcessEngine;

/// Runs every workload by the engine that it is for.
#[derive(Debug, Clone)]
pub struct HostEngine {
    process: Arc<ProcessEngine>,
    docker: Arc<DockerEngine>,
}

impl HostEngine {
    /// Joins the engines of this machine.
    pub fn new(process: Arc<ProcessEngine>, docker: Arc<DockerEngine>) -> Self {
        Self { process, docker }
    }

    /// Returns the engine that has an instance; that of processes where nobody has it.
    fn of(&self, id: &InstanceId) -> &dyn Engine {
        if self.docker.has(id) {
            &*self.docker
        } else {
            &*self.process
        }
    }
}

#[async_trait]
impl Engine for HostEngine {
    fn capabilities(&self) -> Capabilities {
        self.process.capabilities()
    }

    async fn observe(&self, environment: &EnvironmentId) -> Result<EngineObservation, PortError> {
        let mut observed = self.process.observe(environment).await?;
        if self.docker.knows(environment) {
            let containers = self.docker.observe(environment).await?;
            observed.instances.extend(containers.instances);
            observed.networks.extend(containers.networks);
            for (release, state) in containers.artifacts {
                let both = match observed.artifacts.remove(&release) {
                    Some(own) => joined(own, state),
                    None => state,
                };
                observed.artifacts.insert(release, both);
            }
        }
        Ok(observed)
    }

    async fn changed(&self, environment: &EnvironmentId) {
        tokio::select! {
            () = self.process.changed(environment) => {}
            () = self.docker.changed(environment) => {}
        }
    }

    async fn prepare(
        &self,
        artifacts: &Artifacts,
        secrets: &BTreeMap<SecretName, SecretValue>,
    ) -> Result<(), PortError> {
        let has_images = !artifacts.images.is_empty();
        if has_images {
            self.docker.prepare(artifacts, secrets).await?;
        }
        if !has_images || !artifacts.builds.is_empty() {
            self.process.prepare(artifacts, secrets).await?;
        }
        Ok(())
    }

    async fn start(
        &self,
        start: &InstanceStart,
        secrets: &BTreeMap<SecretName, SecretValue>,
    ) -> Result<(), PortError> {
        if start.spec.container.is_some() {
            self.docker.start(start, secrets).await
        } else {
            self.process.start(start, secrets).await
        }
    }

    async fn stop(&self, id: &InstanceId, stop: &Stop) -> Result<(), PortError> {
        self.of(id).stop(id, stop).await
    }

    async fn remove(&self, id: &InstanceId) -> Result<(), PortError> {
        self.of(id).remove(id).await
    }

    async fn keep_artifacts(
        &self,
        environment: &EnvironmentId,
        releases: &[ReleaseNumber],
    ) -> Result<(), PortError> {
        self.process.keep_artifacts(environment, releases).await?;
        if self.docker.knows(environment) {
            self.docker.keep_artifacts(environment, releases).await?;
        }
        Ok(())
    }

    async fn destroy(
        &self,
        environment: &EnvironmentId,
        volumes: Volumes,
    ) -> Result<(), PortError> {
        let processes = self.process.observe(environment).await?.instances;
        let ended = |state: &InstanceState| matches!(state, InstanceState::Exited(_));
        let one_runs = processes.iter().any(|one| !ended(&one.state));
        // It refuses when one runs, before anything is gone. Else it comes last: it removes the
        // directory that both have.
        if !one_runs && self.docker.knows(environment) {
            self.docker.destroy(environment, volumes).await?;
        }
        self.process.destroy(environment, volumes).await
    }

    async fn compose_projects(&self) -> Result<Vec<FoundProject>, PortError> {
        self.docker.compose_projects().await
    }

    async fn adopt(&self, container: &AdoptedContainer) -> Result<(), PortError> {
        self.docker.adopt(container).await
    }

    async fn let_go(&self, id: &InstanceId) -> Result<(), PortError> {
        self.of(id).let_go(id).await
    }

    async fn give_files(
        &self,
        environment: &EnvironmentId,
        service: &ServiceName,
        archives: &[PathBuf],
    ) -> Result<(), PortError> {
        // Both look at the same place.
        self.process
            .give_files(environment, service, archives)
            .await
    }

    async fn take_files(
        &self,
        environment: &EnvironmentId,
        service: &ServiceName,
        wanted: &FilesWanted,
        archive: &Path,
    ) -> Result<FilesTaken, PortError> {
        let engine: &dyn Engine = if self.docker.has_service(environment, service) {
            &*self.docker
        } else {
            &*self.process
        };
        engine
            .take_files(environment, service, wanted, archive)
            .await
    }

    async fn logs(
        &self,
        environment: &EnvironmentId,
        query: &LogQuery,
    ) -> Result<Box<dyn LogLines>, PortError> {
        let processes = self.process.logs(environment, query).await?;
        if !self.docker.knows(environment) {
            return Ok(processes);
        }
        let containers = self.docker.logs(environment, query).await?;
        Ok(Box::new(Both {
            sides: [Side::new(processes), Side::new(containers)],
            follow: query.follow,
        }))
    }
}

#[async_trait]
impl RunInInstance for HostEngine {
    async fn run_in(&self, id: &InstanceId, command: &Command) -> Result<(), String> {
        if self.docker.has(id) {
            self.docker.run_in(id, command).await
        } else {
            self.process.run_in(id, command).await
        }
    }

    fn own_check(&self, id: &InstanceId) -> Option<Command> {
        self.docker.own_check(id)
    }

    fn ailment(&self, id: &InstanceId) -> Option<String> {
        self.docker.ailment(id)
    }
}

/// Returns the state of a release of which both engines make a part.
fn joined(one: ArtifactState, other: ArtifactState) -> ArtifactState {
    match (one, other) {
        (failed @ ArtifactState::Failed { .. }, _) | (_, failed @ ArtifactState::Failed { .. }) => {
            failed
        }
        (ArtifactState::Building, _) | (_, ArtifactState::Building) => ArtifactState::Building,
        (ArtifactState::Ready, ArtifactState::Ready) => ArtifactState::Ready,
    }
}

/// The logs of both engines, in the order of their time up to now.
struct Both {
    sides: [Side; 2],
    follow: bool,
}

struct Side {
    lines: Box<dyn LogLines>,
    /// The next line, where it was read already.
    head: Option<LogLine>,
    ended: bool,
}

impl Side {
    fn new(lines: Box<dyn LogLines>) -> Self {
        Self {
            lines,
            head: None,
            ended: false,
        }
    }

    /// Reads the next line, unless that was done. Cancel-safe.
    async fn fill(&mut self) -> Result<(), PortError> {
        if self.head.is_none() && !self.ended {
            self.head = self.lines.next().await?;
            self.ended = self.head.is_none();
        }
        Ok(())
    }
}

#[async_trait]
impl LogLines for Both {
    async fn next(&mut self) -> Result<Option<LogLine>, PortError> {
        let [one, other] = &mut self.sides;
        if self.follow {
            // A followed log has no end to wait for: whichever comes is next.
            return tokio::select! {
                line = one.lines.next() => line,
                line = other.lines.next() => line,
            };
        }
        one.fill().await?;
        other.fill().await?;
        let first = match (&one.head, &other.head) {
            (Some(a), Some(b)) if b.at < a.at => other,
            (None, _) => other,
            (Some(_), _) => one,
        };
        Ok(first.head.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_ready_when_both_engines_have_their_part() {
        use ArtifactState::{Building, Ready};
        let failed = ArtifactState::Failed {
            reason: "x".to_owned(),
            log_tail: Vec::new(),
            at: jiff::Timestamp::UNIX_EPOCH,
        };
        assert_eq!(joined(Ready, Ready), Ready);
        assert_eq!(joined(Building, Ready), Building);
        assert_eq!(joined(Building, failed.clone()), failed);
    }
}
