//! `towpath adopt` on Compose projects that other people wrote, as they run and under load: the
//! containers, the data and every request before, meanwhile and after the next release.
//!
//! The Compose files are those of docker/awesome-compose, read as they are from the cases beside the
//! project. Redis, `PostgreSQL` and Flask are Debian's; Gitea and Nextcloud, which Debian does not have,
//! are stood in for by a program that uses their database and their volume.

mod project;

use std::time::Duration;

use towpath_load::{Counts, Handle, LoadPlan, Stream};
use towpath_model::id::EnvironmentId;

use self::project::Project;
use crate::site::{Site, assert_none_lost};

/// What is enough for some requests on each side of a change.
const A_WHILE: Duration = Duration::from_secs(2);

fn load(project: &Project) -> Handle {
    let plan = LoadPlan {
        target: project.address(),
        host: "app.example".to_owned(),
        streams: vec![Stream::plain("/", 20.0).expecting("hits")],
    };
    plan.start().unwrap()
}

async fn stop(load: Handle) -> Counts {
    load.stop().await
}

async fn a_while() {
    // sleep: the load has to go on for a time; nothing is waited for.
    tokio::time::sleep(A_WHILE).await;
}

/// Takes the project over under load, brings a second release out, and compares.
async fn taken_over(project: Project) {
    let mut site = Site::new();
    project.write(&site);
    site.serve().await;
    project.start(&site).await;
    let before = project.ask().await;
    let containers = project.containers().await;
    let load = load(&project);
    a_while().await;

    let dry = site.run(&["adopt", project.name, "--dry-run"]).await;
    let dry = dry.exited(0).stdout;
    assert!(dry.contains("nothing was done"), "{dry}");
    assert_eq!(project.rules().await, 0);

    let adopted = site.run(&["adopt", project.name, "--yes"]).await.exited(0);
    let warnings = adopted.stderr.lines();
    let mut warnings: Vec<&str> = warnings.filter(|line| line.contains("warning: ")).collect();
    let count = warnings.len();
    warnings.sort_unstable();
    warnings.dedup();
    assert_eq!(warnings.len(), count, "said twice: {}", adopted.stderr);
    a_while().await;
    assert_eq!(
        project.containers().await,
        containers,
        "nothing was stopped"
    );
    assert!(project.rules().await > 0, "the traffic moved");
    let routed = project.ask().await;
    assert_eq!(routed.marker, before.marker);
    assert!(routed.hits > before.hits);

    project.write_second_release(&site);
    site.run(&["deploy", "production"]).await.exited(0);
    let id: EnvironmentId = format!("{}/production", project.name).parse().unwrap();
    let number = site.client().deployments(&id, 1).await.unwrap()[0].number;
    let ended = site.wait_for_end(&id, number).await;
    assert!(ended.ended);
    project.until_no_rules().await;
    a_while().await;
    let counts = stop(load).await;
    assert_none_lost(&counts, project.name);

    let after = project.ask().await;
    assert_eq!(after.release, 2);
    assert_eq!(after.marker, before.marker, "the volume is the same");
    assert!(
        after.hits >= before.hits + counts.ok,
        "the data went on: {before:?} {after:?} {counts:?}"
    );
    let left = project.containers().await;
    let kept = left.intersection(&containers).count();
    assert_eq!(
        kept,
        containers.len() - 1,
        "only the changed service was replaced: {containers:?} {left:?}"
    );
    site.run(&["env", "rm", id.to_string().as_str(), "--yes"])
        .await
        .exited(0);
    project.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flask_and_redis_are_taken_over_under_load() {
    taken_over(project::flask_redis("adoptflask")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gitea_and_postgresql_are_taken_over_under_load() {
    taken_over(project::gitea("adoptgitea")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nextcloud_and_postgresql_are_taken_over_under_load() {
    taken_over(project::nextcloud("adoptnextcloud")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adoption_is_undone_under_load_also_by_a_control_plane_that_was_killed() {
    let project = project::gitea("adoptundone").on_port(3001);
    let mut site = Site::new();
    project.write(&site);
    site.serve().await;
    project.start(&site).await;
    let containers = project.containers().await;
    let before = project.ask().await;
    let load = load(&project);
    site.run(&["adopt", project.name, "--yes"]).await.exited(0);
    a_while().await;
    site.kill_control_plane().await;
    a_while().await;
    site.serve().await;
    site.run(&["adopt", project.name, "--undo"]).await.exited(0);
    a_while().await;
    assert_none_lost(&stop(load).await, "undone");
    assert_eq!(project.containers().await, containers);
    assert_eq!(project.rules().await, 0);
    assert!(project.ask().await.hits > before.hits);
    let left = site.run(&["env", "ls", "--json"]).await.exited(0).json();
    assert_eq!(left, serde_json::json!([]));
    project.clean().await;
}
