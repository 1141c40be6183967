//! What commits contain, and what follows from it: a hotfix that a release would take away, and the
//! environments that a hotfix passed by. Not the rule, which is `model::pipeline::behind`.

use std::collections::BTreeMap;

use towpath_model::id::{AppName, EnvironmentId, EnvironmentName, ReleaseNumber};
use towpath_model::pipeline::behind::{Behind, Place, behind};
use towpath_model::repository::{CommitId, Objects};

use crate::error::Error;
use crate::platform::{Platform, Shared};

impl Platform {
    /// Returns the environments of an app that a hotfix passed by, and that do not have it yet.
    pub async fn behind(&self, app: &AppName) -> Result<Vec<Behind>, Error> {
        self.shared.behind(&self.shared.places(app), app).await
    }
}

impl Shared {
    /// Tells whether a commit has all that another one has; `None` when the history of both is not
    /// known.
    pub(crate) async fn contains(&self, app: &AppName, commit: &str, other: &str) -> Option<bool> {
        let (commit, other): (CommitId, CommitId) = (commit.parse().ok()?, other.parse().ok()?);
        if commit == other {
            return Some(true);
        }
        let repositories = &self.ports.repositories;
        if !repositories.exists(app).await.ok()? {
            return None;
        }
        let forward = repositories.is_forward(app, &other, &commit, &Objects::Kept);
        forward.await.ok()
    }

    /// Says which hotfix a release would take away from an environment, if so. Of a newer release whose
    /// history nobody knows it is not believed.
    pub(super) async fn lost_fix(
        &self,
        id: &EnvironmentId,
        release: ReleaseNumber,
        commit: &str,
    ) -> Option<String> {
        let snapshot = self.keeper(id).ok()?.watch().borrow().clone();
        let environment = &snapshot.environment;
        let stable = environment.stable.filter(|stable| *stable != release)?;
        let fix = environment.stable_rendering()?.hotfix.as_ref()?;
        let short: String = fix.chars().take(12).collect();
        match self.contains(&id.app, commit, fix).await {
            Some(true) => None,
            None if release > stable => None,
            Some(false) => Some(format!(
                "the hotfix of release {stable} would be lost, whose commit {short} it does not have"
            )),
            None => Some(format!(
                "the hotfix of release {stable} would be lost, whose commit {short} is newer"
            )),
        }
    }

    /// Returns what is in the environments of an app.
    fn places(&self, app: &AppName) -> Vec<Place> {
        let snapshots = self.snapshots();
        let own = snapshots
            .iter()
            .map(|snapshot| &snapshot.environment)
            .filter(|one| &one.id.app == app);
        own.map(|environment| {
            let rendering = environment.stable_rendering();
            Place {
                name: environment.id.name.clone(),
                stable: environment.stable,
                hotfix: rendering.and_then(|one| one.hotfix.clone()),
                before: rendering
                    .map(|one| one.demands.before.clone())
                    .unwrap_or_default(),
            }
        })
        .collect()
    }

    async fn behind(&self, places: &[Place], app: &AppName) -> Result<Vec<Behind>, Error> {
        let mut known: BTreeMap<(ReleaseNumber, String), bool> = BTreeMap::new();
        let hotfixes = places.iter().filter(|one| one.hotfix.is_some());
        for ahead in hotfixes {
            let passed_by = places.iter().filter(|one| ahead.before.contains(&one.name));
            for release in passed_by.filter_map(|one| one.stable) {
                let fix = ahead.hotfix.clone().unwrap_or_default();
                let found = self.ports.store.release(app, release).await?;
                let commit = found.and_then(|one| one.commit).unwrap_or_default();
                if let Some(has_it) = self.contains(app, &commit, &fix).await {
                    known.insert((release, fix), has_it);
                }
            }
        }
        Ok(behind(places, |release, fix| {
            known.get(&(release, fix.to_owned())).copied()
        }))
    }

    /// Returns the environments that are behind when a release is in `ahead` as a hotfix of this commit.
    pub(super) async fn behind_with(
        &self,
        ahead: &EnvironmentId,
        release: ReleaseNumber,
        commit: &str,
    ) -> Result<Vec<EnvironmentName>, Error> {
        let rendering = self.ports.store.rendering(ahead, release).await?;
        let before = rendering.map(|one| one.demands.before).unwrap_or_default();
        let mut places = self.places(&ahead.app);
        places.retain(|one| one.name != ahead.name);
        for place in &mut places {
            place.hotfix = None;
        }
        places.push(Place {
            name: ahead.name.clone(),
            stable: Some(release),
            hotfix: Some(commit.to_owned()),
            before,
        });
        let found = self.behind(&places, &ahead.app).await?;
        Ok(found.into_iter().map(|one| one.name).collect())
    }
}
