//! What jobs are made of and what they leave behind, by the real binary on the process engine: steps,
//! test reports, artifacts, logs without end.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use towpath_api::RunPartState::{self, Failed, Skipped, Succeeded};

use crate::pipeline::{put, site_with, start, wait_for_no_jobs};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_has_steps_and_leaves_reports_and_files_for_those_that_need_it() {
    let report = "<testsuite><testcase name='a'/><testcase classname='Cart' name='b'>\
        <failure message='two is not one'/></testcase></testsuite>";
    let jobs = json!([
        {
            "name": "build",
            "steps": [
                { "name": "make it", "run": "export SEEN=1\nmkdir -p dist target\necho 'a program' > dist/app\nln -s /etc dist/out" },
                { "name": "look", "run": ["sh", "-c", "test -z \"$SEEN\" && cat dist/app && printf 'no end'"] },
            ],
            "artifacts": ["dist"],
        },
        {
            "name": "check", "needs": ["build"], "reports": "target/*.xml",
            "steps": [
                { "name": "read", "run": "cat dist/app; test ! -e dist/out" },
                { "name": "it's a test", "run": format!("mkdir target; echo \"{report}\" > target/a.xml; exit 3") },
                { "name": "after", "run": "echo never" },
            ],
        },
    ]);
    let site = site_with(json!({ "dev": {} }), jobs).await;
    let answer = start(&site).await.exited(1);
    let reason = "step `it's a test`: exited with code 3; 2 tests, 1 failed in 0.0 s";
    assert!(answer.stdout.contains(reason), "{}", answer.stdout);
    let run = site.client().run_record("shop", 1).await.unwrap();
    let states = |job: usize| {
        let steps = run.jobs[job].steps.iter();
        steps
            .map(|step| (step.state, step.code))
            .collect::<Vec<_>>()
    };
    assert_eq!(states(0), [(Succeeded, None); 2]);
    assert_eq!(
        states(1),
        [(Succeeded, None), (Failed, Some(3)), (Skipped, None)]
    );
    assert!(
        run.jobs[0]
            .steps
            .iter()
            .all(|step| step.ended_at >= step.started_at)
    );
    assert_eq!(run.jobs[0].artifacts.as_ref().unwrap().files, 1);

    let shown = site.run(&["runs", "show", "1"]).await.exited(0).stdout;
    for words in [
        "make it",
        "skipped",
        "check:   failed: Cart: b: two is not one",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let log = site.run(&["runs", "logs", "1", "check"]).await.exited(0);
    for words in [
        "=== step 1/3: read",
        "a program",
        "=== step 2/3: it's a test: exited with code 3",
        "tests: 2 tests, 1 failed in 0.0 s",
    ] {
        assert!(log.stdout.contains(words), "{words}: {}", log.stdout);
    }
    let listed = site.run(&["runs", "artifacts", "1"]).await.exited(0);
    assert!(listed.stdout.contains("dist/app"), "{}", listed.stdout);
    let to = site.root().join("taken");
    let words = [
        "runs",
        "artifacts",
        "1",
        "build",
        "--output",
        to.to_str().unwrap(),
    ];
    site.run(&words).await.exited(0);
    let read = std::fs::read_to_string(to.join("dist/app")).unwrap();
    assert_eq!(read, "a program\n");
    site.run(&["runs", "artifacts", "1", "check"])
        .await
        .exited(3);
    wait_for_no_jobs(&site).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_without_end_keeps_its_beginning_and_its_end_and_fills_neither_disk_nor_memory() {
    // 1 GB, far faster than anybody reads it; and children that do not want to go.
    let floods = "yes 'a line that is written again and again' | head -c 1000000000";
    let hangs = "(trap '' TERM; sleep 600) & (trap '' TERM; sleep 600) & trap '' TERM; echo hangs; wait; sleep 600";
    let jobs = json!([
        { "name": "floods", "timeout": "5m", "steps": [
            { "name": "begin", "run": "echo the beginning" },
            { "name": "flood", "run": ["sh", "-c", floods] },
            { "name": "end", "run": "echo the end; exit 3" },
        ] },
        { "name": "hangs", "run": ["sh", "-c", hangs], "timeout": "1s" },
    ]);
    let site = site_with(json!({ "dev": {} }), jobs).await;
    let began = Instant::now();
    let answer = start(&site).await.exited(1);
    assert!(
        answer.stdout.contains("timed out after 1s"),
        "{}",
        answer.stdout
    );
    let run = site.client().run_record("shop", 1).await.unwrap();
    let reason = run.jobs[0].reason.as_deref();
    assert_eq!(reason, Some("step `end`: exited with code 3"));
    let states = run.jobs[0].steps.iter().map(|step| step.state);
    let states: Vec<RunPartState> = states.collect();
    assert_eq!(states, [Succeeded, Succeeded, Failed]);
    let log = site
        .run(&["runs", "logs", "1", "floods"])
        .await
        .exited(0)
        .stdout;
    wait_for_no_jobs(&site).await;
    assert!(began.elapsed() < Duration::from_mins(5));
    let beginning = "=== step 1/3: begin\nthe beginning\n=== step 1/3: begin: passed\n";
    assert!(log.starts_with(beginning), "{}", log.len());
    let end = "\nthe end\n=== step 3/3: end: exited with code 3\n";
    assert!(log.ends_with(end), "{}", log.len());
    assert!(log.contains(" are left out here ..."));
    let kept = site.home().join("runs/shop/1/1-1.log");
    let kept = std::fs::metadata(kept).unwrap().len();
    assert!((8 << 20..12 << 20).contains(&kept), "{kept} bytes are kept");
    let most = site.peak_memory_kib();
    assert!(most < 400 << 10, "the control plane had {most} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_run_finds_what_a_job_left_and_a_result_of_the_same_inputs_counts() {
    let counts = "cat deps/runs 2> /dev/null || true; echo \"cache: $TOWPATH_CACHE\"; mkdir -p deps; echo run >> deps/runs";
    let jobs = json!([
        { "name": "counts", "run": counts, "cache": { "paths": "deps", "files": "lock" } },
        {
            "name": "once", "reuse": "1d", "artifacts": "dist",
            "run": "mkdir dist; echo \"for $TOWPATH_COMMIT$TOWPATH_RUN_NUMBER\" > dist/made; date +%N >> dist/made",
        },
        { "name": "uses", "needs": ["once"], "run": "cat dist/made" },
    ]);
    let site = site_with(json!({ "dev": {} }), jobs).await;
    site.write("lock", "1");
    let log = async |run: &str, job: &str| {
        let log = site.run(&["runs", "logs", run, job]).await.exited(0);
        log.stdout
    };
    start(&site).await.exited(0);
    assert_eq!(log("1", "counts").await, "cache: none\n");
    start(&site).await.exited(0);
    assert_eq!(log("2", "counts").await, "run\ncache: exact\n");
    let made = log("1", "uses").await;
    assert!(made.starts_with("for \n"), "{made}");
    assert_eq!(log("2", "uses").await, made);
    let shown = site.run(&["runs", "show", "2"]).await.exited(0).stdout;
    for words in [
        "as in run 1: the same inputs",
        "counts: cache: given 1 files",
        "once: artifacts: 1 files",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }

    site.write("lock", "2");
    start(&site).await.exited(0);
    assert_eq!(log("3", "counts").await, "run\ncache: older\n");
    assert_ne!(log("3", "uses").await, made, "the tree is another one");
    let listed = site.run(&["cache", "ls"]).await.exited(0).stdout;
    assert_eq!(listed.matches("counts").count(), 2, "{listed}");
    assert!(listed.contains("working tree"), "{listed}");
    let gone = site.run(&["cache", "rm", "counts"]).await.exited(0).stdout;
    assert!(gone.starts_with("2 caches are gone: "), "{gone}");
    site.run(&["cache", "rm", "counts"]).await.exited(3);
    site.run(&["cache", "rm"]).await.exited(2);
    start(&site).await.exited(0);
    assert_eq!(log("4", "counts").await, "cache: none\n");
    wait_for_no_jobs(&site).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_a_group_run_one_at_a_time_in_whichever_runs_they_are() {
    let site = site_with(json!({ "dev": {} }), json!([])).await;
    let lock = site.root().join("lock");
    let lock = lock.to_str().unwrap();
    // Whoever comes while another one is there fails.
    let alone = format!("mkdir {lock} && sleep 0.3 && rmdir {lock}");
    let job = |name: &str| json!({ "name": name, "run": alone, "concurrency": "machine" });
    put(
        &site,
        &json!({ "dev": {} }),
        &json!([job("one"), job("two")]),
    );
    for branch in ["a", "b", "c"] {
        let words = ["runs", "start", "--branch", branch, "--wait", "none"];
        site.run(&words).await.exited(0);
    }
    let shown = site.run(&["runs", "show", "3"]).await.exited(0).stdout;
    assert!(shown.contains("waits for its turn in `machine`"), "{shown}");
    for number in ["1", "2", "3"] {
        site.run(&["runs", "watch", number]).await.exited(0);
    }
    wait_for_no_jobs(&site).await;
}
