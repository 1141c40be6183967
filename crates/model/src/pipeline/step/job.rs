//! How a job goes: begun when what is before it is done, watched in its environment, tried again.
//! Not how its program is started and stopped, which is its environment's.

use std::time::Duration;

use jiff::Timestamp;

use super::{Turn, after, environment_of_job};
use crate::deployment::{Deployment, JobState as ReleaseJob};
use crate::id::ServiceName;
use crate::pipeline::JOB_SERVICE;
use crate::pipeline::run::{Attempt, Job, JobState, Left, Run, Verdict};
use crate::pipeline::steps::{self, StepRecord};

/// How long it may take until the job's own program starts: images are pulled and built, services
/// become well.
const LONGEST_SETUP: Duration = Duration::from_mins(30);

/// How long it may take to look at what a job left behind.
const LONGEST_LOOK: Duration = Duration::from_mins(10);

/// Moves a job as far as it goes.
pub(super) fn advance(turn: &mut Turn<'_>, index: usize) {
    let Some(job) = turn.run.jobs.get(index).cloned() else {
        return;
    };
    match job.state {
        JobState::Waiting => begin(turn, index, &job),
        JobState::Active => watch(turn, index, &job),
        JobState::Succeeded
        | JobState::Failed { .. }
        | JobState::Skipped { .. }
        | JobState::Cancelled => {}
    }
}

/// Returns the moments at which time alone moves a job.
pub(super) fn deadlines(job: &Job) -> Option<Timestamp> {
    let attempt = job.attempts.last()?;
    if attempt.verdict.is_some() {
        return None;
    }
    Some(deadline(job, attempt))
}

fn deadline(job: &Job, attempt: &Attempt) -> Timestamp {
    if let (Some(_), Some(ended)) = (&attempt.finding, attempt.ended_at) {
        return after(ended, LONGEST_LOOK);
    }
    match attempt.started_at {
        Some(started) => after(started, job.timeout),
        None => after(attempt.asked_at, LONGEST_SETUP),
    }
}

fn set(turn: &mut Turn<'_>, index: usize, state: JobState) {
    let Some(job) = turn.run.jobs.get_mut(index) else {
        return;
    };
    job.state = state.clone();
    let label = format!("job {}", job.label());
    let (what, reason) = match state {
        JobState::Waiting => return,
        JobState::Active => ("job.started", None),
        JobState::Succeeded => ("job.succeeded", None),
        JobState::Failed { reason } => ("job.failed", Some(reason)),
        JobState::Skipped { reason } => ("job.skipped", Some(reason)),
        JobState::Cancelled => ("job.cancelled", None),
    };
    turn.event(what, Some(&label), reason);
}

/// Begins a job when all before it is done; gives it up when that will never be.
fn begin(turn: &mut Turn<'_>, index: usize, job: &Job) {
    if turn.run.stop.is_some() {
        return set(turn, index, JobState::Cancelled);
    }
    let needed = |other: &&Job| job.needs.contains(&other.name);
    let blocked = turn
        .run
        .jobs
        .iter()
        .filter(needed)
        .find(|other| other.has_ended() && other.state != JobState::Succeeded);
    if let Some(other) = blocked {
        let reason = format!("job `{}` did not pass", other.label());
        return set(turn, index, JobState::Skipped { reason });
    }
    let target = |name| turn.run.targets.iter().find(|one| &one.environment == name);
    let place = job.after.as_ref().and_then(target);
    if let Some(place) = place.filter(|place| place.has_ended() && !place.is_delivered()) {
        let reason = format!("the release did not come to `{}`", place.environment);
        return set(turn, index, JobState::Skipped { reason });
    }
    if !turn.run.is_due(job) {
        return;
    }
    if let Some(result) = job.reused() {
        let reason = result.to_string();
        if let Some(job) = turn.run.jobs.get_mut(index) {
            job.state = JobState::Succeeded;
        }
        let label = format!("job {}", job.label());
        turn.event("job.reused", Some(&label), Some(reason));
        return;
    }
    let is_looked_up = job.reuse.is_none() || job.lookup.is_some();
    let has_turn = job.concurrency.is_none() || turn.observation.turns.contains(&job.number);
    if is_looked_up && has_turn {
        try_again(turn, index, job);
    }
}

/// Tells whether a result is to be looked for that counts in place of a run of the job.
pub(super) fn awaits_lookup(run: &Run, job: &Job) -> bool {
    let may_begin = job.state == JobState::Waiting && run.stop.is_none();
    may_begin && job.reuse.is_some() && job.lookup.is_none() && run.is_due(job)
}

/// Decides on the next attempt.
fn try_again(turn: &mut Turn<'_>, index: usize, job: &Job) {
    let number = u32::try_from(job.attempts.len() + 1).unwrap_or(u32::MAX);
    let environment = match environment_of_job(turn.run.number, job.number, number) {
        Ok(environment) => environment,
        Err(invalid) => {
            let reason = invalid.to_string();
            return set(turn, index, JobState::Failed { reason });
        }
    };
    let attempt = Attempt {
        number,
        environment,
        asked_at: turn.now,
        started_at: None,
        cache: None,
        steps: Vec::new(),
        finding: None,
        left: None,
        verdict: None,
        ended_at: None,
        is_cleared: false,
    };
    if let Some(job) = turn.run.jobs.get_mut(index) {
        job.attempts.push(attempt);
    }
    set(turn, index, JobState::Active);
}

