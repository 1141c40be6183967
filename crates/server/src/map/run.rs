//! Runs, for the wire.

use jiff::Timestamp;
use towpath_api as api;
use towpath_control::{Awaited, RunLogLine};
use towpath_model::pipeline::cache::{Cache, Given};
use towpath_model::pipeline::junit::Tests;
use towpath_model::pipeline::reuse::Reused;
use towpath_model::pipeline::run::{Attempt, Gate, Job, JobState, Run, State, Target, TargetState};
use towpath_model::pipeline::steps::{StepRecord, StepState};
use towpath_model::pipeline::window::Opening;

pub(crate) fn run(run: &Run, now: Timestamp) -> api::Run {
    api::Run {
        app: run.app.to_string(),
        number: run.number.0,
        state: state(run.state()),
        ended: run.outcome.is_some(),
        release: run.release.0,
        promotion: run.is_promotion,
        hotfix: run.is_hotfix,
        behind: Vec::new(),
        reference: run.push.reference.to_string(),
        commit: Some(run.push.commit.clone()).filter(|commit| !commit.is_empty()),
        author: run.push.author.clone(),
        actor: run.push.actor.clone(),
        message: run.push.message.clone(),
        created_at: run.created_at,
        finished_at: run.finished_at,
        jobs: run.jobs.iter().map(|one| job(run, one)).collect(),
        environments: run
            .targets
            .iter()
            .map(|one| environment(run, one, now))
            .collect(),
        warnings: run.warnings.clone(),
    }
}

fn state(state: State) -> api::RunState {
    match state {
        State::Running => api::RunState::Running,
        State::Deploying => api::RunState::Deploying,
        State::AwaitingApproval => api::RunState::AwaitingApproval,
        State::Held => api::RunState::Held,
        State::Baking => api::RunState::Baking,
        State::Succeeded => api::RunState::Succeeded,
        State::Failed => api::RunState::Failed,
        State::Cancelled => api::RunState::Cancelled,
        State::Superseded => api::RunState::Superseded,
    }
}

fn job(run: &Run, job: &Job) -> api::RunJob {
    use api::RunPartState as Part;
    let (state, reason) = match &job.state {
        JobState::Waiting if run.awaits_turn(job) => (Part::Waiting, turn(job)),
        JobState::Waiting => (Part::Waiting, None),
        JobState::Active => (Part::Running, None),
        JobState::Succeeded => (Part::Succeeded, job.reused().map(Reused::to_string)),
        JobState::Failed { reason } => (Part::Failed, Some(reason.clone())),
        JobState::Skipped { reason } => (Part::Skipped, Some(reason.clone())),
        JobState::Cancelled => (Part::Cancelled, None),
    };
    let last = job.attempts.last();
    let left = last.and_then(|last| last.left.as_ref());
    api::RunJob {
        number: job.number,
        label: job.label(),
        name: job.name.to_string(),
        variant: job.variant.clone(),
        after: job.after.as_ref().map(ToString::to_string),
        state,
        reason,
        attempts: u32::try_from(job.attempts.len()).unwrap_or(u32::MAX),
        started_at: last.map(|attempt| attempt.asked_at),
        ended_at: last.and_then(|attempt| attempt.ended_at),
        steps: last.map_or_else(Vec::new, |last| last.steps.iter().map(step).collect()),
        tests: left.and_then(|left| left.tests.as_ref()).map(tests),
        artifacts: job.kept_artifacts().map(|kept| api::RunArtifacts {
            files: kept.files,
            bytes: kept.bytes,
        }),
        cache: last.and_then(cache_of),
        reused: job.reused().map(|result| api::RunResult {
            run: result.run.0,
            job: result.job,
        }),
        notes: left.map(|left| left.notes.clone()).unwrap_or_default(),
    }
}

/// Says what a job waits for that waits for its turn.
fn turn(job: &Job) -> Option<String> {
    let group = job.concurrency.as_deref()?;
    Some(format!("waits for its turn in `{group}`"))
}

fn cache_of(attempt: &Attempt) -> Option<api::RunCache> {
    let given = attempt.cache.as_ref()?;
    let found = given.found();
    let left = attempt.left.as_ref().and_then(|left| left.cache);
    Some(api::RunCache {
        given: match given {
            Given::Nothing => api::RunCacheGiven::None,
            Given::Exact(_) => api::RunCacheGiven::Exact,
            Given::Older(_) => api::RunCacheGiven::Older,
        },
        run: found.map(|found| found.run.0),
        files: found.map_or(0, |found| found.files),
        bytes: found.map_or(0, |found| found.bytes),
        left_files: left.map(|left| left.files),
        left_bytes: left.map(|left| left.bytes),
    })
}

/// Returns a cache as the API has it.
pub(crate) fn cache(cache: &Cache) -> api::Cache {
    let key = cache.identity.key.as_ref();
    api::Cache {
        name: cache.identity.name.clone(),
        scope: cache.scope.to_string(),
        key: key.map(|key| key.short().to_owned()),
        run: cache.run.0,
        files: cache.files,
        bytes: cache.bytes,
        made_at: cache.made_at,
        used_at: cache.used_at,
    }
}

