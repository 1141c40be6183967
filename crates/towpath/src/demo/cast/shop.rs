//! The shop as containers: its files, its images, its load, its database, how one of its containers
//! is killed. Not the comparisons with other ways to run it, which [`by_hand`] and
//! [`crate::demo::side_by_side`] have.

mod by_hand;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::time::Instant;
use towpath_load::Stream;

use super::{Death, Ledger, OwnStart, Since};
use crate::demo::docker::{self, Docker};
use crate::demo::report::Teller;
use crate::demo::stage::{Fault, Place, Version, rollout};

const COMPOSE: &str = include_str!("../../../../../examples/shop/compose.yaml");
const BASE: &str = include_str!("../../../../../examples/shop/base");
/// What the images of the app and of its database are built from.
const CONTEXTS: [(&str, &str); 4] = [
    (
        "app/Dockerfile",
        include_str!("../../../../../examples/shop/app/Dockerfile"),
    ),
    (
        "app/shop.py",
        include_str!("../../../../../examples/shop/app/shop.py"),
    ),
    (
        "db/Dockerfile",
        include_str!("../../../../../examples/shop/db/Dockerfile"),
    ),
    (
        "db/serve",
        include_str!("../../../../../examples/shop/db/serve"),
    ),
];

/// What the images of the shop are made from.
const BASE_IMAGES: [&str; 3] = [
    "towpath-shop/python:1",
    "towpath-shop/postgres:1",
    "towpath-shop/redis:1",
];

/// The longest that making them may take, with a slow mirror.
const LONGEST_BASE: Duration = Duration::from_mins(10);

/// The header in which the shop tells its version.
const VERSION_HEADER: &str = "x-shop-version";

/// How long a customer waits for an answer: containers that are recreated need some seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The stream of orders.
pub(super) const ORDERS: &str = "orders";

/// The stream of uploads.
pub(super) const UPLOADS: &str = "uploads";

/// The shop.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) docker: Docker,
    /// The app's name: one of its own, so that a shop that is there already is not met.
    pub(crate) name: String,
    /// The base images that were not there before.
    made: Vec<&'static str>,
    /// The database of production at the first look.
    database: std::cell::OnceCell<String>,
}

impl Shop {
    pub(super) fn new(docker: Docker) -> Self {
        Self {
            docker,
            name: String::new(),
            made: Vec::new(),
            database: std::cell::OnceCell::new(),
        }
    }

    pub(super) async fn prepare(&mut self, place: &Place, teller: &Teller) -> Result<()> {
        self.name = name(&place.directory);
        teller.line(&format!(
            "it runs on the Docker Engine {} of this machine, as the app {}",
            self.docker.version, self.name
        ));
        for image in BASE_IMAGES {
            if !self.docker.has_image(image).await {
                self.made.push(image);
            }
        }
        if self.made.is_empty() {
            return Ok(());
        }
        teller.line(
            "making images of Python, PostgreSQL and Redis out of Debian packages: no registry is \
             asked (`--keep` keeps them for the next time)",
        );
        let began = Instant::now();
        docker::script(BASE, &place.directory, LONGEST_BASE)
            .await
            .context("cannot make the base images of the shop")?;
        teller.line(&format!("made in {:.0} s", began.elapsed().as_secs_f64()));
        Ok(())
    }

    pub(super) fn files(&self, place: &Place) -> Result<Vec<(&'static str, String)>> {
        let environment = |port: u16| {
            json!({
                "engine": "docker",
                "variables": { "WEB_PORT": format!("127.0.0.1:{port}") },
            })
        };
        let mut production = environment(place.ports.production);
        production["scale"] = json!({ "web": 2 });
        // Below the slow release, above what customers who were kept waiting by a recreation have to
        // wait for one another on a busy machine.
        production["rollout"] = rollout("2500ms");
        // The report takes long in every release: whether a side was asked for one during a step
        // says nothing about it.
        production["rollout"]["abort_when"]["p99_ratio"] = json!("> 20");
        let file = json!({
            "app": self.name,
            "environments": { "dev": environment(place.ports.dev), "production": production },
            "volumes": { "uploads": { "shared": true } },
            "services": { "web": { "health": {
                "http": "/healthz", "interval": "1s", "retries": 2, "start_period": "15s",
            } } },
        });
        // JSON is YAML.
        let delivery = serde_json::to_string_pretty(&file).context("cannot write towpath.yaml")?;
        let mut files = project();
        files.push(("towpath.yaml", delivery));
        Ok(files)
    }

    /// A release is made by the variables of the Compose file.
    pub(super) fn version(version: Version<'_>) -> Vec<(&'static str, String)> {
        vec![(".env", variables(version))]
    }

    pub(super) fn streams() -> Vec<Stream> {
        let upload = Stream::plain("/uploads", 1.0)
            .posting("image/png", "picture {n}")
            .named(UPLOADS);
        let order = Stream::keep_alive("/orders", 5.0)
            .posting("application/json", "{}")
            .named(ORDERS);
        let streams = [
            Stream::plain("/", 15.0),
            Stream::keep_alive("/", 40.0),
            Stream::slow("/report", 2.0),
            order,
            upload,
        ];
        streams
            .into_iter()
            .map(|stream| stream.versioned_by(VERSION_HEADER).within(PATIENCE))
            .collect()
    }

