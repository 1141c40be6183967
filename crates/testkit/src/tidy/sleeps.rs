//! Tests do not sleep. Not for the code that they test, which may.
//!
//! A test that sleeps is slow on a good day and wrong on a bad one. Three kinds of sleep are let
//! through: in a loop (the wait between two looks at a condition), in a test on paused time, and one
//! with a comment `// sleep: why` in its line or in the three lines above it.

use super::Finding;
use super::source::{Source, line_of, words};
use super::tree::Tree;

/// Everything found: what breaks the rule, and what is excused from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sleeps {
    /// Sleeps that break the rule.
    pub broken: Vec<Finding>,
    /// Sleeps with their reason.
    pub excused: Vec<Finding>,
}

/// Finds the sleeps in test code: files of `tests/`, modules under `#[cfg(test)]`, testkit.
pub fn sleeps(tree: &Tree) -> Sleeps {
    let mut sleeps = Sleeps::default();
    for (path, text) in tree.with_extension("rs") {
        let source = Source::split(text);
        for at in calls(&source.code) {
            let blocks = enclosing_blocks(&source.code, at);
            let tests = is_test_file(path) || blocks.iter().any(|head| head.contains("cfg(test)"));
            if !tests
                || blocks
                    .iter()
                    .any(|head| is_loop(head) || is_on_paused_time(head))
            {
                continue;
            }
            let line = line_of(&source.code, at);
            match reason(&source.comments, line) {
                Some(why) => sleeps.excused.push(Finding::new(path, line, why)),
                None => sleeps.broken.push(Finding::new(path, line, MESSAGE)),
            }
        }
    }
    sleeps
}

const MESSAGE: &str = "a test does not sleep: use paused time, wait for a condition in a bounded \
                       loop, or say why in a comment `// sleep: ...` above";

/// Returns where a function named `sleep` or `sleep_until` is called. A method of that name is a
/// clock's, which a test has in its hand.
fn calls(code: &str) -> Vec<usize> {
    ["sleep(", "sleep_until("]
        .iter()
        .flat_map(|call| words(code, call))
        .filter(|&at| {
            let head = code.get(..at).unwrap_or_default().trim_end();
            !head.ends_with('.') && !head.ends_with("fn")
        })
        .collect()
}

/// Returns what stands before the brace of each block around the byte `at`, outermost first.
fn enclosing_blocks(code: &str, at: usize) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut head = String::new();
    for c in code.get(..at).unwrap_or_default().chars() {
        match c {
            '{' => blocks.push(std::mem::take(&mut head)),
            '}' => {
                blocks.pop();
                head.clear();
            }
            ';' => head.clear(),
            _ => head.push(c),
        }
    }
    blocks
}

fn is_loop(head: &str) -> bool {
    let has = |word| words(head, word).next().is_some();
    has("loop") || has("while") || (has("for") && has("in"))
}

fn is_on_paused_time(head: &str) -> bool {
    head.contains("start_paused = true")
}

fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.starts_with("crates/testkit/")
}

/// Returns the reason given in `line` or in the three lines above it.
fn reason(comments: &str, line: usize) -> Option<&str> {
    comments
        .lines()
        .skip(line.saturating_sub(4))
        .take(4.min(line))
        .find_map(|comment| comment.split_once("sleep:"))
        .map(|(_, why)| why.trim())
        .filter(|why| !why.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> Vec<usize> {
        let found = sleeps(&Tree::of(&[(path, text)]));
        found.broken.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_sleep_in_a_test_is_found() {
        let text = "//! x\nfn t() {\n    std::thread::sleep(D);\n}\n";
        assert_eq!(broken("crates/a/tests/it/b.rs", text), [3]);
        let text =
            "//! x\n#[cfg(test)]\nmod tests {\n    async fn t() { sleep_until(x).await }\n}\n";
        assert_eq!(broken("crates/a/src/b.rs", text), [4]);
    }

    #[test]
    fn the_code_under_test_may_sleep() {
        let text = "//! x\nasync fn f() { sleep(D).await }\n#[cfg(test)]\nmod tests {}\n";
        assert_eq!(broken("crates/a/src/b.rs", text), [0_usize; 0]);
    }

    #[test]
    fn a_poll_and_paused_time_are_let_through() {
        let poll = "fn t() {\n    for _ in 0..9 {\n        if ok() { return }\n        sleep(D);\n    }\n}";
        let labelled = "fn t() { 'poll: loop { sleep(D); } }";
        let paused = "#[tokio::test(start_paused = true)]\nasync fn t() { sleep(D).await }";
        let arm = "fn t() { match x { A => for _ in y { sleep(D) } } }";
        let clock = "fn t() { clock.sleep(D) }";
        for text in [poll, labelled, paused, arm, clock] {
            assert_eq!(
                broken("crates/a/tests/it/b.rs", text),
                [0_usize; 0],
                "{text}"
            );
        }
        let after = "fn t() { for x in y { ok() }\n sleep(D) }";
        assert_eq!(broken("crates/a/tests/it/b.rs", after), [2]);
        let of_a_trait = "impl A for B {\n async fn t() { sleep(D).await }\n}";
        assert_eq!(broken("crates/a/tests/it/b.rs", of_a_trait), [2]);
    }

    #[test]
    fn a_sleep_with_a_reason_is_listed() {
        let text = "fn t() {\n    // sleep: the slow backend of the test.\n    sleep(D);\n}\n";
        let found = sleeps(&Tree::of(&[("crates/a/tests/it/b.rs", text)]));
        assert_eq!(found.broken, []);
        assert_eq!(found.excused.len(), 1);
        let bare = "fn t() {\n    // sleep:\n    sleep(D);\n}\n";
        assert_eq!(broken("crates/a/tests/it/b.rs", bare), [3]);
    }
}