fn step(step: &StepRecord) -> api::RunStep {
    use api::RunPartState as Part;
    let (state, code) = match step.state {
        StepState::Waiting => (Part::Waiting, None),
        StepState::Running => (Part::Running, None),
        StepState::Passed => (Part::Succeeded, None),
        StepState::Failed { code } => (Part::Failed, Some(code)),
        StepState::Stopped => (Part::Cancelled, None),
        StepState::Skipped => (Part::Skipped, None),
    };
    api::RunStep {
        name: step.name.clone(),
        state,
        code,
        started_at: step.started_at,
        ended_at: step.ended_at,
    }
}

fn tests(tests: &Tests) -> api::RunTests {
    let failed = tests.failed.iter().map(|test| api::RunFailedTest {
        class: test.class.clone(),
        name: test.name.clone(),
        message: test.message.clone(),
    });
    api::RunTests {
        files: tests.files,
        tests: tests.tests,
        failures: tests.failures,
        errors: tests.errors,
        skipped: tests.skipped,
        time_ms: u64::try_from(tests.time.as_millis()).unwrap_or(u64::MAX),
        failed: failed.collect(),
        unreadable: tests.unreadable.clone(),
        lines: tests.lines(),
    }
}

fn environment(run: &Run, target: &Target, now: Timestamp) -> api::RunEnvironment {
    use api::RunPartState as Part;
    let opening = run.opening(target, now);
    let (state, reason) = match &target.state {
        TargetState::Waiting => (Part::Waiting, None),
        TargetState::Gated { gate, .. } => gated(run, target, gate, opening.as_ref()),
        TargetState::Deploying { .. } => (Part::Deploying, None),
        TargetState::Delivered => (Part::Baking, None),
        TargetState::Succeeded => (Part::Succeeded, None),
        TargetState::Failed { reason } => (Part::Failed, Some(reason.clone())),
        TargetState::Skipped { reason } => (Part::Skipped, Some(reason.clone())),
        TargetState::Cancelled => (Part::Cancelled, None),
    };
    let wanted = target.gates.approvals.as_ref();
    api::RunEnvironment {
        name: target.environment.to_string(),
        after: target.comes_after().map(ToString::to_string),
        state,
        reason,
        opens_at: opening.map(|opening| opening.at),
        deployment: target.deployment.map(|number| number.0),
        delivered_at: target.delivered_at,
        approvals_wanted: wanted.map_or(0, |approvals| approvals.count),
        approvals_of: wanted.map(|one| one.groups.clone()).unwrap_or_default(),
        approvals: target
            .approvals
            .iter()
            .map(|approval| approval.actor.clone())
            .collect(),
    }
}

/// Writes a release down that waits for people, for one of them.
pub(crate) fn awaited(
    awaited: &Awaited,
    actor: &str,
    now: Timestamp,
) -> Option<api::AwaitedApproval> {
    let run = &awaited.run;
    let mut targets = run.targets.iter();
    let target = targets.find(|one| one.environment == awaited.environment)?;
    let shown = environment(run, target, now);
    let refusal = run.may_approve_now(&awaited.environment, actor).err();
    Some(api::AwaitedApproval {
        app: run.app.to_string(),
        environment: awaited.environment.to_string(),
        run: run.number.0,
        release: run.release.0,
        reference: run.push.reference.to_string(),
        commit: Some(run.push.commit.clone()).filter(|commit| !commit.is_empty()),
        message: run.push.message.clone(),
        author: run.push.author.clone(),
        actor: run.push.actor.clone(),
        hotfix: run.is_hotfix,
        since: awaited.since,
        wanted: shown.approvals_wanted,
        of: shown.approvals_of,
        approvals: shown.approvals,
        yours: refusal.is_none(),
        because: refusal.map(|refusal| refusal.to_string()),
    })
}

/// Says who has to approve still: `1 approval of qa`.
fn approvals_left(run: &Run, target: &Target) -> String {
    let approvals = target.gates.approvals.clone().unwrap_or_default();
    let left = approvals.count.saturating_sub(run.approvals_given(target));
    let plural = if left == 1 { "" } else { "s" };
    let of = match approvals.groups.as_slice() {
        [] => String::new(),
        groups => format!(" of {}", groups.join(" or ")),
    };
    format!("{left} approval{plural}{of}")
}

fn gated(
    run: &Run,
    target: &Target,
    gate: &Gate,
    opening: Option<&Opening>,
) -> (api::RunPartState, Option<String>) {
    use api::RunPartState as Part;
    let held = |words: &str| (Part::Held, Some(words.to_owned()));
    match gate {
        Gate::Approval => {
            let left = approvals_left(run, target);
            (Part::AwaitingApproval, Some(left))
        }
        Gate::Soak => held("the time in the environment before it is not over"),
        Gate::Window => match opening {
            Some(opening) => held(&opening.to_string()),
            None => held("waits for its window"),
        },
        Gate::Hold => {
            let name = &target.environment;
            held(&format!(
                "automatic deployment is on hold: towpath release-hold {name}"
            ))
        }
    }
}

pub(crate) fn log_line(line: RunLogLine) -> api::RunLogLine {
    api::RunLogLine {
        at: line.at,
        service: line.service,
        stream: line.stream,
        text: line.text,
    }
}
