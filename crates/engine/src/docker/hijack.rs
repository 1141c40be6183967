//! A stream of bytes to and from something that runs on Docker: what is left of an HTTP connection
//! when Docker has taken it over. Not what runs.
//!
//! The client library has such streams too, but takes the output of a terminal for frames where it
//! begins with a control character.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadHalf, WriteHalf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use towpath_model::console::Output;

use super::client::Trouble;
use super::shared::Shared;

/// The longest answer of a refusal that is read.
const REFUSAL_BYTES: usize = 64 * 1024;

/// The most bytes that are handed on at a time.
const PIECE_BYTES: usize = 32 * 1024;

/// The head of a frame: the stream, three zeros, the length (Docker Engine API, "Attach to a
/// container", stream format).
const HEAD_BYTES: usize = 8;

/// Where it is written to.
pub(super) type Writer = WriteHalf<TokioIo<Upgraded>>;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Has Docker take a connection over. `body` is JSON.
pub(super) async fn open(
    shared: &Shared,
    path: &str,
    body: String,
    form: Form,
) -> Result<(Reader, Writer), Trouble> {
    let docker = shared.client.get().await?;
    let version = docker.client_version();
    let path = format!(
        "/v{}.{}{path}",
        version.major_version, version.minor_version
    );
    let away = |error: &dyn std::fmt::Display| {
        let host = shared.client.host();
        Trouble::Away(format!("Docker at {host} does not answer: {error}"))
    };
    let io = connect(shared.client.host()).await;
    let io = io.map_err(|error| away(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(io))
        .await
        .map_err(|error| away(&error))?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // What goes wrong with the connection is seen by whoever uses it.
        drop(connection.with_upgrades().await);
    });
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, "docker")
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "tcp")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| Trouble::Refused(error.to_string()))?;
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|error| away(&error))?;
    let status = answer.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let said = Limited::new(answer.into_body(), REFUSAL_BYTES)
            .collect()
            .await;
        let said = said.map(http_body_util::Collected::to_bytes);
        return Err(refusal(status, &said.unwrap_or_default()));
    }
    let upgraded = hyper::upgrade::on(answer).await;
    let upgraded = upgraded.map_err(|error| away(&error))?;
    let (read, write) = tokio::io::split(TokioIo::new(upgraded));
    let reader = Reader {
        read,
        form,
        head: [0; HEAD_BYTES],
        filled: 0,
        left: 0,
        _connection: tasks,
    };
    Ok((reader, write))
}

async fn connect(host: &str) -> std::io::Result<Box<dyn Io>> {
    if let Some(path) = host.strip_prefix("unix://") {
        return Ok(Box::new(UnixStream::connect(path).await?));
    }
    let address = host.split_once("://").map_or(host, |(_, address)| address);
    Ok(Box::new(
        TcpStream::connect(address.trim_end_matches('/')).await?,
    ))
}

fn refusal(status: StatusCode, body: &[u8]) -> Trouble {
    #[derive(Deserialize)]
    struct Said {
        message: String,
    }
    let words = match serde_json::from_slice::<Said>(body) {
        Ok(said) => said.message,
        Err(_) => format!("it answered {status}"),
    };
    match status {
        StatusCode::NOT_FOUND => Trouble::Missing(words),
        StatusCode::CONFLICT => Trouble::Conflict(words),
        _ => Trouble::Refused(words),
    }
}

/// What the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Frames of two streams.
    Frames,
    /// A terminal's.
    Raw,
}

/// Where it is read from.
pub(super) struct Reader {
    read: ReadHalf<TokioIo<Upgraded>>,
    form: Form,
    head: [u8; HEAD_BYTES],
    /// So much of the head of a frame was read.
    filled: usize,
    /// So much of a frame is to come.
    left: usize,
    _connection: JoinSet<()>,
}

impl Reader {
    /// Returns the next bytes; `None` at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Output>> {
        while self.form == Form::Frames && self.left == 0 {
            let rest = self.head.get_mut(self.filled..).unwrap_or_default();
            let count = self.read.read(rest).await?;
            if count == 0 {
                return Ok(None);
            }
            self.filled += count;
            if self.filled == HEAD_BYTES {
                self.filled = 0;
                self.left = length(self.head);
            }
        }
        let wanted = match self.form {
            Form::Raw => PIECE_BYTES,
            Form::Frames => self.left.min(PIECE_BYTES),
        };
        let mut piece = vec![0; wanted];
        let count = self.read.read(&mut piece).await?;
        if count == 0 {
            return Ok(None);
        }
        piece.truncate(count);
        self.left = self.left.saturating_sub(count);
        Ok(Some(match (self.form, self.head) {
            (Form::Frames, [2, ..]) => Output::Stderr(piece),
            (Form::Frames | Form::Raw, _) => Output::Stdout(piece),
        }))
    }
}

fn length(head: [u8; HEAD_BYTES]) -> usize {
    let [_, _, _, _, a, b, c, d] = head;
    usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_frame_is_in_its_last_four_bytes() {
        assert_eq!(length([1, 0, 0, 0, 0, 1, 0, 2]), 65_538);
    }

    #[test]
    fn a_refusal_is_in_dockers_words() {
        let body = br#"{"message":"container x is not running"}"#;
        let said = refusal(StatusCode::CONFLICT, body);
        assert_eq!(said.words(), "container x is not running");
        assert!(matches!(said, Trouble::Conflict(_)));
        let odd = refusal(StatusCode::BAD_GATEWAY, b"<html>");
        assert!(odd.words().contains("502"), "{}", odd.words());
    }
}
