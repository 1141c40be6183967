//! How a release comes to an environment: behind its gates, then by one deployment, which is watched
//! to its end. Not the deployment itself, which is the environment's.

use std::time::Duration;

use jiff::Timestamp;

use super::{Turn, after};
use crate::delivery::pipeline::APPROVAL_EXPIRY;
use crate::deployment::{Deployment, Outcome};
use crate::id::EnvironmentName;
use crate::pipeline::run::{Gate, Job, JobState, Run, Target, TargetState};

/// How long a closed window or a hold is waited for. A freeze over the holidays is shorter.
const LONGEST_HOLD: Duration = Duration::from_hours(24 * 30);

/// How long it may take until a deployment that was asked for is seen.
const LONGEST_REQUEST: Duration = Duration::from_mins(30);

/// Moves a target as far as it goes.
pub(super) fn advance(turn: &mut Turn<'_>, index: usize) {
    let Some(target) = turn.run.targets.get(index).cloned() else {
        return;
    };
    match &target.state {
        TargetState::Waiting | TargetState::Gated { .. } => wait(turn, index),
        TargetState::Deploying { since } => watch(turn, index, &target, *since),
        TargetState::Delivered => watch(turn, index, &target, turn.now),
        TargetState::Succeeded
        | TargetState::Failed { .. }
        | TargetState::Skipped { .. }
        | TargetState::Cancelled => {}
    }
}

/// Returns the moments at which time alone moves a target.
pub(super) fn deadlines(turn: &Turn<'_>, target: &Target) -> Option<Timestamp> {
    match &target.state {
        TargetState::Gated {
            gate: Gate::Soak, ..
        } => soaked_at(turn, target),
        TargetState::Gated { gate, since } => {
            let opening = turn.run.opening(target, turn.now);
            let late = after(*since, patience(target, gate));
            Some(opening.map_or(late, |opening| late.min(opening.at)))
        }
        TargetState::Deploying { since } => Some(after(*since, LONGEST_REQUEST)),
        TargetState::Waiting
        | TargetState::Delivered
        | TargetState::Succeeded
        | TargetState::Failed { .. }
        | TargetState::Skipped { .. }
        | TargetState::Cancelled => None,
    }
}

/// Returns how long a gate is waited for.
fn patience(target: &Target, gate: &Gate) -> Duration {
    let approvals = target.gates.approvals.as_ref();
    match gate {
        Gate::Approval => approvals.map_or(APPROVAL_EXPIRY, |approvals| approvals.expiry),
        Gate::Soak | Gate::Window | Gate::Hold => LONGEST_HOLD.max(target.gates.soak),
    }
}

fn set(turn: &mut Turn<'_>, index: usize, state: TargetState) {
    let Some(target) = turn.run.targets.get_mut(index) else {
        return;
    };
    if target.state == state {
        return;
    }
    let opening = target.gates.opening(turn.run.is_hotfix, turn.now);
    let place = format!("to {}", target.environment);
    let (what, reason) = match &state {
        TargetState::Waiting => ("delivery.waiting", None),
        TargetState::Gated { gate, .. } => match gate {
            Gate::Approval => ("approval.requested", None),
            Gate::Soak => ("delivery.held", Some("it soaks".to_owned())),
            Gate::Window => {
                let closed = || "no window is open".to_owned();
                let opening = opening.map_or_else(closed, |opening| opening.to_string());
                ("delivery.held", Some(opening))
            }
            Gate::Hold => (
                "delivery.held",
                Some("automatic deployment is on hold".to_owned()),
            ),
        },
        TargetState::Deploying { .. } => ("delivery.started", None),
        TargetState::Delivered => ("delivery.delivered", None),
        TargetState::Succeeded => ("delivery.succeeded", None),
        TargetState::Failed { reason } => ("delivery.failed", Some(reason.clone())),
        TargetState::Skipped { reason } => ("delivery.skipped", Some(reason.clone())),
        TargetState::Cancelled => ("delivery.cancelled", None),
    };
    target.state = state;
    turn.event(what, Some(&place), reason);
}

/// What the way to an environment is like.
enum Way {
    /// Something before it goes on.
    Waits,
    /// Something before it failed.
    Blocked(String),
    /// All before it is done.
    Free,
}

