//! The client's part of a command that runs for it: what it gives, and what comes of it. Not how the
//! bytes look ([`crate::frame`]).

use std::io::ErrorKind;

use bytes::Bytes;
use hyper::Method;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::task::JoinSet;
use towpath_model::id::EnvironmentId;

use super::environment::of;
use super::transport::broken;
use super::{Client, Error, JsonStream, segment};
use crate::console::{Detached, ExecRequest, RunRequest, TerminalSize, Usage};
use crate::frame::{Frame as _, Frames, FromClient, FromServer};

/// How much is read at a time.
const READ_BYTES: usize = 64 * 1024;

/// The most bytes of one frame.
const PIECE_BYTES: usize = 64 * 1024;

/// A command that runs. Dropping its output closes the connection, and kills the command.
#[derive(Debug)]
pub struct Session {
    /// Takes what it is given.
    pub input: SessionInput,
    /// Returns what comes of it.
    pub output: SessionOutput,
}

/// The way to a command.
#[derive(Debug)]
pub struct SessionInput {
    write: WriteHalf<TokioIo<Upgraded>>,
}

/// The way from a command.
#[derive(Debug)]
pub struct SessionOutput {
    read: ReadHalf<TokioIo<Upgraded>>,
    frames: Frames,
    _connection: JoinSet<()>,
}

impl SessionInput {
    /// Gives it bytes for its standard input.
    pub async fn data(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for piece in bytes.chunks(PIECE_BYTES) {
            let piece = Bytes::copy_from_slice(piece);
            self.send(&FromClient::Stdin(piece)).await?;
        }
        Ok(())
    }

    /// Ends its standard input.
    pub async fn end(&mut self) -> Result<(), Error> {
        self.send(&FromClient::StdinEnd).await
    }

    /// Tells it the size of the terminal.
    pub async fn resize(&mut self, size: TerminalSize) -> Result<(), Error> {
        self.send(&FromClient::Resize(size)).await
    }

    async fn send(&mut self, frame: &FromClient) -> Result<(), Error> {
        let bytes = frame.to_bytes();
        self.write.write_all(&bytes).await.map_err(broken)?;
        self.write.flush().await.map_err(broken)
    }
}

impl SessionOutput {
    /// Returns what comes next; `None` when the connection ends before the command does. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<FromServer>, Error> {
        loop {
            match self.frames.take().map_err(broken)? {
                Some(FromServer::Alive) => {}
                Some(frame) => return Ok(Some(frame)),
                None => {
                    let mut buffer = vec![0; READ_BYTES];
                    let count = match self.read.read(&mut buffer).await {
                        // A server that was killed says no goodbye over TLS.
                        Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
                        read => read.map_err(broken)?,
                    };
                    if count == 0 {
                        return Ok(None);
                    }
                    self.frames.push(buffer.get(..count).unwrap_or_default());
                }
            }
        }
    }
}

impl Client {
    /// Runs a command in an instance, attached to it.
    pub async fn exec(&self, id: &EnvironmentId, request: &ExecRequest) -> Result<Session, Error> {
        self.attach(&of(id, "/exec"), request).await
    }

    /// Runs a command in an instance with nobody attached; `detach` has to be set.
    pub async fn exec_detached(
        &self,
        id: &EnvironmentId,
        request: &ExecRequest,
    ) -> Result<Detached, Error> {
        self.post(&of(id, "/exec"), request).await
    }

    /// Starts a one-off instance, attached to it.
    pub async fn run(&self, id: &EnvironmentId, request: &RunRequest) -> Result<Session, Error> {
        self.attach(&of(id, "/run"), request).await
    }

    /// Starts a one-off instance with nobody attached; `detach` has to be set.
    pub async fn run_detached(
        &self,
        id: &EnvironmentId,
        request: &RunRequest,
    ) -> Result<Detached, Error> {
        self.post(&of(id, "/run"), request).await
    }

    /// Returns what the instances of an environment use; of one service where it is named.
    pub async fn usage(&self, id: &EnvironmentId, service: Option<&str>) -> Result<Usage, Error> {
        self.get(&of(id, &format!("/usage{}", service_query(service))))
            .await
    }

    /// Follows what the instances of an environment use.
    pub async fn follow_usage(
        &self,
        id: &EnvironmentId,
        service: Option<&str>,
    ) -> Result<JsonStream<Usage>, Error> {
        self.open(&of(id, &format!("/usage/stream{}", service_query(service))))
            .await
    }

    async fn attach<Q: Serialize>(&self, path: &str, request: &Q) -> Result<Session, Error> {
        let body = self.json(request)?;
        let (io, connection) = self.transport.upgrade(Method::POST, path, body).await?;
        let (read, write) = tokio::io::split(io);
        Ok(Session {
            input: SessionInput { write },
            output: SessionOutput {
                read,
                frames: Frames::default(),
                _connection: connection,
            },
        })
    }
}

fn service_query(service: Option<&str>) -> String {
    service.map_or_else(String::new, |name| format!("?service={}", segment(name)))
}
