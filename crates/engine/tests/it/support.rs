//! A data directory with an engine on it, and specifications to start. Not tests.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use towpath_engine::process::{ProcessConfig, ProcessEngine};
use towpath_model::id::{Digest, EnvironmentId, InstanceId, ReleaseNumber, ServiceName};
use towpath_model::observation::{ArtifactState, Exit, InstanceState};
use towpath_model::port::{
    Artifacts, Clock, DataDirectory, Engine as _, EngineObservation, InstanceStart, LogQuery, Stop,
};
use towpath_model::workload::{Command, WorkloadSpec};

/// Nothing in these tests takes longer, on any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const RELEASE: ReleaseNumber = ReleaseNumber(1);

#[derive(Debug)]
pub(crate) struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// An engine on a directory that is removed at the end.
pub(crate) struct World {
    pub(crate) engine: Arc<ProcessEngine>,
    pub(crate) directory: Directory,
    pub(crate) environment: EnvironmentId,
}

/// A data directory in which nothing is left running, whatever failed.
pub(crate) struct Directory {
    path: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

impl Directory {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        for (pid, _) in processes_with(self.path()) {
            kill(pid);
        }
        drop(self.temporary.take());
    }
}

impl World {
    /// Opens an engine with a release that has no source.
    pub(crate) async fn new() -> Self {
        let world = Self::without_release();
        world.prepare(None, &[]).await;
        world
    }

    pub(crate) fn without_release() -> Self {
        Self::of(tempfile::tempdir().unwrap())
    }

    /// Opens an engine on a directory that is removed at the end.
    pub(crate) fn of(directory: tempfile::TempDir) -> Self {
        let mut world = Self::at(directory.path().to_owned());
        world.directory.temporary = Some(directory);
        world
    }

