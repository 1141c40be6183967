//! The shop's image run by hand with `docker run`, as its containers are: how long that takes is what
//! no platform can save. Not how a release is brought out.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::demo::docker::Docker;
use crate::demo::stage::free_port;

/// The longest that web may take to its first answer.
const LONGEST: Duration = Duration::from_mins(1);

/// Between two tries of the first answer.
const PAUSE: Duration = Duration::from_millis(5);

/// Returns the label of what is run by hand.
pub(super) fn label(app: &str) -> String {
    format!("towpath.demo={app}")
}

/// Runs what a release of the shop changes, with the settings of a container of web: the migration
/// to its end, then the worker and two of web side by side, until both answer. Returns how long all
/// of it took.
pub(super) async fn start(docker: &Docker, web: &str, app: &str) -> Result<Duration> {
    let copied = docker.inspect(web).await?;
    let mut settings = settings(&copied)?;
    settings.extend(hosts(docker, &copied, app).await?);
    let hand = Hand {
        docker,
        settings,
        image: copied["Image"].as_str().context("no image")?,
        label: format!("--label={}", label(app)),
    };
    let began = Instant::now();
    hand.run(&["--rm"], "migrate").await?;
    let answering = tokio::try_join!(
        hand.serve(free_port()?),
        hand.serve(free_port()?),
        hand.run(&["--detach"], "worker")
    );
    let took = began.elapsed();
    for container in docker.containers(&[label(app)]).await? {
        docker.run(&["rm", "--force", &container]).await?;
    }
    answering.map(|_| took)
}

/// What is the same for every container that is run by hand.
struct Hand<'a> {
    docker: &'a Docker,
    settings: Vec<String>,
    image: &'a str,
    label: String,
}

impl Hand<'_> {
    async fn run(&self, options: &[&str], role: &str) -> Result<()> {
        let mut words = vec!["run", &self.label];
        words.extend(options);
        words.extend(self.settings.iter().map(String::as_str));
        words.extend([self.image, role]);
        self.docker.run(&words).await?;
        Ok(())
    }

    /// Runs web until it answers.
    async fn serve(&self, port: u16) -> Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let publish = format!("--publish={address}:8000");
        let began = Instant::now();
        self.run(&["--detach", &publish], "web").await?;
        while !answers(address).await {
            ensure!(began.elapsed() < LONGEST, "web does not answer by hand");
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// Returns the options of `docker run` for the settings of a container.
fn settings(container: &Value) -> Result<Vec<String>> {
    let networks = container["NetworkSettings"]["Networks"].as_object();
    let network = networks.and_then(|networks| networks.keys().next());
    let network = network.context("a container without a network")?;
    let mut options = vec![format!("--network={network}")];
    for variable in container["Config"]["Env"].as_array().into_iter().flatten() {
        options.push(format!("--env={}", variable.as_str().unwrap_or_default()));
    }
    for mount in container["Mounts"].as_array().into_iter().flatten() {
        let field = |name: &str| mount[name].as_str().unwrap_or_default();
        let source = if field("Type") == "volume" {
            field("Name")
        } else {
            field("Source")
        };
        let mode = if mount["RW"] == true { "rw" } else { "ro" };
        options.push(format!("--volume={source}:{}:{mode}", field("Destination")));
    }
    Ok(options)
}

/// Returns the options of `docker run` with which a container finds the others of its network by the
/// names of their services: the router names them only to instances.
async fn hosts(docker: &Docker, container: &Value, app: &str) -> Result<Vec<String>> {
    let networks = container["NetworkSettings"]["Networks"].as_object();
    let network = networks.and_then(|networks| networks.keys().next());
    let network = network.context("a container without a network")?;
    let mut options = Vec::new();
    for other in docker.containers(&[format!("towpath.app={app}")]).await? {
        let other = docker.inspect(&other).await?;
        let address = other["NetworkSettings"]["Networks"][network]["IPAddress"].as_str();
        let variables = other["Config"]["Env"].as_array();
        let service = variables
            .into_iter()
            .flatten()
            .find_map(|variable| variable.as_str()?.strip_prefix("TOWPATH_SERVICE="));
        if let (Some(service), Some(address)) = (service, address.filter(|it| !it.is_empty())) {
            options.push(format!("--add-host={service}:{address}"));
        }
    }
    Ok(options)
}

/// Tells whether web says that it is well.
async fn answers(address: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    // Docker's proxy takes connections before anybody is behind it, and may keep them for ever.
    let answer = tokio::time::timeout(Duration::from_secs(1), ask).await;
    let Ok(Ok(answer)) = answer else { return false };
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or(&[]);
    line.ends_with(b" 200 OK")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_is_run_again_with_its_variables_mounts_and_network() {
        let container = json!({
            "Config": { "Env": ["A=1", "B=x y"] },
            "Mounts": [
                { "Type": "volume", "Name": "data", "Source": "/var/lib/x", "Destination": "/d", "RW": true },
                { "Type": "bind", "Source": "/s", "Destination": "/run/secrets/s", "RW": false },
            ],
            "NetworkSettings": { "Networks": { "shop_default": {} } },
        });
        let expected = [
            "--network=shop_default",
            "--env=A=1",
            "--env=B=x y",
            "--volume=data:/d:rw",
            "--volume=/s:/run/secrets/s:ro",
        ];
        assert_eq!(
            settings(&container).ok(),
            Some(expected.map(str::to_owned).to_vec())
        );
    }
}
