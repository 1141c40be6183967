//! Previews over a real store: made like another environment with nothing of it but its lent secrets,
//! as many as there may be, gone when their time is over, whoever was away then.

use std::time::Duration;

use towpath_control::{BringRelease, Error, EventOrder, EventQuery, MadePreview, NewPreview};
use towpath_model::id::{EnvironmentId, ReleaseNumber};
use towpath_model::port::Volumes;
use towpath_model::preview::{Asked, Refusal, Terms};
use towpath_model::release::{Restart, Role};
use towpath_model::render::{Draft, SecretUse};
use towpath_model::workload::SecretValue;
use towpath_testkit::world::{Removal, draft};

use crate::site::{Site, open, production};

/// A release that reads a secret.
fn reading(version: &str) -> Draft {
    let mut draft = draft(version);
    for service in draft.services.values_mut() {
        service.secrets.push(SecretUse {
            secret: "key".parse().unwrap(),
            file: None,
            variable: Some("KEY".to_owned()),
        });
    }
    draft
}

fn id(name: &str) -> EnvironmentId {
    format!("shop/{name}").parse().unwrap()
}

fn asked(name: &str) -> NewPreview {
    NewPreview {
        id: id(name),
        asked: Asked {
            like: "production".parse().unwrap(),
            ttl: None,
            secrets_from: None,
            request: None,
            actor: "ada".to_owned(),
        },
        release: None,
    }
}

fn for_a_second(name: &str) -> NewPreview {
    let mut new = asked(name);
    new.asked.ttl = Some(Duration::from_secs(1));
    new
}

impl Site {
    /// Deploys to production, to the end.
    async fn deployed(&self, draft: Draft) {
        let number = self.deploy(draft).await;
        self.finish(number).await;
    }

    async fn set_key(&self, environment: &EnvironmentId, value: &str) {
        let value = SecretValue::new(value.as_bytes().to_vec());
        let name = "key".parse().unwrap();
        let set = self.platform.set_secret(environment, &name, &value, "ada");
        set.await.unwrap();
    }

