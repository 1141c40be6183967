//! The steps of a job: the script that carries them in one process, and what its log says of how far
//! they are. Not how the job is started or ended ([`super::step()`]).

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::delivery::pipeline::StepSettings;
use crate::instance::elapsed;
use crate::workload::Command;

/// One step of an attempt at a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The name in the delivery file.
    pub name: String,
    /// How far it is.
    pub state: StepState,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// One before it is not done.
    Waiting,
    /// It runs.
    Running,
    /// It ended with exit code 0.
    Passed,
    /// It ended with another one.
    Failed {
        /// The exit code.
        code: i32,
    },
    /// It ran when the job was ended.
    Stopped,
    /// It was never begun.
    Skipped,
}

impl StepRecord {
    /// Returns how long it took, or takes up to now.
    pub fn took(&self, now: Timestamp) -> Option<Duration> {
        let started = self.started_at?;
        Some(elapsed(started, self.ended_at.unwrap_or(now)))
    }
}

/// Returns what the shell has to run for the steps to run one after another, up to the first that
/// fails. Each has a shell of its own, so that neither its variables nor a mistake in it concern
/// another; all have the same directory. The script ends with the exit code of the last that ran.
pub fn script(steps: &[StepSettings]) -> String {
    let mut script = String::new();
    for (index, step) in steps.iter().enumerate() {
        let begin = beginning(index, steps.len(), &step.name);
        let run = match &step.run {
            Command::Shell(lines) => format!("/bin/sh -e -c {} job", quoted(lines)),
            Command::Exec(words) => {
                let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
                // The shell's own words are no programs: `exec` of a list would end the script.
                format!("/bin/sh -c 'exec \"$@\"' job {}", words.join(" "))
            }
        };
        let begin = quoted(&begin);
        script.push_str(&format!(
            "printf '%s\\n' {begin}\n\
             {run}\n\
             towpath_code=$?\n\
             if [ \"$towpath_code\" -ne 0 ]; then\n\
             printf '%s{EXITED}%s\\n' {begin} \"$towpath_code\"\n\
             exit \"$towpath_code\"\n\
             fi\n\
             printf '%s{PASSED}\\n' {begin}\n"
        ));
    }
    script
}

/// What is behind the beginning of a step's line when it passed, or did not.
const PASSED: &str = ": passed";
const EXITED: &str = ": exited with code ";

/// Returns the line that says that a step begins.
fn beginning(index: usize, count: usize, name: &str) -> String {
    format!("=== step {}/{count}: {name}", index + 1)
}

/// Quotes a text for the shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Follows the log of a job.
#[derive(Debug, Clone)]
pub struct StepWatch {
    steps: Vec<StepRecord>,
    beginnings: Vec<String>,
}

impl StepWatch {
    /// Makes what follows the log of a job with these steps.
    pub fn new(names: &[String]) -> Self {
        let waiting = |name: &String| StepRecord {
            name: name.clone(),
            state: StepState::Waiting,
            started_at: None,
            ended_at: None,
        };
        let beginnings = names.iter().enumerate();
        Self {
            steps: names.iter().map(waiting).collect(),
            beginnings: beginnings
                .map(|(index, name)| beginning(index, names.len(), name))
                .collect(),
        }
    }

    /// Takes a line of the job's own in. Returns whether a step is not as it was before.
    pub fn hear(&mut self, line: &str, at: Timestamp) -> bool {
        let moving = self.steps.iter_mut().zip(&self.beginnings);
        let mut moving = moving
            .filter(|(step, _)| matches!(step.state, StepState::Waiting | StepState::Running));
        let Some((step, beginning)) = moving.next() else {
            return false;
        };
        // What was written without a line end is before it, on the same line.
        let Some((_, rest)) = line.split_once(beginning.as_str()) else {
            return false;
        };
        match step.state {
            StepState::Waiting if rest.is_empty() => {
                step.state = StepState::Running;
                step.started_at = Some(at);
                return true;
            }
            StepState::Running => {}
            _ => return false,
        }
        let code = rest.strip_prefix(EXITED).and_then(|code| code.parse().ok());
        step.state = match code {
            Some(code) => StepState::Failed { code },
            None if rest == PASSED => StepState::Passed,
            None => return false,
        };
        step.ended_at = Some(at);
        true
    }

    /// Returns the steps as they are now.
    pub fn steps(&self) -> &[StepRecord] {
        &self.steps
    }
}

/// Returns how much was heard of steps: it only grows as more of a log is read.
pub fn progress(steps: &[StepRecord]) -> usize {
    let heard = |step: &StepRecord| match step.state {
        StepState::Waiting | StepState::Skipped => 0,
        StepState::Running => 1,
        StepState::Passed | StepState::Failed { .. } | StepState::Stopped => 2,
    };
    steps.iter().map(heard).sum()
}

/// Says that the job of these steps is over.
pub fn close(steps: &mut [StepRecord], at: Timestamp) {
    for step in steps {
        match step.state {
            StepState::Running => {
                step.state = StepState::Stopped;
                step.ended_at = Some(at);
            }
            StepState::Waiting => step.state = StepState::Skipped,
            StepState::Passed
            | StepState::Failed { .. }
            | StepState::Stopped
            | StepState::Skipped => {}
        }
    }
}

/// Returns the step that a job ended in, where it did not pass.
pub fn culprit(steps: &[StepRecord]) -> Option<&StepRecord> {
    steps.iter().find(|step| {
        matches!(
            step.state,
            StepState::Failed { .. } | StepState::Running | StepState::Stopped
        )
    })
}
