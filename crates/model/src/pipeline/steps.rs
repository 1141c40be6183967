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

/// What the line of a step begins with.
const BEGINS: &str = "=== step ";

/// What is behind the beginning of a step's line when it passed, or did not.
const PASSED: &str = ": passed";
const EXITED: &str = ": exited with code ";

/// Returns the line that says that a step begins.
fn beginning(index: usize, count: usize, name: &str) -> String {
    format!("{BEGINS}{}/{count}: {name}", index + 1)
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
    /// What was said last of any step, as long as the first was not heard to begin.
    last: Option<(usize, StepState, Timestamp)>,
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
            last: None,
        }
    }

    /// Takes a line of the job's own in. Returns whether a step is not as it was before.
    pub fn hear(&mut self, line: &str, at: Timestamp) -> bool {
        // Most lines are none of ours.
        if !line.contains(BEGINS) {
            return false;
        }
        if self.has_no_beginning() {
            self.last = self.said(line, at).or(self.last);
        }
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
        let Some(ended) = ended(rest) else {
            return false;
        };
        step.state = ended;
        step.ended_at = Some(at);
        true
    }

    /// Returns the steps as they are now.
    pub fn steps(&self) -> &[StepRecord] {
        &self.steps
    }

    /// Returns the steps at the end of all that is left of a log. Where a job wrote so much that the
    /// beginning is gone, how the last step ended says that those before it passed.
    pub fn whole(mut self) -> Vec<StepRecord> {
        if let Some((index, state, at)) = self.last.filter(|_| self.has_no_beginning()) {
            for step in self.steps.iter_mut().take(index) {
                step.state = StepState::Passed;
            }
            if let Some(step) = self.steps.get_mut(index) {
                step.state = state;
                step.ended_at = (state != StepState::Running).then_some(at);
                step.started_at = (state == StepState::Running).then_some(at);
            }
        }
        self.steps
    }

    fn has_no_beginning(&self) -> bool {
        let first = self.steps.first();
        first.is_some_and(|step| step.state == StepState::Waiting)
    }

    /// Returns what a line says of a step, whichever it is.
    fn said(&self, line: &str, at: Timestamp) -> Option<(usize, StepState, Timestamp)> {
        let beginnings = self.beginnings.iter().enumerate();
        let mut found = beginnings.filter_map(|(index, beginning)| {
            let (_, rest) = line.split_once(beginning.as_str())?;
            let state = if rest.is_empty() {
                StepState::Running
            } else {
                ended(rest)?
            };
            Some((index, state, at))
        });
        found.next()
    }
}

/// Reads what stands behind the beginning of a step's line when it ended.
fn ended(rest: &str) -> Option<StepState> {
    let code = rest.strip_prefix(EXITED).and_then(|code| code.parse().ok());
    let passed = (rest == PASSED).then_some(StepState::Passed);
    code.map(|code| StepState::Failed { code }).or(passed)
}

/// Takes in steps of which more was heard. What was known of their times and is not heard any more stays.
pub fn catch_up(known: &mut Vec<StepRecord>, mut heard: Vec<StepRecord>) {
    if progress(&heard) <= progress(known) {
        return;
    }
    for (step, before) in heard.iter_mut().zip(known.iter()) {
        step.started_at = step.started_at.or(before.started_at);
        step.ended_at = step.ended_at.or(before.ended_at);
    }
    *known = heard;
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
