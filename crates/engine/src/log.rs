//! Log files: how a line is written, how output is cut into lines, and how files are rotated. Not
//! how the logs of several instances are read as one ([`crate::process`]).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Longer lines are cut: an instance that never ends a line must not fill the memory.
const LONGEST_LINE_BYTES: usize = 64 * 1024;

/// How much is read at a time to find the last lines.
const CHUNK_BYTES: u64 = 16 * 1024;

/// How much log is kept of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSettings {
    /// The size at which a file is closed and the next one begun.
    pub file_bytes: u64,
    /// The number of files kept, at least 1.
    pub files: usize,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            file_bytes: 10 * 1024 * 1024,
            files: 5,
        }
    }
}

/// Writes one line as it is in a log file, without its end.
pub(crate) fn format_line(at: Timestamp, stream: &str, text: &str) -> String {
    let mut line = String::new();
    join(&mut line, &format_time(at), stream, text);
    line
}

fn format_time(at: Timestamp) -> String {
    format!("{at:.6}")
}

fn join(line: &mut String, at: &str, stream: &str, text: &str) {
    for part in [at, " ", stream, " ", text] {
        line.push_str(part);
    }
}

/// Reads the lines of log files, of which many have the time of the one before.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    last: Option<(String, Timestamp)>,
}

impl Parser {
    /// Reads a line as [`parse_line`] does.
    pub(crate) fn parse<'l>(&mut self, line: &'l str) -> Option<(Timestamp, &'l str, &'l str)> {
        let same = self.last.as_ref().and_then(|(text, at)| {
            let rest = line.strip_prefix(text.as_str())?.strip_prefix(' ')?;
            let (stream, text) = rest.split_once(' ')?;
            Some((*at, stream, text))
        });
        if same.is_some() {
            return same;
        }
        let parsed = parse_line(line)?;
        let (text, _) = line.split_once(' ')?;
        self.last = Some((text.to_owned(), parsed.0));
        Some(parsed)
    }
}

/// Reads a line of a log file. `None` for what [`format_line`] did not write.
pub(crate) fn parse_line(line: &str) -> Option<(Timestamp, &str, &str)> {
    let (at, rest) = line.split_once(' ')?;
    let (stream, text) = rest.split_once(' ')?;
    Some((at.parse().ok()?, stream, text))
}

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Takes the next bytes and hands every line that they end to `each`.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.pending.extend_from_slice(part);
            if self.pending.ends_with(b"\n") || self.pending.len() >= LONGEST_LINE_BYTES {
                self.flush(&mut each);
            }
        }
    }

    /// Hands over what is left: the stream ended.
    pub(crate) fn flush(&mut self, mut each: impl FnMut(&str)) {
        if self.pending.is_empty() {
            return;
        }
        let line = self.pending.strip_suffix(b"\n").unwrap_or(&self.pending);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        each(&String::from_utf8_lossy(line));
        self.pending.clear();
    }
}

/// The files of one log in the order of their writing: a directory of numbered files.
pub(crate) fn files(directory: &Path) -> Vec<(u64, PathBuf)> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut files: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let number = path.file_name()?.to_str()?.strip_suffix(".log")?.parse();
            Some((number.ok()?, path))
        })
        .collect();
    files.sort();
    files
}

/// Returns where the last lines of a log begin: the number of a file and an offset in it. Reads
/// no more than it has to.
pub(crate) fn tail_position(directory: &Path, count: usize) -> io::Result<(u64, u64)> {
    let files = files(directory);
    let mut missing = count;
    for (number, path) in files.iter().rev() {
        let mut file = match File::open(path) {
            // Rotated away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        let mut end = file.metadata()?.len();
        while end > 0 {
            let begin = end.saturating_sub(CHUNK_BYTES);
            file.seek(SeekFrom::Start(begin))?;
            let mut chunk = Vec::new();
            (&mut file).take(end - begin).read_to_end(&mut chunk)?;
            let ends = (begin + 1..)
                .zip(&chunk)
                .filter(|(_, byte)| **byte == b'\n');
            let ends: Vec<u64> = ends.map(|(after, _)| after).collect();
            // One more end than lines: that of the line before them.
            if let Some(index) = ends.len().checked_sub(missing + 1) {
                return Ok((*number, ends.get(index).copied().unwrap_or_default()));
            }
            missing -= ends.len();
            end = begin;
        }
    }
    Ok((files.first().map_or(0, |(number, _)| *number), 0))
}

/// Returns the text of the last lines of a log, newest last.
pub(crate) fn tail(directory: &Path, count: usize) -> Vec<String> {
    let Ok((first, offset)) = tail_position(directory, count) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for (number, path) in files(directory) {
        if number < first {
            continue;
        }
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|mut file| {
            file.seek(SeekFrom::Start(if number == first { offset } else { 0 }))?;
            file.read_to_end(&mut bytes)
        });
        if read.is_err() {
            continue;
        }
        let text = String::from_utf8_lossy(&bytes);
        lines.extend(
            text.lines()
                .filter_map(parse_line)
                .map(|(_, _, text)| text.to_owned()),
        );
    }
    lines
}

