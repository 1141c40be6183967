//! What is remembered of the repositories of apps: what was taken in, their secrets, their webhooks.

use std::time::Duration;

use towpath_model::event::NewEvent;
use towpath_model::id::RunNumber;
use towpath_model::repository::CommitId;
use towpath_model::repository::outside::{Outside, RepositorySecret, RepositorySettings};
use towpath_model::repository::status::{State, Status};
use towpath_model::workload::SecretValue;
use towpath_store::{Error, EventQuery, ForgeLane, Store, UntoldStatus};

use crate::support::{Directory, at, shop};

fn commit(digit: char) -> CommitId {
    digit.to_string().repeat(40).parse().unwrap()
}

fn event(what: &str) -> NewEvent {
    NewEvent {
        at: at(1),
        actor: "ann".to_owned(),
        what: what.to_owned(),
        subject: "shop refs/heads/main".to_owned(),
        from: None,
        to: None,
        reason: None,
    }
}

async fn whats(store: &Store) -> Vec<String> {
    let events = store.events(&EventQuery::default()).await.unwrap();
    let whats = events.into_iter().map(|event| event.what);
    whats
        .filter(|what| what.starts_with("reference."))
        .collect()
}

#[tokio::test]
async fn a_reference_is_remembered_with_its_event_until_it_is_gone() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let shop = shop();
    let (name, moved, gone) = (
        "refs/heads/main",
        event("reference.moved"),
        event("reference.removed"),
    );
    for digit in ['1', '2'] {
        let commit = commit(digit);
        let recorded = store.record_reference(&shop, name, Some(&commit), &moved);
        recorded.await.unwrap();
    }
    let quiet = [("refs/tags/v1", &commit('1'))];
    store.note_references(&shop, &quiet, at(2)).await.unwrap();
    let taken = store.taken_references(&shop).await.unwrap();
    assert_eq!(taken[name], commit('2'));
    assert_eq!(taken["refs/tags/v1"], commit('1'));
    store
        .record_reference(&shop, name, None, &gone)
        .await
        .unwrap();
    let taken = store.taken_references(&shop).await.unwrap();
    assert_eq!(taken.keys().collect::<Vec<_>>(), ["refs/tags/v1"]);
    let newest_first = ["reference.removed", "reference.moved", "reference.moved"];
    assert_eq!(whats(&store).await, newest_first);
    let nobody = "nobody".parse().unwrap();
    let refused = store.record_reference(&nobody, name, None, &gone).await;
    assert!(matches!(refused, Err(Error::NotFound(_))), "{refused:?}");
}

#[tokio::test]
async fn the_source_of_a_commit_is_known_until_the_settings_change_or_the_source_goes() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let shop = shop();
    let source = towpath_model::id::Digest::of(b"tree");
    let first = commit('1');
    let known = async || store.commit_source(&shop, &first).await.unwrap();
    let record = async || {
        let recorded = store.record_commit_source(&shop, &first, &source, 3, at(1));
        recorded.await.unwrap();
    };
    record().await;
    assert_eq!(known().await, Some(source.clone()));
    let settings = RepositorySettings::default();
    let set = event("repository.set");
    store.set_repository(&shop, &settings, &set).await.unwrap();
    assert_eq!(known().await, None, "another directory may be meant now");
    record().await;
    assert!(store.forget_source(&source).await.unwrap());
    assert_eq!(known().await, None);
}

