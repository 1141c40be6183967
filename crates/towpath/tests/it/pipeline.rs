//! Runs by the real binary on the process engine: jobs with services beside them, deliveries, what
//! people decide, and a control plane that is killed on the way.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use towpath_api::{Run, RunPartState, RunState};
use towpath_model::id::EnvironmentId;

use crate::chaos::Moments;
use crate::site::{Answer, LONGEST, PROGRAM, Site};

/// How often the control plane is killed, in how many runs.
const KILLS: u32 = 6;

/// What the first line of an HTTP answer of the service beside a job is asked with.
const ASK: &str = "exec 3<>/dev/tcp/$CACHE_HOST/$CACHE_PORT
printf 'GET /healthz HTTP/1.1\\r\\nhost: cache\\r\\nconnection: close\\r\\n\\r\\n' >&3
head -n 1 <&3";

fn dev() -> EnvironmentId {
    "shop/dev".parse().unwrap()
}

/// Writes an app whose services are the store of the example: `web`, which is published, and `cache`,
/// which is there for the others alone.
pub(crate) fn put(site: &Site, environments: &Value, pipeline: &Value) {
    let port = site.address().port();
    let compose = json!({ "services": {
        "web": { "image": "store", "ports": [format!("127.0.0.1:{port}:8080")] },
        "cache": { "image": "store" },
    } });
    let service = |data: &str| {
        let command = format!("mkdir -p {data} && exec '{PROGRAM}' __launches store");
        json!({
            "process": { "command": command, "environment": { "LAUNCHES_DATA_DIR": data } },
            "health": { "http": "/healthz" },
        })
    };
    let file = json!({
        "app": "shop",
        "rollout": { "bake": "0s", "drain": "0s" },
        "services": { "web": service("web-data"), "cache": service("cache-data") },
        "environments": environments,
        "pipeline": pipeline,
        "groups": { "qa": ["quinn"] },
    });
    site.write(
        "compose.yaml",
        &serde_json::to_string_pretty(&compose).unwrap(),
    );
    site.write(
        "towpath.yaml",
        &serde_json::to_string_pretty(&file).unwrap(),
    );
}

pub(crate) async fn site_with(environments: Value, pipeline: Value) -> Site {
    let mut site = Site::new();
    put(&site, &environments, &pipeline);
    site.serve().await;
    site
}

pub(crate) async fn start(site: &Site) -> Answer {
    site.run(&["runs", "start", "--wait", "end"]).await
}

