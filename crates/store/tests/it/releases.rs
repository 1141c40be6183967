//! Apps, sources, releases and renderings.

use std::collections::{BTreeMap, BTreeSet};

use towpath_model::id::{Digest, ReleaseNumber};
use towpath_model::release::Rendering;
use towpath_model::rollout::{Settings, Strategy};
use towpath_store::{Error, NewRelease};

use crate::support::{Directory, at, new_release, production, shop, staging};

fn rendering(strategy: Strategy) -> Rendering {
    Rendering {
        services: BTreeMap::new(),
        secrets: BTreeMap::new(),
        settings: Settings {
            strategy,
            ..Settings::default()
        },
        ..Rendering::default()
    }
}

#[tokio::test]
async fn releases_are_numbered_from_one_within_their_app() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let other = "blog".parse().unwrap();
    store.create_app(&other, "ann", at(0)).await.unwrap();
    let names: Vec<_> = store.apps().await.unwrap();
    assert_eq!(names.len(), 2);
    assert_eq!(store.app(&other).await.unwrap().unwrap().name, other);
    for expected in 1..=3 {
        let release = store
            .create_release(&shop(), new_release("x"))
            .await
            .unwrap();
        assert_eq!(release.number, ReleaseNumber(expected));
    }
    let release = store
        .create_release(&other, new_release("x"))
        .await
        .unwrap();
    assert_eq!(release.number, ReleaseNumber(1));
    assert_eq!(
        store.release(&other, ReleaseNumber(1)).await.unwrap(),
        Some(release)
    );
    assert_eq!(store.release(&other, ReleaseNumber(2)).await.unwrap(), None);
    let listed = store.releases(&shop()).await.unwrap();
    let numbers: Vec<_> = listed.iter().map(|release| release.number.0).collect();
    assert_eq!(numbers, [3, 2, 1]);
    assert!(matches!(
        store
            .create_release(&"ghost".parse().unwrap(), new_release("x"))
            .await,
        Err(Error::NotFound(_))
    ));
}

#[tokio::test]
async fn a_rendering_is_written_once() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let number = store
        .create_release(&shop(), new_release("x"))
        .await
        .unwrap()
        .number;
    let first = rendering(Strategy::Canary);
    for _ in 0..2 {
        store
            .insert_rendering(&production(), number, &first)
            .await
            .unwrap();
    }
    assert!(matches!(
        store
            .insert_rendering(&production(), number, &rendering(Strategy::Rolling))
            .await,
        Err(Error::Differs { .. })
    ));
    assert_eq!(
        store.rendering(&production(), number).await.unwrap(),
        Some(first.clone())
    );
    assert_eq!(store.rendering(&staging(), number).await.unwrap(), None);
    assert_eq!(
        store.renderings(&production()).await.unwrap(),
        [(number, first.digest())]
    );
    assert!(matches!(
        store
            .insert_rendering(&production(), ReleaseNumber(9), &first)
            .await,
        Err(Error::NotFound(_))
    ));
}

#[tokio::test]
async fn a_rendering_that_was_changed_on_disk_is_not_used() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let number = store
        .create_release(&shop(), new_release("x"))
        .await
        .unwrap()
        .number;
    store
        .insert_rendering(&production(), number, &rendering(Strategy::Canary))
        .await
        .unwrap();
    store.close().await;
    directory
        .tamper("UPDATE renderings SET document = replace(document, 'canary', 'rolling')")
        .await;
    let store = directory.open().await;
    let error = store.rendering(&production(), number).await.unwrap_err();
    assert!(matches!(error, Error::Inconsistent { .. }), "{error}");
}

#[tokio::test]
async fn pruning_keeps_the_newest_and_the_named_and_never_reuses_a_number() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    for _ in 0..6 {
        let number = store
            .create_release(&shop(), new_release("x"))
            .await
            .unwrap()
            .number;
        store
            .insert_rendering(&production(), number, &rendering(Strategy::Canary))
            .await
            .unwrap();
    }
    let named = BTreeSet::from([ReleaseNumber(2)]);
    let removed = store.prune_releases(&shop(), 2, &named).await.unwrap();
    assert_eq!(removed, [1, 3, 4].map(ReleaseNumber));
    let kept: Vec<_> = store
        .renderings(&production())
        .await
        .unwrap()
        .into_iter()
        .map(|(number, _)| number.0)
        .collect();
    assert_eq!(kept, [6, 5, 2]);
    store
        .prune_releases(&shop(), 0, &BTreeSet::new())
        .await
        .unwrap();
    let next = store
        .create_release(&shop(), new_release("x"))
        .await
        .unwrap();
    assert_eq!(next.number, ReleaseNumber(7));
}

#[tokio::test]
async fn a_source_is_forgotten_only_when_no_release_was_made_from_it() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let (used, unused) = (Digest::of(b"used"), Digest::of(b"unused"));
    for digest in [&used, &unused, &used] {
        store.record_source(digest, 10, at(1)).await.unwrap();
    }
    let new = NewRelease {
        source: Some(used.clone()),
        ..new_release("x")
    };
    store.create_release(&shop(), new).await.unwrap();
    let listed = store.unused_sources().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        store.source(&unused).await.unwrap().as_ref(),
        listed.first()
    );
    assert!(!store.forget_source(&used).await.unwrap());
    assert!(store.forget_source(&unused).await.unwrap());
    assert_eq!(store.source(&unused).await.unwrap(), None);
    assert!(store.source(&used).await.unwrap().is_some());
}
