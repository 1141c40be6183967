//! Environments that are to be removed.

use serde_json::json;
use towpath_model::port::Volumes;
use towpath_store::Error;

use crate::support::{Directory, at, event, production};

#[tokio::test]
async fn a_destruction_is_remembered_until_its_environment_is_gone() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    store
        .request_destruction(&production(), Volumes::Keep, "ann", at(5))
        .await
        .unwrap();
    store.close().await;

    let store = directory.open().await;
    let found = store.destruction(&production()).await.unwrap().unwrap();
    assert_eq!(found.environment, production());
    assert_eq!(
        (found.volumes, found.actor.as_str()),
        (Volumes::Keep, "ann")
    );
    assert_eq!(found.requested_at, at(5));
    store
        .delete_environment(&production(), 1, &[event("gone")])
        .await
        .unwrap();
    assert_eq!(store.destructions().await.unwrap(), []);
    store
        .create_environment(&production(), "process", &json!(1), at(6), &[])
        .await
        .unwrap();
    assert_eq!(store.destruction(&production()).await.unwrap(), None);
}

#[tokio::test]
async fn whoever_wants_the_volumes_deleted_has_it() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    for (volumes, actor) in [
        (Volumes::Keep, "ann"),
        (Volumes::Delete, "bob"),
        (Volumes::Keep, "cyd"),
    ] {
        store
            .request_destruction(&production(), volumes, actor, at(0))
            .await
            .unwrap();
    }
    let found = store.destruction(&production()).await.unwrap().unwrap();
    assert_eq!(
        (found.volumes, found.actor.as_str()),
        (Volumes::Delete, "ann")
    );
}

#[tokio::test]
async fn an_environment_that_is_not_there_is_not_to_be_removed() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let other = "shop/dev".parse().unwrap();
    let refused = store.request_destruction(&other, Volumes::Keep, "ann", at(0));
    assert!(matches!(refused.await, Err(Error::NotFound(_))));
}
