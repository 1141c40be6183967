//! Reads what containers wrote, from Docker's log drivers. Not its keeping, which is Docker's as
//! long as there is the container; of one that is removed the end is kept in a file.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::{LogsOptions, LogsOptionsBuilder};
use futures_util::stream::SelectAll;
use futures_util::{Stream, StreamExt as _};
use jiff::Timestamp;
use towpath_model::id::{EnvironmentId, InstanceId};
use towpath_model::port::{LogLine, LogLines, LogQuery, PortError};

use super::client::Trouble;
use super::one_off;
use super::shared::Shared;
use super::state::Stage;
use crate::log::{format_line, parse_line};

/// How many of an instance's last lines say how it ended.
const TAIL_LINES: usize = 20;

/// How many of an instance's last lines stay when it is removed.
const KEPT_LINES: usize = 1000;

/// Logs of removed instances that are kept of each environment.
const KEPT_LOGS: usize = 20;

/// The longest that Docker may take to read the end of a log.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often new instances are looked for while a log is followed.
const NEWS: Duration = Duration::from_millis(500);

type Lines = Pin<Box<dyn Stream<Item = Result<LogLine, Error>> + Send>>;

/// Opens the log of an environment.
pub(super) async fn open(
    shared: &Arc<Shared>,
    environment: &EnvironmentId,
    query: &LogQuery,
) -> Result<Box<dyn LogLines>, PortError> {
    let wanted = Wanted {
        shared: Arc::clone(shared),
        environment: environment.clone(),
        query: query.clone(),
        opened: HashSet::new(),
    };
    let attempted = || format!("read the log of {environment}");
    let docker = shared.client.get().await;
    let docker = docker.map_err(|trouble| trouble.failed(attempted()))?;
    Merged::open(wanted, docker)
        .await
        .map(|merged| -> Box<dyn LogLines> { Box::new(merged) })
        .map_err(|trouble| trouble.failed(attempted()))
}

/// Which instances' lines are wanted, and whose are read already.
struct Wanted {
    shared: Arc<Shared>,
    environment: EnvironmentId,
    query: LogQuery,
    opened: HashSet<InstanceId>,
}

impl Wanted {
    fn wants(&self, id: &InstanceId) -> bool {
        let services = &self.query.services;
        (services.is_empty() || services.contains(&id.service))
            && self.query.instance.is_none_or(|number| number == id.number)
    }

    /// Reads the lines of an instance that are wanted. Docker begins with a whole second, so what is
    /// too early is left out here.
    fn read(
        &self,
        docker: &Docker,
        id: &InstanceId,
        tail: Option<usize>,
        follow: bool,
        after: Option<Timestamp>,
    ) -> Lines {
        let query = self.query.clone();
        let options = options(tail, follow, after.max(query.since));
        let lines = read(docker, &self.shared, id, options);
        Box::pin(lines.filter(move |line| {
            let wanted = line.as_ref().is_ok_and(|line| query.wants_line(line.at));
            std::future::ready(wanted || line.is_err())
        }))
    }

    /// Returns the instances that are wanted and not read yet.
    fn news(&mut self) -> Vec<InstanceId> {
        let known = self.shared.lock();
        let instances = known.get(&self.environment).map(|known| &known.instances);
        let begun = instances
            .into_iter()
            .flatten()
            .filter(|(_, instance)| instance.record.stage != Stage::Asked)
            .map(|(id, _)| id.clone());
        let mut found: Vec<InstanceId> = begun.collect();
        drop(known);
        found.extend(one_off::detached(&self.shared, &self.environment));
        found.retain(|id| !self.opened.contains(id) && self.wants(id));
        self.opened.extend(found.iter().cloned());
        found
    }
}

/// The lines of several instances in the order of their time; then new ones as they come.
struct Merged {
    wanted: Wanted,
    docker: Docker,
    /// The head of each log that is read to its present end, by time, and the rest of it.
    heads: BTreeMap<(Timestamp, usize), LogLine>,
    rests: Vec<Lines>,
    /// Logs that are followed.
    followed: SelectAll<Lines>,
    /// Where the followed ones go on: lines up to there were read.
    read_up_to: BTreeMap<InstanceId, Timestamp>,
    following: bool,
}

