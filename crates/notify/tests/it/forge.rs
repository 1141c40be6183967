//! Statuses of commits, against a server of this machine that answers as forges document it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use towpath_model::repository::outside::{Forge, Outside};
use towpath_model::repository::status::{Answer, Forges as _, State, Status, Told, judge, request};
use towpath_model::workload::SecretValue;
use towpath_notify::{Config, Sender};

use crate::server::Server;
use crate::{Fixed, http};

/// Tells a forge that answers so. Returns what it was sent, and its answer.
async fn tell(forge: Forge, path: &str, status: &str, rest: &str) -> (String, Answer) {
    let server = Server::new(http(status, rest)).await;
    let outside = Outside {
        url: format!("http://{}/{path}", server.address())
            .parse()
            .unwrap(),
        every: Duration::from_mins(5),
        forge: Some(forge),
        web: Some(format!("http://{}", server.address()).parse().unwrap()),
        link: Some("https://ci.example.com/7".parse().unwrap()),
    };
    let wanted = Status {
        commit: "0123456789".repeat(4).parse().unwrap(),
        context: "towpath/unit".to_owned(),
        state: State::Failure,
        description: "exit code 1".to_owned(),
        link: Some("https://ci.example.com/7".to_owned()),
    };
    let token = SecretValue::new(b"t0ken".to_vec());
    let request = request(&outside, &token, &wanted).unwrap();
    let sender = Sender::new(Config::default(), Arc::new(Fixed));
    let answer = sender.tell(&request).await.unwrap();
    (server.said(), answer)
}

#[tokio::test]
async fn each_forge_gets_its_own_request() {
    let commit = "0123456789".repeat(4);
    for (forge, path, line, field, body) in [
        (
            Forge::GitHub,
            "ada/shop.git",
            format!("POST /api/v3/repos/ada/shop/statuses/{commit} HTTP/1.1"),
            "authorization: Bearer t0ken",
            r#"{"context":"towpath/unit","description":"exit code 1","state":"failure","target_url":"https://ci.example.com/7"}"#,
        ),
        (
            Forge::GitLab,
            "team/web/shop.git",
            format!("POST /api/v4/projects/team%2Fweb%2Fshop/statuses/{commit} HTTP/1.1"),
            "private-token: t0ken",
            r#"{"description":"exit code 1","name":"towpath/unit","state":"failed","target_url":"https://ci.example.com/7"}"#,
        ),
        (
            Forge::Gitea,
            "ada/shop",
            format!("POST /api/v1/repos/ada/shop/statuses/{commit} HTTP/1.1"),
            "authorization: token t0ken",
            r#"{"context":"towpath/unit","description":"exit code 1","state":"failure","target_url":"https://ci.example.com/7"}"#,
        ),
        (
            Forge::BitbucketCloud,
            "ada/shop",
            format!("POST /2.0/repositories/ada/shop/commit/{commit}/statuses/build HTTP/1.1"),
            "authorization: Bearer t0ken",
            r#"{"description":"exit code 1","key":"towpath/unit","name":"towpath/unit","state":"FAILED","url":"https://ci.example.com/7"}"#,
        ),
        (
            Forge::BitbucketDataCenter,
            "scm/web/shop.git",
            format!(
                "POST /rest/api/latest/projects/web/repos/shop/commits/{commit}/builds HTTP/1.1"
            ),
            "authorization: Bearer t0ken",
            r#"{"description":"exit code 1","key":"towpath/unit","name":"towpath/unit","state":"FAILED","url":"https://ci.example.com/7"}"#,
        ),
    ] {
        let (said, answer) = tell(forge, path, "201 Created", "content-length: 2\r\n\r\n{}").await;
        assert!(said.starts_with(&line), "{said}");
        assert!(said.contains(&format!("{field}\r\n")), "{said}");
        assert!(said.contains("user-agent: towpath/"), "{said}");
        let (_, sent) = said.split_once("\r\n\r\n").unwrap();
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(json(sent), json(body), "{said}");
        assert_eq!(
            judge(forge, &answer, jiff::Timestamp::UNIX_EPOCH),
            Told::Taken
        );
    }
}

#[tokio::test]
async fn the_limits_of_an_answer_are_read_and_the_token_is_not_repeated() {
    let rest = "x-ratelimit-remaining: 0\r\nx-ratelimit-reset: 900\r\nretry-after: 7\r\n";
    let (_, answer) = tell(Forge::GitHub, "ada/shop", "403 Forbidden", rest).await;
    assert_eq!(
        (answer.status, answer.remaining, answer.reset),
        (403, Some(0), Some(900))
    );
    assert_eq!(answer.retry_after.as_deref(), Some("7"));
    let rest = "ratelimit-remaining: 3\r\nratelimit-reset: 9\r\n";
    let (_, answer) = tell(Forge::GitLab, "ada/shop", "429 Slow", rest).await;
    assert_eq!((answer.remaining, answer.reset), (Some(3), Some(9)));
    let rest = "content-length: 21\r\n\r\n401: t0ken is not good";
    let (_, answer) = tell(Forge::Gitea, "ada/shop", "401 No", rest).await;
    assert!(
        answer.words.contains("***") && !answer.words.contains("t0ken"),
        "{answer:?}"
    );
}
