//! A release that there is, brought to an environment behind its gates; and a push that goes straight
//! to one. What can never be is refused before anything begins. Not the gates themselves, which each
//! step of the run looks at.

use towpath_model::id::{
    AppName, Digest, EnvironmentId, EnvironmentName, ReleaseNumber, RunNumber,
};
use towpath_model::pipeline::cache::Reach;
use towpath_model::pipeline::command::Refusal;
use towpath_model::pipeline::plan::{self, Plan};
use towpath_model::pipeline::run::{Gates, JobState, Run, Target};
use towpath_model::pipeline::{Demands, Push, Reference};
use towpath_model::release::Release;
use towpath_model::rollout::Strategy;
use towpath_store::{NewRelease, ReleaseOfRun};

use crate::checkout::Checkout;
use crate::error::Error;
use crate::platform::{Platform, Shared};

/// Runs that are looked through for the one that made a release: a release is rarely that old.
const KEPT: u32 = 1_000;

/// Deployments that are looked through for the one that brought a release.
const BROUGHT: u32 = 100;

/// A promotion that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promote {
    /// The app.
    pub app: AppName,
    /// The environment to bring the release to.
    pub environment: EnvironmentName,
    /// The release; that of the environment it comes from when absent.
    pub release: Option<ReleaseNumber>,
    /// Another strategy than the release's own.
    pub strategy: Option<Strategy>,
    /// Who asks.
    pub actor: String,
}

impl Platform {
    /// Brings a release to an environment, behind its gates: that of the environment it comes from,
    /// or one that was there.
    pub async fn promote(&self, promote: Promote) -> Result<RunNumber, Error> {
        let shared = &self.shared;
        let id = EnvironmentId::new(promote.app.clone(), promote.environment.clone());
        let release = match promote.release {
            Some(release) => release,
            None => shared.newest_before(&id).await?,
        };
        let store = &shared.ports.store;
        let found = store.release(&id.app, release).await?;
        let missing = || Error::NotFound(format!("release {release} of `{}`", id.app));
        let found = found.ok_or_else(missing)?;
        let checkout = match &found.source {
            Some(source) => Some(shared.check_out(&id.app, source).await?),
            None => None,
        };
        let candidate = shared
            .demands_of(&id, release, checkout.as_ref())
            .await?
            .ok_or_else(|| Error::NoRelease {
                environment: id.clone(),
                release,
            })?;
        let ruling = shared.ruling(&id, &candidate);
        shared.refuse_unproven(&id, &ruling, release)?;
        shared.refuse_unchecked(&id, &ruling, release).await?;
        let commit = found.commit.clone().unwrap_or_default();
        if let Some(reason) = shared.lost_fix(&id, release, &commit).await {
            return Err(refused(format!("{reason}: {}", way_past(&id, release))));
        }
        let push = push_of(&id.app, found, promote.actor);
        let (mut plan, warnings) = match &checkout {
            Some(checkout) => {
                let plan = plan::promotion(checkout.file(), &push, &id.name);
                let plan = plan.ok_or_else(|| unknown(checkout, &id.name))?;
                let warnings = checkout.check(&plan).await?;
                (plan, warnings)
            }
            // It was rendered when it was made, and nothing is left that a job could run in.
            None => (one_target(&id.name, candidate.gates()), Vec::new()),
        };
        for target in &mut plan.targets {
            target.strategy = promote.strategy;
        }
        shared
            .begin(push, (plan, warnings), ReleaseOfRun::Present(release))
            .await
    }

    /// Begins the run of a push whose tree is stored, which goes straight to an environment: all of its
    /// jobs, then the environment, behind people alone.
    pub async fn hotfix(
        &self,
        push: Push,
        environment: &EnvironmentName,
    ) -> Result<RunNumber, Error> {
        let shared = &self.shared;
        if shared.ports.store.source(&push.source).await?.is_none() {
            return Err(Error::NoSource(push.source.to_string()));
        }
        let checkout = shared.check_out(&push.app, &push.source).await?;
        let plan = plan::hotfix(checkout.file(), &push, environment);
        let plan = plan.ok_or_else(|| unknown(&checkout, environment))?;
        let warnings = checkout.check(&plan).await?;
        let id = EnvironmentId::new(push.app.clone(), environment.clone());
        let newest = ReleaseNumber(u32::MAX);
        if let Some(reason) = shared.lost_fix(&id, newest, &push.commit).await {
            return Err(refused(format!(
                "{reason}: make it of a commit that has it"
            )));
        }
        self.begin_new(push, (plan, warnings)).await
    }

