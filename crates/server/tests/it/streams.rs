//! Answers that go on: they bring what happens as it happens, and end.

use std::time::Duration;

use towpath_api::client::EventFilter;
use towpath_api::{DeployRequest, DeploymentState};
use towpath_model::id::EnvironmentId;
use towpath_testkit::world::draft;

use crate::site::Site;

/// Longer than any of the streams is silent here.
const LONGEST: Duration = Duration::from_secs(20);

fn production() -> EnvironmentId {
    "shop/production".parse().unwrap()
}

fn request(version: &str) -> DeployRequest {
    DeployRequest {
        draft: draft(version),
        source: None,
        commit: None,
        message: None,
        strategy: None,
        automatic: false,
        past_gates: None,
    }
}

#[tokio::test]
async fn a_deployment_is_followed_to_its_end_and_the_stream_ends_with_it() {
    let site = Site::new().await;
    let client = site.client();
    client.create_environment(&production()).await.unwrap();
    for (version, end) in [
        ("v1", DeploymentState::Succeeded),
        ("bad", DeploymentState::RolledBack),
    ] {
        let asked = client.deploy(&production(), &request(version)).await;
        let number = asked.unwrap().deployment.unwrap();
        let mut stream = client.progress(&production(), number).await.unwrap();
        let mut states = Vec::new();
        while let Some(progress) = within(stream.next()).await.unwrap() {
            assert_eq!(progress.deployment.number, number);
            states.push(progress.deployment.state);
        }
        assert_eq!(states.last(), Some(&end), "{states:?}");
        assert!(states.len() > 1, "{states:?}");
        // One that has ended says so at once, and ends.
        let mut again = client.progress(&production(), number).await.unwrap();
        let only = within(again.next()).await.unwrap().unwrap();
        assert_eq!(only.deployment.state, end);
        assert!(within(again.next()).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn the_trail_is_followed_as_it_is_written_and_ends_with_the_server() {
    let mut site = Site::new().await;
    let client = site.client();
    let mut trail = client.follow_events(&EventFilter::default()).await.unwrap();
    for name in ["shop/one", "shop/two"] {
        client
            .create_environment(&name.parse().unwrap())
            .await
            .unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let event = within(trail.next()).await.unwrap().unwrap();
        if event.what == "environment.created" {
            seen.push(event.subject);
        }
    }
    assert_eq!(seen, ["shop/one", "shop/two"]);
    site.stop.cancel();
    assert!(within(trail.next()).await.unwrap().is_none());
    site.ended().await;
}

#[tokio::test]
async fn a_stream_has_the_form_of_server_sent_events() {
    let site = Site::new().await;
    let client = site.client();
    client.create_environment(&production()).await.unwrap();
    let number = client.deploy(&production(), &request("v1")).await.unwrap();
    let path = format!(
        "GET /v1/environments/shop/production/deployments/{}/progress",
        number.deployment.unwrap()
    );
    let answer = site.ask(&path, b"").await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/event-stream"));
    assert!(answer.body.contains("event: progress\n"), "{}", answer.body);
    assert!(answer.body.contains("data: {"), "{}", answer.body);
}

#[tokio::test]
async fn what_is_not_there_cannot_be_followed() {
    let site = Site::new().await;
    let missing = site
        .ask(
            "GET /v1/environments/shop/production/deployments/1/progress",
            b"",
        )
        .await;
    assert_eq!(missing.status, 404, "{missing:?}");
}

async fn within<T>(coming: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(LONGEST, coming).await;
    came.expect("it comes in time")
}
