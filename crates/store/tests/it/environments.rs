//! Environments, their deployments, and what a commit promises.

use std::sync::Arc;

use serde_json::json;
use towpath_model::id::DeploymentNumber;
use towpath_store::{Error, EventOrder, EventQuery};

use crate::support::{Directory, at, deployment, event, production, shop, staging};

#[tokio::test]
async fn a_commit_replaces_the_document_and_writes_deployments_and_events() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let row = deployment(1, "verifying", json!({"step": 1}));
    let document = json!({"z": 1, "a": [1.5, "é"]});
    let version = store
        .commit_environment(
            &production(),
            1,
            &document,
            std::slice::from_ref(&row),
            &[event("deployment.started"), event("deployment.verifying")],
        )
        .await
        .unwrap();
    assert_eq!(version, 2);

    let loaded = store
        .load_environment(&production())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((loaded.version, loaded.engine.as_str()), (2, "process"));
    assert_eq!(loaded.document, document);
    assert_eq!(loaded.created_at, at(0));
    assert_eq!(store.environments().await.unwrap(), vec![loaded]);
    let number = DeploymentNumber(1);
    assert_eq!(
        store.deployment(&production(), number).await.unwrap(),
        Some(row)
    );

    let query = EventQuery {
        environment: Some(production()),
        limit: 10,
        order: EventOrder::OldestFirst,
        ..EventQuery::default()
    };
    let events = store.events(&query).await.unwrap();
    let whats: Vec<_> = events.iter().map(|event| event.what.as_str()).collect();
    assert_eq!(whats, ["deployment.started", "deployment.verifying"]);
}

#[tokio::test]
async fn a_commit_on_a_stale_version_changes_nothing() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let id = production();
    store
        .commit_environment(&id, 1, &json!({"n": 1}), &[], &[])
        .await
        .unwrap();
    let rows = [deployment(7, "queued", json!(null))];
    let error = store
        .commit_environment(&id, 1, &json!({"n": 2}), &rows, &[event("lost")])
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        Error::Stale {
            expected: 1,
            found: 2,
            ..
        }
    ));
    let loaded = store.load_environment(&id).await.unwrap().unwrap();
    assert_eq!(loaded.document, json!({"n": 1}));
    assert_eq!(store.deployments(&id, 10).await.unwrap(), vec![]);
    let all = EventQuery {
        limit: 100,
        ..EventQuery::default()
    };
    let events = store.events(&all).await.unwrap();
    assert!(events.iter().all(|event| event.what != "lost"));
}

#[tokio::test]
async fn a_commit_that_fails_half_way_changes_nothing_and_spoils_nothing() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let id = production();
    let foreign = towpath_store::DeploymentRow {
        environment: staging(),
        ..deployment(2, "queued", json!(null))
    };
    let rows = [deployment(1, "queued", json!(null)), foreign];
    let error = store
        .commit_environment(&id, 1, &json!({"n": 1}), &rows, &[])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Inconsistent { .. }), "{error}");
    let loaded = store.load_environment(&id).await.unwrap().unwrap();
    assert_eq!((loaded.version, loaded.document), (1, json!({"n": 0})));
    assert_eq!(store.deployments(&id, 10).await.unwrap(), vec![]);
    store
        .commit_environment(&id, 1, &json!({"n": 1}), &[], &[])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_one_of_many_commits_on_the_same_version_wins() {
    let directory = Directory::new();
    let store = Arc::new(directory.with_shop().await);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..16 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let document = json!({"winner": n});
            store
                .commit_environment(&production(), 1, &document, &[], &[event("won")])
                .await
        });
    }
    let results = tasks.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let verification = store.verify_events().await.unwrap();
    assert_eq!(verification.first_bad, None);
    assert_eq!(verification.count, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commits_on_different_environments_all_succeed_and_the_chain_holds() {
    let directory = Directory::new();
    let store = Arc::new(directory.with_shop().await);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let id = format!("shop/preview-{n}").parse().unwrap();
            let mut version = store
                .create_environment(&id, "process", &json!(0), at(0), &[event("made")])
                .await?;
            for step in 0..10 {
                version = store
                    .commit_environment(&id, version, &json!(step), &[], &[event("step")])
                    .await?;
                store.load_environment(&id).await?;
            }
            Ok::<_, Error>(version)
        });
    }
    for result in tasks.join_all().await {
        assert_eq!(result.unwrap(), 11);
    }
    let verification = store.verify_events().await.unwrap();
    assert_eq!(
        (verification.count, verification.first_bad),
        (1 + 8 * 11, None)
    );
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_drop_without_close() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let rows = [deployment(1, "queued", json!(null))];
    store
        .commit_environment(&production(), 1, &json!({"n": 1}), &rows, &[event("kept")])
        .await
        .unwrap();
    drop(store);
    let store = directory.open().await;
    let loaded = store
        .load_environment(&production())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((loaded.version, loaded.document), (2, json!({"n": 1})));
    assert_eq!(store.deployments(&production(), 10).await.unwrap(), rows);
    assert_eq!(store.verify_events().await.unwrap().first_bad, None);
}