impl Merged {
    async fn open(mut wanted: Wanted, docker: Docker) -> Result<Self, Trouble> {
        let mut rests: Vec<Lines> = Vec::new();
        let tail = wanted.query.tail;
        for (id, lines) in removed(&wanted) {
            let skipped = tail.map_or(0, |tail| lines.len().saturating_sub(tail));
            wanted.opened.insert(id);
            let lines = lines.into_iter().skip(skipped);
            let lines: Vec<_> = lines
                .filter(|line| wanted.query.wants_line(line.at))
                .map(Ok)
                .collect();
            rests.push(Box::pin(futures_util::stream::iter(lines)));
        }
        for id in wanted.news() {
            rests.push(wanted.read(&docker, &id, tail, false, None));
        }
        let mut merged = Self {
            wanted,
            docker,
            heads: BTreeMap::new(),
            rests,
            followed: SelectAll::new(),
            read_up_to: BTreeMap::new(),
            following: false,
        };
        for index in 0..merged.rests.len() {
            merged.advance(index).await?;
        }
        Ok(merged)
    }

    /// Takes the next line of a log as its head.
    async fn advance(&mut self, index: usize) -> Result<(), Trouble> {
        let Some(rest) = self.rests.get_mut(index) else {
            return Ok(());
        };
        match rest.next().await {
            None => Ok(()),
            Some(Ok(line)) => {
                self.heads.insert((line.at, index), line);
                Ok(())
            }
            Some(Err(error)) => match self.wanted.shared.client.trouble(&error) {
                // It was removed, or its driver cannot be read.
                Trouble::Missing(_) => Ok(()),
                Trouble::Refused(reason) => {
                    tracing::debug!(reason, "a log cannot be read");
                    Ok(())
                }
                trouble => Err(trouble),
            },
        }
    }

    async fn next_line(&mut self) -> Result<Option<LogLine>, Trouble> {
        if let Some(((_, index), line)) = self.heads.pop_first() {
            // Cancelled here, the line is lost, so the next head is taken before it is handed on.
            let key = (line.at, index);
            self.heads.insert(key, line);
            let more = self.rests.get_mut(index).map(|rest| rest.next());
            let next = match more {
                Some(next) => next.await,
                None => None,
            };
            let line = self.heads.remove(&key);
            if let Some(Ok(next)) = next {
                self.heads.insert((next.at, index), next);
            }
            if let Some(line) = &line {
                self.read_up_to.insert(line.instance.clone(), line.at);
            }
            return Ok(line);
        }
        if !self.wanted.query.follow {
            return Ok(None);
        }
        self.follow_next().await.map(Some)
    }

    async fn follow_next(&mut self) -> Result<LogLine, Trouble> {
        if !self.following {
            self.following = true;
            for id in self.wanted.opened.clone() {
                let after = self.read_up_to.get(&id).copied();
                self.follow(&id, after);
            }
        }
        loop {
            for id in self.wanted.news() {
                self.follow(&id, None);
            }
            let news = tokio::time::sleep(NEWS);
            let line = tokio::select! {
                Some(line) = self.followed.next() => line,
                () = news => continue,
            };
            match line {
                Ok(line) if self.is_new(&line) => return Ok(line),
                Ok(_) => {}
                Err(error) => match self.wanted.shared.client.trouble(&error) {
                    Trouble::Away(reason) => return Err(Trouble::Away(reason)),
                    trouble => {
                        tracing::debug!(reason = trouble.words(), "a log cannot be followed");
                    }
                },
            }
        }
    }

    /// Docker goes on from a whole second: what was read before is skipped.
    fn is_new(&self, line: &LogLine) -> bool {
        self.read_up_to
            .get(&line.instance)
            .is_none_or(|read| line.at > *read)
    }

    fn follow(&mut self, id: &InstanceId, after: Option<Timestamp>) {
        let tail = after.is_none().then_some(()).and(self.wanted.query.tail);
        let lines = self.wanted.read(&self.docker, id, tail, true, after);
        self.followed.push(lines);
    }
}

#[async_trait]
impl LogLines for Merged {
    async fn next(&mut self) -> Result<Option<LogLine>, PortError> {
        let environment = self.wanted.environment.clone();
        self.next_line()
            .await
            .map_err(|trouble| trouble.failed(format!("read the log of {environment}")))
    }
}

fn options(tail: Option<usize>, follow: bool, after: Option<Timestamp>) -> LogsOptions {
    let tail = tail.map_or_else(|| "all".to_owned(), |tail| tail.to_string());
    let since = after.and_then(|after| i32::try_from(after.as_second()).ok());
    LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .follow(follow)
        .since(since.unwrap_or(0))
        .tail(&tail)
        .build()
}

/// Reads the log of an instance line by line.
fn read(docker: &Docker, shared: &Shared, id: &InstanceId, options: LogsOptions) -> Lines {
    let pieces = docker.logs(&shared.container_of(id), Some(options));
    let id = id.clone();
    let mut partial = Partial::default();
    let lines = pieces.filter_map(move |piece| {
        let line = match piece {
            Ok(piece) => partial.feed(&piece).map(|(at, stream, text)| {
                Ok(LogLine {
                    at,
                    instance: id.clone(),
                    stream: stream.to_owned(),
                    text,
                })
            }),
            Err(error) => Some(Err(error)),
        };
        std::future::ready(line)
    });
    Box::pin(lines)
}

