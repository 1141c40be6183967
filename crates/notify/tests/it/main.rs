//! The sender against servers of this machine that behave badly.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod forge;
mod server;
mod tls;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use towpath_model::id::SecretName;
use towpath_model::notify::{Channel, Message, Setting, Smtp, Tls, Webhook, test_message};
use towpath_model::port::{Clock, Notifier as _, PortError};
use towpath_model::workload::SecretValue;
use towpath_notify::{Config, Sender};

use server::Server;

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

fn message() -> Message {
    let (id, target) = ("shop/production".parse().unwrap(), "ops".parse().unwrap());
    let mut message = test_message(&id, &target, "ann", Timestamp::UNIX_EPOCH, "test");
    message.title = String::from("a <b> & *c*\r\nBcc: mallory@example.com");
    message.log = vec!["[a](https://evil.example)".to_owned()];
    message.text = format!("{}\n\n{}\n", message.title, message.log[0]);
    message
}

async fn send_with(
    channel: &Channel,
    secrets: &BTreeMap<SecretName, SecretValue>,
) -> Result<String, PortError> {
    let config = Config {
        connect_timeout: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        answer_bytes: 64,
    };
    let sender = Sender::new(config, Arc::new(Fixed));
    sender.send(channel, secrets, &message()).await
}

async fn send(channel: &Channel) -> Result<String, PortError> {
    send_with(channel, &BTreeMap::new()).await
}

fn slack(server: &Server) -> Channel {
    Channel::Slack {
        url: Setting::Plain(format!("http://{}/secret-path", server.address())),
    }
}

fn smtp(server: &Server, tls: Tls) -> Channel {
    Channel::Smtp(Smtp {
        host: server.address().ip().to_string(),
        port: server.address().port(),
        tls,
        username: None,
        password: None,
        from: "towpath@example.com".to_owned(),
        to: vec!["ops@example.com".to_owned()],
        ca: None,
    })
}

fn http(status: &str, rest: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{rest}connection: close\r\n\r\n")
}

#[tokio::test]
async fn only_what_may_pass_is_tried_again() {
    for (status, again) in [
        ("500 Oh", true),
        ("503 Oh", true),
        ("429 Slow", true),
        ("408 Late", true),
        ("400 Bad", false),
        ("404 Gone", false),
        ("410 Gone", false),
        ("302 There\r\nlocation: /elsewhere", false),
    ] {
        let server = Server::new(http(status, "content-length: 0\r\n")).await;
        let error = send(&slack(&server)).await.unwrap_err();
        let is_failed = matches!(error, PortError::Failed { .. });
        assert_eq!(is_failed, again, "{status}: {error}");
        assert_eq!(
            server.connections(),
            1,
            "{status}: nobody is followed anywhere"
        );
    }
}

#[tokio::test]
async fn an_answer_is_one_short_line_however_long_it_is() {
    let long = format!("{}{}", http("200 OK", ""), "so much\r\n".repeat(100_000));
    let server = Server::new(long).await;
    let answer = send(&slack(&server)).await.unwrap();
    assert!(answer.len() < 100 && !answer.contains('\n'), "{answer}");
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for_and_the_address_is_not_told() {
    let server = Server::new(String::new()).await;
    for channel in [slack(&server), smtp(&server, Tls::None)] {
        let error = send(&channel).await.unwrap_err();
        assert!(matches!(error, PortError::Failed { .. }), "{error}");
        assert!(!error.to_string().contains("secret-path"), "{error}");
    }
}

#[tokio::test]
async fn an_address_without_anybody_is_an_error_that_does_not_tell_it() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/secret-path", listener.local_addr().unwrap());
    drop(listener);
    let channel = Channel::Slack {
        url: Setting::Plain(url),
    };
    let error = send(&channel).await.unwrap_err().to_string();
    assert!(
        error.contains("refused") && !error.contains("secret-path"),
        "{error}"
    );
}

#[tokio::test]
async fn a_secret_that_the_other_side_repeats_is_covered() {
    let name: SecretName = "key".parse().unwrap();
    let server = Server::new(http("400 Bad", "content-length: 12\r\n") + "no: s3cr3t!!").await;
    let channel = Channel::Webhook(Webhook {
        url: Setting::Plain(format!("http://{}/", server.address())),
        headers: BTreeMap::from([("Authorization".to_owned(), Setting::Secret(name.clone()))]),
        secret: None,
        ca: None,
    });
    let secrets = BTreeMap::from([(name, SecretValue::new(b"s3cr3t!!\n".to_vec()))]);
    let error = send_with(&channel, &secrets).await.unwrap_err();
    assert!(error.to_string().ends_with("no: ***"), "{error}");
    assert!(server.said().contains("authorization: s3cr3t!!\r\n"));
}

#[tokio::test]
async fn a_title_cannot_add_a_header_to_a_mail() {
    let server = Server::mail("250 taken").await;
    let answer = send(&smtp(&server, Tls::None)).await.unwrap();
    assert!(answer.starts_with("250"), "{answer}");
    let said = server.said();
    let (head, _) = said.split_once("\r\n\r\n").unwrap();
    assert!(!head.lines().any(|line| line.starts_with("Bcc:")), "{said}");
    assert!(said.contains("Auto-Submitted: auto-generated"), "{said}");
}

#[tokio::test]
async fn a_mail_server_that_refuses_for_good_is_not_asked_again() {
    let server = Server::mail("554 no").await;
    let error = send(&smtp(&server, Tls::None)).await.unwrap_err();
    assert!(matches!(error, PortError::Refused(_)), "{error}");
    let server = Server::mail("451 later").await;
    let error = send(&smtp(&server, Tls::None)).await.unwrap_err();
    assert!(matches!(error, PortError::Failed { .. }), "{error}");
}

#[tokio::test]
async fn nothing_is_said_to_a_mail_server_that_does_not_speak_the_tls_that_is_asked_for() {
    let server = Server::mail("250 taken").await;
    send(&smtp(&server, Tls::Starttls)).await.unwrap_err();
    let said = server.said();
    assert!(
        !said.contains("MAIL FROM") && !said.contains("DATA"),
        "{said}"
    );
}

#[tokio::test]
async fn what_a_log_says_is_no_link_in_a_card_and_no_mention_in_slack() {
    let server = Server::new(http("200 OK", "content-length: 0\r\n")).await;
    let teams = Channel::Teams {
        url: Setting::Plain(format!("http://{}/", server.address())),
    };
    send(&teams).await.unwrap();
    assert!(
        server.said().contains(r"\\[a\\](https://evil.example)"),
        "{}",
        server.said()
    );
    let server = Server::new(http("200 OK", "content-length: 0\r\n")).await;
    send(&slack(&server)).await.unwrap();
    assert!(
        server.said().contains("a &lt;b&gt; &amp;"),
        "{}",
        server.said()
    );
}
