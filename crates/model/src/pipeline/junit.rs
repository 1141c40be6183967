//! Test reports in the format of JUnit, which every test tool can write: counted, and the first
//! failures named. Not where the files come from.
//!
//! There is no standard. What is read is what all dialects share: elements `testcase`, with
//! `failure`, `error` or `skipped` in them, wherever they stand. The sums that suites state of
//! themselves are not believed. An entity that a file declares is never expanded.

use std::time::Duration;

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;
use serde::{Deserialize, Serialize};

use crate::duration;

/// The most bytes of one file.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// The most files that are read of one job, and the most bytes that they may have together.
pub const FILES_MAX: usize = 1_000;
pub const ALL_BYTES_MAX: u64 = 64 << 20;

/// How many failures are named, and how many characters are kept of each of their texts.
const NAMED_MAX: usize = 20;
const TEXT_MAX: usize = 300;

/// How deep elements may be in one another.
const DEPTH_MAX: usize = 64;

/// What the test reports of a job say.
#[expect(
    clippy::struct_field_names,
    reason = "the words are those that every report has"
)]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tests {
    /// How many files were read.
    pub files: u32,
    /// How many tests there are.
    pub tests: u32,
    /// How many of them failed.
    pub failures: u32,
    /// How many of them ended in an error that they did not look for.
    pub errors: u32,
    /// How many of them were not run.
    pub skipped: u32,
    /// How long they took together.
    #[serde(with = "duration")]
    pub time: Duration,
    /// The first that failed or ended in an error.
    pub failed: Vec<FailedTest>,
    /// What could not be read, with file and line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

/// A test that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedTest {
    /// The class, the file or the suite that it is in; empty where nothing says it.
    pub class: String,
    /// The name.
    pub name: String,
    /// What it says of why; empty where it says nothing.
    pub message: String,
}

impl Tests {
    /// Reads a file. What is wrong with it is noted, and what was read of it before is not counted.
    pub fn read(&mut self, file: &str, bytes: &[u8]) {
        match read(bytes) {
            Ok(tests) => self.add(tests),
            Err(broken) => {
                let line = broken.line;
                let what = broken.what;
                self.note(format!("{file}:{line}: {what}"));
            }
        }
    }

    /// Notes what could not be read.
    pub fn note(&mut self, what: String) {
        if self.unreadable.len() < NAMED_MAX {
            self.unreadable.push(what);
        }
    }

    fn add(&mut self, other: Self) {
        self.files = self.files.saturating_add(1);
        self.tests = self.tests.saturating_add(other.tests);
        self.failures = self.failures.saturating_add(other.failures);
        self.errors = self.errors.saturating_add(other.errors);
        self.skipped = self.skipped.saturating_add(other.skipped);
        self.time = self.time.saturating_add(other.time);
        self.failed.extend(other.failed);
        self.failed.truncate(NAMED_MAX);
    }

    /// Says it in one line.
    pub fn summary(&self) -> String {
        let plural = if self.tests == 1 { "" } else { "s" };
        let mut text = format!("{} test{plural}", self.tests);
        for (count, word) in [
            (self.failures, "failed"),
            (self.errors, "with an error"),
            (self.skipped, "skipped"),
        ] {
            if count > 0 {
                text.push_str(&format!(", {count} {word}"));
            }
        }
        text.push_str(&format!(" in {:.1} s", self.time.as_secs_f64()));
        text
    }

    /// Says it for people, line by line: the sum, what failed, what could not be read.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("tests: {}", self.summary())];
        lines.extend(self.failed.iter().map(|test| format!("  failed: {test}")));
        let bad = self.failures.saturating_add(self.errors);
        let named = u32::try_from(self.failed.len()).unwrap_or(u32::MAX);
        if bad > named {
            lines.push(format!("  and {} more", bad - named));
        }
        let unreadable = self.unreadable.iter();
        lines.extend(unreadable.map(|what| format!("  unreadable: {what}")));
        lines
    }
}

impl std::fmt::Display for FailedTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.class.is_empty() {
            write!(f, "{}: ", self.class)?;
        }
        f.write_str(&self.name)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

/// Why a file cannot be read.
struct Broken {
    line: usize,
    what: String,
}

/// How a test went. What is worse wins where a file says several things.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    #[default]
    Passed,
    Skipped,
    Failed,
    Error,
}

/// A test that is being read.
#[derive(Debug, Default)]
struct Case {
    class: String,
    name: String,
    result: Ending,
    message: String,
    /// Whether the text that comes next says why it failed.
    is_telling: bool,
    /// How deep its element is.
    depth: usize,
}

