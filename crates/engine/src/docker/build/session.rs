//! What BuildKit may ask of whoever builds, while it does: who one is at a registry, the values of
//! secrets, an SSH agent. Nothing of it is written anywhere. Not the build.
//!
//! A session is a connection on which the roles are turned: Docker is the client, of gRPC services
//! whose definitions are in BuildKit's repository under `session/`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONNECTION, UPGRADE};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use towpath_model::workload::SecretValue;

use super::grpc::{self, Code, Failed, Messages, Reply};
use super::proto::{Fields, Message};
use crate::docker::client::{Client, Trouble};
use crate::docker::config::DockerConfig;
use crate::docker::credentials;
use crate::docker::wire::{Starter, Tasks, Wire, empty, refusal};

const HEALTH: &str = "/grpc.health.v1.Health/Check";
const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
const SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
const CHECK_AGENT: &str = "/moby.sshforward.v1.SSH/CheckAgent";
const FORWARD_AGENT: &str = "/moby.sshforward.v1.SSH/ForwardAgent";

/// What is offered. Docker asks of its own accord whether the session is well.
const OFFERED: [&str; 4] = [CREDENTIALS, SECRET, CHECK_AGENT, FORWARD_AGENT];

/// Which agent is meant, where it is not the default one.
const AGENT: &str = "buildkit.ssh.id";
const DEFAULT_AGENT: &str = "default";

/// The names by which Docker asks for Docker Hub.
const HUB: [&str; 2] = ["registry-1.docker.io", "index.docker.io"];

/// How many pieces of an agent's words wait: it is asked and answers in turn.
const PIECES: usize = 4;
const PIECE_BYTES: usize = 16 << 10;

/// What may be asked for.
#[derive(Debug)]
pub(super) struct Answers {
    /// Where credentials are.
    pub(super) config: DockerConfig,
    /// The values of secrets, by the names that the Dockerfile has for them.
    pub(super) secrets: BTreeMap<String, SecretValue>,
    /// The sockets of SSH agents, by the names that the Dockerfile has for them.
    pub(super) agents: BTreeMap<String, PathBuf>,
}

/// A session that lasts until it is dropped.
#[derive(Debug)]
pub(super) struct Session {
    _wire: Wire,
    _tasks: Tasks,
}

impl Session {
    /// Opens a session under a name that nobody else has.
    pub(super) async fn open(
        client: &Client,
        version: &str,
        name: &str,
        answers: Answers,
    ) -> Result<Self, Trouble> {
        let mut wire = Wire::connect(client).await?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("/v{version}/session"))
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "h2c")
            .header("X-Docker-Expose-Session-Uuid", name)
            .header("X-Docker-Expose-Session-Name", "towpath");
        for method in OFFERED {
            request = request.header("X-Docker-Expose-Session-Grpc-Method", method);
        }
        let request = request
            .body(empty())
            .map_err(|error| Trouble::Refused(error.to_string()))?;
        let begun = wire.send(request).await?;
        if begun.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(begun).await);
        }
        let upgraded = hyper::upgrade::on(begun)
            .await
            .map_err(|error| Trouble::Away(format!("the session of the build: {error}")))?;
        let tasks = Tasks::default();
        let (starter, answers) = (tasks.starter(), Arc::new(answers));
        tasks.spawn(async move {
            let service = service_fn(|request| {
                let (answers, starter) = (Arc::clone(&answers), starter.clone());
                async move { Ok::<_, Infallible>(answer(&answers, &starter, request).await) }
            });
            let serving = http2::Builder::new(starter.clone()).serve_connection(upgraded, service);
            // A build that misses it fails and says so.
            drop(serving.await);
        });
        Ok(Self {
            _wire: wire,
            _tasks: tasks,
        })
    }
}