fn way(turn: &Turn<'_>, target: &Target) -> Way {
    let run = &turn.run;
    let from = target.comes_after();
    let before = |job: &&Job| job.after.is_none() || job.after.as_ref() == from;
    let jobs: Vec<&Job> = run.jobs.iter().filter(before).collect();
    let blocked = jobs
        .iter()
        .find(|job| job.has_ended() && job.state != JobState::Succeeded);
    if let Some(job) = blocked {
        return Way::Blocked(format!("job `{}` did not pass", job.label()));
    }
    if comes_round(run, target) {
        let reason = format!("releases come to `{}` only from itself", target.environment);
        return Way::Blocked(reason);
    }
    let brought = from.and_then(|name| on_the_way(run, name));
    if let Some(from) = brought.filter(|from| from.has_ended() && !from.is_delivered()) {
        let reason = format!("the release did not come to `{}`", from.environment);
        return Way::Blocked(reason);
    }
    if let (Some(from), None) = (from, brought)
        && proven_at(turn, target).is_none()
    {
        let reason = format!("release {} was never in `{from}`", run.release);
        return Way::Blocked(reason);
    }
    let done = jobs.iter().all(|job| job.has_ended()) && brought.is_none_or(Target::is_delivered);
    if done { Way::Free } else { Way::Waits }
}

/// Returns the part of a run that brings its release to an environment.
fn on_the_way<'a>(run: &'a Run, name: &EnvironmentName) -> Option<&'a Target> {
    run.targets.iter().find(|one| &one.environment == name)
}

/// Tells whether a target waits for itself: what was pushed may say another way than what counts.
fn comes_round(run: &Run, target: &Target) -> bool {
    let mut next = target.comes_after();
    for _ in &run.targets {
        match next {
            Some(name) if name == &target.environment => return true,
            Some(name) => next = on_the_way(run, name).and_then(Target::comes_after),
            None => return false,
        }
    }
    false
}

fn proven_at(turn: &Turn<'_>, target: &Target) -> Option<Timestamp> {
    let seen = turn.observation.targets.get(&target.environment)?;
    seen.proven_at
}

/// Has a target follow what counts in its environment. A hotfix that meets a freeze needs somebody's
/// word, if it did not anyhow.
fn follow_what_counts(turn: &mut Turn<'_>, index: usize) {
    let (now, is_hotfix) = (turn.now, turn.run.is_hotfix);
    let Some(target) = turn.run.targets.get_mut(index) else {
        return;
    };
    let seen = turn.observation.targets.get(&target.environment);
    let demands = seen.and_then(|seen| seen.demands.as_ref());
    let mut gates = match demands.filter(|demands| !demands.is_empty()) {
        Some(demands) if is_hotfix => demands.gates_of_hotfix(),
        Some(demands) => demands.gates(),
        None => target.gates.clone(),
    };
    if is_hotfix && gates.freezes.iter().any(|one| one.holds(now)) {
        gates.approvals.get_or_insert_default();
    }
    target.gates = gates;
}

/// Begins the deployment when all before it is done and no gate is closed.
fn wait(turn: &mut Turn<'_>, index: usize) {
    if turn.run.stop.is_some() {
        return set(turn, index, TargetState::Cancelled);
    }
    follow_what_counts(turn, index);
    let Some(target) = &turn.run.targets.get(index).cloned() else {
        return;
    };
    match way(turn, target) {
        Way::Waits => return,
        Way::Blocked(reason) => return set(turn, index, TargetState::Skipped { reason }),
        Way::Free => {}
    }
    if let Some(reason) = overtaken(turn, target) {
        return set(turn, index, TargetState::Skipped { reason });
    }
    let Some(gate) = closed(turn, target) else {
        let since = turn.now;
        return set(turn, index, TargetState::Deploying { since });
    };
    let since = match &target.state {
        TargetState::Gated { gate: same, since } if *same == gate => *since,
        _ => turn.now,
    };
    if turn.now >= after(since, patience(target, &gate)) {
        let reason = match gate {
            Gate::Approval => "nobody approved it in time",
            Gate::Soak | Gate::Window => "no window opened in time",
            Gate::Hold => "automatic deployment was on hold for too long",
        };
        let reason = reason.to_owned();
        return set(turn, index, TargetState::Failed { reason });
    }
    set(turn, index, TargetState::Gated { gate, since });
}

/// Says that a newer release is there already, or a hotfix that this one does not have. Somebody who
/// promotes an older one means it.
fn overtaken(turn: &Turn<'_>, target: &Target) -> Option<String> {
    let seen = turn.observation.targets.get(&target.environment)?;
    let newer = seen.stable.filter(|stable| *stable > turn.run.release);
    if let Some(stable) = newer.filter(|_| !turn.run.is_promotion) {
        return Some(format!("release {stable} is there, which is newer"));
    }
    seen.lost_fix.clone()
}

