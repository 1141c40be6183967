//! The removal of an environment is carried to its end, whatever comes between.

use std::time::Duration;

use towpath_control::{Error, Kind};
use towpath_model::port::Volumes;
use towpath_testkit::world::{Removal, draft};

use crate::site::{Site, deploy, open, production};

/// A site whose environment runs a release.
async fn running_site() -> Site {
    let site = Site::new().await;
    let first = site.deploy(draft("v1")).await;
    site.finish(first).await;
    site
}

impl Site {
    async fn wait_until_gone(&self) {
        for _ in 0..2_000 {
            if self.platform.snapshot(&production()).is_err() {
                assert_eq!(self.world.running(), Vec::<String>::new());
                assert!(self.world.table().listeners.is_empty());
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the environment is never gone");
    }
}

#[tokio::test]
async fn an_engine_that_fails_leaves_the_environment_known_and_the_removal_goes_on() {
    let site = running_site().await;
    site.world.set_removal(Removal::Fails);
    let id = production();
    let destroy = || site.platform.destroy(&id, Volumes::Keep, "ada");
    let failed = destroy().await.unwrap_err();
    assert!(failed.to_string().contains("on fire"), "{failed}");
    assert_eq!(failed.kind(), Kind::Unavailable);
    assert_eq!(site.platform.environments(), [production()]);
    assert!(site.platform.is_being_destroyed(&production()));
    assert_eq!(site.world.running(), Vec::<String>::new());

    let refused = site
        .platform
        .deploy(&production(), deploy(draft("v2")))
        .await;
    assert!(matches!(refused, Err(Error::BeingDestroyed(_))));
    let refused = site.platform.down(&production(), "ada").await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused);

    // Asked again, it is tried again at once, and fails again as it must.
    assert!(destroy().await.is_err());
    site.world.set_removal(Removal::Works);
    site.wait_until_gone().await;
    assert_eq!(site.world.destroyed(), [(production(), Volumes::Keep)]);
    assert!(!site.platform.is_being_destroyed(&production()));
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_the_waiting_and_not_the_removal() {
    let site = running_site().await;
    site.world.set_removal(Removal::Hangs);
    let id = production();
    let waiting = site.platform.destroy(&id, Volumes::Delete, "ada");
    let waited = tokio::time::timeout(Duration::from_millis(200), waiting).await;
    assert!(waited.is_err(), "it hangs");
    assert_eq!(site.platform.environments(), [production()]);
    site.world.set_removal(Removal::Works);
    site.wait_until_gone().await;
    assert_eq!(site.world.destroyed(), [(production(), Volumes::Delete)]);
}

#[tokio::test]
async fn a_removal_goes_on_when_the_control_plane_comes_back() {
    let site = running_site().await;
    site.world.set_removal(Removal::Fails);
    let id = production();
    let failed = site.platform.destroy(&id, Volumes::Keep, "ada").await;
    failed.unwrap_err();
    site.platform.shutdown().await;
    let Site {
        directory,
        world,
        platform,
    } = site;
    drop(platform);
    world.set_removal(Removal::Works);
    let platform = open(&directory, &world).await;
    let site = Site {
        directory,
        world,
        platform,
    };
    site.wait_until_gone().await;
    assert_eq!(site.world.destroyed(), [(production(), Volumes::Keep)]);
}

#[tokio::test]
async fn two_who_ask_at_once_both_hear_of_the_end_and_it_is_done_once() {
    let site = running_site().await;
    let id = production();
    let (one, other) = tokio::join!(
        site.platform.destroy(&id, Volumes::Keep, "ada"),
        site.platform.destroy(&id, Volumes::Delete, "bob"),
    );
    one.unwrap();
    other.unwrap();
    assert_eq!(site.world.destroyed(), [(production(), Volumes::Delete)]);
    let again = site.platform.destroy(&id, Volumes::Keep, "ada").await;
    assert!(matches!(again, Err(Error::NoEnvironment(_))));
    let created = site.platform.create_environment(&id, "ada").await;
    assert!(created.unwrap());
}
