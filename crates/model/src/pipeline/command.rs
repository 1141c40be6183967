//! What people ask of a run: to stop it, to try it again, to approve or reject it. Each is checked
//! and written into the record; nothing is carried out.

use jiff::Timestamp;

use super::run::{Approval, JobState, Outcome, Run, Stop, StopKind, TargetState, Verdict};
use crate::delivery::pipeline::Approvals;
use crate::event::NewEvent;
use crate::id::EnvironmentName;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is over.
    #[error("the run has ended")]
    Ended,
    /// It is not over.
    #[error("the run has not ended")]
    NotEnded,
    /// There is nothing that could be tried again.
    #[error("nothing of the run failed")]
    NothingFailed,
    /// It does not come to the environment.
    #[error("the run does not come to `{0}`")]
    NoTarget(EnvironmentName),
    /// Nobody has to approve.
    #[error("nobody has to approve the release for `{0}` now")]
    NotAwaited(EnvironmentName),
    /// Somebody approved already.
    #[error("`{0}` approved it already")]
    Twice(String),
    /// Whoever wrote or pushed it asks.
    #[error("`{0}` wrote or pushed it: somebody else has to approve")]
    Author(String),
    /// Somebody asks who is in none of the groups.
    #[error("`{actor}` is in none of the groups that may approve: {groups}")]
    NotMember {
        /// Who.
        actor: String,
        /// The groups.
        groups: String,
    },
    /// What was asked for could not be done.
    #[error("{0}")]
    Other(String),
}

impl Refusal {
    /// Tells whether somebody else could do it.
    pub fn is_of_person(&self) -> bool {
        matches!(self, Self::Author(_) | Self::NotMember { .. })
    }
}

impl Run {
    /// Stops the run. What is under way is aborted.
    pub fn cancel(&mut self, actor: &str, at: Timestamp) -> Result<Vec<NewEvent>, Refusal> {
        self.stop_for(StopKind::Cancelled, actor, at)
    }

    /// Has a newer run take the place of this one. A deployment that is under way goes on.
    pub fn supersede(&mut self, by: &str, at: Timestamp) -> Result<Vec<NewEvent>, Refusal> {
        self.stop_for(StopKind::Superseded, by, at)
    }

    fn stop_for(
        &mut self,
        kind: StopKind,
        actor: &str,
        at: Timestamp,
    ) -> Result<Vec<NewEvent>, Refusal> {
        if self.outcome.is_some() {
            return Err(Refusal::Ended);
        }
        let is_stronger = kind == StopKind::Cancelled;
        if self.stop.is_none() || is_stronger {
            let actor = actor.to_owned();
            self.stop = Some(Stop { kind, actor, at });
        }
        let what = match kind {
            StopKind::Cancelled => "run.cancelling",
            StopKind::Superseded => "run.superseding",
        };
        Ok(vec![self.event(what, None, actor, at, None)])
    }

    /// Tries again what failed, was stopped, or was never begun because of that.
    pub fn retry(&mut self, actor: &str, at: Timestamp) -> Result<Vec<NewEvent>, Refusal> {
        match self.outcome {
            None => return Err(Refusal::NotEnded),
            Some(Outcome::Succeeded) => return Err(Refusal::NothingFailed),
            Some(Outcome::Failed | Outcome::Cancelled | Outcome::Superseded) => {}
        }
        for job in &mut self.jobs {
            if job.state != JobState::Succeeded {
                job.state = JobState::Waiting;
                // Its inputs may be others by now, such as a secret.
                job.lookup = None;
            }
        }
        for target in &mut self.targets {
            if target.state != TargetState::Succeeded {
                target.state = TargetState::Waiting;
                target.attempt += 1;
                target.deployment = None;
                target.delivered_at = None;
                target.approvals.clear();
            }
        }
        self.stop = None;
        self.outcome = None;
        self.finished_at = None;
        Ok(vec![self.event("run.retried", None, actor, at, None)])
    }

    /// Lets the release come to an environment, as far as this person is concerned.
    pub fn approve(
        &mut self,
        environment: &EnvironmentName,
        actor: &str,
        comment: Option<String>,
        at: Timestamp,
    ) -> Result<Vec<NewEvent>, Refusal> {
        self.may_approve_now(environment, actor)?;
        let target = self.awaiting(environment)?;
        target.approvals.push(Approval {
            actor: actor.to_owned(),
            at,
            comment: comment.clone(),
        });
        let place = format!("to {environment}");
        Ok(vec![self.event(
            "approval.given",
            Some(&place),
            actor,
            at,
            comment,
        )])
    }

