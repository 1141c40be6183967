//! How a run is shown to people: its parts, how long each took, what jobs left behind.

use jiff::Timestamp;
use towpath_api::{Run, RunCache, RunCacheGiven, RunJob, RunPartState, RunStep};

use crate::command::table::{size, table};

/// Writes a run for people.
pub(super) fn describe(run: &Run, now: Timestamp) -> String {
    let what = match (run.hotfix, run.promotion) {
        (true, _) => "hotfix run",
        (false, true) => "promotion",
        (false, false) => "run",
    };
    let mut text = format!(
        "{what} {} of {}: {}\n  of        {}\n  release   {}\n  by        {}\n",
        run.number,
        run.app,
        run.state.words(),
        run.reference,
        run.release,
        run.actor
    );
    if let Some(commit) = &run.commit {
        text.push_str(&format!("  commit    {commit}\n"));
    }
    if !run.behind.is_empty() {
        text.push_str(&format!("  behind    {}\n", run.behind.join(", ")));
    }
    let jobs = run.jobs.iter().flat_map(|job| {
        let reason = job.reason.clone().unwrap_or_default();
        let took = took(job.started_at, job.ended_at, now);
        let own = row("job", &job.label, job.state, took, reason);
        let steps = job.steps.iter().map(move |step| {
            let reason = step.code.map(|code| format!("exited with code {code}"));
            let took = took_of(step, now);
            let name = format!("  {}", step.name);
            row(
                "  step",
                &name,
                step.state,
                took,
                reason.unwrap_or_default(),
            )
        });
        std::iter::once(own).chain(steps)
    });
    let environments = run.environments.iter().map(|one| {
        let mut reason = one.reason.clone().unwrap_or_default();
        if one.approvals_wanted > 0 {
            let (given, wanted) = (one.approvals.len(), one.approvals_wanted);
            let by = one.approvals.join(", ");
            reason = format!("{reason} approvals {given}/{wanted} {by}");
        }
        let reason = reason.trim().to_owned();
        row("environment", &one.name, one.state, String::new(), reason)
    });
    let rows = jobs.chain(environments);
    text.push_str(&table(&["", "name", "state", "took", "because"], rows));
    text.push('\n');
    for job in &run.jobs {
        text.push_str(&left_behind(job));
    }
    for warning in &run.warnings {
        text.push_str(&format!("{warning}\n"));
    }
    text
}

fn row(kind: &str, name: &str, state: RunPartState, took: String, reason: String) -> Vec<String> {
    let words = state.words().to_owned();
    vec![kind.to_owned(), name.to_owned(), words, took, reason]
}

fn took_of(step: &RunStep, now: Timestamp) -> String {
    took(step.started_at, step.ended_at, now)
}

/// Says how long something took, or takes up to now.
fn took(from: Option<Timestamp>, to: Option<Timestamp>, now: Timestamp) -> String {
    let Some(from) = from else {
        return String::new();
    };
    let seconds = to.unwrap_or(now).duration_since(from).as_secs_f64();
    format!("{seconds:.1} s")
}

/// Says what a job left behind.
fn left_behind(job: &RunJob) -> String {
    let mut text = String::new();
    let lines = job.tests.iter().flat_map(|tests| &tests.lines);
    for line in lines {
        text.push_str(&format!("{}: {line}\n", job.label));
    }
    if let Some(kept) = &job.artifacts {
        let (files, bytes) = (kept.files, size(kept.bytes));
        text.push_str(&format!(
            "{}: artifacts: {files} files, {bytes}\n",
            job.label
        ));
    }
    if let Some(cache) = &job.cache {
        text.push_str(&format!("{}: cache: {}\n", job.label, cache_of(cache)));
    }
    for note in &job.notes {
        text.push_str(&format!("{}: {note}\n", job.label));
    }
    text
}

/// Says what a job was given of its caches, and what it left.
fn cache_of(cache: &RunCache) -> String {
    let (files, bytes) = (cache.files, size(cache.bytes));
    let by = cache
        .run
        .map_or_else(String::new, |run| format!(" of run {run}"));
    let given = match cache.given {
        RunCacheGiven::None => "there was none".to_owned(),
        RunCacheGiven::Exact => format!("given {files} files, {bytes}{by}"),
        RunCacheGiven::Older => format!("given {files} files, {bytes}{by}, made of other files"),
    };
    match (cache.left_files, cache.left_bytes) {
        (Some(files), Some(bytes)) => format!("{given}; left {files} files, {}", size(bytes)),
        _ => given,
    }
}
