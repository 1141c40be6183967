//! Who may depend on whom: the table of ARCHITECTURE.md as a check over `cargo metadata`. Not
//! licences and advisories, which are `deny.toml`'s.
//!
//! Dev-dependencies are free: a test may use what its crate may not.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use super::Finding;

/// The targets whose dependencies are looked at.
const TARGETS: &[&str] = &["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// Each crate of the workspace, and the crates of the workspace that it may use.
const LAYERS: &[(&str, &[&str])] = &[
    (COMPOSE, &[]),
    (LOAD, &[]),
    (LAUNCHES, &[]),
    (MODEL, &[COMPOSE]),
    (STORE, &[COMPOSE, MODEL]),
    (ENGINE, &[COMPOSE, MODEL]),
    (NOTIFY, &[COMPOSE, MODEL]),
    (ROUTER, &[COMPOSE, MODEL]),
    (PIPELINE, &[COMPOSE, MODEL]),
    (API, &[COMPOSE, MODEL]),
    (CONTROL, &[COMPOSE, MODEL, STORE]),
    (SERVER, &[MODEL, CONTROL, API]),
    (
        "towpath",
        &[
            COMPOSE, LOAD, LAUNCHES, MODEL, STORE, ENGINE, NOTIFY, ROUTER, PIPELINE, API, CONTROL,
            SERVER,
        ],
    ),
    (
        "towpath-testkit",
        &[
            COMPOSE, LOAD, LAUNCHES, MODEL, STORE, ENGINE, NOTIFY, ROUTER, PIPELINE, API, CONTROL,
            SERVER,
        ],
    ),
];

const COMPOSE: &str = "towpath-compose";
const LOAD: &str = "towpath-load";
const LAUNCHES: &str = "launches";
const MODEL: &str = "towpath-model";
const STORE: &str = "towpath-store";
const ENGINE: &str = "towpath-engine";
const NOTIFY: &str = "towpath-notify";
const ROUTER: &str = "towpath-router";
const PIPELINE: &str = "towpath-pipeline";
const API: &str = "towpath-api";
const CONTROL: &str = "towpath-control";
const SERVER: &str = "towpath-server";

/// Each outside world has one door: crates by the start of their name, and who may use them.
const DOORS: &[(&str, &str)] = &[
    ("sqlx", STORE),
    ("bollard", ENGINE),
    ("kube", ENGINE),
    ("k8s-openapi", ENGINE),
    ("aws-sdk-", ENGINE),
    ("aws-config", ENGINE),
    ("lettre", NOTIFY),
    ("hyper-rustls", NOTIFY),
    ("axum", SERVER),
    ("clap", "towpath"),
];

/// Crates that stay pure, all the way down.
const PURE: &[&str] = &[COMPOSE, MODEL];

/// What a pure crate never reaches: a runtime, the network, SQL.
const IMPURE: &[&str] = &[
    "axum", "hyper", "mio", "reqwest", "socket2", "sqlx", "tokio",
];

/// TLS is rustls on aws-lc-rs, once.
const BANNED: &[&str] = &["native-tls", "openssl", "openssl-sys", "ring"];

/// What the crates of the workspace declare, and what cargo resolved: normal and build dependencies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    /// For each crate of the workspace, the names of the crates that it declares.
    pub members: BTreeMap<String, BTreeSet<String>>,
    /// For each crate of the resolved tree, the names of the crates that it is built with.
    pub edges: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Asks cargo, for Linux, without changing `Cargo.lock`.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let mut options = vec!["--locked".to_owned()];
        for target in TARGETS {
            options.extend(["--filter-platform".to_owned(), (*target).to_owned()]);
        }
        let metadata = MetadataCommand::new()
            .current_dir(root)
            .other_options(options)
            .exec()
            .context("cannot read cargo metadata")?;
        Self::of(&metadata)
    }

    fn of(metadata: &Metadata) -> anyhow::Result<Self> {
        let members = metadata.workspace_packages().into_iter().map(declared);
        let resolve = metadata
            .resolve
            .as_ref()
            .context("cargo metadata has no resolved tree")?;
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in &resolve.nodes {
            let package = &metadata[&node.id];
            let features: Vec<&str> = node.features.iter().map(AsRef::as_ref).collect();
            let built_with = node
                .deps
                .iter()
                .filter(|edge| edge.dep_kinds.iter().any(|kind| counts(kind.kind)))
                .map(|edge| metadata[&edge.pkg].name.to_string())
                .filter(|name| is_built(package, &features, name));
            // Two versions of a crate are one node here: what either reaches, the name reaches.
            edges
                .entry(metadata[&node.id].name.to_string())
                .or_default()
                .extend(built_with);
        }
        Ok(Self {
            members: members.collect(),
            edges,
        })
    }

    /// Returns what `from` is built with, directly or not: each crate with the one that uses it.
    fn reached(&self, from: &str) -> BTreeMap<&str, &str> {
        let mut reached = BTreeMap::new();
        let mut open = vec![from];
        while let Some(next) = open.pop() {
            let Some((through, used)) = self.edges.get_key_value(next) else {
                continue;
            };
            for name in used {
                if let Entry::Vacant(entry) = reached.entry(name.as_str()) {
                    entry.insert(through.as_str());
                    open.push(name);
                }
            }
        }
        reached
    }
}

