//! From `build` of a Compose file to a recipe: secrets, agents, caches, and what is refused.

use std::collections::BTreeMap;

use towpath_compose::diagnostic::Diagnostics;
use towpath_model::container::{BuildSecret, Image, ImageBuild, NamedContext};
use towpath_model::id::{SecretName, SecretVersion, ServiceName};
use towpath_model::render::{Draft, SecretSource};

use crate::fixture::{Compose, lines, refusal};

/// Renders a service that is built with these attributes.
fn build(attributes: &str) -> Result<(Draft, String), Diagnostics> {
    let text = format!(
        "name: x\nservices:\n  web: {{ build: {{ context: ., {attributes} }} }}\nsecrets: {{ npm: {{ file: ./npm }}, key: {{ environment: KEY }} }}\n"
    );
    let delivery = "environments: { dev: { engine: docker } }\n";
    let rendered = Compose::new(&text)
        .with_tree(&[("Dockerfile", "FROM base")])
        .render(delivery, "dev")?;
    Ok((rendered.draft, lines(&rendered.warnings)))
}

fn recipe(image: &Image) -> &ImageBuild {
    match image {
        Image::Built(recipe) => recipe,
        Image::Pulled { .. } => panic!("{image:?}"),
    }
}

fn web() -> ServiceName {
    ServiceName::new("web").unwrap()
}

fn npm() -> SecretName {
    SecretName::new("npm").unwrap()
}

#[test]
fn a_build_has_its_secrets_in_the_versions_that_are_pinned() {
    let (draft, _) = build("secrets: [npm, { source: npm, target: token }]").unwrap();
    let source = SecretSource::File("/app/npm".to_owned());
    assert_eq!(draft.secret_sources, BTreeMap::from([(npm(), source)]));
    let missing = draft.pin(&BTreeMap::new()).unwrap_err();
    assert!(missing.to_string().contains("`npm` (read by web)"));
    let pin = |version| {
        let versions = BTreeMap::from([(npm(), SecretVersion(version))]);
        draft.pin(&versions).unwrap()
    };
    let first = pin(1);
    let service = &first.services[&web()];
    assert!(service.spec.secrets.is_empty(), "the container has none");
    assert_eq!(first.secrets, BTreeMap::from([(npm(), SecretVersion(1))]));
    let expected = ["npm", "token"].map(|id| BuildSecret {
        id: id.to_owned(),
        secret: npm(),
        version: Some(SecretVersion(1)),
    });
    let image = &service.spec.container.as_ref().unwrap().image;
    assert_eq!(recipe(image).secrets, expected);
    // What is built with another value is another workload.
    assert_ne!(pin(2).services[&web()].workload, service.workload);
    assert_eq!(pin(1).services[&web()].workload, service.workload);
}

#[test]
fn what_a_build_needs_besides_is_in_its_recipe() {
    let (draft, warnings) = build(
        "ssh: [default], ulimits: { nofile: 1024, nproc: { soft: 1, hard: -1 } }, \
         cache_from: ['alpine', 'type=registry,ref=example.com/x:c', 'type=local,src=/c'], \
         secrets: [{ source: key, mode: 0400 }]",
    )
    .unwrap();
    let container = draft.services[&web()].spec.container.as_ref().unwrap();
    let recipe = recipe(&container.image);
    assert_eq!(recipe.agents, ["default"]);
    assert_eq!(recipe.cache_from, ["alpine", "example.com/x:c"]);
    let limits = [("nofile", (1024, 1024)), ("nproc", (1, u64::MAX))];
    let limits = limits.map(|(name, limit)| (name.to_owned(), limit));
    assert_eq!(recipe.ulimits, BTreeMap::from(limits));
    insta::assert_snapshot!(warnings);
}

#[test]
fn contexts_with_names_are_directories_of_the_tree_and_images() {
    let rendered = |text: &str| {
        let tree = [
            ("Dockerfile", "FROM base"),
            ("web/a", "x"),
            ("assets/b", text),
        ];
        let compose = "name: x\nservices:\n  web: { build: { context: web, dockerfile: ../Dockerfile, \
            additional_contexts: { files: ./assets, base: 'docker-image://alpine:3' } } }\n";
        let delivery = "environments: { dev: { engine: docker } }\n";
        let rendered = Compose::new(compose)
            .with_tree(&tree)
            .render(delivery, "dev");
        let draft = rendered.unwrap().draft;
        let container = draft.services[&web()].spec.container.clone().unwrap();
        recipe(&container.image).clone()
    };
    let first = rendered("1");
    let expected = [
        ("base", NamedContext::Image("alpine:3".to_owned())),
        ("files", NamedContext::Directory("assets".to_owned())),
    ];
    let expected = expected.map(|(name, what)| (name.to_owned(), what));
    assert_eq!(first.contexts, BTreeMap::from(expected));
    // What is copied from is part of what is built.
    assert_ne!(rendered("2").content, first.content);
    assert_eq!(rendered("1").content, first.content);
}

#[test]
fn a_context_with_a_name_that_cannot_be_given_is_refused_with_its_place() {
    for (attributes, said) in [
        ("additional_contexts: { Files: ./assets }", "`Files`"),
        (
            "additional_contexts: { a: 'https://example.com/x.git' }",
            "docker-image://",
        ),
        ("additional_contexts: { a: '../../elsewhere' }", "outside"),
        ("additional_contexts: { a: ./assets }, pull: true", "`pull`"),
    ] {
        let refused = refusal(build(attributes));
        assert!(refused.contains(said), "{attributes}: {refused}");
        assert!(refused.starts_with("compose.yaml:3:"), "{refused}");
    }
}

#[test]
fn what_a_build_cannot_have_is_refused_with_its_place() {
    let refused = |attributes: &str| refusal(build(attributes));
    insta::assert_snapshot!(
        [
            "ssh: ['default=/home/me/.ssh/id']",
            "network: backend",
            "privileged: true",
            "entitlements: [security.insecure]",
            "secrets: [other]",
        ]
        .map(refused)
        .join("\n\n")
    );
}
