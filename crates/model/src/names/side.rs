//! Which releases an instance belongs to, as far as names go. Not who is told what of it.

use crate::environment::Environment;
use crate::id::{ReleaseNumber, ServiceName, WorkloadId};
use crate::instance::{Instance, Phase};
use crate::release::RenderedService;

/// Which releases an instance belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The stable release and the candidate, or the only one that there is.
    Both,
    /// The stable release, and not the candidate.
    Stable,
    /// The candidate, and not the stable release.
    Candidate,
    /// It is a release job of the candidate.
    Job,
    /// None of them, and it still serves: what an earlier deployment left. It came with this release.
    Neither(ReleaseNumber),
    /// None of them any more. It goes, and may be busy with requests; it came with this release.
    Leaving(ReleaseNumber),
}

/// Tells sides. What is the same for all instances is looked up once.
pub(super) struct Sides<'a> {
    environment: &'a Environment,
    /// Requests from outside are in flight on some that go.
    leavers_are_busy: bool,
}

impl<'a> Sides<'a> {
    pub(super) fn new(environment: &'a Environment) -> Self {
        let leavers_are_busy = environment.instances.values().any(|one| {
            matches!(one.phase, Phase::Draining { idle: false, .. }) && is_leaving(environment, one)
        });
        Self {
            environment,
            leavers_are_busy,
        }
    }

    pub(super) fn is_candidate(&self, one: &Instance) -> bool {
        let alone = match self.of(one) {
            Side::Candidate | Side::Job => true,
            Side::Stable | Side::Both | Side::Neither(_) | Side::Leaving(_) => false,
        };
        alone && self.environment.stable.is_some()
    }

    pub(super) fn of(&self, one: &Instance) -> Side {
        let environment = self.environment;
        let active = environment.deployment.as_ref();
        if let Some(job) = one.job {
            let its = active.is_some_and(|active| active.number == job);
            return if its { Side::Job } else { Side::Both };
        }
        if matches!(one.phase, Phase::Stopping { .. }) {
            return Side::Both;
        }
        if is_leaving(environment, one) {
            return if self.leavers_are_busy {
                Side::Leaving(one.release)
            } else {
                Side::Both
            };
        }
        let service = &one.workload.service;
        let is = |release| workload(environment, release, service) == Some(&one.workload);
        let stable = is(environment.stable);
        match (stable, active.map(|active| is(Some(active.release)))) {
            (true, Some(true) | None) => Side::Both,
            (true, Some(false)) => Side::Stable,
            (false, Some(true)) => Side::Candidate,
            (false, Some(false) | None) => Side::Neither(one.release),
        }
    }
}

/// Tells whether an instance goes and all others of its workload do.
pub(super) fn is_leaving(environment: &Environment, one: &Instance) -> bool {
    one.job.is_none()
        && matches!(one.phase, Phase::Draining { .. })
        && environment.live(&one.workload).next().is_none()
}

pub(super) fn workload<'a>(
    environment: &'a Environment,
    release: Option<ReleaseNumber>,
    service: &ServiceName,
) -> Option<&'a WorkloadId> {
    rendered(environment, release, service).map(|service| &service.workload)
}

/// Returns a service that may be asked for: release jobs are not.
pub(super) fn rendered<'a>(
    environment: &'a Environment,
    release: Option<ReleaseNumber>,
    service: &ServiceName,
) -> Option<&'a RenderedService> {
    environment
        .service(release?, service)
        .filter(|service| !service.is_job())
}
