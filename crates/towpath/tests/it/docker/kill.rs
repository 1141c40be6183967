//! The control plane killed at random moments of deployments of containers.

use super::app::App;
use crate::chaos::Kills;
use crate::site::assert_none_lost;

/// The strategies, and about how many milliseconds a deployment takes by each.
const STRATEGIES: [(&str, u64); 4] = [
    ("rolling", 6_000),
    ("blue-green", 4_000),
    ("canary", 5_000),
    ("recreate", 5_000),
];

/// How often the control plane is killed.
const KILLS: u32 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_killed_at_any_moment_of_a_deployment_of_containers_loses_nothing() {
    let mut app = App::new("kkilled").await.up().await;
    let load = app.load();
    let kills = Kills {
        id: app.id.clone(),
        count: KILLS,
        strategies: &STRATEGIES,
        load: &load,
    };
    let write = |app: &App, version: &str| app.write_version(version);
    kills
        .run(&mut app, write, async |app, _, _, what| {
            app.settled().await;
            let store = app.get("/cgi-bin/store").await;
            assert!(store.is_some_and(|text| text.contains("kept")), "{what}");
        })
        .await;
    assert_none_lost(&load.stop().await, "the whole of it");
    app.down().await;
}
