//! What is known of the caches of an app's jobs.

use towpath_model::event::NewEvent;
use towpath_model::id::{Digest, RunNumber};
use towpath_model::pipeline::cache::{Cache, Identity};
use towpath_store::EventQuery;

use crate::support::{Directory, at, shop};

fn cache(key: Option<&str>, run: u32) -> Cache {
    Cache {
        identity: Identity {
            name: "unit (3.12)".to_owned(),
            kind: Digest::of(b"kind"),
            key: key.map(|key| Digest::of(key.as_bytes())),
        },
        scope: "branch main".parse().unwrap(),
        run: RunNumber(run),
        files: 3,
        bytes: 1 << 40,
        made_at: at(i64::from(run)),
        used_at: at(i64::from(run)),
    }
}

#[tokio::test]
async fn a_cache_takes_the_place_of_that_with_its_identity_and_is_noted_when_it_is_used() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let app = shop();
    let (first, other, keyless) = (cache(Some("a"), 1), cache(Some("b"), 2), cache(None, 3));
    for one in [&first, &other, &keyless] {
        store.put_cache(&app, one).await.unwrap();
    }
    let again = cache(Some("a"), 4);
    store.put_cache(&app, &again).await.unwrap();
    store.use_cache(&app, &other.id(), at(9)).await.unwrap();
    store
        .use_cache(&app, &Digest::of(b"none"), at(9))
        .await
        .unwrap();
    let used = Cache {
        used_at: at(9),
        ..other.clone()
    };
    let kept = store.caches(&app).await.unwrap();
    assert_eq!(kept, [again.clone(), keyless.clone(), used]);

    let removed = NewEvent {
        at: at(10),
        actor: "ann".to_owned(),
        what: "caches.removed".to_owned(),
        subject: app.to_string(),
        from: None,
        to: None,
        reason: None,
    };
    let gone = [again.id(), other.id()];
    store.forget_caches(&app, &gone, &[removed]).await.unwrap();
    assert_eq!(store.caches(&app).await.unwrap(), [keyless]);
    let events = store.events(&EventQuery::default()).await.unwrap();
    assert!(events.iter().any(|event| event.what == "caches.removed"));
}
