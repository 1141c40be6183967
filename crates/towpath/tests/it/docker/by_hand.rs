//! What somebody does with the `docker` command to a deployment that is under way or serves: it
//! converges, or says why not, and what Docker itself goes on serving loses nothing.

use std::time::Duration;

use serde_json::json;
use tokio::process::Command;
use tokio::time::Instant;
use towpath_api::DeploymentState;

use super::app::{App, assert_none_lost_of, container};
use super::cli::run;
use crate::chaos::wait_for_more_requests;
use crate::machine::Process;
use crate::site::assert_none_lost;

/// Requests that take no time: no process that is killed has one in its hands.
const QUICK: [&str; 2] = ["plain", "keep-alive"];

/// Waits until a container of the candidate runs, and returns its name.
async fn candidate(app: &App) -> String {
    let environment = app
        .site
        .wait_for(&app.id, "a candidate that runs", |environment| {
            let release = environment.deployment.as_ref().map(|one| one.release);
            let mut instances = environment.instances.iter();
            instances.any(|one| Some(one.release) == release && one.address.is_some())
        })
        .await;
    let release = environment.deployment.unwrap().release;
    let mut instances = environment.instances.iter();
    let found = instances.find(|one| one.release == release && one.address.is_some());
    container(&found.unwrap().id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_is_removed_by_hand_is_replaced_whichever_release_it_is_of() {
    let app = App::new("khremoved").await.up().await;
    let load = app.load();
    wait_for_more_requests(&load, 50).await;

    // Of the stable release, while nothing else happens.
    let victim = app.serving("web").await.remove(0);
    app.docker.run(&["rm", "-f", &victim]).await;
    app.replaced(&victim).await;
    let told = app.events().await;
    assert!(told.contains("its container was removed"), "{told}");
    assert!(told.contains("environment.drifted"), "{told}");
    assert!(told.contains("removed: web-"), "{told}");

    // Of the candidate, and of the stable release, before the candidate is well.
    app.write_closed_version("2");
    let number = app.begin().await;
    let victim = candidate(&app).await;
    app.docker.run(&["rm", "-f", &victim]).await;
    let stable = app.serving("web").await.remove(0);
    app.docker.run(&["rm", "-f", &stable]).await;
    app.open_gate("2");
    let ended = app.ended(number).await;
    assert_eq!(
        ended.state,
        DeploymentState::Succeeded,
        "{ended:#?}\n{}",
        app.site.log()
    );
    let environment = app.settled().await;
    assert_eq!(environment.stable, Some(2));
    wait_for_more_requests(&load, 50).await;
    let counts = load.snapshot_by_stream();
    drop(load.stop().await);
    assert_none_lost_of(&counts, &QUICK, "containers removed by hand");
    app.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_is_stopped_by_hand_is_replaced_and_limits_that_are_changed_are_put_back()
{
    let app = App::new("khstopped").await.up().await;
    let victim = app.serving("web").await.remove(0);
    app.docker.run(&["stop", "-t", "1", &victim]).await;
    app.replaced(&victim).await;
    let other = app.serving("web").await.remove(0);
    app.docker
        .run(&["update", "--pids-limit", "77", &other])
        .await;
    app.told("given other limits: web-").await;
    let told = app.events().await;
    for words in [
        "(stopped by another hand)",
        "stopped: web-",
        "(processes: 77 instead of ",
        "(put back)",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    app.settled().await;
    app.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_is_restarted_by_hand_serves_again_or_is_replaced() {
    let app = App::new("khrestarted").await.up().await;
    let load = app.load();
    wait_for_more_requests(&load, 50).await;
    for name in app.serving("web").await {
        let before = app.environment().await;
        app.docker.run(&["restart", "-t", "1", &name]).await;
        app.anew(&before, &name).await;
    }
    wait_for_more_requests(&load, 50).await;
    let counts = load.snapshot_by_stream();
    assert_none_lost_of(&counts, &QUICK, "instances restarted by hand");

    // What there is one of is away for as long as its restart takes, and finds its data again.
    let store = app.serving("store").await.remove(0);
    let before = app.environment().await;
    app.docker.run(&["restart", "-t", "1", &store]).await;
    app.anew(&before, &store).await;
    app.answers("/cgi-bin/store", "kept").await;
    drop(load.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_container_is_replaced_and_what_cannot_be_replaced_says_that_it_is_paused() {
    let app = App::new("khpaused").await;
    // A container that is paused while a command begins in it hangs for good, and Docker with it.
    app.change_delivery(|file| {
        file["services"]["store"]["health"] = json!({
            "http": "/it", "interval": "1s", "timeout": "5s", "retries": 2, "start_period": "40s",
        });
    });
    let app = app.up().await;
    let load = app.load();
    wait_for_more_requests(&load, 50).await;
    let victim = app.serving("web").await.remove(0);
    let before = load.snapshot();
    app.docker.run(&["pause", &victim]).await;
    app.replaced(&victim).await;
    let told = app.events().await;
    assert!(told.contains("paused"), "{told}");
    wait_for_more_requests(&load, 50).await;
    // What it was given already it takes with it: two requests at a time, until it is known.
    let lost = load.snapshot().since(&before).failed.total();
    assert!(
        lost <= 10,
        "{lost} requests were lost: {:#?}",
        load.snapshot().last_failures
    );

    // Of a service with data there is never a second one: that is for a person to decide.
    let store = app.serving("store").await.remove(0);
    app.docker.run(&["pause", &store]).await;
    let ill = |environment: &towpath_api::Environment| {
        let mut instances = environment.instances.iter();
        instances.any(|one| {
            one.failing_check
                .as_deref()
                .is_some_and(|met| met.contains("paused"))
        })
    };
    app.site.wait_for(&app.id, "ill", ill).await;
    app.docker.run(&["unpause", &store]).await;
    app.settled().await;
    assert_eq!(app.serving("store").await, [store]);

    // One that is paused is stopped all the same.
    app.write_version("2");
    let victim = app.serving("web").await.remove(0);
    app.docker.run(&["pause", &victim]).await;
    app.deploy().await;
    app.settled().await;
    drop(load.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_is_removed_by_hand_comes_back_with_all_that_were_in_it() {
    let app = App::new("khnetwork").await.up().await;
    let before = app.environment().await;
    let network = format!("{}-production_default", app.id.app);
    let load = app.load();
    wait_for_more_requests(&load, 50).await;

    // One container is taken out of it: the others serve.
    let victim = app.serving("web").await.remove(0);
    app.docker
        .run(&["network", "disconnect", "-f", &network, &victim])
        .await;
    app.told("instance.unreachable").await;
    app.settled().await;
    app.answers("/cgi-bin/store", "kept").await;

    // All of them, and the network, before the control plane can put anybody back.
    let mut processes = app.site.processes();
    processes.retain(|process| process.has_role("serve"));
    processes.iter().for_each(Process::freeze);
    let line = format!(
        "set -e; for name in $(docker ps --filter network={network} --format '{{{{.Names}}}}'); do \
           docker network disconnect -f {network} $name; \
         done; docker network rm {network} >/dev/null",
    );
    run(Command::new("sh").args(["-c", &line])).await;
    processes.iter().for_each(Process::thaw);
    let removed_at = Instant::now();
    app.answers("/version", "version 1").await;
    app.answers("/cgi-bin/store", "kept").await;
    let took = removed_at.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}");
    let after = app.settled().await;
    let store = |environment: &towpath_api::Environment| {
        let mut instances = environment.instances.iter();
        instances
            .find(|one| one.service == "store")
            .unwrap()
            .id
            .clone()
    };
    assert_eq!(
        store(&after),
        store(&before),
        "the store was not stopped for it"
    );
    drop(load.stop().await);

    // And deployments go on as ever.
    let load = app.load();
    app.write_version("2");
    app.deploy().await;
    app.settled().await;
    assert_none_lost(&load.stop().await, "after the network came back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_pruned_is_made_again_where_it_can_be_and_named_where_not() {
    let app = App::new("khimages").await;
    let built = |version: &str| {
        let dockerfile = format!("FROM {}\nENV BUILT={version}\n", super::app::IMAGE);
        app.open_gate(version);
        app.write_changed(version, |file| {
            let web = &mut file["services"]["web"];
            web["image"] = serde_json::json!("khimages-web");
            web["pull_policy"] = serde_json::json!("build");
            web["build"] = serde_json::json!({ "context": ".", "dockerfile_inline": dockerfile });
        });
    };
    built("1");
    let app = app.up().await;
    let load = app.load();

    // The stable release's, with all of its containers of it: it is built again.
    let image = |release: u32| format!("towpath/khimages-production-web:r{release}");
    for name in app.serving("web").await {
        // One after the other: the other one serves.
        app.docker.run(&["rm", "-f", &name]).await;
        drop(app.docker.command(&["rmi", "-f", &image(1)]).output().await);
        app.replaced(&name).await;
    }
    app.docker.run(&["image", "inspect", &image(1)]).await;

    // That of a kept release, which is brought back.
    app.write_version("2");
    app.deploy().await;
    app.settled().await;
    app.docker.run(&["rmi", "-f", &image(1)]).await;
    app.site.run(&["rollback", "production"]).await.exited(0);
    app.settled().await;
    app.answers("/version", "version 1").await;

    assert_none_lost(&load.stop().await, "images pruned by hand");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_nobody_has_any_more_is_named_and_what_serves_goes_on() {
    let local = "towpath-test/khlocal:1";
    let app = App::new("khlocal").await;
    app.docker.run(&["tag", super::app::IMAGE, local]).await;
    // An image of its own: the one that all have is not removed.
    let line = format!("printf 'FROM {local}\\nENV A=b\\n' | docker build -q -t {local} -");
    run(Command::new("sh").args(["-c", &line])).await;
    app.write_changed("1", |file| {
        file["services"]["web"]["image"] = serde_json::json!(local);
    });
    let app = app.up().await;
    let load = app.load();
    app.write_version("2");
    app.deploy().await;
    app.settled().await;
    let kept = "towpath/khlocal-production-web:r1";
    app.docker.run(&["rmi", "-f", local, kept]).await;
    let back = ["rollback", "production"];
    let refused = app.site.run(&back).await.exited(1);
    let refused = format!("{}{}", refused.stdout, refused.stderr);
    assert!(
        refused.contains(local) && refused.contains("`web`"),
        "{refused}"
    );
    let environment = app.settled().await;
    assert_eq!(environment.stable, Some(2));
    assert_none_lost(&load.stop().await, "an image that is gone");
}
