//! Previews out of files: what is refused, what a pull request begins, what a preview runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use towpath_model::container::MountSource;
use towpath_model::delivery::DeliveryFile;
use towpath_model::id::{Digest, EnvironmentName, SecretVersion, ServiceName};
use towpath_model::pipeline::plan::{Plan, plan};
use towpath_model::pipeline::{Push, Reference};
use towpath_model::preview::{Asked, Preview, Refusal, Terms, adapt, published_ports};
use towpath_model::release::Role;
use towpath_model::render::Draft;
use towpath_model::rollout::Strategy;

use crate::fixture::{Compose, delivery, refusal};

#[test]
fn what_cannot_be_a_preview_is_refused_with_its_place() {
    let two = "environments: { staging: { domains: { web: a.test, api: b.test } } }\n";
    for (text, place, words) in [
        (
            "previews: { from: stagin }",
            "1:19",
            "no environment `stagin`",
        ),
        (
            "previews: { secrets_from: x }",
            "1:27",
            "no environment `x`",
        ),
        (
            "previews: { domain: a b }",
            "1:21",
            "`a b` is not a host name",
        ),
        (
            "previews: { domain: p.test }",
            "1:21",
            "all previews would have",
        ),
        ("previews: { limit: 0 }", "1:20", "there can be no preview"),
        ("previews: { ttl: 0 }", "1:18", "over before it began"),
        ("previews: { ttl: 3 days }", "1:18", "is not a duration"),
        (
            "previews: { forks: true }",
            "1:20",
            "without `pull_requests: true`",
        ),
        ("previews: { limitt: 3 }", "1:13", "did you mean `limit`?"),
        (
            "previews: { backup: db }",
            "1:13",
            "data from a backup come with a later",
        ),
        (
            &format!("{two}previews: {{ domain: '{{name}}.p.test' }}"),
            "2:21",
            "api and web would have the same host name",
        ),
        (
            "previews: { pull_requests: true }\nenvironments: { pr-7: {} }",
            "2:23",
            "the name of a pull request's preview",
        ),
    ] {
        let refused = refusal(delivery(text));
        let place = format!("towpath.yaml:{place}: error:");
        assert!(refused.contains(&place), "{text}: {refused}");
        assert!(refused.contains(words), "{text}: {refused}");
    }
    let good = format!("{two}previews: {{ domain: '{{service}}-{{name}}.p.test' }}");
    delivery(&good).unwrap();
    delivery("environments: { pr-7: {} }").unwrap();
}

fn pushed(text: &str, fork: bool) -> Option<Plan> {
    let file: DeliveryFile = delivery(text).unwrap().file;
    let push = Push {
        app: "shop".parse().unwrap(),
        source: Digest::of(b"tree"),
        commit: "abc".to_owned(),
        reference: Reference::PullRequest {
            number: 7,
            from: "basket".to_owned(),
            into: "main".to_owned(),
            fork,
        },
        changed: None,
        author: "ada".to_owned(),
        message: String::new(),
        actor: "webhook".to_owned(),
    };
    plan(&file, &push)
}

#[test]
fn a_pull_request_begins_checks_and_its_preview_where_the_file_says_so() {
    let file = "
environments: { dev: { deploy: { branch: main } }, staging: { deploy: { after: dev } } }
pipeline: [{ name: unit, run: ./unit }, { name: browse, run: ./browse, after: staging }]
";
    let without = pushed(file, false).unwrap();
    assert_eq!((without.jobs.len(), without.targets.len()), (1, 0));

    let asked = format!("{file}previews: {{ pull_requests: true, from: staging, ttl: 2d }}");
    let plan = pushed(&asked, false).unwrap();
    let places = plan.jobs.iter().map(|job| job.after.as_ref());
    let places: Vec<_> = places
        .map(|name| name.map(EnvironmentName::as_str))
        .collect();
    // What looks at an environment looks at the preview that is like it.
    assert_eq!(places, [None, Some("pr-7")]);
    assert_eq!(plan.jobs[1].like.as_str(), "staging");
    let [target] = plan.targets.as_slice() else {
        panic!("{plan:?}")
    };
    assert_eq!(target.environment.as_str(), "pr-7");
    assert_eq!(target.rendered_as().as_str(), "staging");
    assert_eq!(plan.jobs[0].like.as_str(), "staging");
    let preview = target.preview.as_ref().unwrap();
    assert_eq!(preview.terms.ttl, Duration::from_hours(48));
    assert_eq!(preview.request.from, "basket");

    assert_eq!(pushed(&asked, true).unwrap().targets, []);
    let forks = file.to_owned() + "previews: { pull_requests: true, forks: true }";
    let of_fork = pushed(&forks, true).unwrap();
    let preview = of_fork.targets[0].preview.as_ref().unwrap();
    assert!(preview.request.is_fork);
    assert_eq!(preview.like.as_str(), "dev");
}

