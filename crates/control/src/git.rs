//! Commits that come in by pushes: judged before any of them is taken. Not how they travel, and not
//! what is made of them ([`take`] hands them on).

mod settings;
mod source;
mod take;

use std::collections::BTreeSet;

use towpath_compose::Style;
use towpath_model::id::AppName;
use towpath_model::pipeline::{Push, Reference, glob, plan};
use towpath_model::port::PortError;
use towpath_model::repository::outside::RepositorySettings;
use towpath_model::repository::{CommitId, GitProgram, Objects, ReferenceUpdate};

use crate::error::Error;
use crate::platform::Platform;
pub use settings::{RepositoryInfo, StatusesInfo};
use source::CommitSource;
pub use take::{Outcome, TakenIn};

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

impl Platform {
    /// Returns the present time.
    pub fn now(&self) -> jiff::Timestamp {
        self.shared.ports.clock.now()
    }

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
        let settings = self.shared.ports.store.repository(app).await?;
        if let Some(outside) = &settings.outside {
            let line = format!("error: `{app}` follows {}: push there", outside.url);
            return Ok(refused(line));
        }
        for update in updates {
            if let Some(line) = self.refuse_loss(app, &settings, update, objects).await? {
                return Ok(refused(line));
            }
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
                let directory = &settings.follow.directory;
                let line = self.judge_commit(app, directory, (&reference, new), objects);
                let (good, lines) = line.await?;
                judgement.accepted &= good;
                judgement.lines.extend(lines);
            }
        }
        Ok(judgement)
    }

    /// Says why a branch may not lose what it has, where it is protected.
    async fn refuse_loss(
        &self,
        app: &AppName,
        settings: &RepositorySettings,
        update: &ReferenceUpdate,
        objects: &Objects,
    ) -> Result<Option<String>, Error> {
        let Some(Reference::Branch(name)) = update.reference() else {
            return Ok(None);
        };
        let Some(old) = &update.old else {
            return Ok(None);
        };
        if !glob::any(&settings.protected, &name) {
            return Ok(None);
        }
        let Some(new) = &update.new else {
            return Ok(Some(format!(
                "error: {name} is protected: it is not removed"
            )));
        };
        let repositories = &self.shared.ports.repositories;
        let forward = repositories.is_forward(app, old, new, objects).await;
        Ok((!forward.map_err(Error::Git)?).then(|| {
            format!(
                "error: {name} is protected: it does not lose commits, so pull first, then push"
            )
        }))
    }

    /// Refuses a commit whose run could not be rendered: its jobs, and the environments that it comes
    /// to.
    async fn judge_plan(
        &self,
        app: &AppName,
        reference: &Reference,
        source: &CommitSource,
    ) -> Result<(), Error> {
        let checkout = self.shared.check_out(app, &source.digest).await?;
        let push = Push {
            app: app.clone(),
            source: source.digest.clone(),
            commit: source.commit.id.to_string(),
            reference: reference.clone(),
            changed: None,
            author: source.commit.author.clone(),
            message: source.commit.message.clone(),
            actor: String::new(),
        };
        match plan(checkout.file(), &push) {
            Some(plan) => checkout.check(&plan).await.map(drop),
            None => Ok(()),
        }
    }

    /// Judges one commit. Returns whether it is good, and lines for whoever pushes.
    async fn judge_commit(
        &self,
        app: &AppName,
        directory: &str,
        (reference, id): (&Reference, &CommitId),
        objects: &Objects,
    ) -> Result<(bool, Vec<String>), Error> {
        let judged = match self.commit_source(app, directory, id, objects).await {
            Ok(source) => self
                .judge_plan(app, reference, &source)
                .await
                .map(|()| source),
            Err(error) => Err(error),
        };
        match judged {
            Ok(source) => {
                let drawn = source.warnings.iter().map(|one| one.render(Style::Plain));
                let mut lines: Vec<String> = drawn.flat_map(|text| split(&text)).collect();
                let short = source.commit.id.short();
                lines.push(format!("{reference}: {short} is a sound `{app}`"));
                Ok((true, lines))
            }
            Err(error) => {
                let Some(text) = refusal(&error) else {
                    return Err(error);
                };
                let mut lines = split(&text);
                lines.push(format!("{reference}: {} is refused as `{app}`", id.short()));
                Ok((false, lines))
            }
        }
    }
}

/// Says why a commit is refused; `None` when its author cannot mend it.
fn refusal(error: &Error) -> Option<String> {
    match error {
        Error::Invalid(found) => Some(found.render(Style::Plain)),
        Error::Git(PortError::Refused(message)) => Some(format!("error: {message}")),
        Error::Source(refused) if !matches!(refused, crate::SourceError::Files { .. }) => {
            Some(format!("error: {}", crate::error::describe(error)))
        }
        _ => None,
    }
}

/// Splits a text into lines that fit a packet of Git's, without control characters.
fn split(text: &str) -> Vec<String> {
    let plain = |line: &str| line.chars().filter(|c| !c.is_control()).take(900).collect();
    text.lines().map(plain).collect()
}
