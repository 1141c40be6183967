//! Carries out what a step of a run decided: environments of jobs are made and removed, deployments
//! are asked for. All of it may be done twice and is done once. Not the decisions.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use towpath_model::command::Request;
use towpath_model::deployment::{Kind, Origin};
use towpath_model::event::NewEvent;
use towpath_model::id::{
    EnvironmentId, EnvironmentName, ReleaseNumber, SecretName, SecretVersion, ServiceName,
};
use towpath_model::pipeline::endpoint::Endpoint;
use towpath_model::pipeline::junit::Tests;
use towpath_model::pipeline::observation::Observation;
use towpath_model::pipeline::run::{Attempt, Job, Run};
use towpath_model::pipeline::step::Action;
use towpath_model::pipeline::{JOB_SERVICE, Reference};
use towpath_model::port::Volumes;
use towpath_model::preview::Refusal;
use towpath_model::release::Rendering;
use towpath_model::render::Draft;
use towpath_model::rollout::Strategy;

use super::keeper::Task;
use super::log::{Collector, Kept};
use crate::checkout::Checkout;
use crate::error::{Error, Kind as ErrorKind, describe};
use crate::platform::{Platform, Shared};

/// An edit of the record that follows from what was done.
pub(super) type Edit = Box<dyn FnOnce(&mut Run, Timestamp) -> Vec<NewEvent> + Send>;

/// What came of an action.
pub(super) enum Done {
    /// It was asked for: what comes of it will be seen.
    Asked,
    /// It has to be asked for again.
    NotYet,
    /// The record follows from it.
    Edit(Edit),
}

impl Task {
    /// Carries out an action.
    pub(super) async fn act(
        &mut self,
        action: &Action,
        observation: &Observation,
    ) -> Result<Done, Error> {
        match action {
            Action::LookUp { index } => {
                let looked_up = self.look_up(*index).await;
                let index = *index;
                or_give_up(looked_up, move |_| {
                    Box::new(move |run, _| run_anyway(run, index))
                })
            }
            Action::StartJob { index } => {
                let started = self.start_job(*index).await;
                let index = *index;
                or_give_up(started, move |reason| {
                    Box::new(move |run, now| run.refuse_job(index, reason, now))
                })
            }
            Action::Look { index, attempt } => self.look(*index, *attempt).await,
            Action::ClearJob { index, attempt } => {
                self.clear_job(*index, *attempt, observation).await
            }
            Action::Deploy { environment } => {
                let asked = self.deploy(environment).await.map(|()| Done::Asked);
                let environment = environment.clone();
                or_give_up(asked, move |reason| {
                    Box::new(move |run, now| run.refuse_target(&environment, reason, now))
                })
            }
            Action::Abort {
                environment,
                deployment,
            } => {
                let id = self.run.environment(environment);
                let snapshot = self.platform().snapshot(&id)?;
                let environment = &snapshot.environment;
                let mut ours = environment.deployment.iter().chain(&environment.waiting);
                if ours.any(|one| one.number == *deployment) {
                    let aborted = self.platform().abort(&id, self.actor()).await;
                    // One that is on its way back already, or done, needs nobody's word.
                    if let Err(error) = aborted
                        && error.kind() != ErrorKind::Refused
                    {
                        return Err(error);
                    }
                }
                Ok(Done::Asked)
            }
        }
    }

    fn platform(&self) -> Platform {
        Platform {
            shared: Arc::clone(&self.shared),
        }
    }

    fn actor(&self) -> &str {
        match &self.run.stop {
            Some(stop) => &stop.actor,
            None => &self.run.push.actor,
        }
    }

    pub(super) async fn checkout(&mut self) -> Result<Checkout, Error> {
        if let Some(checkout) = &self.checkout {
            return Ok(checkout.clone());
        }
        let push = &self.run.push;
        let checkout = self.shared.check_out(&push.app, &push.source).await?;
        self.checkout = Some(checkout.clone());
        Ok(checkout)
    }

