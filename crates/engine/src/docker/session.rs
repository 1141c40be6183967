//! A command in a container that somebody is attached to: an exec, or a one-off container's own. Not
//! its making ([`super::console`], [`super::one_off`]).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::query_parameters::{ResizeContainerTTYOptions, ResizeExecOptionsBuilder};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::oneshot;
use towpath_model::console::{
    CommandEnd, Input, NOT_EXECUTABLE, NOT_FOUND, Output, Session, SessionInput, SessionOutput,
    WindowSize,
};
use towpath_model::port::PortError;

use super::client::Trouble;
use super::hijack::{Reader, Writer};
use super::shared::Shared;

/// How often it is looked whether a command ended that has closed its output.
const INTERVAL: Duration = Duration::from_millis(20);

/// What Docker writes to the output of a command that it cannot start.
const CANNOT_START: &[u8] = b"OCI runtime exec failed";

/// What it says of a program that is not there.
const NO_PROGRAM: &str = "executable file not found";
const NO_FILE: &str = "no such file or directory";

/// What it says of a directory that a program cannot be run in.
const NO_DIRECTORY: &str = "chdir to cwd";

/// What somebody is attached to.
#[derive(Debug, Clone)]
pub(super) enum Of {
    /// A command in a container that runs.
    Exec(String),
    /// A container.
    Container(String),
}

/// Makes a session. `ended` hears whether the command ended before the session was left.
pub(super) fn session(
    shared: &Arc<Shared>,
    of: Of,
    (reader, writer): (Reader, Writer),
    ended: oneshot::Sender<CommandEnd>,
) -> Session {
    Session {
        input: Box::new(In {
            shared: Arc::clone(shared),
            of: of.clone(),
            writer: Some(writer),
        }),
        output: Box::new(Out {
            shared: Arc::clone(shared),
            of,
            reader: Some(reader),
            complaint: Complaint::Possible,
            ended: Some(ended),
        }),
    }
}

struct In {
    shared: Arc<Shared>,
    of: Of,
    /// Until the command closed its standard input, or whoever gives it.
    writer: Option<Writer>,
}

#[async_trait]
impl SessionInput for In {
    async fn give(&mut self, input: Input) -> Result<(), PortError> {
        match input {
            Input::Data(bytes) => {
                let Some(writer) = &mut self.writer else {
                    return Ok(());
                };
                let written = async {
                    writer.write_all(&bytes).await?;
                    writer.flush().await
                };
                // Its end is seen where its output is read.
                if written.await.is_err() {
                    self.writer = None;
                }
                Ok(())
            }
            Input::End => {
                if let Some(mut writer) = self.writer.take() {
                    drop(writer.shutdown().await);
                }
                Ok(())
            }
            Input::Resize(size) => resize(&self.shared, &self.of, size)
                .await
                .map_err(|trouble| trouble.failed("change the size of a terminal")),
        }
    }
}

/// Changes the size of a terminal. One that is gone has none.
pub(super) async fn resize(shared: &Shared, of: &Of, size: WindowSize) -> Result<(), Trouble> {
    let docker = shared.client.get().await?;
    let (width, height) = (i32::from(size.columns), i32::from(size.rows));
    let resized = match of {
        Of::Exec(exec) => {
            let options = ResizeExecOptionsBuilder::default().w(width).h(height);
            docker.resize_exec(exec, options.build()).await
        }
        Of::Container(container) => {
            let options = ResizeContainerTTYOptions {
                w: width,
                h: height,
            };
            docker.resize_container_tty(container, options).await
        }
    };
    match resized.map_err(|error| shared.client.trouble(&error)) {
        Err(away @ Trouble::Away(_)) => Err(away),
        Ok(()) | Err(Trouble::Missing(_) | Trouble::Conflict(_) | Trouble::Refused(_)) => Ok(()),
    }
}

/// What Docker said of a command that did not start, which comes as if the command had said it.
#[derive(Debug, PartialEq, Eq)]
enum Complaint {
    /// Nothing was read yet.
    Possible,
    /// This was read.
    Said(Vec<u8>),
    /// The command said something.
    Impossible,
}

struct Out {
    shared: Arc<Shared>,
    of: Of,
    reader: Option<Reader>,
    complaint: Complaint,
    ended: Option<oneshot::Sender<CommandEnd>>,
}