/// Returns the crates that not every other may use: all but compose, model and the binary.
pub(super) fn restricted() -> impl Iterator<Item = &'static str> {
    let open = [COMPOSE, MODEL, "towpath"];
    let names = LAYERS.iter().map(|&(name, _)| name);
    names.filter(move |name| !open.contains(name))
}

/// Returns the crates that may use `name`.
pub(super) fn users_of(name: &str) -> BTreeSet<&'static str> {
    let users = LAYERS.iter().filter(|(_, used)| used.contains(&name));
    users.map(|&(user, _)| user).collect()
}

/// Every crate uses only the crates of the workspace that the table allows.
pub fn layers(graph: &Graph) -> Vec<Finding> {
    let ours = |name: &String| graph.members.contains_key(name);
    let mut findings = Vec::new();
    for (member, used) in &graph.members {
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| name == member) else {
            let message = "not in the layering table; add it there and to deny.toml";
            findings.push(finding(member, message.to_owned()));
            continue;
        };
        let wrong = |name: &&String| ours(name) && !allowed.contains(&name.as_str());
        let message = |name| format!("may not use {name} (ARCHITECTURE.md, the layering table)");
        findings.extend(
            used.iter()
                .filter(wrong)
                .map(|name| finding(member, message(name))),
        );
    }
    findings
}

/// Every crate that opens the door to an outside world is the one that has it.
pub fn doors(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (member, used) in &graph.members {
        for &(prefix, door) in DOORS {
            let wrong = |name: &&String| name.starts_with(prefix) && member != door;
            let message = |name| format!("may not use {name}: only {door} does");
            findings.extend(
                used.iter()
                    .filter(wrong)
                    .map(|name| finding(member, message(name))),
            );
        }
    }
    findings
}

/// The pure crates reach no runtime, no network and no SQL, directly or not.
pub fn purity(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in PURE {
        let reached = graph.reached(member);
        findings.extend(IMPURE.iter().filter_map(|name| {
            let through = reached.get(name)?;
            Some(finding(member, format!("reaches {name} through {through}")))
        }));
    }
    findings
}

/// No second TLS library is built.
pub fn banned(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in graph.members.keys() {
        let reached = graph.reached(member);
        findings.extend(BANNED.iter().filter_map(|name| {
            let through = reached.get(name)?;
            let message = format!("reaches {name} through {through}; TLS is rustls on aws-lc-rs");
            Some(finding(member, message))
        }));
    }
    findings
}

fn declared(package: &Package) -> (String, BTreeSet<String>) {
    let used = package
        .dependencies
        .iter()
        .filter(|dependency| counts(dependency.kind))
        .map(|dependency| dependency.name.clone());
    (package.name.to_string(), used.collect())
}

