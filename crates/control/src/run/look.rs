//! Looks at what a job left behind whose program is over: how its steps went, what its test reports
//! say, which of its files are kept. Not the verdict, which is the model's.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;
use towpath_model::id::{Digest, EnvironmentId, RunId, ServiceName};
use towpath_model::pipeline::junit::{ALL_BYTES_MAX, FILE_BYTES_MAX, FILES_MAX, Tests};
use towpath_model::pipeline::run::{Amount, Artifacts, Job, Left, Run, Verdict};
use towpath_model::pipeline::steps::{self, StepRecord, StepWatch};
use towpath_model::pipeline::{JOB_SERVICE, cache};
use towpath_model::port::{FilesWanted, LogQuery, PortError};
use towpath_model::tree::{EntryKind, Tree, TreePath};

use super::act::{Done, Edit};
use super::cache::Leave;
use super::keeper::Task;
use crate::error::{Error, describe};
use crate::mask::Mask;
use crate::platform::{Platform, Shared};
use crate::source::app::content;

/// The most bytes of the artifacts of a job.
const ARTIFACTS_BYTES_MAX: u64 = 512 << 20;

/// The time between two attempts to read what an engine does not give.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// What is known of an attempt once it was looked at.
#[derive(Debug)]
pub(super) struct Seen {
    steps: Vec<StepRecord>,
    left: Left,
}

/// Who looks at an attempt.
pub(super) type Looker = JoinHandle<Option<Seen>>;

impl Task {
    /// Has what an attempt left behind looked at, and writes it down when that is done.
    pub(super) async fn look(&mut self, index: usize, attempt: u32) -> Result<Done, Error> {
        let Some(job) = self.run.jobs.get(index).cloned() else {
            return Ok(Done::Asked);
        };
        let mut attempts = job.attempts.iter();
        let Some(one) = attempts.find(|one| one.number == attempt) else {
            return Ok(Done::Asked);
        };
        let key = (job.number, attempt);
        let Some(looker) = self.lookers.get_mut(&key) else {
            // A cache holds no verdict up.
            let leave = self.leave_cache(&job, one).await.unwrap_or_else(|error| {
                let error = describe(&error);
                tracing::warn!(run = %self.id, error, "a job leaves no cache");
                None
            });
            let look = Look {
                leave,
                shared: Arc::clone(&self.shared),
                run: self.id.clone(),
                environment: self.run.environment(&one.environment),
                has_passed: one.finding == Some(Verdict::Passed),
                job: job.clone(),
                attempt,
            };
            let looker = self.shared.spawn(look.run());
            self.lookers.insert(key, looker);
            return Ok(Done::NotYet);
        };
        if !looker.is_finished() {
            return Ok(Done::NotYet);
        }
        // Nothing comes of one that was cut off by the end of the control plane: the next one looks.
        let seen = looker.await.ok().flatten();
        self.lookers.remove(&key);
        let Some(seen) = seen else {
            return Ok(Done::NotYet);
        };
        let edit: Edit = Box::new(move |run: &mut Run, _: Timestamp| {
            note(run, index, attempt, seen);
            Vec::new()
        });
        Ok(Done::Edit(edit))
    }
}

fn note(run: &mut Run, index: usize, attempt: u32, seen: Seen) {
    let job = run.jobs.get_mut(index);
    let mut attempts = job.into_iter().flat_map(|job| &mut job.attempts);
    if let Some(one) = attempts.find(|one| one.number == attempt) {
        steps::catch_up(&mut one.steps, seen.steps);
        one.left = Some(seen.left);
    }
}

/// The service that is the job itself.
fn job_service() -> ServiceName {
    ServiceName::new(JOB_SERVICE).expect("the constant is a name")
}

/// A look at one attempt.
struct Look {
    shared: Arc<Shared>,
    run: RunId,
    environment: EnvironmentId,
    job: Job,
    attempt: u32,
    has_passed: bool,
    /// The cache that it leaves, where it does.
    leave: Option<Leave>,
}

