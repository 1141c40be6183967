//! The logs of jobs: read from their environments while they run, without the values of secrets, kept
//! with the run when the environments are gone. Not the engine's own logs.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use towpath_model::id::{EnvironmentId, ReleaseNumber, RunId};
use towpath_model::pipeline::steps::{StepRecord, StepWatch};
use towpath_model::port::{LogLine, LogQuery, PortError};

use super::KEPT_RUNS;
use super::act::is_own;
use super::kept::Writer;
use super::reach::Reach;
use crate::error::{Error, describe};
use crate::mask::Mask;
use crate::platform::{Platform, Shared};

/// How often what was read is written to the disk, and it is seen that the job is over.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The longest that the end of a log is read for.
const LONGEST_END: Duration = Duration::from_mins(2);

/// The time between two attempts to open a log.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// One line of the log of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLogLine {
    /// When it was read.
    pub at: Timestamp,
    /// Who wrote it: `job`, a service beside it, or `towpath`.
    pub service: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The text, without its line end.
    pub text: String,
}

/// Who keeps the log of one attempt.
#[derive(Debug)]
pub(crate) struct Collector {
    finish: CancellationToken,
    work: JoinHandle<()>,
    heard: Heard,
}

/// What was heard of a job in its log, and what is to be said at its end.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard(Arc<Mutex<Words>>);

#[derive(Debug, Default)]
struct Words {
    steps: Vec<StepRecord>,
    last: Vec<String>,
}

