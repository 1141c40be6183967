//! A Docker Engine that goes away and comes back, in the middle of deployments and with the control
//! plane: one of the test's own, so that no other test meets it. It needs root.

use std::time::Duration;

use towpath_api::{DeploymentState, Environment};

use super::app::{App, assert_none_lost_of};
use crate::chaos::{Moments, is_settled, wait_for_more_requests};
use crate::site::assert_none_lost;

/// How often Docker is restarted in the middle of a deployment.
const RESTARTS: u32 = 3;

/// What needs nothing of Docker's: names between containers are answered by Docker itself.
const SERVED: [&str; 3] = ["plain", "keep-alive", "slow"];

/// About how long a deployment takes.
const LENGTH: Duration = Duration::from_secs(4);

/// Says how a deployment ended that Docker was taken away from.
fn is_explained(ended: &towpath_api::Deployment) -> bool {
    let failure = ended.failure.as_ref();
    ended.state == DeploymentState::Succeeded
        || failure.is_some_and(|failure| failure.reason.contains("Docker"))
}

/// A deployment that is under way.
struct Interrupted {
    number: u32,
    moment: Duration,
    state: DeploymentState,
}

impl Interrupted {
    /// Begins one, and lets it come to some moment of it.
    async fn begin(app: &App, version: u32, moments: &mut Moments) -> Self {
        app.write_version(&version.to_string());
        let number = app.begin().await;
        let moment = moments.within(LENGTH);
        // sleep: the moment is what is tried out, whatever happens in it.
        tokio::time::sleep(moment).await;
        let deployment = app.site.client().deployment(&app.id, number).await;
        Self {
            number,
            moment,
            state: deployment.unwrap().state,
        }
    }

    /// Waits until it ended in a way that is explained and everything is settled, and says how.
    async fn until_explained(self, app: &App) -> String {
        let ended = app.ended(self.number).await;
        let (before, after) = (self.state.words(), ended.state.words());
        let what = format!("{before} after {:?}: {after}", self.moment);
        assert!(
            is_explained(&ended),
            "{what}: {ended:#?}\n{}",
            app.site.log()
        );
        app.settled().await;
        what
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_docker_that_is_upgraded_under_its_containers_takes_no_request_with_it() {
    let app = App::alone("krlive", &["--live-restore"]).await.up().await;
    let daemon = app.daemon.as_ref().unwrap();
    let load = app.load();
    let mut moments = Moments::new();
    for restart in 0..RESTARTS {
        let interrupted = Interrupted::begin(&app, restart + 2, &mut moments).await;
        daemon.end().await;
        // What runs goes on, and it is said what everything waits for.
        let waits = |environment: &Environment| environment.engine_fault.is_some();
        let waiting = app.site.wait_for(&app.id, "without Docker", waits).await;
        let fault = waiting.engine_fault.unwrap();
        assert!(fault.contains(&daemon.host()), "{fault}");
        wait_for_more_requests(&load, 30).await;
        daemon.begin();
        let what = interrupted.until_explained(&app).await;
        println!("{what}");
        let counts = load.snapshot_by_stream();
        assert_none_lost_of(&counts, &SERVED, &what);
    }
    drop(load.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_docker_that_takes_its_containers_with_it_has_them_all_back() {
    let mut app = App::alone("krdead", &[]).await.up().await;
    let mut moments = Moments::new();
    for restart in 0..RESTARTS {
        let interrupted = Interrupted::begin(&app, restart + 2, &mut moments).await;
        let daemon = app.daemon.as_ref().unwrap();
        daemon.end().await;
        daemon.begin();
        println!("{}", interrupted.until_explained(&app).await);
    }

    // As in a reboot, or when the power goes: nobody is told of anything.
    let stable = app.environment().await.stable;
    for way in ["ended", "killed"] {
        let before = app.environment().await.instances;
        let before: Vec<String> = before.into_iter().map(|one| one.id).collect();
        app.site.kill_control_plane().await;
        let daemon = app.daemon.as_ref().unwrap();
        if way == "ended" {
            daemon.end().await;
        } else {
            daemon.kill().await;
        }
        if way == "ended" {
            daemon.begin();
            app.site.serve().await;
        } else {
            app.site.serve().await;
            let waits = |environment: &Environment| environment.engine_fault.is_some();
            app.site.wait_for(&app.id, "without Docker", waits).await;
            app.daemon.as_ref().unwrap().begin();
        }
        let gone = |environment: &Environment| {
            let mut instances = environment.instances.iter();
            is_settled(environment) && !instances.any(|one| before.contains(&one.id))
        };
        app.site.wait_for(&app.id, "all of it replaced", gone).await;
        let environment = app.settled().await;
        assert_eq!(environment.stable, stable, "{way}");
        app.answers("/cgi-bin/store", "kept").await;
        let load = app.load();
        wait_for_more_requests(&load, 30).await;
        assert_none_lost(&load.stop().await, way);
    }
}