    /// Opens an engine on a directory that stays.
    pub(crate) fn at(path: PathBuf) -> Self {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o711)).unwrap();
        Self {
            engine: open(&path),
            directory: Directory {
                path,
                temporary: None,
            },
            environment: "shop/dev".parse().unwrap(),
        }
    }

    /// Drops the engine and opens another one, as a restart does.
    pub(crate) fn reopen(self) -> Self {
        let Self {
            directory,
            engine,
            environment,
        } = self;
        drop(engine);
        Self {
            engine: open(directory.path()),
            directory,
            environment,
        }
    }

    pub(crate) fn data(&self) -> DataDirectory {
        DataDirectory(self.directory.path().to_owned())
    }

    pub(crate) fn instance_directory(&self, id: &InstanceId) -> PathBuf {
        self.data()
            .environment(&self.environment)
            .join("instances")
            .join(id.local())
    }

    /// Stores a source tree of these files.
    pub(crate) fn source(&self, files: &[(&str, &str)]) -> Digest {
        let digest = Digest::of(format!("{files:?}").as_bytes());
        for (name, content) in files {
            let path = self.data().source(&digest).join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        digest
    }

    /// Makes the release's artifacts and waits for them.
    pub(crate) async fn prepare(&self, source: Option<Digest>, builds: &[&str]) -> ArtifactState {
        self.begin_to_prepare(source, builds).await;
        let made = |observation: &EngineObservation| {
            let state = observation.artifacts.get(&RELEASE)?;
            (*state != ArtifactState::Building).then(|| state.clone())
        };
        self.until(made).await
    }

    pub(crate) async fn begin_to_prepare(&self, source: Option<Digest>, builds: &[&str]) {
        self.begin_release(RELEASE, source, builds).await;
    }

    pub(crate) async fn begin_release(
        &self,
        release: ReleaseNumber,
        source: Option<Digest>,
        builds: &[&str],
    ) {
        let web = ServiceName::new("web").unwrap();
        let build = |line: &&str| (web.clone(), Command::Shell((*line).to_owned()));
        let artifacts = Artifacts {
            environment: self.environment.clone(),
            release,
            source,
            builds: builds.iter().map(build).collect(),
            images: BTreeMap::new(),
        };
        self.engine
            .prepare(&artifacts, &BTreeMap::new())
            .await
            .unwrap();
    }

    /// Waits until something is seen.
    pub(crate) async fn until<T>(&self, seen: impl Fn(&EngineObservation) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let observation = self.engine.observe(&self.environment).await.unwrap();
                if let Some(found) = seen(&observation) {
                    return found;
                }
                self.engine.changed(&self.environment).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .expect("it is never seen")
    }

    pub(crate) async fn state(&self, id: &InstanceId) -> Option<InstanceState> {
        let observation = self.engine.observe(&self.environment).await.unwrap();
        state_in(&observation, id)
    }

    pub(crate) async fn until_running(&self, id: &InstanceId) -> std::net::SocketAddr {
        let running = |observation: &EngineObservation| match state_in(observation, id)? {
            InstanceState::Running { address, .. } => Some(address),
            InstanceState::Starting => None,
            other => panic!("{other:?}"),
        };
        self.until(running).await
    }

    pub(crate) async fn until_exited(&self, id: &InstanceId) -> Exit {
        let exited = |observation: &EngineObservation| match state_in(observation, id)? {
            InstanceState::Exited(exit) => Some(exit),
            _ => None,
        };
        self.until(exited).await
    }

    /// Starts an instance of a shell line.
    pub(crate) async fn start(&self, number: u32, line: &str) -> InstanceId {
        self.start_spec(number, spec(line)).await
    }

    pub(crate) async fn start_spec(&self, number: u32, spec: WorkloadSpec) -> InstanceId {
        let start = self.order(number, spec);
        self.engine.start(&start, &BTreeMap::new()).await.unwrap();
        start.id
    }

    pub(crate) fn order(&self, number: u32, spec: WorkloadSpec) -> InstanceStart {
        InstanceStart {
            id: InstanceId {
                environment: self.environment.clone(),
                service: spec.service.clone(),
                number,
            },
            workload: spec.id(),
            release: RELEASE,
            spec: Arc::new(spec),
            fixed_port: None,
            peers: BTreeMap::new(),
        }
    }

    pub(crate) async fn stop(&self, id: &InstanceId, grace: Duration) {
        let stop = Stop {
            signal: "SIGTERM".to_owned(),
            grace,
        };
        self.engine.stop(id, &stop).await.unwrap();
    }

    /// Waits until the log of the environment has a line, and returns its text.
    pub(crate) async fn line(&self, matches: impl Fn(&str) -> bool) -> String {
        let query = LogQuery {
            follow: true,
            ..LogQuery::default()
        };
        let mut lines = self.engine.logs(&self.environment, &query).await.unwrap();
        let waiting = async {
            loop {
                let line = lines
                    .next()
                    .await
                    .unwrap()
                    .expect("a followed log has no end");
                if matches(&line.text) {
                    return line.text;
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .expect("the line never comes")
    }

    /// Waits for a line `name=value` and returns the value.
    pub(crate) async fn value(&self, name: &str) -> String {
        let prefix = format!("{name}=");
        let line = self.line(|text| text.starts_with(&prefix)).await;
        line.strip_prefix(&prefix).unwrap().to_owned()
    }
}

pub(crate) fn open(directory: &Path) -> Arc<ProcessEngine> {
    let shim = PathBuf::from(env!("CARGO_BIN_EXE_towpath-shim"));
    let mut config = ProcessConfig::new(shim, Vec::new());
    let base = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("LANG", "C.UTF-8"),
    ];
    config.base_environment = base.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    config.log.file_bytes = 2_000;
    config.log.files = 3;
    let data = DataDirectory(directory.to_owned());
    Arc::new(ProcessEngine::open(&data, Arc::new(RealClock), config).unwrap())
}

pub(crate) fn state_in(observation: &EngineObservation, id: &InstanceId) -> Option<InstanceState> {
    let mut instances = observation.instances.iter();
    instances
        .find(|instance| instance.id == *id)
        .map(|instance| instance.state.clone())
}

pub(crate) fn spec(line: &str) -> WorkloadSpec {
    let command = Command::Shell(line.to_owned());
    WorkloadSpec::new(ServiceName::new("web").unwrap(), command)
}

/// Returns the number and command line of all processes that run for a data directory.
pub(crate) fn processes_with(data: &Path) -> Vec<(i32, String)> {
    let data = data.to_string_lossy().into_owned();
    let processes = std::fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let environ = String::from_utf8_lossy(&environ);
        environ.contains("TOWPATH_RUN=") && environ.contains(&data)
    })
    .map(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        (pid, String::from_utf8_lossy(&line).replace('\0', " "))
    })
    .collect()
}

pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

pub(crate) fn kill(pid: i32) {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else {
        return;
    };
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
}

/// Waits until a condition holds that nothing tells of.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what}"));
}

pub(crate) fn run_file(directory: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(directory.join("run.json")).unwrap()).unwrap()
}

pub(crate) fn pid_in(run: &serde_json::Value, who: &str) -> i32 {
    i32::try_from(run[who]["pid"].as_i64().unwrap()).unwrap()
}
