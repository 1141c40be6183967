//! What BuildKit says while it builds: the steps, what they write, and how it ends. Not the calls.

use std::collections::{BTreeMap, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use towpath_model::workload::SecretValue;

use super::TAIL_LINES;
use super::proto::Fields;

/// The id of a line of the answer that says how steps are.
const TRACE: &str = "moby.buildkit.trace";

/// Steps that are BuildKit's own.
const INTERNAL: &str = "[internal]";

/// What BuildKit puts before the words that matter.
const WRAPPINGS: [&str; 6] = [
    "failed to solve with frontend dockerfile.v0: ",
    "failed to solve: ",
    "failed to build LLB: ",
    "rpc error: code = Unknown desc = ",
    "dockerfile parse error ",
    "failed to create LLB definition: ",
];

/// The shortest line of a secret that is looked for by itself.
const PART: usize = 8;

/// One line of the answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    id: Option<String>,
    aux: serde_json::Value,
    error: Option<String>,
}

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    steps: BTreeMap<String, Step>,
    said: VecDeque<String>,
    /// The step that failed first.
    failed: Option<String>,
    error: Option<String>,
}

#[derive(Debug, Default)]
struct Step {
    name: String,
    began: bool,
    lines: VecDeque<String>,
    /// What was written since the last end of a line.
    rest: Vec<u8>,
}

impl Progress {
    /// Takes a line of the answer.
    pub(super) fn hear(&mut self, line: &[u8]) {
        // What is not understood says nothing of the build's end: the image is looked for.
        let Ok(line) = serde_json::from_slice::<Line>(line) else {
            return;
        };
        if line.error.is_some() {
            self.error = line.error;
        }
        if line.id.as_deref() == Some(TRACE)
            && let Some(text) = line.aux.as_str()
            && let Ok(status) = STANDARD.decode(text)
        {
            self.trace(&status);
        }
    }

    /// Takes a message of how steps are.
    pub(super) fn trace(&mut self, status: &[u8]) {
        for (number, value) in Fields(status) {
            match number {
                1 => self.step(value.bytes()),
                3 => self.log(value.bytes()),
                _ => {}
            }
        }
    }

    fn step(&mut self, vertex: &[u8]) {
        let (mut digest, mut name) = (String::new(), String::new());
        let (mut began, mut error) = (false, String::new());
        for (number, value) in Fields(vertex) {
            match number {
                1 => digest = value.text(),
                3 => name = value.text(),
                5 => began = true,
                7 => error = value.text(),
                _ => {}
            }
        }
        let step = self.steps.entry(digest.clone()).or_default();
        step.name = name;
        let begins = began && !step.began && !step.name.starts_with(INTERNAL);
        step.began |= began;
        let name = step.name.clone();
        if begins {
            push(&mut self.said, name);
        }
        // Steps that are given up because of another one say that.
        if !error.is_empty() && !error.contains("context canceled") && self.failed.is_none() {
            self.failed = Some(digest);
        }
    }

    fn log(&mut self, log: &[u8]) {
        let mut digest = String::new();
        for (number, value) in Fields(log) {
            match number {
                1 => digest = value.text(),
                4 => self.written(&digest, value.bytes()),
                _ => {}
            }
        }
    }

    fn written(&mut self, digest: &str, bytes: &[u8]) {
        let step = self.steps.entry(digest.to_owned()).or_default();
        step.rest.extend_from_slice(bytes);
        let Some(end) = step.rest.iter().rposition(|byte| *byte == b'\n') else {
            return;
        };
        let rest = step.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut step.rest, rest);
        for line in lines(&whole) {
            push(&mut step.lines, line.clone());
            push(&mut self.said, line);
        }
    }

    /// Returns why it failed; `None` where it did not.
    pub(super) fn error(&self) -> Option<String> {
        self.error.as_deref().map(plain)
    }

    /// Returns the last lines: of the step that failed, where one did.
    pub(super) fn lines(mut self) -> Vec<String> {
        let failed = self.failed.take();
        let step = failed.and_then(|digest| self.steps.remove(&digest));
        let Some(mut step) = step else {
            return self.said.into();
        };
        for line in lines(&step.rest) {
            push(&mut step.lines, line);
        }
        let mut tail = vec![step.name];
        tail.extend(step.lines);
        tail
    }
}

fn push(lines: &mut VecDeque<String>, line: String) {
    if lines.len() == TAIL_LINES {
        lines.pop_front();
    }
    lines.push_back(line);
}

fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().map(|line| {
        // A line that was written over and over shows its last state.
        let last = line.trim_end().rsplit('\r').next();
        last.unwrap_or_default().to_owned()
    });
    lines.filter(|line| !line.is_empty()).collect()
}