    pub(super) async fn kill_instance(&self, death: Death) -> Result<()> {
        let victim = self.container("web").await?;
        match death {
            Death::Kill => self.docker.run(&["kill", "--signal=KILL", &victim]).await?,
            Death::Remove => self.docker.run(&["rm", "--force", &victim]).await?,
        };
        Ok(())
    }

    /// Returns the newest container of a service in production.
    async fn container(&self, service: &str) -> Result<String> {
        let labels = [
            format!("towpath.app={}", self.name),
            "towpath.environment=production".to_owned(),
            format!("towpath.service={service}"),
        ];
        let mut containers = self.docker.containers(&labels).await?.into_iter();
        containers
            .next()
            .with_context(|| format!("no instance of {service} runs"))
    }

    /// What the shop itself needs: the same image, run by hand.
    pub(super) async fn own_start(&self) -> Result<OwnStart> {
        let web = self.container("web").await?;
        let took = by_hand::start(&self.docker, &web, &self.name).await?;
        Ok(OwnStart {
            what: "`docker run` of the same containers (the migration, then a worker and two of \
                   web, to their first answers)",
            took,
            since: Since::Command,
            goal: 0.5,
        })
    }

    pub(super) async fn ledger(&self) -> Result<Ledger> {
        let database = self.container("db").await?;
        let psql = "psql -h /tmp -U shop -d shop -Atc";
        let count = "select count(*) from orders";
        let mut words = vec!["exec", &database];
        words.extend(psql.split(' '));
        words.push(count);
        let orders = self.docker.run(&words).await?;
        let orders = orders
            .parse()
            .with_context(|| format!("{orders:?} is no number of orders"))?;
        Ok(Ledger {
            orders,
            same_database: *self.database.get_or_init(|| database.clone()) == database,
        })
    }

    /// Writes the shop as a Compose project of images that are there: those of production's newest
    /// release. Returns the project's name.
    pub(crate) async fn write_project(&self, directory: &Path, port: u16) -> Result<String> {
        let mut overlay = "services:\n".to_owned();
        for (service, from) in [
            ("web", "web"),
            ("worker", "web"),
            ("migrate", "web"),
            ("db", "db"),
        ] {
            let container = self.docker.inspect(&self.container(from).await?).await?;
            let id = container["Image"]
                .as_str()
                .context("a container without an image")?;
            let image = format!("{}/{from}:1", self.project());
            self.docker.run(&["tag", id, &image]).await?;
            overlay.push_str(&format!(
                "  {service}: {{ build: !reset null, image: \"{image}\", pull_policy: never }}\n"
            ));
        }
        let mut files = project();
        files.push(("compose.override.yaml", overlay));
        for (name, content) in files {
            let content = content.replace("${WEB_PORT:-8080}", &format!("127.0.0.1:{port}"));
            crate::demo::stage::write(&directory.join(name), &content)?;
        }
        Ok(self.project())
    }

    /// Returns the name of the Compose project that the shop is compared with.
    fn project(&self) -> String {
        format!("{}-by-compose", self.name)
    }

    /// Removes what the story made on Docker, and says what the environments should have taken away.
    pub(super) async fn clear_away(self, keep: bool) -> Result<Vec<String>> {
        if self.name.is_empty() {
            return Ok(Vec::new());
        }
        let docker = &self.docker;
        docker.sweep(&by_hand::label(&self.name), "none/").await?;
        let project = self.project();
        let label = format!("com.docker.compose.project={project}");
        docker.sweep(&label, &format!("{project}/")).await?;
        let label = format!("towpath.app={}", self.name);
        let left = docker
            .sweep(&label, &format!("towpath/{}-", self.name))
            .await?;
        if !keep {
            for image in self.made {
                if docker.has_image(image).await {
                    docker.run(&["image", "rm", image]).await?;
                }
            }
        }
        Ok(left)
    }
}

/// Returns the files of the example that both ways of running it need.
fn project() -> Vec<(&'static str, String)> {
    let mut files = vec![
        ("compose.yaml", COMPOSE.to_owned()),
        ("db_password", "a-password-for-the-demo\n".to_owned()),
    ];
    files.extend(CONTEXTS.map(|(name, content)| (name, content.to_owned())));
    files
}

/// Returns the variables that make a release of the shop, as a `.env` file.
pub(crate) fn variables(version: Version<'_>) -> String {
    let fault = match version.fault {
        Fault::None => "none",
        Fault::Crash => "crash",
        Fault::Unhealthy => "unhealthy",
        Fault::Errors => "errors",
        Fault::Slow => "slow",
    };
    format!("SHOP_VERSION={}\nSHOP_FAULT={fault}\n", version.name)
}

/// Returns a name for the app that no other demo has: `shop-` and the end of its directory's name.
fn name(directory: &Path) -> String {
    let directory = directory.to_string_lossy();
    let own: String = directory
        .chars()
        .rev()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    let own: String = own.chars().rev().collect();
    format!("shop-{}", own.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_is_named_for_its_directory() {
        assert_eq!(name(Path::new("/tmp/towpath-demo-aB3xYz")), "shop-ab3xyz");
    }

    #[test]
    fn a_release_is_its_variables() {
        let version = Version {
            name: "7",
            fault: Fault::Slow,
        };
        assert_eq!(variables(version), "SHOP_VERSION=7\nSHOP_FAULT=slow\n");
    }
}
