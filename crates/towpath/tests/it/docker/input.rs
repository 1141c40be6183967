//! What cannot be deployed on Docker, as a table: each is named with its service and its reason, ends
//! with its exit code, and leaves what serves untouched.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};

use serde_json::{Value, json};

use super::app::{App, IMAGE};
use crate::chaos::wait_for_more_requests;
use crate::site::{Site, assert_none_lost};

/// What is done to the Compose file.
type Change = Box<dyn Fn(&mut Value)>;

/// A mistake, and what is said of it.
struct Case {
    rule: &'static str,
    change: Change,
    code: i32,
    said: Vec<String>,
}

/// Makes a case of a change to the service `web`.
fn web(rule: &'static str, code: i32, said: &[&str], changes: Value) -> Case {
    let change = move |file: &mut Value| {
        for (name, value) in changes.as_object().unwrap() {
            file["services"]["web"][name] = value.clone();
        }
    };
    Case {
        rule,
        change: Box::new(change),
        code,
        said: said.iter().map(|words| (*words).to_owned()).collect(),
    }
}

/// Makes a case of a further service.
fn beside(rule: &'static str, code: i32, said: &[&str], service: Value, more: Value) -> Case {
    let change = move |file: &mut Value| {
        let mut service = service.clone();
        service["image"] = json!(IMAGE);
        service["pull_policy"] = json!("never");
        if service.get("command").is_none() {
            service["command"] = json!(["sleep", "1000000"]);
        }
        service["stop_signal"] = json!("SIGKILL");
        file["services"]["beside"] = service;
        for (name, value) in more.as_object().unwrap() {
            for (inner, value) in value.as_object().unwrap() {
                file[name][inner] = value.clone();
            }
        }
    };
    Case {
        rule,
        change: Box::new(change),
        code,
        said: said.iter().map(|words| (*words).to_owned()).collect(),
    }
}

/// Answers as a registry that knows nobody, and that has only what is asked for with `missing`.
fn registry() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut head = [0; 4096];
            let length = stream.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let (status, header, body) = if head.contains("/missing/") {
                let body = "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"manifest unknown\"}]}";
                ("404 Not Found", "", body)
            } else if head.contains("/v2/ ") && !head.contains("/v2/private") {
                ("200 OK", "", "{}")
            } else {
                let body = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"requested access to the resource is denied\"}]}";
                ("403 Forbidden", "", body)
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{header}Docker-Distribution-Api-Version: registry/2.0\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            drop(stream.write_all(answer.as_bytes()));
        }
    };
    // It ends with the process.
    drop(std::thread::spawn(serve));
    address
}

/// Those that have to do with images.
fn images(registry: &str) -> Vec<Case> {
    let denied = format!("{registry}/private/app:1");
    let missing = format!("{registry}/missing/app:1");
    let build = |dockerfile: &str| {
        json!({
            "image": "kinput-built", "pull_policy": "build",
            "build": { "context": ".", "dockerfile_inline": format!("FROM {IMAGE}\n{dockerfile}\n") },
        })
    };
    vec![
        web(
            "an image that may not be pulled and is not there is named",
            1,
            &["`web`", "towpath-test/nobody:1", "pull_policy: never"],
            json!({ "image": "towpath-test/nobody:1" }),
        ),
        web(
            "an image that the registry does not have is named",
            1,
            &["`web`", &missing, "manifest unknown"],
            json!({ "image": missing.clone(), "pull_policy": "missing" }),
        ),
        web(
            "a registry that refuses is named, and what to do",
            1,
            &["`web`", &denied, "denied", "docker login"],
            json!({ "image": denied.clone(), "pull_policy": "missing" }),
        ),
        web(
            "a build that fails says what its step wrote",
            1,
            &["`web`", "code: 7", "the reason of it"],
            build("RUN echo the reason of it; exit 7"),
        ),
        web(
            "a Dockerfile that says nonsense is quoted",
            1,
            &["`web`", "NONSENSE"],
            build("NONSENSE here"),
        ),
        web(
            "a file that a Dockerfile copies and that is not there is named",
            1,
            &["`web`", "nothing-here"],
            build("COPY nothing-here /"),
        ),
        web(
            "a Dockerfile that is not there is named",
            2,
            &["compose.yaml:", "web.Dockerfile"],
            json!({
                "image": "kinput-built", "pull_policy": "build",
                "build": { "context": ".", "dockerfile": "web.Dockerfile" },
            }),
        ),
        web(
            "a stage that a Dockerfile does not have is named",
            1,
            &["`web`", "no-such-stage"],
            json!({
                "image": "kinput-built", "pull_policy": "build",
                "build": { "context": ".", "dockerfile_inline": format!("FROM {IMAGE}\n"), "target": "no-such-stage" },
            }),
        ),
    ]
}

