//! What is brought to an environment by hand goes through its gates, and a hotfix straight to it: by
//! the real binary, on processes.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use towpath_api::client::{Client, Error, EventFilter};
use towpath_api::{DecisionRequest, RedeployRequest, Run, RunPartState, RunState};
use towpath_model::id::EnvironmentId;

use crate::push::Pusher;
use crate::site::{LONGEST, Site};

const COMPOSE: &str = "services: { web: { image: none } }\n";

fn live() -> EnvironmentId {
    "shop/live".parse().unwrap()
}

/// Returns a delivery file of a service that only runs, in these environments.
fn delivery(environments: &Value, pipeline: &Value) -> String {
    let file = json!({
        "app": "shop",
        "rollout": { "bake": "0s", "drain": "0s" },
        "groups": { "qa": ["quinn"] },
        "services": { "web": { "process": { "command": "exec sleep 1000", "source": true }, "listen": false } },
        "environments": environments,
        "pipeline": pipeline,
    });
    file.to_string()
}

fn put(site: &Site, environments: &Value) {
    site.write("compose.yaml", COMPOSE);
    site.write("towpath.yaml", &delivery(environments, &json!([])));
}

async fn decide(site: &Site, run: u32, approve: bool) {
    let quinn = Client::unix(site.home().join("towpath.sock"), "quinn");
    let decision = DecisionRequest {
        approve,
        comment: None,
    };
    let decided = quinn.decide_run("shop", run, "live", &decision).await;
    decided.unwrap();
}

