//! What the store acknowledged is there after a kill, and writes may be repeated.

use std::io::Write;

use crate::app::App;

#[tokio::test]
async fn acknowledged_writes_survive_a_kill_and_a_torn_tail() {
    let mut app = App::new().await;
    for n in 0..20 {
        let (key, value) = (format!("/keys/k{n}"), format!("value {n}"));
        assert_eq!(app.store.ask("PUT", &key, &value).await.status, 201);
        assert_eq!(
            app.store
                .ask("POST", &format!("/lists/l/i{n}"), &value)
                .await
                .status,
            201
        );
    }
    let torn = app.directory.path().join("data/store.log");
    app.kill_store().await;
    let mut log = std::fs::OpenOptions::new()
        .append(true)
        .open(torn)
        .expect("it is there");
    log.write_all(b"0123456789abcdef [{\"set\":{\"key\":\"half")
        .expect("written");
    drop(log);
    app.restart_store().await;
    for n in 0..20 {
        let answer = app.store.get(&format!("/keys/k{n}")).await;
        assert_eq!((answer.status, answer.body), (200, format!("value {n}")));
    }
    let list = app.store.get("/lists/l?from=18&limit=5").await.body;
    assert_eq!(
        list,
        r#"{"length":20,"items":[{"index":18,"key":"i18","value":"value 18"},{"index":19,"key":"i19","value":"value 19"}]}"#
    );
    assert_eq!(
        app.store.ask("PUT", "/keys/after", "fine").await.status,
        201
    );
}

#[tokio::test]
async fn a_list_takes_each_key_once_and_answers_with_what_it_has() {
    let app = App::new().await;
    let first = app.store.ask("POST", "/lists/l/a", "one").await;
    let again = app.store.ask("POST", "/lists/l/a", "two").await;
    assert_eq!((first.status, again.status), (201, 409));
    assert_eq!(again.body, first.body);
    assert_eq!(app.store.ask("PUT", "/keys/a", "1").await.status, 201);
    assert_eq!(app.store.ask("PUT", "/keys/a?new", "2").await.status, 409);
    assert_eq!(app.store.get("/keys/a").await.body, "1");
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let app = App::new().await;
    let large = "x".repeat(70_000);
    for (method, path, body, status) in [
        ("GET", "/keys/none", "", 404),
        ("GET", "/lists/l/none", "", 404),
        ("GET", "/keys/a%20b", "", 400),
        ("GET", "/keys/", "", 400),
        ("DELETE", "/keys/a", "", 405),
        ("GET", "/nothing", "", 404),
        ("PUT", "/keys/a", large.as_str(), 413),
    ] {
        assert_eq!(
            app.store.ask(method, path, body).await.status,
            status,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn a_migration_may_be_repeated() {
    let app = App::migrated().await;
    let before = app.store.get("/keys/raffle").await.body;
    let (status, log) = crate::app::Service::start("migrate", &app.variables(&[]))
        .ended()
        .await;
    assert!(status.success() && log.contains("nothing to do"), "{log}");
    assert_eq!(app.store.get("/keys/raffle").await.body, before);
    assert_eq!(app.store.get("/keys/schema").await.body, "2");
}
