//! That people are told of what happens: by the real binary, to servers of this machine.

pub(crate) mod inbox;

use serde_json::{Value, json};

use crate::secrecy::Search;
use crate::site::{Delivery, Site, free_port, production};
use inbox::{Inbox, Posted};

/// A site whose second release never starts.
async fn site(notify: Value) -> Site {
    let delivery = Delivery {
        notify,
        ..Delivery::default()
    };
    let site = Site::with_launches(&delivery).await;
    site.run(&["env", "create", "production"]).await.exited(0);
    site
}

async fn bring_out_a_bad_release(site: &Site) {
    site.run(&["up", "--env", "production", "--json"])
        .await
        .exited(0);
    site.write_version("2", "crash-at-start");
    site.run(&["deploy", "production", "--json"])
        .await
        .exited(1);
}

#[tokio::test]
async fn a_failed_deployment_is_told_with_its_service_its_reason_and_the_last_lines() {
    let web = Inbox::<Posted>::web().await;
    let site = site(json!({
        "hook": { "webhook": { "url": web.url("/hook") }, "on": ["deployment.failed"], "group": "0" },
    }))
    .await;
    bring_out_a_bad_release(&site).await;
    let posted = web.wait_for(1, || site.log()).await;
    let body = posted[0].json();
    assert_eq!(posted[0].path, "/hook");
    assert_eq!(body["kind"], "deployment.failed", "{body:#}");
    assert_eq!(body["severity"], "critical");
    assert_eq!(body["environment"], production().to_string());
    assert_eq!(body["service"], "web");
    assert_eq!(body["release"], 2);
    let log = body["log"].to_string();
    assert!(
        log.contains("the size chart of the raffle is missing"),
        "{log}"
    );
    let text = body["text"].as_str().unwrap();
    assert!(
        text.contains("towpath release launches/production"),
        "{text}"
    );
}

#[tokio::test]
async fn one_mail_and_one_card_tell_of_a_failed_deployment_and_no_secret_is_written_down() {
    let (web, mail) = (Inbox::<Posted>::web().await, Inbox::<String>::mail().await);
    let mut search = Search::default();
    let (path, key) = (search.canary(), search.canary());
    let (host, port) = (mail.address().ip().to_string(), mail.address().port());
    let site = site(json!({
        "ops": { "teams": { "url": { "secret": "teams-webhook" } }, "group": "1s" },
        "office": {
            "smtp": {
                "host": host, "port": port, "tls": "none",
                "from": "towpath@example.com", "to": ["ops@example.com"],
            },
            "on": ["deployment.failed", "environment.held"],
            "group": "1s",
        },
        "hook": {
            "webhook": { "url": web.url("/hook"), "secret": { "secret": "hook-key" } },
            "severity": "critical",
            "group": "0",
        },
    }))
    .await;
    let secrets = [
        ("teams-webhook", web.url(&format!("/{path}"))),
        ("hook-key", key),
    ];
    for (name, value) in &secrets {
        let set = ["secret", "set", "production", name];
        site.run_with_input(&set, value.as_bytes()).await.exited(0);
    }
    bring_out_a_bad_release(&site).await;
    let mails = mail.wait_for(1, || site.log()).await;
    let posted = web.wait_for(2, || site.log()).await;
    let (cards, hooks): (Vec<Posted>, Vec<Posted>) =
        posted.into_iter().partition(|one| one.path != "/hook");
    let card = cards[0].json();
    let attachment = &card["attachments"][0];
    assert_eq!(
        attachment["contentType"],
        "application/vnd.microsoft.card.adaptive"
    );
    assert_eq!(attachment["content"]["type"], "AdaptiveCard");
    for text in [card.to_string(), unfolded(&mails[0])] {
        for part in [
            "deployment 2",
            "release 2",
            "web",
            "the size chart of the raffle is missing",
        ] {
            assert!(text.contains(part), "no `{part}` in {text}");
        }
    }
    assert!(mails[0].contains("To: ops@example.com"), "{}", mails[0]);
    let signed = hooks[0].header("towpath-signature");
    let time = signed.split([',', '=']).nth(1).unwrap().parse().unwrap();
    let secret = secrets[1].1.as_bytes();
    assert_eq!(
        signed,
        towpath_notify::signature(secret, time, &hooks[0].body)
    );
    assert_eq!(hooks[0].header("towpath-delivery"), hooks[0].json()["id"]);

    search.hear("events", &site.run(&["events", "--json"]).await.exited(0));
    assert!(search.read_files(&site.home()) > 0);
    search.read_processes(&site);
    assert_eq!(search.found(), [""; 0]);
    assert_eq!((mail.all().len(), cards.len(), hooks.len()), (1, 1, 1));
}

