//! The Compose projects that are taken over: their files, their images, and what runs of them. Not
//! what is shown on them.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::Instant;

use crate::docker::cli::{Docker, run};
use crate::site::{LONGEST, Site};

/// The image that all others are made of.
const DEBIAN: &str = "towpath-test/debian:1";

const PACKAGES: [&str; 6] = [
    "python3-flask",
    "python3-redis",
    "python3-psycopg2",
    "redis-server",
    "postgresql-15",
    "tzdata",
];

/// An image: its reference, its Dockerfile, and the files that it copies, by name.
type ImageRecipe = (String, String, Vec<(&'static str, &'static str)>);

/// A Compose project, and how it is asked.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) name: &'static str,
    /// The case whose Compose file it has, and what it has where the cases are not there: the same
    /// shape in our words.
    case: [&'static str; 2],
    /// The port that is published, in the file and here.
    ports: [u16; 2],
    delivery: &'static str,
    files: Vec<(&'static str, String)>,
    /// Its images.
    images: Vec<ImageRecipe>,
    /// What is changed in the Compose file for the second release.
    change: [&'static str; 2],
}

/// What the project answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) release: u64,
    pub(crate) marker: String,
    pub(crate) hits: u64,
}

const STANDIN: (&str, &str) = ("standin.py", include_str!("standin.py"));
const POSTGRES: (&str, &str) = ("postgres.py", include_str!("postgres.py"));

const FLASK_REDIS: &str = r#"
services:
  redis: { image: redislabs/redismod, ports: ["6379:6379"] }
  web:
    build: { context: ., target: builder }
    stop_signal: SIGINT
    ports: ["8000:8000"]
    volumes: [".:/code"]
    depends_on: [redis]
"#;

const GITEA: &str = r#"
services:
  gitea:
    image: gitea/gitea:latest
    restart: always
    environment:
      - DB_TYPE=postgres
      - DB_NAME=gitea
      - DB_USER=gitea
      - DB_PASSWD=gitea
    volumes: ["git_data:/data"]
    ports: ["3000:3000"]
  db:
    image: postgres:alpine
    restart: always
    environment: { POSTGRES_USER: gitea, POSTGRES_PASSWORD: gitea, POSTGRES_DB: gitea }
    volumes: ["db_data:/var/lib/postgresql/data"]
    expose: ["5432"]
volumes: { db_data: {}, git_data: {} }
"#;

const NEXTCLOUD: &str = r#"
services:
  nc:
    image: nextcloud:apache
    restart: always
    environment:
      - POSTGRES_HOST=db
      - POSTGRES_USER=nextcloud
      - POSTGRES_PASSWORD=nextcloud
      - POSTGRES_DB=nextcloud
    volumes: ["nc_data:/var/www/html"]
    ports: ["80:80"]
  db:
    image: postgres:alpine
    restart: always
    environment: { POSTGRES_USER: nextcloud, POSTGRES_PASSWORD: nextcloud, POSTGRES_DB: nextcloud }
    volumes: ["db_data:/var/lib/postgresql/data"]
    expose: ["5432"]
volumes: { db_data: {}, nc_data: {} }
"#;

fn postgres() -> ImageRecipe {
    let dockerfile = format!(
        "FROM {DEBIAN}\nCOPY postgres.py /\nEXPOSE 5432\nSTOPSIGNAL SIGINT\nENTRYPOINT [\"python3\", \"/postgres.py\"]\n"
    );
    ("postgres:alpine".to_owned(), dockerfile, vec![POSTGRES])
}

fn standin(reference: &str, port: u16, volume: &str) -> ImageRecipe {
    let dockerfile = format!(
        "FROM {DEBIAN}\nCOPY standin.py /\nEXPOSE {port}\nCMD [\"python3\", \"-u\", \"/standin.py\", \"{port}\", \"{volume}\"]\n"
    );
    (reference.to_owned(), dockerfile, vec![STANDIN])
}

/// Flask, built from the directory, with Redis.
pub(crate) fn flask_redis(name: &'static str) -> Project {
    let dockerfile = format!(
        "FROM {DEBIAN} AS builder\nWORKDIR /code\nCOPY app.py /code/\nENTRYPOINT [\"python3\"]\nCMD [\"app.py\"]\n"
    );
    let app = include_str!("counter.py");
    let redis = format!(
        "FROM {DEBIAN}\nEXPOSE 6379\nCMD [\"redis-server\", \"--save\", \"\", \"--protected-mode\", \"no\"]\n"
    );
    Project {
        name,
        case: ["awesome-compose__flask-redis__compose.yaml", FLASK_REDIS],
        ports: [8000, 8000],
        delivery: "volumes: { \".\": { shared: true } }\n",
        files: vec![
            ("Dockerfile", dockerfile.clone()),
            ("app.py", app.to_owned()),
        ],
        images: vec![
            ("redislabs/redismod".to_owned(), redis, Vec::new()),
            (format!("{name}-web"), dockerfile, vec![("app.py", app)]),
        ],
        change: [
            "    stop_signal: SIGINT\n",
            "    stop_signal: SIGINT\n    environment: { RELEASE: \"2\" }\n",
        ],
    }
}

/// Gitea with `PostgreSQL`, each with a volume.
pub(crate) fn gitea(name: &'static str) -> Project {
    Project {
        name,
        case: ["awesome-compose__gitea-postgres__compose.yaml", GITEA],
        ports: [3000, 3000],
        delivery: "volumes: { git_data: { shared: true } }\n",
        files: Vec::new(),
        images: vec![standin("gitea/gitea:latest", 3000, "/data"), postgres()],
        change: [
            "      - DB_TYPE=postgres\n",
            "      - DB_TYPE=postgres\n      - RELEASE=2\n",
        ],
    }
}

/// Nextcloud with `PostgreSQL`, each with a volume.
pub(crate) fn nextcloud(name: &'static str) -> Project {
    Project {
        name,
        case: [
            "awesome-compose__nextcloud-postgres__compose.yaml",
            NEXTCLOUD,
        ],
        ports: [80, 80],
        delivery: "volumes: { nc_data: { shared: true } }\n",
        files: Vec::new(),
        images: vec![standin("nextcloud:apache", 80, "/var/www/html"), postgres()],
        change: [
            "      - POSTGRES_HOST=db\n",
            "      - POSTGRES_HOST=db\n      - RELEASE=2\n",
        ],
    }
}

impl Project {
    /// The same, published on another port.
    pub(crate) fn on_port(mut self, port: u16) -> Self {
        self.ports[1] = port;
        self
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[1]))
    }

    fn compose(&self) -> String {
        let cases = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../../shared/compose-cases/compose-real")
            .join(self.case[0])
            .join("in/compose.yaml");
        let text = std::fs::read_to_string(&cases).unwrap_or_else(|_| {
            say("the cases are not there: a file of the same shape");
            self.case[1].to_owned()
        });
        let [wanted, here] = self.ports;
        text.replace(&format!("{wanted}:{wanted}"), &format!("{here}:{wanted}"))
    }

    /// Writes the project into the site's directory.
    pub(crate) fn write(&self, site: &Site) {
        site.write("compose.yaml", &self.compose());
        for (name, text) in &self.files {
            site.write(name, text);
        }
        let name = self.name;
        site.write(
            "towpath.yaml",
            &format!(
                "app: {name}\nenvironments:\n  production:\n    engine: docker\n    rollout: {{ bake: 0s }}\n{}",
                self.delivery
            ),
        );
    }

    /// Changes one service.
    pub(crate) fn write_second_release(&self, site: &Site) {
        let text = self.compose();
        let [from, to] = self.change;
        assert!(text.contains(from), "{text}");
        site.write("compose.yaml", &text.replace(from, to));
    }

    /// Makes the images and starts the project, by the real Docker Compose where it is.
    pub(crate) async fn start(&self, site: &Site) {
        self.clean().await;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/debian-image");
        let mut debian = Command::new(script);
        run(debian.arg(DEBIAN).args(PACKAGES)).await;
        for (reference, dockerfile, files) in &self.images {
            let context = tempfile::tempdir().unwrap();
            std::fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
            for (name, text) in files {
                std::fs::write(context.path().join(name), text).unwrap();
            }
            run(docker(&["build", "-q", "-t", reference, "."]).current_dir(context.path())).await;
        }
        let directory = site.root().join("app");
        if is_there("docker-compose").await {
            // The real one is given bounds: it is not ours.
            let line = format!(
                "ulimit -v 4000000; exec timeout 60 docker-compose -p {} up -d --no-build",
                self.name
            );
            run(Command::new("sh")
                .args(["-c", &line])
                .current_dir(directory))
            .await;
            say("started by the real docker-compose");
        } else {
            self.start_by_hand(site, &directory).await;
            say("docker-compose is not there: started by hand, with its labels");
        }
        let deadline = Instant::now() + LONGEST;
        while self.try_ask().await.is_none() {
            assert!(Instant::now() < deadline, "{} never answers", self.name);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    /// Does what Docker Compose does with these files.
    async fn start_by_hand(&self, site: &Site, directory: &Path) {
        let config = site
            .run(&["config", "--format", "json", "-p", self.name])
            .await;
        let config = config.exited(0).json();
        let label = |name: &str, value: &str| format!("--label=com.docker.compose.{name}={value}");
        let project = label("project", self.name);
        let network = format!("{}_default", self.name);
        run(&mut docker(&[
            "network",
            "create",
            &project,
            &label("network", "default"),
            &network,
        ]))
        .await;
        for name in keys(&config["volumes"]) {
            let volume = format!("{}_{name}", self.name);
            run(&mut docker(&[
                "volume",
                "create",
                &project,
                &label("volume", &name),
                &volume,
            ]))
            .await;
        }
        // What others depend on comes first.
        let mut services = keys(&config["services"]);
        services.sort_by_key(|name| config["services"][name]["ports"].is_array());
        for name in services {
            let service = &config["services"][&name];
            let image = service["image"].as_str().map(str::to_owned);
            let image = image.unwrap_or_else(|| format!("{}-{name}", self.name));
            let mut command = docker(&["run", "-d", &project, &label("service", &name)]);
            command
                .args([label("container-number", "1"), label("oneoff", "False")])
                .arg(label("project.working_dir", directory.to_str().unwrap()))
                .arg(label(
                    "project.config_files",
                    directory.join("compose.yaml").to_str().unwrap(),
                ))
                .args(["--name", &format!("{}-{name}-1", self.name)])
                .args(["--network", &network, "--network-alias", &name]);
            for (key, value) in service["environment"].as_object().into_iter().flatten() {
                command.args(["-e", &format!("{key}={}", value.as_str().unwrap())]);
            }
            for port in service["ports"].as_array().into_iter().flatten() {
                let published = port["published"].as_str().unwrap();
                command.args(["-p", &format!("{published}:{}", port["target"])]);
            }
            for mount in service["volumes"].as_array().into_iter().flatten() {
                let source = mount["source"].as_str().unwrap();
                let source = if mount["type"] == "volume" {
                    format!("{}_{source}", self.name)
                } else {
                    source.to_owned()
                };
                command.args([
                    "-v",
                    &format!("{source}:{}", mount["target"].as_str().unwrap()),
                ]);
            }
            run(command.arg(image)).await;
        }
    }

    /// Asks the project once.
    pub(crate) async fn ask(&self) -> Answer {
        self.try_ask().await.expect("the project answers")
    }

    async fn try_ask(&self) -> Option<Answer> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(self.address()).await.ok()?;
        let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        let words: Vec<&str> = text.lines().last()?.split_whitespace().collect();
        let after = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1).copied()
        };
        Some(Answer {
            release: after("release")?.parse().ok()?,
            marker: after("marker")?.to_owned(),
            hits: after("hits")?.parse().ok()?,
        })
    }

    /// Returns the ids of the containers that run of it, Compose's and ours.
    pub(crate) async fn containers(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for label in ["com.docker.compose.project", "towpath.app"] {
            let filter = format!("label={label}={}", self.name);
            let listed = run(&mut docker(&[
                "ps",
                "-q",
                "--no-trunc",
                "--filter",
                &filter,
            ]))
            .await;
            found.extend(listed.lines().map(str::to_owned));
        }
        found
    }

    /// Counts the redirects of it.
    pub(crate) async fn rules(&self) -> usize {
        let listed = run(Command::new("iptables").args(["-w", "5", "-t", "nat", "-S"])).await;
        let own = format!(":{}/", self.name);
        listed
            .lines()
            .filter(|line| line.contains("towpath:") && line.contains(&own))
            .count()
    }

    /// Waits until the router has the port itself, of the service that was replaced.
    pub(crate) async fn until_no_rules(&self) {
        let port = format!("--dport {} ", self.ports[1]);
        let own = format!(":{}/", self.name);
        let deadline = Instant::now() + LONGEST;
        loop {
            let listed = run(Command::new("iptables").args(["-w", "5", "-t", "nat", "-S"])).await;
            let stands = |line: &str| line.contains(&own) && line.contains(&port);
            if !listed.lines().any(stands) {
                return;
            }
            assert!(Instant::now() < deadline, "the redirect stays: {listed}");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    /// Removes whatever is left of it.
    pub(crate) async fn clean(&self) {
        let line = format!(
            "for label in com.docker.compose.project towpath.app; do \
               docker ps -aq --filter label=$label={0} | xargs -r docker rm -fv; \
             done; \
             for kind in network volume; do for label in com.docker.compose.project towpath.app; do \
               docker $kind ls -q --filter label=$label={0} | xargs -r docker $kind rm; \
             done; done",
            self.name
        );
        run(Command::new("sh").args(["-c", &line])).await;
    }
}

fn keys(object: &Value) -> Vec<String> {
    let keys = object.as_object().map(|object| object.keys().cloned());
    keys.into_iter().flatten().collect()
}

fn docker(words: &[&str]) -> Command {
    Docker::default().command(words)
}

async fn is_there(program: &str) -> bool {
    let asked = Command::new(program)
        .arg("version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.await.is_ok_and(|status| status.success())
}

#[expect(clippy::print_stdout, reason = "how a project was started is told")]
fn say(words: &str) {
    println!("{words}");
}