#[async_trait]
impl SessionOutput for Out {
    async fn next(&mut self) -> Result<Output, PortError> {
        while let Some(reader) = &mut self.reader {
            match reader.next().await {
                Ok(Some(output)) => {
                    if let Some(output) = self.complaint.sift(output) {
                        return Ok(output);
                    }
                }
                // A connection that broke off ends as the command did, or as Docker is away.
                Ok(None) | Err(_) => self.reader = None,
            }
        }
        let ended = end_seen_every(INTERVAL, &self.shared, &self.of).await;
        let mut end = ended.map_err(|trouble| trouble.failed("see how the command ended"))?;
        if let Complaint::Said(words) =
            std::mem::replace(&mut self.complaint, Complaint::Impossible)
        {
            if !matches!(end.code, NOT_FOUND | NOT_EXECUTABLE) {
                return Ok(Output::Stdout(words));
            }
            end = never_ran(&String::from_utf8_lossy(&words));
        }
        if let Some(ended) = self.ended.take() {
            // Whoever sees to it that nothing is left has nothing to do.
            drop(ended.send(end.clone()));
        }
        Ok(Output::Ended(end))
    }
}

impl Complaint {
    /// Keeps what may be a complaint, and returns all else.
    fn sift(&mut self, output: Output) -> Option<Output> {
        match (&mut *self, output) {
            (Self::Possible, Output::Stdout(bytes)) if bytes.starts_with(CANNOT_START) => {
                *self = Self::Said(bytes);
                None
            }
            (Self::Said(said), Output::Stdout(bytes)) => {
                said.extend(bytes);
                None
            }
            (Self::Possible, output) => {
                *self = Self::Impossible;
                Some(output)
            }
            (_, output) => Some(output),
        }
    }
}

/// Waits for the end of the command, for which Docker is asked again and again. Cancel-safe.
pub(super) async fn end_seen_every(
    interval: Duration,
    shared: &Shared,
    of: &Of,
) -> Result<CommandEnd, Trouble> {
    loop {
        let docker = shared.client.get().await?;
        let code = match of {
            Of::Exec(exec) => {
                let found = docker.inspect_exec(exec).await;
                let found = found.map_err(|error| shared.client.trouble(&error));
                found.map(|found| {
                    let ended = found.running != Some(true);
                    ended.then_some(found.exit_code)
                })
            }
            Of::Container(container) => {
                let found = docker.inspect_container(container, None).await;
                let found = found.map_err(|error| shared.client.trouble(&error));
                found.map(|found| {
                    let state = found.state.unwrap_or_default();
                    let ended = state.running != Some(true);
                    ended.then_some(state.exit_code)
                })
            }
        };
        match code {
            Ok(Some(Some(code))) => return Ok(with_code(code)),
            // It was killed with its container.
            Ok(Some(None)) | Err(Trouble::Missing(_)) => return Ok(gone()),
            Ok(None) => tokio::time::sleep(interval).await,
            Err(trouble) => return Err(trouble),
        }
    }
}

/// Returns how a command ended that Docker could not start, from its words: its own codes differ from
/// version to version.
pub(super) fn never_ran(words: &str) -> CommandEnd {
    let is_missing = [NO_PROGRAM, NO_FILE]
        .iter()
        .any(|sign| words.contains(sign));
    // It is not the program where its directory is not there.
    let is_there = !is_missing || words.contains(NO_DIRECTORY);
    CommandEnd {
        code: if is_there { NOT_EXECUTABLE } else { NOT_FOUND },
        error: Some(words.trim().to_owned()),
    }
}

fn with_code(code: i64) -> CommandEnd {
    CommandEnd {
        code: i32::try_from(code).unwrap_or(-1),
        error: None,
    }
}

fn gone() -> CommandEnd {
    CommandEnd {
        code: 137,
        error: Some("its container ended".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_says_of_a_command_that_did_not_start_is_kept() {
        let mut complaint = Complaint::Possible;
        let said = b"OCI runtime exec failed: exec failed: no such file".to_vec();
        assert_eq!(complaint.sift(Output::Stdout(said.clone())), None);
        assert_eq!(complaint, Complaint::Said(said));
    }

    #[test]
    fn what_a_command_says_is_handed_on() {
        let mut complaint = Complaint::Possible;
        let first = Output::Stdout(b"one".to_vec());
        assert_eq!(complaint.sift(first.clone()), Some(first));
        let second = Output::Stdout(CANNOT_START.to_vec());
        assert_eq!(complaint.sift(second.clone()), Some(second));
    }
}
