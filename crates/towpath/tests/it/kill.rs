//! What `kill -9` of each part does to a site under load: nothing that its users see.

use std::time::Duration;

use tokio::time::Instant;
use towpath_api::Environment;

use crate::chaos::{Kills, is_settled, wait_for_requests};
use crate::machine::Process;
use crate::site::{Delivery, LONGEST, Site, assert_none_lost, production};

/// The strategies, and about how many milliseconds a deployment of the site takes by each.
const STRATEGIES: [(&str, u64); 4] = [
    ("rolling", 1_400),
    ("blue-green", 1_100),
    ("canary", 2_200),
    ("recreate", 1_400),
];

/// How often the control plane is killed in a deployment.
const KILLS: u32 = 20;

/// Tells whether a process is an instance of the app: not its supervisor.
fn is_instance(process: &Process) -> bool {
    process.has_role("__launches")
}

/// A site whose release job notes each of its starts in a file.
async fn site_with_noted_jobs() -> Site {
    let mut delivery = Delivery::default();
    delivery
        .before
        .insert("migrate", "echo \"$TOWPATH_RELEASE\" >> '{root}/starts'");
    Site::with_launches(&delivery).await
}

/// Returns how often the release job of a release was started.
fn job_starts(site: &Site, release: u32) -> usize {
    let starts = std::fs::read_to_string(site.root().join("starts")).unwrap();
    let release = release.to_string();
    starts.lines().filter(|line| *line == release).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_killed_at_any_moment_of_a_deployment_loses_nothing() {
    let mut site = site_with_noted_jobs().await;
    site.run(&["up", "--env", "production", "--json"])
        .await
        .exited(0);
    let load = site.load();
    let kills = Kills {
        id: production(),
        count: KILLS,
        strategies: &STRATEGIES,
        load: &load,
    };
    let write = |site: &Site, version: &str| site.write_version(version, "none");
    kills
        .run(&mut site, write, async |site, ended, environment, what| {
            wait_for_instances(site, environment.instances.len()).await;
            let starts = job_starts(site, ended.release);
            assert_eq!(starts, 1, "{what}: starts of the release job");
        })
        .await;
    let counts = load.stop().await;
    assert_none_lost(&counts, "the whole of it");
    println!(
        "{} requests, {} WebSocket sessions",
        counts.sent, counts.sessions.opened
    );
    site.run(&["down", "production"]).await.exited(0);
    site.wait_until_left(|process| process.has_role("serve") || process.has_role("router"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_instance_is_replaced_and_no_request_notices() {
    let site = Site::with_launches(&Delivery::default()).await;
    site.run(&["up", "--env", "production", "--json"])
        .await
        .exited(0);
    let environment = site.wait_for(&production(), "settled", is_settled).await;
    let load = site.load();
    // Requests that take long and WebSockets are cut with their process: nothing can save those.
    let victim = site
        .processes()
        .into_iter()
        .find(|process| is_instance(process) && process.variable("TOWPATH_SERVICE") == Some("web"))
        .unwrap();
    wait_for_requests(&load, 100).await;
    let before: Vec<String> = environment
        .instances
        .iter()
        .map(|one| one.id.clone())
        .collect();
    victim.kill();
    let replaced = |environment: &Environment| {
        is_settled(environment)
            && environment
                .instances
                .iter()
                .any(|one| !before.contains(&one.id))
    };
    site.wait_for(&production(), "replaced", replaced).await;
    wait_for_instances(&site, before.len()).await;
    let sent = load.snapshot().sent;
    wait_for_requests(&load, sent + 100).await;
    let by_stream = load.snapshot_by_stream();
    drop(load.stop().await);
    for (stream, counts) in by_stream {
        if stream == "plain" || stream == "keep-alive" {
            assert_none_lost(&counts, &stream);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_router_is_started_again_and_serves_what_it_served() {
    let mut site = Site::with_launches(&Delivery::default()).await;
    site.run(&["up", "--env", "production", "--json"])
        .await
        .exited(0);
    let environment = site.wait_for(&production(), "settled", is_settled).await;
    let router = router_of(&site).unwrap();
    let load = site.load();
    wait_for_requests(&load, 100).await;
    let killed_at = Instant::now();
    router.kill();
    let next = wait_for_another_router(&site, &router).await;
    println!("answered again after {:?}", killed_at.elapsed());
    // What was in flight was lost with the process, and what came before the next one listened.
    drop(load.stop().await);
    let load = site.load();
    wait_for_requests(&load, 200).await;

    // A deployment goes on as ever, and the control plane has the new router's word on it.
    site.write_version("2", "none");
    let arguments = [
        "deploy",
        "production",
        "--json",
        "--wait",
        "bake",
        "--strategy",
        "blue-green",
    ];
    site.run(&arguments).await.exited(0);
    let settled = site.wait_for(&production(), "settled", is_settled).await;
    assert_eq!(settled.instances.len(), environment.instances.len());
    assert_none_lost(&load.stop().await, "after the router came back");

    // With the control plane away nobody starts it; the next control plane does.
    site.kill_control_plane().await;
    next.kill();
    site.serve().await;
    wait_for_another_router(&site, &next).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_is_told_to_stop_finishes_what_is_in_flight() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let site = Site::with_launches(&Delivery::default()).await;
    site.run(&["up", "--env", "production", "--json"])
        .await
        .exited(0);
    let router = router_of(&site).unwrap();
    let mut stream = tokio::net::TcpStream::connect(site.address())
        .await
        .unwrap();
    let request = "GET /slow?ms=1500 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    // sleep: the request must be on its way to the instance; it takes much longer than this.
    tokio::time::sleep(Duration::from_millis(300)).await;
    router.terminate();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    // The control plane started the next one meanwhile.
    wait_for_another_router(&site, &router).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_hangs_is_ended_and_started_again() {
    let mut site = Site::with_launches(&Delivery::default()).await;
    site.run(&["up", "--env", "production", "--json"])
        .await
        .exited(0);
    site.wait_for(&production(), "settled", is_settled).await;
    let router = router_of(&site).unwrap();
    router.freeze();
    let next = wait_for_another_router(&site, &router).await;
    let load = site.load();
    wait_for_requests(&load, 100).await;
    site.write_version("2", "none");
    let deploy = ["deploy", "production", "--json", "--wait", "bake"];
    site.run(&deploy).await.exited(0);
    assert_none_lost(&load.stop().await, "after the router came back");

    // The next control plane does not wait for one that hangs either.
    site.kill_control_plane().await;
    next.freeze();
    site.serve().await;
    wait_for_another_router(&site, &next).await;
}

/// Returns the one router of a site; `None` while there is none.
fn router_of(site: &Site) -> Option<Process> {
    let mut routers: Vec<Process> = site
        .processes()
        .into_iter()
        .filter(|process| process.has_role("router"))
        .collect();
    // One that was told to stop may be finishing while the next one serves.
    routers.sort_by_key(|router| router.id);
    assert!(routers.len() <= 2, "{routers:#?}");
    routers.pop()
}

/// Waits until the app is served by another router than this one, and returns it.
async fn wait_for_another_router(site: &Site, before: &Process) -> Process {
    let deadline = Instant::now() + LONGEST;
    loop {
        let router = router_of(site).filter(|router| router.id != before.id);
        let listens = tokio::net::TcpStream::connect(site.address()).await.is_ok();
        if let (Some(router), true) = (router, listens) {
            return router;
        }
        assert!(Instant::now() < deadline, "nobody listens: {}", site.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until as many processes of the app run as its environment has instances: no orphan.
async fn wait_for_instances(site: &Site, count: usize) {
    let deadline = Instant::now() + LONGEST;
    loop {
        let running: Vec<Process> = site.processes().into_iter().filter(is_instance).collect();
        let supervisors = site
            .processes()
            .iter()
            .filter(|one| one.has_role("__shim"))
            .count();
        if running.len() == count && supervisors == count {
            return;
        }
        let words: Vec<String> = site.processes().iter().map(Process::words).collect();
        assert!(
            Instant::now() < deadline,
            "{count} instances, but these run: {words:#?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
