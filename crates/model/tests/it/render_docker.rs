//! From Compose project and delivery file to containers: what becomes of images, ports, mounts,
//! networks, health checks.

use std::net::IpAddr;

use towpath_model::container::{Container, Image, MountSource, NetworkMode, PullPolicy};
use towpath_model::exclusive::Exclusive;
use towpath_model::id::ServiceName;
use towpath_model::render::{Draft, DraftService};
use towpath_model::routing::Protocol;
use towpath_model::workload::{Command, Probe};

use crate::fixture::{Compose, lines, refusal};

/// A published port, what is spoken there, and the port inside.
type Served = (u16, Protocol, Option<u16>);

/// A web shop on one machine.
const SHOP: &str = r#"
name: shop
services:
  proxy:
    image: nginx:1.27
    ports: ["80:80", "443:443"]
    volumes: ["./nginx.conf:/etc/nginx/nginx.conf", "uploads:/srv/uploads:ro"]
    depends_on: { web: { condition: service_healthy } }
  web:
    build: { context: ./web, target: production, args: { VERSION: "1" } }
    image: example.com/shop/web
    container_name: shop-web
    environment: { DATABASE_URL: "postgres://shop@db:5432/shop", PRICE: "$${PORT}" }
    expose: ["8000"]
    healthcheck: { test: ["CMD-SHELL", "curl -f http://localhost:8000/healthz"], interval: 5s }
    volumes: ["uploads:/app/uploads"]
    secrets: [{ source: stripe, target: /etc/stripe.key, uid: "1000", mode: 0400 }]
    networks: { default: { aliases: [shop] } }
  worker:
    image: example.com/shop/web
    command: ["celery", "worker"]
    links: ["db:database"]
    volumes: ["uploads:/app/uploads"]
    tmpfs: ["/tmp:size=64m"]
    deploy: { replicas: 2 }
  migrate:
    image: example.com/shop/web
    command: migrate
    restart: "no"
  db:
    image: postgres:16
    ports: ["127.0.0.1:5432:5432"]
    volumes: ["data:/var/lib/postgresql/data", "./init:/docker-entrypoint-initdb.d"]
    shm_size: 256m
    stop_grace_period: 1m
  cache:
    image: redis:7
    ports: ["6379:6379"]
  dns:
    image: example.com/dns
    ports: ["5353:53/udp", "8053:80"]
  after:
    image: alpine
    depends_on: { migrate: { condition: service_completed_successfully } }
    network_mode: host
volumes: { data: {}, uploads: {} }
secrets: { stripe: { file: ./stripe.key } }
"#;

const DELIVERY: &str = "
environments: { production: { engine: docker, domains: { web: shop.example.com } } }
volumes: { uploads: { shared: true } }
";

fn shop() -> Compose {
    Compose::new(SHOP).with_tree(&[
        ("nginx.conf", "events {}"),
        ("init/schema.sql", "create table t ()"),
        ("web/Dockerfile", "FROM base"),
    ])
}

fn draft() -> Draft {
    shop().render(DELIVERY, "production").unwrap().draft
}

fn service<'d>(draft: &'d Draft, name: &str) -> &'d DraftService {
    &draft.services[&ServiceName::new(name).unwrap()]
}

fn container(service: &DraftService) -> &Container {
    service.spec.container.as_deref().unwrap()
}

/// Renders one service of a file with these attributes.
fn one(
    attributes: &str,
) -> Result<(DraftService, String), towpath_compose::diagnostic::Diagnostics> {
    let text = format!(
        "name: x\nservices:\n  web: {{ image: x, {attributes} }}\nvolumes: {{ data: {{}} }}\n"
    );
    let delivery = "environments: { dev: { engine: docker } }\n";
    let rendered = Compose::new(&text).render(delivery, "dev")?;
    let service = service(&rendered.draft, "web").clone();
    Ok((service, lines(&rendered.warnings)))
}

#[test]
fn a_shop_is_rendered_for_containers() {
    let rendered = shop().render(DELIVERY, "production").unwrap();
    insta::assert_json_snapshot!("shop_production", rendered.draft);
    insta::assert_snapshot!("shop_warnings", lines(&rendered.warnings));
}

