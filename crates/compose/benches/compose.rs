//! How fast files are loaded: all cases in one process, and one file beside the real
//! `docker compose config`. Figures to be read, not a test.
//!
//! The real program is the one that `scripts/compose-oracle` installs, or that `DOCKER_COMPOSE` names;
//! without it only our own figures are printed.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark that cannot go on fails; it prints, and measures real time"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use towpath_compose::{LoadOptions, RealFiles, load, output};

/// The argument with which the benchmark is our side of the comparison.
const ONE: &str = "--one-file";

/// How often each program is run.
const RUNS: usize = 30;

const FILE: &str = r#"
services:
  web:
    image: ${IMAGE:-nginx:1.27}
    ports: ["127.0.0.1:8080-8089:80-89", {target: 90, published: 9090}]
    environment: {A: 1, B: "${HOME}", C: c}
    depends_on: {db: {condition: service_healthy}}
    volumes: ["./a:/a:ro", "data:/data"]
    deploy: {replicas: 2, resources: {limits: {cpus: "0.5", memory: 10m}}}
  worker: {extends: web, command: sh -c "work --all", ports: !reset []}
  db:
    image: postgres:17
    healthcheck: {test: pg_isready, interval: 10s}
    volumes: ["data:/var/lib/postgresql/data"]
volumes: {data: {}}
"#;

fn main() {
    let mut arguments = std::env::args().skip(1);
    if let (Some(word), Some(path)) = (arguments.next(), arguments.next())
        && word == ONE
    {
        print!("{:#}", project(Path::new(&path)).unwrap());
        return;
    }
    all_cases();
    beside_the_real_program();
}

/// Loads a file, and returns what is printed of it.
fn project(path: &Path) -> Option<serde_json::Value> {
    let options = LoadOptions {
        files: vec![path.to_owned()],
        working_directory: path.parent()?.to_owned(),
        environment: [("HOME".to_owned(), "/home/u".to_owned())].into(),
        ..LoadOptions::default()
    };
    let loaded = load(&options, &RealFiles).ok()?;
    Some(output::to_json(&loaded.project))
}

/// Returns the Compose files of the shared cases, or one of our own.
fn inputs(scratch: &Path) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/compose-cases");
    let mut files = Vec::new();
    let mut open = vec![root];
    while let Some(directory) = open.pop() {
        let entries = std::fs::read_dir(&directory).into_iter().flatten();
        for path in entries.map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                open.push(path);
            } else if name.ends_with("yml") || name.ends_with("yaml") {
                files.push(path);
            }
        }
    }
    if files.is_empty() {
        let own = scratch.join("compose.yaml");
        std::fs::write(&own, FILE).unwrap();
        files.push(own);
    }
    files
}

fn all_cases() {
    let scratch = tempfile::tempdir().unwrap();
    let files = inputs(scratch.path());
    let bytes: u64 = files
        .iter()
        .map(|file| std::fs::metadata(file).unwrap().len())
        .sum();
    let mut times: Vec<Duration> = (0..5)
        .map(|_| {
            let began = Instant::now();
            for file in &files {
                std::hint::black_box(project(file));
            }
            began.elapsed()
        })
        .collect();
    times.sort();
    let median = times[times.len() / 2];
    println!(
        "all cases in one process: {} files, {} KiB: {:.1} ms, {:.3} ms a file",
        files.len(),
        bytes / 1024,
        median.as_secs_f64() * 1e3,
        median.as_secs_f64() * 1e3 / f64::from(u32::try_from(files.len()).unwrap())
    );
}

fn real_program() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let oracle = Command::new(root.join("scripts/compose-oracle"))
        .arg("where")
        .output()
        .ok()?;
    let printed = String::from_utf8(oracle.stdout).ok()?;
    oracle.status.success().then(|| printed.trim().into())
}

/// Returns the median wall time of a command.
fn time(command: &mut Command) -> Duration {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let began = Instant::now();
            assert!(command.status().unwrap().success(), "{command:?}");
            began.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn beside_the_real_program() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("compose.yaml");
    std::fs::write(&file, FILE).unwrap();
    let mut own = Command::new(std::env::current_exe().unwrap());
    let ours = time(own.arg(ONE).arg(&file));
    println!(
        "one file, a process each time: {:.2} ms",
        ours.as_secs_f64() * 1e3
    );
    let Some(program) = real_program() else {
        println!("the real program cannot be had: scripts/compose-oracle where");
        return;
    };
    let mut real = Command::new(program);
    real.arg("-f")
        .arg(&file)
        .args(["config", "--format", "json"]);
    let theirs = time(&mut real);
    println!(
        "the real docker compose config: {:.2} ms, {:.1} times as long",
        theirs.as_secs_f64() * 1e3,
        theirs.as_secs_f64() / ours.as_secs_f64()
    );
    if let Some(binary) = std::env::var_os("TOWPATH") {
        let mut command = Command::new(binary);
        command
            .arg("config")
            .arg("-f")
            .arg(&file)
            .args(["--format", "json"]);
        let binary = time(&mut command);
        println!(
            "the whole towpath binary: {:.2} ms; the real program takes {:.1} times as long",
            binary.as_secs_f64() * 1e3,
            theirs.as_secs_f64() / binary.as_secs_f64()
        );
    }
}
