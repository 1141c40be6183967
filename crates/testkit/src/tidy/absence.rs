//! What is absent from the source of model: clock, randomness, files, processes, sockets, the
//! environment. Not what it may depend on, which is [`super::layering`]'s.

use super::Finding;
use super::source::{Source, line_of, words};
use super::tree::Tree;

const PURE_SOURCE: &str = "crates/model/src/";

/// (words that may not stand in the code, what they would bring in)
const ABSENT: &[(&str, &str)] = &[
    ("Timestamp::now", "a clock: take `now` as an argument"),
    ("Zoned::now", "a clock: take `now` as an argument"),
    ("Instant::now", "a clock: take `now` as an argument"),
    ("SystemTime", "a clock: take `now` as an argument"),
    (
        "now_v7",
        "a clock and randomness: take the id as an argument",
    ),
    ("new_v4", "randomness: take the id as an argument"),
    (
        "RandomState",
        "randomness: use a map in the order of its keys",
    ),
    (
        "HashMap",
        "a random order: use a map in the order of its keys",
    ),
    (
        "HashSet",
        "a random order: use a set in the order of its keys",
    ),
    ("std::fs", "files"),
    ("std::env", "the environment"),
    ("std::process", "processes"),
    ("std::thread", "threads"),
    ("TcpStream", "sockets"),
    ("TcpListener", "sockets"),
    ("UdpSocket", "sockets"),
];

/// Model is a function of its arguments: the same values in, the same values out.
pub fn absences(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_extension("rs") {
        if !path.starts_with(PURE_SOURCE) {
            continue;
        }
        let code = Source::split(text).code;
        for &(word, brings) in ABSENT {
            findings.extend(words(&code, word).map(|at| {
                let message = format!("`{word}` would bring in {brings}; model has none");
                Finding::new(path, line_of(&code, at), message)
            }));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_and_a_random_order_in_model_are_found() {
        let text = "//! x\nuse std::collections::HashMap;\nfn f() { jiff::Timestamp::now() }\n";
        let tree = Tree::of(&[
            ("crates/model/src/a.rs", text),
            ("crates/store/src/a.rs", text),
            (
                "crates/model/src/b.rs",
                "//! HashMap\nfn f(at: Timestamp) {}\n",
            ),
        ]);
        let mut found = absences(&tree);
        found.sort();
        let places: Vec<_> = found.iter().map(|f| (f.path.as_str(), f.line)).collect();
        let file = "crates/model/src/a.rs";
        assert_eq!(places, [(file, 2), (file, 3)]);
    }
}
