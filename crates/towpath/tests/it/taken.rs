//! Bad input that only a running machine can refuse: what is asked for is somebody else's already.
//! Nothing is lost, and nothing is half done.

use std::net::TcpListener;

use serde_json::Value;

use crate::site::Site;

/// A service that listens on nothing but is published on `port`.
fn published_on(port: u16) -> String {
    format!(
        "name: taken\nservices:\n  web:\n    image: x\n    command: sleep 1000\n    ports: [\"127.0.0.1:{port}:80\"]\n"
    )
}

#[tokio::test]
async fn a_data_directory_that_is_in_use_is_refused_and_left_alone() {
    let mut site = Site::new();
    site.serve().await;
    let second = site.run(&["serve"]).await.exited(2);
    assert!(
        second.stderr.contains("in use by another control plane"),
        "{}",
        second.stderr
    );
    assert!(site.client().server().await.is_ok(), "{}", site.log());
}

#[tokio::test]
async fn a_port_that_is_in_use_is_refused_before_anything_is_made() {
    let mut site = Site::new();
    site.serve().await;
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    site.write("compose.yaml", &published_on(port));
    let up = site.run(&["up"]).await.exited(2);
    assert!(
        up.stderr.contains(&format!("127.0.0.1:{port}")) && up.stderr.contains("in use"),
        "{}",
        up.stderr
    );
    let status = site
        .run(&["status", "dev", "--json"])
        .await
        .exited(0)
        .json();
    assert_eq!(status["stable"], Value::Null);
    assert_eq!(status["instances"], Value::Array(Vec::new()));
}