impl Heard {
    /// Returns the steps.
    pub(super) fn steps(&self) -> Vec<StepRecord> {
        self.lock().steps.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Words> {
        // Both are whole between any two statements that hold the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A log that is to be kept.
#[derive(Debug)]
pub(super) struct Kept {
    /// The environment of the attempt.
    pub(super) environment: EnvironmentId,
    /// The release that its rendering is of.
    pub(super) release: ReleaseNumber,
    /// The file, which has its name when it is whole.
    pub(super) path: PathBuf,
    /// The names of the job's steps.
    pub(super) steps: Vec<String>,
}

impl Collector {
    /// Begins to keep a log.
    pub(super) fn start(shared: &Arc<Shared>, kept: Kept) -> Self {
        let finish = CancellationToken::new();
        let heard = Heard::default();
        let keep = Keep {
            shared: Arc::clone(shared),
            id: kept.environment,
            release: kept.release,
            path: kept.path,
            steps: kept.steps,
            finish: finish.clone(),
            heard: heard.clone(),
        };
        let work = shared.spawn(keep.run());
        Self {
            finish,
            work,
            heard,
        }
    }

    /// Returns what is heard of the job, now and later.
    pub(super) fn heard(&self) -> Heard {
        self.heard.clone()
    }

    /// Has the log read to its end, and these lines written there. Returns whether that is done.
    pub(super) async fn finish(&mut self, last_words: Vec<String>) -> bool {
        self.heard.lock().last = last_words;
        self.finish.cancel();
        if !self.work.is_finished() {
            return false;
        }
        // It returns nothing, and a panic in it is logged by its owner's runtime.
        drop((&mut self.work).await);
        true
    }
}

/// The keeping of one log.
struct Keep {
    shared: Arc<Shared>,
    id: EnvironmentId,
    release: ReleaseNumber,
    path: PathBuf,
    steps: Vec<String>,
    finish: CancellationToken,
    heard: Heard,
}

impl Keep {
    async fn run(self) {
        let stop = self.shared.stopping();
        loop {
            let kept = tokio::select! {
                // The next control plane reads it anew.
                () = stop.cancelled() => return,
                kept = self.keep() => kept,
            };
            let Err(error) = kept else { return };
            let error = describe(&error);
            tracing::warn!(environment = %self.id, error, "the log of a job cannot be kept yet");
            if self.finish.is_cancelled() {
                return;
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// Reads the log from its beginning to its end.
    async fn keep(&self) -> Result<(), Error> {
        let mask = Mask::of(&self.shared, &self.id, Some(self.release)).await?;
        let query = LogQuery {
            follow: true,
            ..LogQuery::default()
        };
        let mut lines = self.shared.ports.engine.logs(&self.id, &query).await?;
        let failed = |error: io::Error| self.failed(&error);
        let writer = Writer::create(&part(&self.path), mask).await;
        let mut writer = writer.map_err(failed)?;
        let mut steps = StepWatch::new(&self.steps);
        let mut reach = Reach::default();
        while !self.finish.is_cancelled() {
            let next = tokio::time::timeout(LOOK_EVERY, lines.next()).await;
            match next {
                Ok(Ok(Some(line))) => {
                    reach.note(&line);
                    self.hear(&line, &mut steps);
                    writer.write(line).await.map_err(failed)?;
                }
                Ok(Err(error)) => return Err(error.into()),
                // What follows is read when the engine can be asked again, with all before it.
                Ok(Ok(None)) => {
                    return Err(failed(io::Error::other("it ended before the job")).into());
                }
                Err(_) => writer.flush().await.map_err(failed)?,
            }
        }
        drop(lines);
        self.keep_rest(&mut writer, reach).await?;
        let last_words = self.heard.lock().last.clone();
        let last_words = last_words.into_iter().map(|text| self.own(text));
        let last_words: Vec<RunLogLine> = last_words.collect();
        writer.close(&last_words).await.map_err(failed)?;
        tokio::fs::rename(part(&self.path), &self.path)
            .await
            .map_err(failed)?;
        Ok(())
    }

    /// Reads what is left when the job is over. It is known to be all only when the logs are read to their
    /// ends: one that is followed may be silent because its engine is slow.
    async fn keep_rest(&self, writer: &mut Writer, mut reach: Reach) -> Result<(), Error> {
        let engine = &self.shared.ports.engine;
        let reading = async {
            let mut lines = engine.logs(&self.id, &LogQuery::default()).await?;
            while let Some(line) = lines.next().await? {
                if !reach.had(&line) {
                    let written = writer.write(line).await;
                    written.map_err(|error| self.failed(&error))?;
                }
            }
            Ok(())
        };
        let read = tokio::time::timeout(LONGEST_END, reading).await;
        read.unwrap_or_else(|_| {
            tracing::warn!(environment = %self.id, "the end of a log takes too long and is left out");
            Ok(())
        })
    }

    fn failed(&self, error: &io::Error) -> PortError {
        PortError::Failed {
            attempted: format!("keeping the log of {}", self.id),
            reason: error.to_string(),
        }
    }

    /// Tells how far the steps are, when a line says so.
    fn hear(&self, line: &LogLine, steps: &mut StepWatch) {
        if is_own(line.instance.service.as_str()) && steps.hear(&line.text, line.at) {
            self.heard.lock().steps = steps.steps().to_vec();
            self.shared.ring();
        }
    }

    /// Makes a line of ours.
    fn own(&self, text: String) -> RunLogLine {
        RunLogLine {
            at: self.shared.ports.clock.now(),
            service: crate::SYSTEM.to_owned(),
            stream: "stdout".to_owned(),
            text,
        }
    }
}

pub(super) fn part(path: &std::path::Path) -> PathBuf {
    path.with_extension("part")
}

/// The log of an attempt, as it is read.
pub struct RunLog {
    platform: Platform,
    run: RunId,
    job: u32,
    path: PathBuf,
    attempt: u32,
    follow: bool,
    only_own: bool,
    file: Option<BufReader<File>>,
    line: Vec<u8>,
}

impl std::fmt::Debug for RunLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunLog")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Which log of a run is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLogQuery {
    /// The number of the job.
    pub job: u32,
    /// The number of the attempt; the last one when absent.
    pub attempt: Option<u32>,
    /// Go on with new lines as they are written, until the attempt is over.
    pub follow: bool,
    /// Only what the job itself wrote, not the services beside it.
    pub only_job: bool,
}

impl Platform {
    /// Opens the log of a job.
    pub async fn run_log(&self, id: &RunId, query: &RunLogQuery) -> Result<RunLog, Error> {
        let run = self.show_run(id).await?;
        let job = run.jobs.iter().find(|one| one.number == query.job);
        let job = job.ok_or_else(|| Error::NotFound(format!("job {} of {id}", query.job)))?;
        if let Some(reused) = job.reused().filter(|_| job.attempts.is_empty()) {
            let query = RunLogQuery {
                job: reused.job,
                attempt: None,
                ..query.clone()
            };
            let id = RunId::new(id.app.clone(), reused.run);
            return Box::pin(self.run_log(&id, &query)).await;
        }
        let last = job.attempts.last().map(|attempt| attempt.number);
        let wanted = query.attempt.or(last);
        let mut attempts = job.attempts.iter();
        let attempt = attempts.find(|one| Some(one.number) == wanted);
        let none = || Error::NotFound(format!("log of job `{}`: it has not begun", job.label()));
        let attempt = attempt.ok_or_else(none)?;
        Ok(RunLog {
            platform: self.clone(),
            path: self.shared.log_of(id, job.number, attempt.number),
            run: id.clone(),
            job: job.number,
            attempt: attempt.number,
            // What is over is read whole, though its last lines are only being kept.
            follow: query.follow || attempt.verdict.is_some(),
            only_own: query.only_job,
            file: None,
            line: Vec::new(),
        })
    }
}

impl Shared {
    /// Removes the logs of a run that is long over, as a new one begins.
    pub(super) async fn forget_old_logs(&self, new: &RunId) {
        let Some(old) = new.number.0.checked_sub(KEPT_RUNS) else {
            return;
        };
        let directory = self.config.data.runs(&new.app).join(old.to_string());
        match tokio::fs::remove_dir_all(&directory).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %directory.display(), %error, "old logs are not removed");
            }
            _ => {}
        }
    }

    /// Returns where the log of an attempt is kept.
    pub(super) fn log_of(&self, id: &RunId, job: u32, attempt: u32) -> PathBuf {
        let directory = self.config.data.runs(&id.app).join(id.number.to_string());
        directory.join(format!("{job}-{attempt}.log"))
    }
}

impl RunLog {
    /// Returns the next line; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<RunLogLine>, Error> {
        loop {
            // Asked before the file is read: what is read after the end of it is all there is.
            let over = !self.follow || self.is_over().await?;
            match self.read().await {
                Ok(Some(line)) if self.only_own && !shown(&line) => {}
                Ok(Some(line)) => return Ok(Some(line)),
                Ok(None) if over => return Ok(None),
                Ok(None) => tokio::time::sleep(LOOK_EVERY).await,
                Err(error) => {
                    let failed = PortError::Failed {
                        attempted: format!("reading the log of {}", self.run),
                        reason: error.to_string(),
                    };
                    return Err(failed.into());
                }
            }
        }
    }

    async fn is_over(&self) -> Result<bool, Error> {
        if self.path.exists() {
            return Ok(true);
        }
        let run = self.platform.show_run(&self.run).await?;
        let job = run.jobs.iter().find(|one| one.number == self.job);
        let mut attempts = job.into_iter().flat_map(|job| &job.attempts);
        let attempt = attempts.find(|one| one.number == self.attempt);
        Ok(attempt.is_none_or(|attempt| attempt.is_cleared))
    }

    async fn read(&mut self) -> io::Result<Option<RunLogLine>> {
        if self.file.is_none() {
            self.file = open(&self.path).await?;
        }
        let Some(file) = &mut self.file else {
            return Ok(None);
        };
        file.read_until(b'\n', &mut self.line).await?;
        if self.line.last() != Some(&b'\n') {
            return Ok(None);
        }
        let line = serde_json::from_slice(&self.line)?;
        self.line.clear();
        Ok(Some(line))
    }
}

/// Opens the log, whole or not.
async fn open(path: &std::path::Path) -> io::Result<Option<BufReader<File>>> {
    for path in [path, &part(path)] {
        match File::open(path).await {
            Ok(file) => return Ok(Some(BufReader::new(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn shown(line: &RunLogLine) -> bool {
    is_own(&line.service) || line.service == crate::SYSTEM
}