/// Returns the first gate that is closed.
fn closed(turn: &Turn<'_>, target: &Target) -> Option<Gate> {
    if soaked_at(turn, target).is_some_and(|at| turn.now < at) {
        return Some(Gate::Soak);
    }
    let gates = &target.gates;
    let wanted = gates.approvals.as_ref().map_or(0, |one| one.count);
    if turn.run.approvals_given(target) < wanted {
        return Some(Gate::Approval);
    }
    let is_open = gates.windows.is_empty() || gates.windows.iter().any(|one| one.is_open(turn.now));
    let is_frozen = gates.freezes.iter().any(|one| one.holds(turn.now));
    // Whoever approved a hotfix knew of the freeze.
    if !is_open || (is_frozen && !turn.run.is_hotfix) {
        return Some(Gate::Window);
    }
    let seen = turn.observation.targets.get(&target.environment);
    let hold = seen.and_then(|seen| seen.hold.as_ref());
    hold.map(|_| Gate::Hold)
}

/// Returns when the release was long enough in the environment that it comes from.
fn soaked_at(turn: &Turn<'_>, target: &Target) -> Option<Timestamp> {
    let from = target.comes_after()?;
    let since = match on_the_way(&turn.run, from) {
        Some(from) => from.delivered_at,
        None => proven_at(turn, target),
    };
    Some(after(since?, target.gates.soak))
}

/// Looks how the deployment goes.
fn watch(turn: &mut Turn<'_>, index: usize, target: &Target, since: Timestamp) {
    let seen = turn.observation.targets.get(&target.environment);
    let Some(deployment) = seen.and_then(|seen| seen.deployment.clone()) else {
        return unseen(turn, index, target, since);
    };
    if let Some(target) = turn.run.targets.get_mut(index) {
        target.deployment = Some(deployment.number);
        let shifted = deployment
            .shifted_at
            .filter(|_| deployment.failure.is_none());
        target.delivered_at = target.delivered_at.or(shifted);
    }
    let delivered = deployment.shifted_at.is_some() && deployment.failure.is_none();
    match deployment.outcome() {
        Some(Outcome::Succeeded) => {
            if let Some(target) = turn.run.targets.get_mut(index) {
                target.delivered_at = target.delivered_at.or(deployment.finished_at);
            }
            set(turn, index, TargetState::Succeeded);
            tell_who_is_behind(turn, target);
        }
        Some(_) => set(turn, index, ended(turn, &deployment)),
        None if delivered => set(turn, index, TargetState::Delivered),
        None => {}
    }
}

/// Writes down whom a hotfix passed by.
fn tell_who_is_behind(turn: &mut Turn<'_>, target: &Target) {
    let seen = turn.observation.targets.get(&target.environment);
    let behind = seen.map_or(&[][..], |seen| &seen.behind);
    if !turn.run.is_hotfix || behind.is_empty() {
        return;
    }
    let names: Vec<&str> = behind.iter().map(EnvironmentName::as_str).collect();
    let reason = format!(
        "until release {}, or a newer one with its commit, is there too: {}",
        turn.run.release,
        names.join(", ")
    );
    let place = format!("to {}", target.environment);
    turn.event("environment.behind", Some(&place), Some(reason));
}

/// Waits for a deployment that nobody has seen yet. One that was never asked for is none to wait for
/// when the run is stopped; whether it was asked for is only known while the environment is seen.
fn unseen(turn: &mut Turn<'_>, index: usize, target: &Target, since: Timestamp) {
    let is_known = turn.observation.targets.contains_key(&target.environment);
    if turn.is_cancelled() && is_known {
        return set(turn, index, TargetState::Cancelled);
    }
    if target.state == TargetState::Delivered {
        // It was pruned from the list of deployments, or the environment was removed.
        let reason = "its deployment is not known any more".to_owned();
        return set(turn, index, TargetState::Failed { reason });
    }
    if turn.now >= after(since, LONGEST_REQUEST) {
        let reason = "the deployment could not be asked for".to_owned();
        set(turn, index, TargetState::Failed { reason });
    }
}

fn ended(turn: &Turn<'_>, deployment: &Deployment) -> TargetState {
    let failure = deployment.failure.as_ref();
    let aborted = failure.is_some_and(|failure| failure.aborted);
    if turn.is_cancelled() && aborted {
        return TargetState::Cancelled;
    }
    let state = deployment.state();
    let reason = match failure.or(deployment.last_failure.as_ref()) {
        Some(failure) => format!("{state}: {}", failure.reason),
        None => state.to_string(),
    };
    TargetState::Failed { reason }
}
