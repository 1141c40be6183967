//! What people ask to see. Not what they ask to change ([`crate::command`]).

use towpath_model::deployment::Deployment;
use towpath_model::event::Event;
use towpath_model::id::{AppName, DeploymentNumber, EnvironmentId, ReleaseNumber};
use towpath_model::port::{Capabilities, DataDirectory, LogLines, LogQuery};
use towpath_model::release::{Release, Rendering};
use towpath_store::{App, DeploymentRow, EventQuery, Verification};

use crate::error::Error;
use crate::platform::Platform;

impl Platform {
    /// Returns what the engine can honour.
    pub fn capabilities(&self) -> Capabilities {
        self.shared.ports.engine.capabilities()
    }

    /// Returns the directory that everything is kept in.
    pub fn data(&self) -> &DataDirectory {
        &self.shared.config.data
    }

    /// Returns all apps.
    pub async fn apps(&self) -> Result<Vec<App>, Error> {
        Ok(self.shared.ports.store.apps().await?)
    }

    /// Returns the releases of an app, newest first.
    pub async fn releases(&self, app: &AppName) -> Result<Vec<Release>, Error> {
        self.expect_app(app).await?;
        Ok(self.shared.ports.store.releases(app).await?)
    }

    /// Refuses an app that is not there.
    pub(crate) async fn expect_app(&self, app: &AppName) -> Result<(), Error> {
        match self.shared.ports.store.app(app).await? {
            Some(_) => Ok(()),
            None => Err(Error::NotFound(format!("app `{app}`"))),
        }
    }

    /// Returns what a release renders to in an environment.
    pub async fn rendering(
        &self,
        id: &EnvironmentId,
        release: ReleaseNumber,
    ) -> Result<Rendering, Error> {
        let rendering = self.shared.ports.store.rendering(id, release).await?;
        rendering.ok_or_else(|| Error::NoRelease {
            environment: id.clone(),
            release,
        })
    }

    /// Returns the last `limit` deployments of an environment, newest first.
    pub async fn deployments(
        &self,
        id: &EnvironmentId,
        limit: u32,
    ) -> Result<Vec<Deployment>, Error> {
        self.shared.keeper(id)?;
        let rows = self.shared.ports.store.deployments(id, limit).await?;
        rows.into_iter().map(|row| read(id, row)).collect()
    }

    /// Returns one deployment.
    pub async fn deployment(
        &self,
        id: &EnvironmentId,
        number: DeploymentNumber,
    ) -> Result<Deployment, Error> {
        let row = self.shared.ports.store.deployment(id, number).await?;
        let missing = || Error::NotFound(format!("deployment {number} of `{id}`"));
        read(id, row.ok_or_else(missing)?)
    }

    /// Returns lines of the audit trail.
    pub async fn events(&self, query: &EventQuery) -> Result<Vec<Event>, Error> {
        Ok(self.shared.ports.store.events(query).await?)
    }

    /// Proves that no line of the audit trail was changed.
    pub async fn verify_events(&self) -> Result<Verification, Error> {
        Ok(self.shared.ports.store.verify_events().await?)
    }

    /// Opens the log of an environment.
    pub async fn logs(
        &self,
        id: &EnvironmentId,
        query: &LogQuery,
    ) -> Result<Box<dyn LogLines>, Error> {
        self.shared.keeper(id)?;
        Ok(self.shared.ports.engine.logs(id, query).await?)
    }
}

fn read(id: &EnvironmentId, row: DeploymentRow) -> Result<Deployment, Error> {
    serde_json::from_value(row.document).map_err(|source| Error::Unreadable {
        environment: id.clone(),
        source,
    })
}
