//! A platform's whole life: deployments, rollbacks, secrets, restarts, destruction.

use std::collections::BTreeMap;
use std::time::Duration;

use towpath_control::Error;
use towpath_control::Kind;
use towpath_model::console::{Attachment, ConsoleCommand};
use towpath_model::deployment::Outcome;
use towpath_model::id::{EnvironmentId, SecretName};
use towpath_model::port::Volumes;
use towpath_model::render::SecretUse;
use towpath_model::workload::SecretValue;
use towpath_store::{EventOrder, EventQuery};
use towpath_testkit::world::{Logs, draft};

use crate::site::{Site, deploy, open, production};

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
async fn a_release_that_never_becomes_well_fails_with_what_it_wrote() {
    let site = Site::new().await;
    let first = site.deploy(draft("v1")).await;
    site.finish(first).await;
    let second = site.deploy(draft("ill")).await;
    let deployment = site.finish(second).await;
    assert_eq!(deployment.outcome(), Some(Outcome::RolledBack));
    let failure = deployment.failure.unwrap();
    assert!(failure.reason.contains("answered 500"), "{failure:?}");
    assert_eq!(failure.log_tail, ["web-3 speaks"]);
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_no_reason_to_wait() {
    let site = Site::new().await;
    let first = site.deploy(draft("v1")).await;
    site.finish(first).await;
    site.world.set_logs(Logs::Hang);
    let second = site.deploy(draft("ill")).await;
    let deployment = site.finish(second).await;
    assert_eq!(deployment.outcome(), Some(Outcome::RolledBack));
    let failure = deployment.failure.unwrap();
    assert_eq!((failure.log_tail, failure.unheard), (Vec::new(), None));
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

#[tokio::test]
async fn the_end_of_a_command_that_nobody_is_attached_to_is_in_the_trail() {
    let site = Site::new().await;
    let first = site.deploy(draft("v1")).await;
    site.finish(first).await;
    let command = ConsoleCommand {
        words: ["exit", "5"].map(str::to_owned).to_vec(),
        variables: BTreeMap::new(),
        directory: None,
        user: None,
        attachment: Attachment::Detached,
    };
    let web = "web".parse().unwrap();
    let platform = &site.platform;
    let id = production();
    let started = platform.exec(&id, (&web, None), &command, "ada");
    let (instance, session) = started.await.unwrap();
    assert!(session.is_none());
    let query = EventQuery {
        environment: Some(production()),
        ..EventQuery::default()
    };
    for _ in 0..2_000 {
        let events = platform.events(&query).await.unwrap();
        let mut events = events.into_iter();
        if let Some(ended) = events.find(|event| event.what == "exec.ended") {
            assert_eq!(ended.subject, instance.local());
            assert_eq!(ended.reason.as_deref(), Some("exit code 5"));
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("its end is never told");
}
