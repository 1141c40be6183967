//! The same release in the way of today: `docker compose up -d`, under the same load, beside what
//! Towpath did. Not an act of the story: nothing is expected of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use tokio::process::Command;
use tokio::time::Instant;
use towpath_load::{Handle, LoadPlan, Stream};

use super::act::Act;
use super::cast::{Shop, shop_variables};
use super::docker;
use super::report::Teller;
use super::stage::{Fault, Place, Version, free_port, write};

/// The longest that a release in the old way may take.
const LONGEST: Duration = Duration::from_mins(1);

/// The load goes on for so long before and after the release.
const AROUND: Duration = Duration::from_secs(2);

/// The most address space that Docker Compose gets: a program that is not ours shall not take the
/// machine's memory.
const MEMORY_KIB: u32 = 4_000_000;

/// What one way to bring a release out did to those who asked meanwhile.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Side {
    /// How the release was brought out.
    pub(crate) way: String,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
    /// Requests that were sent meanwhile.
    pub(crate) requests: u64,
    /// Those of them that were lost.
    pub(crate) failed: u64,
    /// The longest time in which nobody was answered, in seconds.
    pub(crate) silence_seconds: f64,
}

impl Side {
    /// What an act of the story did.
    pub(crate) fn of(way: &str, act: &Act) -> Self {
        Self {
            way: way.to_owned(),
            seconds: act.seconds,
            requests: act.requests,
            failed: act.failed,
            silence_seconds: act.silence_seconds,
        }
    }
}

/// Docker Compose, as it is installed.
#[derive(Debug)]
struct Compose {
    words: &'static [&'static str],
    directory: PathBuf,
    project: String,
}

/// Brings a release of the shop out by Docker Compose under a load. Nothing, with a word about it,
/// where Docker Compose is not installed or cannot run this.
pub(crate) async fn compare(
    shop: &Shop,
    place: &Place,
    streams: Vec<Stream>,
    teller: &Teller,
) -> Result<Option<Side>> {
    let directory = place.directory.join("by-compose");
    let Some((words, version)) = find().await else {
        teller.line("docker compose is not installed: the comparison with it is left out");
        return Ok(None);
    };
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let project = shop.write_project(&directory, target.port()).await?;
    let compose = Compose {
        words,
        directory,
        project,
    };
    teller.line(&format!(
        "the same images on the same Docker by `docker compose up -d` (version {version}), under the \
         same load"
    ));
    compose.release("1").await?;
    let load = LoadPlan {
        target,
        host: "shop.example".to_owned(),
        streams,
    };
    let load = load.start().context("cannot start the load")?;
    let side = compose.under(&load).await;
    drop(load.stop().await);
    compose.run(&["down", "--volumes"]).await?;
    side.map(Some)
}

impl Compose {
    /// Brings the second release out under a load.
    async fn under(&self, load: &Handle) -> Result<Side> {
        self.await_answers_of(load, "1").await?;
        tokio::time::sleep(AROUND).await;
        let (before, since) = (load.snapshot(), load.elapsed());
        let began = Instant::now();
        self.release("2").await?;
        self.await_answers_of(load, "2").await?;
        let took = began.elapsed();
        // What was sent in the time without an answer has failed by then, or was answered late.
        tokio::time::sleep(AROUND).await;
        let counts = load.snapshot().since(&before);
        Ok(Side {
            way: "docker compose up -d".to_owned(),
            seconds: took.as_secs_f64(),
            requests: counts.sent,
            failed: counts.failed.total() + counts.own_errors(),
            silence_seconds: load.longest_silence(since).as_secs_f64(),
        })
    }

    async fn release(&self, name: &str) -> Result<()> {
        let version = Version {
            name,
            fault: Fault::None,
        };
        write(&self.directory.join(".env"), &shop_variables(version))?;
        self.run(&["up", "-d"]).await
    }

    async fn await_answers_of(&self, load: &Handle, version: &str) -> Result<()> {
        let deadline = Instant::now() + LONGEST;
        while !load.snapshot().by_version.contains_key(version) {
            ensure!(
                Instant::now() < deadline,
                "version {version} never answered under docker compose"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn run(&self, words: &[&str]) -> Result<()> {
        let mut all: Vec<&str> = self.words.to_vec();
        all.extend(["--project-name", &self.project]);
        all.extend(words);
        let output = limited(&all, &self.directory).await?;
        if !output.status.success() {
            bail!("{}: {}", all.join(" "), docker::said(&output));
        }
        Ok(())
    }
}

/// Returns how Docker Compose is called here, and its version.
async fn find() -> Option<(&'static [&'static str], String)> {
    const WAYS: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
    for words in WAYS {
        let mut all = words.to_vec();
        all.extend(["version", "--short"]);
        if let Ok(output) = limited(&all, Path::new("/")).await
            && output.status.success()
        {
            return Some((words, docker::text(&output)));
        }
    }
    None
}

/// Runs a program with a limit on its memory and time.
async fn limited(words: &[&str], directory: &Path) -> Result<Output> {
    let script = format!("ulimit -v {MEMORY_KIB} && exec \"$@\"");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script, "sh"])
        .args(words)
        .current_dir(directory);
    docker::run(&mut command, LONGEST).await
}
