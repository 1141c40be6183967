//! Ways through a tree of nodes by path. Not what is done at its places.

use crate::diagnostic::Diagnostics;
use crate::yaml::{Node, Value};

/// Where one is in a tree: the keys from the root on, `[]` within a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Path(Vec<String>);

impl Path {
    /// Starts at a place.
    pub(crate) fn of(keys: &[&str]) -> Self {
        Self(keys.iter().map(|&key| key.to_owned()).collect())
    }

    /// Goes to what is under `key`, does something there and comes back.
    pub(crate) fn within<T>(&mut self, key: &str, run: impl FnOnce(&mut Self) -> T) -> T {
        self.0.push(key.to_owned());
        let result = run(self);
        self.0.pop();
        result
    }

    /// Says whether this is a place of `pattern`: keys between dots, `*` for any key or item. What
    /// holds for services holds for jobs.
    pub(crate) fn matches(&self, pattern: &str) -> bool {
        let mut wanted = pattern.split('.');
        let all = self.0.iter().enumerate().all(|(at, key)| {
            wanted.next().is_some_and(|want| {
                want == "*" || want == key || (at == 0 && want == "services" && key == "jobs")
            })
        });
        all && wanted.next().is_none()
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// Whether to go on beneath a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walk {
    /// Into its children.
    Into,
    /// Past it.
    Past,
}

/// What is done with each node.
pub(crate) type Visit<'v> = dyn FnMut(&Path, &mut Node) -> Result<Walk, Diagnostics> + 'v;

/// Visits a node, then what is beneath it.
pub(crate) fn walk(
    node: &mut Node,
    path: &mut Path,
    visit: &mut Visit<'_>,
) -> Result<(), Diagnostics> {
    if visit(path, node)? == Walk::Past {
        return Ok(());
    }
    match &mut node.value {
        Value::Map(map) => map.iter_mut().try_for_each(|(key, entry)| {
            path.within(key, |path| walk(&mut entry.node, path, visit))
        }),
        Value::List(list) => list
            .iter_mut()
            .try_for_each(|item| path.within("[]", |path| walk(item, path, visit))),
        _ => Ok(()),
    }
}

/// Goes through what a map has under `section`, such as the services of a project.
pub(crate) fn each<'n>(
    root: &'n mut Node,
    section: &str,
) -> impl Iterator<Item = (&'n String, &'n mut Node)> {
    root.as_map_mut()
        .and_then(|map| map.get_mut(section))
        .and_then(|entry| entry.node.as_map_mut())
        .into_iter()
        .flatten()
        .map(|(name, entry)| (name, &mut entry.node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_paths() {
        let path = Path::of(&["services", "web.a", "ports", "[]"]);
        assert!(path.matches("services.*.ports.*"));
        assert!(!path.matches("services.*.ports"));
        assert!(!path.matches("services.*.ports.*.target"));
        assert!(Path::of(&["jobs", "a", "image"]).matches("services.*.image"));
        assert!(!Path::of(&["volumes", "a"]).matches("services.*"));
    }
}
