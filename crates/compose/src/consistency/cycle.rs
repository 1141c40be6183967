//! Services that wait for themselves.

use std::collections::BTreeMap;

use super::Checked;
use crate::diagnostic::Diagnostic;

/// How far the search has come with a service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Done,
}

/// Finds a cycle of dependencies, in the order of names.
pub(super) fn find(checked: &Checked<'_>) -> Option<Diagnostic> {
    let mut states = BTreeMap::new();
    checked
        .project
        .services
        .keys()
        .find_map(|name| search(checked, name, &mut states))
}

/// Searches from one service on, with a stack of its own: chains can be long.
fn search<'p>(
    checked: &Checked<'p>,
    start: &'p str,
    states: &mut BTreeMap<&'p str, State>,
) -> Option<Diagnostic> {
    if states.contains_key(start) {
        return None;
    }
    let dependencies = |name: &str| -> Vec<&'p str> {
        checked
            .project
            .services
            .get(name)
            .map(|service| service.depends_on.keys().map(String::as_str).collect())
            .unwrap_or_default()
    };
    states.insert(start, State::Open);
    let mut path = vec![(start, dependencies(start).into_iter())];
    while let Some((name, rest)) = path.last_mut() {
        let name = *name;
        match rest.next() {
            None => {
                states.insert(name, State::Done);
                path.pop();
            }
            Some(next) => match states.get(next) {
                Some(State::Done) => {}
                Some(State::Open) => return Some(refuse(checked, &path, next)),
                None => {
                    states.insert(next, State::Open);
                    path.push((next, dependencies(next).into_iter()));
                }
            },
        }
    }
    None
}

type Step<'p> = (&'p str, std::vec::IntoIter<&'p str>);

fn refuse(checked: &Checked<'_>, path: &[Step<'_>], again: &str) -> Diagnostic {
    let names: Vec<&str> = path
        .iter()
        .map(|(name, _)| *name)
        .skip_while(|name| *name != again)
        .chain([again])
        .collect();
    let last = path.last().map_or(again, |(name, _)| *name);
    checked.error(
        "dependency-cycle",
        &format!("services.{last}.depends_on.{again}"),
        format!("services wait for one another: {}", names.join(" -> ")),
    )
}
