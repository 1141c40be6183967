//! Secrets: versions, pins, what is wiped and what is kept, tampering, and that no value is ever
//! to be read anywhere.

use std::collections::{BTreeMap, BTreeSet};

use towpath_model::id::{EnvironmentId, ReleaseNumber, SecretName, SecretVersion};
use towpath_model::release::Rendering;
use towpath_model::rollout::Settings;
use towpath_model::workload::SecretValue;
use towpath_store::{Error, EventQuery, KeyError, SECRET_BYTES_MAX, Store};

use crate::support::{Directory, at, new_release, production, shop, staging};

const CANARY: &str = "canary-4f1c9d27-value";

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

fn value(text: &str) -> SecretValue {
    SecretValue::new(text.as_bytes().to_vec())
}

async fn set(store: &Store, environment: &EnvironmentId, secret: &str, text: &str) -> u32 {
    store
        .set_secret(environment, &name(secret), &value(text), "ann", at(5))
        .await
        .unwrap()
        .0
}

async fn reveal(store: &Store, secret: &str, version: u32) -> Result<Vec<u8>, Error> {
    let revealed = store
        .reveal_secret(&production(), &name(secret), SecretVersion(version))
        .await?;
    Ok(revealed.expose().to_vec())
}

/// Makes a release whose rendering for production pins one secret.
async fn release_with(store: &Store, secret: &str, version: u32) -> Result<ReleaseNumber, Error> {
    let release = store.create_release(&shop(), new_release("x")).await?;
    let rendering = Rendering {
        services: BTreeMap::new(),
        secrets: BTreeMap::from([(name(secret), SecretVersion(version))]),
        settings: Settings::default(),
        ..Rendering::default()
    };
    store
        .insert_rendering(&production(), release.number, &rendering)
        .await?;
    Ok(release.number)
}

#[tokio::test]
async fn a_secret_has_versions_from_one_and_each_can_be_revealed() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    assert_eq!(set(&store, &production(), "key", "one").await, 1);
    assert_eq!(set(&store, &production(), "key", "two").await, 2);
    assert_eq!(set(&store, &production(), "other", "").await, 1);
    drop(store);
    let store = directory.open().await;
    assert_eq!(reveal(&store, "key", 1).await.unwrap(), b"one");
    assert_eq!(reveal(&store, "key", 2).await.unwrap(), b"two");
    assert_eq!(reveal(&store, "other", 1).await.unwrap(), b"");
    assert!(matches!(
        reveal(&store, "key", 3).await,
        Err(Error::NotFound(_))
    ));
    let listed = store.list_secrets(&production()).await.unwrap();
    let versions: Vec<_> = listed
        .iter()
        .map(|secret| (secret.name.as_str(), secret.version.0))
        .collect();
    assert_eq!(versions, [("key", 2), ("other", 1)]);
    assert_eq!(
        store.latest_versions(&production()).await.unwrap(),
        BTreeMap::from([
            (name("key"), SecretVersion(2)),
            (name("other"), SecretVersion(1))
        ])
    );
    assert_eq!(store.list_secrets(&staging()).await.unwrap(), vec![]);
}

#[tokio::test]
async fn setting_the_latest_value_again_makes_no_version_and_no_event() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    for (text, version) in [("one", 1), ("one", 1), ("two", 2), ("one", 3)] {
        assert_eq!(set(&store, &production(), "key", text).await, version);
    }
    let query = EventQuery {
        environment: Some(production()),
        limit: 100,
        ..EventQuery::default()
    };
    let events = store.events(&query).await.unwrap();
    let steps: Vec<_> = events
        .iter()
        .map(|event| (event.from.as_deref(), event.to.as_deref()))
        .collect();
    assert_eq!(
        steps,
        [
            (Some("version 2"), Some("version 3")),
            (Some("version 1"), Some("version 2")),
            (None, Some("version 1"))
        ]
    );
}

#[tokio::test]
async fn a_removed_secret_is_wiped_but_for_the_versions_that_a_release_pins() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    for text in ["one", "two", "three"] {
        set(&store, &production(), "key", text).await;
    }
    release_with(&store, "key", 2).await.unwrap();
    store
        .remove_secret(&production(), &name("key"), "ann", at(6))
        .await
        .unwrap();
    assert_eq!(store.list_secrets(&production()).await.unwrap(), vec![]);
    assert_eq!(reveal(&store, "key", 2).await.unwrap(), b"two");
    for version in [1, 3] {
        assert!(matches!(
            reveal(&store, "key", version).await,
            Err(Error::NotFound(_))
        ));
    }
    assert!(matches!(
        store
            .remove_secret(&production(), &name("key"), "ann", at(6))
            .await,
        Err(Error::NotFound(_))
    ));
    assert_eq!(set(&store, &production(), "key", "three").await, 4);
}

