//! The consoles of both engines as one. Not how either reaches into what it runs.

use std::collections::BTreeMap;

use async_trait::async_trait;
use towpath_model::console::{
    Console, ConsoleCommand, DetachedEnd, OneOff, OneOffs, Session, Usage,
};
use towpath_model::id::{EnvironmentId, InstanceId, SecretName};
use towpath_model::port::PortError;
use towpath_model::workload::SecretValue;

use super::HostEngine;

#[async_trait]
impl Console for HostEngine {
    async fn exec(
        &self,
        id: &InstanceId,
        command: &ConsoleCommand,
    ) -> Result<Option<Session>, PortError> {
        if self.docker.has(id) {
            self.docker.exec(id, command).await
        } else {
            self.process.exec(id, command).await
        }
    }

    async fn run(
        &self,
        one: &OneOff,
        secrets: &BTreeMap<SecretName, SecretValue>,
    ) -> Result<Option<Session>, PortError> {
        if one.start.spec.container.is_some() {
            self.docker.run(one, secrets).await
        } else {
            self.process.run(one, secrets).await
        }
    }

    async fn settle(
        &self,
        environment: &EnvironmentId,
        wanted: OneOffs,
    ) -> Result<Vec<DetachedEnd>, PortError> {
        let processes = self.process.settle(environment, wanted).await;
        let containers = self.docker.settle(environment, wanted).await;
        // A Docker that is away keeps no process, nor the ends of any.
        match (processes, containers) {
            (Ok(mut ends), Ok(more)) => {
                ends.extend(more);
                Ok(ends)
            }
            (Ok(ends), Err(error)) | (Err(error), Ok(ends)) if ends.is_empty() => Err(error),
            (Ok(ends), Err(error)) | (Err(error), Ok(ends)) => {
                tracing::warn!(%environment, %error, "some one-offs cannot be ended yet");
                Ok(ends)
            }
            (Err(error), Err(_)) => Err(error),
        }
    }

    async fn usage(
        &self,
        environment: &EnvironmentId,
    ) -> Result<BTreeMap<InstanceId, Usage>, PortError> {
        let mut used = self.process.usage(environment).await?;
        used.extend(self.docker.usage(environment).await?);
        Ok(used)
    }
}
