//! What an environment demands of a release before it may come there, as its delivery file says it.
//! It is part of what a release renders to, so that it is known wherever the release is. Not whether
//! it is met, which a run finds out ([`super::step()`]).
//!
//! What counts is what the release demands that is stable in the environment: a release cannot make
//! its own way there easier. Only where that demands nothing, or nothing is there yet, it is what the
//! release itself demands.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::run::Gates;
use super::window::{Freeze, Window};
use crate::delivery::DeliveryFile;
use crate::delivery::pipeline::Approvals;
use crate::duration;
use crate::id::EnvironmentName;

/// What an environment demands of a release.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Demands {
    /// Whether jobs have to pass before any deployment.
    #[serde(default)]
    pub checks: bool,
    /// The environments that it has to be brought to before, the nearest first.
    #[serde(default)]
    pub before: Vec<EnvironmentName>,
    /// How long it has to be in the nearest of them.
    #[serde(default, with = "duration")]
    pub soak: Duration,
    /// Who has to approve.
    #[serde(default)]
    pub approvals: Option<Approvals>,
    /// When it may come; always when empty.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// When it may not.
    #[serde(default)]
    pub freezes: Vec<Freeze>,
    /// Who has to approve a hotfix, where that is said apart.
    #[serde(default)]
    pub hotfix: Option<Approvals>,
}

impl Demands {
    /// Returns what a delivery file demands for an environment.
    pub fn of(file: &DeliveryFile, name: &EnvironmentName) -> Self {
        let deploy = file.deploy(name);
        let resolved = |approvals: Approvals| {
            let groups = approvals.groups.iter();
            let members = groups.filter_map(|group| file.groups.get(group)).flatten();
            Approvals {
                members: members.cloned().collect(),
                ..approvals
            }
        };
        let hotfix = deploy.hotfix.and_then(|hotfix| hotfix.approvals);
        Self {
            checks: file.pipeline.iter().any(|job| job.after.is_none()),
            before: before(file, name),
            soak: deploy.soak.unwrap_or_default(),
            approvals: deploy.approvals.map(resolved),
            windows: deploy.windows,
            freezes: deploy.freezes,
            hotfix: hotfix.map(resolved),
        }
    }

    /// Tells whether a file said nothing at all.
    pub(crate) fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// Tells whether anything may come at any time. That jobs have to pass is then said of pushes, not
    /// of the environment.
    pub fn is_empty(&self) -> bool {
        let Self {
            checks: _,
            before,
            soak,
            approvals,
            windows,
            freezes,
            hotfix: _,
        } = self;
        before.is_empty()
            && soak.is_zero()
            && approvals.is_none()
            && windows.is_empty()
            && freezes.is_empty()
    }

    /// Returns the demands that count: those of what is stable there, or where these are none those of
    /// what is to come.
    pub fn ruling<'a>(stable: Option<&'a Self>, candidate: &'a Self) -> &'a Self {
        stable.filter(|one| !one.is_empty()).unwrap_or(candidate)
    }

    /// Returns the environment that a release has to be brought to right before.
    pub fn after(&self) -> Option<&EnvironmentName> {
        self.before.first()
    }

    /// Returns the gates before the environment.
    pub fn gates(&self) -> Gates {
        Gates {
            after: self.after().cloned(),
            soak: self.soak,
            approvals: self.approvals.clone(),
            windows: self.windows.clone(),
            freezes: self.freezes.clone(),
        }
    }

    /// Returns the gates before the environment for what cannot wait: people alone. Where the
    /// environment demands anything somebody has to approve, whoever it is.
    pub fn gates_of_hotfix(&self) -> Gates {
        let said = self.hotfix.clone().or_else(|| self.approvals.clone());
        let anybody = (!self.is_empty()).then(Approvals::default);
        Gates {
            approvals: said.or(anybody),
            freezes: self.freezes.clone(),
            ..Gates::default()
        }
    }
}

/// Returns the environments that a release passes on its way to one, the nearest first.
fn before(file: &DeliveryFile, name: &EnvironmentName) -> Vec<EnvironmentName> {
    let mut found: Vec<EnvironmentName> = Vec::new();
    let mut next = file.deploy(name).after;
    while let Some(one) = next {
        // A file in which they come round is refused; this one may be of an older program.
        if &one == name || found.contains(&one) {
            break;
        }
        next = file.deploy(&one).after;
        found.push(one);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demands() -> Demands {
        Demands {
            approvals: Some(Approvals {
                count: 2,
                ..Approvals::default()
            }),
            ..Demands::default()
        }
    }

    #[test]
    fn a_release_cannot_make_its_own_way_easier_and_may_make_it_harder() {
        let (strict, free) = (demands(), Demands::default());
        assert_eq!(Demands::ruling(Some(&strict), &free), &strict);
        assert_eq!(Demands::ruling(Some(&free), &strict), &strict);
        assert_eq!(Demands::ruling(None, &strict), &strict);
        let other = Demands {
            soak: Duration::from_mins(1),
            ..Demands::default()
        };
        assert_eq!(Demands::ruling(Some(&strict), &other), &strict);
    }

    #[test]
    fn jobs_alone_are_no_gate_of_an_environment() {
        let jobs = Demands {
            checks: true,
            ..Demands::default()
        };
        assert!(jobs.is_empty());
        assert_eq!(jobs.gates_of_hotfix().approvals, None);
    }

    #[test]
    fn a_hotfix_waits_for_people_and_for_nothing_else() {
        let all = Demands {
            before: vec!["staging".parse().unwrap()],
            soak: Duration::from_hours(1),
            ..demands()
        };
        let gates = all.gates_of_hotfix();
        assert_eq!(gates.approvals, all.approvals);
        assert_eq!((gates.after, gates.soak), (None, Duration::ZERO));
        let own = Demands {
            hotfix: Some(Approvals::default()),
            ..all.clone()
        };
        assert_eq!(own.gates_of_hotfix().approvals, own.hotfix);
        let nobody_said = Demands {
            approvals: None,
            ..all
        };
        let asked = nobody_said.gates_of_hotfix().approvals;
        assert_eq!(asked, Some(Approvals::default()), "somebody is asked");
    }
}
