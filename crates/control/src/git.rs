//! Commits that come in: judged before they are taken, their trees kept as sources, and handed on when
//! a branch or tag has them. Not how they travel, and not what a pipeline makes of them.

use std::collections::BTreeSet;

use towpath_compose::{Diagnostic, Style};
use towpath_model::event::NewEvent;
use towpath_model::id::{AppName, Digest};
use towpath_model::pipeline::{Push, Reference};
use towpath_model::port::PortError;
use towpath_model::repository::{
    Commit, CommitId, GitProgram, Objects, ReferenceUpdate, reference,
};

use crate::error::Error;
use crate::platform::Platform;
use crate::source::app::{AppTree, AppTreeError};
use crate::source::{blocking, unpack_tar};

/// The most references that one push may move.
const UPDATES_MAX: usize = 100;

/// What becomes of a push, in lines for whoever pushes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Whether it is taken: all of it, or nothing.
    pub accepted: bool,
    /// What there is to say.
    pub lines: Vec<String>,
}

/// The source tree of a commit.
#[derive(Debug)]
struct CommitSource {
    commit: Commit,
    digest: Digest,
    warnings: Vec<Diagnostic>,
}

impl Platform {
    /// Returns how Git is run.
    pub fn git_program(&self) -> &GitProgram {
        &self.shared.config.git
    }

    /// Tells whether an app has a repository.
    pub async fn has_repository(&self, app: &AppName) -> Result<bool, Error> {
        let exists = self.shared.ports.repositories.exists(app).await;
        exists.map_err(Error::Git)
    }

