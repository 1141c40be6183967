//! The messages that have not arrived, and how far the trail was made into them.

use towpath_model::notify::{Channel, Lane, Outgoing, Setting, test_message};
use towpath_store::{Error, EventQuery, NotifyProgress, Store};

use crate::support::{Directory, at, production};

fn outgoing(target: &str, salt: &str) -> Outgoing {
    let lane = Lane {
        environment: production(),
        target: target.parse().unwrap(),
    };
    Outgoing {
        channel: Channel::Slack {
            url: Setting::Secret("webhook".parse().unwrap()),
        },
        message: test_message(&lane.environment, &lane.target, "ann", at(0), salt),
        lane,
    }
}

/// Writes messages down as if another event had been read.
async fn commit(store: &Store, messages: &[Outgoing]) {
    let before = store.notify_progress().await.unwrap();
    let next = NotifyProgress {
        sequence: before.sequence + 1,
        state: before.state,
    };
    store
        .commit_notifications(before.sequence, &next, messages, at(1))
        .await
        .unwrap();
}

#[tokio::test]
async fn each_lane_has_its_own_order_and_what_failed_waits_with_its_time() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    commit(
        &store,
        &[
            outgoing("ops", "1"),
            outgoing("mail", "2"),
            outgoing("ops", "3"),
        ],
    )
    .await;
    let heads = store.waiting_messages().await.unwrap();
    let said = |index: usize| heads[index].outgoing.clone();
    assert_eq!(
        (heads.len(), said(0), said(1)),
        (2, outgoing("ops", "1"), outgoing("mail", "2"))
    );
    store.message_arrived(heads[0].id).await.unwrap();
    store.message_failed(heads[1].id, 3, at(60)).await.unwrap();
    store.close().await;

    let store = directory.open().await;
    let heads = store.waiting_messages().await.unwrap();
    assert_eq!((heads[0].attempts, heads[0].next_at), (3, at(60)));
    assert_eq!(heads[1].outgoing, outgoing("ops", "3"));
}

#[tokio::test]
async fn messages_and_the_place_in_the_trail_go_together_and_only_one_hand_writes_them() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let before = store.notify_progress().await.unwrap();
    commit(&store, &[outgoing("ops", "1")]).await;
    let stale = store
        .commit_notifications(before.sequence, &before, &[outgoing("ops", "2")], at(1))
        .await;
    assert!(
        matches!(stale, Err(Error::Inconsistent { .. })),
        "{stale:?}"
    );
    assert_eq!(store.waiting_messages().await.unwrap().len(), 1);
    let now = store.notify_progress().await.unwrap();
    assert_eq!(now.sequence, before.sequence + 1);
}

#[tokio::test]
async fn what_is_given_up_or_too_much_is_in_the_trail() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let many: Vec<Outgoing> = (0..203)
        .map(|number| outgoing("ops", &number.to_string()))
        .collect();
    commit(&store, &many).await;
    let heads = store.waiting_messages().await.unwrap();
    assert_eq!(heads[0].outgoing, many[3], "the oldest three are gone");
    store
        .give_up_message(&heads[0], "nobody is there".to_owned(), at(2))
        .await
        .unwrap();
    let heads = store.waiting_messages().await.unwrap();
    assert_eq!(heads[0].outgoing, many[4]);
    let events = store.events(&EventQuery::default()).await.unwrap();
    let failed: Vec<_> = events
        .iter()
        .filter(|event| event.what == "notification.failed")
        .collect();
    assert_eq!(failed.len(), 4);
    assert_eq!(failed[0].subject, "target ops");
    assert_eq!(failed[0].reason.as_deref(), Some("nobody is there"));
}