/// Tells whether a package is built with another that it declares. Cargo lists an optional one also
/// when a feature only says what it is to be built with if it is there (`ring?/alloc`).
fn is_built(package: &Package, features: &[&str], name: &str) -> bool {
    let mut declared = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.name == name && counts(dependency.kind));
    declared.any(|dependency| {
        let key = dependency.rename.as_deref().unwrap_or(name);
        !dependency.optional || asks_for(package, features, key)
    })
}

/// Tells whether one of the features that are on asks for an optional dependency.
fn asks_for(package: &Package, features: &[&str], key: &str) -> bool {
    let on = features
        .iter()
        .filter_map(|feature| package.features.get(*feature));
    on.flatten().any(|wanted| {
        let of_it = wanted.strip_prefix(key);
        wanted.strip_prefix("dep:") == Some(key) || of_it.is_some_and(|rest| rest.starts_with('/'))
    })
}

fn counts(kind: DependencyKind) -> bool {
    matches!(kind, DependencyKind::Normal | DependencyKind::Build)
}

fn finding(member: &str, message: String) -> Finding {
    let directory = member.strip_prefix("towpath-").unwrap_or(member);
    let parent = if member == LAUNCHES {
        "examples"
    } else {
        "crates"
    };
    Finding::new(&format!("{parent}/{directory}/Cargo.toml"), 1, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines<'a> = &'a [(&'a str, &'a [&'a str])];

    fn map(lines: Lines<'_>) -> BTreeMap<String, BTreeSet<String>> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        lines
            .iter()
            .map(|&(name, names)| (name.to_owned(), owned(names)))
            .collect()
    }

    fn graph(members: Lines<'_>, edges: Lines<'_>) -> Graph {
        Graph {
            members: map(members),
            edges: map(edges),
        }
    }

    fn messages(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_crate_that_uses_one_above_it_is_found() {
        let members: Lines<'_> = &[
            (MODEL, &[COMPOSE, STORE, "serde"]),
            (STORE, &[MODEL]),
            (COMPOSE, &[]),
        ];
        let found = messages(&layers(&graph(members, &[])));
        let text = "crates/model/Cargo.toml:1: may not use towpath-store";
        assert!(found.len() == 1 && found[0].starts_with(text), "{found:?}");
    }

    #[test]
    fn testkit_is_nobodys_normal_dependency() {
        for (member, _) in LAYERS {
            let members: Lines<'_> = &[(member, &["towpath-testkit"]), ("towpath-testkit", &[])];
            let expected = usize::from(*member != "towpath-testkit");
            assert_eq!(layers(&graph(members, &[])).len(), expected, "{member}");
        }
    }

    #[test]
    fn a_crate_outside_the_table_is_found() {
        let found = layers(&graph(&[("towpath-extra", &[])], &[]));
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn a_second_door_is_found() {
        let members: Lines<'_> = &[
            (CONTROL, &["sqlx", "clap_complete"]),
            (STORE, &["sqlx"]),
            (ROUTER, &["aws-sdk-ecs"]),
        ];
        assert_eq!(doors(&graph(members, &[])).len(), 3);
    }

    #[test]
    fn a_pure_crate_that_reaches_a_runtime_is_found() {
        let edges: Lines<'_> = &[
            (MODEL, &["a"]),
            ("a", &["b", "a"]),
            ("b", &["tokio"]),
            (STORE, &["tokio"]),
        ];
        let found = messages(&purity(&graph(&[], edges)));
        assert_eq!(
            found,
            ["crates/model/Cargo.toml:1: reaches tokio through b"]
        );
    }

    #[test]
    fn a_second_tls_library_is_found() {
        let edges: Lines<'_> = &[("towpath", &["rcgen"]), ("rcgen", &["ring"])];
        let found = banned(&graph(&[("towpath", &["rcgen"])], edges));
        assert_eq!(found.len(), 1);
    }
}