    async fn wait_for_release(&self, name: &str, release: ReleaseNumber) {
        for _ in 0..2_000 {
            let snapshot = self.platform.snapshot(&id(name)).unwrap();
            if snapshot.environment.stable == Some(release)
                && snapshot.environment.deployment.is_none()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("release {release} never comes to {name}");
    }

    async fn made(&self, new: NewPreview) -> MadePreview {
        let name = new.id.name.to_string();
        let made = self.platform.create_preview(new).await.unwrap();
        self.wait_for_release(&name, made.release).await;
        made
    }

    async fn wait_until_removed(&self, name: &str) {
        for _ in 0..2_000 {
            if self.platform.snapshot(&id(name)).is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{name} is never gone");
    }

    /// Returns the sockets that are listened on.
    fn listening(&self) -> Vec<u16> {
        let table = self.world.table();
        let listeners = table.listeners.keys();
        listeners.map(std::net::SocketAddr::port).collect()
    }

    /// Returns what happened in an environment, oldest first.
    async fn told(&self, name: &str) -> Vec<String> {
        let query = EventQuery {
            skips_jobs: false,
            environment: Some(id(name)),
            after: None,
            before: None,
            limit: 200,
            order: EventOrder::OldestFirst,
        };
        let events = self.platform.events(&query).await.unwrap();
        let of = events.into_iter().map(|event| event.what);
        of.filter(|what| what.starts_with("environment.")).collect()
    }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Refusal {
    match result.unwrap_err() {
        Error::Preview(refusal) => refusal,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_preview_has_the_release_and_the_secrets_and_nothing_else_of_the_other() {
    let site = Site::new().await;
    site.set_key(&production(), "one").await;
    site.deployed(reading("v1")).await;
    let made = site.made(asked("qa-42")).await;
    assert_eq!(made.release, ReleaseNumber(1));
    let snapshot = site.platform.snapshot(&id("qa-42")).unwrap();
    let live = snapshot.environment.instances.len();
    assert_eq!(live, 1, "production has two");
    let ports = site.listening();
    assert!(
        ports.contains(&8080) && ports.iter().any(|port| *port >= 21_000),
        "{ports:?}"
    );

    // Its own secret counts more, and what is lent is lent anew with every release.
    site.set_key(&production(), "two").await;
    site.deployed(reading("v2")).await;
    let qa = made_id();
    let redeploy = |release| {
        let bring = BringRelease {
            release,
            strategy: None,
            actor: "ada".to_owned(),
            past_gates: None,
        };
        site.platform.bring_release(&qa, bring)
    };
    redeploy(ReleaseNumber(2)).await.unwrap();
    site.wait_for_release("qa-42", ReleaseNumber(2)).await;
    site.set_key(&id("qa-42"), "mine").await;
    site.deployed(reading("v3")).await;
    redeploy(ReleaseNumber(3)).await.unwrap();
    site.wait_for_release("qa-42", ReleaseNumber(3)).await;
    let given = site.world.secrets();
    let last: Vec<&str> = given
        .iter()
        .rev()
        .take(2)
        .map(|(_, value)| std::str::from_utf8(value).unwrap())
        .collect();
    assert!(last.contains(&"mine"), "{last:?}");
    let count = |text: &str| {
        given
            .iter()
            .filter(|(_, value)| value == text.as_bytes())
            .count()
    };
    assert_eq!(
        (count("one"), count("mine")),
        (3, 1),
        "two instances and one"
    );

    site.platform
        .rollback(&made_id(), None, "ada")
        .await
        .unwrap();
    site.wait_for_release("qa-42", ReleaseNumber(2)).await;
    assert_eq!(
        site.platform
            .snapshot(&production())
            .unwrap()
            .environment
            .stable,
        Some(ReleaseNumber(3))
    );
}

fn made_id() -> EnvironmentId {
    id("qa-42")
}

#[tokio::test]
async fn its_time_removes_it_with_its_volumes_over_failures_and_is_told_before() {
    let site = Site::new().await;
    site.deployed(draft("v1")).await;
    site.made(asked("stays")).await;
    site.world.set_removal(Removal::Fails);
    site.made(for_a_second("goes")).await;
    for _ in 0..2_000 {
        if site.platform.is_being_destroyed(&id("goes")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        site.platform.snapshot(&id("goes")).is_ok(),
        "it is known until it is gone"
    );
    let (gone, minute) = (id("goes"), Duration::from_mins(1));
    let late = site.platform.extend_preview(&gone, minute, "ada");
    assert!(matches!(late.await, Err(Error::BeingDestroyed(_))));
    site.world.set_removal(Removal::Works);
    site.wait_until_removed("goes").await;
    assert_eq!(site.world.destroyed(), [(id("goes"), Volumes::Delete)]);
    let told = site.told("goes").await;
    let ends: Vec<&str> = told
        .iter()
        .map(String::as_str)
        .filter(|what| what.starts_with("environment.ex"))
        .collect();
    assert_eq!(
        ends,
        ["environment.expiring", "environment.expired"],
        "{told:?}"
    );
    assert_eq!(
        told.last().map(String::as_str),
        Some("environment.destroyed")
    );
    assert!(site.platform.snapshot(&production()).is_ok());
    assert!(site.platform.snapshot(&id("stays")).is_ok());
}

#[tokio::test]
async fn what_was_to_go_while_the_control_plane_was_away_goes_when_it_is_back() {
    let site = Site::new().await;
    site.deployed(draft("v1")).await;
    let mut new = asked("qa-42");
    new.asked.ttl = Some(Duration::from_secs(2));
    site.made(new).await;
    let snapshot = site.platform.snapshot(&made_id()).unwrap();
    site.platform.shutdown().await;
    let Site {
        directory,
        world,
        platform,
    } = site;
    drop(platform);
    let expires_at = snapshot.environment.preview.as_ref().unwrap().expires_at;
    while jiff::Timestamp::now() < expires_at {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(world.destroyed(), []);
    let platform = open(&directory, &world).await;
    let site = Site {
        directory,
        world,
        platform,
    };
    site.wait_until_removed("qa-42").await;
    assert_eq!(site.world.destroyed(), [(made_id(), Volumes::Delete)]);
}

#[tokio::test]
async fn an_extension_counts_from_now_and_takes_the_place_of_what_was_said() {
    let site = Site::new().await;
    site.deployed(draft("v1")).await;
    let made = site.made(for_a_second("qa-42")).await;
    let hour = Duration::from_hours(1);
    let extended = site
        .platform
        .extend_preview(&made_id(), hour, "bob")
        .await
        .unwrap();
    assert!(extended.expires_at > made.preview.expires_at);
    let refused = site
        .platform
        .extend_preview(&production(), hour, "bob")
        .await;
    assert_eq!(refusal(refused), Refusal::NotPreview(production()));
    while jiff::Timestamp::now() < made.preview.expires_at {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(site.platform.snapshot(&made_id()).is_ok());
    assert!(!site.platform.is_being_destroyed(&made_id()));
}

#[tokio::test]
async fn what_cannot_be_a_preview_leaves_nothing_behind() {
    let site = Site::new().await;
    let create = |new| site.platform.create_preview(new);
    assert_eq!(
        refusal(create(asked("qa-1")).await),
        Refusal::NothingThere(production())
    );
    let mut two = reading("v1");
    two.preview = Some(Terms {
        limit: 2,
        is_guarded: true,
        ..Terms::default()
    });
    site.set_key(&production(), "one").await;
    site.deployed(two).await;
    let refused = refusal(create(asked("qa-1")).await);
    assert!(matches!(refused, Refusal::Guarded { .. }), "{refused}");
    site.wait_until_removed("qa-1").await;
    let with_secrets = |name| {
        let mut new = asked(name);
        new.asked.secrets_from = Some("production".parse().unwrap());
        new
    };
    let mut absent = with_secrets("qa-1");
    absent.release = Some(ReleaseNumber(9));
    assert!(matches!(create(absent).await, Err(Error::NoRelease { .. })));
    site.made(with_secrets("qa-1")).await;
    let refused = refusal(create(with_secrets("qa-1")).await);
    assert_eq!(refused, Refusal::Present(id("qa-1")));
    let refused = refusal(create(with_secrets("ci-1-1-1")).await);
    assert!(matches!(refused, Refusal::Name(_)), "{refused}");
    let mut like_a_preview = with_secrets("qa-2");
    like_a_preview.asked.like = "qa-1".parse().unwrap();
    let refused = refusal(create(like_a_preview).await);
    assert!(matches!(refused, Refusal::OfPreview(..)), "{refused}");
    // Two who ask for the last place at once: one has it.
    let (one, other) = tokio::join!(create(with_secrets("qa-2")), create(with_secrets("qa-3")));
    let refused = [one, other].into_iter().find_map(Result::err).unwrap();
    assert!(refused.to_string().contains("(2)"), "{refused}");
    assert_eq!(site.platform.environments().len(), 3);
}

#[tokio::test]
async fn a_new_preview_is_seeded_once_with_secrets_of_the_seed_and_never_again() {
    let site = Site::new().await;
    site.set_key(&production(), "one").await;
    let mut seeded = draft("v1");
    let mut seed = reading("done").services.into_values().next().unwrap();
    seed.spec.service = "fill".parse().unwrap();
    seed.spec.listens = false;
    seed.role = Role::Job {
        irreversible: false,
    };
    seed.restart = Restart::No;
    seed.routes.clear();
    seed.internal = None;
    seeded.seed = Some(Box::new(seed));
    site.deployed(seeded).await;
    assert_eq!(site.world.secrets(), [], "production is not seeded");
    let before = site.world.starts();
    site.made(asked("qa-42")).await;
    assert_eq!(site.world.starts(), before + 2, "the service and the seed");
    let qa = made_id();
    let given = || site.world.secrets().len();
    assert_eq!(given(), 1);

    // The same release again, another one, and the way back: what is there is not filled again.
    site.deployed(draft("v2")).await;
    for release in [1, 2, 1].map(ReleaseNumber) {
        let again = BringRelease {
            release,
            strategy: None,
            actor: "ada".to_owned(),
            past_gates: None,
        };
        site.platform.bring_release(&qa, again).await.unwrap();
        site.wait_for_release("qa-42", release).await;
    }
    assert_eq!(given(), 1);
}
