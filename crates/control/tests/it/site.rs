//! A platform on a temporary data directory, and something to deploy. Not what is shown on it.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use towpath_control::{Deploy, Platform};
use towpath_model::deployment::Deployment;
use towpath_model::id::{DeploymentNumber, EnvironmentId};
use towpath_model::render::Draft;
use towpath_testkit::world::World;

pub(crate) struct Site {
    pub(crate) directory: TempDir,
    pub(crate) world: Arc<World>,
    pub(crate) platform: Platform,
}

pub(crate) async fn open(directory: &TempDir, world: &Arc<World>) -> Platform {
    world.platform(directory.path()).await.unwrap()
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
            // What is kept of it is written before others see it.
            let seen = self.platform.snapshot(&production()).unwrap();
            let current = seen.environment.deployment.as_ref();
            if deployment.outcome().is_some() && current.is_none_or(|one| one.number != number) {
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
        past_gates: None,
    }
}
