//! A test message over the API.

use crate::site::Site;

const TEST: &str = "POST /v1/environments/shop/dev/notify/test\r\nContent-Type: application/json";

#[tokio::test]
async fn a_test_message_is_refused_where_nothing_and_nobody_is_known() {
    let site = Site::new().await;
    let id = "shop/dev".parse().unwrap();
    assert_eq!(site.ask(TEST, b"{}").await.status, 404, "no environment");
    site.client().create_environment(&id).await.unwrap();
    let nobody = site.client().test_notifications(&id, None).await.unwrap();
    assert_eq!(nobody, [], "nothing was deployed");
    let named = site.ask(TEST, b"{\"target\": \"ops\"}").await;
    assert_eq!(
        (named.status, named.json()["type"].as_str()),
        (404, Some("not-found"))
    );
    for bad in ["{\"target\": \"No Name\"}", "{\"targets\": []}", "{"] {
        let answer = site.ask(TEST, bad.as_bytes()).await;
        assert_eq!(answer.status, 400, "{bad}: {answer:?}");
    }
}
