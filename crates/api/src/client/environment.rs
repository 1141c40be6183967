//! The client's methods for environments: deployments, secrets, logs, scale. Not those for the
//! control plane as a whole ([`super`]).

use bytes::Bytes;
use hyper::Method;
use serde::{Deserialize, Serialize};
use towpath_model::id::EnvironmentId;

use super::transport::Body;
use super::{Client, Error, JsonStream, LogFilter, Query, segment};
use crate::{
    AdoptRequest, Adopted, AdoptionPlan, AdoptionState, ComposeProject, Created, DeployRequest,
    Deployment, Environment, EnvironmentSummary, ExtendRequest, HoldRequest, LogLine, NotifyTest,
    NotifyTestRequest, Plan, PlanRequest, Preview, PreviewCreated, PreviewRequest, Progress,
    RedeployRequest, Requested, RollbackRequest, ScaleRequest, Secret, SecretSet, Traffic,
};

/// A request with no fields.
#[derive(Debug, Serialize, Deserialize)]
struct Nothing {}

impl Client {
    /// Returns all environments.
    pub async fn environments(&self) -> Result<Vec<EnvironmentSummary>, Error> {
        self.get("/v1/environments").await
    }

    /// Returns all environments, with those of the jobs that run.
    pub async fn environments_and_jobs(&self) -> Result<Vec<EnvironmentSummary>, Error> {
        self.get("/v1/environments?jobs=true").await
    }

    /// Returns one environment.
    pub async fn environment(&self, id: &EnvironmentId) -> Result<Environment, Error> {
        self.get(&of(id, "")).await
    }

    /// Makes an environment, unless it is there.
    pub async fn create_environment(&self, id: &EnvironmentId) -> Result<Created, Error> {
        let body = self.json(&Nothing {})?;
        let answer = self.transport.send(Method::PUT, &of(id, ""), body).await?;
        self.read(answer).await
    }

    /// Makes a preview, and asks for the deployment of its release.
    pub async fn create_preview(
        &self,
        id: &EnvironmentId,
        request: &PreviewRequest,
    ) -> Result<PreviewCreated, Error> {
        self.post(&of(id, "/preview"), request).await
    }

    /// Has a preview go so long from now.
    pub async fn extend_preview(
        &self,
        id: &EnvironmentId,
        request: &ExtendRequest,
    ) -> Result<Preview, Error> {
        let body = self.json(request)?;
        let path = of(id, "/preview/ttl");
        let answer = self.transport.send(Method::PUT, &path, body).await?;
        self.read(answer).await
    }

    /// Stops everything in an environment and removes it. Returns when it is gone.
    pub async fn destroy_environment(
        &self,
        id: &EnvironmentId,
        with_volumes: bool,
    ) -> Result<(), Error> {
        let path = of(id, &format!("?volumes={with_volumes}"));
        self.command(Method::DELETE, &path, Body::empty()).await
    }

    /// Says what a deployment would change.
    pub async fn plan(&self, id: &EnvironmentId, request: &PlanRequest) -> Result<Plan, Error> {
        self.post(&of(id, "/plan"), request).await
    }

    /// Makes a release and asks for its deployment.
    pub async fn deploy(
        &self,
        id: &EnvironmentId,
        request: &DeployRequest,
    ) -> Result<Requested, Error> {
        self.post(&of(id, "/deployments"), request).await
    }

    /// Returns the projects that somebody started with `docker compose` on the machine.
    pub async fn compose_projects(&self) -> Result<Vec<ComposeProject>, Error> {
        self.get("/v1/compose-projects").await
    }

    /// Says what taking a project over would do.
    pub async fn plan_adoption(
        &self,
        id: &EnvironmentId,
        request: &AdoptRequest,
    ) -> Result<AdoptionPlan, Error> {
        self.post(&of(id, "/adoption/plan"), request).await
    }

    /// Takes a project over, with nothing stopped.
    pub async fn adopt(
        &self,
        id: &EnvironmentId,
        request: &AdoptRequest,
    ) -> Result<Adopted, Error> {
        self.post(&of(id, "/adoption"), request).await
    }

    /// Returns what an environment took over.
    pub async fn adoption(&self, id: &EnvironmentId) -> Result<AdoptionState, Error> {
        self.get(&of(id, "/adoption")).await
    }

    /// Lets go of what was taken over. Returns when the containers have their traffic back and the
    /// environment is gone.
    pub async fn undo_adoption(&self, id: &EnvironmentId) -> Result<(), Error> {
        self.command(Method::DELETE, &of(id, "/adoption"), Body::empty())
            .await
    }

    /// Asks for the deployment of a release that exists.
    pub async fn redeploy(
        &self,
        id: &EnvironmentId,
        request: &RedeployRequest,
    ) -> Result<Requested, Error> {
        self.post(&of(id, "/redeployments"), request).await
    }

