//! What a push begins: which jobs, and which environments its release is brought to. Not how they
//! go ([`super::step()`]).

use std::collections::BTreeMap;

use super::cache::Reach;
use super::demand::Demands;
use super::glob;
use super::push::{Push, Reference};
use super::run::{Gates, Job, JobState, PreviewTarget, Target};
use crate::delivery::pipeline::{
    Condition, DeploySettings, JOB_TIMEOUT, JobSettings, MAIN_BRANCHES, Trigger,
};
use crate::delivery::{DEFAULT_ENVIRONMENT, DeliveryFile};
use crate::id::{EnvironmentName, JobName};
use crate::preview::{OfRequest, environment_of};

/// What a push begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The jobs, each after those that it needs only by their states, not by their order.
    pub jobs: Vec<Job>,
    /// The environments, each after that it comes from.
    pub targets: Vec<Target>,
    /// Whether it goes straight to its environments, behind people alone.
    pub is_hotfix: bool,
    /// What its jobs may use of what others left.
    pub reach: Reach,
}

/// Returns what a push begins; `None` when that is nothing. A push of a hotfix begins that and nothing
/// else.
pub fn plan(file: &DeliveryFile, push: &Push) -> Option<Plan> {
    let straight = straight(file, push);
    if !straight.is_empty() {
        return Some(straight_to(file, push, straight));
    }
    let targets = targets(file, push);
    let jobs = jobs(file, push, &targets);
    (!jobs.is_empty() || !targets.is_empty()).then_some(Plan {
        jobs,
        targets,
        is_hotfix: false,
        reach: Reach::of(file, push),
    })
}

/// Returns what a promotion to an environment begins: its gates, and the jobs that look at the
/// release there. `None` for an environment that the file does not name.
pub fn promotion(file: &DeliveryFile, push: &Push, to: &EnvironmentName) -> Option<Plan> {
    if !file.environment_names().contains(to) {
        return None;
    }
    let targets = vec![target(file, to, None)];
    let jobs = jobs(file, push, &targets);
    let jobs = jobs
        .into_iter()
        .filter(|job| job.after.as_ref() == Some(to));
    Some(Plan {
        jobs: jobs.collect(),
        targets,
        is_hotfix: false,
        reach: Reach::of(file, push),
    })
}

/// Returns what a hotfix of an environment begins: every job that is before all deployments, and the
/// environment, behind people alone. `None` for an environment that the file does not name.
pub fn hotfix(file: &DeliveryFile, push: &Push, to: &EnvironmentName) -> Option<Plan> {
    let is_there = file.environment_names().contains(to);
    is_there.then(|| straight_to(file, push, vec![to.clone()]))
}

/// Returns the environments of which a push is a hotfix.
fn straight(file: &DeliveryFile, push: &Push) -> Vec<EnvironmentName> {
    let mut names = file.environment_names();
    names.retain(|name| {
        let hotfix = file.deploy(name).hotfix.unwrap_or_default();
        match &push.reference {
            Reference::Branch(branch) => glob::any(&hotfix.branch, branch),
            Reference::Tag(tag) => glob::any(&hotfix.tag, tag),
            Reference::PullRequest { .. } | Reference::WorkingTree => false,
        }
    });
    names
}

fn straight_to(file: &DeliveryFile, push: &Push, names: Vec<EnvironmentName>) -> Plan {
    let target = |name: EnvironmentName| {
        let gates = Demands::of(file, &name).gates_of_hotfix();
        Target::new(name, gates)
    };
    let targets: Vec<Target> = names.into_iter().map(target).collect();
    // Whatever a push of its kind is let off, a hotfix is checked whole.
    let wanted = file.pipeline.iter().filter(|job| match &job.after {
        None => true,
        Some(after) => targets.iter().any(|one| &one.environment == after),
    });
    let wanted: Vec<&JobSettings> = wanted
        .filter(|job| job.after.is_none() || holds(&job.condition, push))
        .collect();
    let mut jobs = made(&wanted, &like(file, &targets));
    for job in &mut jobs {
        job.reuse = None;
    }
    Plan {
        jobs,
        targets,
        is_hotfix: true,
        reach: Reach::of(file, push),
    }
}

/// Returns the environments that begin with the push, and those that come after them by themselves.
fn targets(file: &DeliveryFile, push: &Push) -> Vec<Target> {
    let mut targets: Vec<Target> = preview(file, push).into_iter().collect();
    let names = file.environment_names();
    for name in &names {
        if begins(&file.deploy(name), push) {
            targets.push(target(file, name, None));
        }
    }
    // Each round finds those that come right after those of the rounds before.
    loop {
        let before = targets.len();
        for name in &names {
            let deploy = file.deploy(name);
            let is_there =
                |name: &EnvironmentName| targets.iter().any(|target| &target.environment == name);
            let after = deploy.after.clone().filter(|after| is_there(after));
            if let Some(after) = after
                && deploy.trigger().is_none()
                && !is_there(name)
                && touches(&deploy.paths, push)
            {
                targets.push(target(file, name, Some(after)));
            }
        }
        if targets.len() == before {
            return targets;
        }
    }
}

fn begins(deploy: &DeploySettings, push: &Push) -> bool {
    let matching = match (deploy.trigger(), &push.reference) {
        (Some(Trigger::Push), Reference::Branch(name)) if deploy.branch.is_empty() => {
            MAIN_BRANCHES.contains(&name.as_str())
        }
        (Some(Trigger::Push), Reference::Branch(name)) => glob::any(&deploy.branch, name),
        // Somebody who starts a run of a directory means what is deployed by a push.
        (Some(Trigger::Push), Reference::WorkingTree) => true,
        (Some(Trigger::Tag), Reference::Tag(name)) => {
            deploy.tag.is_empty() || glob::any(&deploy.tag, name)
        }
        _ => false,
    };
    matching && touches(&deploy.paths, push)
}