impl Look {
    /// Looks until all is seen; `None` when the control plane ends before.
    async fn run(self) -> Option<Seen> {
        let stop = self.shared.stopping();
        loop {
            let seen = tokio::select! {
                () = stop.cancelled() => return None,
                seen = self.look() => seen,
            };
            match seen {
                Ok(seen) => return Some(seen),
                Err(error) => {
                    let error = describe(&error);
                    let environment = &self.environment;
                    tracing::warn!(%environment, error, "what a job left behind cannot be read yet");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(RETRY_AFTER) => {}
            }
        }
    }

    async fn look(&self) -> Result<Seen, Error> {
        let steps = self.steps().await?;
        let mut left = Left::default();
        if !self.job.reports.is_empty() {
            left.tests = Some(self.tests().await?);
        }
        if let Some(artifacts) = &self.job.artifacts
            && (self.has_passed || artifacts.always)
        {
            match self.keep(&artifacts.paths).await {
                Ok(kept) => left.artifacts = Some(kept),
                Err(Error::Port(PortError::Refused(reason))) => left.refused = Some(reason),
                Err(error) => return Err(error),
            }
        }
        if let Some(leave) = &self.leave {
            match self.keep_cache(leave).await {
                Ok(kept) => left.cache = Some(kept),
                // A cache holds no verdict up: the next run does without it.
                Err(error) => {
                    let reason = match &error {
                        Error::Port(error) => error.to_string(),
                        error => describe(error),
                    };
                    left.notes.push(format!("its cache was not kept: {reason}"));
                }
            }
        }
        Ok(Seen { steps, left })
    }

    /// Reads in the whole log how the steps went: what is heard of it while it is followed may lag behind.
    async fn steps(&self) -> Result<Vec<StepRecord>, Error> {
        if self.job.steps.is_empty() {
            return Ok(Vec::new());
        }
        let query = LogQuery {
            services: vec![job_service()],
            ..LogQuery::default()
        };
        let engine = &self.shared.ports.engine;
        let mut lines = engine.logs(&self.environment, &query).await?;
        let mut watch = StepWatch::new(&self.job.steps);
        while let Some(line) = lines.next().await? {
            watch.hear(&line.text, line.at);
        }
        Ok(watch.whole())
    }

    /// Reads the test reports.
    async fn tests(&self) -> Result<Tests, Error> {
        let wanted = FilesWanted {
            patterns: self.job.reports.clone(),
            most_bytes: ALL_BYTES_MAX,
        };
        let archive = self.place("reports.part");
        let mut tests = match self.take(&wanted, &archive).await {
            Ok(_) => {
                let path = archive.clone();
                let read = crate::source::blocking(move || read_all(&path).map_err(unreadable));
                read.await?
            }
            Err(Error::Port(PortError::Refused(reason))) => {
                let mut tests = Tests::default();
                tests.note(reason);
                tests
            }
            Err(error) => return Err(error),
        };
        // What stays is removed with the log.
        drop(tokio::fs::remove_file(&archive).await);
        if tests.files == 0 && tests.unreadable.is_empty() {
            tests.note(format!("no file is called {}", self.job.reports.join(", ")));
        }
        let mask = Mask::of(&self.shared, &self.environment, None).await?;
        for test in &mut tests.failed {
            mask.cover_text(&mut test.name);
            mask.cover_text(&mut test.message);
        }
        for text in &mut tests.unreadable {
            mask.cover_text(text);
        }
        Ok(tests)
    }

    /// Keeps files for other jobs and for people.
    async fn keep(&self, paths: &[String]) -> Result<Artifacts, Error> {
        let wanted = FilesWanted {
            patterns: paths.to_vec(),
            most_bytes: ARTIFACTS_BYTES_MAX,
        };
        let part = self.place("artifacts.part");
        let taken = self.take(&wanted, &part).await;
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) => {
                drop(tokio::fs::remove_file(&part).await);
                return Err(error);
            }
        };
        if taken.files == 0 && self.has_passed {
            drop(tokio::fs::remove_file(&part).await);
            let reason = format!("no file is called {}", paths.join(", "));
            return Err(PortError::Refused(reason).into());
        }
        let path = self.shared.artifacts_of(&self.run, self.job.number);
        tokio::fs::rename(&part, &path).await.map_err(unreadable)?;
        let digest = move || digest_of(&path).map_err(unreadable);
        let digest = crate::source::blocking(digest).await?;
        Ok(Artifacts {
            files: taken.files,
            bytes: taken.bytes,
            digest: Some(digest),
        })
    }

    /// Keeps the cache that the job left for later runs of it.
    async fn keep_cache(&self, leave: &Leave) -> Result<Amount, Error> {
        let wanted = FilesWanted {
            patterns: leave.paths.clone(),
            most_bytes: cache::BYTES_MAX,
        };
        let part = self.place("cache.part");
        let kept = match self.take(&wanted, &part).await {
            Ok(taken) if taken.files == 0 => {
                let reason = format!("no file is called {}", leave.paths.join(", "));
                Err(PortError::Refused(reason).into())
            }
            Ok(taken) => self.shared.keep_cache(&self.run, leave, &part, taken).await,
            Err(error) => Err(error),
        };
        // What was kept has another name by now; what stays is removed with the log.
        drop(tokio::fs::remove_file(&part).await);
        kept
    }

    async fn take(
        &self,
        wanted: &FilesWanted,
        archive: &Path,
    ) -> Result<towpath_model::port::FilesTaken, Error> {
        if let Some(parent) = archive.parent() {
            tokio::fs::create_dir_all(parent)
                .await
                .map_err(unreadable)?;
        }
        let (engine, own) = (&self.shared.ports.engine, job_service());
        let taken = engine.take_files(&self.environment, &own, wanted, archive);
        Ok(taken.await?)
    }

    /// Returns where something of this attempt is kept while it is looked at.
    fn place(&self, what: &str) -> PathBuf {
        let log = self.shared.log_of(&self.run, self.job.number, self.attempt);
        log.with_extension(what)
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what `map_err` is given"
)]
pub(super) fn unreadable(error: io::Error) -> Error {
    Error::Port(PortError::Failed {
        attempted: "look at what a job left behind".to_owned(),
        reason: error.to_string(),
    })
}