    /// Begins a run that brings one release, which is stored with its rendering, to one environment.
    pub(crate) async fn begin_single(
        &self,
        id: &EnvironmentId,
        release: Release,
        demands: &Demands,
        strategy: Option<Strategy>,
        actor: String,
    ) -> Result<RunNumber, Error> {
        let number = release.number;
        let push = push_of(&id.app, release, actor);
        let mut plan = one_target(&id.name, demands.gates());
        for target in &mut plan.targets {
            target.strategy = strategy;
        }
        self.shared
            .begin(push, (plan, Vec::new()), ReleaseOfRun::Present(number))
            .await
    }

    /// Makes the release of a push, begins its run, and has it take the place of older ones.
    pub(super) async fn begin_new(
        &self,
        push: Push,
        (plan, warnings): (Plan, Vec<String>),
    ) -> Result<RunNumber, Error> {
        let shared = &self.shared;
        self.register(&push.app, &push.actor).await?;
        let release = NewRelease {
            source: Some(push.source.clone()),
            commit: Some(push.commit.clone()).filter(|commit| !commit.is_empty()),
            message: Some(push.message.clone()).filter(|message| !message.is_empty()),
            created_at: shared.ports.clock.now(),
            created_by: push.actor.clone(),
        };
        let older = shared.active(&push.app, &push.reference, plan.is_hotfix);
        let release = ReleaseOfRun::New(release);
        let number = shared.begin(push, (plan, warnings), release).await?;
        for keeper in older {
            let by = format!("run {number}");
            // One that has ended meanwhile needs no other to take its place.
            let superseded = keeper.edit(move |run, now| run.supersede(&by, now)).await;
            match superseded {
                Ok(()) | Err(Error::RunRefused(_) | Error::Stopping) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(number)
    }
}

fn refused(message: String) -> Error {
    Error::RunRefused(Refusal::Other(message))
}

/// Says what the owner may do all the same.
fn way_past(id: &EnvironmentId, release: ReleaseNumber) -> String {
    format!("`towpath deploy {id} --release {release} --override REASON` brings it all the same")
}

fn unknown(checkout: &Checkout, name: &EnvironmentName) -> Error {
    let names = checkout.file().environment_names();
    let near = towpath_compose::diagnostic::nearest(
        name.as_str(),
        names.iter().map(EnvironmentName::as_str),
    );
    let near = near.map_or_else(String::new, |near| format!(": did you mean `{near}`?"));
    Error::NotFound(format!("environment `{name}` in the delivery file{near}"))
}

fn push_of(app: &AppName, release: Release, actor: String) -> Push {
    Push {
        app: app.clone(),
        // Nothing is read of the tree of a release that has none: it is rendered already.
        source: release.source.unwrap_or_else(|| Digest::of(b"")),
        commit: release.commit.unwrap_or_default(),
        reference: Reference::WorkingTree,
        changed: None,
        author: release.created_by,
        message: release.message.unwrap_or_default(),
        actor,
    }
}

fn one_target(name: &EnvironmentName, gates: Gates) -> Plan {
    Plan {
        jobs: Vec::new(),
        targets: vec![Target::new(name.clone(), gates)],
        is_hotfix: false,
        reach: Reach::default(),
    }
}

impl Shared {
    /// Returns what the release demands that is stable in an environment, where it demands something.
    pub(crate) fn stable_demands(&self, id: &EnvironmentId) -> Option<Demands> {
        let snapshot = self.keeper(id).ok()?.watch().borrow().clone();
        let demands = &snapshot.environment.stable_rendering()?.demands;
        (!demands.is_empty()).then(|| demands.clone())
    }

    /// Returns the demands that count for a release that is to come to an environment. A preview is
    /// rendered like another environment, and demands nothing.
    pub(crate) fn ruling(&self, id: &EnvironmentId, candidate: &Demands) -> Demands {
        let is_preview = self.keeper(id).is_ok_and(|keeper| {
            let snapshot = keeper.watch().borrow().clone();
            snapshot.environment.preview.is_some()
        });
        if is_preview {
            return Demands::default();
        }
        let stable = self.stable_demands(id);
        Demands::ruling(stable.as_ref(), candidate).clone()
    }

    /// Returns what a release itself demands: as its delivery file has it, or as it was rendered.
    async fn demands_of(
        &self,
        id: &EnvironmentId,
        release: ReleaseNumber,
        checkout: Option<&Checkout>,
    ) -> Result<Option<Demands>, Error> {
        if let Some(checkout) = checkout {
            return Ok(Some(Demands::of(checkout.file(), &id.name)));
        }
        let rendering = self.ports.store.rendering(id, release).await?;
        Ok(rendering.map(|rendering| rendering.demands))
    }

    /// Returns the release of the environment that releases come from to another.
    async fn newest_before(&self, to: &EnvironmentId) -> Result<ReleaseNumber, Error> {
        let nothing = || {
            Error::NotFound(format!(
                "release of `{}` that `{}` could be given",
                to.app, to.name
            ))
        };
        let after = if let Some(demands) = self.stable_demands(to) {
            demands.after().cloned()
        } else {
            let newest = self.ports.store.releases(&to.app).await?;
            let newest = newest.into_iter().find_map(|release| release.source);
            let newest = newest.ok_or_else(nothing)?;
            let checkout = self.check_out(&to.app, &newest).await?;
            if !checkout.file().environment_names().contains(&to.name) {
                return Err(unknown(&checkout, &to.name));
            }
            checkout.file().deploy(&to.name).after
        };
        let from = after.ok_or_else(|| {
            let to = &to.name;
            refused(format!(
                "nothing says where releases come from to `{to}`: name one"
            ))
        })?;
        let from = EnvironmentId::new(to.app.clone(), from);
        let snapshot = self.keeper(&from)?.watch().borrow().clone();
        snapshot.environment.stable.ok_or_else(nothing)
    }

    /// Refuses a release that was not in the environment which releases come from. One that was in the
    /// environment itself was there.
    fn refuse_unproven(
        &self,
        id: &EnvironmentId,
        demands: &Demands,
        release: ReleaseNumber,
    ) -> Result<(), Error> {
        let Some(from) = demands.after() else {
            return Ok(());
        };
        let from = EnvironmentId::new(id.app.clone(), from.clone());
        if self.was_in(id, release) || self.was_in(&from, release) {
            return Ok(());
        }
        self.keeper(&from)?;
        Err(refused(format!(
            "release {release} was never in `{from}`, which comes before `{}`: {}",
            id.name,
            way_past(id, release)
        )))
    }

    /// Refuses a release whose jobs did not pass, where they have to.
    async fn refuse_unchecked(
        &self,
        id: &EnvironmentId,
        demands: &Demands,
        release: ReleaseNumber,
    ) -> Result<(), Error> {
        if !demands.checks || demands.is_empty() || self.was_in(id, release) {
            return Ok(());
        }
        let runs = self.ports.store.runs(&id.app, KEPT).await?;
        let runs: Vec<Run> = runs.iter().map(super::read).collect::<Result<_, _>>()?;
        let mut own = runs
            .iter()
            .filter(|run| run.release == release && !run.is_promotion);
        let before = |run: &Run| {
            let mut jobs = run.jobs.iter().filter(|job| job.after.is_none());
            jobs.all(|job| job.state == JobState::Succeeded)
        };
        match own.next() {
            Some(run) if before(run) => Ok(()),
            Some(run) => Err(refused(format!(
                "the jobs of release {release} did not pass: `towpath runs retry {}` tries them again",
                run.number
            ))),
            None => Err(refused(format!(
                "release {release} passed no jobs, which `{id}` wants: push it, or `towpath runs start`"
            ))),
        }
    }

    /// Refuses a way back to a release that was never in an environment with gates: it is one past them.
    pub(crate) fn refuse_what_never_was(
        &self,
        id: &EnvironmentId,
        release: ReleaseNumber,
    ) -> Result<(), Error> {
        if self.stable_demands(id).is_none() || self.was_in(id, release) {
            return Ok(());
        }
        Err(refused(format!(
            "release {release} was never in `{id}`, so that is no way back: `towpath deploy {id} --release {release}`"
        )))
    }

    /// Tells whether all traffic of an environment is, or was, on a release.
    fn was_in(&self, id: &EnvironmentId, release: ReleaseNumber) -> bool {
        let Ok(keeper) = self.keeper(id) else {
            return false;
        };
        let snapshot = keeper.watch().borrow().clone();
        let environment = &snapshot.environment;
        let delivered = environment
            .deployment
            .as_ref()
            .filter(|one| one.shifted_at.is_some() && one.failure.is_none());
        environment.history.contains(&release)
            || delivered.is_some_and(|one| one.release == release)
    }

    /// Returns since when all traffic of an environment is, or was for the first time, on a release.
    pub(super) async fn in_since(
        &self,
        id: &EnvironmentId,
        release: ReleaseNumber,
    ) -> Result<Option<jiff::Timestamp>, Error> {
        if !self.was_in(id, release) {
            return Ok(None);
        }
        let rows = self.ports.store.deployments(id, BROUGHT).await?;
        let mut first = None;
        for row in rows {
            let deployment = super::observe::read(id, row)?;
            let good = deployment.release == release && deployment.failure.is_none();
            let shifted = deployment.shifted_at.filter(|_| good);
            first = first.into_iter().chain(shifted).min();
        }
        // One that is not in the list any more was there long ago.
        Ok(first.or(Some(jiff::Timestamp::UNIX_EPOCH)))
    }
}