/// Those that have to do with how an instance runs.
fn instances() -> Vec<Case> {
    vec![
        web(
            "an instance that never becomes well is named with what its check met and what it wrote",
            1,
            &["`web`", "/healthz", "404", "I am ill"],
            json!({
                "environment": { "VERSION": "never" },
                "command": ["sh", "-c", "echo I am ill; exec sh /serve web"],
            }),
        ),
        web(
            "one that ends at once is named with its code and its last lines",
            1,
            &["`web`", "code 3", "no configuration"],
            json!({ "command": ["sh", "-c", "echo no configuration >&2; exit 3"] }),
        ),
        web(
            "a program that is not in the image is named",
            1,
            &["`web`", "/no/such/program"],
            json!({ "entrypoint": ["/no/such/program"] }),
        ),
        web(
            "a user that the image does not know is named",
            1,
            &["`web`", "nobody-of-the-name"],
            json!({ "user": "nobody-of-the-name" }),
        ),
        web(
            "a limit of memory that is too low is named when it was met",
            1,
            &["`web`", "memory", "16 MiB"],
            json!({
                "command": ["sh", "-c", "x=aaaaaaaaaaaaaaaa; while :; do x=$$x$$x; done"],
                "mem_limit": "16m", "memswap_limit": "16m",
            }),
        ),
        web(
            "a limit of memory that Docker does not take is quoted",
            1,
            &["`web`", "memory limit"],
            json!({ "mem_limit": "1m" }),
        ),
        web(
            "a path of the machine that is not there is named",
            1,
            &["`web`", "/no/such/path"],
            json!({ "volumes": [
                { "type": "bind", "source": "/no/such/path", "target": "/x", "read_only": true, "bind": { "create_host_path": false } },
            ] }),
        ),
    ]
}

/// Those that have to do with what is on the machine already.
fn machine(udp: u16, tcp: u16) -> Vec<Case> {
    vec![
        beside(
            "a port that another program has is named",
            1,
            &["`beside`", &udp.to_string(), "in use"],
            json!({ "ports": [format!("{udp}:53/udp")] }),
            json!({}),
        ),
        web(
            "a port of the router that another program has is named",
            2,
            &[&tcp.to_string(), "in use by another program"],
            json!({ "ports": [format!("127.0.0.1:{tcp}:8080")] }),
        ),
        beside(
            "an external volume that is not there is named, and how to make it",
            1,
            &["`beside`", "kinput-no-volume", "docker volume create"],
            json!({ "volumes": ["other:/other"] }),
            json!({ "volumes": { "other": { "external": true, "name": "kinput-no-volume" } } }),
        ),
        beside(
            "a volume that is somebody else's is named, and what to do",
            1,
            &["`beside`", "kinput-production_taken", "external"],
            json!({ "volumes": ["taken:/taken"] }),
            json!({ "volumes": { "taken": {} } }),
        ),
        beside(
            "a volume that cannot be mounted is named",
            1,
            &["`beside`", "/no/such/device"],
            json!({ "volumes": ["device:/device"] }),
            json!({ "volumes": { "device": { "driver_opts": { "type": "ext4", "device": "/no/such/device" } } } }),
        ),
        beside(
            "an external network that is not there is named, and how to make it",
            1,
            &["`beside`", "kinput-no-network", "docker network create"],
            json!({ "networks": ["other"] }),
            json!({ "networks": { "other": { "external": true, "name": "kinput-no-network" } } }),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_cannot_be_deployed_is_named_and_leaves_what_serves_as_it_is() {
    let app = App::new("kinput").await;
    app.docker
        .run(&["volume", "create", "kinput-production_taken"])
        .await;
    app.write_delivery(&json!({ "start_failures": 1 }), "4s");
    let app = app.up().await;
    let before = app.environment().await.instances;
    let udp = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    let tcp = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let ports = (
        udp.local_addr().unwrap().port(),
        tcp.local_addr().unwrap().port(),
    );
    let mut cases = images(&registry());
    cases.extend(instances());
    cases.extend(machine(ports.0, ports.1));
    let load = app.load();
    let mut wrong = Vec::new();
    for case in cases {
        let began = tokio::time::Instant::now();
        app.write_changed("1", |file| (case.change)(file));
        let words = ["deploy", "production", "--wait", "bake"];
        let answer = app.site.run(&words).await;
        let said = format!("{}{}", answer.stdout, answer.stderr);
        println!("{} ({:.1?}): {said}", case.rule, began.elapsed());
        let missing = case.said.iter().find(|words| !said.contains(*words));
        if answer.code != case.code || missing.is_some() {
            wrong.push(format!(
                "{}: {} instead of {}, no {missing:?} in {said}",
                case.rule, answer.code, case.code
            ));
        }
        let after = app
            .site
            .wait_for(&app.id, "settled", crate::chaos::is_settled)
            .await;
        if after.instances != before {
            wrong.push(format!(
                "{}: {before:#?} became {:#?}",
                case.rule, after.instances
            ));
        }
    }
    app.settled().await;
    wait_for_more_requests(&load, 20).await;
    assert_none_lost(&load.stop().await, "bad input");
    app.docker
        .run(&["volume", "rm", "kinput-production_taken"])
        .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_docker_that_is_not_there_is_named_with_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    let host = format!("unix://{}/docker.sock", place.path().display());
    let mut site = Site::new().on_docker(Some(host.clone()));
    site.write(
        "compose.yaml",
        &json!({ "services": { "web": { "image": IMAGE } } }).to_string(),
    );
    let delivery =
        json!({ "app": "knodocker", "environments": { "production": { "engine": "docker" } } });
    site.write("towpath.yaml", &delivery.to_string());
    site.serve().await;
    let answer = site.run(&["up", "--env", "production"]).await.exited(1);
    let said = format!("{}{}", answer.stdout, answer.stderr);
    assert!(
        said.contains(&host) && said.contains("DOCKER_HOST"),
        "{said}"
    );
}
