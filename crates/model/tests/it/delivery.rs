//! The delivery file: what is accepted, what is refused and in which words.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use towpath_compose::source::Source;
use towpath_model::delivery::{
    Delivery, Engine, Step, Surroundings, dockerfile_of, needs_containers, scaffold, scaffold_with,
};
use towpath_model::id::{EnvironmentName, ServiceName};
use towpath_model::rollout::Strategy;
use towpath_model::workload::Command;

use crate::fixture::{Compose, delivery, refusal};

const FULL: &str = r#"
app: launches
rollout: { bake: 10m, drain: 15s }
environments:
  dev: { engine: process }
  production:
    engine: process
    compose: [compose.yaml, compose.production.yaml]
    env_files: [production.env]
    profiles: [metrics]
    variables: { HTTP_PORT: 8081, DEBUG: false, NAME: "x" }
    domains: { web: launches.example.com, admin: [a.example.com, "*.b.example.com"] }
    http_port: 8080
    scale: { web: 3 }
    rollout:
      strategy: canary
      steps: [5%, { weight: 25%, soak: 2m, pause: true }, 100%]
      soak: 30s
      surge: 2
      unavailable: 1
      progress_deadline: 20m
      bake: 1h30m
      drain: 30s
      drain_websockets: 5m
      start_failures: 5
      automatic_rollback: false
      pause_expiry: 12h
      abort_when: { error_rate: "> 1%", p99: "> 800ms", p99_ratio: "> 2", min_requests: 100 }
volumes:
  uploads: { shared: true }
services:
  web:
    process:
      build: cargo build --release
      command: [target/release/web, --quiet]
      environment: { RUST_LOG: info, WORKERS: 4 }
      working_directory: web
      user: 1000
      source: true
    health: { http: /healthz, interval: 2s, start_interval: 50ms, timeout: 1s, retries: 2, start_period: 10s }
    protocol: http
    listen: true
    port: 8000
    secrets: { API_KEY: api-key }
    policy: { connect_timeout: 1s, response_timeout: 500ms, idle_timeout: 1m, max_body: 10MiB, rate_limit: 100, sticky: true }
  migrate: { irreversible: true }
previews:
  from: production
  domain: "{service}-{name}.preview.example.com"
  limit: 3
  ttl: 3d
  scale: { web: 2 }
  seed: fill
  secrets_from: dev
  pull_requests: true
  forks: true
