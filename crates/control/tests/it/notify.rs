//! That what is in the trail is told, once, whatever becomes of the control plane and of those who are
//! told.

use std::time::Duration;

use towpath_model::notify::{Channel, Message, Setting, Severity, Target, Targets};
use towpath_model::render::Draft;
use towpath_testkit::world::draft;

use crate::site::{Site, open, production};

const GOOD: &str = "good";
const AWAY: &str = "away";

fn target(url: Setting) -> Target {
    Target {
        channel: Channel::Slack { url },
        on: vec!["deployment.*".to_owned()],
        environments: Vec::new(),
        severity: Severity::Info,
        template: None,
        group: Duration::ZERO,
        repeat: Duration::from_mins(1),
    }
}

fn told(version: &str) -> Draft {
    let plain = |text: &str| target(Setting::Plain(text.to_owned()));
    let mut draft = draft(version);
    draft.notify = Targets::from([
        ("away".parse().unwrap(), plain(AWAY)),
        ("good".parse().unwrap(), plain(GOOD)),
    ]);
    draft
}

/// Waits until so many messages arrived at an address.
async fn arrived(site: &Site, address: &str, count: usize) -> Vec<Message> {
    for _ in 0..2_000 {
        let messages = site.world.letters.at(address);
        if messages.len() >= count {
            return messages;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{:?}", site.world.letters.at(address));
}

fn kinds(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|one| one.kind.as_str()).collect()
}

#[tokio::test]
async fn messages_come_in_order_once_and_over_a_restart_and_no_target_waits_for_another() {
    let site = Site::new().await;
    site.world.letters.cut_off(AWAY);
    let number = site.deploy(told("1")).await;
    site.finish(number).await;
    let wanted = ["deployment.started", "deployment.succeeded"];
    assert_eq!(kinds(&arrived(&site, GOOD, 2).await), wanted);
    assert_eq!(site.world.letters.at(AWAY), []);
    site.platform.shutdown().await;
    let Site {
        directory,
        world,
        platform,
    } = site;
    drop(platform);
    let platform = open(&directory, &world).await;
    let site = Site {
        directory,
        world,
        platform,
    };
    site.world.letters.mend(AWAY);
    assert_eq!(kinds(&arrived(&site, AWAY, 2).await), wanted);
    // What comes after shows that nothing came in between.
    let number = site.deploy(told("2")).await;
    site.finish(number).await;
    for address in [GOOD, AWAY] {
        let all = arrived(&site, address, 4).await;
        assert_eq!(kinds(&all), [wanted, wanted].concat(), "{address}");
    }
}

#[tokio::test]
async fn an_address_that_is_a_secret_is_asked_for_when_a_message_is_sent() {
    let site = Site::new().await;
    let name = "webhook".parse().unwrap();
    let mut draft = draft("1");
    let secret = target(Setting::Secret("webhook".parse().unwrap()));
    draft.notify = Targets::from([("ops".parse().unwrap(), secret)]);
    let number = site.deploy(draft).await;
    site.finish(number).await;
    let value = towpath_model::workload::SecretValue::new(b"there".to_vec());
    site.platform
        .set_secret(&production(), &name, &value, "ada")
        .await
        .unwrap();
    let tried = site
        .platform
        .try_notifications(&production(), None, "ada")
        .await
        .unwrap();
    assert_eq!(tried[0].outcome, Ok("200 OK".to_owned()));
    assert!(kinds(&arrived(&site, "there", 1).await).contains(&"notify.test"));
}