#[test]
fn texts_are_given_to_a_container_as_they_are() {
    let draft = draft();
    let web = service(&draft, "web");
    assert_eq!(
        web.spec.environment["DATABASE_URL"],
        "postgres://shop@db:5432/shop"
    );
    assert_eq!(web.spec.environment["PRICE"], "${PORT}");
    assert_eq!(web.spec.command, Command::Exec(Vec::new()));
    let check = "curl -f http://localhost:8000/healthz".to_owned();
    assert_eq!(web.spec.health.probe, Probe::Command(Command::Shell(check)));
    assert_eq!(
        container(service(&draft, "migrate")).command,
        Some(vec!["migrate".to_owned()])
    );
}

#[test]
fn an_image_that_another_service_builds_is_that_one() {
    let draft = draft();
    let web = &container(service(&draft, "web")).image;
    assert!(matches!(web, Image::Built(build) if build.context == "web"
        && build.tags == ["example.com/shop/web"] && build.target.as_deref() == Some("production")));
    assert_eq!(&container(service(&draft, "worker")).image, web);
    let (always, _) = one("pull_policy: always").unwrap();
    assert_eq!(
        container(&always).image,
        Image::Pulled {
            reference: "x".to_owned(),
            policy: PullPolicy::Always
        }
    );
}

#[test]
fn the_router_serves_http_and_the_tcp_ports_of_those_that_may_be_there_twice() {
    let draft = draft();
    let routes = |name: &str| -> Vec<Served> {
        let routes = service(&draft, name).routes.iter();
        routes
            .map(|route| (route.port, route.protocol, route.target))
            .collect()
    };
    assert_eq!(
        routes("proxy"),
        [(80, Protocol::Http, None), (443, Protocol::Tcp, Some(443))]
    );
    assert_eq!(routes("web"), [(8080, Protocol::Http, None)]);
    assert_eq!(routes("cache"), [(6379, Protocol::Tcp, None)]);
    assert_eq!(routes("db"), []);
    assert_eq!(routes("dns"), [(8053, Protocol::Http, None)]);
    let published = |name: &str| container(service(&draft, name)).published.clone();
    let [db] = &published("db")[..] else { panic!() };
    let localhost: IpAddr = "127.0.0.1".parse().unwrap();
    assert_eq!(
        (db.host, db.port, db.target),
        (Some(localhost), Some(5432), 5432)
    );
    let [dns] = &published("dns")[..] else {
        panic!()
    };
    assert_eq!(
        (dns.port, dns.target, dns.protocol.as_str()),
        (Some(5353), 53, "udp")
    );
    assert!(published("cache").is_empty() && published("proxy").is_empty());
}

#[test]
fn what_only_one_instance_can_have_makes_a_service_exclusive_and_names_the_line() {
    let draft = draft();
    let why = |name: &str| {
        let service = service(&draft, name);
        (service.spec.exclusive(), service.exclusive_at.clone())
    };
    let (db, place) = why("db");
    assert_eq!(db, Some(Exclusive::Volume("data".to_owned())));
    assert!(
        place.unwrap().starts_with("compose.yaml:33:"),
        "the line of `volumes`"
    );
    let (dns, place) = why("dns");
    assert_eq!(
        dns.unwrap().to_string(),
        "has the port 5353/udp of the machine to itself"
    );
    assert!(
        place.unwrap().starts_with("compose.yaml:41:"),
        "the line of `ports`"
    );
    assert_eq!(why("after").0, Some(Exclusive::HostNetwork));
    for name in ["proxy", "web", "worker", "migrate", "cache"] {
        assert_eq!(why(name), (None, None), "{name}");
    }
    let (fixed, _) = one("networks: { default: { ipv4_address: 172.28.0.10 } }").unwrap();
    assert!(fixed.is_exclusive());
    let (data, _) =
        one("volumes: ['/srv/data:/data', '/var/run/docker.sock:/var/run/docker.sock']").unwrap();
    assert_eq!(
        data.spec.exclusive(),
        Some(Exclusive::Path("/srv/data".to_owned()))
    );
    let (socket, _) =
        one("volumes: ['/var/run/docker.sock:/var/run/docker.sock', '/srv:/srv:ro']").unwrap();
    assert_eq!(socket.spec.exclusive(), None);
    assert!(
        refusal(one("ports: ['53:53/udp'], scale: 2")).contains("never more than one instance")
    );
}

