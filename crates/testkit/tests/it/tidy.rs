//! The tree keeps its own rules. What each rule is stands beside its check in `towpath_testkit::tidy`.

use std::path::Path;

use towpath_testkit::tidy::layering::{self, Graph};
use towpath_testkit::tidy::tree::Tree;
use towpath_testkit::tidy::{Finding, absence, deny, links, report, shape, sleeps};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn tree() -> Tree {
    let tree = Tree::read(root()).expect("the tests run in a Git work tree");
    assert!(
        tree.has("crates/testkit/tests/it/tidy.rs"),
        "not the repository of this test"
    );
    tree
}

#[track_caller]
fn assert_none(findings: Vec<Finding>) {
    assert!(findings.is_empty(), "\n{}\n", report(findings));
}

#[test]
fn crates_depend_only_on_what_their_layer_allows() {
    let graph = Graph::read(root()).expect("cargo metadata answers");
    assert!(
        graph.members.len() > 10,
        "not the whole workspace: {:?}",
        graph.members.keys()
    );
    assert!(
        graph.edges["sqlx"].contains("sqlx-core"),
        "not the resolved tree"
    );
    let checks = [
        layering::layers,
        layering::doors,
        layering::purity,
        layering::banned,
    ];
    assert_none(checks.iter().flat_map(|check| check(&graph)).collect());
}

#[test]
fn deny_toml_agrees_with_the_layering_table() {
    assert_none(deny::deny(&tree()));
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    assert_none(shape::lints(&tree()));
}

#[test]
fn model_has_no_clock_no_randomness_and_no_io() {
    assert_none(absence::absences(&tree()));
}

#[test]
fn every_rust_file_says_what_it_is() {
    assert_none(shape::module_docs(&tree()));
}

#[test]
fn no_rust_file_is_too_long() {
    let tree = tree();
    for (path, lines) in shape::long_files(&tree, shape::MANY_LINES) {
        println!("{lines:5} lines  {path}");
    }
    assert_none(shape::sizes(&tree));
}

#[test]
fn no_file_or_module_has_a_name_that_says_nothing() {
    assert_none(shape::names(&tree()));
}

#[test]
fn nothing_is_left_over() {
    assert_none(shape::left_overs(&tree()));
}

#[test]
fn tests_do_not_sleep() {
    let found = sleeps::sleeps(&tree());
    for excused in &found.excused {
        println!("excused: {excused}");
    }
    assert_none(found.broken);
}

#[test]
fn relative_links_of_the_docs_lead_somewhere() {
    assert_none(links::links(&tree()));
}
