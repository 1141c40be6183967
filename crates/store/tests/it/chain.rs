//! The audit trail: what is read, and that every kind of tampering is found.

use serde_json::json;
use towpath_store::{BadEvent, EventOrder, EventProblem, EventQuery, MasterKey, Verification};

use crate::support::{Directory, event, production};

/// Six events, the first of them from the app's registration.
async fn six_events(directory: &Directory) {
    let store = directory.with_shop().await;
    for n in 1..=5 {
        let data = json!({"n": n, "share": 0.1});
        store
            .append_event(
                Some(&production()),
                &event(&format!("step.{n}")),
                Some(&data),
            )
            .await
            .unwrap();
    }
    store.close().await;
}

const WITHOUT_TRIGGERS: &str =
    "DROP TRIGGER events_are_not_changed; DROP TRIGGER events_are_not_removed;";

async fn verdict_after(sql: &str) -> Verification {
    let directory = Directory::new();
    six_events(&directory).await;
    directory.tamper(&format!("{WITHOUT_TRIGGERS} {sql}")).await;
    directory.open().await.verify_events().await.unwrap()
}

fn bad(count: u64, sequence: u64, problem: EventProblem) -> Verification {
    let first_bad = Some(BadEvent { sequence, problem });
    Verification { count, first_bad }
}

#[tokio::test]
async fn an_untouched_trail_is_good() {
    assert_eq!(
        verdict_after("").await,
        Verification {
            count: 6,
            first_bad: None
        }
    );
}

#[tokio::test]
async fn a_change_of_any_field_is_found() {
    for change in [
        "at = '2020-01-01T00:00:00Z'",
        "actor = 'bob'",
        "environment = 'shop/dev'",
        "environment = NULL",
        "what = 'step.0'",
        "subject = 'deployment 2'",
        "before = NULL",
        "after = ''",
        "reason = 'because'",
        "data = '{\"n\":3,\"share\":0.10}'",
        "hash = (SELECT hash FROM events WHERE sequence = 2)",
    ] {
        let found = verdict_after(&format!("UPDATE events SET {change} WHERE sequence = 4")).await;
        assert_eq!(found, bad(3, 4, EventProblem::Changed), "{change}");
    }
}

#[tokio::test]
async fn a_removed_event_is_found_wherever_it_was() {
    for sequence in 1..=6 {
        let sql = format!("DELETE FROM events WHERE sequence = {sequence}");
        let found = verdict_after(&sql).await;
        assert_eq!(found, bad(sequence - 1, sequence, EventProblem::Removed));
    }
    let found = verdict_after("DELETE FROM events").await;
    assert_eq!(found, bad(0, 1, EventProblem::Removed));
}

#[tokio::test]
async fn an_inserted_event_is_found() {
    let copy = "INSERT INTO events SELECT 7, at, actor, environment, what, subject, before, after, reason, data, hash FROM events WHERE sequence = 6";
    assert_eq!(verdict_after(copy).await, bad(6, 7, EventProblem::Inserted));
    let before = copy.replace("SELECT 7", "SELECT 0");
    assert_eq!(
        verdict_after(&before).await,
        bad(0, 0, EventProblem::Inserted)
    );
}

#[tokio::test]
async fn two_events_that_changed_places_are_found() {
    let found = verdict_after(
        "UPDATE events SET sequence = 100 WHERE sequence = 3;
         UPDATE events SET sequence = 3 WHERE sequence = 4;
         UPDATE events SET sequence = 4 WHERE sequence = 100;",
    )
    .await;
    assert_eq!(found, bad(2, 3, EventProblem::Changed));
}

#[tokio::test]
async fn a_tail_that_was_cut_with_its_record_is_found_by_the_seal() {
    let found = verdict_after(
        "DELETE FROM events WHERE sequence = 6;
         UPDATE event_head SET count = 5, hash = (SELECT hash FROM events WHERE sequence = 5);",
    )
    .await;
    assert_eq!(found, bad(5, 5, EventProblem::Forged));
}

