//! A disk on which Docker has no room: a deployment is refused before anything of it is made, and what
//! serves goes on. The disk is a small file system in memory, and the Docker Engine the test's own: it
//! needs root.

use super::app::App;
use crate::chaos::{is_settled, wait_for_more_requests};
use crate::full::Disk;
use crate::site::assert_none_lost;

/// A little more than what has to be free.
const MEGABYTES: u32 = 1_300;

/// What is taken until it is less.
const TAKEN: u64 = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_docker_has_no_room_for_is_refused_before_it_starts() {
    let place = tempfile::tempdir().unwrap();
    let disk = Disk::mount(place.path(), MEGABYTES).expect("root may mount");
    let root = place.path().display().to_string();
    let app = App::alone("kdisk", &["--data-root", &root])
        .await
        .up()
        .await;
    let before = app.environment().await.instances;
    let images = app.docker.lines(&["images", "-aq"]).await;
    let load = app.load();
    app.write_version("2");
    let deploy = ["deploy", "production", "--wait", "bake"];

    // There is some, and less than a release may need; then there is none at all.
    disk.take(TAKEN);
    for fill in [false, true] {
        if fill {
            disk.fill();
        }
        let answer = app.site.run(&deploy).await.exited(1);
        let said = format!("{}{}", answer.stdout, answer.stderr);
        for words in [
            &root,
            "nearly full",
            "1024 MiB are needed",
            "docker system df",
        ] {
            assert!(said.contains(words), "no {words} in {said}");
        }
        assert!(!said.contains("provisioning"), "nothing is started: {said}");
        let after = app.site.wait_for(&app.id, "settled", is_settled).await;
        assert_eq!(after.instances, before);
        assert_eq!(app.docker.lines(&["images", "-aq"]).await, images);
    }
    wait_for_more_requests(&load, 40).await;
    assert_none_lost(&load.stop().await, "while Docker has no room");
    app.answers("/version", "version 1").await;
    app.answers("/cgi-bin/store", "kept").await;

    disk.make_room();
    app.deploy().await;
    app.answers("/version", "version 2").await;
    app.settled().await;
    app.down().await;
}