#[tokio::test]
async fn what_a_target_out_of_reach_is_to_be_told_outlives_a_kill_and_holds_up_nobody() {
    let port = free_port();
    let web = Inbox::<Posted>::web().await;
    let mut site = site(json!({
        "away": {
            "webhook": { "url": format!("http://127.0.0.1:{port}/away") },
            "on": ["deployment.failed"],
            "group": "0",
        },
        "hook": { "webhook": { "url": web.url("/hook") }, "on": ["deployment.failed"], "group": "0" },
    }))
    .await;
    bring_out_a_bad_release(&site).await;
    let told = web.wait_for(1, || site.log()).await;
    site.kill_control_plane().await;
    let away = Inbox::<Posted>::web_at(port).await;
    site.serve().await;
    let late = away.wait_for(1, || site.log()).await;
    let said = |posted: &Posted| (posted.json()["title"].clone(), posted.json()["log"].clone());
    assert_eq!(said(&late[0]), said(&told[0]));
    assert_ne!(
        late[0].json()["id"],
        told[0].json()["id"],
        "an id is of one target"
    );
    // Nothing is told anew that was told before the kill: a test message comes right after.
    site.run(&["notify", "test", "--env", "production"])
        .await
        .exited(0);
    for inbox in [&web, &away] {
        let kinds: Vec<Value> = inbox
            .all()
            .iter()
            .map(|one| one.json()["kind"].clone())
            .collect();
        assert_eq!(kinds, ["deployment.failed", "notify.test"]);
    }
}

#[tokio::test]
async fn a_test_message_says_what_the_other_side_answered_and_fails_where_there_is_none() {
    let web = Inbox::<Posted>::web().await;
    let port = free_port();
    let site = site(json!({
        "hook": { "webhook": { "url": web.url("/hook") } },
        "away": { "slack": { "url": format!("http://127.0.0.1:{port}/away") } },
        "ops": { "teams": { "url": { "secret": "not-set" } } },
    }))
    .await;
    let nobody = site.run(&["notify", "test", "--env", "production"]).await;
    assert!(nobody.exited(3).stderr.contains("names nobody"));
    site.run(&["up", "--env", "production", "--json"])
        .await
        .exited(0);
    let test = async |target: &str| {
        let words = ["notify", "test", target, "--env", "production"];
        site.run(&words).await
    };
    let good = test("hook").await.exited(0);
    assert!(
        good.stdout.contains("202 Accepted: taken"),
        "{}",
        good.stdout
    );
    assert_eq!(web.all()[0].json()["kind"], "notify.test");
    let away = test("away").await.exited(1);
    assert!(away.stdout.contains("refused"), "{}", away.stdout);
    let unset = test("ops").await.exited(1);
    let advice = "towpath secret set production not-set";
    assert!(unset.stdout.contains(advice), "{}", unset.stdout);
    test("nobody").await.exited(3);
}

/// Undoes what a mail's body is folded with (RFC 2045 section 6.7).
fn unfolded(mail: &str) -> String {
    mail.replace("=\r\n", "").replace("\r\n", "\n")
}

/// A site whose pipeline runs this, and whose production waits for an approval.
async fn site_with_pipeline(job: &str, hook: &str) -> Site {
    let mut site = Site::new();
    site.write("compose.yaml", "services: { worker: { image: none } }\n");
    write_pipeline(&site, job, hook);
    site.serve().await;
    site
}