    /// Asks for the deployment of the release to an environment, which is made where it is not there.
    async fn deploy(&mut self, environment: &EnvironmentName) -> Result<(), Error> {
        let mut targets = self.run.targets.iter();
        let Some(target) = targets.find(|one| &one.environment == environment) else {
            return Ok(());
        };
        let origin = self.origin(target.attempt);
        let strategy = target.strategy;
        let id = self.run.environment(environment);
        let (release, actor) = (self.run.release, self.run.push.actor.clone());
        let (preview, rendered_as) = (target.preview.clone(), target.rendered_as().clone());
        let platform = self.platform();
        if let Some(preview) = preview {
            platform.keep_preview(&id, &preview, &actor).await?;
        } else {
            platform.create_environment(&id, &actor).await?;
            if platform.snapshot(&id)?.environment.preview.is_some() {
                return Err(Refusal::IsPreview(id).into());
            }
        }
        if self.shared.deployment_for(&id, origin).await?.is_some() {
            return Ok(());
        }
        let known = self.shared.ports.store.rendering(&id, release).await?;
        let rendering = if let Some(rendering) = known {
            rendering
        } else {
            let draft = self.checkout().await?.draft(&rendered_as).await?;
            let mut rendering = platform.render(&id, &draft).await?;
            let is_hotfix = self.run.is_hotfix;
            rendering.hotfix = is_hotfix.then(|| self.run.push.commit.clone());
            rendering
        };
        let asked = Asked {
            id,
            origin,
            release,
            actor,
            automatic: !self.run.is_promotion,
            strategy,
        };
        platform.deploy_for(asked, rendering).await
    }

    /// Makes the environment of a job's last attempt, and deploys the job to it.
    async fn start_job(&mut self, index: usize) -> Result<Done, Error> {
        let Some(job) = self.run.jobs.get(index).cloned() else {
            return Ok(Done::Asked);
        };
        let Some(attempt) = job.attempts.last() else {
            return Ok(Done::Asked);
        };
        if job.cache.is_some() && attempt.cache.is_none() {
            return self.choose_cache(index, &job).await;
        }
        let id = self.run.environment(&attempt.environment);
        let origin = self.origin(attempt.number);
        let platform = self.platform();
        platform.create_environment(&id, crate::SYSTEM).await?;
        if self.shared.deployment_for(&id, origin).await?.is_some() {
            return Ok(Done::Asked);
        }
        let variables = self.variables(&job);
        let target = job.after.as_ref().and_then(|name| self.endpoint_of(name));
        let checkout = self.checkout().await?;
        let draft = checkout.draft_of_job(&job, variables, target).await?;
        self.give(&job, &id).await?;
        let like = self.run.environment(&job.like);
        let secrets = match &job.lookup {
            Some(lookup) => lookup.secrets.clone(),
            None => self.secrets_of(&job, &draft).await?,
        };
        self.shared.lend_secrets(&like, &id, &secrets).await?;
        let rendering = platform.pinned(&id, &draft).await?;
        let asked = Asked {
            id,
            origin,
            release: self.run.release,
            actor: self.run.push.actor.clone(),
            automatic: false,
            strategy: None,
        };
        platform.deploy_for(asked, rendering).await?;
        Ok(Done::Asked)
    }

    /// Returns the latest versions of the secrets that a job is given.
    pub(super) async fn secrets_of(
        &self,
        job: &Job,
        draft: &Draft,
    ) -> Result<BTreeMap<SecretName, SecretVersion>, Error> {
        // Whoever wrote the commit of a fork need not be allowed to know them.
        if self.run.push.reference.is_fork() {
            return Ok(BTreeMap::new());
        }
        let like = self.run.environment(&job.like);
        let wanted: Vec<&SecretName> = draft.secrets().into_iter().collect();
        self.shared.latest_of(&like, &wanted).await
    }

    /// Gives a job its cache, and over that the artifacts of those that it needs.
    async fn give(&self, job: &Job, id: &EnvironmentId) -> Result<(), Error> {
        let mut archives: Vec<_> = self.cache_for(job).await?.into_iter().collect();
        let needed = self
            .needed(job)
            .filter(|one| one.kept_artifacts().is_some());
        archives.extend(needed.map(|one| self.shared.artifacts_of(&self.id, one.number)));
        if archives.is_empty() {
            return Ok(());
        }
        let own = ServiceName::new(JOB_SERVICE).expect("the constant is a name");
        let engine = &self.shared.ports.engine;
        Ok(engine.give_files(id, &own, &archives).await?)
    }

