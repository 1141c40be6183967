//! What of a repository concerns an app: branches and tags by patterns, files by patterns, one directory
//! of many. Not what a pipeline does for it ([`super::plan()`] says that).

use serde::{Deserialize, Serialize};

use super::{Reference, glob};

/// What of a repository is delivered. What is left empty is all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// The branches. `*` stands for anything but `/`, `**` for anything.
    #[serde(default)]
    pub branches: Vec<String>,
    /// The tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whether pull requests are delivered, those that are meant for one of the branches.
    #[serde(default)]
    pub pull_requests: bool,
    /// The directory of the repository that the app is in, where it has several; relative, without
    /// `/` at its ends. Only pushes that change something in it count.
    #[serde(default)]
    pub directory: String,
    /// Only pushes that change one of these files, relative to the repository.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Files whose change alone is nothing to deliver.
    #[serde(default)]
    pub ignore_paths: Vec<String>,
}

impl Follow {
    /// Tells whether a branch, tag or pull request is delivered.
    pub fn wants(&self, reference: &Reference) -> bool {
        let matching = |patterns: &[String], name| patterns.is_empty() || glob::any(patterns, name);
        match reference {
            Reference::Branch(name) => matching(&self.branches, name),
            Reference::Tag(name) => matching(&self.tags, name),
            Reference::PullRequest { into, .. } => {
                self.pull_requests && matching(&self.branches, into)
            }
            Reference::WorkingTree => true,
        }
    }

    /// Tells whether a push that changes these paths is delivered. When nobody knows what changed it
    /// is; so is one that changes nothing, where no change is asked for: whoever pushes it means it.
    pub fn touched_by(&self, changed: Option<&[String]>) -> bool {
        let asks_for_none = self.directory.is_empty() && self.paths.is_empty();
        changed.is_none_or(|changed| {
            let concerns = changed.iter().any(|path| self.concerns(path));
            concerns || (changed.is_empty() && asks_for_none)
        })
    }

    /// Tells whether a change of this path is something to deliver.
    fn concerns(&self, path: &str) -> bool {
        let within = self.directory.is_empty() || self.below(path).is_some();
        // A file that is asked for by name counts wherever it is: libraries are outside of the app.
        let wanted = if self.paths.is_empty() {
            within
        } else {
            glob::any(&self.paths, path)
        };
        wanted && !glob::any(&self.ignore_paths, path)
    }

    /// Returns changed paths as the app sees them: those within its directory, relative to it.
    pub fn relative(&self, changed: Vec<String>) -> Vec<String> {
        if self.directory.is_empty() {
            return changed;
        }
        let below = changed.iter().filter_map(|path| self.below(path));
        below.map(str::to_owned).collect()
    }

    fn below<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(&self.directory)?.strip_prefix('/')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    fn request(into: &str) -> Reference {
        Reference::PullRequest {
            number: 7,
            from: "feature".to_owned(),
            into: into.to_owned(),
            fork: false,
        }
    }

    #[test]
    fn patterns_choose_branches_tags_and_pull_requests() {
        let follow = Follow {
            branches: texts(&["main", "release/*"]),
            tags: texts(&["v*"]),
            ..Follow::default()
        };
        let branch = |name: &str| Reference::Branch(name.to_owned());
        let tag = |name: &str| Reference::Tag(name.to_owned());
        for (reference, wanted) in [
            (branch("main"), true),
            (branch("release/1"), true),
            (branch("release/1/2"), false),
            (branch("feature"), false),
            (tag("v1"), true),
            (tag("nightly"), false),
            (request("main"), false),
        ] {
            assert_eq!(follow.wants(&reference), wanted, "{reference:?}");
        }
        let requests = Follow {
            pull_requests: true,
            ..follow
        };
        assert!(requests.wants(&request("main")));
        assert!(!requests.wants(&request("feature")));
    }

    #[test]
    fn only_changes_that_concern_the_app_are_delivered() {
        let shop = Follow {
            directory: "apps/shop".to_owned(),
            ignore_paths: texts(&["**/*.md"]),
            ..Follow::default()
        };
        for (changed, delivered) in [
            (texts(&["apps/shop/web.py"]), true),
            (texts(&["apps/shop/README.md"]), false),
            (texts(&["apps/shop/README.md", "apps/shop/web.py"]), true),
            (texts(&["apps/shopping/web.py"]), false),
            (texts(&["apps/other/web.py"]), false),
            (texts(&[]), false),
        ] {
            assert_eq!(shop.touched_by(Some(&changed)), delivered, "{changed:?}");
        }
        assert!(shop.touched_by(None));
        assert!(Follow::default().touched_by(Some(&[])), "it is meant");
        let with_library = Follow {
            paths: texts(&["apps/shop/**", "lib/**"]),
            ..shop
        };
        assert!(with_library.touched_by(Some(&texts(&["lib/money.py"]))));
        assert!(!with_library.touched_by(Some(&texts(&["tools/x"]))));
    }

    prop_compose! {
        fn path()(parts in prop::collection::vec("[a-c]{1,2}", 1..5)) -> String { parts.join("/") }
    }

    proptest! {
        #[test]
        fn what_is_followed_without_conditions_is_all(paths in prop::collection::vec(path(), 1..6)) {
            prop_assert!(Follow::default().touched_by(Some(&paths)));
            prop_assert_eq!(Follow::default().relative(paths.clone()), paths);
        }

        #[test]
        fn a_further_change_never_makes_a_push_one_of_nothing(
            directory in path(),
            ignore in path(),
            paths in prop::collection::vec(path(), 0..6),
            further in path(),
        ) {
            let follow = Follow { directory, ignore_paths: vec![ignore], ..Follow::default() };
            let before = follow.touched_by(Some(&paths));
            let mut more = paths.clone();
            more.push(further);
            prop_assert!(!before || follow.touched_by(Some(&more)));
        }

        #[test]
        fn paths_as_the_app_sees_them_are_below_its_directory(
            directory in path(),
            paths in prop::collection::vec(path(), 0..6),
        ) {
            let follow = Follow { directory: directory.clone(), ..Follow::default() };
            let relative = follow.relative(paths.clone());
            for path in &relative {
                let whole = format!("{directory}/{path}");
                prop_assert!(paths.contains(&whole));
            }
            prop_assert_eq!(!relative.is_empty(), follow.touched_by(Some(&paths)));
        }
    }
}
