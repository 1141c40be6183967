//! The last lines of the job that a run failed for, from the log that is kept of it, for the message
//! about that. Not the log itself, which somebody else keeps and closes meanwhile.

use std::io::{self, SeekFrom};
use std::path::Path;
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::time::Instant;
use towpath_model::id::RunId;
use towpath_model::notify::LOG_LINES;
use towpath_model::pipeline::run::{Attempt, Job, JobState, Run};
use towpath_model::port::PortError;

use super::act::is_own;
use super::kept::HEAD_BYTES;
use super::log::{RunLogLine, part};
use super::read;
use crate::error::{Error, describe};
use crate::platform::Shared;

/// The longest that is waited for a log to be closed: messages about other things wait behind it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time between two looks whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Bytes from the end of a log in which the last lines are looked for.
const END_BYTES: u64 = 1 << 20;

impl Shared {
    /// Returns the last lines of the first job that failed of a run; none where they are not known. What
    /// cannot be read is not told, and holds up nothing.
    pub(crate) async fn last_lines_of(&self, id: &RunId) -> Vec<String> {
        let lines = self.find_last_lines(id).await;
        lines.unwrap_or_else(|error| {
            let error = describe(&error);
            tracing::warn!(run = %id, error, "what the job of a failed run wrote cannot be read");
            Vec::new()
        })
    }

    async fn find_last_lines(&self, id: &RunId) -> Result<Vec<String>, Error> {
        let began = Instant::now();
        loop {
            let Some(stored) = self.ports.store.run(id).await? else {
                return Ok(Vec::new());
            };
            let run = read(&stored)?;
            let Some((job, attempt)) = culprit(&run) else {
                return Ok(Vec::new());
            };
            let path = self.log_of(id, job.number, attempt.number);
            let is_closed = attempt.is_cleared || path.exists();
            if is_closed || began.elapsed() >= PATIENCE {
                let end = read_end(&path).await;
                return end.map_err(|error| unreadable(id, &error).into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn unreadable(id: &RunId, error: &io::Error) -> PortError {
    PortError::Failed {
        attempted: format!("reading the log of {id}"),
        reason: error.to_string(),
    }
}

/// Returns the job that is named first among what failed, and its last attempt.
fn culprit(run: &Run) -> Option<(&Job, &Attempt)> {
    let mut failed = run.jobs.iter();
    let job = failed.find(|job| matches!(job.state, JobState::Failed { .. }))?;
    Some((job, job.attempts.last()?))
}

/// Reads the last lines of a log, of the whole one if it is there.
async fn read_end(path: &Path) -> io::Result<Vec<String>> {
    match read_bytes(path).await {
        Ok((bytes, from)) => Ok(last_lines(&bytes, from)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match read_bytes(&part(path)).await {
                // The end of a log as long as that is not there before it is whole.
                Ok((bytes, from)) if from.saturating_add(size(&bytes)) < HEAD_BYTES => {
                    Ok(last_lines(&bytes, from))
                }
                Ok(_) => Ok(Vec::new()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// Returns the end of a file, and where in the file it begins.
async fn read_bytes(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let mut file = File::open(path).await?;
    let from = file.metadata().await?.len().saturating_sub(END_BYTES);
    file.seek(SeekFrom::Start(from)).await?;
    let mut bytes = Vec::new();
    // It may still grow.
    file.take(END_BYTES).read_to_end(&mut bytes).await?;
    Ok((bytes, from))
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Returns the last lines that the job wrote; where it wrote nothing, those of the services beside it,
/// whose names are before them.
fn last_lines(bytes: &[u8], from: u64) -> Vec<String> {
    // The first line may have begun before.
    let skipped = usize::from(from > 0);
    let lines = bytes.split(|byte| *byte == b'\n').skip(skipped);
    // What is not whole yet is no line.
    let lines = lines.filter_map(|line| serde_json::from_slice::<RunLogLine>(line).ok());
    let (own, others): (Vec<_>, Vec<_>) = lines.partition(|line| is_own(&line.service));
    let mut last: Vec<String> = if own.is_empty() {
        let others = others.into_iter();
        let others = others.filter(|line| line.service != crate::SYSTEM);
        others
            .map(|line| format!("{}: {}", line.service, line.text))
            .collect()
    } else {
        own.into_iter().map(|line| line.text).collect()
    };
    last.split_off(last.len().saturating_sub(LOG_LINES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[(&str, &str)]) -> Vec<u8> {
        let one = |(service, text): &(&str, &str)| {
            let line = RunLogLine {
                at: jiff::Timestamp::UNIX_EPOCH,
                service: (*service).to_owned(),
                stream: "stdout".to_owned(),
                text: (*text).to_owned(),
            };
            serde_json::to_string(&line).unwrap() + "\n"
        };
        lines.iter().map(one).collect::<String>().into_bytes()
    }

    #[test]
    fn the_last_lines_are_those_of_the_job_and_of_what_is_whole() {
        let mut bytes = log(&[("job", "a"), ("db", "b"), ("job", "c"), ("towpath", "d")]);
        bytes.extend(b"{\"at\":");
        assert_eq!(last_lines(&bytes, 0), ["a", "c"]);
        assert_eq!(last_lines(&bytes, 7), ["c"]);
        let many: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let many: Vec<_> = many.iter().map(|text| ("job", text.as_str())).collect();
        let last = last_lines(&log(&many), 0);
        assert_eq!((last.len(), last[0].as_str()), (LOG_LINES, "80"));
    }

    #[test]
    fn where_a_job_wrote_nothing_the_services_beside_it_speak() {
        let bytes = log(&[("db", "no space"), ("towpath", "tests: none")]);
        assert_eq!(last_lines(&bytes, 0), ["db: no space"]);
    }

    #[tokio::test]
    async fn a_log_that_is_not_closed_is_read_as_far_as_it_is() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("1-1.log");
        assert_eq!(read_end(&path).await.unwrap(), [""; 0]);
        std::fs::write(part(&path), log(&[("job", "so far")])).unwrap();
        assert_eq!(read_end(&path).await.unwrap(), ["so far"]);
        std::fs::write(&path, log(&[("job", "the end")])).unwrap();
        assert_eq!(read_end(&path).await.unwrap(), ["the end"]);
    }
}
