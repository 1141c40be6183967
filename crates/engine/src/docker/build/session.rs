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
use hyper::header::{CONNECTION, HeaderMap, UPGRADE};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use towpath_model::workload::SecretValue;

use super::grpc::{self, Code, Failed, Messages, Reply};
use super::proto::{Fields, Message};
use super::sync::{self, Directory};
use crate::docker::client::{Client, Trouble};
use crate::docker::config::DockerConfig;
use crate::docker::credentials;
use crate::docker::wire::{Starter, Tasks, Wire, empty, refusal};

const HEALTH: &str = "/grpc.health.v1.Health/Check";
const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
const SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
const FILES: &str = "/moby.filesync.v1.FileSync/DiffCopy";
const CHECK_AGENT: &str = "/moby.sshforward.v1.SSH/CheckAgent";
const FORWARD_AGENT: &str = "/moby.sshforward.v1.SSH/ForwardAgent";

/// What is offered. Docker asks of its own accord whether the session is well.
const OFFERED: [&str; 5] = [CREDENTIALS, SECRET, FILES, CHECK_AGENT, FORWARD_AGENT];

/// Which agent is meant, where it is not the default one.
const AGENT: &str = "buildkit.ssh.id";
const DEFAULT_AGENT: &str = "default";

/// Which directory is meant, and which paths of it.
const DIRECTORY: &str = "dir-name";
const PATHS: &str = "followpaths";

/// The file that is asked for before the context: its rules are applied already.
const IGNORED: &str = ".dockerignore";

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
    /// The directories that are sent, by the names that BuildKit has for them.
    pub(super) directories: BTreeMap<&'static str, Arc<Directory>>,
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
    /// Opens a session under a name that nobody else has. What was sent under `shared` once is
    /// compared with by name, size and time: it is the same for the same content only.
    pub(super) async fn open(
        client: &Client,
        version: &str,
        name: &str,
        shared: &str,
        answers: Answers,
    ) -> Result<Self, Trouble> {
        let mut wire = Wire::connect(client).await?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("/v{version}/session"))
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "h2c")
            .header("X-Docker-Expose-Session-Uuid", name)
            .header("X-Docker-Expose-Session-Name", "towpath")
            .header("X-Docker-Expose-Session-Sharedkey", shared);
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
        // A build that misses it fails and says so.
        tasks.spawn(serve(upgraded, answers, starter));
        Ok(Self {
            _wire: wire,
            _tasks: tasks,
        })
    }
}

/// Answers on a connection until it ends.
async fn serve<C>(connection: C, answers: Arc<Answers>, tasks: Starter)
where
    C: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    let service = service_fn(|request| {
        let (answers, tasks) = (Arc::clone(&answers), tasks.clone());
        async move { Ok::<_, Infallible>(answer(&answers, &tasks, request).await) }
    });
    let serving = http2::Builder::new(tasks.clone()).serve_connection(connection, service);
    drop(serving.await);
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
        FILES => match directory(answers, &head.headers) {
            Ok(directory) => return sync::begin(directory, messages, tasks),
            Err(failed) => Err(failed),
        },
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