fn preview(terms: Option<Terms>) -> Preview {
    let asked = Asked {
        like: "staging".parse().unwrap(),
        ttl: None,
        secrets_from: None,
        request: None,
        actor: "ada".to_owned(),
    };
    Preview::new(asked, terms.unwrap_or_default(), Timestamp::UNIX_EPOCH)
}

/// Makes the preview `qa-42` of what `staging` is, with ports from 21 000 on.
fn previewed(compose: &str, file: &str) -> Result<Draft, Refusal> {
    let mut draft = Compose::new(compose).render(file, "staging").unwrap().draft;
    let own = |(index, port): (usize, u16)| (port, 21_000 + u16::try_from(index).unwrap());
    let ports: BTreeMap<u16, u16> = published_ports(&draft)
        .into_iter()
        .enumerate()
        .map(own)
        .collect();
    let preview = preview(draft.preview.clone());
    adapt(&mut draft, &"qa-42".parse().unwrap(), &preview, &ports)?;
    Ok(draft)
}

fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

const PROCESSES: &str = "
name: shop
services:
  web: { image: x, command: [serve], ports: ['127.0.0.1:8080:80'], volumes: [data:/data] }
  api: { image: x, command: [serve], ports: ['8081:80'] }
volumes: { data: {} }
";

#[test]
fn a_preview_has_ports_and_host_names_of_its_own_and_one_instance_of_each() {
    let environment = "
environments:
  staging:
    domains: { web: [Shop.example.com, '*.shop.example.com'] }
    scale: { api: 5 }
    rollout: { strategy: canary, bake: 10m }
";
    let draft = previewed(PROCESSES, environment).unwrap();
    let routes = |draft: &Draft, name: &str| {
        let routes = draft.services[&service(name)].routes.iter();
        let routes = routes.map(|route| (route.port, route.hosts.join(" ")));
        routes.collect::<Vec<_>>()
    };
    let hosts = "qa-42.shop.example.com *.qa-42.shop.example.com".to_owned();
    let none = String::new();
    assert_eq!(
        routes(&draft, "web"),
        [(21_000, none.clone()), (8080, hosts)]
    );
    assert_eq!(routes(&draft, "api"), [(21_001, none)]);
    assert_eq!(draft.services[&service("api")].replicas, 1);
    assert_eq!(draft.settings.strategy, Strategy::Rolling);
    assert_eq!(draft.settings.bake, Duration::ZERO);

    let said = "previews: { domain: '{name}.p.test', scale: { api: 2 } }\n";
    let draft = previewed(PROCESSES, &format!("{environment}{said}")).unwrap();
    let hosts = "qa-42.p.test *.qa-42.p.test".to_owned();
    assert_eq!(routes(&draft, "web")[1], (8080, hosts));
    assert_eq!(draft.services[&service("api")].replicas, 2);
}

#[test]
fn nothing_of_a_container_in_a_preview_is_that_of_another_environment() {
    let compose = "
name: shop
services:
  db:
    image: postgres
    ports: ['5432:5432']
    volumes: [data:/var/lib/postgresql/data, old:/old, nfs:/nfs, '/srv/shop:/srv', '/etc/motd:/motd:ro']
    networks: { inner: { ipv4_address: 10.9.0.7 }, outer: }
volumes:
  data: {}
  old: { external: true, name: shop_old }
  nfs: { driver_opts: { type: nfs, o: addr=10.0.0.1, device: ':/shop' } }
networks:
  inner: { ipam: { config: [{ subnet: 10.9.0.0/24 }] } }
  outer: { external: true, name: shared }
";
    let draft = previewed(compose, "environments: { staging: { engine: docker } }").unwrap();
    let db = &draft.services[&service("db")];
    let container = db.spec.container.as_deref().unwrap();
    for (name, volume) in &container.volumes {
        assert_eq!((&volume.external, &volume.driver), (&None, &None), "{name}");
        assert!(volume.driver_opts.is_empty(), "{name}");
    }
    for (name, join) in container.joins() {
        assert_eq!(join.address, None, "{name}");
        assert_eq!(join.network.external, None, "{name}");
        assert!(join.network.subnets.is_empty(), "{name}");
    }
    let written = |source: &MountSource| matches!(source, MountSource::Path { .. });
    let mounts = container.mounts.iter().filter(|one| written(&one.source));
    let mounts: BTreeSet<&str> = mounts.map(|mount| mount.target.as_str()).collect();
    assert_eq!(mounts, BTreeSet::from(["/motd"]));
    let ports: Vec<Option<u16>> = container.published.iter().map(|one| one.port).collect();
    assert_eq!(ports, [None], "any free one");

    let hosted = "services: { web: { image: x, network_mode: host } }\nname: shop\n";
    let refused = previewed(hosted, "environments: { staging: { engine: docker } }");
    assert_eq!(refused.unwrap_err(), Refusal::HostNetwork(service("web")));
}

