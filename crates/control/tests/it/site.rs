//! A platform on a temporary data directory, and something to deploy. Not what is shown on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use towpath_control::{Config, Deploy, Platform, Ports};
use towpath_model::deployment::Deployment;
use towpath_model::id::{DeploymentNumber, EnvironmentId};
use towpath_model::port::DataDirectory;
use towpath_model::release::{Restart, Role, RouteSpec};
use towpath_model::render::{Draft, DraftService};
use towpath_model::rollout::Settings;
use towpath_model::routing::{Protocol, RoutePolicy};
use towpath_model::workload::{Command, HealthCheck, Limits, Probe, WorkloadSpec};
use towpath_store::{MasterKey, Store};

use towpath_testkit::world::{Now, World, WorldEngine, WorldProber, WorldRouter};

pub(crate) struct Site {
    pub(crate) directory: TempDir,
    pub(crate) world: Arc<World>,
    pub(crate) platform: Platform,
}

pub(crate) async fn open(directory: &TempDir, world: &Arc<World>) -> Platform {
    let key = MasterKey::from_directory(directory.path()).unwrap();
    let ports = Ports {
        store: Arc::new(Store::open(directory.path(), key).await.unwrap()),
        engine: Arc::new(WorldEngine(Arc::clone(world))),
        prober: Arc::new(WorldProber::default()),
        router: Arc::new(WorldRouter(Arc::clone(world))),
        clock: Arc::new(Now),
        is_free: Arc::new(|address| address.port() != 9),
    };
    let config = Config::new(DataDirectory(directory.path().to_owned()));
    Platform::start(config, ports).await.unwrap()
}

impl Site {
    pub(crate) async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let world = Arc::new(World::default());
        let platform = open(&directory, &world).await;
        platform
            .create_environment(&production(), "ada")
            .await
            .unwrap();
        Self {
            directory,
            world,
            platform,
        }
    }

    pub(crate) async fn deploy(&self, draft: Draft) -> DeploymentNumber {
        self.platform
            .deploy(&production(), deploy(draft))
            .await
            .unwrap()
            .1
    }

    pub(crate) async fn finish(&self, number: DeploymentNumber) -> Deployment {
        for _ in 0..2_000 {
            let deployment = self
                .platform
                .deployment(&production(), number)
                .await
                .unwrap();
            if deployment.outcome().is_some() {
                return deployment;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("deployment {number} never ends");
    }
}

pub(crate) fn production() -> EnvironmentId {
    "shop/production".parse().unwrap()
}

pub(crate) fn deploy(draft: Draft) -> Deploy {
    Deploy {
        source: None,
        commit: None,
        message: None,
        draft,
        settings: None,
        actor: "ada".to_owned(),
        automatic: false,
    }
}

pub(crate) fn draft(version: &str) -> Draft {
    let spec = WorkloadSpec {
        service: "web".parse().unwrap(),
        command: Command::Shell(version.to_owned()),
        environment: BTreeMap::new(),
        working_directory: None,
        source: None,
        build: None,
        user: None,
        secrets: Vec::new(),
        configs: Vec::new(),
        volumes: Vec::new(),
        container_port: None,
        listens: true,
        health: HealthCheck {
            probe: Probe::Tcp,
            ..HealthCheck::default()
        },
        stop_signal: "SIGTERM".to_owned(),
        stop_grace: Duration::from_secs(1),
        limits: Limits::default(),
        container: None,
    };
    let web = DraftService {
        spec,
        secrets: Vec::new(),
        replicas: 2,
        depends_on: BTreeMap::new(),
        role: Role::Service,
        restart: Restart::Always,
        routes: vec![RouteSpec {
            host_ip: None,
            port: 8080,
            protocol: Protocol::Http,
            hosts: Vec::new(),
            path_prefix: "/".to_owned(),
            target: None,
        }],
        internal: Some(Protocol::Http),
        policy: RoutePolicy::default(),
        exclusive_at: None,
    };
    Draft {
        services: BTreeMap::from([("web".parse().unwrap(), web)]),
        secret_sources: BTreeMap::new(),
        settings: Settings {
            bake: Duration::ZERO,
            ..Settings::default()
        },
        source: None,
    }
}