    /// Makes the repository of an app, and registers the app, where they are not there.
    pub async fn make_repository(&self, app: &AppName, actor: &str) -> Result<(), Error> {
        let now = self.shared.ports.clock.now();
        match self.shared.ports.store.create_app(app, actor, now).await {
            Ok(_) | Err(towpath_store::Error::AlreadyExists(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let prepared = self.shared.ports.repositories.prepare(app).await;
        prepared.map_err(Error::Git)
    }

    /// Judges a push before any of it is taken: every commit that a branch or tag is to have must be an
    /// app that loads and renders for all of its environments. The tree of each is kept as a source.
    pub async fn judge_push(
        &self,
        app: &AppName,
        updates: &[ReferenceUpdate],
        objects: &Objects,
    ) -> Result<Judgement, Error> {
        let refused = |line: String| Judgement {
            accepted: false,
            lines: vec![line],
        };
        if updates.len() > UPDATES_MAX {
            let line = format!("error: push at most {UPDATES_MAX} branches and tags at once");
            return Ok(refused(line));
        }
        if let Some(other) = updates.iter().find(|one| one.reference().is_none()) {
            let line = format!("error: {}: only branches and tags are taken", other.name);
            return Ok(refused(line));
        }
        let mut judged = BTreeSet::new();
        let mut judgement = Judgement {
            accepted: true,
            lines: Vec::new(),
        };
        for update in updates {
            let (Some(reference), Some(new)) = (update.reference(), &update.new) else {
                continue;
            };
            if judged.insert(new) {
                self.judge_commit(app, &reference, new, objects, &mut judgement)
                    .await?;
            }
        }
        Ok(judgement)
    }

    async fn judge_commit(
        &self,
        app: &AppName,
        reference: &Reference,
        id: &CommitId,
        objects: &Objects,
        judgement: &mut Judgement,
    ) -> Result<(), Error> {
        match self.commit_source(app, id, objects).await {
            Ok(source) => {
                let drawn = source.warnings.iter().map(|one| one.render(Style::Plain));
                judgement.lines.extend(drawn.flat_map(|text| split(&text)));
                let short = source.commit.id.short();
                let line = format!("{reference}: {short} is a sound `{app}`");
                judgement.lines.push(line);
            }
            Err(error) => {
                judgement.lines.extend(refusal(app, reference, id, error)?);
                judgement.accepted = false;
            }
        }
        Ok(())
    }

    /// Takes in what the branches and tags of an app's repository have since the last time. Returns
    /// what was handed on.
    pub async fn take_in(&self, app: &AppName, actor: &str) -> Result<Vec<Push>, Error> {
        self.shared.intake.ask(app, actor).await
    }

    /// Does what [`Self::take_in`] asks for. Only one may do so at a time.
    pub(crate) async fn take_in_now(&self, app: &AppName, actor: &str) -> Result<Vec<Push>, Error> {
        let ports = &self.shared.ports;
        let present = ports.repositories.references(app).await;
        let present = present.map_err(Error::Git)?;
        let taken = ports.store.taken_references(app).await?;
        for name in taken.keys().filter(|name| !present.contains_key(*name)) {
            let gone = self.moved(app, name, taken.get(name), None, actor);
            ports.store.record_reference(app, name, None, &gone).await?;
        }
        let mut pushes = Vec::new();
        for (name, commit) in &present {
            let before = taken.get(name);
            let Some(reference) = reference(name).filter(|_| before != Some(commit)) else {
                continue;
            };
            pushes.push(self.push(app, reference, before, commit, actor).await?);
            let moved = self.moved(app, name, before, Some(commit), actor);
            let store = &ports.store;
            store
                .record_reference(app, name, Some(commit), &moved)
                .await?;
        }
        Ok(pushes)
    }

    async fn push(
        &self,
        app: &AppName,
        reference: Reference,
        before: Option<&CommitId>,
        commit: &CommitId,
        actor: &str,
    ) -> Result<Push, Error> {
        let source = self.commit_source(app, commit, &Objects::Kept).await?;
        let changed = match before {
            Some(before) => {
                let repositories = &self.shared.ports.repositories;
                let changed = repositories.changed_paths(app, before, commit).await;
                changed.map_err(Error::Git)?
            }
            None => None,
        };
        Ok(Push {
            app: app.clone(),
            source: source.digest,
            commit: commit.to_string(),
            reference,
            changed,
            author: source.commit.author,
            message: source.commit.message,
            actor: actor.to_owned(),
        })
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

    /// Returns the source tree of a commit, made and checked when it is not there.
    async fn commit_source(
        &self,
        app: &AppName,
        id: &CommitId,
        objects: &Objects,
    ) -> Result<CommitSource, Error> {
        let ports = &self.shared.ports;
        let commit = ports.repositories.commit(app, id, objects).await;
        let commit = commit.map_err(Error::Git)?;
        if let Some(digest) = ports.store.commit_source(app, &commit.id).await? {
            return Ok(CommitSource {
                commit,
                digest,
                warnings: Vec::new(),
            });
        }
        let submodules = ports.repositories.submodules(app, id, "", objects);
        let submodules = submodules.await.map_err(Error::Git)?;
        if let Some(first) = submodules.first() {
            let message = format!(
                "{first} is a Git submodule, whose files are not in the commit: add the files themselves, or take the submodule out"
            );
            return Err(Error::Git(PortError::Refused(message)));
        }
        let (digest, bytes, warnings) = self.unpack_commit(app, &commit.id, objects).await?;
        let now = ports.clock.now();
        ports
            .store
            .record_commit_source(app, &commit.id, &digest, bytes, now)
            .await?;
        Ok(CommitSource {
            commit,
            digest,
            warnings,
        })
    }

    async fn unpack_commit(
        &self,
        app: &AppName,
        id: &CommitId,
        objects: &Objects,
    ) -> Result<(Digest, u64, Vec<Diagnostic>), Error> {
        let incoming = self.incoming()?;
        let repositories = &self.shared.ports.repositories;
        let archive = repositories.archive(app, id, "", objects);
        let archive = archive.map_err(Error::Git)?;
        let (app, data) = (app.clone(), self.data().clone());
        blocking(move || {
            let unpacked = unpack_tar(archive, &incoming.tree())?;
            let tree = AppTree::open(&app, &incoming.tree(), unpacked.digest.clone())?;
            let warnings = tree.check().map_err(AppTreeError::from)?;
            incoming.install(&data.source(&unpacked.digest))?;
            Ok::<_, Error>((unpacked.digest, unpacked.bytes, warnings))
        })
        .await
    }
}

/// Says why a commit is refused. Fails with what is not the pusher's to mend.
fn refusal(
    app: &AppName,
    reference: &Reference,
    commit: &CommitId,
    error: Error,
) -> Result<Vec<String>, Error> {
    let text = match &error {
        Error::Invalid(found) => found.render(Style::Plain),
        Error::Git(PortError::Refused(message)) => format!("error: {message}"),
        Error::Source(refused) if !matches!(refused, crate::SourceError::Files { .. }) => {
            format!("error: {}", crate::error::describe(&error))
        }
        _ => return Err(error),
    };
    let mut lines = split(&text);
    lines.push(format!(
        "{reference}: {} is refused as `{app}`",
        commit.short()
    ));
    Ok(lines)
}

/// Splits a text into lines that fit a packet of Git's, without control characters.
fn split(text: &str) -> Vec<String> {
    let plain = |line: &str| line.chars().filter(|c| !c.is_control()).take(900).collect();
    text.lines().map(plain).collect()
}
