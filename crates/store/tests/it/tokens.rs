//! Tokens of the HTTP API.

use towpath_store::Error;

use crate::support::{Directory, at};

#[tokio::test]
async fn a_token_is_recognised_until_it_is_revoked() {
    let directory = Directory::new();
    let store = directory.open().await;
    let new = store.create_token("ci", "ann", at(1)).await.unwrap();
    let other = store.create_token("ci", "ann", at(2)).await.unwrap();
    assert_ne!(new.secret.expose(), other.secret.expose());
    assert_ne!(new.token.id, other.token.id);
    drop(store);

    let store = directory.open().await;
    let secret = new.secret.expose();
    assert_eq!(
        store.verify_token(secret).await.unwrap(),
        Some(new.token.clone())
    );
    let revoked = store
        .revoke_token(&new.token.id, "bob", at(3))
        .await
        .unwrap();
    assert_eq!(revoked.revoked_at, Some(at(3)));
    assert_eq!(store.verify_token(secret).await.unwrap(), None);
    assert!(matches!(
        store.revoke_token(&new.token.id, "bob", at(4)).await,
        Err(Error::NotFound(_))
    ));
    assert_eq!(store.tokens().await.unwrap(), [revoked, other.token]);
}

#[tokio::test]
async fn what_is_almost_a_token_is_none() {
    let directory = Directory::new();
    let store = directory.open().await;
    let new = store.create_token("ci", "ann", at(1)).await.unwrap();
    let secret = new.secret.expose();
    let id = new.token.id.as_str();
    for presented in ["", "towpath_", id, secret.trim_end_matches(|_| true)] {
        assert_eq!(store.verify_token(presented).await.unwrap(), None);
    }
    for presented in [format!("{secret} "), secret.to_lowercase()] {
        assert_eq!(store.verify_token(&presented).await.unwrap(), None);
    }
}

#[tokio::test]
async fn the_text_of_a_token_is_nowhere_but_with_its_owner() {
    let directory = Directory::new();
    let store = directory.open().await;
    let new = store.create_token("ci", "ann", at(1)).await.unwrap();
    assert!(!format!("{new:?}").contains(new.secret.expose()));
    assert!(!directory.has_bytes(new.secret.expose().as_bytes()));
    store.close().await;
    assert!(!directory.has_bytes(new.secret.expose().as_bytes()));
}