/// Looks how the last attempt goes.
fn watch(turn: &mut Turn<'_>, index: usize, job: &Job) {
    let Some(attempt) = job.attempts.last() else {
        return;
    };
    let verdict = if let Some(verdict) = &attempt.verdict {
        Some(verdict.clone())
    } else {
        note_steps(turn, index, attempt);
        conclude(turn, index, job, attempt)
    };
    let Some(verdict) = verdict else {
        return;
    };
    let now = turn.now;
    if let Some(last) = last_of(turn, index)
        && last.verdict.is_none()
    {
        last.verdict = Some(verdict.clone());
        let ended = *last.ended_at.get_or_insert(now);
        steps::close(&mut last.steps, ended);
    }
    let tried = u32::try_from(job.attempts.len()).unwrap_or(u32::MAX);
    match verdict {
        Verdict::Passed => set(turn, index, JobState::Succeeded),
        Verdict::Cancelled => set(turn, index, JobState::Cancelled),
        Verdict::Failed { reason } if tried <= job.retries && turn.run.stop.is_none() => {
            let label = format!("job {}", job.label());
            turn.event("job.retried", Some(&label), Some(reason));
            try_again(turn, index, job);
        }
        Verdict::Failed { reason } => set(turn, index, JobState::Failed { reason }),
    }
}

fn last_of<'t>(turn: &'t mut Turn<'_>, index: usize) -> Option<&'t mut Attempt> {
    turn.run.jobs.get_mut(index)?.attempts.last_mut()
}

/// Writes down how far the steps are.
fn note_steps(turn: &mut Turn<'_>, index: usize, attempt: &Attempt) {
    let seen = turn.observation.jobs.get(&attempt.environment);
    let steps = seen.map(|seen| seen.steps.clone()).unwrap_or_default();
    // A log that is read anew says what was known already.
    if let Some(last) = last_of(turn, index)
        && steps::progress(&steps) > steps::progress(&last.steps)
    {
        last.steps = steps;
    }
}

/// Returns the verdict on an attempt: how its program ended, once what it left behind was looked at.
fn conclude(turn: &mut Turn<'_>, index: usize, job: &Job, attempt: &Attempt) -> Option<Verdict> {
    if turn.run.stop.is_some() {
        return Some(Verdict::Cancelled);
    }
    let Some(finding) = &attempt.finding else {
        let verdict = look(turn, index, job, attempt)?;
        if !job.leaves_something() {
            return Some(verdict);
        }
        let now = turn.now;
        if let Some(last) = last_of(turn, index) {
            last.finding = Some(verdict);
            last.ended_at = Some(now);
        }
        return None;
    };
    let Some(left) = &attempt.left else {
        let is_late = turn.now >= deadline(job, attempt);
        return is_late.then(|| unseen(finding, job));
    };
    let steps = &last_of(turn, index)?.steps;
    Some(judged(finding, left, steps))
}

/// Returns the verdict on an attempt of which nobody knows what it left behind.
fn unseen(finding: &Verdict, job: &Job) -> Verdict {
    match finding {
        Verdict::Passed if job.artifacts.is_some() => Verdict::Failed {
            reason: format!("its artifacts could not be kept within {LONGEST_LOOK:.0?}"),
        },
        finding => finding.clone(),
    }
}

/// Returns the verdict on an attempt that left this behind.
fn judged(finding: &Verdict, left: &Left, steps: &[StepRecord]) -> Verdict {
    let mut reason = match (finding, &left.refused) {
        (Verdict::Failed { reason }, _) => match steps::culprit(steps) {
            Some(step) => format!("step `{}`: {reason}", step.name),
            None => reason.clone(),
        },
        (Verdict::Passed, Some(refused)) => format!("its artifacts cannot be kept: {refused}"),
        (Verdict::Passed | Verdict::Cancelled, _) => return finding.clone(),
    };
    let bad = left
        .tests
        .as_ref()
        .filter(|tests| tests.failures + tests.errors > 0);
    if let Some(tests) = bad {
        reason.push_str(&format!("; {}", tests.summary()));
    }
    Verdict::Failed { reason }
}

/// Returns how an attempt ended, when it did.
fn look(turn: &mut Turn<'_>, index: usize, job: &Job, attempt: &Attempt) -> Option<Verdict> {
    let seen = turn.observation.jobs.get(&attempt.environment);
    let deployment = seen.and_then(|seen| seen.deployment.as_ref());
    let own = ServiceName::new(JOB_SERVICE).ok()?;
    let release_job = deployment.and_then(|deployment| deployment.jobs.get(&own));
    match (release_job, deployment) {
        (Some(ReleaseJob::Succeeded), _) => return Some(Verdict::Passed),
        (Some(ReleaseJob::Failed), Some(deployment)) => return Some(failed(deployment)),
        (_, Some(deployment)) if has_failed(deployment) => return Some(failed(deployment)),
        _ => {}
    }
    let mut attempt = attempt.clone();
    if release_job.is_some() && attempt.started_at.is_none() {
        attempt.started_at = Some(turn.now);
        if let Some(last) = last_of(turn, index) {
            last.started_at = attempt.started_at;
        }
    }
    if turn.now < deadline(job, &attempt) {
        return None;
    }
    let reason = match attempt.started_at {
        Some(_) => format!("timed out after {:.0?}", job.timeout),
        None => format!("did not start within {LONGEST_SETUP:.0?}"),
    };
    Some(Verdict::Failed { reason })
}

fn has_failed(deployment: &Deployment) -> bool {
    deployment.failure.is_some() || deployment.outcome().is_some()
}

fn failed(deployment: &Deployment) -> Verdict {
    let failure = deployment.last_failure.as_ref();
    let failure = failure.or(deployment.failure.as_ref());
    let reason = failure.map_or("it was stopped", |failure| failure.reason.as_str());
    let own = format!("release job `{JOB_SERVICE}` ");
    let reason = reason.strip_prefix(&own).unwrap_or(reason).to_owned();
    Verdict::Failed { reason }
}
