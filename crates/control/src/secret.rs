//! Secrets: set, listed, removed, and revealed to instances. A value is never returned to a caller.

use std::collections::BTreeMap;

use towpath_model::container::BuildSecret;
use towpath_model::id::{EnvironmentId, SecretName, SecretVersion};
use towpath_model::workload::{SecretValue, WorkloadSpec};
use towpath_store::SecretInfo;

use crate::error::Error;
use crate::platform::{Platform, Shared};

impl Platform {
    /// Sets a secret. Releases made from now on read the new version; those made before keep
    /// theirs. Returns the version.
    pub async fn set_secret(
        &self,
        id: &EnvironmentId,
        name: &SecretName,
        value: &SecretValue,
        actor: &str,
    ) -> Result<SecretVersion, Error> {
        self.shared.keeper(id)?;
        let now = self.shared.ports.clock.now();
        Ok(self
            .shared
            .ports
            .store
            .set_secret(id, name, value, actor, now)
            .await?)
    }

    /// Lists the secrets of an environment, without their values.
    pub async fn secrets(&self, id: &EnvironmentId) -> Result<Vec<SecretInfo>, Error> {
        self.shared.keeper(id)?;
        Ok(self.shared.ports.store.list_secrets(id).await?)
    }

    /// Removes a secret. Versions that a kept release reads stay until that release is pruned.
    pub async fn remove_secret(
        &self,
        id: &EnvironmentId,
        name: &SecretName,
        actor: &str,
    ) -> Result<(), Error> {
        self.shared.keeper(id)?;
        let now = self.shared.ports.clock.now();
        self.shared
            .ports
            .store
            .remove_secret(id, name, actor, now)
            .await?;
        Ok(())
    }
}

impl Shared {
    /// Returns the values of the secrets that an instance is given or its image is built with, in the
    /// versions that its release pins.
    pub(crate) async fn reveal_to(
        &self,
        id: &EnvironmentId,
        spec: &WorkloadSpec,
    ) -> Result<BTreeMap<SecretName, SecretValue>, Error> {
        let mut values = self.reveal(id, spec.build_secrets().iter()).await?;
        for mount in &spec.secrets {
            let value = self
                .ports
                .store
                .reveal_secret(id, &mount.secret, mount.version)
                .await?;
            values.insert(mount.secret.clone(), value);
        }
        Ok(values)
    }

    /// Returns the values of the secrets that images are built with, in the versions that the release
    /// pins.
    pub(crate) async fn reveal(
        &self,
        id: &EnvironmentId,
        secrets: impl Iterator<Item = &BuildSecret>,
    ) -> Result<BTreeMap<SecretName, SecretValue>, Error> {
        let mut values = BTreeMap::new();
        for BuildSecret {
            secret, version, ..
        } in secrets
        {
            // A release has a version of each.
            let Some(version) = version else { continue };
            let store = &self.ports.store;
            let value = store.reveal_secret(id, secret, *version).await?;
            values.insert(secret.clone(), value);
        }
        Ok(values)
    }
}
