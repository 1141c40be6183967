//! Carries the bytes of a command between its session and the connection that a request took over.
//! Not the command.

use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use towpath_api::CommandEnd;
use towpath_api::frame::{Frame as _, Frames, FromClient, FromServer};
use towpath_model::console::{Input, Output, Session, SessionInput, SessionOutput, WindowSize};

use crate::extract::Takeover;

/// How much is read at a time.
const READ_BYTES: usize = 64 * 1024;

/// The time between two frames that show that the connection lives.
const ALIVE_EVERY: Duration = Duration::from_secs(5);

/// The exit code of a command that the control plane ended.
const LOST: i32 = 1;

/// Carries until the command ends, the client goes away, or the server is to stop. Whatever is left
/// of the command then is ended with its session.
pub(crate) async fn carry(takeover: Takeover, session: Session, stop: CancellationToken) {
    let upgraded = tokio::select! {
        upgraded = takeover.connection() => upgraded,
        () = stop.cancelled() => return,
    };
    let io = match upgraded {
        Ok(upgraded) => TokioIo::new(upgraded),
        Err(error) => {
            tracing::debug!(%error, "a client went away before its command began");
            return;
        }
    };
    let (read, mut write) = tokio::io::split(io);
    let Session { input, mut output } = session;
    let end = tokio::select! {
        end = out(&mut *output, &mut write) => end,
        () = give(read, input) => None,
        () = stop.cancelled() => Some(CommandEnd {
            code: LOST,
            error: Some("the control plane stops: the command was ended".to_owned()),
        }),
    };
    if let Some(end) = end {
        let end = FromServer::End(end).to_bytes();
        // A client that went away meanwhile needs to hear nothing.
        drop(write.write_all(&end).await);
        drop(write.shutdown().await);
    }
}

/// Hands on what comes of the command. Returns how it ended; nothing when the client went away.
async fn out(
    output: &mut dyn SessionOutput,
    write: &mut (impl AsyncWrite + Unpin),
) -> Option<CommandEnd> {
    loop {
        let coming = tokio::time::timeout(ALIVE_EVERY, output.next()).await;
        let frame = match coming {
            Err(_) => FromServer::Alive,
            Ok(Ok(Output::Stdout(bytes))) => FromServer::Stdout(Bytes::from(bytes)),
            Ok(Ok(Output::Stderr(bytes))) => FromServer::Stderr(Bytes::from(bytes)),
            Ok(Ok(Output::Ended(end))) => {
                return Some(CommandEnd {
                    code: end.code,
                    error: end.error,
                });
            }
            Ok(Err(error)) => {
                return Some(CommandEnd {
                    code: LOST,
                    error: Some(error.to_string()),
                });
            }
        };
        write.write_all(&frame.to_bytes()).await.ok()?;
        write.flush().await.ok()?;
    }
}

/// Gives the command what the client says, until the client goes away. A command that does not read
/// what it is given makes its client wait, whose going is seen all the same.
async fn give(mut read: impl AsyncRead + Unpin, mut input: Box<dyn SessionInput>) {
    let mut frames = Frames::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let frame = match frames.take() {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                let count = read.read(&mut buffer).await.unwrap_or(0);
                if count == 0 {
                    return;
                }
                frames.push(buffer.get(..count).unwrap_or_default());
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "a client does not speak the protocol");
                return;
            }
        };
        let given = input.give(match frame {
            FromClient::Stdin(bytes) => Input::Data(Vec::from(bytes)),
            FromClient::StdinEnd => Input::End,
            FromClient::Resize(size) => Input::Resize(WindowSize {
                columns: size.columns,
                rows: size.rows,
            }),
        });
        if let Err(error) = given.await {
            tracing::debug!(%error, "a command cannot be given anything");
        }
    }
}
