//! Runs: numbered, made with their release in one transaction, listed while something is to be done.

use jiff::Timestamp;
use serde_json::json;
use towpath_model::id::{ReleaseNumber, RunId, RunNumber};
use towpath_store::{Error, Progress, ReleaseOfRun, Said, Store, StoredRun};

use crate::support::{Directory, at, new_release, shop};

/// Nothing.
const NONE: Said<'_> = Said {
    at: Timestamp::UNIX_EPOCH,
    events: &[],
    statuses: &[],
};

async fn make(store: &Store, release: ReleaseOfRun) -> StoredRun {
    let write = |run: RunNumber, release: ReleaseNumber| {
        Ok((json!({ "run": run, "release": release }), Vec::new()))
    };
    store
        .create_run(&shop(), release, at(1), write)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_run_is_made_with_its_release_or_of_one_that_there_is() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let first = make(&store, ReleaseOfRun::New(new_release("one"))).await;
    assert_eq!(first.document, json!({ "run": 1, "release": 1 }));
    let second = make(&store, ReleaseOfRun::Present(ReleaseNumber(1))).await;
    assert_eq!(second.document, json!({ "run": 2, "release": 1 }));
    assert_eq!(store.releases(&shop()).await.unwrap().len(), 1);
    let listed = store.runs(&shop(), 1).await.unwrap();
    assert_eq!(listed, [second]);
    let missing = RunId::new(shop(), RunNumber(3));
    assert_eq!(store.run(&missing).await.unwrap(), None);
}

#[tokio::test]
async fn a_run_whose_document_cannot_be_written_makes_no_release() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let failing = |_, _| {
        let error = serde_json::from_str::<u32>("no").unwrap_err();
        Err(error)
    };
    let release = ReleaseOfRun::New(new_release("one"));
    let refused = store.create_run(&shop(), release, at(1), failing).await;
    assert!(matches!(refused, Err(Error::Inconsistent { .. })));
    assert!(store.releases(&shop()).await.unwrap().is_empty());
    let first = make(&store, ReleaseOfRun::New(new_release("two"))).await;
    assert_eq!(first.id.number, RunNumber(1));
}

#[tokio::test]
async fn what_is_unsettled_is_taken_up_by_the_next_control_plane() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let run = make(&store, ReleaseOfRun::New(new_release("one"))).await;
    let document = json!({ "n": 1 });
    let version = store
        .commit_run(&run.id, 1, &document, Progress::Unsettled, NONE)
        .await
        .unwrap();
    assert_eq!(version, 2);
    drop(store);
    let store = directory.open().await;
    let unsettled = store.unsettled_runs().await.unwrap();
    assert_eq!(unsettled.len(), 1);
    assert_eq!(
        (unsettled[0].version, &unsettled[0].document),
        (2, &document)
    );
    // Whoever has an older version thinks again.
    let stale = store
        .commit_run(&run.id, 1, &document, Progress::Settled, NONE)
        .await;
    assert!(matches!(stale, Err(Error::Inconsistent { .. })));
    store
        .commit_run(&run.id, 2, &document, Progress::Settled, NONE)
        .await
        .unwrap();
    assert!(store.unsettled_runs().await.unwrap().is_empty());
    assert_eq!(store.run(&run.id).await.unwrap().unwrap().version, 3);
}