async fn wait_for_run(site: &Site, number: u32, what: &str, done: impl Fn(&Run) -> bool) -> Run {
    let deadline = Instant::now() + LONGEST;
    loop {
        let run = site.client().run_record("shop", number).await;
        if let Ok(run) = run {
            if done(&run) {
                return run;
            }
            assert!(
                Instant::now() < deadline,
                "never {what}: {run:#?}\n{}",
                site.log()
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until nothing is left of the environments of jobs.
pub(crate) async fn wait_for_no_jobs(site: &Site) {
    let is_job = |words: &str| words.contains("/ci-");
    site.wait_until_left(|process| !is_job(&process.words()))
        .await;
    let directory = site.home().join("environments/shop");
    let deadline = Instant::now() + LONGEST;
    loop {
        let names = std::fs::read_dir(&directory).into_iter().flatten();
        let names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("ci-"))
            .collect();
        if names.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "left behind: {names:?}\n{}",
            site.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_from_a_job_with_a_service_beside_it_to_the_environments() {
    let unit = json!({
        "name": "unit",
        "run": ["bash", "-c", format!("pwd; touch made-here; {ASK}; echo \"the $COLOUR $TOKEN one\"")],
        "services": ["cache"],
        "matrix": { "COLOUR": ["red", "blue"] },
        "secrets": { "TOKEN": "token" },
    });
    let browse = json!({
        "name": "browse",
        "run": ["bash", "-c", "echo looked at $TOWPATH_URL; exec 3<>/dev/tcp/${TOWPATH_URL:7:9}/${TOWPATH_URL:17:5}; sleep 1; echo after a silence"],
        "after": "dev",
    });
    let environments = json!({
        "dev": { "deploy": { "branch": "main" } },
        "staging": { "deploy": { "after": "dev" }, "compose": ["compose.yaml", "staging.yaml"] },
    });
    let site = site_with(environments, json!([unit, browse])).await;
    site.write("staging.yaml", "services: { web: { ports: !reset [] } }\n");
    site.run(&["env", "create", "dev"]).await.exited(0);
    site.run_with_input(&["secret", "set", "dev", "token"], b"hunter2-the-token")
        .await
        .exited(0);
    let answer = start(&site).await.exited(0);
    assert!(answer.stdout.contains("succeeded"), "{}", answer.stdout);

    let run = site.client().run_record("shop", 1).await.unwrap();
    let labels: Vec<&str> = run.jobs.iter().map(|job| job.label.as_str()).collect();
    assert_eq!(labels, ["unit (red)", "unit (blue)", "browse"]);
    for name in ["dev", "staging"] {
        let id: EnvironmentId = format!("shop/{name}").parse().unwrap();
        let environment = site.client().environment(&id).await.unwrap();
        assert_eq!(environment.stable, Some(run.release), "{name}");
    }
    // The log is kept, without the secret; each job had a copy of the tree of its own.
    let log = site
        .run(&["runs", "logs", "1", "unit"])
        .await
        .exited(0)
        .stdout;
    assert_eq!(log.matches("HTTP/1.1 200").count(), 2, "{log}");
    assert!(
        log.contains("the red *** one") && log.contains("the blue *** one"),
        "{log}"
    );
    assert!(!log.contains("hunter2"), "{log}");
    let log = site
        .run(&["runs", "logs", "1", "browse"])
        .await
        .exited(0)
        .stdout;
    assert!(
        log.contains(&format!(
            "looked at http://127.0.0.1:{}",
            site.address().port()
        )),
        "{log}"
    );
    assert!(log.contains("after a silence"), "{log}");
    let services = ["runs", "logs", "1", "unit (red)", "--services"];
    let log = site.run(&services).await.exited(0).stdout;
    assert!(log.contains("cache          | "), "{log}");
    // Nothing of the jobs is left, and nobody sees their environments.
    wait_for_no_jobs(&site).await;
    let listed = site.run(&["env", "ls", "--json"]).await.exited(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    let releases = site.client().releases("shop").await.unwrap();
    assert_eq!(releases.len(), 1, "jobs and environments have the same one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_named_stops_what_follows_and_can_be_tried_again() {
    let jobs = json!([
        { "name": "lint", "run": "echo on the way\ntest -e not-there\necho never" },
        { "name": "slow", "run": "sleep 600", "timeout": "1s", "retries": 1 },
    ]);
    let site = site_with(json!({ "dev": {} }), jobs).await;
    let answer = start(&site).await.exited(1);
    for words in [
        "job lint",
        "exited with code 1",
        "on the way",
        "timed out after 1s",
    ] {
        assert!(answer.stdout.contains(words), "{words}: {}", answer.stdout);
    }
    assert!(!answer.stdout.contains("never"), "{}", answer.stdout);
    let run = site.client().run_record("shop", 1).await.unwrap();
    assert_eq!(run.environments[0].state, RunPartState::Skipped);
    assert_eq!(run.jobs[1].attempts, 2);
    site.run(&["status", "shop/dev"]).await.exited(3);
    wait_for_no_jobs(&site).await;
    // A file that is wrong begins nothing.
    let jobs = json!([{ "name": "unit", "run": "x", "services": ["cach"] }]);
    put(&site, &json!({ "dev": {} }), &jobs);
    let answer = site.run(&["check"]).await.exited(2);
    assert!(answer.stderr.contains("towpath.yaml:"), "{}", answer.stderr);
    let answer = start(&site).await.exited(2);
    assert!(answer.stderr.contains("towpath.yaml:"), "{}", answer.stderr);
    assert!(
        answer.stderr.contains("did you mean `cache`?"),
        "{}",
        answer.stderr
    );
    assert_eq!(site.client().runs("shop", 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cancels_a_run_stops_its_job_and_a_newer_run_takes_the_place_of_an_older_one() {
    let jobs = json!([{ "name": "slow", "run": "echo begun; exec sleep 600" }]);
    let site = site_with(json!({ "dev": {} }), jobs).await;
    let begin = ["runs", "start", "--wait", "none", "--json"];
    let first = site.run(&begin).await.exited(0).json();
    assert_eq!(first["run"], 1);
    let is_begun = |run: &Run| run.jobs[0].state == RunPartState::Running;
    wait_for_run(&site, 1, "begun", is_begun).await;
    site.run(&begin).await.exited(0);
    let ended = wait_for_run(&site, 1, "superseded", |run| run.ended).await;
    assert_eq!(ended.state, RunState::Superseded);
    wait_for_run(&site, 2, "begun", is_begun).await;
    site.run(&["runs", "cancel", "2"]).await.exited(0);
    let ended = wait_for_run(&site, 2, "cancelled", |run| run.ended).await;
    assert_eq!(ended.state, RunState::Cancelled);
    wait_for_no_jobs(&site).await;
    site.run(&["runs", "cancel", "2"]).await.exited(1);
    site.run(&["runs", "cancel", "9"]).await.exited(3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_waits_for_who_may_approve_it_and_can_be_promoted_by_hand() {
    let approvals = json!({ "groups": ["qa"] });
    let environments = json!({
        "dev": { "deploy": { "branch": "main" } },
        "staging": { "deploy": { "after": "dev", "approvals": approvals },
            "compose": ["compose.yaml", "other.yaml"] },
        "production": { "deploy": { "after": "staging", "on": "manual" },
            "compose": ["compose.yaml", "other.yaml"] },
    });
    let site = site_with(environments, json!([])).await;
    site.write("other.yaml", "services: { web: { ports: !reset [] } }\n");
    let answer = site.run(&["runs", "start"]).await.exited(0);
    assert!(
        answer.stdout.contains("towpath approve staging --run 1"),
        "{}",
        answer.stdout
    );
    // The one who asks is in no group.
    site.run(&["approve", "staging"]).await.exited(4);
    site.run(&["promote", "production"]).await.exited(3);
    let quinn = towpath_api::client::Client::unix(site.home().join("towpath.sock"), "quinn");
    let decision = towpath_api::DecisionRequest {
        approve: true,
        comment: Some("looks good".to_owned()),
    };
    quinn
        .decide_run("shop", 1, "staging", &decision)
        .await
        .unwrap();
    let run = wait_for_run(&site, 1, "ended", |run| run.ended).await;
    assert_eq!(run.state, RunState::Succeeded);
    let answer = site
        .run(&["promote", "production", "--wait", "end"])
        .await
        .exited(0);
    assert!(answer.stdout.contains("to production"), "{}", answer.stdout);
    let promotion = site.client().run_record("shop", 2).await.unwrap();
    assert!(promotion.promotion);
    assert_eq!(promotion.release, run.release);
    let events = site
        .run(&["events", "--json", "--limit", "200"])
        .await
        .exited(0)
        .stdout;
    assert!(
        events.contains("approval.given") && events.contains("looks good"),
        "{events}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_killed_at_any_moment_of_a_run_finishes_it_and_deploys_once() {
    let root = "../../../../../../..";
    let note =
        format!("echo \"$TOWPATH_RUN_NUMBER $TOWPATH_JOB\" >> {root}/starts; sleep 0.2; {ASK}");
    let jobs = json!([
        { "name": "one", "run": ["bash", "-c", note], "services": ["cache"] },
        { "name": "two", "run": ["bash", "-c", note], "services": ["cache"], "needs": ["one"] },
    ]);
    let mut site = site_with(json!({ "dev": {} }), jobs).await;
    start(&site).await.exited(0);
    let mut moments = Moments::new();
    for number in 2..2 + KILLS {
        // Another version of the service, so that each run replaces an instance.
        site.write("version", &number.to_string());
        let begin = ["runs", "start", "--wait", "none"];
        site.run(&begin).await.exited(0);
        for _ in 0..2 {
            tokio::time::sleep(moments.within(Duration::from_millis(1_500))).await;
            site.kill_control_plane().await;
            site.serve().await;
        }
        let run = wait_for_run(&site, number, "ended", |run| run.ended).await;
        assert_eq!(run.state, RunState::Succeeded, "{run:#?}\n{}", site.log());
        let starts = std::fs::read_to_string(site.root().join("starts")).unwrap();
        for job in ["one", "two"] {
            let line = format!("{number} {job}");
            let count = starts.lines().filter(|one| *one == line).count();
            assert_eq!(count, 1, "starts of {line}");
        }
        let deployments = site.client().deployments(&dev(), 50).await.unwrap();
        let own = deployments.iter().filter(|one| one.release == run.release);
        assert_eq!(own.count(), 1, "deployments of run {number}");
        let log = site
            .run(&["runs", "logs", &number.to_string(), "two"])
            .await;
        assert!(log.stdout.contains("HTTP/1.1 200"), "{log:?}");
    }
    wait_for_no_jobs(&site).await;
}