/// A line of which only a part was read: Docker hands on long ones in pieces.
#[derive(Debug, Default)]
struct Partial {
    out: Option<(Timestamp, String)>,
    err: Option<(Timestamp, String)>,
}

impl Partial {
    fn feed(&mut self, piece: &LogOutput) -> Option<(Timestamp, &'static str, String)> {
        let (stream, partial) = match piece {
            LogOutput::StdErr { .. } => ("stderr", &mut self.err),
            LogOutput::StdOut { .. } | LogOutput::StdIn { .. } | LogOutput::Console { .. } => {
                ("stdout", &mut self.out)
            }
        };
        let text = String::from_utf8_lossy(piece.as_ref());
        let (at, text) = text.split_once(' ').unwrap_or((&text, ""));
        let at: Timestamp = at.trim_end().parse().ok()?;
        let (line, whole) = match text.strip_suffix('\n') {
            Some(line) => (line.strip_suffix('\r').unwrap_or(line), true),
            None => (text, false),
        };
        let (at, mut begun) = partial.take().unwrap_or((at, String::new()));
        begun.push_str(line);
        if whole {
            return Some((at, stream, begun));
        }
        *partial = Some((at, begun));
        None
    }
}

/// Returns the last lines of a container that ended; none when its driver cannot be read.
pub(super) async fn tail(shared: &Shared, docker: &Docker, container: &str) -> Vec<String> {
    let lines = last_lines(docker, container, TAIL_LINES).await;
    match lines {
        Ok(lines) => lines.into_iter().map(|(_, _, text)| text).collect(),
        Err(error) => {
            let reason = shared.client.trouble(&error);
            tracing::debug!(container, reason = reason.words(), "a log cannot be read");
            Vec::new()
        }
    }
}

type Last = VecDeque<(Timestamp, &'static str, String)>;

async fn last_lines(docker: &Docker, container: &str, count: usize) -> Result<Last, Error> {
    let mut last = Last::new();
    let mut pieces = docker.logs(container, Some(options(Some(count), false, None)));
    let mut partial = Partial::default();
    let reading = async {
        while let Some(piece) = pieces.next().await {
            last.extend(partial.feed(&piece?));
        }
        Ok::<(), Error>(())
    };
    // What was read until then is better than nothing.
    tokio::time::timeout(PATIENCE, reading)
        .await
        .unwrap_or(Ok(()))?;
    // What a program wrote last may have no line end.
    for (stream, rest) in [("stdout", partial.out), ("stderr", partial.err)] {
        last.extend(rest.map(|(at, text)| (at, stream, text)));
    }
    Ok(last)
}

/// Keeps the end of the log of an instance that is about to be removed.
pub(super) async fn keep(shared: &Shared, docker: &Docker, id: &InstanceId) {
    let Ok(lines) = last_lines(docker, &shared.container_of(id), KEPT_LINES).await else {
        return;
    };
    let text: String = lines
        .iter()
        .map(|(at, stream, text)| format_line(*at, stream, text))
        .collect();
    let directory = shared.layout.old_logs(&id.environment);
    let written = std::fs::create_dir_all(&directory)
        .and_then(|()| std::fs::write(directory.join(id.local()), text))
        .and_then(|()| forget_oldest(&directory));
    if let Err(error) = written {
        tracing::warn!(instance = %id, %error, "the log of a removed instance cannot be kept");
    }
}

fn forget_oldest(directory: &std::path::Path) -> std::io::Result<()> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name
            .rsplit_once('-')
            .and_then(|(_, number)| number.parse::<u32>().ok());
        found.push((number.unwrap_or(0), entry.path()));
    }
    found.sort();
    let surplus = found.len().saturating_sub(KEPT_LOGS);
    for (_, path) in found.into_iter().take(surplus) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Returns the kept logs of removed instances that are wanted.
fn removed(wanted: &Wanted) -> Vec<(InstanceId, Vec<LogLine>)> {
    let directory = wanted.shared.layout.old_logs(&wanted.environment);
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(id) = format!("{}/{name}", wanted.environment).parse::<InstanceId>() else {
            continue;
        };
        let known = wanted.shared.instance(&id).is_some();
        let Ok(text) = std::fs::read_to_string(entry.path()) else {
            continue;
        };
        if known || !wanted.wants(&id) {
            continue;
        }
        let lines = text
            .lines()
            .filter_map(parse_line)
            .map(|(at, stream, text)| LogLine {
                at,
                instance: id.clone(),
                stream: stream.to_owned(),
                text: text.to_owned(),
            });
        let lines: Vec<LogLine> = lines.collect();
        found.push((id, lines));
    }
    found
}
