//! One step of a run: its record and what is observed of the environments go in, the next record and
//! what is to be done come out. The record is written down before anything is done, and all that is
//! done is idempotent, so a crash at any line is harmless.

mod job;
mod target;

use jiff::Timestamp;

use super::environment_of_job;
use super::observation::Observation;
use super::run::{JobState, Outcome, Run, StopKind, TargetState};
use crate::event::NewEvent;
use crate::id::{DeploymentNumber, EnvironmentName};
use crate::instance::after;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Look for a result that counts in place of a run of a job.
    LookUp {
        /// The place of the job in the run's list.
        index: usize,
    },
    /// Make the environment of a job's last attempt and deploy the job to it, unless that was done.
    StartJob {
        /// The place of the job in the run's list.
        index: usize,
    },
    /// Look at what an attempt left behind whose program is over.
    Look {
        /// The place of the job in the run's list.
        index: usize,
        /// The number of the attempt.
        attempt: u32,
    },
    /// Keep the log of an attempt, and remove its environment.
    ClearJob {
        /// The place of the job in the run's list.
        index: usize,
        /// The number of the attempt.
        attempt: u32,
    },
    /// Ask for the deployment of the release to an environment, unless this attempt did.
    Deploy {
        /// The environment.
        environment: EnvironmentName,
    },
    /// Stop a deployment of this run.
    Abort {
        /// The environment.
        environment: EnvironmentName,
        /// The deployment.
        deployment: DeploymentNumber,
    },
}

/// The outcome of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The record to write down.
    pub run: Run,
    /// What to do when it is written down.
    pub actions: Vec<Action>,
    /// What to add to the audit trail, with the record.
    pub events: Vec<NewEvent>,
    /// When the next step is due, though nothing should be observed before.
    pub wake_at: Option<Timestamp>,
}

/// Moves a run by one step.
pub fn step(run: &Run, observation: &Observation, now: Timestamp) -> Step {
    let mut turn = Turn {
        run: run.clone(),
        observation,
        now,
        events: Vec::new(),
        actions: Vec::new(),
    };
    // A job that ends lets others begin, and targets: none does so more often than there are both.
    for _ in 0..=turn.run.jobs.len() + turn.run.targets.len() {
        let before = turn.run.clone();
        for index in 0..turn.run.jobs.len() {
            job::advance(&mut turn, index);
        }
        for index in 0..turn.run.targets.len() {
            target::advance(&mut turn, index);
        }
        if turn.run == before {
            break;
        }
    }
    turn.end();
    turn.act();
    let wake_at = turn.wake_at();
    Step {
        run: turn.run,
        actions: turn.actions,
        events: turn.events,
        wake_at,
    }
}

/// A step in the making.
struct Turn<'a> {
    run: Run,
    observation: &'a Observation,
    now: Timestamp,
    events: Vec<NewEvent>,
    actions: Vec<Action>,
}

impl Turn<'_> {
    /// Adds a line to the audit trail.
    fn event(&mut self, what: &str, of: Option<&str>, reason: Option<String>) {
        let subject = match of {
            Some(part) => format!("{} {part}", self.run.subject()),
            None => self.run.subject(),
        };
        self.events.push(NewEvent {
            at: self.now,
            actor: crate::step::SYSTEM.to_owned(),
            what: what.to_owned(),
            subject,
            from: None,
            to: None,
            reason,
        });
    }

    /// Ends the run when all of it has ended.
    fn end(&mut self) {
        let run = &self.run;
        let all = run.jobs.iter().all(super::run::Job::has_ended)
            && run.targets.iter().all(super::run::Target::has_ended);
        if !all || run.outcome.is_some() {
            return;
        }
        let any_failed = !run.failures().is_empty();
        let cut_short = run.jobs.iter().any(|job| job.state == JobState::Cancelled)
            || run
                .targets
                .iter()
                .any(|target| target.state == TargetState::Cancelled);
        let outcome = match &run.stop {
            // Whoever stops what was done already stopped nothing.
            Some(stop) if cut_short => match stop.kind {
                StopKind::Cancelled => Outcome::Cancelled,
                StopKind::Superseded => Outcome::Superseded,
            },
            _ if any_failed => Outcome::Failed,
            _ => Outcome::Succeeded,
        };
        self.run.outcome = Some(outcome);
        self.run.finished_at = Some(self.now);
        let word = self.run.state().to_string();
        let failures = self.run.failures();
        let reason = (!failures.is_empty()).then(|| failures.join("; "));
        self.event(&format!("run.{word}"), None, reason);
    }

    /// Says what has to be done for the record to become true.
    fn act(&mut self) {
        let mut actions = Vec::new();
        for (index, job) in self.run.jobs.iter().enumerate() {
            if job::awaits_lookup(&self.run, job) {
                actions.push(Action::LookUp { index });
            }
            for attempt in &job.attempts {
                let seen = self.observation.jobs.get(&attempt.environment);
                if attempt.verdict.is_some() && !attempt.is_cleared {
                    let attempt = attempt.number;
                    actions.push(Action::ClearJob { index, attempt });
                } else if attempt.finding.is_some() {
                    if attempt.verdict.is_none() && attempt.left.is_none() {
                        let attempt = attempt.number;
                        actions.push(Action::Look { index, attempt });
                    }
                } else if attempt.verdict.is_none()
                    && seen.is_none_or(|seen| seen.deployment.is_none())
                {
                    actions.push(Action::StartJob { index });
                }
            }
        }
        for target in &self.run.targets {
            let seen = self.observation.targets.get(&target.environment);
            let deployment = seen.and_then(|seen| seen.deployment.as_ref());
            let environment = target.environment.clone();
            match (&target.state, deployment) {
                (TargetState::Deploying { .. }, None) => {
                    actions.push(Action::Deploy { environment });
                }
                (TargetState::Deploying { .. }, Some(deployment))
                    if self.is_cancelled() && deployment.failure.is_none() =>
                {
                    let deployment = deployment.number;
                    actions.push(Action::Abort {
                        environment,
                        deployment,
                    });
                }
                _ => {}
            }
        }
        self.actions = actions;
    }

    fn is_cancelled(&self) -> bool {
        let stop = self.run.stop.as_ref();
        stop.is_some_and(|stop| stop.kind == StopKind::Cancelled)
    }

    /// Returns the next moment at which time alone changes something.
    fn wake_at(&self) -> Option<Timestamp> {
        let jobs = self.run.jobs.iter().filter_map(job::deadlines);
        let targets = self.run.targets.iter();
        let targets = targets.filter_map(|target| target::deadlines(self, target));
        jobs.chain(targets)
            .filter(|moment| *moment > self.now)
            .min()
    }
}