    /// Asks for an earlier release to come back.
    pub async fn rollback(
        &self,
        id: &EnvironmentId,
        request: &RollbackRequest,
    ) -> Result<Requested, Error> {
        self.post(&of(id, "/rollbacks"), request).await
    }

    /// Stops the deployment under way and goes back. Returns which one.
    pub async fn abort(&self, id: &EnvironmentId) -> Result<Deployment, Error> {
        self.post(&of(id, "/abort"), &Nothing {}).await
    }

    /// Keeps the deployment under way where it is. Returns which one.
    pub async fn pause(&self, id: &EnvironmentId) -> Result<Deployment, Error> {
        self.post(&of(id, "/pause"), &Nothing {}).await
    }

    /// Lets a paused deployment go on. Returns which one.
    pub async fn resume(&self, id: &EnvironmentId) -> Result<Deployment, Error> {
        self.post(&of(id, "/resume"), &Nothing {}).await
    }

    /// Returns the latest deployments, newest first.
    pub async fn deployments(
        &self,
        id: &EnvironmentId,
        limit: u32,
    ) -> Result<Vec<Deployment>, Error> {
        self.get(&of(id, &format!("/deployments?limit={limit}")))
            .await
    }

    /// Returns one deployment.
    pub async fn deployment(&self, id: &EnvironmentId, number: u32) -> Result<Deployment, Error> {
        self.get(&of(id, &format!("/deployments/{number}"))).await
    }

    /// Follows a deployment: its progress now, and whenever it changes, to its end.
    pub async fn progress(
        &self,
        id: &EnvironmentId,
        number: u32,
    ) -> Result<JsonStream<Progress>, Error> {
        self.open(&of(id, &format!("/deployments/{number}/progress")))
            .await
    }

    /// Changes how many instances a service has.
    pub async fn scale(&self, id: &EnvironmentId, service: &str, count: u32) -> Result<(), Error> {
        let path = of(id, &format!("/services/{}/scale", segment(service)));
        let body = self.json(&ScaleRequest { count })?;
        self.command(Method::PUT, &path, body).await
    }

    /// Stops everything in an environment; volumes and releases stay. Returns at once.
    pub async fn down(&self, id: &EnvironmentId) -> Result<(), Error> {
        self.command(Method::POST, &of(id, "/down"), Body::empty())
            .await
    }

    /// Holds automatic deployment.
    pub async fn hold(&self, id: &EnvironmentId, request: &HoldRequest) -> Result<(), Error> {
        let body = self.json(request)?;
        self.command(Method::PUT, &of(id, "/hold"), body).await
    }

    /// Lets automatic deployment go on.
    pub async fn release_hold(&self, id: &EnvironmentId) -> Result<(), Error> {
        self.command(Method::DELETE, &of(id, "/hold"), Body::empty())
            .await
    }

    /// Has the router serve, hold or refuse all requests.
    pub async fn set_traffic(&self, id: &EnvironmentId, traffic: &Traffic) -> Result<(), Error> {
        let body = self.json(traffic)?;
        self.command(Method::PUT, &of(id, "/traffic"), body).await
    }

    /// Opens the log.
    pub async fn logs(
        &self,
        id: &EnvironmentId,
        filter: &LogFilter,
    ) -> Result<JsonStream<LogLine>, Error> {
        let mut query = Query::default();
        let services = (!filter.services.is_empty()).then(|| filter.services.join(","));
        query.add("services", services);
        query.add("instance", filter.instance);
        query.add("tail", filter.tail);
        query.add("since", filter.since);
        query.add("follow", Some(filter.follow));
        self.open(&of(id, &format!("/logs?{}", query.0))).await
    }

    /// Returns the secrets, without their values.
    pub async fn secrets(&self, id: &EnvironmentId) -> Result<Vec<Secret>, Error> {
        self.get(&of(id, "/secrets")).await
    }

    /// Sends a test message to a target, or to all of them.
    pub async fn test_notifications(
        &self,
        id: &EnvironmentId,
        target: Option<&str>,
    ) -> Result<Vec<NotifyTest>, Error> {
        let request = NotifyTestRequest {
            target: target.map(str::to_owned),
        };
        self.post(&of(id, "/notify/test"), &request).await
    }

    /// Sets a secret.
    pub async fn set_secret(
        &self,
        id: &EnvironmentId,
        name: &str,
        value: Bytes,
    ) -> Result<SecretSet, Error> {
        let path = of(id, &format!("/secrets/{}", segment(name)));
        let body = Body::bytes(value);
        let answer = self.transport.send(Method::PUT, &path, body).await?;
        self.read(answer).await
    }

    /// Removes a secret.
    pub async fn remove_secret(&self, id: &EnvironmentId, name: &str) -> Result<(), Error> {
        let path = of(id, &format!("/secrets/{}", segment(name)));
        self.command(Method::DELETE, &path, Body::empty()).await
    }
}

pub(super) fn of(id: &EnvironmentId, rest: &str) -> String {
    format!("/v1/environments/{}/{}{rest}", id.app, id.name)
}
