//! How the run of a push goes, in lines for whoever pushed: what is new of it, and when there is no more
//! to wait for. Not where the lines go.

use jiff::Timestamp;
use towpath_model::pipeline::Run;
use towpath_model::pipeline::run::{Gate, Job, JobState, Outcome, State, Target, TargetState};

/// Whether a push still waits for its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It does.
    GoesOn,
    /// The release is in its first environment, or something else than the run is waited for.
    Enough,
    /// The run came to nothing.
    Failed(String),
}

/// Returns what is new of a run since the last time.
pub(super) fn news(before: Option<&Run>, now: &Run, at: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    if before.is_none() {
        lines.push(format!("run {}: release {}", now.number, now.release));
    }
    for (index, job) in now.jobs.iter().enumerate() {
        let was = before.and_then(|before| before.jobs.get(index));
        if was.is_none_or(|was| was.state != job.state)
            && let Some(words) = of_job(job)
        {
            lines.push(format!("job {}: {words}", job.label()));
        }
    }
    for (index, target) in now.targets.iter().enumerate() {
        let was = before.and_then(|before| before.targets.get(index));
        if was.is_none_or(|was| was.state != target.state)
            && let Some(words) = of_target(now, target, at)
        {
            lines.push(format!("{}: {words}", target.environment));
        }
    }
    lines
}

fn of_job(job: &Job) -> Option<String> {
    match &job.state {
        JobState::Waiting => None,
        JobState::Active => Some("runs".to_owned()),
        JobState::Succeeded => Some(match job.reused() {
            Some(result) => format!("passed, {result}"),
            None => "passed".to_owned(),
        }),
        JobState::Failed { reason } => Some(failed(reason)),
        JobState::Skipped { reason } => Some(format!("skipped: {reason}")),
        JobState::Cancelled => Some("cancelled".to_owned()),
    }
}

fn of_target(run: &Run, target: &Target, at: Timestamp) -> Option<String> {
    match &target.state {
        TargetState::Waiting => None,
        TargetState::Gated { gate, .. } => match run.opening(target, at) {
            Some(opening) => Some(opening.to_string()),
            None => Some(format!("waits for {}", words(gate))),
        },
        TargetState::Deploying { .. } => Some("is deployed".to_owned()),
        TargetState::Delivered | TargetState::Succeeded => Some("has the release".to_owned()),
        TargetState::Failed { reason } => Some(failed(reason)),
        TargetState::Skipped { reason } => Some(format!("skipped: {reason}")),
        TargetState::Cancelled => Some("cancelled".to_owned()),
    }
}

/// Says that something failed; most reasons say so themselves.
fn failed(reason: &str) -> String {
    if reason.starts_with("failed") {
        return reason.to_owned();
    }
    format!("failed: {reason}")
}

fn words(gate: &Gate) -> &'static str {
    match gate {
        Gate::Soak => "the release to have been long enough where it comes from",
        Gate::Approval => "somebody to approve",
        Gate::Window => "its window",
        Gate::Hold => "somebody to release the hold",
    }
}

/// Tells whether to wait on.
pub(super) fn verdict(run: &Run) -> Verdict {
    match run.outcome {
        Some(Outcome::Succeeded | Outcome::Superseded) => return Verdict::Enough,
        Some(Outcome::Failed) => return Verdict::Failed(format!("run {} failed", run.number)),
        Some(Outcome::Cancelled) => {
            return Verdict::Failed(format!("run {} was cancelled", run.number));
        }
        None => {}
    }
    if run.targets.iter().any(Target::is_delivered) {
        return Verdict::Enough;
    }
    match run.state() {
        State::AwaitingApproval | State::Held | State::Baking => Verdict::Enough,
        State::Running
        | State::Deploying
        | State::Succeeded
        | State::Failed
        | State::Cancelled
        | State::Superseded => Verdict::GoesOn,
    }
}

