//! Reads the logs of an environment's instances as one, in the order of their time. Not their
//! writing, which is the supervisors'.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use towpath_model::id::{EnvironmentId, InstanceId};
use towpath_model::port::{LogLine, LogLines, LogQuery, PortError};

use super::{blocking, layout};
use crate::log::{Parser, files, tail_position};

/// Batches read ahead of whoever takes the lines: enough to keep both sides busy.
const AHEAD: usize = 1;

/// How often it is looked for new lines of a followed log.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

/// Lines that are read of one instance at a time.
const BATCH_LINES: usize = 1_000;

/// An open log.
struct Reading {
    batches: mpsc::Receiver<Result<Vec<LogLine>, PortError>>,
    /// What is left of the batch that was taken last.
    batch: std::vec::IntoIter<LogLine>,
    /// The task that reads; it ends when this is dropped.
    _task: JoinSet<()>,
}

#[async_trait]
impl LogLines for Reading {
    async fn next(&mut self) -> Result<Option<LogLine>, PortError> {
        loop {
            if let Some(line) = self.batch.next() {
                return Ok(Some(line));
            }
            match self.batches.recv().await {
                Some(batch) => self.batch = batch?.into_iter(),
                None => return Ok(None),
            }
        }
    }
}

/// Opens the log of an environment whose files are in `directory`.
pub(super) fn open(
    directory: PathBuf,
    environment: EnvironmentId,
    query: LogQuery,
) -> impl LogLines + 'static {
    let (sender, batches) = mpsc::channel(AHEAD);
    let mut task = JoinSet::new();
    task.spawn(read(directory, environment, query, sender));
    Reading {
        batches,
        batch: Vec::new().into_iter(),
        _task: task,
    }
}

async fn read(
    directory: PathBuf,
    environment: EnvironmentId,
    query: LogQuery,
    batches: mpsc::Sender<Result<Vec<LogLine>, PortError>>,
) {
    let (follow, wanted) = (query.follow, query.clone());
    let mut merge = Merge {
        directory,
        environment,
        query,
        sources: BTreeMap::new(),
        begun: false,
    };
    loop {
        let work = move || {
            let batch = merge.batch();
            Ok((merge, batch))
        };
        let mut batch = match blocking(work).await {
            Ok((again, Ok(batch))) => {
                merge = again;
                batch
            }
            Ok((_, Err(error))) => {
                let error = super::shared::failed("read logs", &error);
                drop(batches.send(Err(error)).await);
                return;
            }
            Err(error) => {
                drop(batches.send(Err(error)).await);
                return;
            }
        };
        let idle = batch.is_empty();
        batch.retain(|line| wanted.wants_line(line.at));
        if !batch.is_empty() && batches.send(Ok(batch)).await.is_err() {
            return;
        }
        match (idle, follow) {
            (true, false) => return,
            (true, true) => tokio::time::sleep(FOLLOW_INTERVAL).await,
            (false, _) => {}
        }
    }
}

/// Several logs that become one.
struct Merge {
    directory: PathBuf,
    environment: EnvironmentId,
    query: LogQuery,
    sources: BTreeMap<InstanceId, Source>,
    begun: bool,
}

impl Merge {
    /// Returns the next lines in their order; none when there are none at present.
    fn batch(&mut self) -> io::Result<Vec<LogLine>> {
        self.find_sources()?;
        let mut complete: Option<jiff::Timestamp> = None;
        for source in self.sources.values_mut() {
            source.fill()?;
            // Beyond the last line of a source that has more, the others must wait for it.
            if source.pending.len() >= BATCH_LINES {
                let last = source.pending.last().map(|line| line.at);
                complete = match (complete, last) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
        }
        let mut batch: Vec<LogLine> = Vec::new();
        for source in self.sources.values_mut() {
            let ready = source
                .pending
                .partition_point(|line| complete.is_none_or(|c| line.at <= c));
            batch.extend(source.pending.drain(..ready));
        }
        // Stable: lines of one instance stay in their order.
        batch.sort_by_key(|line| line.at);
        self.begun = true;
        Ok(batch)
    }

    /// Looks for instances that were not there before.
    fn find_sources(&mut self) -> io::Result<()> {
        let removed = layout::old_logs(&self.directory);
        let present = layout::instances(&self.directory);
        let one_offs = layout::runs(&self.directory);
        for (parent, log) in [
            (removed, Path::new("")),
            (present, Path::new(layout::LOG)),
            (one_offs, Path::new(layout::LOG)),
        ] {
            let entries = match std::fs::read_dir(&parent) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                let id = format!("{}/{}", self.environment, name.to_string_lossy()).parse();
                let Ok(id) = id else { continue };
                if !self.wants(&id) {
                    continue;
                }
                let directory = entry.path().join(log);
                let tail = self.query.tail.filter(|_| !self.begun);
                let source = self.sources.entry(id.clone());
                // The log of an instance moves when it is removed.
                source.or_insert_with(|| Source::new(id, tail)).directory = directory;
            }
        }
        Ok(())
    }

    fn wants(&self, id: &InstanceId) -> bool {
        let services = &self.query.services;
        (services.is_empty() || services.contains(&id.service))
            && self.query.instance.is_none_or(|number| number == id.number)
    }
}

/// The log of one instance.
struct Source {
    id: InstanceId,
    directory: PathBuf,
    /// The file that is read, and how far.
    position: (u64, u64),
    /// Lines that were read and not yet handed on.
    pending: Vec<LogLine>,
    /// How many of the lines that are there at first are wanted.
    tail: Option<usize>,
    parser: Parser,
}

impl Source {
    fn new(id: InstanceId, tail: Option<usize>) -> Self {
        Self {
            id,
            directory: PathBuf::new(),
            position: (0, 0),
            pending: Vec::new(),
            tail,
            parser: Parser::default(),
        }
    }

    /// Reads until enough lines are pending or there are no more.
    fn fill(&mut self) -> io::Result<()> {
        if let Some(tail) = self.tail.take() {
            self.position = tail_position(&self.directory, tail)?;
        }
        for (number, path) in files(&self.directory) {
            if self.pending.len() >= BATCH_LINES {
                break;
            }
            if number >= self.position.0 {
                self.read_file(number, &path)?;
            }
        }
        Ok(())
    }

    fn read_file(&mut self, number: u64, path: &Path) -> io::Result<()> {
        let mut file = match File::open(path) {
            // Rotated away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        if number != self.position.0 {
            self.position = (number, 0);
        }
        file.seek(SeekFrom::Start(self.position.1))?;
        let mut reader = BufReader::new(file);
        let mut buffer = Vec::new();
        while self.pending.len() < BATCH_LINES {
            buffer.clear();
            let count = reader.read_until(b'\n', &mut buffer)?;
            let Some(line) = buffer.strip_suffix(b"\n") else {
                // The end, or a line that is being written: it is read as a whole later.
                break;
            };
            self.position.1 += u64::try_from(count).unwrap_or_default();
            let line = String::from_utf8_lossy(line);
            if let Some((at, stream, text)) = self.parser.parse(&line) {
                self.pending.push(LogLine {
                    at,
                    instance: self.id.clone(),
                    stream: stream.to_owned(),
                    text: text.to_owned(),
                });
            }
        }
        Ok(())
    }
}