fn write_pipeline(site: &Site, job: &str, hook: &str) {
    let file = json!({
        "app": "launches",
        "environments": {
            "dev": { "deploy": { "on": "push", "branch": "main" }, "rollout": { "bake": "0" } },
            "production": { "deploy": { "after": "dev", "approvals": 1 }, "rollout": { "bake": "0" } },
        },
        "services": { "worker": { "process": { "command": "exec sleep 1000" } } },
        "pipeline": [{ "name": "unit", "run": job }],
        "notify": { "hook": {
            "webhook": { "url": hook },
            "on": ["approval.*", "run.*"],
            "group": "0",
        } },
    });
    site.write("towpath.yaml", &file.to_string());
}

#[tokio::test]
async fn who_has_to_approve_is_told_and_so_is_how_a_run_ends() {
    let web = Inbox::<Posted>::web().await;
    let site = site_with_pipeline("true", &web.url("/")).await;
    let start = ["runs", "start", "--branch", "main", "--json"];
    site.run(&start).await.exited(0);
    let asked = web.wait_for(1, || site.log()).await[0].json();
    assert_eq!(asked["kind"], "approval.requested", "{asked:#}");
    assert_eq!(asked["environment"], "launches/production");
    let next = "towpath approve launches/production";
    assert_eq!(asked["next"][0], next);
    site.run(&["approve", "production"]).await.exited(0);
    web.wait_for(3, || site.log()).await;
    write_pipeline(&site, "exit 3", &web.url("/"));
    site.run(&start).await.exited(1);
    let all = web.wait_for(4, || site.log()).await;
    let kinds: Vec<Value> = all.iter().map(|one| one.json()["kind"].clone()).collect();
    let wanted = [
        "approval.requested",
        "approval.given",
        "run.succeeded",
        "run.failed",
    ];
    assert_eq!(kinds, wanted);
    let failed = all[3].json();
    assert_eq!(failed["environment"], Value::Null, "it is about the app");
    assert_eq!(failed["next"][0], "towpath runs show 2 --app launches");
}

#[tokio::test]
async fn a_run_that_fails_before_anything_was_ever_brought_out_is_told_with_what_failed_and_the_last_lines()
 {
    let web = Inbox::<Posted>::web().await;
    let mut site = Site::new();
    site.serve().await;
    let file = json!({
        "app": "shop",
        "services": { "web": { "process": { "command": "sleep 1000" } } },
        "environments": { "dev": { "deploy": { "branch": "main" } } },
        "pipeline": [{ "name": "unit", "steps": [
            { "name": "build", "run": "seq 1 100" },
            { "name": "test", "run": "echo 'two is not one'; exit 3" },
        ] }],
        "notify": { "hook": { "webhook": { "url": web.url("/hook") }, "group": "0" } },
    });
    site.write("towpath.yaml", &file.to_string());
    let compose = json!({ "services": { "web": { "image": "web" } } });
    site.write("compose.yaml", &compose.to_string());
    let answer = site.run(&["runs", "start", "--wait", "end"]).await;
    assert_eq!(answer.code, 1, "{answer:?}");
    let posted = web.wait_for(1, || site.log()).await;
    let body = posted[0].json();
    assert_eq!(body["kind"], "run.failed", "{body:#}");
    assert_eq!(body["app"], "shop");
    assert_eq!(body["environment"], Value::Null);
    let reason = body["reason"].as_str().unwrap();
    assert!(
        reason.contains("job `unit`") && reason.contains('3'),
        "{reason}"
    );
    assert_eq!(body["next"], json!(["towpath runs show 1 --app shop"]));
    let log: Vec<&str> = body["log"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let wanted = [
        "100",
        "=== step 1/2: build: passed",
        "=== step 2/2: test",
        "two is not one",
        "=== step 2/2: test: exited with code 3",
    ];
    assert!(log.ends_with(&wanted), "{log:?}");
    assert_eq!(log.len(), 20, "{log:?}");
    assert!(body["text"].as_str().unwrap().contains("two is not one"));
}