    /// Says why somebody may not approve, if so.
    pub(super) fn may_approve(&self, approvals: &Approvals, actor: &str) -> Result<(), Refusal> {
        let push = [self.push.author.as_str(), self.push.actor.as_str()];
        if approvals.not_author && push.contains(&actor) {
            return Err(Refusal::Author(actor.to_owned()));
        }
        if !approvals.admits(actor) {
            return Err(Refusal::NotMember {
                actor: actor.to_owned(),
                groups: approvals.groups.join(", "),
            });
        }
        Ok(())
    }

    /// Says why somebody may not approve that the release comes to an environment now, if so.
    pub fn may_approve_now(
        &self,
        environment: &EnvironmentName,
        actor: &str,
    ) -> Result<(), Refusal> {
        let mut targets = self.targets.iter();
        let target = targets.find(|target| &target.environment == environment);
        let target = target.ok_or_else(|| Refusal::NoTarget(environment.clone()))?;
        if !target.awaits_approval() {
            return Err(Refusal::NotAwaited(environment.clone()));
        }
        let approvals = target.gates.approvals.clone().unwrap_or_default();
        self.may_approve(&approvals, actor)?;
        if target.approvals.iter().any(|one| one.actor == actor) {
            return Err(Refusal::Twice(actor.to_owned()));
        }
        Ok(())
    }

    /// Has the release not come to an environment.
    pub fn reject(
        &mut self,
        environment: &EnvironmentName,
        actor: &str,
        comment: Option<String>,
        at: Timestamp,
    ) -> Result<Vec<NewEvent>, Refusal> {
        let target = self.awaiting(environment)?;
        let reason = match &comment {
            Some(comment) => format!("rejected by {actor}: {comment}"),
            None => format!("rejected by {actor}"),
        };
        target.state = TargetState::Failed { reason };
        let place = format!("to {environment}");
        Ok(vec![self.event(
            "approval.rejected",
            Some(&place),
            actor,
            at,
            comment,
        )])
    }

    /// Gives a target up that can never be brought the release.
    pub fn refuse_target(
        &mut self,
        environment: &EnvironmentName,
        reason: String,
        at: Timestamp,
    ) -> Vec<NewEvent> {
        let targets = self.targets.iter_mut();
        let target = targets.filter(|one| matches!(one.state, TargetState::Deploying { .. }));
        let mut target = target.filter(|one| &one.environment == environment);
        let Some(target) = target.next() else {
            return Vec::new();
        };
        let state = TargetState::Failed {
            reason: reason.clone(),
        };
        target.state = state;
        let place = format!("to {environment}");
        let actor = crate::step::SYSTEM;
        vec![self.event("delivery.failed", Some(&place), actor, at, Some(reason))]
    }

    /// Gives a job up that can never be begun.
    pub fn refuse_job(&mut self, index: usize, reason: String, at: Timestamp) -> Vec<NewEvent> {
        let job = self.jobs.get_mut(index);
        let last = job.and_then(|job| job.attempts.last_mut());
        let Some(last) = last.filter(|attempt| attempt.verdict.is_none()) else {
            return Vec::new();
        };
        // The next step takes it from there.
        last.verdict = Some(Verdict::Failed { reason });
        last.ended_at = Some(at);
        Vec::new()
    }

    fn awaiting(
        &mut self,
        environment: &EnvironmentName,
    ) -> Result<&mut super::run::Target, Refusal> {
        let mut targets = self.targets.iter_mut();
        let target = targets
            .find(|target| &target.environment == environment)
            .ok_or_else(|| Refusal::NoTarget(environment.clone()))?;
        if target.awaits_approval() {
            Ok(target)
        } else {
            Err(Refusal::NotAwaited(environment.clone()))
        }
    }

    fn event(
        &self,
        what: &str,
        of: Option<&str>,
        actor: &str,
        at: Timestamp,
        reason: Option<String>,
    ) -> NewEvent {
        let subject = match of {
            Some(part) => format!("{} {part}", self.subject()),
            None => self.subject(),
        };
        NewEvent {
            at,
            actor: actor.to_owned(),
            what: what.to_owned(),
            subject,
            from: None,
            to: None,
            reason,
        }
    }
}
