//! Which environments a hotfix passed by and has not come to since: found out of what is where, and
//! kept nowhere. Not what a commit contains, which Git knows.

use crate::id::{EnvironmentName, ReleaseNumber};

/// What is in an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The environment.
    pub name: EnvironmentName,
    /// The release that is stable in it.
    pub stable: Option<ReleaseNumber>,
    /// The commit of the hotfix that the release came as, where it is one.
    pub hotfix: Option<String>,
    /// The environments that releases pass on their way there, as that release has it.
    pub before: Vec<EnvironmentName>,
}

/// That an environment lacks a hotfix that passed it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// The environment that is behind.
    pub name: EnvironmentName,
    /// The environment that has the hotfix.
    pub of: EnvironmentName,
    /// The release that it has it with.
    pub release: ReleaseNumber,
    /// The commit.
    pub commit: String,
    /// Whether that is sure: otherwise nobody knows what the environment's own commit contains.
    pub is_sure: bool,
}

/// Returns what is behind. `contains` says whether a release has all that a commit has; `None` when
/// nobody knows, which is no reason to believe it.
pub fn behind(
    places: &[Place],
    contains: impl Fn(ReleaseNumber, &str) -> Option<bool>,
) -> Vec<Behind> {
    let mut found = Vec::new();
    for ahead in places {
        let (Some(release), Some(commit)) = (ahead.stable, &ahead.hotfix) else {
            continue;
        };
        let passed_by = places.iter().filter(|one| ahead.before.contains(&one.name));
        for place in passed_by.filter(|one| one.stable != Some(release)) {
            let has_it = place
                .stable
                .map_or(Some(false), |own| contains(own, commit));
            if has_it != Some(true) {
                found.push(Behind {
                    name: place.name.clone(),
                    of: ahead.name.clone(),
                    release,
                    commit: commit.clone(),
                    is_sure: has_it.is_some(),
                });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str, stable: u32, hotfix: Option<&str>, before: &[&str]) -> Place {
        Place {
            name: name.parse().unwrap(),
            stable: Some(ReleaseNumber(stable)),
            hotfix: hotfix.map(str::to_owned),
            before: before.iter().map(|one| one.parse().unwrap()).collect(),
        }
    }

    fn names(places: &[Place], has_it: Option<bool>) -> Vec<String> {
        let found = behind(places, |_, _| has_it);
        found.iter().map(|one| one.name.to_string()).collect()
    }

    fn places(dev: u32, staging: u32) -> [Place; 4] {
        [
            place("dev", dev, None, &[]),
            place("staging", staging, None, &["dev"]),
            place("production", 9, Some("abc"), &["staging", "dev"]),
            place("demo", 3, None, &[]),
        ]
    }

    #[test]
    fn what_a_hotfix_passed_by_is_behind_until_it_has_it_or_a_commit_with_it() {
        assert_eq!(names(&places(8, 7), Some(false)), ["dev", "staging"]);
        assert_eq!(names(&places(8, 9), Some(false)), ["dev"]);
        assert_eq!(names(&places(10, 9), Some(true)), Vec::<String>::new());
    }

    #[test]
    fn what_nobody_knows_is_behind_and_said_to_be_unsure() {
        let found = behind(&places(10, 9), |_, _| None);
        assert_eq!(found.len(), 1);
        assert!(!found[0].is_sure);
        let found = behind(&places(10, 9), |_, _| Some(false));
        assert!(found[0].is_sure);
    }

    #[test]
    fn nothing_is_behind_once_what_came_the_usual_way_took_the_place_of_the_hotfix() {
        let mut places = places(8, 7);
        places[2] = place("production", 10, None, &["staging", "dev"]);
        assert_eq!(names(&places, Some(false)), Vec::<String>::new());
    }

    #[test]
    fn an_environment_with_nothing_in_it_is_behind() {
        let mut places = places(8, 9);
        places[0].stable = None;
        assert_eq!(names(&places, None), ["dev"]);
    }
}