#[cfg(test)]
mod tests {
    use towpath_model::id::{Digest, ReleaseNumber, RunNumber};
    use towpath_model::pipeline::cache::Reach;
    use towpath_model::pipeline::run::Gates;
    use towpath_model::pipeline::{Push, Reference};

    use super::*;

    fn run(job: JobState, target: TargetState) -> Run {
        let app: towpath_model::id::AppName = "shop".parse().unwrap();
        let dev: towpath_model::id::EnvironmentName = "dev".parse().unwrap();
        Run {
            app: app.clone(),
            number: RunNumber(7),
            push: Push {
                app,
                source: Digest::of(b""),
                commit: String::new(),
                reference: Reference::Branch("main".to_owned()),
                changed: None,
                author: String::new(),
                message: String::new(),
                actor: String::new(),
            },
            release: ReleaseNumber(3),
            is_promotion: false,
            warnings: Vec::new(),
            is_hotfix: false,
            reach: Reach::default(),
            created_at: Timestamp::UNIX_EPOCH,
            jobs: vec![Job {
                name: "unit".parse().unwrap(),
                number: 1,
                variant: std::collections::BTreeMap::new(),
                needs: Vec::new(),
                after: None,
                timeout: std::time::Duration::ZERO,
                retries: 0,
                like: dev.clone(),
                steps: Vec::new(),
                reports: Vec::new(),
                artifacts: None,
                cache: None,
                reuse: None,
                lookup: None,
                concurrency: None,
                state: job,
                attempts: Vec::new(),
            }],
            targets: vec![Target {
                state: target,
                ..Target::new(dev, Gates::default())
            }],
            stop: None,
            outcome: None,
            finished_at: None,
        }
    }

    #[test]
    fn only_what_changed_is_told() {
        let since = Timestamp::UNIX_EPOCH;
        let first = run(JobState::Active, TargetState::Waiting);
        assert_eq!(
            news(None, &first, since),
            ["run 7: release 3", "job unit: runs"]
        );
        assert_eq!(news(Some(&first), &first, since), Vec::<String>::new());
        let second = run(JobState::Succeeded, TargetState::Deploying { since });
        let told = news(Some(&first), &second, since);
        assert_eq!(told, ["job unit: passed", "dev: is deployed"]);
    }

    #[test]
    fn what_waits_for_a_window_says_when_it_opens() {
        let since: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let gate = Gate::Window;
        let mut run = run(JobState::Succeeded, TargetState::Gated { gate, since });
        let window = "Mon-Fri 09:00-16:00 Europe/Warsaw".parse().unwrap();
        run.targets[0].gates.windows = vec![window];
        let wanted = "dev: waits for its window: opens Mon 2026-11-30 09:00 Europe/Warsaw";
        assert_eq!(news(None, &run, since).last().unwrap(), wanted);
    }

    #[test]
    fn a_push_waits_until_the_first_environment_has_the_release_or_a_person_is_needed() {
        let since = Timestamp::UNIX_EPOCH;
        let gated = |gate| TargetState::Gated { gate, since };
        for (target, verdict) in [
            (TargetState::Waiting, Verdict::GoesOn),
            (TargetState::Deploying { since }, Verdict::GoesOn),
            (gated(Gate::Approval), Verdict::Enough),
            (gated(Gate::Hold), Verdict::Enough),
            (TargetState::Delivered, Verdict::Enough),
            (TargetState::Succeeded, Verdict::Enough),
        ] {
            let run = run(JobState::Succeeded, target.clone());
            assert_eq!(super::verdict(&run), verdict, "{target:?}");
        }
        let active = run(JobState::Active, gated(Gate::Approval));
        assert_eq!(verdict(&active), Verdict::GoesOn);
        let mut failed = run(JobState::Cancelled, TargetState::Waiting);
        failed.outcome = Some(Outcome::Failed);
        assert_eq!(verdict(&failed), Verdict::Failed("run 7 failed".to_owned()));
    }
}
