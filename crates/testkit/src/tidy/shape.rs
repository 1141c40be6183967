//! What each file must look like: a module doc, a size, a name, no left-overs. Not its layout,
//! which is rustfmt's.

use std::collections::BTreeSet;

use super::Finding;
use super::source::{Source, line_of, words};
use super::tree::{Tree, extension_of};

/// A file of more lines is split.
pub const MAX_LINES: usize = 800;

/// A file of more lines is talked about.
pub const MANY_LINES: usize = 500;

/// Names that say nothing about what is inside.
const BANNED_NAMES: &[&str] = &[
    "common", "helper", "helpers", "manager", "managers", "misc", "util", "utils",
];

const MARKERS: &[&str] = &["TODO", "FIXME", "XXX"];

const IGNORE: &str = "#[ignore";

/// (code that may not stand anywhere, what to do instead)
const LEFT_OVERS: &[(&str, &str)] = &[
    ("todo!", "write it"),
    (
        "unimplemented!",
        "write it, or make the case impossible by type",
    ),
    (
        IGNORE,
        "a test that does not run proves nothing: mend it or delete it",
    ),
];

/// Every Rust file opens with `//!`: what it is, and what it is not.
pub fn module_docs(tree: &Tree) -> Vec<Finding> {
    tree.with_extension("rs")
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| Finding::new(path, 1, "open the file with a `//!` line"))
        .collect()
}

/// No Rust file is longer than [`MAX_LINES`].
pub fn sizes(tree: &Tree) -> Vec<Finding> {
    long_files(tree, MAX_LINES)
        .map(|(path, lines)| {
            let message = format!("{lines} lines; split it, {MAX_LINES} is the most");
            Finding::new(path, 1, message)
        })
        .collect()
}

/// Returns the Rust files of more than `limit` lines, with their number of lines.
pub fn long_files(tree: &Tree, limit: usize) -> impl Iterator<Item = (&str, usize)> {
    tree.with_extension("rs")
        .map(|(path, text)| (path, text.lines().count()))
        .filter(move |&(_, lines)| lines > limit)
}

/// No module or file has a name that says nothing; no module lives in a `mod.rs`; a crate has one
/// test binary, `tests/it`.
pub fn names(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in tree.paths().filter(|path| extension_of(path) == Some("rs")) {
        let parts = || path.split(['/', '.']);
        if let Some(name) = parts().find(|part| BANNED_NAMES.contains(part)) {
            findings.push(Finding::new(path, 1, banned(name)));
        }
        if path.ends_with("/mod.rs") {
            findings.push(Finding::new(path, 1, "write `foo.rs` beside `foo/`"));
        }
        if is_extra_test_binary(path) {
            let message = "make it a module of the crate's one test binary, tests/it/main.rs";
            findings.push(Finding::new(path, 1, message));
        }
    }
    for (path, text) in tree.with_extension("rs") {
        let code = Source::split(text).code;
        for name in BANNED_NAMES {
            let declaration = format!("mod {name}");
            findings.extend(
                words(&code, &declaration)
                    .map(|at| Finding::new(path, line_of(&code, at), banned(name))),
            );
        }
    }
    findings
}

/// No marker for later, no macro that stands for missing code, no test that is switched off. A test
/// with a reason that its own file starts, as a process to be killed, is not switched off.
pub fn left_overs(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_extension("rs") {
        let source = Source::split(text);
        findings.extend(markers(path, &source.comments));
        let starts_ignored = text.contains("\"--ignored\"") && text.contains("#[ignore = ");
        for &(pattern, instead) in LEFT_OVERS {
            if pattern == IGNORE && starts_ignored {
                continue;
            }
            findings.extend(words(&source.code, pattern).map(|at| {
                let message = format!("`{pattern}` may not stand here: {instead}");
                Finding::new(path, line_of(&source.code, at), message)
            }));
        }
    }
    for (path, text) in tree.texts() {
        if !matches!(extension_of(path), Some("rs" | "md")) {
            findings.extend(markers(path, text));
        }
    }
    findings
}

/// Every crate takes the lints of the workspace. An example may write them out instead, all of them:
/// it has to build where it is copied to alone, and a workspace is not there.
pub fn lints(tree: &Tree) -> Vec<Finding> {
    let workspace = lint_lines(
        tree.text("Cargo.toml").unwrap_or_default(),
        "[workspace.lints.",
    );
    let check = |(path, text): (&str, &str)| {
        if text.contains("[lints]\nworkspace = true") {
            return None;
        }
        let own = lint_lines(text, "[lints.");
        if own.is_empty() || !path.starts_with("examples/") {
            return Some(Finding::new(
                path,
                1,
                "add `[lints]` with `workspace = true`",
            ));
        }
        let missing = workspace.difference(&own).next()?;
        let message = format!(
            "the lint `{}` of the workspace is not here: {}",
            missing.1, missing.0
        );
        Some(Finding::new(path, 1, message))
    };
    tree.with_extension("toml")
        .filter(|(path, _)| path.ends_with("/Cargo.toml"))
        .filter_map(check)
        .collect()
}

/// Returns the lines of the lint tables of a manifest, each with the name of its table.
fn lint_lines<'a>(manifest: &'a str, prefix: &str) -> BTreeSet<(&'a str, &'a str)> {
    let mut table = None;
    let mut found = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            table = line
                .strip_prefix(prefix)
                .and_then(|rest| rest.strip_suffix(']'));
        } else if let Some(table) = table
            && !line.is_empty()
            && !line.starts_with('#')
        {
            found.insert((table, line));
        }
    }
    found
}