/// Tells whether a push changes a file that one of the patterns names.
fn touches(patterns: &[String], push: &Push) -> bool {
    patterns.is_empty()
        || push
            .changed
            .as_ref()
            .is_none_or(|changed| changed.iter().any(|path| glob::any(patterns, path)))
}

fn target(file: &DeliveryFile, name: &EnvironmentName, after: Option<EnvironmentName>) -> Target {
    Target {
        after,
        ..Target::new(name.clone(), Demands::of(file, name).gates())
    }
}

/// Returns the preview of a pull request, where those of its kind have one.
fn preview(file: &DeliveryFile, push: &Push) -> Option<Target> {
    let Reference::PullRequest {
        number, from, fork, ..
    } = &push.reference
    else {
        return None;
    };
    let settings = &file.previews;
    if !settings.pull_requests || (*fork && !settings.forks) {
        return None;
    }
    let like = file.preview_from();
    let preview = PreviewTarget {
        request: OfRequest {
            number: *number,
            from: from.clone(),
            is_fork: *fork,
        },
        terms: file.preview_terms(&like),
        like,
    };
    Some(Target {
        preview: Some(preview),
        ..Target::new(environment_of(*number).ok()?, Gates::default())
    })
}

/// Returns all jobs of a file, whatever begins them.
pub fn all_jobs(file: &DeliveryFile) -> Vec<Job> {
    let all: Vec<&JobSettings> = file.pipeline.iter().collect();
    made(&all, &like(file, &[]))
}

fn jobs(file: &DeliveryFile, push: &Push, targets: &[Target]) -> Vec<Job> {
    let wanted: Vec<&JobSettings> = file
        .pipeline
        .iter()
        .filter(|job| holds(&job.condition, push))
        .filter(|job| {
            let is_target = |name| targets.iter().any(|target| target.rendered_as() == name);
            job.after.as_ref().is_none_or(is_target)
        })
        .collect();
    let mut jobs = made(&wanted, &like(file, targets));
    let previews = targets.iter().filter(|target| target.preview.is_some());
    for preview in previews {
        // What looks at an environment looks at the preview that is like it, where that is what comes.
        let looks = jobs.iter_mut().filter_map(|job| job.after.as_mut());
        for after in looks.filter(|after| *after == preview.rendered_as()) {
            after.clone_from(&preview.environment);
        }
    }
    jobs
}

fn made(wanted: &[&JobSettings], like: &EnvironmentName) -> Vec<Job> {
    let names: Vec<&JobName> = wanted.iter().map(|job| &job.name).collect();
    let mut jobs = Vec::new();
    for settings in wanted {
        for variant in variants(&settings.matrix) {
            let number = u32::try_from(jobs.len() + 1).unwrap_or(u32::MAX);
            // A job that this push does not run is not waited for.
            let needs = settings.needs.iter().filter(|need| names.contains(need));
            jobs.push(Job {
                name: settings.name.clone(),
                number,
                variant,
                needs: needs.cloned().collect(),
                after: settings.after.clone(),
                timeout: settings.timeout.unwrap_or(JOB_TIMEOUT),
                retries: settings.retries.unwrap_or(0),
                concurrency: settings.concurrency.clone(),
                like: settings
                    .like
                    .clone()
                    .or_else(|| settings.after.clone())
                    .unwrap_or_else(|| like.clone()),
                steps: settings.steps.iter().map(|one| one.name.clone()).collect(),
                reports: settings.reports.clone(),
                artifacts: settings.artifacts.clone(),
                cache: settings.cache.clone(),
                reuse: settings.reuse,
                lookup: None,
                state: JobState::Waiting,
                attempts: Vec::new(),
            });
        }
    }
    jobs
}

/// Returns the environment that jobs have theirs like where they do not say it.
fn like(file: &DeliveryFile, targets: &[Target]) -> EnvironmentName {
    let names = file.environment_names();
    let first = targets.first().map(|target| target.rendered_as().clone());
    let dev = names
        .iter()
        .find(|name| name.as_str() == DEFAULT_ENVIRONMENT);
    first
        .or_else(|| dev.cloned())
        .or_else(|| names.first().cloned())
        .unwrap_or_else(|| {
            EnvironmentName::new(DEFAULT_ENVIRONMENT).expect("the constant is a name")
        })
}

fn holds(condition: &Condition, push: &Push) -> bool {
    let Condition { branch, tag, paths } = condition;
    let named = branch.is_empty() && tag.is_empty();
    let matching = match &push.reference {
        Reference::Branch(name) => glob::any(branch, name),
        Reference::Tag(name) => glob::any(tag, name),
        Reference::PullRequest { from, .. } => glob::any(branch, from),
        Reference::WorkingTree => true,
    };
    (named || matching) && touches(paths, push)
}

/// Returns every combination of the matrix; one without values where there is none.
fn variants(matrix: &BTreeMap<String, Vec<String>>) -> Vec<BTreeMap<String, String>> {
    let mut variants = vec![BTreeMap::new()];
    for (variable, values) in matrix {
        variants = variants
            .iter()
            .flat_map(|variant: &BTreeMap<String, String>| {
                values.iter().map(|value| {
                    let mut variant = variant.clone();
                    variant.insert(variable.clone(), value.clone());
                    variant
                })
            })
            .collect();
    }
    variants
}
