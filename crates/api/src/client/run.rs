//! The client's methods for runs.

use bytes::Bytes;
use hyper::Method;

use super::transport::{Answer, Body};
use super::{Client, Error, JsonStream, Query, segment};
use crate::{
    AwaitedApproval, Cache, DecisionRequest, PromoteRequest, Run, RunLogLine, RunStart, RunStarted,
};

/// Which log of a run is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunLogFilter {
    /// The number of the job within the run.
    pub job: u32,
    /// The number of the attempt; the last one when absent.
    pub attempt: Option<u32>,
    /// Go on with new lines as they are written, until the attempt is over.
    pub follow: bool,
    /// Also what the services beside the job wrote.
    pub services: bool,
}

impl Client {
    /// Begins a run of a source tree.
    pub async fn start_run(&self, app: &str, request: &RunStart) -> Result<RunStarted, Error> {
        self.post(&of(app, "/runs"), request).await
    }

    /// Has a release brought to an environment.
    pub async fn promote(&self, app: &str, request: &PromoteRequest) -> Result<RunStarted, Error> {
        self.post(&of(app, "/promotions"), request).await
    }

    /// Returns what waits for people, of all apps, oldest first.
    pub async fn approvals(&self) -> Result<Vec<AwaitedApproval>, Error> {
        self.get("/v1/approvals").await
    }

    /// Returns the latest runs of an app, newest first.
    pub async fn runs(&self, app: &str, limit: u32) -> Result<Vec<Run>, Error> {
        self.get(&of(app, &format!("/runs?limit={limit}"))).await
    }

    /// Returns one run.
    pub async fn run_record(&self, app: &str, number: u32) -> Result<Run, Error> {
        self.get(&of(app, &format!("/runs/{number}"))).await
    }

    /// Follows a run: its record at each change, to its end.
    pub async fn follow_run(&self, app: &str, number: u32) -> Result<JsonStream<Run>, Error> {
        self.open(&of(app, &format!("/runs/{number}/progress")))
            .await
    }

    /// Stops a run.
    pub async fn cancel_run(&self, app: &str, number: u32) -> Result<(), Error> {
        let path = of(app, &format!("/runs/{number}/cancel"));
        self.command(Method::POST, &path, Body::empty()).await
    }

    /// Tries again what failed of a run.
    pub async fn retry_run(&self, app: &str, number: u32) -> Result<(), Error> {
        let path = of(app, &format!("/runs/{number}/retry"));
        self.command(Method::POST, &path, Body::empty()).await
    }

    /// Lets the release of a run come to an environment, or not.
    pub async fn decide_run(
        &self,
        app: &str,
        number: u32,
        environment: &str,
        request: &DecisionRequest,
    ) -> Result<(), Error> {
        let environment = segment(environment);
        let path = of(app, &format!("/runs/{number}/decisions/{environment}"));
        let body = self.json(request)?;
        self.command(Method::POST, &path, body).await
    }

    /// Downloads the files that are kept of a job, as a tar archive.
    pub async fn run_artifacts(&self, app: &str, number: u32, job: u32) -> Result<Archive, Error> {
        let path = of(app, &format!("/runs/{number}/jobs/{job}/artifacts"));
        let sent = self.transport.send(Method::GET, &path, Body::empty());
        sent.await.map(Archive)
    }

    /// Returns the caches of an app's jobs, by their names, newest first.
    pub async fn caches(&self, app: &str) -> Result<Vec<Cache>, Error> {
        self.get(&of(app, "/caches")).await
    }

    /// Removes the caches of an app's jobs, or only those of one name. Returns what is gone.
    pub async fn remove_caches(&self, app: &str, name: Option<&str>) -> Result<Vec<Cache>, Error> {
        let mut query = Query::default();
        query.add("name", name);
        let path = of(app, &format!("/caches?{}", query.0));
        let sent = self.transport.send(Method::DELETE, &path, Body::empty());
        self.read(sent.await?).await
    }

    /// Opens the log of a job.
    pub async fn run_log(
        &self,
        app: &str,
        number: u32,
        filter: &RunLogFilter,
    ) -> Result<JsonStream<RunLogLine>, Error> {
        let mut query = Query::default();
        query.add("attempt", filter.attempt);
        query.add("follow", filter.follow.then_some(true));
        query.add("services", filter.services.then_some(true));
        let job = filter.job;
        let path = format!("/runs/{number}/jobs/{job}/log?{}", query.0);
        self.open(&of(app, &path)).await
    }
}

/// An archive as it comes.
#[derive(Debug)]
pub struct Archive(Answer);

impl Archive {
    /// Returns the next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        self.0.next().await
    }
}

fn of(app: &str, rest: &str) -> String {
    format!("/v1/apps/{}{rest}", segment(app))
}
