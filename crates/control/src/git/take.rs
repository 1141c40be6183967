//! What branches, tags and pull requests have since the last time: found by comparison and handed on. Not
//! the one task that does it ([`crate::intake`]).

use std::collections::BTreeMap;

use towpath_model::delivery::PreviewSettings;
use towpath_model::event::NewEvent;
use towpath_model::id::{AppName, Digest, RunNumber};
use towpath_model::pipeline::{Push, Reference};
use towpath_model::repository::outside::{RepositorySettings, pull_request_reference};
use towpath_model::repository::{CommitId, Objects, reference};

use super::refusal;
use crate::error::Error;
use crate::platform::Platform;

/// A commit that was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenIn {
    /// What has it.
    pub reference: Reference,
    /// The commit.
    pub commit: CommitId,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a commit that was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its tree is kept, and it was handed on: the number of the run, where the delivery file has
    /// something to do for it.
    HandedOn(Digest, Option<RunNumber>),
    /// It is not what the app can be delivered from.
    Refused(String),
}

/// One reference that moved.
struct Move<'a> {
    name: &'a str,
    reference: Reference,
    before: Option<&'a CommitId>,
    commit: &'a CommitId,
}

impl Platform {
    /// Takes in what the branches and tags of an app's repository have since the last time.
    pub async fn take_in(&self, app: &AppName, actor: &str) -> Result<Vec<TakenIn>, Error> {
        self.shared.intake.ask(app, None, actor).await
    }

    /// Does what [`Self::take_in`] asks for. Only one may do so at a time.
    pub(crate) async fn take_in_now(
        &self,
        app: &AppName,
        actor: &str,
    ) -> Result<Vec<TakenIn>, Error> {
        let ports = &self.shared.ports;
        let settings = ports.store.repository(app).await?;
        let present = ports.repositories.references(app).await;
        let present = present.map_err(Error::Git)?;
        let taken = ports.store.taken_references(app).await?;
        let is_gone = |name: &&String| reference(name).is_some() && !present.contains_key(*name);
        for name in taken.keys().filter(is_gone) {
            let gone = self.moved(app, name, taken.get(name), None, actor);
            ports.store.record_reference(app, name, None, &gone).await?;
        }
        if settings.outside.is_some() {
            self.close_requests_without_branch(app, &present, actor)
                .await?;
        }
        let mut quiet = Vec::new();
        let mut handed_on = Vec::new();
        for (name, commit) in &present {
            let before = taken.get(name);
            let Some(reference) = reference(name).filter(|_| before != Some(commit)) else {
                continue;
            };
            if !is_delivered(&settings, &taken, &reference) {
                quiet.push((name.as_str(), commit));
                continue;
            }
            let one = Move {
                name,
                reference,
                before,
                commit,
            };
            handed_on.extend(self.take(app, &settings, one, actor).await?);
        }
        let now = ports.clock.now();
        ports.store.note_references(app, &quiet, now).await?;
        Ok(handed_on)
    }

    /// Takes in the head of a pull request, which was fetched before. Only one may do so at a time.
    pub(crate) async fn take_in_request(
        &self,
        app: &AppName,
        request: Reference,
        actor: &str,
    ) -> Result<Vec<TakenIn>, Error> {
        let Reference::PullRequest { number, .. } = &request else {
            return Ok(Vec::new());
        };
        let ports = &self.shared.ports;
        let name = pull_request_reference(*number);
        let settings = ports.store.repository(app).await?;
        let present = ports.repositories.references(app).await;
        let present = present.map_err(Error::Git)?;
        let taken = ports.store.taken_references(app).await?;
        let before = taken.get(&name);
        let head = present.get(&name).filter(|head| before != Some(*head));
        let Some(commit) = head.filter(|_| settings.follow.wants(&request)) else {
            return Ok(Vec::new());
        };
        let one = Move {
            name: &name,
            reference: request,
            before,
            commit,
        };
        let taken = self.take(app, &settings, one, actor).await?;
        Ok(taken.into_iter().collect())
    }

    /// Ends the pull requests that have a preview and whose branch is gone: nobody may have said that
    /// they are over.
    async fn close_requests_without_branch(
        &self,
        app: &AppName,
        present: &BTreeMap<String, CommitId>,
        actor: &str,
    ) -> Result<(), Error> {
        for snapshot in self.shared.snapshots() {
            let environment = &snapshot.environment;
            let preview = environment.preview.as_ref();
            let request = preview.and_then(|preview| preview.request.as_ref());
            let Some(request) = request.filter(|one| !one.is_fork && &environment.id.app == app)
            else {
                continue;
            };
            if !present.contains_key(&format!("refs/heads/{}", request.from)) {
                self.close_request(app, request.number, actor).await?;
            }
        }
        Ok(())
    }

