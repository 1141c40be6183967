//! Who is let in where: the owner on the socket, whoever has a token on TCP, and how far.

use std::os::unix::fs::PermissionsExt as _;

use towpath_api::client::EventFilter;

use crate::site::{Answer, Site};

/// Asks over TCP with a token.
async fn with_token(site: &Site, line: &str, token: &str) -> Answer {
    let head = format!("{line}\r\nAuthorization: Bearer {token}");
    site.ask_tcp(&head, b"{\"name\":\"x\"}").await
}

#[tokio::test]
async fn on_tcp_nobody_is_let_in_without_a_token_that_is_valid() {
    let site = Site::new().await;
    let made = site.client().create_token("ci").await.unwrap();
    let server = "GET /v1/server";
    let refused = [
        site.ask_tcp(server, b"").await,
        site.ask_tcp("GET /v1/server\r\nTowpath-Actor: ada", b"")
            .await,
        site.ask_tcp("GET /v1/server\r\nAuthorization: Basic YTpi", b"")
            .await,
        with_token(&site, server, "not-a-token").await,
        with_token(&site, server, "").await,
        with_token(&site, server, &made.token.id).await,
        site.ask_tcp("GET /openapi.json", b"").await,
        site.ask_tcp("GET /nowhere", b"").await,
    ];
    for answer in refused {
        assert_eq!(answer.status, 401, "{answer:?}");
        assert!(answer.head.contains("www-authenticate: bearer"));
        assert_eq!(answer.json()["type"], "unauthorized");
    }
    assert_eq!(with_token(&site, server, &made.secret).await.status, 200);
    site.client().revoke_token(&made.token.id).await.unwrap();
    assert_eq!(with_token(&site, server, &made.secret).await.status, 401);
}

#[tokio::test]
async fn a_token_makes_no_tokens_and_does_not_stop_the_control_plane() {
    let site = Site::new().await;
    let made = site.client().create_token("ci").await.unwrap();
    let revoke = format!("DELETE /v1/tokens/{}", made.token.id);
    for line in ["POST /v1/tokens", "POST /v1/server/stop", &revoke] {
        let answer = with_token(&site, line, &made.secret).await;
        assert_eq!(answer.status, 403, "{line}: {answer:?}");
        assert_eq!(answer.json()["type"], "forbidden");
    }
    let tokens = site.client().tokens().await.unwrap();
    assert!(tokens.len() == 1 && tokens[0].revoked_at.is_none());
    assert!(!site.stop.is_cancelled());
}

#[tokio::test]
async fn what_was_done_with_a_token_is_written_down_under_its_name() {
    let site = Site::new().await;
    let made = site.client().create_token("ci").await.unwrap();
    let line = "PUT /v1/environments/shop/dev";
    assert_eq!(with_token(&site, line, &made.secret).await.status, 200);
    let all = EventFilter::default();
    let events = site.client().events(&all).await.unwrap();
    let created = events.iter().find(|one| one.what == "environment.created");
    assert_eq!(created.unwrap().actor, "token ci");
}

#[tokio::test]
async fn the_socket_is_its_owners_alone_and_asks_for_no_token() {
    let mut site = Site::new().await;
    let mode = std::fs::metadata(site.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(site.ask("GET /v1/server", b"").await.status, 200);
    assert_eq!(site.ask("GET /nowhere", b"").await.status, 404);
    assert_eq!(site.ask("DELETE /v1/server", b"").await.status, 405);
    let bad = site.ask("POST /v1/tokens", b"{\"nme\":\"x\"}").await;
    assert_eq!(bad.status, 400, "{bad:?}");
    assert_eq!(site.ask("POST /v1/server/stop", b"").await.status, 202);
    site.ended().await;
    assert!(!site.socket().exists());
}
