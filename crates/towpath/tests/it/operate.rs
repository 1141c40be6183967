//! What is done to an environment beside deploying to it: hold, traffic, stop; and which environment is
//! meant when none is named.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::site::{Delivery, LONGEST, Site, production};

/// A site that serves a release in production.
async fn serving_site() -> Site {
    let site = Site::with_launches(&Delivery::default()).await;
    let up = ["up", "--env", "production", "--json", "--wait", "bake"];
    site.run(&up).await.exited(0);
    site
}

/// Asks the app for its version. Returns the whole answer.
async fn get(site: &Site) -> String {
    let mut stream = TcpStream::connect(site.address()).await.unwrap();
    let request = "GET /version HTTP/1.1\r\nHost: launches.example\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Waits until the app's answer is as it should be.
async fn wait_for_answer(site: &Site, what: &str, done: impl Fn(&str) -> bool) -> String {
    let deadline = tokio::time::Instant::now() + LONGEST;
    loop {
        let answer = get(site).await;
        if done(&answer) {
            return answer;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "never {what}: {answer}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_on_hold_is_so_until_somebody_releases_it() {
    let site = serving_site().await;
    let held = site
        .run(&["hold", "production", "--reason", "stocktaking", "--json"])
        .await
        .exited(0)
        .json();
    assert_eq!(held["on_hold"], true);
    let status = site.run(&["status", "production"]).await.exited(0).stdout;
    assert!(status.contains("on hold: stocktaking"), "{status}");
    let listed = site.run(&["env", "ls", "--json"]).await.exited(0).json();
    assert_eq!(listed[0]["on_hold"], true);
    site.run(&["release", "production"]).await.exited(0);
    let again = site.run(&["release-hold", "production"]).await.exited(1);
    assert!(again.stderr.contains("not on hold"), "{}", again.stderr);
    let trail = site.run(&["events", "production"]).await.exited(0).stdout;
    assert!(trail.contains("environment.held") && trail.contains("environment.released"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_traffic_of_an_environment_is_refused_held_and_served_as_one_says() {
    let site = serving_site().await;
    site.write("page.html", "<h1>back at noon</h1>");
    let page = [
        "traffic",
        "maintenance",
        "--page",
        "page.html",
        "--retry-after",
        "90",
    ];
    site.run(&page).await.exited(0);
    let refused = wait_for_answer(&site, "in maintenance", |answer| {
        answer.contains("HTTP/1.1 503")
    });
    let refused = refused.await;
    assert!(refused.contains("back at noon"), "{refused}");
    assert!(refused.to_ascii_lowercase().contains("retry-after: 90"));
    let status = site.run(&["status"]).await.exited(0).stdout;
    assert!(status.contains("maintenance"), "{status}");

    let paused = site
        .run(&["traffic", "pause", "production", "--json"])
        .await;
    let paused = paused.exited(0).json();
    assert_eq!(paused["traffic"]["max_wait_ms"], 30_000);
    let serve = async {
        // sleep: the request that is held must be on its way; nothing is lost when it is not.
        tokio::time::sleep(Duration::from_millis(500)).await;
        site.run(&["traffic", "serve", "production"])
            .await
            .exited(0);
    };
    let held = wait_for_answer(&site, "served", |answer| answer.contains("HTTP/1.1 200"));
    tokio::join!(held, serve);

    let missing = site.run(&["traffic", "maintenance", "--page", "none.html"]);
    let missing = missing.await.exited(2);
    assert!(missing.stderr.contains("none.html"), "{}", missing.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_leaves_what_serves_and_stop_all_leaves_nothing() {
    let mut site = serving_site().await;
    site.run(&["stop"]).await.exited(0);
    assert!(site.processes().iter().all(|one| !one.has_role("serve")));
    assert!(get(&site).await.contains("HTTP/1.1 200"));
    let gone = site.run(&["stop"]).await.exited(3);
    assert!(gone.stderr.contains("towpath.sock"), "{}", gone.stderr);

    site.serve().await;
    let all = site
        .run(&["stop", "--all", "--json"])
        .await
        .exited(0)
        .json();
    assert_eq!(all["down"][0], "launches/production");
    assert_eq!(all["router"], true);
    site.wait_until_left(|_| false).await;

    // With nothing running at all, up starts everything again.
    let up = ["up", "--env", "production", "--wait", "bake"];
    site.run(&up).await.exited(0);
    assert!(get(&site).await.contains("HTTP/1.1 200"));
    site.run(&["stop", "--all"]).await.exited(0);
    site.wait_until_left(|_| false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_that_is_not_named_is_the_only_one_there_can_be() {
    let site = serving_site().await;
    for words in [
        &["status", "--json"][..],
        &["status", "production", "--json"],
        &["status", "launches/production", "--json"],
        &["status", "--app", "launches", "--json"],
    ] {
        let status = site.run(words).await.exited(0).json();
        assert_eq!(status["id"], production().to_string(), "{words:?}");
    }
    for words in [
        &["logs", "-n", "1"][..],
        &["deployments"],
        &["secret", "ls"],
        &["plan"],
    ] {
        site.run(words).await.exited(0);
    }
    for words in [
        &["releases", "--json"][..],
        &["releases", "launches", "--json"],
        &["releases", "production", "--json"],
        &["releases", "launches/production", "--json"],
    ] {
        let releases = site.run(words).await.exited(0).json();
        assert_eq!(releases[0]["app"], "launches", "{words:?}");
    }
    site.run(&["releases", "nothing"]).await.exited(3);

    // Elsewhere it is the only one that the control plane has; with two of them it must be named.
    let elsewhere = tempfile::tempdir().unwrap();
    let status = site.run_in(elsewhere.path(), &["status", "--json"]).await;
    assert_eq!(status.exited(0).json()["id"], production().to_string());
    site.run(&["env", "create", "launches/other"])
        .await
        .exited(0);
    let unclear = site.run_in(elsewhere.path(), &["status"]).await.exited(2);
    for name in ["launches/other", "launches/production"] {
        assert!(unclear.stderr.contains(name), "{}", unclear.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_services_that_take_requests_have_shares_of_them() {
    let site = serving_site().await;
    let status = site.run(&["status", "--json"]).await.exited(0).json();
    let share_of = |name: &str| {
        let mut services = status["services"].as_array().unwrap().iter();
        let found = services.find(|one| one["name"] == name).unwrap();
        found["shares"].as_array().unwrap().len()
    };
    assert_eq!((share_of("web"), share_of("worker")), (1, 0), "{status:#}");
}
