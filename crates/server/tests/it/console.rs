//! Commands and one-offs over the API: the connection that a request takes over, by both doors, and
//! what is refused before it does.

use std::time::Duration;

use bytes::Bytes;
use towpath_api::client::{Error, Session};
use towpath_api::frame::FromServer;
use towpath_api::{Client, CommandEnd, DeployRequest, ExecRequest, RunRequest, TerminalSize};
use towpath_model::id::EnvironmentId;
use towpath_testkit::world::draft;

use crate::site::Site;

/// Longer than anything here takes.
const LONGEST: Duration = Duration::from_secs(20);

fn production() -> EnvironmentId {
    "shop/production".parse().unwrap()
}

/// A site with a release that serves.
async fn serving() -> Site {
    let site = Site::new().await;
    let client = site.client();
    client.create_environment(&production()).await.unwrap();
    let request = DeployRequest {
        draft: draft("v1"),
        source: None,
        commit: None,
        message: None,
        strategy: None,
        automatic: false,
        past_gates: None,
    };
    let number = client.deploy(&production(), &request).await.unwrap();
    let mut progress = client
        .progress(&production(), number.deployment.unwrap())
        .await
        .unwrap();
    while let Some(last) = progress.next().await.unwrap() {
        assert!(!last.deployment.state.words().contains("failed"));
    }
    site
}

fn of_web(words: &[&str]) -> ExecRequest {
    ExecRequest {
        service: "web".to_owned(),
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        ..ExecRequest::default()
    }
}

async fn next(session: &mut Session) -> FromServer {
    let next = tokio::time::timeout(LONGEST, session.output.next()).await;
    next.expect("it comes in time").unwrap().unwrap()
}

async fn echoes(client: &Client) {
    let mut request = of_web(&["say", "it"]);
    request.terminal = Some(TerminalSize {
        columns: 80,
        rows: 24,
    });
    let mut session = client.exec(&production(), &request).await.unwrap();
    let out = |text: &'static str| FromServer::Stdout(Bytes::from_static(text.as_bytes()));
    assert_eq!(next(&mut session).await, out("say it"));
    session.input.data(b"typed").await.unwrap();
    assert_eq!(next(&mut session).await, out("typed"));
    let size = TerminalSize {
        columns: 300,
        rows: 2,
    };
    session.input.resize(size).await.unwrap();
    let resized = FromServer::Stderr(Bytes::from_static(b"300x2"));
    assert_eq!(next(&mut session).await, resized);
    session.input.end().await.unwrap();
    let end = CommandEnd {
        code: 0,
        error: None,
    };
    assert_eq!(next(&mut session).await, FromServer::End(end));
    assert!(session.output.next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_command_is_carried_by_both_doors() {
    let site = serving().await;
    echoes(&site.client()).await;
    let token = site.client().create_token("ci").await.unwrap();
    echoes(&Client::tcp(site.tcp.to_string(), token.secret)).await;
}

#[tokio::test]
async fn a_request_that_cannot_be_answered_is_refused_before_anything_runs() {
    let site = serving().await;
    let path = "POST /v1/environments/shop/production/exec";
    let body = br#"{"service":"web","command":["true"]}"#;
    let plain = site.ask(path, body).await;
    assert_eq!(plain.status, 426, "{plain:?}");
    assert!(plain.head.contains("upgrade: towpath-console"));
    let refusals = [
        (of_web(&[]), 400),
        (
            ExecRequest {
                service: "nothing".to_owned(),
                ..of_web(&["true"])
            },
            404,
        ),
        (
            ExecRequest {
                instance: Some(99),
                ..of_web(&["true"])
            },
            404,
        ),
    ];
    for (request, status) in refusals {
        let refused = site.client().exec(&production(), &request).await;
        match refused {
            Err(Error::Problem(problem)) => assert_eq!(problem.status, status, "{problem:?}"),
            other => panic!("{other:?}"),
        }
    }
    let stranger = Client::tcp(site.tcp.to_string(), "nobody's");
    let refused = stranger.exec(&production(), &of_web(&["true"])).await;
    assert!(matches!(refused, Err(Error::Problem(problem)) if problem.status == 401));
}

#[tokio::test]
async fn a_one_off_is_gone_with_its_client_and_with_its_environment() {
    let site = serving().await;
    let request = RunRequest {
        service: "web".to_owned(),
        ..RunRequest::default()
    };
    let mut session = site.client().run(&production(), &request).await.unwrap();
    let said = next(&mut session).await;
    assert!(matches!(said, FromServer::Stdout(_)), "{said:?}");
    assert_eq!(site.world().one_offs().len(), 1);
    drop(session);
    until_none(&site).await;
    let detached = RunRequest {
        detach: true,
        ..request
    };
    let started = site.client().run_detached(&production(), &detached).await;
    let started = started.unwrap();
    let named = format!("{}-{}", started.service, started.instance);
    assert_eq!(site.world().one_offs(), [named]);
    site.client().down(&production()).await.unwrap();
    until_none(&site).await;
    let refused = site.client().run(&production(), &detached).await;
    assert!(matches!(refused, Err(Error::Problem(problem)) if problem.status == 409));
}

async fn until_none(site: &Site) {
    let gone = async {
        while !site.world().one_offs().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    let gone = tokio::time::timeout(LONGEST, gone).await;
    gone.expect("it is gone in time");
}

#[tokio::test]
async fn what_instances_use_is_shown_once_and_followed() {
    let site = serving().await;
    let client = site.client();
    let once = client.usage(&production(), Some("web")).await.unwrap();
    assert_eq!(once.instances.len(), 2, "{once:?}");
    let percent = once.instances[0].cpu_percent.unwrap();
    assert!((40.0..60.0).contains(&percent), "{percent}");
    let mut followed = client.follow_usage(&production(), None).await.unwrap();
    let first = followed.next().await.unwrap().unwrap();
    assert_eq!(first.instances.len(), 2);
    let unknown = client.usage(&production(), Some("nothing")).await;
    assert!(matches!(unknown, Err(Error::Problem(problem)) if problem.status == 404));
}
