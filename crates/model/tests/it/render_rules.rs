//! Single rules of the rendering: what is translated, warned of and refused.

use towpath_model::id::ServiceName;
use towpath_model::render::wanted_files;
use towpath_model::workload::Probe;

use crate::fixture::{Compose, lines, refusal};

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

/// Renders one service, described by its attributes, in `dev`.
fn one(
    attributes: &str,
    delivery: &str,
) -> Result<towpath_model::render::Rendered, towpath_compose::Diagnostics> {
    let is_made = attributes.contains("image:") || attributes.contains("build:");
    let image = if is_made { "" } else { "    image: x\n" };
    let text = format!("name: x\nservices:\n  web:\n{image}{attributes}");
    Compose::new(&text).render(delivery, "dev")
}

fn one_service(attributes: &str, delivery: &str) -> towpath_model::render::DraftService {
    let rendered = one(attributes, delivery).unwrap();
    rendered.draft.services[&service("web")].clone()
}

/// Each a service and a delivery file that cannot be rendered; the complaints are in the snapshot.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "an image without a command",
        "    image: ghcr.io/me/web\n",
        "",
    ),
    (
        "a build without a command",
        "    build: { context: /app }\n",
        "",
    ),
    (
        "options for an image",
        "    image: postgres\n    command: [-c, max_connections=9]\n",
        "",
    ),
    (
        "privileges",
        "    command: [x]\n    privileged: true\n    cap_add: [NET_ADMIN]\n",
        "",
    ),
    (
        "no network",
        "    command: [x]\n    network_mode: none\n",
        "",
    ),
    (
        "data on the host",
        "    command: [x]\n    volumes:\n      - { type: bind, source: /srv/data, target: /data }\n",
        "",
    ),
    (
        "data in the tree",
        "    command: [x]\n    volumes:\n      - { type: bind, source: /app/data, target: /data }\n",
        "",
    ),
    (
        "a datagram port",
        "    command: [x]\n    ports: [{ target: 53, published: '53', protocol: udp }]\n",
        "",
    ),
    (
        "two ports",
        "    command: [x]\n    ports: [{ target: 80, published: '8080' }, { target: 81, published: '8081' }]\n",
        "",
    ),
    (
        "two writers",
        "    command: [x]\n    volumes: [{ type: volume, source: data, target: /data }]\nvolumes: { data: {} }\n",
        "environments: { dev: { scale: { web: 2 } } }",
    ),
    (
        "a host name for a worker",
        "    command: [x]\n",
        "environments: { dev: { domains: { web: x.example.com } } }\nservices: { web: { listen: false } }",
    ),
    (
        "a host name for a store",
        "    image: redis\n    command: [redis-server]\n",
        "environments: { dev: { domains: { web: x.example.com } } }",
    ),
    (
        "a check of a port that is not there",
        "    command: [x]\n",
        "services: { web: { listen: false, health: { http: / } } }",
    ),
    (
        "what is no job",
        "    command: [x]\n",
        "services: { web: { irreversible: true } }",
    ),
    (
        "unknown names",
        "    command: [x]\n",
        "environments: { dev: { scale: { wbe: 2 }, domains: { api: a.b } } }\nservices: { wep: {} }\nvolumes: { data: {} }",
    ),
    (
        "a signal that is none",
        "    command: [x]\n    stop_signal: SIGSTOPP\n",
        "",
    ),
    (
        "a secret elsewhere",
        "    command: [x]\n    secrets: [{ source: key, target: /etc/key }]\nsecrets: { key: { file: key } }\n",
        "",
    ),
];

#[test]
fn what_cannot_run_is_refused_with_place_and_advice() {
    let table: Vec<String> = REFUSED
        .iter()
        .map(|(what, attributes, delivery)| {
            format!("# {what}\n{}", refusal(one(attributes, delivery)))
        })
        .collect();
    insta::assert_snapshot!("refused", table.join("\n\n"));
}

