//! What forges are told of commits: a status for each job and environment of a run, and one for the
//! whole. Not how a forge wants to be told ([`request()`]), and not when.

mod answer;
mod request;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::CommitId;
use super::outside::Outside;
use crate::pipeline::Reference;
use crate::pipeline::run::{Gate, Job, JobState, Outcome, Run, Target, TargetState};
use crate::port::PortError;

pub use answer::{Told, judge, retry_at};
pub use request::{ForgeRequest, request};

/// How a commit is, in one matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is being worked on, or waits for something.
    Pending,
    /// All is well.
    Success,
    /// It is not well.
    Failure,
    /// Nobody knows: it was stopped, or never begun.
    Error,
}

/// What a forge is told of a commit in one matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The commit.
    pub commit: CommitId,
    /// The matter: a later status takes the place of an earlier one of the same.
    pub context: String,
    /// How it is.
    pub state: State,
    /// In words, one line.
    pub description: String,
    /// Where more is to be read.
    pub link: Option<String>,
}

/// Who carries requests to forges.
#[async_trait]
pub trait Forges: Send + Sync + std::fmt::Debug {
    /// Sends a request once and returns what was answered, whatever it is. Fails when there is no
    /// answer. What shows who asks is in none of both.
    async fn tell(&self, request: &ForgeRequest) -> Result<Answer, PortError>;
}

/// What a forge answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// `Retry-After`, as it came.
    pub retry_after: Option<String>,
    /// How many more requests are taken, where it says so.
    pub remaining: Option<u64>,
    /// When more are taken, in seconds since 1970, where it says so.
    pub reset: Option<i64>,
    /// The first words of the answer, in one line.
    pub words: String,
}

/// Returns what is told of the commit of a run, as it is now. Nothing where it is of no commit that a
/// forge has. `directory` is where the app is in its repository.
pub fn statuses(run: &Run, outside: &Outside, directory: &str, now: Timestamp) -> Vec<Status> {
    let Ok(commit) = run.push.commit.parse::<CommitId>() else {
        return Vec::new();
    };
    if run.push.reference == Reference::WorkingTree && !run.is_promotion {
        return Vec::new();
    }
    let link = outside.link.as_ref().map(|link| {
        let link = link.as_str().replace("{run}", &run.number.to_string());
        let link = link.replace("{app}", run.app.as_str());
        link.replace("{commit}", commit.as_str())
    });
    let root = root(run, directory);
    let one = |context: String, (state, description): (State, String)| Status {
        commit: commit.clone(),
        context,
        state,
        description,
        link: link.clone(),
    };
    let jobs = run.jobs.iter().map(|job| {
        let label = job.label();
        let is_environment = run
            .targets
            .iter()
            .any(|target| target.environment.as_str() == label);
        let context = if is_environment {
            format!("{root}/{label} (job)")
        } else {
            format!("{root}/{label}")
        };
        one(context, of_job(job))
    });
    let targets = run.targets.iter().map(|target| {
        let words = of_target(run, target, now);
        one(format!("{root}/{}", target.environment), words)
    });
    // Whoever promotes a release does not say anew what the run said that made it.
    let whole = (!run.is_promotion).then(|| one(root.clone(), of_run(run)));
    jobs.chain(targets).chain(whole).collect()
}

/// Returns what is told of a commit that was not taken.
pub fn refused(app: &str, directory: &str, commit: &CommitId, reason: &str) -> Status {
    Status {
        commit: commit.clone(),
        context: context_of(app, directory),
        state: State::Failure,
        description: reason.to_owned(),
        link: None,
    }
}

fn root(run: &Run, directory: &str) -> String {
    context_of(run.app.as_str(), directory)
}

/// Several apps of one repository must not take one another's place.
fn context_of(app: &str, directory: &str) -> String {
    if directory.is_empty() {
        "towpath".to_owned()
    } else {
        format!("towpath/{app}")
    }
}

fn of_run(run: &Run) -> (State, String) {
    let number = run.number;
    match run.outcome {
        None => (State::Pending, format!("run {number} is under way")),
        Some(Outcome::Succeeded) => (State::Success, format!("run {number} succeeded")),
        Some(Outcome::Failed) => (State::Failure, format!("run {number} failed")),
        Some(Outcome::Cancelled) => (State::Error, format!("run {number} was cancelled")),
        Some(Outcome::Superseded) => {
            let words = format!("run {number} was superseded by a newer one");
            (State::Error, words)
        }
    }
}

fn of_job(job: &Job) -> (State, String) {
    match &job.state {
        JobState::Waiting => (State::Pending, "waits".to_owned()),
        JobState::Active => (State::Pending, "runs".to_owned()),
        JobState::Succeeded => (State::Success, "passed".to_owned()),
        JobState::Failed { reason } => (State::Failure, reason.clone()),
        JobState::Skipped { reason } => (State::Error, format!("was not begun: {reason}")),
        JobState::Cancelled => (State::Error, "was stopped".to_owned()),
    }
}

