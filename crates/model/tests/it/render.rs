//! From Compose project and delivery file to a release: whole projects.

use std::collections::BTreeMap;
use std::path::Path;

use towpath_compose::{Files as _, LoadOptions, RealFiles};
use towpath_model::id::{
    Digest, EnvironmentName, SecretName, SecretVersion, ServiceName, WorkloadId,
};
use towpath_model::release::Role;
use towpath_model::render::{Draft, RenderInputs, SecretSource, load, render};
use towpath_model::routing::Protocol;

use crate::fixture::{Compose, delivery, lines};

/// A Python web app with a worker and stores, as `docker compose config` prints it.
pub(crate) const FLASK: &str = r#"
name: guestbook
services:
  web:
    build: { context: /app, dockerfile: Dockerfile }
    command: [gunicorn, "--bind=0.0.0.0:8000", app:app]
    depends_on:
      migrate: { condition: service_completed_successfully, required: true }
      redis: { condition: service_healthy, required: true }
    environment:
      CELERY_BROKER_URL: redis://redis:6379/0
      SENTRY_DSN:
    healthcheck:
      test: [CMD-SHELL, "curl -f http://localhost:8000/healthz || exit 1"]
      interval: 10s
    ports: [{ mode: ingress, target: 8000, published: "8080", protocol: tcp }]
    networks: { default: null }
    restart: unless-stopped
    secrets: [{ source: session-key, target: /run/secrets/session-key }]
    labels: { team: a }
    deploy:
      replicas: 2
      resources: { limits: { cpus: 0.5, memory: "268435456" } }
      placement: {}
      update_config: { parallelism: 2, order: start-first, failure_action: rollback, monitor: 30s }
  worker:
    build: { context: /app, dockerfile: Dockerfile }
    command: [celery, -A, tasks, worker]
    depends_on: { redis: { condition: service_started, required: true } }
    environment: { CELERY_BROKER_URL: redis://redis:6379/0 }
    networks: { default: null }
    stop_signal: INT
    stop_grace_period: 1m0s
    labels: { team: a }
  migrate:
    build: { context: /app, dockerfile: Dockerfile }
    command: [flask, db, upgrade]
    networks: { default: null }
  redis:
    image: redis:7-alpine
    command: [redis-server, --appendonly, "yes"]
    healthcheck: { test: [CMD, redis-cli, ping], interval: 5s, timeout: 3s, retries: 5 }
    networks: { default: null }
    volumes: [{ type: volume, source: data, target: /data, volume: {} }]
networks: { default: { name: guestbook_default, ipam: {} } }
volumes: { data: { name: guestbook_data } }
secrets: { session-key: { name: guestbook_session-key, file: /app/session.key } }
"#;

const FLASK_DELIVERY: &str = r#"
app: guestbook
environments:
  dev: {}
  production:
    domains: { web: guestbook.example.com }
    http_port: 8081
    scale: { web: 3 }
    rollout: { strategy: canary, steps: [10%, 100%], soak: 20s }
services:
  web:
    process: { build: "pip install -r requirements.txt", command: "exec gunicorn -b $HOST:$PORT app:app" }
    secrets: { STRIPE_KEY: stripe-key }
  redis:
    process: { command: "exec redis-server --bind $HOST --port $PORT" }
  migrate: { irreversible: true }
"#;

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

fn pinned(draft: &Draft, version: u32) -> towpath_model::release::Rendering {
    let versions: BTreeMap<SecretName, SecretVersion> = draft
        .secrets()
        .into_iter()
        .map(|name| (name.clone(), SecretVersion(version)))
        .collect();
    draft.pin(&versions).unwrap()
}

#[test]
fn a_python_app_is_rendered_for_processes() {
    let compose = Compose::new(FLASK);
    let rendered = compose.render(FLASK_DELIVERY, "production").unwrap();
    insta::assert_json_snapshot!("flask_production", rendered.draft);
    insta::assert_snapshot!("flask_warnings", lines(&rendered.warnings));
}

#[test]
fn a_draft_survives_the_way_to_the_server() {
    let draft = Compose::new(FLASK)
        .render(FLASK_DELIVERY, "dev")
        .unwrap()
        .draft;
    let json = serde_json::to_string(&draft).unwrap();
    assert_eq!(serde_json::from_str::<Draft>(&json).unwrap(), draft);
}

#[test]
fn secrets_have_to_have_a_value_before_a_release_is_made() {
    let draft = Compose::new(FLASK)
        .render(FLASK_DELIVERY, "dev")
        .unwrap()
        .draft;
    let key = SecretName::new("session-key").unwrap();
    assert_eq!(
        draft.secret_sources,
        BTreeMap::from([(
            key.clone(),
            SecretSource::File("/app/session.key".to_owned())
        )])
    );
    let missing = draft
        .pin(&BTreeMap::from([(key, SecretVersion(1))]))
        .unwrap_err();
    assert_eq!(
        missing.to_string(),
        "secrets without a value: `stripe-key` (read by web)"
    );
}

fn workloads(rendering: &towpath_model::release::Rendering) -> BTreeMap<&str, &WorkloadId> {
    let services = rendering.services.iter();
    services
        .map(|(name, service)| (name.as_str(), &service.workload))
        .collect()
}

#[test]
fn only_what_an_instance_is_changes_its_workload() {
    let compose = Compose::new(FLASK);
    let dev = pinned(&compose.render(FLASK_DELIVERY, "dev").unwrap().draft, 1);
    let production = pinned(
        &compose.render(FLASK_DELIVERY, "production").unwrap().draft,
        1,
    );
    assert_eq!(
        workloads(&dev),
        workloads(&production),
        "replicas and routes are not in it"
    );
    let rotated = pinned(&compose.render(FLASK_DELIVERY, "dev").unwrap().draft, 2);
    assert_ne!(workloads(&dev)["web"], workloads(&rotated)["web"]);
    assert_eq!(workloads(&dev)["worker"], workloads(&rotated)["worker"]);
    let source = compose.render_source(FLASK_DELIVERY, "dev", b"other source");
    let changed = pinned(&source.unwrap().draft, 1);
    assert_ne!(workloads(&dev)["web"], workloads(&changed)["web"]);
    assert_eq!(
        workloads(&dev)["redis"],
        workloads(&changed)["redis"],
        "a store is not replaced because the source changed"
    );
}

#[test]
fn the_example_app_is_rendered_without_a_complaint() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/launches");
    let text = RealFiles.read(&directory.join("towpath.yaml")).unwrap();
    let delivery = delivery(&String::from_utf8(text).unwrap()).unwrap();
    let environment = EnvironmentName::new("production").unwrap();
    let options = LoadOptions {
        working_directory: directory,
        ..LoadOptions::default()
    };
    let loaded = load(&delivery, &environment, options, &RealFiles).unwrap();
    let rendered = render(&RenderInputs {
        loaded: &loaded,
        delivery: &delivery,
        environment: &environment,
        source: Some(Digest::of(b"source")),
        tree: &BTreeMap::new(),
        files: &BTreeMap::new(),
    })
    .unwrap();
    assert_eq!(lines(&rendered.warnings), "");
    let services = &rendered.draft.services;
    let (web, store) = (&services[&service("web")], &services[&service("store")]);
    assert!(matches!(
        services[&service("migrate")].role,
        Role::Job { .. }
    ));
    assert!(!web.routes.is_empty());
    assert_eq!(web.internal, Some(Protocol::Http));
    assert_eq!(
        web.spec.environment["RAFFLE_KEY_FILE"],
        "${SECRETS_DIR}/raffle_key"
    );
    assert!(store.is_exclusive());
    assert!(store.spec.listens && !services[&service("worker")].spec.listens);
    let sources: Vec<&SecretName> = rendered.draft.secret_sources.keys().collect();
    assert_eq!(
        sources,
        rendered.draft.secrets().into_iter().collect::<Vec<_>>()
    );
}