fn markers<'a>(path: &'a str, text: &'a str) -> impl Iterator<Item = Finding> + 'a {
    MARKERS.iter().flat_map(move |marker| {
        words(text, marker).map(move |at| {
            let message = format!("`{marker}`: do it now, or open an issue and delete the line");
            Finding::new(path, line_of(text, at), message)
        })
    })
}

fn banned(name: &str) -> String {
    format!("`{name}` says nothing about what is inside: name the thing")
}

/// Tells whether cargo makes a test binary of `path` that is not `tests/it`.
fn is_extra_test_binary(path: &str) -> bool {
    let mut parts = path.split('/').skip_while(|&part| part != "tests");
    let (Some(_), Some(next), rest) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let in_src = path.split('/').any(|part| part == "src");
    !in_src && (rest.is_none() || (rest == Some("main.rs") && next != "it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(findings: &[Finding]) -> Vec<(&str, usize)> {
        findings.iter().map(|f| (f.path.as_str(), f.line)).collect()
    }

    #[test]
    fn a_file_without_a_module_doc_is_found() {
        let tree = Tree::of(&[("a.rs", "// x\n"), ("b.rs", "//! x\n")]);
        assert_eq!(lines(&module_docs(&tree)), [("a.rs", 1)]);
    }

    #[test]
    fn a_file_of_801_lines_is_found_and_one_of_800_is_not() {
        let (long, longest) = ("\n".repeat(MAX_LINES + 1), "\n".repeat(MAX_LINES));
        let tree = Tree::of(&[("a.rs", &long), ("b.rs", &longest)]);
        assert_eq!(lines(&sizes(&tree)), [("a.rs", 1)]);
        assert_eq!(long_files(&tree, MANY_LINES).count(), 2);
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        let tree = Tree::of(&[
            ("crates/a/src/utils.rs", "//! x"),
            ("crates/a/src/helpers/x.rs", "//! x"),
            (
                "crates/a/src/b.rs",
                "//! x\n\npub mod misc {}\nmod miscellany {}\n",
            ),
            ("crates/a/src/command.rs", "//! mod utils\n"),
        ]);
        assert_eq!(
            lines(&names(&tree)),
            [
                ("crates/a/src/helpers/x.rs", 1),
                ("crates/a/src/utils.rs", 1),
                ("crates/a/src/b.rs", 3),
            ]
        );
    }

    #[test]
    fn mod_rs_and_a_second_test_binary_are_found() {
        let tree = Tree::of(&[
            ("crates/a/src/b/mod.rs", ""),
            ("crates/a/tests/cli.rs", ""),
            ("crates/a/tests/e2e/main.rs", ""),
            ("crates/a/tests/it/main.rs", ""),
            ("crates/a/tests/it/cli.rs", ""),
            ("crates/a/src/b/tests/c.rs", ""),
        ]);
        assert_eq!(
            lines(&names(&tree)),
            [
                ("crates/a/src/b/mod.rs", 1),
                ("crates/a/tests/cli.rs", 1),
                ("crates/a/tests/e2e/main.rs", 1),
            ]
        );
    }

    #[test]
    fn left_overs_are_found_in_code_and_comments_but_not_in_strings() {
        let tree = Tree::of(&[
            ("a.rs", "//! x\nfn f() { todo!() }\n// TODO: y\n"),
            ("b.rs", "//! x\n#[ignore]\nfn f() { unimplemented!() }\n"),
            (
                "c.rs",
                "//! x\nconst X: &str = \"TODO todo!() #[ignore]\";\n",
            ),
            ("d.toml", "a = 1\n# FIXME\n"),
        ]);
        let mut found = left_overs(&tree);
        found.sort();
        assert_eq!(
            lines(&found),
            [
                ("a.rs", 2),
                ("a.rs", 3),
                ("b.rs", 2),
                ("b.rs", 3),
                ("d.toml", 2)
            ]
        );
    }

    #[test]
    fn an_ignored_test_that_its_file_starts_is_not_switched_off() {
        let child = "//! x\n#[ignore = \"a child\"]\nfn f() {}\n";
        let parent = "fn g() { start(\"--ignored\") }\n";
        assert_eq!(
            left_overs(&Tree::of(&[("a.rs", &format!("{child}{parent}"))])),
            []
        );
        assert_eq!(left_overs(&Tree::of(&[("a.rs", child)])).len(), 1);
    }

    #[test]
    fn a_crate_with_lints_of_its_own_is_found() {
        let tree = Tree::of(&[
            ("Cargo.toml", "[workspace]\n"),
            ("crates/a/Cargo.toml", "[lints]\nworkspace = true\n"),
            ("crates/b/Cargo.toml", "[package]\n"),
            (
                "crates/c/Cargo.toml",
                "[lints.rust]\nunsafe_code = \"deny\"\n",
            ),
        ]);
        let found = lints(&tree);
        assert_eq!(
            lines(&found),
            [("crates/b/Cargo.toml", 1), ("crates/c/Cargo.toml", 1)]
        );
    }

    #[test]
    fn an_example_may_write_out_all_lints_but_not_some() {
        let workspace =
            "[workspace.lints.rust]\na = \"deny\"\n[workspace.lints.clippy]\n# why\nb = \"warn\"\n";
        let all =
            "[lints.rust]\na = \"deny\"\n[lints.clippy]\nb = \"warn\"\n[dependencies]\nb = \"1\"\n";
        let weaker = all.replace("deny", "warn");
        let tree = Tree::of(&[
            ("Cargo.toml", workspace),
            ("examples/a/Cargo.toml", all),
            ("examples/b/Cargo.toml", &weaker),
            ("examples/c/Cargo.toml", "[package]\n"),
        ]);
        let found = lints(&tree);
        assert_eq!(
            lines(&found),
            [("examples/b/Cargo.toml", 1), ("examples/c/Cargo.toml", 1)]
        );
    }
}