/// Returns the digest of what is in an archive: times do not count, as in a source tree. Blocks.
fn digest_of(archive: &Path) -> io::Result<Digest> {
    let mut tree = Tree::default();
    let mut archive = tar::Archive::new(BufReader::new(File::open(archive)?));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = TreePath::new(&path).map_err(io::Error::other)?;
        let mode = entry.header().mode()?;
        let (kind, content) = if let Some(target) = entry.link_name_bytes() {
            (EntryKind::Symlink, Digest::of(&target))
        } else {
            (EntryKind::of_mode(mode), content(&mut entry)?)
        };
        tree.insert(path, kind, content);
    }
    Ok(tree.digest())
}

/// Reads all reports of an archive. Blocks.
fn read_all(archive: &Path) -> io::Result<Tests> {
    let mut tests = Tests::default();
    let mut archive = tar::Archive::new(BufReader::new(File::open(archive)?));
    for (index, entry) in archive.entries()?.enumerate() {
        let entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        if index >= FILES_MAX {
            tests.note(format!("there are more than {FILES_MAX} reports"));
            break;
        }
        if entry.size() > FILE_BYTES_MAX {
            let most = FILE_BYTES_MAX >> 20;
            tests.note(format!("{path}: it has more than {most} MiB"));
            continue;
        }
        let mut bytes = Vec::new();
        entry.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        tests.read(&path, &bytes);
    }
    Ok(tests)
}

impl Platform {
    /// Opens the archive of the files that are kept of a job.
    pub async fn run_artifacts(&self, id: &RunId, job: u32) -> Result<tokio::fs::File, Error> {
        let run = self.show_run(id).await?;
        let found = run.jobs.iter().find(|one| one.number == job);
        let found = found.ok_or_else(|| Error::NotFound(format!("job {job} of {id}")))?;
        let none = || Error::NotFound(format!("artifact of job `{}` in {id}", found.label()));
        if found.kept_artifacts().is_none() {
            return Err(none());
        }
        let opened = tokio::fs::File::open(self.shared.artifacts_of(id, job)).await;
        // They went with the logs.
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => none(),
            _ => unreadable(error),
        })
    }
}

impl Shared {
    /// Returns where the artifacts of a job are kept: beside its logs, and as long as those.
    pub(super) fn artifacts_of(&self, id: &RunId, job: u32) -> PathBuf {
        let directory = self.config.data.runs(&id.app).join(id.number.to_string());
        directory.join(format!("{job}-artifacts.tar"))
    }
}