fn read(bytes: &[u8]) -> Result<Tests, Broken> {
    let at_line = |position: usize, what: String| {
        let before = bytes.iter().take(position);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        Broken { line, what }
    };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes)
        .map_err(|error| at_line(error.valid_up_to(), "it is not UTF-8".to_owned()))?;
    let mut reader = Reader::from_str(text);
    let mut reading = Reading::default();
    loop {
        let event = reader.read_event().map_err(|error| {
            let position = usize::try_from(reader.error_position()).unwrap_or(usize::MAX);
            at_line(position, error.to_string())
        })?;
        if event == Event::Eof {
            break;
        }
        let position = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        reading
            .take(&event)
            .map_err(|what| at_line(position, what))?;
    }
    if reading.depth > 0 {
        return Err(at_line(text.len(), "it ends in the middle".to_owned()));
    }
    if !reading.has_root {
        return Err(at_line(0, "there is no XML in it".to_owned()));
    }
    Ok(reading.tests)
}

#[derive(Debug, Default)]
struct Reading {
    tests: Tests,
    case: Option<Case>,
    depth: usize,
    has_root: bool,
}

impl Reading {
    fn take(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Start(element) => {
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err(format!("its elements are more than {DEPTH_MAX} deep"));
                }
                self.begin(element)
            }
            Event::Empty(element) => {
                self.depth += 1;
                self.begin(element)?;
                self.end();
                Ok(())
            }
            Event::End(_) => {
                self.end();
                Ok(())
            }
            Event::Text(text) => {
                self.tell(&text.xml10_content());
                Ok(())
            }
            Event::CData(text) => {
                self.tell(&text.xml10_content());
                Ok(())
            }
            Event::GeneralRef(reference) => {
                self.tell(&referred(reference));
                Ok(())
            }
            Event::Decl(_) | Event::PI(_) | Event::DocType(_) | Event::Comment(_) | Event::Eof => {
                Ok(())
            }
        }
    }

    fn begin(&mut self, element: &BytesStart<'_>) -> Result<(), String> {
        self.has_root = true;
        let name = element.local_name();
        if name.as_ref() == "testcase" {
            let case = Case {
                class: attribute(element, "classname")?.unwrap_or_default(),
                name: attribute(element, "name")?.unwrap_or_default(),
                depth: self.depth,
                ..Case::default()
            };
            let time = attribute(element, "time")?.unwrap_or_default();
            // Some write `1,234.5`.
            let seconds: f64 = time.replace(',', "").trim().parse().unwrap_or(0.0);
            let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            self.tests.time = self.tests.time.saturating_add(time);
            self.case = Some(case);
            return Ok(());
        }
        let Some(case) = &mut self.case else {
            return Ok(());
        };
        let result = match name.as_ref() {
            "failure" => Ending::Failed,
            "error" => Ending::Error,
            "skipped" => Ending::Skipped,
            _ => return Ok(()),
        };
        if result > case.result {
            case.result = result;
            case.message = attribute(element, "message")?.unwrap_or_default();
            case.is_telling = case.message.trim().is_empty();
        }
        Ok(())
    }

    fn tell(&mut self, text: &str) {
        let Some(case) = self.case.as_mut().filter(|case| case.is_telling) else {
            return;
        };
        // More than what is kept, as spaces are taken out of it later.
        let room = (4 * TEXT_MAX).saturating_sub(case.message.len());
        case.message.extend(text.chars().take(room));
    }

    fn end(&mut self) {
        let depth = self.depth;
        self.depth = self.depth.saturating_sub(1);
        if let Some(case) = &mut self.case {
            case.is_telling = false;
        }
        let Some(case) = self.case.take_if(|case| case.depth == depth) else {
            return;
        };
        let tests = &mut self.tests;
        tests.tests = tests.tests.saturating_add(1);
        let count = match case.result {
            Ending::Passed => return,
            Ending::Skipped => {
                tests.skipped = tests.skipped.saturating_add(1);
                return;
            }
            Ending::Failed => &mut tests.failures,
            Ending::Error => &mut tests.errors,
        };
        *count = count.saturating_add(1);
        if tests.failed.len() < NAMED_MAX {
            tests.failed.push(FailedTest {
                class: one_line(&case.class),
                name: one_line(&case.name),
                message: one_line(&case.message),
            });
        }
    }
}