/// Writes a log: begins a new file when one is full and deletes the oldest.
#[derive(Debug)]
pub(crate) struct LogWriter {
    directory: PathBuf,
    settings: LogSettings,
    number: u64,
    size_bytes: u64,
    file: Option<File>,
    /// What was taken and not yet written, and how many lines it is.
    pending: (Vec<u8>, u64),
    lost_lines: u64,
    /// The last time, as it is written: of what is read at once all lines have the same.
    stamp: (Timestamp, String),
    /// The line that is being made.
    line: String,
}

impl LogWriter {
    /// Goes on with the log in `directory`, which is made if it is not there.
    pub(crate) fn open(directory: &Path, settings: LogSettings) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let number = files(directory).last().map_or(1, |(number, _)| *number);
        let mut writer = Self {
            directory: directory.to_owned(),
            settings,
            number,
            size_bytes: 0,
            file: None,
            pending: (Vec::new(), 0),
            lost_lines: 0,
            stamp: (Timestamp::UNIX_EPOCH, format_time(Timestamp::UNIX_EPOCH)),
            line: String::new(),
        };
        writer.reopen()?;
        Ok(writer)
    }

    /// Takes a line, which is written with the next [`LogWriter::flush`] at the latest.
    pub(crate) fn write(&mut self, at: Timestamp, stream: &str, text: &str) {
        if self.lost_lines > 0 && self.pending.1 == 0 {
            let note = format!("[{} lines were lost: no room for the log]", self.lost_lines);
            self.take(&format_line(at, stream, &note));
            self.pending.1 = 0;
        }
        if self.stamp.0 != at {
            self.stamp = (at, format_time(at));
        }
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        join(&mut line, &self.stamp.1, stream, text);
        self.take(&line);
        // The memory is used again.
        self.line = line;
    }

    fn take(&mut self, line: &str) {
        let size_bytes = self.size_bytes.saturating_add(length(&self.pending.0));
        if is_full(size_bytes, line.len(), self.settings) {
            self.flush();
            self.rotate();
        }
        self.pending.0.extend_from_slice(line.as_bytes());
        self.pending.0.push(b'\n');
        self.pending.1 += 1;
        if self.pending.0.len() >= LONGEST_LINE_BYTES {
            self.flush();
        }
    }

    /// Writes what was taken. What cannot be written (the disk is full) is counted and said when
    /// it works again: the instance must not block on its log.
    pub(crate) fn flush(&mut self) {
        let (bytes, lines) = std::mem::take(&mut self.pending);
        if bytes.is_empty() {
            return;
        }
        if self.append(&bytes).is_ok() {
            self.lost_lines = 0;
            self.size_bytes = self.size_bytes.saturating_add(length(&bytes));
        } else {
            self.lost_lines += lines;
            if let Some(file) = &self.file {
                // Half a line must not become the beginning of the next one.
                drop(file.set_len(self.size_bytes));
            }
        }
        // The memory is used again.
        self.pending.0 = bytes;
        self.pending.0.clear();
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.reopen()?;
        }
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rotate(&mut self) {
        if self.file.take().is_some() {
            self.number += 1;
        }
        // Where this fails it is tried again with the next lines.
        drop(self.reopen());
        self.forget_oldest();
    }

    fn reopen(&mut self) -> io::Result<()> {
        let path = self.directory.join(format!("{:08}.log", self.number));
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        self.size_bytes = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    fn forget_oldest(&self) {
        let files = files(&self.directory);
        let surplus = files.len().saturating_sub(self.settings.files.max(1));
        for (_, path) in files.iter().take(surplus) {
            // A file that stays takes room and does no other harm: the next rotation tries again.
            drop(fs::remove_file(path));
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Tells whether a line belongs into the next file. A file has at least one line.
fn is_full(size_bytes: u64, line_bytes: usize, settings: LogSettings) -> bool {
    let after = size_bytes.saturating_add(u64::try_from(line_bytes).unwrap_or(u64::MAX));
    size_bytes > 0 && after > settings.file_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        Timestamp::from_second(1_000_000_000).unwrap()
    }

    #[test]
    fn a_line_survives_a_round_trip_through_the_file_format() {
        let line = format_line(at(), "stderr", "two  words ");
        assert_eq!(line, "2001-09-09T01:46:40.000000Z stderr two  words ");
        assert_eq!(parse_line(&line), Some((at(), "stderr", "two  words ")));
        assert_eq!(
            parse_line(&format_line(at(), "stdout", "")),
            Some((at(), "stdout", ""))
        );
        assert_eq!(parse_line("nothing of ours"), None);
    }

    #[test]
    fn lines_of_one_time_and_of_others_are_read_alike() {
        let mut parser = Parser::default();
        let later = Timestamp::from_second(1_000_000_001).unwrap();
        for (at, text) in [(at(), "a"), (at(), ""), (later, "b c"), (at(), "d")] {
            let line = format_line(at, "stdout", text);
            assert_eq!(parser.parse(&line), Some((at, "stdout", text)));
            assert_eq!(parser.parse("nothing of ours"), None);
        }
    }

    #[test]
    fn output_is_cut_into_lines_wherever_the_reads_end() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for part in [&b"on"[..], b"e\r\ntwo\n\nth", b"ree \xff"] {
            lines.feed(part, |line| seen.push(line.to_owned()));
        }
        assert_eq!(seen, ["one", "two", ""]);
        lines.flush(|line| seen.push(line.to_owned()));
        assert_eq!(seen.last().map(String::as_str), Some("three \u{fffd}"));
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut lines = Lines::default();
        let mut count = 0;
        for _ in 0..3 {
            lines.feed(&vec![b'x'; LONGEST_LINE_BYTES], |_| count += 1);
        }
        assert_eq!(count, 3);
    }

    #[test]
    fn files_are_rotated_and_the_oldest_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let settings = LogSettings {
            file_bytes: 100,
            files: 2,
        };
        let mut writer = LogWriter::open(directory.path(), settings).unwrap();
        for n in 0..10 {
            writer.write(at(), "stdout", &format!("line {n}"));
        }
        writer.flush();
        let numbers: Vec<u64> = files(directory.path()).iter().map(|(n, _)| *n).collect();
        assert_eq!(numbers, [4, 5]);
        assert_eq!(tail(directory.path(), 3), ["line 7", "line 8", "line 9"]);
        drop(writer);
        let mut again = LogWriter::open(directory.path(), settings).unwrap();
        again.write(at(), "stdout", "line 10");
        again.flush();
        assert_eq!(tail(directory.path(), 1), ["line 10"]);
    }

    #[test]
    fn the_last_lines_are_found_over_chunks_and_files() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(tail_position(directory.path(), 3).unwrap(), (0, 0));
        let settings = LogSettings {
            file_bytes: 3 * CHUNK_BYTES,
            files: 9,
        };
        let mut writer = LogWriter::open(directory.path(), settings).unwrap();
        let text = |n: usize| format!("{n} {}", "x".repeat(n * 97 % 3_000));
        for n in 0..100 {
            writer.write(at(), "stdout", &text(n));
        }
        writer.flush();
        assert!(files(directory.path()).len() > 2);
        for count in [0, 1, 2, 37, 99, 100, 1_000] {
            let expected: Vec<String> = (100 - count.min(100)..100).map(text).collect();
            assert_eq!(tail(directory.path(), count), expected, "{count}");
        }
        // A line that is being written is none of them.
        let (_, path) = files(directory.path()).pop().unwrap();
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(tail(directory.path(), 1), [text(99)]);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_said_when_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(directory.path(), LogSettings::default()).unwrap();
        let full = || File::options().write(true).open("/dev/full").unwrap();
        for lines in [2, 1] {
            writer.file = Some(full());
            for _ in 0..lines {
                writer.write(at(), "stdout", "lost");
            }
            writer.flush();
        }
        writer.file = None;
        writer.write(at(), "stdout", "written");
        writer.write(at(), "stdout", "too");
        writer.flush();
        let note = "[3 lines were lost: no room for the log]";
        assert_eq!(tail(directory.path(), 9), [note, "written", "too"]);
    }

    #[test]
    fn a_file_has_at_least_one_line() {
        let settings = LogSettings {
            file_bytes: 10,
            files: 1,
        };
        assert!(!is_full(0, 1_000, settings));
        assert!(is_full(1, 10, settings));
        assert!(!is_full(1, 9, settings));
    }
}