#[test]
fn the_release_has_its_own_copy_of_what_is_read_of_the_project() {
    let draft = draft();
    let mounts = |name: &str| container(service(&draft, name)).mounts.clone();
    let [conf] = &mounts("proxy")[..] else {
        panic!()
    };
    assert!(conf.read_only);
    assert!(
        matches!(&conf.source, MountSource::Source { path, content: Some(_) } if path == "nginx.conf")
    );
    let (written, warnings) = one("volumes: ['./data:/data']").unwrap();
    let source = &container(&written).mounts[0].source;
    assert!(matches!(source, MountSource::Path { path, .. } if path == "/app/data"));
    assert!(
        warnings.contains("the same for every release and environment"),
        "{warnings}"
    );
}

#[test]
fn a_change_elsewhere_in_the_tree_does_not_replace_a_service() {
    let workloads = |compose: Compose| {
        let draft = compose.render(DELIVERY, "production").unwrap().draft;
        ["proxy", "web", "db", "cache"].map(|name| service(&draft, name).spec.id())
    };
    let before = workloads(shop());
    assert_eq!(before, workloads(shop().with_tree(&[("README.md", "new")])));
    let after = workloads(shop().with_tree(&[("nginx.conf", "events { }")]));
    assert_ne!(before[0], after[0]);
    assert_eq!(before[1..], after[1..]);
    let after = workloads(shop().with_tree(&[("web/app.py", "print()")]));
    assert_ne!(before[1], after[1]);
    assert_eq!(before[2..], after[2..]);
}

#[test]
fn names_are_those_of_the_network() {
    let draft = draft();
    let aliases = |name: &str| match &container(service(&draft, name)).network {
        NetworkMode::Networks(joins) => joins["default"].aliases.clone(),
        NetworkMode::Host | NetworkMode::None => Vec::new(),
    };
    assert_eq!(aliases("web"), ["shop", "shop-web"]);
    assert_eq!(aliases("db"), ["database"]);
    let text = "environments: { dev: { engine: docker } }\n";
    let compose = "name: x\nservices:\n  a: { image: a, environment: { DB: '${DB_ADDR}' } }\n  db: { image: postgres }\n";
    let rendered = Compose::new(compose).render(text, "dev").unwrap();
    assert_eq!(
        service(&rendered.draft, "a").spec.environment["DB"],
        "db:5432"
    );
}

#[test]
fn an_image_may_know_how_to_tell_that_it_is_well() {
    let (unstated, _) = one("ports: ['8080:80']").unwrap();
    assert_eq!(unstated.spec.health.probe, Probe::Tcp);
    assert!(container(&unstated).image_health);
    let (stated, _) = one("healthcheck: { test: [CMD, ok] }").unwrap();
    assert!(!container(&stated).image_health);
    let (off, _) = one("healthcheck: { disable: true }").unwrap();
    assert_eq!(off.spec.health.probe, Probe::Running);
    assert!(!container(&off).image_health);
    assert_eq!(off.spec.stop_signal, "", "the image's own");
}

#[test]
fn what_the_engine_cannot_do_is_refused_with_its_place() {
    let refused = |attributes: &str| refusal(one(attributes));
    insta::assert_snapshot!(
        [
            "build: 'https://example.com/x.git'",
            "build: ../elsewhere",
            "build: { context: ., dockerfile: ../../Dockerfile }",
            "network_mode: 'container:other'",
            "ports: ['8000-8010:80']",
            "ports: ['53:53/udp', '0.0.0.0:53:54/udp']",
            "external_links: [other]",
            "secrets: [bad]",
        ]
        .map(refused)
        .join("\n\n")
    );
}

#[test]
fn what_is_shared_by_environments_is_warned_of() {
    let compose = "
name: x
services: { a: { image: a, volumes: ['own:/v', 'its:/w'], networks: [n, m] } }
volumes: { own: { name: mine }, its: { external: true, name: theirs } }
networks: { n: { name: own }, m: { ipam: { config: [{ subnet: 10.9.0.0/24 }] } } }
";
    let delivery = "environments: { dev: { engine: docker } }\n";
    let rendered = Compose::new(compose).render(delivery, "dev").unwrap();
    insta::assert_snapshot!(lines(&rendered.warnings));
}