#[tokio::test]
async fn pruning_wipes_what_only_the_pruned_releases_needed() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    for (text, version) in [("one", 1), ("two", 2), ("three", 3)] {
        set(&store, &production(), "key", text).await;
        release_with(&store, "key", version).await.unwrap();
    }
    let kept = BTreeSet::from([ReleaseNumber(1)]);
    store.prune_releases(&shop(), 0, &kept).await.unwrap();
    assert_eq!(reveal(&store, "key", 1).await.unwrap(), b"one");
    assert!(reveal(&store, "key", 2).await.is_err());
    assert_eq!(
        reveal(&store, "key", 3).await.unwrap(),
        b"three",
        "the latest stays"
    );
}

#[tokio::test]
async fn a_rendering_cannot_pin_a_version_that_is_not_there() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let error = release_with(&store, "key", 1).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no version 1 of secret `key` in shop/production"
    );
    let found = store
        .rendering(&production(), ReleaseNumber(1))
        .await
        .unwrap();
    assert_eq!(found, None);
}

#[tokio::test]
async fn rows_that_changed_places_do_not_open() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    set(&store, &production(), "key", "one").await;
    set(&store, &production(), "key", "two").await;
    set(&store, &production(), "other", "three").await;
    set(&store, &staging(), "key", "four").await;
    store.close().await;
    let sealed = "SELECT sealed FROM secret_versions WHERE";
    let target = "environment = 'production' AND name = 'key' AND version = 2";
    for origin in [
        "name = 'key' AND environment = 'production' AND version = 1",
        "name = 'other'",
        "environment = 'staging'",
    ] {
        let sql = format!("UPDATE secret_versions SET sealed = ({sealed} {origin}) WHERE {target}");
        directory.tamper(&sql).await;
        let store = directory.open().await;
        let error = reveal(&store, "key", 2).await.unwrap_err();
        assert!(
            matches!(error, Error::Key(KeyError::Tampered { .. })),
            "{origin}: {error}"
        );
        store.close().await;
    }
}

#[tokio::test]
async fn an_exchanged_data_key_does_not_open() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    set(&store, &production(), "key", "one").await;
    set(&store, &"blog/dev".parse().unwrap(), "key", "two").await;
    store.close().await;
    directory
        .tamper(
            "UPDATE data_keys SET sealed = (SELECT sealed FROM data_keys WHERE app = 'blog')
             WHERE app = 'shop'",
        )
        .await;
    let store = directory.open().await;
    let error = reveal(&store, "key", 1).await.unwrap_err();
    assert!(matches!(error, Error::Key(KeyError::Tampered { .. })));
    assert!(error.to_string().contains("the data key of app `shop`"));
}

#[tokio::test]
async fn what_is_wiped_is_overwritten_in_the_file() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    set(&store, &production(), "key", CANARY).await;
    store.close().await;
    let sealed: Vec<u8> = directory.query("SELECT sealed FROM secret_versions").await;
    assert!(directory.has_bytes(&sealed));
    let store = directory.open().await;
    store
        .remove_secret(&production(), &name("key"), "ann", at(6))
        .await
        .unwrap();
    store.close().await;
    assert!(!directory.has_bytes(&sealed));
}

#[tokio::test]
async fn a_secret_of_one_byte_too_many_is_refused() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let largest = SecretValue::new(vec![7; SECRET_BYTES_MAX]);
    let beyond = SecretValue::new(vec![7; SECRET_BYTES_MAX + 1]);
    store
        .set_secret(&production(), &name("key"), &largest, "ann", at(1))
        .await
        .unwrap();
    let error = store
        .set_secret(&production(), &name("key"), &beyond, "ann", at(1))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::SecretTooLarge { .. }));
}

#[tokio::test]
async fn a_value_is_in_no_file_no_event_and_no_text() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    set(&store, &production(), "key", CANARY).await;
    release_with(&store, "key", 1).await.unwrap();
    let mut texts = vec![format!("{store:?}"), format!("{:?}", value(CANARY))];
    let query = EventQuery {
        limit: 100,
        ..EventQuery::default()
    };
    texts.push(format!("{:?}", store.events(&query).await.unwrap()));
    texts.push(format!(
        "{:?}",
        store.list_secrets(&production()).await.unwrap()
    ));
    let error = release_with(&store, "key", 9).await.unwrap_err();
    texts.push(format!("{error} {error:?}"));
    for text in texts {
        assert!(!text.contains(CANARY), "{text}");
    }
    assert!(
        directory.has_bytes(b"secret.set"),
        "the search finds what is there"
    );
    assert!(!directory.has_bytes(CANARY.as_bytes()), "with a live log");
    store
        .remove_secret(&production(), &name("key"), "ann", at(6))
        .await
        .unwrap();
    store.close().await;
    assert!(!directory.has_bytes(CANARY.as_bytes()), "after the close");
}

#[tokio::test]
async fn the_secrets_of_a_deleted_environment_are_gone() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    set(&store, &production(), "key", "one").await;
    set(&store, &staging(), "key", "two").await;
    release_with(&store, "key", 1).await.unwrap();
    store
        .delete_environment(&production(), 1, &[])
        .await
        .unwrap();
    assert!(reveal(&store, "key", 1).await.is_err());
    assert_eq!(store.list_secrets(&staging()).await.unwrap().len(), 1);
}
