//! How a job goes: begun when what is before it is done, watched in its environment, tried again.
//! Not how its program is started and stopped, which is its environment's.

use std::time::Duration;

use jiff::Timestamp;

use super::{Turn, after, environment_of_job};
use crate::deployment::{Deployment, JobState as ReleaseJob};
use crate::id::ServiceName;
use crate::pipeline::JOB_SERVICE;
use crate::pipeline::run::{Attempt, Job, JobState, Verdict};

/// How long it may take until the job's own program starts: images are pulled and built, services
/// become well.
const LONGEST_SETUP: Duration = Duration::from_mins(30);

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
    let needs_are_met = turn.run.jobs.iter().filter(needed).all(Job::has_ended);
    let is_there = place.is_none_or(crate::pipeline::run::Target::is_delivered);
    if needs_are_met && is_there {
        try_again(turn, index, job);
    }
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
    let verdict = match &attempt.verdict {
        Some(verdict) => Some(verdict.clone()),
        None => look(turn, index, job, attempt),
    };
    let Some(verdict) = verdict else {
        return;
    };
    let now = turn.now;
    let last = turn.run.jobs.get_mut(index);
    if let Some(last) = last.and_then(|job| job.attempts.last_mut())
        && last.verdict.is_none()
    {
        last.verdict = Some(verdict.clone());
        last.ended_at = Some(now);
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

/// Returns how an attempt ended, when it did.
fn look(turn: &mut Turn<'_>, index: usize, job: &Job, attempt: &Attempt) -> Option<Verdict> {
    if turn.run.stop.is_some() {
        return Some(Verdict::Cancelled);
    }
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
        let last = turn.run.jobs.get_mut(index);
        if let Some(last) = last.and_then(|job| job.attempts.last_mut()) {
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