#[tokio::test]
async fn events_cannot_be_changed_or_removed_by_plain_sql() {
    let directory = Directory::new();
    six_events(&directory).await;
    for sql in [
        "UPDATE events SET actor = 'bob' WHERE sequence = 2",
        "DELETE FROM events WHERE sequence = 2",
    ] {
        let error = directory.try_tamper(sql).await.unwrap_err();
        assert!(
            error.to_string().contains("events are append-only"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_trail_longer_than_a_batch_is_verified_to_its_end() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let events: Vec<_> = (0..1200).map(|n| event(&format!("e.{n}"))).collect();
    store
        .commit_environment(&production(), 1, &json!(1), &[], &events)
        .await
        .unwrap();
    let verification = store.verify_events().await.unwrap();
    assert_eq!((verification.count, verification.first_bad), (1201, None));
    store.close().await;
    directory
        .tamper(&format!(
            "{WITHOUT_TRIGGERS} UPDATE events SET actor = 'bob' WHERE sequence = 1100"
        ))
        .await;
    let store = directory.open().await;
    assert_eq!(
        store.verify_events().await.unwrap(),
        bad(1099, 1100, EventProblem::Changed)
    );
}

#[tokio::test]
async fn events_are_paged_in_both_directions() {
    let directory = Directory::new();
    six_events(&directory).await;
    let store = directory.open().await;
    let sequences = async |query: EventQuery| {
        let events = store.events(&query).await.unwrap();
        events
            .iter()
            .map(|event| event.sequence)
            .collect::<Vec<_>>()
    };
    let page = EventQuery {
        limit: 2,
        ..EventQuery::default()
    };
    assert_eq!(sequences(page.clone()).await, [6, 5]);
    assert_eq!(
        sequences(EventQuery {
            before: Some(5),
            ..page.clone()
        })
        .await,
        [4, 3]
    );
    let follow = EventQuery {
        after: Some(2),
        order: EventOrder::OldestFirst,
        ..page.clone()
    };
    assert_eq!(sequences(follow).await, [3, 4]);
    let elsewhere = EventQuery {
        environment: Some("shop/dev".parse().unwrap()),
        ..page
    };
    assert_eq!(sequences(elsewhere).await, [0_u64; 0]);
}

#[tokio::test]
async fn an_event_comes_back_as_it_was_written() {
    let directory = Directory::new();
    six_events(&directory).await;
    let store = directory.open().await;
    let query = EventQuery {
        limit: 1,
        ..EventQuery::default()
    };
    let events = store.events(&query).await.unwrap();
    let [found] = events.as_slice() else {
        panic!("{events:?}");
    };
    let written = event("step.5");
    assert_eq!(found.environment, Some(production()));
    assert_eq!(found.data, Some(json!({"n": 5, "share": 0.1})));
    assert_eq!(
        (found.at, &found.actor, &found.what, &found.subject),
        (written.at, &written.actor, &written.what, &written.subject)
    );
    assert_eq!(
        (&found.from, &found.to, &found.reason),
        (&written.from, &written.to, &written.reason)
    );
}

#[tokio::test]
async fn a_chain_made_with_another_key_does_not_verify() {
    let directory = Directory::new();
    six_events(&directory).await;
    let other = Directory::new();
    let key = MasterKey::random().unwrap();
    let store = towpath_store::Store::open(other.path(), key).await.unwrap();
    store.close().await;
    let attach = format!(
        "ATTACH '{}' AS other; {WITHOUT_TRIGGERS} DELETE FROM events;
         UPDATE event_head SET (count, hash, seal) = (SELECT count, hash, seal FROM other.event_head);",
        other.database().display()
    );
    directory.tamper(&attach).await;
    let store = directory.open().await;
    assert_eq!(
        store.verify_events().await.unwrap(),
        bad(0, 0, EventProblem::Forged)
    );
}
