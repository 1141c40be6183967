//! `deny.toml` says the same of our crates as the layering table. Not what it says of others.

use std::collections::BTreeSet;

use super::Finding;
use super::layering;
use super::tree::Tree;

const FILE: &str = "deny.toml";

/// Stands in a list of users that is meant to be empty: cargo-deny takes an empty one for "banned".
const NOBODY: &str = "nobody";

/// Every crate of the table that not all may use has a line in `deny.toml` with the same users.
pub fn deny(tree: &Tree) -> Vec<Finding> {
    let text = tree.text(FILE).unwrap_or_default();
    let mut findings = Vec::new();
    for name in layering::restricted() {
        let start = format!("{{ name = \"{name}\", wrappers = ");
        let found = text
            .lines()
            .zip(1..)
            .find_map(|(line, number)| Some((line.split_once(&start)?.1, number)));
        let Some((list, number)) = found else {
            findings.push(Finding::new(FILE, 1, format!("{name} has no line")));
            continue;
        };
        let (listed, wanted) = (quoted(list), layering::users_of(name));
        if listed != wanted {
            let message = format!("users of {name}: {listed:?}, the layering table has {wanted:?}");
            findings.push(Finding::new(FILE, number, message));
        }
    }
    findings
}

fn quoted(list: &str) -> BTreeSet<&str> {
    let words = list.split('"').skip(1).step_by(2);
    words.filter(|&word| word != NOBODY).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_without_a_line_and_one_with_other_users_are_found() {
        let line = |name| {
            let users = layering::users_of(name).into_iter().collect::<Vec<_>>();
            format!("    {{ name = \"{name}\", wrappers = {users:?} }},\n")
        };
        let fine: String = layering::restricted().map(line).collect();
        assert_eq!(deny(&Tree::of(&[(FILE, &fine)])), []);
        let found = deny(&Tree::of(&[(
            FILE,
            &fine.replacen("\"towpath\"", "\"x\"", 1),
        )]));
        assert_eq!(found.len(), 1);
        assert_eq!(
            deny(&Tree::of(&[(FILE, "")])).len(),
            layering::restricted().count()
        );
    }
}