fn of_target(run: &Run, target: &Target, now: Timestamp) -> (State, String) {
    match &target.state {
        TargetState::Waiting => (State::Pending, "waits".to_owned()),
        TargetState::Gated { gate, .. } => {
            let words = match gate {
                Gate::Soak => "waits: the release soaks in the environment before".to_owned(),
                Gate::Approval => "waits for an approval".to_owned(),
                Gate::Window => run.opening(target, now).map_or_else(
                    || "waits for its window".to_owned(),
                    |opening| opening.to_string(),
                ),
                Gate::Hold => "waits: automatic deployment is on hold".to_owned(),
            };
            (State::Pending, words)
        }
        TargetState::Deploying { .. } => (State::Pending, "is being deployed".to_owned()),
        TargetState::Delivered => {
            let words = "serves, and can still go back by itself";
            (State::Pending, words.to_owned())
        }
        TargetState::Succeeded => (State::Success, "is deployed".to_owned()),
        TargetState::Failed { reason } => (State::Failure, reason.clone()),
        TargetState::Skipped { reason } => (State::Error, format!("was not begun: {reason}")),
        TargetState::Cancelled => (State::Error, "was stopped".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn outside() -> Outside {
        Outside {
            url: "https://github.com/ada/shop".parse().unwrap(),
            every: Duration::from_mins(5),
            forge: None,
            web: None,
            link: Some(
                "https://ci.example.com/{app}/{run}?at={commit}"
                    .parse()
                    .unwrap(),
            ),
        }
    }

    /// A run with a job and an environment of the same name, and one that waits for people.
    fn run() -> Run {
        let digest = "0".repeat(64);
        let gates = json!({ "soak": 0, "approvals": null, "windows": [], "freezes": [] });
        let target = |name: &str, state: serde_json::Value| {
            json!({
                "environment": name, "after": null, "gates": gates, "state": state, "attempt": 1,
                "deployment": null, "delivered_at": null, "approvals": [],
            })
        };
        let job = |name: &str, number: u32, state: serde_json::Value| {
            json!({
                "name": name, "number": number, "needs": [], "after": null, "timeout": 60_000,
                "retries": 0, "like": "staging", "state": state, "attempts": [],
            })
        };
        let waits = json!({ "gated": { "gate": "approval", "since": Timestamp::UNIX_EPOCH } });
        serde_json::from_value(json!({
            "app": "shop", "number": 7, "release": 3, "created_at": Timestamp::UNIX_EPOCH,
            "push": {
                "app": "shop", "source": digest, "commit": "0123456789".repeat(4),
                "reference": { "branch": "main" }, "author": "ada", "message": "One", "actor": "ada",
            },
            "jobs": [
                job("unit", 1, json!({ "failed": { "reason": "exit code 1" } })),
                job("staging", 2, json!("succeeded")),
            ],
            "targets": [target("staging", json!("succeeded")), target("production", waits)],
            "stop": null, "outcome": null, "finished_at": null,
        }))
        .unwrap()
    }

    fn told(run: &Run, directory: &str) -> Vec<(String, State)> {
        let all = statuses(run, &outside(), directory, Timestamp::UNIX_EPOCH);
        all.into_iter()
            .map(|one| (one.context, one.state))
            .collect()
    }

    #[test]
    fn each_job_and_environment_has_a_status_of_its_own_and_the_whole_has_one() {
        let expected = [
            ("towpath/unit", State::Failure),
            ("towpath/staging (job)", State::Success),
            ("towpath/staging", State::Success),
            ("towpath/production", State::Pending),
            ("towpath", State::Pending),
        ];
        let expected = expected.map(|(context, state)| (context.to_owned(), state));
        assert_eq!(told(&run(), ""), expected);
        let all = statuses(&run(), &outside(), "", Timestamp::UNIX_EPOCH);
        let link = format!(
            "https://ci.example.com/shop/7?at={}",
            "0123456789".repeat(4)
        );
        assert_eq!(all[0].link, Some(link));
        assert_eq!(all[0].description, "exit code 1");
        assert_eq!(all[3].description, "waits for an approval");
    }

    #[test]
    fn apps_of_one_repository_do_not_take_one_anothers_place() {
        assert_eq!(told(&run(), "apps/shop")[0].0, "towpath/shop/unit");
    }

    #[test]
    fn what_was_stopped_is_no_failure_and_never_a_success() {
        let mut run = run();
        run.jobs[0].state = JobState::Cancelled;
        run.jobs[1].state = JobState::Skipped {
            reason: "job `unit` did not pass".to_owned(),
        };
        run.outcome = Some(Outcome::Superseded);
        let states: Vec<State> = told(&run, "").into_iter().map(|(_, state)| state).collect();
        assert_eq!(states[..2], [State::Error, State::Error]);
        assert_eq!(states[4], State::Error);
    }

    #[test]
    fn of_a_directory_nothing_is_told_and_a_promotion_says_only_what_it_does() {
        let mut run = run();
        run.push.reference = Reference::WorkingTree;
        assert_eq!(told(&run, ""), []);
        run.is_promotion = true;
        let contexts: Vec<String> = told(&run, "").into_iter().map(|(name, _)| name).collect();
        assert!(!contexts.contains(&"towpath".to_owned()), "{contexts:?}");
        run.push.commit = String::new();
        assert_eq!(told(&run, ""), []);
    }
}