async fn wait_for_run(site: &Site, number: u32, what: &str, done: impl Fn(&Run) -> bool) -> Run {
    let deadline = Instant::now() + LONGEST;
    loop {
        if let Ok(run) = site.client().run_record("shop", number).await {
            if done(&run) {
                return run;
            }
            let log = site.log();
            assert!(Instant::now() < deadline, "never {what}: {run:#?}\n{log}");
        }
        assert!(Instant::now() < deadline, "never {what}\n{}", site.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn awaits_approval(run: &Run) -> bool {
    run.state == RunState::AwaitingApproval
}

/// The owner may pass, and says why; who has a token may not.
async fn pass_the_gates(site: &Site) {
    let token = site.client().create_token("laptop").await.unwrap().secret;
    let remote = Client::tcp(site.api_address().to_string(), token);
    let request = RedeployRequest {
        release: 1,
        strategy: None,
        past_gates: Some("I say so".to_owned()),
    };
    let denied = remote.redeploy(&live(), &request).await.unwrap_err();
    assert!(
        matches!(&denied, Error::Problem(problem) if problem.status == 403),
        "{denied}"
    );
    // Release 1 was never rendered for this environment: it has a source tree.
    let pass = [
        "deploy",
        "live",
        "--release",
        "1",
        "--override",
        "the shop is down",
        "--wait",
        "bake",
    ];
    site.run(&pass).await.exited(0);
    let events = site.client().events(&EventFilter::default()).await.unwrap();
    let passed = events
        .iter()
        .find(|one| one.what == "gates.overridden")
        .unwrap();
    assert_eq!(passed.reason.as_deref(), Some("the shop is down"));
    let environment = site.client().environment(&live()).await.unwrap();
    assert_eq!(environment.stable, Some(1));
    // The way back is never gated.
    site.run(&["rollback", "live", "--release", "2"])
        .await
        .exited(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deployed_by_hand_waits_for_what_its_environment_demands() {
    let approvals = json!({ "on": "manual", "approvals": { "groups": ["qa"] } });
    let mut site = Site::new().listening();
    put(
        &site,
        &json!({ "dev": {}, "live": { "deploy": approvals } }),
    );
    site.serve().await;
    for name in ["dev", "live"] {
        site.run(&["env", "create", name]).await.exited(0);
    }
    let free = ["deploy", "dev", "--wait", "none", "--json"];
    let free = site.run(&free).await.exited(0).json();
    assert_eq!(
        (&free["deployment"], &free["run"]),
        (&json!(1), &Value::Null)
    );

    // It waits, whoever deploys says for whom, and it goes on.
    let (deployed, ()) = tokio::join!(site.run(&["deploy", "live"]), async {
        wait_for_run(&site, 1, "waiting", awaits_approval).await;
        let all = site.run(&["approvals", "--all", "--json"]).await.exited(0);
        assert_eq!(all.json()[0]["environment"], "live");
        let own = site.run(&["approvals", "--json"]).await.exited(0).json();
        assert_eq!(own, json!([]), "it waits for others");
        decide(&site, 1, true).await;
    });
    let said = deployed.exited(0).stdout;
    let waits = "waits for 1 approval of qa: towpath approve live --run 1";
    assert!(said.contains(waits), "{said}");
    let environment = site.client().environment(&live()).await.unwrap();
    assert_eq!(environment.stable, Some(2));

    // A file that leaves the gate out does not open it.
    put(
        &site,
        &json!({ "dev": {}, "live": { "deploy": { "on": "manual" } } }),
    );
    let again = ["deploy", "live", "--wait", "none", "--json"];
    let again = site.run(&again).await.exited(0).json();
    assert_eq!(
        (&again["deployment"], &again["run"]),
        (&Value::Null, &json!(2))
    );
    wait_for_run(&site, 2, "waiting", awaits_approval).await;
    decide(&site, 2, false).await;
    let rejected = wait_for_run(&site, 2, "ended", |run| run.ended).await;
    assert_eq!(rejected.environments[0].state, RunPartState::Failed);

    // What was never there is no way back.
    let back = ["rollback", "live", "--release", "3"];
    site.run(&back).await.exited(1);

    pass_the_gates(&site).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_after_another_takes_releases_and_no_working_tree() {
    let mut site = Site::new();
    put(
        &site,
        &json!({ "dev": {}, "live": { "deploy": { "after": "dev", "on": "manual" } } }),
    );
    site.serve().await;
    for name in ["dev", "live"] {
        site.run(&["env", "create", name]).await.exited(0);
    }
    let refused = site.run(&["deploy", "live"]).await.exited(2);
    for words in ["that was in `dev` before", "towpath promote live"] {
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    site.run(&["deploy", "dev", "--wait", "bake"])
        .await
        .exited(0);
    let deployed = site
        .run(&["deploy", "live", "--release", "1"])
        .await
        .exited(0);
    assert!(deployed.stdout.contains("to live"), "{}", deployed.stdout);
    site.run(&["deploy", "live", "--release", "7"])
        .await
        .exited(3);
    let near = site.run(&["promote", "liv"]).await.exited(3);
    assert!(
        near.stderr.contains("did you mean `live`?"),
        "{}",
        near.stderr
    );
}

/// Brings one version to both environments, and another one to the first.
async fn put_two_versions(pusher: &Pusher, environments: &Value) {
    let site = &pusher.site;
    let pipeline = json!([{ "name": "unit", "run": "true" }]);
    pusher.write("compose.yaml", COMPOSE);
    pusher.write("towpath.yaml", &delivery(environments, &pipeline));
    pusher.write("page", "one");
    pusher.commit("One").await;
    pusher.push(&["main"]).await.exited(0);
    let first = ["env", "create", "shop/live"];
    site.run(&first).await.exited(0);
    let first = [
        "deploy",
        "shop/live",
        "--release",
        "1",
        "--override",
        "the first one",
        "--wait",
        "bake",
    ];
    site.run(&first).await.exited(0);
    pusher.write("page", "two");
    pusher.commit("Two").await;
    pusher.push(&["main"]).await.exited(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hotfix_goes_straight_to_its_environment_and_others_are_behind_until_they_have_it() {
    let environments = json!({
        "dev": { "deploy": { "branch": "main" } },
        "live": { "deploy": { "after": "dev", "soak": "10h" } },
    });
    let pusher = Pusher::new().await;
    let site = &pusher.site;
    put_two_versions(&pusher, &environments).await;
    pusher
        .git(&["checkout", "--quiet", "-b", "fix", "HEAD~1"])
        .await
        .exited(0);
    pusher.write("fix", "mended");
    pusher.commit("Mend").await;
    pusher.push(&["fix"]).await.exited(0);
    let work = pusher.work.clone();
    let here = |words: &'static [&'static str]| site.run_in(&work, words);
    let begun = here(&["hotfix", "live", "--commit", "HEAD"])
        .await
        .exited(0);
    let waits = "waits for 1 approval: towpath approve live --run 4";
    assert!(begun.stdout.contains(waits), "{}", begun.stdout);
    here(&["approve", "live"]).await.exited(0);
    let run = wait_for_run(site, 4, "ended", |run| run.ended).await;
    assert_eq!(
        (run.state, run.hotfix),
        (RunState::Succeeded, true),
        "{run:#?}"
    );
    assert_eq!(run.jobs.len(), 1, "it was checked");
    assert_eq!(run.behind, ["dev"]);
    let shown = here(&["status", "dev"]).await.exited(0).stdout;
    assert!(
        shown.contains("behind live: it lacks the hotfix"),
        "{shown}"
    );
    let listed = here(&["env", "ls"]).await.exited(0).stdout;
    let row = listed
        .lines()
        .find(|line| line.trim_start().starts_with("shop/dev "));
    assert!(row.unwrap().ends_with("behind live"), "{listed}");
    let listed = site.client().environments().await.unwrap();
    let of_dev = listed.iter().find(|one| one.name == "dev").unwrap();
    assert_eq!(
        (of_dev.behind[0].of.as_str(), of_dev.behind[0].sure),
        ("live", true)
    );
    let events = site.client().events(&EventFilter::default()).await.unwrap();
    let said = events.iter().filter(|one| one.what == "environment.behind");
    assert_eq!(said.count(), 1);

    // What is in dev would take the fix away.
    let refused = here(&["promote", "live"]).await.exited(1);
    assert!(
        refused.stderr.contains("would be lost"),
        "{}",
        refused.stderr
    );

    pusher.git(&["checkout", "--quiet", "main"]).await.exited(0);
    pusher
        .git(&["merge", "--quiet", "-m", "Take the fix", "fix"])
        .await
        .exited(0);
    pusher.push(&["main"]).await.exited(0);
    let dev: EnvironmentId = "shop/dev".parse().unwrap();
    site.wait_for(&dev, "caught up", |one| one.behind.is_empty())
        .await;
    let run = site.client().run_record("shop", 4).await.unwrap();
    assert_eq!(run.behind, Vec::<String>::new());
}
