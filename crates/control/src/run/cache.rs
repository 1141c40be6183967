//! The caches of jobs: chosen and given before they start, kept when they passed, listed and removed.
//! Their files are archives in the data directory. Not which one is chosen, which is the model's.

use std::io;
use std::path::{Path, PathBuf};

use towpath_model::event::NewEvent;
use towpath_model::id::{AppName, Digest, RunId};
use towpath_model::pipeline::cache::{Cache, Given, Identity, Scope, choose, leaves_for, surplus};
use towpath_model::pipeline::run::{Amount, Attempt, Job, Verdict};
use towpath_model::port::FilesTaken;

use super::act::Done;
use super::keeper::Task;
use super::look::unreadable;
use crate::error::{Error, describe};
use crate::platform::{Platform, Shared};

/// What an attempt leaves for later runs.
#[derive(Debug)]
pub(super) struct Leave {
    /// The paths.
    pub(super) paths: Vec<String>,
    identity: Identity,
    scope: Scope,
}

impl Task {
    /// Decides what the last attempt at a job is given, and has that written down.
    pub(super) async fn choose_cache(&mut self, index: usize, job: &Job) -> Result<Done, Error> {
        let identity = self.checkout().await?.cache_of(job);
        let given = match identity {
            Some(identity) => self.chosen(&identity).await?,
            None => Given::Nothing,
        };
        Ok(Done::Edit(Box::new(move |run, _| {
            let job = run.jobs.get_mut(index);
            if let Some(last) = job.and_then(|job| job.attempts.last_mut()) {
                last.cache = Some(given);
            }
            Vec::new()
        })))
    }

    async fn chosen(&self, wanted: &Identity) -> Result<Given, Error> {
        let app = &self.id.app;
        let mut kept = self.shared.ports.store.caches(app).await?;
        loop {
            let given = choose(&kept, wanted, &self.run.reach);
            let Some(found) = given.found() else {
                return Ok(given);
            };
            if is_there(&self.shared.cache_at(app, &found.id)).await {
                return Ok(given);
            }
            // Somebody removed the file, or a crash came between it and its record.
            kept.retain(|one| one.id() != found.id);
        }
    }

    /// Returns the archive that the last attempt at a job is given, and notes that it is used. What was
    /// removed since it was chosen is not there: no job may need it.
    pub(super) async fn cache_for(&self, job: &Job) -> Result<Option<PathBuf>, Error> {
        let given = job.attempts.last().and_then(|one| one.cache.as_ref());
        let Some(found) = given.and_then(Given::found) else {
            return Ok(None);
        };
        let app = &self.id.app;
        let path = self.shared.cache_at(app, &found.id);
        if !is_there(&path).await {
            return Ok(None);
        }
        let now = self.shared.ports.clock.now();
        self.shared
            .ports
            .store
            .use_cache(app, &found.id, now)
            .await?;
        Ok(Some(path))
    }

    /// Returns what an attempt leaves, where that is of use to anybody.
    pub(super) async fn leave_cache(
        &mut self,
        job: &Job,
        attempt: &Attempt,
    ) -> Result<Option<Leave>, Error> {
        let Some(settings) = &job.cache else {
            return Ok(None);
        };
        if attempt.finding != Some(Verdict::Passed) {
            return Ok(None);
        }
        let scope = leaves_for(attempt.cache.as_ref(), settings, &self.run.reach);
        let Some(scope) = scope else {
            return Ok(None);
        };
        let identity = self.checkout().await?.cache_of(job);
        Ok(identity.map(|identity| Leave {
            paths: settings.paths.clone(),
            identity,
            scope,
        }))
    }
}

async fn is_there(path: &Path) -> bool {
    tokio::fs::try_exists(path).await.unwrap_or(false)
}

impl Shared {
    fn cache_at(&self, app: &AppName, id: &Digest) -> PathBuf {
        self.config.data.caches(app).join(format!("{id}.tar"))
    }