#[test]
fn a_draft_of_a_rendering_makes_the_same_rendering() {
    let compose = "
name: shop
services:
  web:
    build: { context: ., secrets: [token] }
    secrets: [key]
    depends_on: { db: { condition: service_healthy, restart: true } }
  db: { image: postgres }
secrets: { key: { file: ./key }, token: { file: ./token } }
";
    let file = "environments: { staging: { engine: docker } }\npreviews: { limit: 3 }";
    let draft = Compose::new(compose).render(file, "staging").unwrap().draft;
    let versions = |version| {
        let secrets = draft.secrets().into_iter().cloned();
        secrets.map(|name| (name, SecretVersion(version))).collect()
    };
    let rendering = draft.pin(&versions(3)).unwrap();
    let again = Draft::of(&rendering);
    assert_eq!(again.secrets(), draft.secrets());
    assert_eq!(again.pin(&versions(3)).unwrap(), rendering);
    assert_ne!(again.pin(&versions(4)).unwrap(), rendering);
    assert_eq!(rendering.preview.map(|terms| terms.limit), Some(3));
}

#[test]
fn an_environment_behind_approvals_says_so_to_its_previews() {
    let terms = |file: &str| {
        let draft = Compose::new(PROCESSES)
            .render(file, "staging")
            .unwrap()
            .draft;
        draft.preview
    };
    assert_eq!(terms("environments: { staging: {} }"), None);
    let behind = "environments: { staging: { deploy: { on: push, approvals: 1 } } }";
    assert!(terms(behind).unwrap().is_guarded);
}

const SEEDED: &str = "
name: shop
services:
  web: { image: x, command: [serve], ports: ['8080:80'] }
  db: { image: postgres, ports: ['5432:5432'], volumes: [data:/var/lib/postgresql/data] }
  fill:
    image: x
    command: [fill, --all]
    profiles: [seed]
    environment: { DATABASE: 'db:5432' }
    depends_on: { db: { condition: service_healthy }, other: { condition: service_started, required: false } }
  other: { image: x, command: [x], profiles: [seed] }
volumes: { data: {} }
";

#[test]
fn a_seed_is_a_release_job_beside_the_services_and_none_of_them() {
    for engine in ["process", "docker"] {
        let file = format!(
            "environments: {{ staging: {{ engine: {engine} }} }}\n\
             services: {{ db: {{ process: {{ command: db }} }} }}\n\
             previews: {{ seed: fill }}"
        );
        let draft = Compose::new(SEEDED).render(&file, "staging").unwrap().draft;
        let names: Vec<&str> = draft.services.keys().map(ServiceName::as_str).collect();
        assert_eq!(names, ["db", "web"]);
        let seed = draft.seed.as_deref().unwrap();
        assert_eq!(seed.spec.service, service("fill"));
        let irreversible = false;
        assert_eq!(seed.role, Role::Job { irreversible });
        assert_eq!(seed.depends_on.len(), 1, "{:?}", seed.depends_on);
        assert!(!seed.spec.listens && seed.internal.is_none() && seed.routes.is_empty());
        let rendering = draft.pin(&BTreeMap::new()).unwrap();
        assert_eq!(Draft::of(&rendering), draft);
        let without = file.replace("previews: { seed: fill }", "");
        let without = Compose::new(SEEDED).render(&without, "staging").unwrap();
        assert_eq!(without.draft.services, draft.services);
    }
}

#[test]
fn a_seed_that_is_not_there_or_runs_anyway_is_refused_with_its_place() {
    let plain = "services: { db: { process: { command: db } } }\n";
    let refused = |file: &str| {
        let rendered = Compose::new(SEEDED).render(&format!("{file}{plain}"), "staging");
        refusal(rendered)
    };
    let found = refused("environments: { staging: {} }\npreviews: { seed: fil }\n");
    assert!(found.contains("towpath.yaml:2:19: error: "), "{found}");
    assert!(found.contains("did you mean `fill`?"), "{found}");
    let found = refused("environments: { staging: {} }\npreviews: { seed: web }\n");
    assert!(found.contains("`web` runs in `staging` anyway"), "{found}");
    let elsewhere = "environments: { dev: {}, staging: {} }\npreviews: { seed: web }\n";
    let rendered = Compose::new(SEEDED).render(&format!("{elsewhere}{plain}"), "staging");
    assert_eq!(rendered.unwrap().draft.seed, None);
}
