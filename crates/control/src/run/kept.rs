//! The file in which the log of a job is kept: its beginning and, where there is too much between, its
//! end, without the values of secrets. Not the reading of either.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt as _, BufWriter};
use towpath_model::port::LogLine;

use super::log::RunLogLine;
use crate::mask::Mask;

/// Bytes of a log that are kept from its beginning.
pub(super) const HEAD_BYTES: u64 = 8 << 20;

/// Bytes of a log that are kept from its end, where it is longer than that.
const TAIL_BYTES: usize = 1 << 20;

/// About what a line is in the file beside its text.
const FRAME_BYTES: usize = 90;

/// A log file in the making.
pub(super) struct Writer {
    file: BufWriter<File>,
    mask: Mask,
    bytes: u64,
    /// The end as it was read: most of what comes here is left out, and nothing is made of it before.
    tail: VecDeque<LogLine>,
    tail_bytes: usize,
    left_out: u64,
}

impl Writer {
    /// Makes the file, in which the mask covers what must not be seen.
    pub(super) async fn create(path: &Path, mask: Mask) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            tokio::fs::create_dir_all(parent).await?;
        }
        Ok(Self {
            file: BufWriter::new(File::create(path).await?),
            mask,
            bytes: 0,
            tail: VecDeque::new(),
            tail_bytes: 0,
            left_out: 0,
        })
    }

    /// Takes the next line.
    pub(super) async fn write(&mut self, line: LogLine) -> io::Result<()> {
        if self.bytes < HEAD_BYTES && self.tail.is_empty() {
            return self.put(line).await;
        }
        self.tail_bytes = self.tail_bytes.saturating_add(weight(&line));
        self.tail.push_back(line);
        while self.tail_bytes > TAIL_BYTES
            && let Some(oldest) = self.tail.pop_front()
        {
            let weight = weight(&oldest);
            self.tail_bytes = self.tail_bytes.saturating_sub(weight);
            let weight = u64::try_from(weight).unwrap_or(u64::MAX);
            self.left_out = self.left_out.saturating_add(weight);
        }
        Ok(())
    }

    /// Has what is in the file so far seen by others.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.file.flush().await
    }

    /// Writes the end, and behind it these lines.
    pub(super) async fn close(mut self, last: &[RunLogLine]) -> io::Result<()> {
        if self.left_out > 0 {
            let note = RunLogLine {
                at: Timestamp::UNIX_EPOCH,
                service: crate::SYSTEM.to_owned(),
                stream: "stderr".to_owned(),
                text: format!("... {} KiB are left out here ...", self.left_out >> 10),
            };
            self.put_as_it_is(&note).await?;
        }
        for line in std::mem::take(&mut self.tail) {
            self.put(line).await?;
        }
        for line in last {
            self.put_as_it_is(line).await?;
        }
        self.file.flush().await?;
        self.file.get_ref().sync_data().await
    }

    async fn put(&mut self, line: LogLine) -> io::Result<()> {
        let mut text = line.text;
        self.mask.cover_text(&mut text);
        let line = RunLogLine {
            at: line.at,
            service: line.instance.service.to_string(),
            stream: line.stream,
            text,
        };
        self.put_as_it_is(&line).await
    }

    async fn put_as_it_is(&mut self, line: &RunLogLine) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(length);
        self.file.write_all(text.as_bytes()).await
    }
}

fn weight(line: &LogLine) -> usize {
    line.text.len().saturating_add(FRAME_BYTES)
}

#[cfg(test)]
mod tests {
    use towpath_model::workload::SecretValue;

    use super::*;

    #[tokio::test]
    async fn the_beginning_and_the_end_are_kept_without_secrets_and_it_is_said_what_is_not() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("1/1-1.part");
        let mask = Mask::new(&[SecretValue::new(b"s3cret".to_vec())]);
        let mut writer = Writer::create(&path, mask).await.unwrap();
        let lines = 40_000;
        for number in 0..lines {
            let line = LogLine {
                at: Timestamp::UNIX_EPOCH,
                instance: "shop/ci-1-1-1/job-1".parse().unwrap(),
                stream: "stdout".to_owned(),
                text: format!("{number} s3cret {}", "x".repeat(500)),
            };
            writer.write(line).await.unwrap();
        }
        let own = RunLogLine {
            at: Timestamp::UNIX_EPOCH,
            service: "towpath".to_owned(),
            stream: "stdout".to_owned(),
            text: "tests: none".to_owned(),
        };
        writer.close(&[own]).await.unwrap();
        let kept = std::fs::read_to_string(&path).unwrap();
        assert!((8 << 20..10 << 20).contains(&kept.len()), "{}", kept.len());
        assert!(!kept.contains("s3cret"));
        let texts = kept.lines().map(|line| {
            let line: RunLogLine = serde_json::from_str(line).unwrap();
            line.text.split(" x").next().unwrap().to_owned()
        });
        let texts: Vec<String> = texts.collect();
        assert_eq!(texts[0], "0 ***");
        let left_out = texts
            .iter()
            .filter(|text| text.ends_with(" left out here ..."));
        assert_eq!(left_out.count(), 1);
        let last = format!("{} ***", lines - 1);
        assert_eq!(texts[texts.len() - 2..], [last, "tests: none".to_owned()]);
    }
}