#[tokio::test]
async fn a_commit_whose_future_is_dropped_leaves_the_store_usable() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    for polls in 0..12 {
        let id = production();
        let version = store.load_environment(&id).await.unwrap().unwrap().version;
        let document = json!({"polls": polls});
        let events = [event("maybe")];
        let mut commit = Box::pin(store.commit_environment(&id, version, &document, &[], &events));
        for _ in 0..polls {
            let waker = std::task::Waker::noop();
            let mut context = std::task::Context::from_waker(waker);
            if commit.as_mut().poll(&mut context).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(commit);
    }
    let verification = store.verify_events().await.unwrap();
    assert_eq!(verification.first_bad, None);
}

#[tokio::test]
async fn a_deployment_changes_its_state_but_not_what_it_deploys() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let id = production();
    let first = deployment(1, "queued", json!(null));
    let mut done = deployment(1, "succeeded", json!({"took_ms": 5}));
    done.finished_at = Some(at(9));
    store
        .commit_environment(&id, 1, &json!(1), &[first], &[])
        .await
        .unwrap();
    store
        .commit_environment(&id, 2, &json!(2), std::slice::from_ref(&done), &[])
        .await
        .unwrap();
    assert_eq!(store.deployments(&id, 10).await.unwrap(), [done]);
    let mut other = deployment(1, "queued", json!(null));
    other.release = towpath_model::id::ReleaseNumber(2);
    let error = store
        .commit_environment(&id, 3, &json!(3), &[other], &[])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Inconsistent { .. }), "{error}");
}

#[tokio::test]
async fn deployments_are_listed_newest_first_up_to_a_limit() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let rows: Vec<_> = (1..=5)
        .map(|number| deployment(number, "succeeded", json!(null)))
        .collect();
    store
        .commit_environment(&production(), 1, &json!(1), &rows, &[])
        .await
        .unwrap();
    let listed = store.deployments(&production(), 2).await.unwrap();
    let numbers: Vec<_> = listed.iter().map(|row| row.number.0).collect();
    assert_eq!(numbers, [5, 4]);
}

#[tokio::test]
async fn an_environment_is_made_once_and_only_in_an_app() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let error = store
        .create_environment(&production(), "process", &json!(0), at(0), &[])
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "environment `shop/production` exists already"
    );
    let error = store
        .create_environment(
            &"ghost/dev".parse().unwrap(),
            "process",
            &json!(0),
            at(0),
            &[],
        )
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "there is no app `ghost`");
    assert!(matches!(
        store.create_app(&shop(), "ann", at(0)).await,
        Err(Error::AlreadyExists(_))
    ));
}

#[tokio::test]
async fn a_deleted_environment_leaves_only_its_events() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let id = production();
    let rows = [deployment(1, "succeeded", json!(null))];
    store
        .commit_environment(&id, 1, &json!(1), &rows, &[event("deployed")])
        .await
        .unwrap();
    assert!(matches!(
        store.delete_environment(&id, 1, &[]).await,
        Err(Error::Stale { .. })
    ));
    store
        .delete_environment(&id, 2, &[event("environment.deleted")])
        .await
        .unwrap();
    assert_eq!(store.load_environment(&id).await.unwrap(), None);
    assert_eq!(store.deployments(&id, 10).await.unwrap(), vec![]);
    assert!(matches!(
        store.commit_environment(&id, 2, &json!(1), &[], &[]).await,
        Err(Error::NotFound(_))
    ));
    let query = EventQuery {
        environment: Some(id),
        limit: 10,
        ..EventQuery::default()
    };
    assert_eq!(store.events(&query).await.unwrap().len(), 2);
    assert_eq!(store.verify_events().await.unwrap().first_bad, None);
}