/// Returns the value of an attribute.
fn attribute(element: &BytesStart<'_>, name: &str) -> Result<Option<String>, String> {
    for attribute in element.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        if attribute.key.as_ref() == name {
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            // What refers to an entity of its own stays as it is written.
            let value = value.unwrap_or_else(|_| attribute.value.clone());
            return Ok(Some(value.into_owned()));
        }
    }
    Ok(None)
}

/// Returns what a reference stands for; itself where only the file knows.
fn referred(reference: &BytesRef<'_>) -> String {
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        return character.to_string();
    }
    let name = reference.xml10_content();
    match resolve_predefined_entity(&name) {
        Some(text) => text.to_owned(),
        None => format!("&{name};"),
    }
}

/// Puts a text on one line that is not too long, without characters that do something to a terminal.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let mut line: String = line.chars().filter(|one| !one.is_control()).collect();
    if line.chars().count() > TEXT_MAX {
        line = line.chars().take(TEXT_MAX).collect();
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests(text: &str) -> Tests {
        let mut tests = Tests::default();
        tests.read("a.xml", text.as_bytes());
        tests
    }

    #[test]
    fn every_dialect_is_counted_by_its_test_cases_and_failures_are_named() {
        let read = tests(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="99"><testsuite name="a" failures="99">
  <properties><property name="x" value="y"/></properties>
  <testcase classname="shop.Cart" name="adds" time="0.5"/>
  <testcase classname="shop.Cart" name="takes &lt;one&gt; out" time="1,000.25">
    <failure message="expected 1&#10;got 2" type="x">trace</failure><system-out>noise</system-out>
  </testcase>
  <testcase name="breaks"><error type="Panic"><![CDATA[
     at line 3 <here> ]]>&amp; there
</error></testcase>
  <testsuite><testcase name="later"><skipped/></testcase></testsuite>
</testsuite></testsuites>"#,
        );
        assert_eq!(
            (read.files, read.tests, read.failures, read.errors),
            (1, 4, 1, 1)
        );
        assert_eq!(
            (read.skipped, read.time),
            (1, Duration::from_millis(1_000_750))
        );
        let failed: Vec<String> = read.failed.iter().map(ToString::to_string).collect();
        let wanted = [
            "shop.Cart: takes <one> out: expected 1 got 2",
            "breaks: at line 3 <here> & there",
        ];
        assert_eq!(failed, wanted);
        let summary = "4 tests, 1 failed, 1 with an error, 1 skipped in 1000.8 s";
        assert_eq!(read.summary(), summary);
        assert_eq!(read.unreadable, [""; 0]);
    }

    #[test]
    fn what_is_broken_is_named_with_its_line_and_counts_for_nothing() {
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]>\n\
            <testsuite><testcase name=\"&b;\"><failure>&b;</failure></testcase></testsuite>";
        let read = tests(bomb);
        assert_eq!(read.failed.len(), 1, "{read:?}");
        let named = read.failed.first().unwrap();
        assert_eq!(
            (named.name.as_str(), named.message.as_str()),
            ("&b;", "&b;")
        );

        for (text, line) in [
            ("<testsuite>\n<testcase name=\"a\">\n</testsuite>", 3),
            ("<testsuite>\n<testcase name=\"a\"/>\n", 3),
            (
                "<testsuite>\n<testcase name=\"a\" name=\"b\"/></testsuite>",
                2,
            ),
            ("", 1),
            ("\n\nno XML at all", 1),
        ] {
            let read = tests(text);
            assert_eq!((read.files, read.tests), (0, 0), "{text}");
            let named = read.unreadable.first().unwrap();
            assert!(named.starts_with(&format!("a.xml:{line}: ")), "{named}");
        }
        let deep = "<a>".repeat(100);
        assert!(tests(&deep).unreadable.first().unwrap().contains("deep"));
        let mut read = Tests::default();
        read.read("b.xml", b"<a>\n\xff</a>");
        assert_eq!(read.unreadable, ["b.xml:2: it is not UTF-8"]);
    }

    #[test]
    fn only_the_first_failures_are_named_and_no_text_is_long() {
        let message = "x".repeat(10_000);
        let case =
            format!("<testcase name=\"a\u{1b}[31m\"><failure message=\"{message}\"/></testcase>");
        let read = tests(&format!("<t>{}</t>", case.repeat(50)));
        assert_eq!((read.failures, read.failed.len()), (50, NAMED_MAX));
        let first = read.failed.first().unwrap();
        assert_eq!(
            (first.name.as_str(), first.message.len()),
            ("a[31m", TEXT_MAX + 3)
        );
        assert_eq!(read.lines().last().unwrap(), "  and 30 more");
    }
}
