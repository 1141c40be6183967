//! A platform's whole life: deployments, rollbacks, secrets, restarts, destruction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use towpath_control::{Config, Deploy, Error, Kind, Platform, Ports};
use towpath_model::deployment::{Deployment, Outcome};
use towpath_model::id::{DeploymentNumber, EnvironmentId, SecretName};
use towpath_model::port::{DataDirectory, Volumes};
use towpath_model::release::{Restart, Role, RouteSpec};
use towpath_model::render::{Draft, DraftService, SecretUse};
use towpath_model::rollout::Settings;
use towpath_model::routing::{Protocol, RoutePolicy};
use towpath_model::workload::{Command, HealthCheck, Limits, Probe, SecretValue, WorkloadSpec};
use towpath_store::{EventOrder, EventQuery, MasterKey, Store};

use crate::world::{Now, World, WorldEngine, WorldProber, WorldRouter};

struct Site {
    directory: TempDir,
    world: Arc<World>,
    platform: Platform,
}

async fn open(directory: &TempDir, world: &Arc<World>) -> Platform {
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
    async fn new() -> Self {
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

    async fn deploy(&self, draft: Draft) -> DeploymentNumber {
        self.platform
            .deploy(&production(), deploy(draft))
            .await
            .unwrap()
            .1
    }

    async fn finish(&self, number: DeploymentNumber) -> Deployment {
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

fn production() -> EnvironmentId {
    "shop/production".parse().unwrap()
}

fn deploy(draft: Draft) -> Deploy {
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

fn draft(version: &str) -> Draft {
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
        }],
        internal: Some(Protocol::Http),
        policy: RoutePolicy::default(),
    };
    Draft {
        services: BTreeMap::from([("web".parse().unwrap(), web)]),
        secret_sources: BTreeMap::new(),
        settings: Settings {
            bake: Duration::ZERO,
            ..Settings::default()
        },
    }
}

#[tokio::test]
async fn a_release_is_deployed_and_a_bad_one_goes_back() {
    let site = Site::new().await;
    let first = site.deploy(draft("v1")).await;
    assert_eq!(site.finish(first).await.outcome(), Some(Outcome::Succeeded));
    assert_eq!(site.world.running(), ["web-1", "web-2"]);
    let second = site.deploy(draft("bad")).await;
    let deployment = site.finish(second).await;
    assert_eq!(deployment.outcome(), Some(Outcome::RolledBack));
    assert_eq!(deployment.failure.unwrap().log_tail, ["the last line"]);
    assert_eq!(site.world.running(), ["web-1", "web-2"]);
    let backends: usize = site
        .world
        .table()
        .listeners
        .values()
        .flat_map(|listener| &listener.routes)
        .flat_map(|route| &route.targets)
        .map(|target| target.backends.len())
        .sum();
    assert_eq!(
        backends, 4,
        "two instances, on the published and the internal address"
    );
}

#[tokio::test]
async fn a_control_plane_that_comes_back_takes_over_what_runs() {
    let site = Site::new().await;
    let first = site.deploy(draft("v1")).await;
    site.finish(first).await;
    let starts = site.world.starts();
    site.platform.shutdown().await;
    drop(site.platform);
    let again = open(&site.directory, &site.world).await;
    let mut snapshots = again.watch(&production()).unwrap();
    let seen = snapshots
        .wait_for(|snapshot| snapshot.observation.instances.len() == 2)
        .await;
    assert_eq!(seen.unwrap().environment.stable.unwrap().0, 1);
    assert_eq!(site.world.starts(), starts);
    let site = Site {
        platform: again,
        ..site
    };
    let second = site.deploy(draft("v2")).await;
    assert_eq!(
        site.finish(second).await.outcome(),
        Some(Outcome::Succeeded)
    );
}

#[tokio::test]
async fn a_rollback_restores_the_version_of_a_secret_too() {
    let site = Site::new().await;
    let name: SecretName = "token".parse().unwrap();
    let with_secret = |version: &str| {
        let mut draft = draft(version);
        for service in draft.services.values_mut() {
            let secret = name.clone();
            service.secrets.push(SecretUse {
                secret,
                file: Some("token".to_owned()),
                variable: None,
            });
        }
        draft
    };
    let refused = site
        .platform
        .deploy(&production(), deploy(with_secret("v1")))
        .await;
    assert!(matches!(refused, Err(Error::MissingSecrets(_))));
    for (value, version) in [("old", "v1"), ("new", "v2")] {
        let value = SecretValue::new(value.as_bytes().to_vec());
        site.platform
            .set_secret(&production(), &name, &value, "ada")
            .await
            .unwrap();
        let number = site.deploy(with_secret(version)).await;
        site.finish(number).await;
    }
    let number = site
        .platform
        .rollback(&production(), None, "ada")
        .await
        .unwrap();
    assert_eq!(
        site.finish(number).await.outcome(),
        Some(Outcome::Succeeded)
    );
    let given: Vec<_> = site
        .world
        .secrets()
        .into_iter()
        .map(|(_, value)| value)
        .collect();
    assert_eq!(given, [b"old", b"old", b"new", b"new", b"old", b"old"]);
}

#[tokio::test]
async fn a_port_that_somebody_else_has_is_refused_before_anything_is_made() {
    let site = Site::new().await;
    let mut taken = draft("v1");
    for service in taken.services.values_mut() {
        service.routes[0].port = 9;
    }
    let refused = site
        .platform
        .deploy(&production(), deploy(taken))
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::PortInUse(_)), "{refused}");
    assert_eq!(refused.kind(), Kind::Refused);
    let first = site.deploy(draft("v1")).await;
    site.finish(first).await;
    let other: EnvironmentId = "shop/dev".parse().unwrap();
    site.platform
        .create_environment(&other, "ada")
        .await
        .unwrap();
    let refused = site
        .platform
        .deploy(&other, deploy(draft("v1")))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, Error::PortOfEnvironment { .. }),
        "{refused}"
    );
    assert_eq!(site.platform.releases(&other.app).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_destroyed_environment_leaves_nothing_but_its_trail() {
    let site = Site::new().await;
    let first = site.deploy(draft("v1")).await;
    site.finish(first).await;
    site.platform
        .destroy(&production(), Volumes::Keep, "ada")
        .await
        .unwrap();
    assert_eq!(site.world.running(), Vec::<String>::new());
    assert_eq!(site.world.destroyed(), [(production(), Volumes::Keep)]);
    assert!(site.world.table().listeners.is_empty());
    assert!(matches!(
        site.platform.snapshot(&production()),
        Err(Error::NoEnvironment(_))
    ));
    let query = EventQuery {
        environment: Some(production()),
        limit: 1,
        order: EventOrder::NewestFirst,
        ..EventQuery::default()
    };
    let last = site.platform.events(&query).await.unwrap();
    assert_eq!(last[0].what, "environment.destroyed");
    assert!(
        site.platform
            .verify_events()
            .await
            .unwrap()
            .first_bad
            .is_none()
    );
}