async fn answer(answers: &Answers, tasks: &Starter, request: Request<Incoming>) -> Response<Reply> {
    let (head, body) = request.into_parts();
    let mut messages = Messages::new(body);
    let answered = match head.uri.path() {
        // It is serving.
        HEALTH => Ok(Message::default().number(1, 1).done()),
        CREDENTIALS => match first_text(&mut messages).await {
            Ok(host) => credentials_for(answers, &host).await,
            Err(failed) => Err(failed),
        },
        SECRET => first_text(&mut messages).await.and_then(|name| {
            let value = answers.secrets.get(&name);
            let value = value.ok_or_else(|| missing("secret", &name))?;
            Ok(Message::default().bytes(1, value.expose()).done())
        }),
        CHECK_AGENT => first_text(&mut messages)
            .await
            .and_then(|name| agent(answers, &name).map(|_| Vec::new())),
        FORWARD_AGENT => {
            let name = head.headers.get(AGENT);
            let name = name.and_then(|name| name.to_str().ok()).unwrap_or_default();
            match forward(answers, tasks, name, messages).await {
                Ok(response) => return response,
                Err(failed) => Err(failed),
            }
        }
        other => Err(Failed::new(
            Code::Unimplemented,
            format!("there is no {other}"),
        )),
    };
    grpc::unary(answered)
}

/// Returns the first field of the only message.
async fn first_text(messages: &mut Messages<Incoming>) -> Result<String, Failed> {
    let message = messages.one().await?;
    let mut fields = Fields(&message);
    let first = fields.find(|(number, _)| *number == 1);
    Ok(first.map(|(_, value)| value.text()).unwrap_or_default())
}

fn missing(what: &str, name: &str) -> Failed {
    Failed::new(
        Code::NotFound,
        format!("the service's `build` has no {what} `{name}`"),
    )
}

async fn credentials_for(answers: &Answers, host: &str) -> Result<Vec<u8>, Failed> {
    let host = if HUB.contains(&host) {
        "docker.io"
    } else {
        host
    };
    let found = credentials::find(&answers.config, host).await;
    let found = found.map_err(|reason| Failed::new(Code::Unknown, reason))?;
    let found = found.unwrap_or_default();
    let (user, secret) = match found.identitytoken {
        Some(token) if !token.is_empty() => (None, Some(token)),
        _ => (found.username, found.password),
    };
    Ok(Message::default()
        .bytes(1, user.unwrap_or_default())
        .bytes(2, secret.unwrap_or_default())
        .done())
}

fn agent<'a>(answers: &'a Answers, name: &str) -> Result<&'a PathBuf, Failed> {
    let name = if name.is_empty() { DEFAULT_AGENT } else { name };
    let found = answers.agents.get(name);
    found.ok_or_else(|| missing("ssh agent", name))
}

/// Carries what is said to an agent and by it, until either ends.
async fn forward(
    answers: &Answers,
    tasks: &Starter,
    name: &str,
    mut asked: Messages<Incoming>,
) -> Result<Response<Reply>, Failed> {
    let path = agent(answers, name)?;
    let socket = UnixStream::connect(path).await.map_err(|error| {
        let message = format!("the ssh agent at {}: {error}", path.display());
        Failed::new(Code::Unknown, message)
    })?;
    let (mut from_agent, mut to_agent) = socket.into_split();
    let (pieces, answered) = mpsc::channel::<Frame<Bytes>>(PIECES);
    tasks.start(async move {
        let asking = async {
            while let Ok(Some(message)) = asked.next().await {
                for (_, value) in Fields(&message).filter(|(number, _)| *number == 1) {
                    if to_agent.write_all(value.bytes()).await.is_err() {
                        return;
                    }
                }
            }
            drop(to_agent.shutdown().await);
        };
        let answering = async {
            let mut piece = vec![0; PIECE_BYTES];
            while let Ok(length @ 1..) = from_agent.read(&mut piece).await {
                let bytes = piece.get(..length).unwrap_or_default();
                let message = Message::default().bytes(1, bytes).done();
                let frame = Frame::data(grpc::framed(&message));
                if pieces.send(frame).await.is_err() {
                    return;
                }
            }
            // Whoever asked may be gone.
            drop(pieces.send(Frame::trailers(grpc::ended(None))).await);
        };
        tokio::join!(asking, answering);
    });
    let frames = stream::unfold(answered, |mut answered| async {
        let frame = answered.recv().await?;
        Some((Ok(frame), answered))
    });
    Ok(grpc::respond(StreamBody::new(frames).boxed_unsync()))
}