    /// Returns the jobs that a job needs.
    pub(super) fn needed<'a>(&'a self, job: &'a Job) -> impl Iterator<Item = &'a Job> {
        let jobs = self.run.jobs.iter();
        jobs.filter(|one| job.needs.contains(&one.name))
    }

    /// Returns the variables that a job is given beside its own. One whose result counts for others is
    /// not told what it runs for: that is none of its inputs.
    pub(super) fn variables(&self, job: &Job) -> BTreeMap<String, String> {
        let run = &self.run;
        let mut variables = BTreeMap::from([
            ("CI".to_owned(), "true".to_owned()),
            ("TOWPATH_JOB".to_owned(), job.name.to_string()),
        ]);
        if let Some(given) = job.attempts.last().and_then(|one| one.cache.as_ref()) {
            variables.insert("TOWPATH_CACHE".to_owned(), given.word().to_owned());
        }
        if job.reuse.is_some() {
            return variables;
        }
        let number = run.number.to_string();
        variables.insert("TOWPATH_RUN_NUMBER".to_owned(), number);
        variables.insert("TOWPATH_COMMIT".to_owned(), run.push.commit.clone());
        let (name, value) = match &run.push.reference {
            Reference::Branch(branch) => ("TOWPATH_BRANCH", branch.clone()),
            Reference::Tag(tag) => ("TOWPATH_TAG", tag.clone()),
            Reference::PullRequest { number, .. } => ("TOWPATH_PULL_REQUEST", number.to_string()),
            Reference::WorkingTree => ("TOWPATH_BRANCH", String::new()),
        };
        variables.insert(name.to_owned(), value);
        variables
    }

    /// Returns where an environment is reached.
    fn endpoint_of(&self, environment: &EnvironmentName) -> Option<Endpoint> {
        let snapshot = self.platform().snapshot(&self.run.environment(environment));
        let snapshot = snapshot.ok()?;
        let rendering = snapshot.environment.stable_rendering();
        let candidate = snapshot.environment.candidate_rendering();
        Endpoint::of(candidate.or(rendering)?)
    }

    /// Keeps the log of an attempt that ended, and removes its environment.
    async fn clear_job(
        &mut self,
        index: usize,
        attempt: u32,
        observation: &Observation,
    ) -> Result<Done, Error> {
        let Some(job) = self.run.jobs.get(index) else {
            return Ok(Done::Asked);
        };
        let attempts = job.attempts.iter();
        let Some(one) = attempts.clone().find(|one| one.number == attempt) else {
            return Ok(Done::Asked);
        };
        let key = (job.number, attempt);
        if let Some(collector) = self.logs.get_mut(&key) {
            if !collector.finish(last_words(one)).await {
                return Ok(Done::NotYet);
            }
            self.logs.remove(&key);
        }
        if observation.jobs.contains_key(&one.environment) {
            let id = self.run.environment(&one.environment);
            self.shared.discard(&id).await?;
            return Ok(Done::NotYet);
        }
        Ok(Done::Edit(Box::new(move |run, _| {
            let job = run.jobs.get_mut(index);
            let mut attempts = job.into_iter().flat_map(|job| &mut job.attempts);
            if let Some(one) = attempts.find(|one| one.number == attempt) {
                one.is_cleared = true;
            }
            Vec::new()
        })))
    }

    /// Has the log of every attempt kept that has an environment.
    pub(super) fn collect_logs(&mut self, observation: &Observation) {
        for job in &self.run.jobs {
            for attempt in job.attempts.iter().filter(|one| !one.is_cleared) {
                let key = (job.number, attempt.number);
                let seen = observation.jobs.get(&attempt.environment);
                let begun = seen.is_some_and(|seen| seen.deployment.is_some());
                if !begun || self.logs.contains_key(&key) || self.is_kept(key) {
                    continue;
                }
                let id = self.run.environment(&attempt.environment);
                let path = self.shared.log_of(&self.id, key.0, key.1);
                let keep = Kept {
                    environment: id,
                    release: self.run.release,
                    path,
                    steps: job.steps.clone(),
                };
                let collector = Collector::start(&self.shared, keep);
                self.logs.insert(key, collector);
            }
        }
    }

