//! Rules of `pipeline` and `deploy` that span several keys. Not those that need the Compose project.

use std::collections::{BTreeMap, BTreeSet};

use super::super::pipeline::{Approvals, CacheSettings, DeploySettings, JobSettings, Trigger};
use super::{Checker, is_variable};
use crate::id::{EnvironmentName, JobName};
use crate::pipeline::{EPHEMERAL, steps};

/// The most combinations of a job's matrix.
const COMBINATIONS_MAX: usize = 64;

/// The most steps of a job.
const STEPS_MAX: usize = 50;

/// The most characters of the name of a step, of a cache, and of a group of jobs.
const NAME_MAX: usize = 60;

/// The most bytes of a job's steps: the system takes no longer word of a command than 128 KiB.
const SCRIPT_BYTES_MAX: usize = 96 << 10;

/// The most jobs of a file.
const JOBS_MAX: usize = 100;

impl Checker<'_> {
    /// Checks the jobs and what brings releases to environments.
    pub(super) fn pipeline(&mut self) {
        let jobs = &self.delivery.file.pipeline;
        if jobs.len() > JOBS_MAX {
            let message = format!("there are more than {JOBS_MAX} jobs");
            self.refuse(&["pipeline"], &message, "do more in one job");
            return;
        }
        let mut names: BTreeSet<&JobName> = BTreeSet::new();
        for (index, job) in jobs.iter().enumerate() {
            let index = index.to_string();
            let at = ["pipeline", index.as_str()];
            if !names.insert(&job.name) {
                let message = format!("there are two jobs `{}`", job.name);
                let help = "give one another name";
                self.refuse(&[&at[..], &["name"]].concat(), &message, help);
            }
            self.job(&at, job);
        }
        self.cycles_of_jobs();
        let environments = &self.delivery.file.environments;
        for (name, environment) in environments {
            if name.as_str().starts_with(EPHEMERAL) {
                let message = format!("names that begin with `{EPHEMERAL}` are those of jobs");
                self.refuse(&["environments", name.as_str()], &message, "use another");
            }
            if let Some(deploy) = &environment.deploy {
                self.deploy(name, deploy);
            }
        }
        self.cycles_of_environments();
    }

    fn job(&mut self, at: &[&str], job: &JobSettings) {
        let below = |rest: &[&'static str]| [at, rest].concat();
        let known: BTreeSet<&JobName> = self
            .delivery
            .file
            .pipeline
            .iter()
            .map(|one| &one.name)
            .collect();
        for (index, need) in job.needs.iter().enumerate() {
            if !known.contains(need) {
                let index = index.to_string();
                let path = [at, &["needs", &index]].concat();
                let message = format!("there is no job `{need}`");
                self.refuse(&path, &message, "name a job of this file");
            }
        }
        for (key, name) in [("like", &job.like), ("after", &job.after)] {
            if let Some(name) = name {
                self.environment_is_there(&[at, &[key]].concat(), name);
            }
        }
        if job.image.is_some() && job.service.is_some() {
            let help = "write one: a service has an image of its own";
            self.refuse(&below(&["image"]), "there are `image` and `service`", help);
        }
        if job.timeout.is_some_and(|timeout| timeout.is_zero()) {
            let help = "write `30m`";
            self.refuse(
                &below(&["timeout"]),
                "the time is over before it began",
                help,
            );
        }
        if job.retries.is_some_and(|retries| retries > 10) {
            self.refuse(
                &below(&["retries"]),
                "it is tried too often",
                "write 10 at most",
            );
        }
        let named = [
            ("environment", job.environment.keys().collect::<Vec<_>>()),
            ("secrets", job.secrets.keys().collect()),
            ("matrix", job.matrix.keys().collect()),
        ];
        for (key, variables) in named {
            for variable in variables {
                let path = [at, &[key, variable.as_str()]].concat();
                if !is_variable(variable) {
                    let message = format!("`{variable}` is not the name of a variable");
                    let help = "write letters, digits and underscores, not starting with a digit";
                    self.refuse(&path, &message, help);
                }
            }
        }
        self.matrix(at, &job.matrix);
        self.steps(at, job);
        self.patterns(&[at, &["reports"]].concat(), &job.reports);
        if let Some(artifacts) = &job.artifacts {
            let path = [at, &["artifacts"]].concat();
            if artifacts.paths.is_empty() {
                self.refuse(&path, "there is no path", "write `[dist/**]`");
            }
            self.patterns(&path, &artifacts.paths);
        }
        if let Some(cache) = &job.cache {
            self.cache(at, cache);
        }
        if let Some(group) = &job.concurrency {
            self.short_name(&below(&["concurrency"]), group, "a group of jobs");
        }
        if job.reuse.is_some() && job.after.is_some() {
            let message = "what a job finds in an environment is no result of its inputs alone";
            self.refuse(&below(&["reuse"]), message, "remove it, or `after`");
        }
        if job.reuse.is_some_and(|age| age.is_zero()) {
            let help = "write `7d`, or remove it";
            self.refuse(&below(&["reuse"]), "no result is as new as that", help);
        }
    }

    fn cache(&mut self, at: &[&str], cache: &CacheSettings) {
        let path = [at, &["cache"]].concat();
        if cache.paths.is_empty() {
            self.refuse(&path, "there is no path", "write `[node_modules]`");
        }
        self.patterns(&path, &cache.paths);
        self.patterns(&[&path[..], &["files"]].concat(), &cache.files);
        if let Some(name) = &cache.name {
            self.short_name(&[&path[..], &["name"]].concat(), name, "a cache");
        }
    }

    /// Refuses a name that is not short and on one line. Returns whether it is.
    fn short_name(&mut self, path: &[&str], name: &str, of: &str) -> bool {
        let is_short = (1..=NAME_MAX).contains(&name.chars().count());
        let is_good = is_short && name.trim() == name && !name.contains(char::is_control);
        if !is_good {
            let message = format!("{name:?} is not a name of {of}");
            let help = format!("write up to {NAME_MAX} characters on one line");
            self.refuse(path, &message, &help);
        }
        is_good
    }

    fn steps(&mut self, at: &[&str], job: &JobSettings) {
        let path = [at, &["steps"]].concat();
        if job.run.is_some() && !job.steps.is_empty() {
            let help = "write one: a single command, or parts with names";
            return self.refuse(&path, "there are `run` and `steps`", help);
        }
        if job.run.is_some() {
            return;
        }
        if job.steps.is_empty() {
            return self.refuse(&path, "there is no step", "write at least one");
        }
        if job.steps.len() > STEPS_MAX {
            let message = format!("there are more than {STEPS_MAX} steps");
            self.refuse(&path, &message, "do more in one step");
        }
        let bytes = steps::script(&job.steps).len();
        if bytes > SCRIPT_BYTES_MAX {
            let message = format!("the steps have {bytes} bytes together");
            let help = format!("at most {SCRIPT_BYTES_MAX} fit: put what is long into a file");
            self.refuse(&path, &message, &help);
        }
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for (index, step) in job.steps.iter().enumerate() {
            let index = index.to_string();
            let path = [&path[..], &[index.as_str(), "name"]].concat();
            let name = step.name.as_str();
            if self.short_name(&path, name, "a step") && !names.insert(name) {
                let message = format!("there are two steps `{name}`");
                self.refuse(&path, &message, "give one another name");
            }
        }
    }

    /// Refuses patterns that can match no file of the job's directory.
    fn patterns(&mut self, path: &[&str], patterns: &[String]) {
        for (index, pattern) in patterns.iter().enumerate() {
            let outside = pattern.split('/').any(|part| part == "..");
            if pattern.trim().is_empty() || pattern.starts_with('/') || outside {
                let index = index.to_string();
                let path = [path, &[index.as_str()]].concat();
                let message = format!("`{pattern}` is no path in the job's directory");
                self.refuse(
                    &path,
                    &message,
                    "write a path such as `dist/**`, without `..`",
                );
            }
        }
    }

    fn matrix(&mut self, at: &[&str], matrix: &BTreeMap<String, Vec<String>>) {
        let path = [at, &["matrix"]].concat();
        if let Some((variable, _)) = matrix.iter().find(|(_, values)| values.is_empty()) {
            let message = format!("`{variable}` has no value");
            self.refuse(&path, &message, "write at least one, or remove it");
        }
        let sizes = matrix.values().map(Vec::len);
        let combinations = sizes.fold(1_usize, usize::saturating_mul);
        if combinations > COMBINATIONS_MAX {
            let message = format!("there are {combinations} combinations");
            let help = format!("write {COMBINATIONS_MAX} at most");
            self.refuse(&path, &message, &help);
        }
    }

    fn environment_is_there(&mut self, path: &[&str], name: &EnvironmentName) {
        let names = self.delivery.file.environment_names();
        if !names.contains(name) {
            let names: Vec<&str> = names.iter().map(EnvironmentName::as_str).collect();
            let message = format!("there is no environment `{name}`");
            self.refuse(path, &message, &format!("there are: {}", names.join(", ")));
        }
    }

    fn deploy(&mut self, name: &EnvironmentName, deploy: &DeploySettings) {
        let at = |key| ["environments", name.as_str(), "deploy", key];
        if let Some(after) = &deploy.after {
            self.environment_is_there(&at("after"), after);
        }
        if deploy.soak.is_some() && deploy.after.is_none() {
            let message = "there is no environment that it could be in before";
            self.refuse(&at("soak"), message, "write `after` too");
        }
        let trigger = deploy.trigger();
        let branch = trigger != Some(Trigger::Push) && !deploy.branch.is_empty();
        let tag = trigger != Some(Trigger::Tag) && !deploy.tag.is_empty();
        let contradictory = branch.then_some("branch").or(tag.then_some("tag"));
        if let Some(key) = contradictory {
            let message = format!("`{key}` is no part of what begins a deployment here");
            self.refuse(&at(key), &message, "remove it, or change `on`");
        }
        let pushed = matches!(trigger, Some(Trigger::Push | Trigger::Tag));
        if pushed && deploy.after.is_some() {
            let help = "write one: a release comes from a push, or from another environment";
            self.refuse(&at("after"), "there are `on` and `after`", help);
        }
        if let Some(approvals) = &deploy.approvals {
            self.approvals(&at("approvals"), approvals);
        }
        let hotfix = deploy.hotfix.as_ref();
        if let Some(approvals) = hotfix.and_then(|hotfix| hotfix.approvals.as_ref()) {
            let path = [&at("hotfix")[..], &["approvals"]].concat();
            self.approvals(&path, approvals);
        }
    }

    fn approvals(&mut self, path: &[&str], approvals: &Approvals) {
        if approvals.count == 0 {
            let help = "write at least 1, or remove the key";
            self.refuse(path, "nobody has to approve", help);
        }
        let groups = &self.delivery.file.groups;
        let unknown = approvals
            .groups
            .iter()
            .find(|group| !groups.contains_key(*group));
        if let Some(unknown) = unknown {
            let message = format!("there is no group `{unknown}`");
            self.refuse(path, &message, "write it under `groups`");
        }
        if approvals.expiry.is_zero() {
            let message = "the time is over before it began";
            self.refuse(path, message, "write `expiry: 24h`");
        }
    }

    fn cycles_of_jobs(&mut self) {
        let jobs = &self.delivery.file.pipeline;
        let names: BTreeMap<&JobName, usize> = jobs
            .iter()
            .enumerate()
            .map(|(index, job)| (&job.name, index))
            .collect();
        let edges: Vec<Vec<usize>> = jobs
            .iter()
            .map(|job| {
                job.needs
                    .iter()
                    .filter_map(|need| names.get(need).copied())
                    .collect()
            })
            .collect();
        if let Some(index) = in_cycle(&edges) {
            let index = index.to_string();
            let path = ["pipeline", index.as_str(), "needs"];
            self.refuse(&path, "the job waits for itself", "remove one of `needs`");
        }
    }

    fn cycles_of_environments(&mut self) {
        let environments = &self.delivery.file.environments;
        let names: Vec<&EnvironmentName> = environments.keys().collect();
        let edges: Vec<Vec<usize>> = environments
            .values()
            .map(|one| {
                let after = one.deploy.as_ref().and_then(|deploy| deploy.after.as_ref());
                let index = after.and_then(|after| names.iter().position(|name| *name == after));
                index.into_iter().collect()
            })
            .collect();
        if let Some(name) = in_cycle(&edges).and_then(|index| names.get(index).copied()) {
            let path = ["environments", name.as_str(), "deploy", "after"];
            let name = name.to_string();
            let path: Vec<&str> = path.to_vec();
            let message = format!("releases come to `{name}` only from itself");
            self.refuse(&path, &message, "let the first environment have a `branch`");
        }
    }
}

/// Returns a node that can be reached from itself.
fn in_cycle(edges: &[Vec<usize>]) -> Option<usize> {
    // What waits for nothing that is left is taken away until nothing changes.
    let mut left: BTreeSet<usize> = (0..edges.len()).collect();
    loop {
        let free: Vec<usize> = left
            .iter()
            .copied()
            .filter(|node| {
                let waits_for = edges.get(*node);
                waits_for.is_none_or(|found| found.iter().all(|one| !left.contains(one)))
            })
            .collect();
        if free.is_empty() {
            break;
        }
        for node in free {
            left.remove(&node);
        }
    }
    // What is left is in a cycle, or waits for one.
    left.iter().copied().find(|start| {
        let mut seen: BTreeSet<usize> = BTreeSet::new();
        let mut next: Vec<usize> = edges.get(*start).cloned().unwrap_or_default();
        while let Some(node) = next.pop() {
            if node == *start {
                return true;
            }
            if seen.insert(node) {
                next.extend(edges.get(node).into_iter().flatten());
            }
        }
        false
    })
}