/// Takes what is around the words that matter off.
fn plain(error: &str) -> String {
    let mut words = error.trim();
    while let Some(rest) = WRAPPINGS.iter().find_map(|one| words.strip_prefix(one)) {
        words = rest;
    }
    words.to_owned()
}

/// The values of secrets, which nothing that is said may have in it.
#[derive(Default)]
pub(super) struct Hidden(Vec<String>);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden(***)")
    }
}

impl Hidden {
    pub(super) fn of<'a>(values: impl Iterator<Item = &'a SecretValue>) -> Self {
        let mut hidden = Vec::new();
        for value in values {
            let text = String::from_utf8_lossy(value.expose()).into_owned();
            let parts = text.lines().map(str::trim);
            let parts = parts.filter(|part| part.len() >= PART);
            hidden.extend(parts.map(str::to_owned));
            hidden.push(text.trim().to_owned());
        }
        hidden.retain(|part| !part.is_empty());
        // What has another one in it comes first.
        hidden.sort_by_key(|part| std::cmp::Reverse(part.len()));
        Self(hidden)
    }

    /// Returns a text without the values.
    pub(super) fn out_of(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for part in &self.0 {
            if text.contains(part.as_str()) {
                text = text.replace(part.as_str(), "***");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::Message;
    use super::*;

    fn vertex(digest: &str, name: &str, error: &str) -> Vec<u8> {
        let began = Message::default().number(1, 1).done();
        let mut vertex = Message::default()
            .bytes(1, digest)
            .bytes(3, name)
            .bytes(5, began);
        if !error.is_empty() {
            vertex = vertex.bytes(7, error);
        }
        Message::default().bytes(1, vertex.done()).done()
    }

    fn log(digest: &str, text: &str) -> Vec<u8> {
        let log = Message::default()
            .bytes(1, digest)
            .number(3, 1)
            .bytes(4, text);
        Message::default().bytes(3, log.done()).done()
    }

    fn hear(progress: &mut Progress, status: &[u8]) {
        let line = serde_json::json!({ "id": TRACE, "aux": STANDARD.encode(status) });
        progress.hear(line.to_string().as_bytes());
    }

    #[test]
    fn the_last_lines_are_those_of_the_step_that_failed() {
        let mut progress = Progress::default();
        hear(&mut progress, &vertex("a", "[internal] load", ""));
        hear(&mut progress, &vertex("b", "[1/2] RUN make", ""));
        hear(&mut progress, &vertex("c", "[2/2] RUN other", ""));
        hear(&mut progress, &log("b", "one\ntwo h"));
        hear(&mut progress, &log("c", "not this\n"));
        hear(&mut progress, &log("b", "alves\n10%\r20%\nno end"));
        hear(
            &mut progress,
            &vertex("c", "[2/2] RUN other", "context canceled"),
        );
        hear(
            &mut progress,
            &vertex("b", "[1/2] RUN make", "exit code: 7"),
        );
        let end = br#"{"errorDetail":{"message":"x"},"error":"failed to solve: failed to build LLB: exit code: 7"}"#;
        progress.hear(end);
        assert_eq!(progress.error().as_deref(), Some("exit code: 7"));
        assert_eq!(
            progress.lines(),
            ["[1/2] RUN make", "one", "two halves", "20%", "no end"]
        );
    }

    #[test]
    fn where_no_step_failed_the_last_lines_are_those_of_all() {
        let mut progress = Progress::default();
        hear(&mut progress, &vertex("a", "[internal] load", ""));
        hear(&mut progress, &vertex("b", "[1/1] COPY . .", ""));
        progress.hear(b"not JSON");
        progress.hear(br#"{"id":"moby.buildkit.trace","aux":"!"}"#);
        progress.hear(br#"{"id":"moby.image.id","aux":{"ID":"sha256:0"}}"#);
        assert_eq!(progress.error(), None);
        assert_eq!(progress.lines(), ["[1/1] COPY . ."]);
    }

    #[test]
    fn no_line_has_the_value_of_a_secret() {
        let values = [
            SecretValue::new(b"hunter2\n".to_vec()),
            SecretValue::new(b"-----BEGIN\nabcdefgh\nx\n".to_vec()),
            SecretValue::new(b" ".to_vec()),
        ];
        let hidden = Hidden::of(values.iter());
        assert_eq!(hidden.out_of("it is hunter2!"), "it is ***!");
        assert_eq!(hidden.out_of("  abcdefgh"), "  ***");
        assert_eq!(hidden.out_of("x y"), "x y");
    }
}