    /// Tells whether the whole log of an attempt was kept by this or an earlier control plane.
    fn is_kept(&self, (job, attempt): (u32, u32)) -> bool {
        let path = self.shared.log_of(&self.id, job, attempt);
        path.exists()
    }
}

/// Gives up what can never work; what failed this time is tried again.
fn or_give_up(
    done: Result<Done, Error>,
    give_up: impl FnOnce(String) -> Edit,
) -> Result<Done, Error> {
    match done {
        Ok(done) => Ok(done),
        Err(error) => match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Internal => Err(error),
            ErrorKind::NotFound | ErrorKind::Refused => Ok(Done::Edit(give_up(describe(&error)))),
        },
    }
}

/// Has a job run whose inputs cannot be told: what is wrong with it shows there.
fn run_anyway(run: &mut Run, index: usize) -> Vec<NewEvent> {
    if let Some(job) = run.jobs.get_mut(index) {
        job.reuse = None;
    }
    Vec::new()
}

/// Returns what is written at the end of the log of an attempt.
fn last_words(attempt: &Attempt) -> Vec<String> {
    let left = attempt.left.as_ref();
    let tests = left.and_then(|left| left.tests.as_ref());
    tests.map(Tests::lines).unwrap_or_default()
}

/// A deployment that a run asks for.
struct Asked {
    id: EnvironmentId,
    origin: Origin,
    release: ReleaseNumber,
    actor: String,
    automatic: bool,
    strategy: Option<Strategy>,
}

impl Platform {
    async fn deploy_for(&self, asked: Asked, rendering: Rendering) -> Result<(), Error> {
        let Asked {
            id,
            origin,
            release,
            actor,
            automatic,
            strategy,
        } = asked;
        self.refuse_while_destroyed(&id)?;
        self.check_ports(&id, &rendering, &[])?;
        let store = &self.shared.ports.store;
        store.insert_rendering(&id, release, &rendering).await?;
        let request = Request {
            kind: Kind::Release,
            release,
            peers: self.peers(&id, &rendering).await?,
            settings: strategy.map(|strategy| rendering.settings.with(strategy)),
            rendering: Arc::new(self.seeded(&id, rendering).await?),
            actor,
            automatic,
        };
        self.edit(&id, move |environment, now| {
            environment.request_for(origin, request, now)
        })
        .await?;
        Ok(())
    }
}

impl Shared {
    /// Returns the latest versions of these secrets of an environment, as far as they have a value.
    pub(crate) async fn latest_of(
        &self,
        id: &EnvironmentId,
        wanted: &[&SecretName],
    ) -> Result<BTreeMap<SecretName, SecretVersion>, Error> {
        let mut versions = self.ports.store.latest_versions(id).await?;
        versions.retain(|name, _| wanted.contains(&name));
        Ok(versions)
    }

    /// Gives an environment secrets as another one has them. They go with the environment. One without
    /// a value is complained of when the draft is pinned.
    pub(crate) async fn lend_secrets(
        &self,
        from: &EnvironmentId,
        to: &EnvironmentId,
        secrets: &BTreeMap<SecretName, SecretVersion>,
    ) -> Result<(), Error> {
        let store = &self.ports.store;
        for (name, version) in secrets {
            let value = store.reveal_secret(from, name, *version).await?;
            let now = self.ports.clock.now();
            store
                .set_secret(to, name, &value, crate::SYSTEM, now)
                .await?;
        }
        Ok(())
    }

    /// Has an environment removed, with all that it has.
    pub(crate) async fn discard(self: &Arc<Self>, id: &EnvironmentId) -> Result<(), Error> {
        if self.removals.has(id) {
            return Ok(());
        }
        match self
            .ask_to_destroy(id, Volumes::Delete, crate::SYSTEM)
            .await
        {
            Ok(_) | Err(Error::NoEnvironment(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The name of the service whose log is that of the job.
pub(super) fn is_own(service: &str) -> bool {
    service == JOB_SERVICE
}