#[tokio::test]
async fn settings_come_back_and_secrets_are_sealed() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let shop = shop();
    assert_eq!(
        store.repository(&shop).await.unwrap(),
        RepositorySettings::default()
    );
    let settings = RepositorySettings {
        outside: Some(Outside {
            url: "https://git.example.com/shop".parse().unwrap(),
            every: Duration::from_mins(5),
            forge: Some(towpath_model::repository::outside::Forge::Gitea),
            web: Some("https://git.example.com".parse().unwrap()),
            link: None,
        }),
        protected: vec!["main".to_owned()],
        ..RepositorySettings::default()
    };
    let set = event("repository.set");
    store.set_repository(&shop, &settings, &set).await.unwrap();
    assert_eq!(store.repository(&shop).await.unwrap(), settings);

    let (credential, webhook) = (RepositorySecret::Credential, RepositorySecret::Webhook);
    let value = SecretValue::new(b"a-very-secret-token".to_vec());
    let put = store.set_repository_secret(&shop, credential, Some(&value), &set);
    put.await.unwrap();
    let get = async |secret| store.repository_secret(&shop, secret).await.unwrap();
    assert_eq!(get(credential).await, Some(value));
    assert_eq!(get(webhook).await, None);
    assert!(!directory.has_bytes(b"a-very-secret-token"));
    let wiped = store.set_repository_secret(&shop, credential, None, &set);
    wiped.await.unwrap();
    assert_eq!(get(credential).await, None);
    let large = SecretValue::new(vec![b'x'; 2 << 20]);
    let refused = store
        .set_repository_secret(&shop, webhook, Some(&large), &set)
        .await;
    assert!(
        matches!(refused, Err(Error::SecretTooLarge { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_webhook_is_new_once() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let shop = shop();
    let note = async |key: &str| store.note_delivery(&shop, key, at(1)).await.unwrap();
    assert!(note("one").await);
    assert!(note("two").await);
    assert!(!note("one").await);
    drop(store);
    let store = directory.open().await;
    assert!(!store.note_delivery(&shop, "two", at(2)).await.unwrap());
}

fn status(context: &str, state: State) -> Status {
    Status {
        commit: "0123456789".repeat(4).parse().unwrap(),
        context: context.to_owned(),
        state,
        description: "words".to_owned(),
        link: None,
    }
}

/// Returns what is to be told next: context, state and revision.
async fn next(store: &Store) -> Option<UntoldStatus> {
    let mut untold = store.untold_statuses().await.unwrap();
    assert!(untold.len() <= 1, "one of each app");
    untold.pop()
}

#[tokio::test]
async fn a_forge_is_told_the_latest_in_each_matter_in_the_order_of_what_happened() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let want = async |run: u32, wanted: &[Status]| {
        let run = Some(RunNumber(run));
        store
            .want_statuses(&shop(), run, wanted, at(1))
            .await
            .unwrap();
    };
    let (unit, lint) = (
        status("unit", State::Pending),
        status("lint", State::Pending),
    );
    want(2, &[unit.clone(), lint.clone()]).await;
    let first = next(&store).await.unwrap();
    assert_eq!(first.status, unit);
    // While that is under way, it ends: what is under way is not the latest any more.
    let passed = status("unit", State::Success);
    want(2, std::slice::from_ref(&passed)).await;
    store.status_told(&first, None).await.unwrap();
    let second = next(&store).await.unwrap();
    assert_eq!(second.status, lint, "it was there before the other changed");
    store.status_told(&second, None).await.unwrap();
    let third = next(&store).await.unwrap();
    assert_eq!(third.status, passed);
    store.status_told(&third, None).await.unwrap();
    // The same again is nothing new, and an older run has nothing to say.
    want(2, std::slice::from_ref(&passed)).await;
    want(1, &[unit]).await;
    assert_eq!(next(&store).await, None);
    want(3, &[lint, status("unit", State::Failure)]).await;
    assert_eq!(next(&store).await.unwrap().status.state, State::Failure);
}

#[tokio::test]
async fn a_forge_that_takes_nothing_stands_still_until_somebody_mends_it_also_after_a_restart() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let wanted = [status("unit", State::Pending)];
    store
        .want_statuses(&shop(), None, &wanted, at(1))
        .await
        .unwrap();
    store
        .statuses_wait(&shop(), 2, Some(at(9)), "the forge answered 500")
        .await
        .unwrap();
    drop(store);
    let store = directory.open().await;
    let lane = next(&store).await.unwrap().lane;
    assert_eq!(
        (lane.attempts, lane.next_at, lane.waiting),
        (2, Some(at(9)), 1)
    );
    store
        .statuses_wait(&shop(), 3, None, "the forge answered 401")
        .await
        .unwrap();
    assert_eq!(next(&store).await, None);
    let lane = store.forge_lane(&shop()).await.unwrap();
    assert!(lane.is_stopped());
    assert_eq!(lane.fault.as_deref(), Some("the forge answered 401"));
    store.resume_statuses(&shop()).await.unwrap();
    assert_eq!(next(&store).await.unwrap().lane.fault, None);
    store.forget_statuses(&shop()).await.unwrap();
    assert_eq!(
        store.forge_lane(&shop()).await.unwrap(),
        ForgeLane::default()
    );
}
