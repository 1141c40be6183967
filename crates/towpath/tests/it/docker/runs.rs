//! Runs of pipelines on a real Docker Engine: jobs in containers of their own, with services beside
//! them, and nothing left of them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::app::{App, IMAGE};
use crate::site::LONGEST;

/// Asks the store beside a job for what it keeps.
const ASK: &str = "printf 'GET /it HTTP/1.0\\r\\n\\r\\n' | nc -w 5 store 9000 | tail -n 1";

fn add_pipeline(app: &App, pipeline: Value) {
    app.change_delivery(|file| file["pipeline"] = pipeline);
}

/// Waits until nothing is left of jobs: containers, networks, volumes.
async fn wait_for_no_jobs(app: &App) {
    let deadline = Instant::now() + LONGEST;
    let label = format!("label=towpath.app={}", app.id.app);
    loop {
        let mut left = Vec::new();
        for words in [
            &["ps", "-a", "--filter", &label, "--format", "{{.Names}}"][..],
            &["network", "ls", "--filter", &label, "--format", "{{.Name}}"],
            &["volume", "ls", "--filter", &label, "--format", "{{.Name}}"],
        ] {
            let lines = app.docker.lines(words).await;
            left.extend(lines.into_iter().filter(|name| name.contains("-ci-")));
        }
        if left.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "left behind: {left:?}\n{}",
            app.site.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_from_containers_with_a_service_beside_them_to_production() {
    let mut app = App::new("runs").await;
    let unit = json!({
        "name": "unit", "image": IMAGE, "services": ["store"],
        "run": format!("pwd\nls\ntouch made-here\n{ASK}"),
    });
    let inside = json!({
        "name": "inside", "service": "web", "needs": ["unit"],
        "run": "echo \"inside of $VERSION\"\ntest -d /gate",
    });
    add_pipeline(&app, json!([unit, inside]));
    app.site.serve().await;
    let answer = app
        .site
        .run(&["runs", "start", "--wait", "end"])
        .await
        .exited(0);
    assert!(answer.stdout.contains("to production"), "{}", answer.stdout);
    let log = app
        .site
        .run(&["runs", "logs", "1", "unit"])
        .await
        .exited(0)
        .stdout;
    for words in ["/workspace", "towpath.yaml", "kept"] {
        assert!(log.contains(words), "{words}: {log}");
    }
    let log = app
        .site
        .run(&["runs", "logs", "1", "inside"])
        .await
        .exited(0)
        .stdout;
    assert!(log.contains("inside of 1"), "{log}");
    wait_for_no_jobs(&app).await;
    app.answers("/version", "version 1").await;
    app.settled().await;

    // A job that fails keeps the next release out, and is killed with a container that hangs.
    let jobs = json!([
        { "name": "broken", "image": IMAGE, "run": "echo no good; exit 7" },
        { "name": "hangs", "image": IMAGE, "run": "trap '' TERM; sleep 600", "timeout": "2s" },
    ]);
    app.write_version("2");
    add_pipeline(&app, jobs);
    let answer = app
        .site
        .run(&["runs", "start", "--wait", "end"])
        .await
        .exited(1);
    for words in ["exited with code 7", "no good", "timed out after 2s"] {
        assert!(answer.stdout.contains(words), "{words}: {}", answer.stdout);
    }
    wait_for_no_jobs(&app).await;
    app.answers("/version", "version 1").await;
    app.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_in_containers_leave_files_for_others_and_for_later_runs() {
    let mut app = App::new("leaves").await;
    let report = "<testsuite><testcase name='adds'/></testsuite>";
    let make = format!(
        "mkdir -p dist target deps; echo \"made of $TOWPATH_CACHE\" > dist/app; ln -s /etc dist/out; \
         echo \"{report}\" > target/a.xml; cat deps/runs || true; echo run >> deps/runs"
    );
    let jobs = json!([
        {
            "name": "build", "image": IMAGE, "artifacts": ["dist"], "reports": "target/*.xml",
            "steps": [{ "name": "make", "run": make }, { "name": "look", "run": "cat dist/app" }],
            "cache": { "paths": ["deps"], "files": ["compose.yaml"] },
        },
        // One in the image of a service has that image's directory, not the tree.
        { "name": "inside", "service": "web", "needs": ["build"], "run": "cat dist/app && test ! -e dist/out" },
        { "name": "once", "image": IMAGE, "needs": ["build"], "run": "ls dist/app", "reuse": "1d" },
    ]);
    add_pipeline(&app, jobs);
    app.site.serve().await;
    for (number, word, once) in [("1", "none", 1), ("2", "exact", 1), ("3", "exact", 0)] {
        let words = ["runs", "start", "--wait", "end"];
        let answer = app.site.run(&words).await.exited(0);
        let client = app.site.client();
        let record = client.run_record(app.id.app.as_str(), number.parse().unwrap());
        let run = record.await.unwrap();
        let build = &run.jobs[0];
        assert_eq!(build.artifacts.as_ref().unwrap().files, 1, "{build:?}");
        assert_eq!(build.tests.as_ref().unwrap().tests, 1, "{build:?}");
        assert_eq!(build.steps.len(), 2);
        assert_eq!(run.jobs[2].attempts, once, "{}", answer.stdout);
        let log = app.site.run(&["runs", "logs", number, "inside"]).await;
        assert_eq!(log.exited(0).stdout, format!("made of {word}\n"));
    }
    let log = app
        .site
        .run(&["runs", "logs", "3", "build"])
        .await
        .exited(0);
    assert!(log.stdout.contains("\nrun\n"), "{}", log.stdout);
    wait_for_no_jobs(&app).await;
    app.down().await;
}