    /// Returns what the delivery file of a branch says of previews; `None` where there is none that
    /// can be read.
    pub(crate) async fn previews_of_branch(
        &self,
        app: &AppName,
        branch: &str,
    ) -> Option<PreviewSettings> {
        let ports = &self.shared.ports;
        let present = ports.repositories.references(app).await.ok()?;
        let commit = present.get(&format!("refs/heads/{branch}"))?;
        let directory = ports.store.repository(app).await.ok()?.follow.directory;
        let source = self.commit_source(app, &directory, commit, &Objects::Kept);
        let source = source.await.ok()?;
        let checkout = self.shared.check_out(app, &source.digest).await.ok()?;
        Some(checkout.file().previews.clone())
    }

    /// Forgets a pull request that is over, and removes its preview.
    pub(crate) async fn close_request(
        &self,
        app: &AppName,
        number: u64,
        actor: &str,
    ) -> Result<(), Error> {
        self.end_preview_of(app, number, actor).await?;
        let ports = &self.shared.ports;
        let name = pull_request_reference(number);
        let removed = ports.repositories.remove_reference(app, &name).await;
        removed.map_err(Error::Git)?;
        let taken = ports.store.taken_references(app).await?;
        if let Some(before) = taken.get(&name) {
            let gone = self.moved(app, &name, Some(before), None, actor);
            ports
                .store
                .record_reference(app, &name, None, &gone)
                .await?;
        }
        Ok(())
    }

    /// Hands one commit on, where it concerns the app, and writes down that it is taken in. What its
    /// author has to mend is written down as refused: it is not tried again.
    async fn take(
        &self,
        app: &AppName,
        settings: &RepositorySettings,
        one: Move<'_>,
        actor: &str,
    ) -> Result<Option<TakenIn>, Error> {
        let store = &self.shared.ports.store;
        let mut event = self.moved(app, one.name, one.before, Some(one.commit), actor);
        let changed = self.changed(app, &one).await?;
        if !settings.follow.touched_by(changed.as_deref()) {
            let now = self.shared.ports.clock.now();
            let quiet = [(one.name, one.commit)];
            store.note_references(app, &quiet, now).await?;
            return Ok(None);
        }
        let changed = changed.map(|changed| settings.follow.relative(changed));
        let outcome = match self.hand_on(app, settings, &one, changed, actor).await {
            Ok((source, run)) => Outcome::HandedOn(source, run),
            Err(error) => {
                let Some(reason) = refusal(&error) else {
                    return Err(error);
                };
                "reference.refused".clone_into(&mut event.what);
                event.reason = Some(reason.clone());
                let shared = &self.shared;
                shared
                    .tell_refusal(app, settings, one.commit, &reason)
                    .await?;
                Outcome::Refused(reason)
            }
        };
        store
            .record_reference(app, one.name, Some(one.commit), &event)
            .await?;
        Ok(Some(TakenIn {
            reference: one.reference,
            commit: one.commit.clone(),
            outcome,
        }))
    }

    async fn changed(&self, app: &AppName, one: &Move<'_>) -> Result<Option<Vec<String>>, Error> {
        let Some(before) = one.before else {
            return Ok(None);
        };
        let repositories = &self.shared.ports.repositories;
        let changed = repositories.changed_paths(app, before, one.commit).await;
        changed.map_err(Error::Git)
    }

    async fn hand_on(
        &self,
        app: &AppName,
        settings: &RepositorySettings,
        one: &Move<'_>,
        changed: Option<Vec<String>>,
        actor: &str,
    ) -> Result<(Digest, Option<RunNumber>), Error> {
        let directory = &settings.follow.directory;
        let kept = Objects::Kept;
        let source = self
            .commit_source(app, directory, one.commit, &kept)
            .await?;
        let push = Push {
            app: app.clone(),
            source: source.digest.clone(),
            commit: source.commit.id.to_string(),
            reference: one.reference.clone(),
            changed,
            author: source.commit.author,
            message: source.commit.message,
            actor: actor.to_owned(),
        };
        let run = self.submit(push).await?;
        Ok((source.digest, run))
    }

    fn moved(
        &self,
        app: &AppName,
        name: &str,
        from: Option<&CommitId>,
        to: Option<&CommitId>,
        actor: &str,
    ) -> NewEvent {
        let what = match to {
            Some(_) => "reference.moved",
            None => "reference.removed",
        };
        NewEvent {
            at: self.shared.ports.clock.now(),
            actor: actor.to_owned(),
            what: what.to_owned(),
            subject: format!("{app} {name}"),
            from: from.map(CommitId::to_string),
            to: to.map(CommitId::to_string),
            reason: None,
        }
    }
}

/// Tells whether what a branch or tag has now is delivered. When a repository elsewhere is met first, all
/// of its history is new: then only branches are that are followed by name, or are the main one.
fn is_delivered(
    settings: &RepositorySettings,
    taken: &BTreeMap<String, CommitId>,
    reference: &Reference,
) -> bool {
    let is_met_first = settings.outside.is_some() && taken.is_empty();
    let wanted = settings.follow.wants(reference);
    if !is_met_first {
        return wanted;
    }
    match reference {
        Reference::Branch(name) if settings.follow.branches.is_empty() => {
            matches!(name.as_str(), "main" | "master")
        }
        Reference::Branch(_) => wanted,
        Reference::Tag(_) | Reference::PullRequest { .. } | Reference::WorkingTree => false,
    }
}