#[test]
fn services_cannot_share_a_port_or_a_host_name() {
    let compose = Compose::new(
        "name: x\nservices:\n  a: { image: x, command: [x], ports: [{ target: 80, published: '8080' }] }\n  b:\n    image: x\n    command: [x]\n    ports: [{ target: 80, published: '8080', host_ip: 127.0.0.1 }]\n",
    );
    let complaint = refusal(compose.render("", "dev"));
    assert!(
        complaint.starts_with("compose.yaml:7:5: error: `b` and `a` both publish the port 8080"),
        "{complaint}"
    );
    let compose = Compose::new(
        "name: x\nservices: { a: { image: x, command: [x] }, b: { image: x, command: [x] } }\n",
    );
    let domains = "environments: { dev: { domains: { a: x.example.com, b: [y.example.com, X.example.com] } } }";
    let complaint = refusal(compose.render(domains, "dev"));
    assert!(
        complaint.contains("`b` and `a` both have the host name `x.example.com`"),
        "{complaint}"
    );
}

#[test]
fn host_names_and_a_published_port_share_the_listener() {
    let service = one_service(
        "    command: [x]\n    ports: [{ target: 80, published: '8080' }]\n",
        "environments: { dev: { domains: { web: x.example.com } } }",
    );
    let ports: Vec<(u16, usize)> = service
        .routes
        .iter()
        .map(|route| (route.port, route.hosts.len()))
        .collect();
    assert_eq!(ports, [(8080, 0), (8080, 1)]);
}

#[test]
fn a_shared_volume_may_have_many_writers() {
    let service = one_service(
        "    command: [x]\n    volumes: [{ type: volume, source: data, target: /data }]\nvolumes: { data: {} }\n",
        "environments: { dev: { scale: { web: 2 } } }\nvolumes: { data: { shared: true } }",
    );
    assert_eq!(service.replicas, 2);
    assert!(!service.is_exclusive());
}

#[test]
fn the_delivery_file_wins_over_compose_and_the_default() {
    let attributes = "    image: redis\n    command: [redis-server]\n    healthcheck: { test: [CMD, redis-cli, ping], interval: 7s }\n";
    assert_eq!(one_service(attributes, "").spec.health.probe, Probe::Tcp);
    let service = one_service(
        attributes,
        "services: { web: { health: { command: ./check } } }",
    );
    assert!(matches!(service.spec.health.probe, Probe::Command(_)));
    assert_eq!(service.spec.health.interval.as_secs(), 7);
    let service = one_service(
        attributes,
        "services: { web: { health: { none: true, interval: 1s } } }",
    );
    assert_eq!(service.spec.health.probe, Probe::Running);
    assert_eq!(service.spec.health.interval.as_secs(), 1);
}

#[test]
fn a_service_without_a_port_does_not_listen() {
    let service = one_service("    command: [worker]\n", "");
    assert!(!service.spec.listens);
    assert_eq!(service.internal, None);
    assert_eq!(service.spec.health.probe, Probe::Running);
}

#[test]
fn configs_carry_their_content() {
    let service = one_service(
        "    command: [x]\n    configs: [{ source: motd, target: /etc/motd }, { source: inline }]\nconfigs: { motd: { file: /app/motd.txt }, inline: { content: abc } }\n",
        "",
    );
    let contents: Vec<(&str, &str)> = service
        .spec
        .configs
        .iter()
        .map(|config| (config.target.as_str(), config.content.as_str()))
        .collect();
    assert_eq!(contents, [("/etc/motd", "hello"), ("/inline", "abc")]);
}

#[test]
fn stop_first_of_every_service_is_the_rollouts() {
    let rendered = one(
        "    command: [x]\n    deploy: { update_config: { parallelism: 3, order: stop-first, failure_action: pause } }\n",
        "",
    )
    .unwrap();
    let settings = rendered.draft.settings;
    assert_eq!((settings.surge, settings.unavailable), (0, 3));
    assert!(!settings.automatic_rollback);
    let overruled = one(
        "    command: [x]\n    deploy: { update_config: { order: stop-first } }\n",
        "rollout: { surge: 2, unavailable: 0 }",
    );
    let settings = overruled.unwrap().draft.settings;
    assert_eq!((settings.surge, settings.unavailable), (2, 0));
}

#[test]
fn an_unknown_environment_is_refused_with_those_there_are() {
    let complaint = refusal(
        Compose::new("name: x\nservices: { a: { image: x } }\n")
            .render("environments: { dev: {}, prod: {} }", "staging"),
    );
    assert!(
        complaint.contains("the delivery file has: dev, prod"),
        "{complaint}"
    );
}

