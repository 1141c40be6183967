//! A stored source tree, opened where that holds nobody up: what a run renders its jobs and its
//! environments from. Not how it is rendered ([`crate::source::app`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use towpath_model::delivery::DeliveryFile;
use towpath_model::id::{AppName, Digest, EnvironmentName};
use towpath_model::pipeline::endpoint::Endpoint;
use towpath_model::pipeline::plan::Plan;
use towpath_model::pipeline::run::Job;
use towpath_model::render::Draft;

use crate::error::Error;
use crate::platform::Shared;
use crate::source::app::{AppTree, AppTreeError};
use crate::source::blocking;

/// An opened tree. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub(crate) struct Checkout(Arc<AppTree>);

impl Shared {
    /// Opens the tree of an app.
    pub(crate) async fn check_out(
        &self,
        app: &AppName,
        digest: &Digest,
    ) -> Result<Checkout, Error> {
        let (app, digest) = (app.clone(), digest.clone());
        let directory = self.config.data.source(&digest);
        let opened = blocking(move || AppTree::open(&app, &directory, digest)).await?;
        Ok(Checkout(Arc::new(opened)))
    }
}

impl Checkout {
    /// Returns the delivery file.
    pub(crate) fn file(&self) -> &DeliveryFile {
        &self.0.delivery().file
    }

    /// Refuses a plan of which a part cannot be rendered.
    pub(crate) async fn check(&self, plan: &Plan) -> Result<(), Error> {
        for target in &plan.targets {
            self.draft(target.rendered_as()).await?;
        }
        for job in &plan.jobs {
            self.draft_of_job(job, BTreeMap::new(), None).await?;
        }
        Ok(())
    }

    /// Renders the app for an environment.
    pub(crate) async fn draft(&self, environment: &EnvironmentName) -> Result<Draft, Error> {
        let (tree, environment) = (Arc::clone(&self.0), environment.clone());
        blocking(move || {
            let rendered = tree.render(&environment)?;
            Ok::<_, AppTreeError>(rendered.draft)
        })
        .await
    }

    /// Renders the environment of a job, which is given these variables and looks at this environment.
    pub(crate) async fn draft_of_job(
        &self,
        job: &Job,
        variables: BTreeMap<String, String>,
        target: Option<Endpoint>,
    ) -> Result<Draft, Error> {
        let (tree, job) = (Arc::clone(&self.0), job.clone());
        blocking(move || {
            tree.render_job(&job, &variables, target.as_ref())
                .map_err(AppTreeError::from)
        })
        .await
    }
}