fn directory(answers: &Answers, headers: &HeaderMap) -> Result<Arc<Directory>, Failed> {
    let values = |name: &str| {
        let values = headers.get_all(name).into_iter();
        values
            .filter_map(|value| value.to_str().ok())
            .collect::<Vec<_>>()
    };
    if values(PATHS) == [IGNORED] {
        return Ok(Arc::default());
    }
    let names = values(DIRECTORY);
    let name = names.first().copied().unwrap_or_default();
    let found = answers.directories.get(name);
    found
        .map(Arc::clone)
        .ok_or_else(|| missing("directory", name))
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

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use hyper_util::rt::TokioIo;
    use tokio::net::UnixListener;

    use super::*;

    fn answers() -> Answers {
        let value = SecretValue::new(b"value".to_vec());
        let file = Directory::with("Dockerfile", b"FROM scratch".to_vec());
        Answers {
            config: DockerConfig::new(None),
            secrets: BTreeMap::from([("token".to_owned(), value)]),
            directories: BTreeMap::from([("dockerfile", Arc::new(file))]),
            agents: BTreeMap::new(),
        }
    }

    /// Asks as Docker does. Returns the messages of the answer, and its end.
    async fn ask(
        answers: Answers,
        path: &str,
        headers: &[(&str, &str)],
        messages: &[Message],
    ) -> (Vec<Bytes>, HeaderMap) {
        let tasks = Tasks::default();
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let serving = serve(TokioIo::new(ours), Arc::new(answers), tasks.starter());
        tasks.spawn(serving);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(tasks.starter(), TokioIo::new(theirs))
                .await
                .unwrap();
        tasks.spawn(async move { drop(connection.await) });
        let mut request = Request::builder().method(Method::POST).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body: Vec<u8> = messages
            .iter()
            .flat_map(|message| grpc::framed(&message.clone().done()))
            .collect();
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let collected = answer.into_body().collect().await.unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let mut messages = Messages::new(Full::new(collected.to_bytes()));
        let mut found = Vec::new();
        while let Some(message) = messages.next().await.unwrap() {
            found.push(message);
        }
        (found, trailers)
    }

    fn named(name: &str) -> [Message; 1] {
        [Message::default().bytes(1, name)]
    }

    #[tokio::test]
    async fn a_secret_is_told_by_its_name_and_no_other() {
        let (found, end) = ask(answers(), SECRET, &[], &named("token")).await;
        let value = Message::default().bytes(1, "value").done();
        assert_eq!(found, [value]);
        assert_eq!(end.get("grpc-status").unwrap(), "0");
        let (found, end) = ask(answers(), SECRET, &[], &named("other")).await;
        assert!(found.is_empty());
        assert_eq!(end.get("grpc-status").unwrap(), "5");
        let (_, end) = ask(answers(), "/no.Such/Call", &[], &named("x")).await;
        assert_eq!(end.get("grpc-status").unwrap(), "12");
    }

    #[tokio::test]
    async fn what_is_said_to_an_agent_and_by_it_is_carried() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("agent");
        let listener = UnixListener::bind(&socket).unwrap();
        let tasks = Tasks::default();
        tasks.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            stream.read_to_end(&mut asked).await.unwrap();
            asked.reverse();
            stream.write_all(&asked).await.unwrap();
        });
        let mut answers = answers();
        answers.agents.insert("default".to_owned(), socket);
        let asked = ["who are", " you"].map(|text| Message::default().bytes(1, text));
        let headers = [(AGENT, "default")];
        let (found, end) = ask(answers, FORWARD_AGENT, &headers, &asked).await;
        let said = found.iter().flat_map(|message| Fields(message));
        let said: String = said.map(|(_, value)| value.text()).collect();
        assert_eq!(said, "uoy era ohw");
        assert_eq!(end.get("grpc-status").unwrap(), "0");
    }

    #[tokio::test]
    async fn a_file_is_announced_and_sent_when_it_is_asked_for() {
        let request = Message::default().number(1, 1).number(3, 0);
        let end = Message::default().number(1, 3);
        let headers = [(DIRECTORY, "dockerfile")];
        let (found, status) = ask(answers(), FILES, &headers, &[request, end.clone()]).await;
        assert_eq!(status.get("grpc-status").unwrap(), "0");
        let [stat, none, data, last, fin] = &found[..] else {
            panic!("{found:?}");
        };
        let stat = Fields(stat).find(|(number, _)| *number == 2).unwrap().1;
        let name = Fields(stat.bytes()).next().unwrap().1.text();
        assert_eq!((name.as_str(), none.len()), ("Dockerfile", 0));
        let content = Fields(data).find(|(number, _)| *number == 4).unwrap().1;
        assert_eq!(content.text(), "FROM scratch");
        assert!(Fields(last).all(|(number, _)| number != 4));
        assert_eq!(fin, &Bytes::from(end.done()));
        let headers = [(DIRECTORY, "home")];
        let (_, status) = ask(answers(), FILES, &headers, &[]).await;
        assert_eq!(status.get("grpc-status").unwrap(), "5");
    }
}
