//! A stored source tree, opened where that holds nobody up: what a run renders its jobs and its
//! environments from. Not how it is rendered ([`crate::source::app`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use towpath_compose::{Severity, Style};
use towpath_model::delivery::DeliveryFile;
use towpath_model::id::{AppName, Digest, EnvironmentName};
use towpath_model::pipeline::cache::Identity;
use towpath_model::pipeline::endpoint::Endpoint;
use towpath_model::pipeline::plan::Plan;
use towpath_model::pipeline::run::{Job, Target};
use towpath_model::render::Draft;

use crate::error::Error;
use crate::platform::Shared;
use crate::source::app::{AppTree, AppTreeError};
use crate::source::blocking;

/// The most warnings that are kept of a run.
const MOST_WARNINGS: usize = 100;

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

    /// Refuses a plan of which a part cannot be rendered. Returns what is unwise in the files of its
    /// environments, each said once.
    pub(crate) async fn check(&self, plan: &Plan) -> Result<Vec<String>, Error> {
        let targets = plan.targets.iter().map(Target::rendered_as);
        let environments: BTreeSet<&EnvironmentName> = targets
            .chain(plan.jobs.iter().map(|job| &job.like))
            .collect();
        let mut warnings = Vec::new();
        for environment in environments {
            let (tree, environment) = (Arc::clone(&self.0), environment.clone());
            let is_target = plan
                .targets
                .iter()
                .any(|target| target.rendered_as() == &environment);
            let rendered = blocking(move || Ok::<_, AppTreeError>(tree.render(&environment)?));
            let rendered = match rendered.await {
                Ok(rendered) => rendered,
                Err(error) if is_target => return Err(error),
                // Only what a job needs of it has to be sound.
                Err(_) => continue,
            };
            for found in rendered.warnings {
                let text = found.render(Style::Plain).trim_end().to_owned();
                if found.severity == Severity::Warning && !warnings.contains(&text) {
                    warnings.push(text);
                }
            }
        }
        for job in &plan.jobs {
            self.draft_of_job(job, BTreeMap::new(), None).await?;
        }
        warnings.truncate(MOST_WARNINGS);
        Ok(warnings)
    }

    /// Returns what the cache of a job is called by, where it has one.
    pub(crate) fn cache_of(&self, job: &Job) -> Option<Identity> {
        self.0.cache_of(job)
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
