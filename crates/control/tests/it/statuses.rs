//! That a forge is told what becomes of commits: in order, once, over a restart, and not in vain.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use towpath_control::RepositoryInfo;
use towpath_model::id::AppName;
use towpath_model::pipeline::run::Run;
use towpath_model::repository::outside::{
    Forge, Outside, POLL_EVERY, RepositorySecret, RepositorySettings,
};
use towpath_model::repository::status::{Answer, ForgeRequest};
use towpath_model::workload::SecretValue;

use crate::site::Site;

const FILE: &str = "
app: shop
rollout: { bake: 0s, drain: 0s }
services: { web: { process: { command: serve, source: true } } }
environments:
  dev: { deploy: { branch: main } }
pipeline:
  - { name: unit, run: done }
";

fn shop() -> AppName {
    "shop".parse().unwrap()
}

impl Site {
    /// Has the app follow a repository of a forge; nothing is fetched from it.
    async fn follow(&self) {
        let outside = Outside {
            url: "http://127.0.0.1:9/ada/shop.git".parse().unwrap(),
            every: POLL_EVERY,
            forge: Some(Forge::Gitea),
            web: None,
            link: None,
        };
        let settings = RepositorySettings {
            outside: Some(outside),
            ..RepositorySettings::default()
        };
        let app = shop();
        let set = self.platform.set_repository(&app, &settings, "ada");
        set.await.unwrap();
    }

    async fn set_token(&self, token: &str) {
        let value = SecretValue::new(token.as_bytes().to_vec());
        let status = RepositorySecret::Status;
        let app = shop();
        let set = self
            .platform
            .set_repository_secret(&app, status, &value, "ada");
        set.await.unwrap();
    }

    /// Waits until something is so of the repository.
    async fn until(&self, what: &str, is_so: impl Fn(&RepositoryInfo) -> bool) -> RepositoryInfo {
        for _ in 0..2_000 {
            let info = self.platform.repository(&shop()).await.unwrap();
            if is_so(&info) {
                return info;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let info = self.platform.repository(&shop()).await.unwrap();
        panic!("never {what}: {info:?}");
    }
}

fn commit() -> String {
    "0123456789".repeat(4)
}

/// The states that the forge was told, by context, in order.
fn states(told: &[ForgeRequest]) -> BTreeMap<String, Vec<String>> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut states: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for request in told {
        let of = states.entry(text(&request.body["context"])).or_default();
        of.push(text(&request.body["state"]));
    }
    states
}

#[tokio::test]
async fn a_forge_is_told_of_each_job_and_environment_and_never_an_older_state_after_a_newer_one() {
    let site = Site::new().await;
    site.follow().await;
    site.set_token("t0ken\n").await;
    site.push(&commit(), FILE).await.unwrap();
    site.run_until(1, "settled", Run::is_settled).await;
    site.until("told", |info| info.statuses.forge.waiting == 0)
        .await;
    let told = site.world.letters.told();
    for request in &told {
        let url = format!(
            "http://127.0.0.1:9/api/v1/repos/ada/shop/statuses/{}",
            commit()
        );
        assert_eq!(request.url, url);
        assert_eq!(request.authorization.1.expose(), b"token t0ken");
    }
    let states = states(&told);
    let contexts: Vec<&str> = states.keys().map(String::as_str).collect();
    assert_eq!(contexts, ["towpath", "towpath/dev", "towpath/unit"]);
    for (context, states) in states {
        let (last, before) = states.split_last().unwrap();
        assert_eq!(last, "success", "{context}");
        assert!(
            before.iter().all(|one| one == "pending"),
            "{context}: {before:?}"
        );
    }
}

#[tokio::test]
async fn a_wrong_token_is_shown_and_not_tried_again_until_there_is_another_one() {
    let site = Site::new().await;
    site.follow().await;
    site.set_token("wrong").await;
    site.world.letters.answer(Answer {
        status: 401,
        words: "Bad credentials".to_owned(),
        ..Answer::default()
    });
    site.push(&commit(), FILE).await.unwrap();
    site.run_until(1, "settled", Run::is_settled).await;
    let is_stopped = |info: &RepositoryInfo| {
        info.statuses.forge.is_stopped() && info.statuses.forge.waiting == 3
    };
    let info = site.until("stopped", is_stopped).await;
    assert!(info.statuses.has_token);
    let fault = info.statuses.forge.fault.unwrap();
    assert_eq!(fault, "the forge answered 401: Bad credentials");
    let site = site.restarted().await;
    site.until("still stopped", is_stopped).await;
    assert_eq!(site.world.letters.told().len(), 1, "it was asked once");
    site.world.letters.answer(Answer {
        status: 201,
        ..Answer::default()
    });
    site.set_token("good").await;
    let info = site
        .until("told", |info| info.statuses.forge.waiting == 0)
        .await;
    assert_eq!(info.statuses.forge.fault, None);
    let states = states(&site.world.letters.told()[1..]);
    assert_eq!(states.len(), 3, "{states:?}");
    assert!(
        states.values().all(|one| one == &["success"]),
        "only what is so now: {states:?}"
    );
}

#[tokio::test]
async fn a_forge_that_wants_fewer_requests_is_left_alone_for_as_long_as_it_says_also_after_a_restart()
 {
    let site = Site::new().await;
    site.follow().await;
    site.set_token("t0ken").await;
    site.world.letters.answer(Answer {
        status: 429,
        retry_after: Some("3600".to_owned()),
        ..Answer::default()
    });
    site.push(&commit(), FILE).await.unwrap();
    site.run_until(1, "settled", Run::is_settled).await;
    let waits = |info: &RepositoryInfo| info.statuses.forge.next_at.is_some();
    let asked = jiff::Timestamp::now();
    let info = site.until("waiting", waits).await;
    let wait = info.statuses.forge.next_at.unwrap().as_second() - asked.as_second();
    assert!((3500..=3601).contains(&wait), "{wait}");
    let site = site.restarted().await;
    let info = site.until("still waiting", waits).await;
    assert_eq!(info.statuses.forge.waiting, 3);
    assert_eq!(site.world.letters.told().len(), 1);
}