notify:
  ops:
    teams: { url: { secret: teams-webhook } }
    on: [deployment.failed, "run.*"]
    environments: [production]
    severity: critical
    template: "{{ title }}"
    group: 0
    repeat: 1h
  chat: { slack: { url: https://hooks.example.com/x } }
  mail:
    smtp: { host: mail.example.com, port: 2525, tls: implicit, username: u, password: { secret: p }, from: a@x.y, to: b@x.y }
  hook:
    webhook: { url: { secret: u }, headers: { X-Team: shop, Authorization: { secret: h } }, secret: { secret: key } }
"#;

#[test]
fn every_key_is_read() {
    let delivery = delivery(FULL).unwrap();
    let production = delivery
        .file
        .environment(&EnvironmentName::new("production").unwrap())
        .unwrap();
    assert_eq!(production.rollout.strategy, Some(Strategy::Canary));
    assert_eq!(
        production
            .rollout
            .steps
            .as_deref()
            .and_then(|steps| steps.get(1)),
        Some(&Step {
            weight: 2_500,
            soak: Some(Duration::from_mins(2)),
            pause: true
        })
    );
    assert_eq!(production.rollout.bake, Some(Duration::from_mins(90)));
    assert_eq!(
        production.rollout.abort_when.p99,
        Some(Duration::from_millis(800))
    );
    assert_eq!(production.variables["HTTP_PORT"], "8081");
    assert_eq!(production.variables["DEBUG"], "false");
    let web = &delivery.file.services[&ServiceName::new("web").unwrap()];
    assert_eq!(
        web.process.command,
        Some(Command::Exec(vec![
            "target/release/web".into(),
            "--quiet".into()
        ]))
    );
    assert_eq!(web.process.user.as_deref(), Some("1000"));
    assert_eq!(web.policy.max_body, Some(10 << 20));
    insta::assert_debug_snapshot!(delivery.file);
}

#[test]
fn places_are_those_of_the_values() {
    let delivery = delivery("app: shop\nenvironments:\n  dev:\n    scale: { web: 3 }\n").unwrap();
    let span = delivery
        .span(&["environments", "dev", "scale", "web"])
        .unwrap();
    assert_eq!(span.to_string(), "towpath.yaml:4:19");
    let above = delivery
        .span(&["environments", "dev", "domains", "web"])
        .unwrap();
    assert_eq!(above.start.line, 4);
    assert_eq!(delivery.span(&["services"]), None);
}

#[test]
fn an_app_without_a_file_has_one_environment() {
    for file in [
        Delivery::default(),
        delivery("").unwrap(),
        delivery("app: x\n").unwrap(),
    ] {
        let dev = EnvironmentName::new("dev").unwrap();
        assert_eq!(file.file.environment_names(), vec![dev.clone()]);
        assert!(file.file.environment(&dev).is_some());
        assert!(
            file.file
                .environment(&EnvironmentName::new("prod").unwrap())
                .is_none()
        );
    }
}

/// Each a file that is refused; the complaints are in the snapshot.
const REFUSED: &[(&str, &str)] = &[
    ("unknown key", "enviroments: {}\n"),
    ("unknown key without a near one", "whatever: 1\n"),
    (
        "unknown key in a service",
        "services:\n  web:\n    healht: { http: / }\n",
    ),
    (
        "unknown key deep down",
        "rollout: { abort_when: { eror_rate: \"> 1%\" } }\n",
    ),
    (
        "all complaints at once",
        "app: Shop\nrollout: { strategy: cannary, bake: 5 }\n",
    ),
    ("a later key at the top", "schedules: {}\n"),
    (
        "a target without a channel, and one with two",
        "notify:\n  ops: { on: [run.failed] }\n  both: { teams: { url: \"https://x\" }, slack: { url: \"https://x\" } }\n",
    ),
    (
        "what nobody is told, nowhere, in no words",
        "notify:\n  ops:\n    slack: { url: \"https://x\" }\n    on: [deployment.faild]\n    environments: [prod]\n    severity: warn\n",
    ),
    (
        "a template with a name that is none, and times that are too long",
        "notify:\n  ops:\n    slack: { url: \"https://x\" }\n    template: \"{{ tilte }}\"\n    group: 2h\n    repeat: 30d\n",
    ),
    (
        "addresses that are none",
        "notify:\n  ops: { teams: { url: \"ftp://x\" } }\n  hook: { webhook: { url: 5, headers: { Host: x } } }\n  chat: { slack: {} }\n",
    ),
    (
        "mail to nobody, with a password for everybody",
        "notify:\n  mail:\n    smtp: { host: x, port: 0, tls: none, username: u, password: { secret: p }, from: me, to: [] }\n",
    ),
    (
        "a password that is written down",
        "notify: { mail: { smtp: { host: x, username: u, password: hunter2, from: a@x.y, to: b@x.y } } }\n",
    ),
    (
        "a later key of an environment",
        "environments:\n  dev:\n    backups: {}\n",
    ),
    (
        "a job without a name and one of a name that is taken",
        "pipeline:\n  - { run: make }\n  - { name: unit, run: make, stepz: 1 }\n",
    ),
    (
        "a job with a command and steps, with neither, with bad steps, and with reports outside",
        "pipeline:\n  - { name: a, run: x, steps: [{ name: b, run: c }] }\n  - { name: b, steps: [] }\n  - name: c\n    steps:\n      - { name: d, run: x }\n      - { name: d, run: x }\n      - { name: \"e\\n\", run: x }\n    reports: [ok/*.xml, ../x]\n",
    ),
    (
        "steps that are none",
        "pipeline:\n  - name: a\n    steps: [make, { name: b }, { run: c }, { name: d, run: e, when: f }]\n  - { name: b }\n",
    ),
    (
        "caches without paths and with keys that are none",
        "pipeline:\n  - { name: b, run: x, cache: { files: [x.lock] } }\n  - { name: d, run: x, cache: { paths: deps, key: v1 } }\n  - { name: e, run: x, reuse: soon }\n",
    ),
    (
        "caches of nothing, from outside and of bad names, and results of what is not the job's own",
        "pipeline:\n  - { name: a, run: x, cache: [] }\n  - { name: c, run: x, cache: { paths: [../x, deps], files: [/etc/passwd], name: \"\" } }\n  - { name: e, run: x, after: dev, reuse: 1d }\n  - { name: f, run: x, reuse: 0s }\n",
    ),
    (
        "jobs that wait for one another and for nobody",
        "pipeline:\n  - { name: a, run: x, needs: [b] }\n  - { name: b, run: x, needs: [a, c], after: qa }\n",
    ),
    (
        "a matrix that is too large, and a variable that is none",
        "pipeline:\n  - { name: a, run: x, timeout: 0s, environment: { 1x: y }, matrix: { A: [1,2,3,4,5,6,7,8,9], B: [1,2,3,4,5,6,7,8,9] } }\n",
    ),
    (
        "environments that releases come to only from themselves",
        "environments:\n  dev: { deploy: { after: live } }\n  live: { deploy: { after: dev, branch: main } }\n",
    ),
    (
        "gates that cannot be",
        "environments:\n  dev:\n    deploy:\n      on: pushh\n      soak: 5m\n      approvals: { count: 0, groups: qa }\n      windows: [Mon 9-17]\n      freezes: [tomorrow]\n",
    ),
    (
        "approvals of a group that is not there",
        "environments: { dev: { deploy: { tag: v1, branch: main, approvals: { groups: [qa] } } } }\n",
    ),
    (
        "an environment with the name of a job's",
        "environments: { ci-7-1-1: {} }\n",
    ),
    (
        "a later engine",
        "environments: { dev: { engine: kubernetes } }\n",
    ),
    (
        "an engine that is none",
        "environments: { dev: { engine: proces } }\n",
    ),
    (
        "automatic scaling",
        "environments: { dev: { scale: { web: { min: 1 } } } }\n",
    ),
    ("a list for a mapping", "environments: [dev]\n"),
    (
        "a text for a number",
        "environments: { dev: { scale: { web: many } } }\n",
    ),
    (
        "a negative number",
        "environments: { dev: { scale: { web: -1 } } }\n",
    ),
    (
        "a number for a text",
        "services: { web: { process: { working_directory: 5 } } }\n",
    ),
    (
        "a number for a list",
        "environments: { dev: { compose: compose.yaml } }\n",
    ),
    (
        "a yes for a boolean",
        "volumes: { data: { shared: yes } }\n",
    ),
    ("a duration without a unit", "rollout: { drain: 30 }\n"),
    ("a duration that is a list", "rollout: { drain: [30s] }\n"),
    (
        "a bad name of an environment",
        "environments: { My_Env: {} }\n",
    ),
    (
        "a bad name of a secret",
        "services: { web: { secrets: { KEY: \"a b\" } } }\n",
    ),
    (
        "a bad name of a variable",
        "services: { web: { secrets: { 1KEY: key } } }\n",
    ),
    (
        "steps that do not grow",
        "rollout: { steps: [50%, 25%, 100%] }\n",
    ),
    ("steps that do not end", "rollout: { steps: [5%, 50%] }\n"),
    (
        "a step that is too large",
        "rollout: { steps: [5%, 150%] }\n",
    ),
    (
        "a step without a weight",
        "rollout: { steps: [{ soak: 1m }, 100%] }\n",
    ),
    (
        "a limit without a sign",
        "rollout: { abort_when: { error_rate: 1% } }\n",
    ),
    ("a rollout that cannot move", "rollout: { surge: 0 }\n"),
    (
        "a verdict without data",
        "rollout: { abort_when: { min_requests: 0 }, start_failures: 0, bake: 0s, pause_expiry: 0s }\n",
    ),
    (
        "a variable of the engine",
        "services: { web: { process: { environment: { PORT: 80 } }, secrets: { HOST: key } } }\n",
    ),
    (
        "two kinds of check",
        "services: { web: { health: { http: /, tcp: true } } }\n",
    ),
    (
        "a check without a path",
        "services: { web: { health: { http: healthz } } }\n",
    ),
    (
        "a check that is off",
        "services: { web: { health: { tcp: false } } }\n",
    ),
    (
        "a word for a check",
        "services: { web: { health: none } }\n",
    ),
    (
        "no time for a check",
        "services: { web: { health: { timeout: 0s, retries: 0 } } }\n",
    ),
    (
        "an empty command",
        "services: { web: { process: { command: \"\" } } }\n",
    ),
    (
        "a size without a unit that exists",
        "services: { web: { policy: { max_body: 10x } } }\n",
    ),
    (
        "a host name with a scheme",
        "environments: { dev: { domains: { web: \"http://x.y\" } } }\n",
    ),
    (
        "a service without host names",
        "environments: { dev: { domains: { web: [] } } }\n",
    ),
    ("the port 0", "environments: { dev: { http_port: 0 } }\n"),
    (
        "a port that is too large",
        "environments: { dev: { http_port: 80800 } }\n",
    ),
    (
        "a protocol that is none",
        "services: { web: { protocol: https } }\n",
    ),
    ("no YAML", "app: [\n"),
    ("a key twice", "app: a\napp: b\n"),
    ("a list at the top", "- app\n"),
];

#[test]
fn bad_files_are_refused_with_place_and_advice() {
    let table: Vec<String> = REFUSED
        .iter()
        .map(|(what, text)| format!("# {what}\n{}", refusal(delivery(text))))
        .collect();
    insta::assert_snapshot!(table.join("\n\n"));
}

#[test]
fn a_scaffold_is_a_delivery_file_that_fits_its_project() {
    let compose = Compose::new(crate::render::FLASK);
    let text = scaffold(&compose.project());
    insta::assert_snapshot!(text);
    assert_eq!(delivery(&text).map(|_| ()), Ok(()));
    let rendered = compose.render(&text, "dev").unwrap();
    assert_eq!(rendered.draft.services.len(), 4);
}

#[test]
fn a_scaffold_for_containers_leaves_services_as_compose_has_them() {
    let compose = Compose::new(crate::render::FLASK);
    let project = compose.project();
    assert!(!needs_containers(&project), "every service has a command");
    let surroundings = Surroundings {
        engine: Engine::Docker,
        ..Surroundings::default()
    };
    let text = scaffold_with(&project, &surroundings);
    insta::assert_snapshot!(text);
    assert_eq!(
        compose.render(&text, "dev").unwrap().draft.services.len(),
        4
    );
    let store = Compose::new("name: x\nservices: { db: { image: postgres } }\n");
    assert!(needs_containers(&store.project()));
}

#[test]
fn a_scaffold_takes_the_command_from_the_dockerfile() {
    let compose = Compose::new(
        "name: x\nservices:\n  web: { build: { context: web, dockerfile: Own }, ports: ['80:5000'] }\n",
    );
    let project = compose.project();
    let path = dockerfile_of(&project.services["web"]).unwrap();
    assert_eq!(path, "/app/web/Own");
    let text = "FROM python\nCMD [\"flask\", \"run\", \"--port=5000\"]\n".to_owned();
    let surroundings = Surroundings {
        dockerfiles: BTreeMap::from([(path, text)]),
        ..Surroundings::default()
    };
    let text = scaffold_with(&project, &surroundings);
    assert!(
        text.contains("command: \"exec flask run --port=$PORT\""),
        "{text}"
    );
    assert!(compose.render(&text, "dev").is_ok());
}

#[test]
fn a_scaffold_builds_with_what_lies_beside_the_program_and_with_make_only_when_nothing_else_does() {
    let compose = Compose::new("name: x\nservices:\n  web: { build: { context: web } }\n");
    let project = compose.project();
    for (beside, command) in [
        (&["Makefile", "Cargo.toml"][..], "cargo build --release"),
        (&["package.json", "Makefile"], "npm install"),
        (&["Makefile", "README.md"], "make"),
        (&["README.md"], "./build"),
    ] {
        let names = beside.iter().map(|name| (*name).to_owned()).collect();
        let surroundings = Surroundings {
            files: BTreeMap::from([("/app/web".to_owned(), names)]),
            ..Surroundings::default()
        };
        let text = scaffold_with(&project, &surroundings);
        assert!(text.contains(&format!("build: \"{command}\"")), "{text}");
    }
}

#[test]
fn a_scaffold_parses_whatever_the_names_are() {
    let compose = Compose::new(
        "name: 1_My.App_\nservices:\n  \"true\": { image: x, networks: {} }\n  \"1\": { build: { context: /app }, command: [\"a\\\"b\", 'c: d', \"#\"] }\nvolumes: { \"on\": {} }\n",
    );
    let text = scaffold(&compose.project());
    let read = delivery(&text).unwrap();
    assert_eq!(read.file.services.len(), 2, "{text}");
    assert!(read.file.volumes.contains_key("on"));
    assert!(delivery(&scaffold(&towpath_compose::Project::default())).is_ok());
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        let _unused = Delivery::parse(&Source::new("towpath.yaml", text));
    }

    #[test]
    fn no_change_of_a_good_file_makes_the_parser_panic(
        at in 0..FULL.len(), length in 0..12_usize, put in "[-:{}\\[\\]a-z0-9%>\"' \n&*!|]{0,6}"
    ) {
        let head: String = FULL.chars().take(at).collect();
        let tail: String = FULL.chars().skip(at + length).collect();
        let _unused = Delivery::parse(&Source::new("towpath.yaml", format!("{head}{put}{tail}")));
    }
}