#[test]
fn what_was_written_for_a_container_works_for_a_process() {
    let compose = Compose::new(
        "name: x\nservices:\n  db: { image: 'postgres:16', command: [postgres] }\n  web:\n    build: .\n    command: [python, /app/manage.py, serve, '0.0.0.0:8000', --uploads=/data/up, --config, /etc/web.toml]\n    working_dir: /app/site\n    environment:\n      DATABASE_URL: postgres://u:p@db:5432/x\n      DATABASE_HOST: db\n      CACHE_HOST: db\n      CACHE_PORT: '5432'\n      PYTHONPATH: /app:/app/lib\n      STORE: sqlite:////data/x.db\n      KEY: /run/secrets/key\n      OTHER: /database\n    healthcheck: { test: [CMD-SHELL, 'curl -s http://localhost:8000/up | grep ok'] }\n    ports: [{ target: 8000, published: '8000' }]\n    configs: [{ source: web, target: /etc/web.toml }]\n    secrets: [{ source: key }]\n    volumes:\n      - { type: bind, source: /app, target: /app }\n      - { type: volume, source: my-data, target: /data }\nconfigs: { web: { content: x } }\nsecrets: { key: { environment: KEY } }\nvolumes: { my-data: {} }\n",
    );
    let rendered = compose.render("", "dev").unwrap();
    let spec = &rendered.draft.services[&service("web")].spec;
    insta::assert_json_snapshot!("translated", spec);
    insta::assert_snapshot!("translated_warnings", lines(&rendered.warnings));
}

#[test]
fn the_files_of_configs_are_wanted() {
    let compose = Compose::new(
        "name: x\nservices: { web: { image: x, command: [x], configs: [{ source: motd }] } }\nconfigs: { motd: { file: /app/motd.txt }, other: { file: /app/other.txt } }\n",
    );
    let wanted: Vec<String> = wanted_files(&compose.project()).into_iter().collect();
    assert_eq!(wanted, ["/app/motd.txt"]);
}

#[test]
fn settings_of_a_service_without_an_active_profile_are_no_mistake() {
    let compose = Compose::new(
        "name: x\nservices:\n  web: { image: x, command: [x] }\n  debug: { image: x, command: [x], profiles: [tools] }\n",
    );
    let delivery = "environments:\n  dev: {}\n  tools: { profiles: [tools], scale: { debug: 2 } }\nservices: { debug: { listen: false } }\n";
    assert_eq!(
        compose
            .render(delivery, "dev")
            .unwrap()
            .draft
            .services
            .len(),
        1
    );
    let tools = compose.render(delivery, "tools").unwrap();
    assert_eq!(tools.draft.services[&service("debug")].replicas, 2);
    let complaint =
        refusal(compose.render("environments: { dev: { scale: { debug: 2 } } }", "dev"));
    assert_eq!(
        complaint,
        "towpath.yaml:1:40: error: no active profile enables the service `debug`\n  write `profiles: [tools]` for the environment `dev`"
    );
}

#[test]
fn an_environment_has_its_own_variables_and_the_addresses_of_services() {
    let compose = Compose::new(
        "name: x\nservices:\n  db: { image: redis, command: [redis-server] }\n  web:\n    image: x\n    command: [x]\n    ports: ['${HTTP_PORT:-80}:80']\n    environment: { DB: 'redis://${DB_ADDR:-db:6379}/1', OTHER: '${OTHER:-none}' }\n",
    );
    let delivery = "environments: { dev: { variables: { HTTP_PORT: 8081, OTHER: some } } }";
    let rendered = compose.render(delivery, "dev").unwrap();
    let web = &rendered.draft.services[&service("web")];
    assert_eq!(web.routes[0].port, 8081);
    assert_eq!(web.spec.environment["DB"], "redis://${DB_ADDR}/1");
    assert_eq!(web.spec.environment["OTHER"], "some");
}

#[test]
fn what_is_not_honoured_is_warned_of() {
    let rendered = one(
        "    command: [x]\n    container_name: the-web\n    tty: true\n    read_only: true\n    volumes: [{ type: volume, target: /tmp/x }, { type: tmpfs, target: /run }, { type: bind, source: /etc/localtime, target: /etc/localtime, read_only: true }, { type: bind, source: /run/x.sock, target: /run/x.sock }]\n    ports: [{ target: 80 }]\n    secrets: [{ source: key, mode: 0400 }]\n    deploy: { resources: { reservations: { memory: 1M } }, update_config: { delay: 5s, failure_action: continue, max_failure_ratio: 0.5 } }\nsecrets: { key: { file: key } }\n",
        "",
    );
    insta::assert_snapshot!("warnings", lines(&rendered.unwrap().warnings));
}