    /// Keeps the archive of a cache, in place of an earlier one of the same, and removes what is too
    /// much by then.
    pub(super) async fn keep_cache(
        &self,
        run: &RunId,
        leave: &Leave,
        archive: &Path,
        taken: FilesTaken,
    ) -> Result<Amount, Error> {
        let app = &run.app;
        let now = self.ports.clock.now();
        let cache = Cache {
            identity: leave.identity.clone(),
            scope: leave.scope.clone(),
            run: run.number,
            files: taken.files,
            bytes: taken.bytes,
            made_at: now,
            used_at: now,
        };
        let directory = self.config.data.caches(app);
        let made = tokio::fs::create_dir_all(&directory).await;
        made.map_err(unreadable)?;
        // A record without its file is no cache, and a file without a record is removed at a start.
        let moved = tokio::fs::rename(archive, self.cache_at(app, &cache.id())).await;
        moved.map_err(unreadable)?;
        self.ports.store.put_cache(app, &cache).await?;
        let kept = self.ports.store.caches(app).await?;
        self.remove_caches(app, &surplus(&kept, now), &[]).await?;
        Ok(Amount {
            files: taken.files,
            bytes: taken.bytes,
        })
    }

    async fn remove_caches(
        &self,
        app: &AppName,
        ids: &[Digest],
        events: &[NewEvent],
    ) -> Result<(), Error> {
        if ids.is_empty() && events.is_empty() {
            return Ok(());
        }
        self.ports.store.forget_caches(app, ids, events).await?;
        for id in ids {
            let path = self.cache_at(app, id);
            match tokio::fs::remove_file(&path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "a cache cannot be removed");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes files of caches of which there is no record. Call it while no job runs.
    pub(crate) async fn clear_caches(&self) {
        if let Err(error) = self.try_clear_caches().await {
            let error = describe(&error);
            // They take room, and harm nothing.
            tracing::warn!(error, "what is left of caches cannot be removed");
        }
    }

    async fn try_clear_caches(&self) -> Result<(), Error> {
        for app in self.ports.store.apps().await? {
            let directory = self.config.data.caches(&app.name);
            let mut entries = match tokio::fs::read_dir(&directory).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(unreadable)?,
            };
            let kept = self.ports.store.caches(&app.name).await?;
            let known: Vec<String> = kept.iter().map(|one| format!("{}.tar", one.id())).collect();
            while let Some(entry) = entries.next_entry().await.map_err(unreadable)? {
                let name = entry.file_name();
                if !known.iter().any(|known| name == known.as_str()) {
                    let removed = tokio::fs::remove_file(entry.path()).await;
                    removed.map_err(unreadable)?;
                }
            }
        }
        Ok(())
    }
}

impl Platform {
    /// Returns the caches of an app's jobs, by their names, newest first.
    pub async fn caches(&self, app: &AppName) -> Result<Vec<Cache>, Error> {
        self.expect_app(app).await?;
        self.expect_app(app).await?;
        Ok(self.shared.ports.store.caches(app).await?)
    }

    /// Removes the caches of an app's jobs, or only those of one name. Returns what is gone.
    pub async fn remove_caches(
        &self,
        app: &AppName,
        name: Option<&str>,
        actor: &str,
    ) -> Result<Vec<Cache>, Error> {
        let mut gone = self.caches(app).await?;
        gone.retain(|one| name.is_none_or(|name| one.identity.name == name));
        if let Some(name) = name.filter(|_| gone.is_empty()) {
            return Err(Error::NotFound(format!("cache `{name}` of {app}")));
        }
        let ids: Vec<Digest> = gone.iter().map(Cache::id).collect();
        let removed = NewEvent {
            at: self.shared.ports.clock.now(),
            actor: actor.to_owned(),
            what: "caches.removed".to_owned(),
            subject: app.to_string(),
            from: None,
            to: None,
            reason: Some(name.map_or_else(|| "all".to_owned(), |name| format!("`{name}`"))),
        };
        if !ids.is_empty() {
            self.shared.remove_caches(app, &ids, &[removed]).await?;
        }
        Ok(gone)
    }
}
