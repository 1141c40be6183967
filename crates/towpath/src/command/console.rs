//! `towpath exec` and `towpath run`: a command in an instance, and a one-off instance. The command's
//! exit code is this program's.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{mpsc, oneshot};
use towpath_api::client::{Session, SessionInput, SessionOutput};
use towpath_api::frame::FromServer;
use towpath_api::{CommandEnd, Detached, ExecRequest, RunRequest};
use towpath_model::id::EnvironmentId;

use super::terminal::Terminal;
use super::{connect, print};
use crate::arguments::{Choice, Exec, InService, Run, Surroundings, Target};
use crate::exit::{Failed, Failure};
use crate::settings::Settings;

/// How much of the standard input is read at a time, and how many pieces wait to be sent.
const READ_BYTES: usize = 64 * 1024;
const PIECES: usize = 4;

/// The exit code of a program whose reader went away, as shells have it: 128 and `SIGPIPE`.
const NO_READER: u8 = 141;

/// Runs a command in an instance.
pub(crate) async fn exec(arguments: &Exec, settings: &Settings) -> Result<ExitCode> {
    let (id, service) = choose(&arguments.of, settings).await?;
    let client = connect::client(settings)?;
    let around = &arguments.surroundings;
    let terminal = terminal(around)?;
    let request = ExecRequest {
        service,
        instance: arguments.instance,
        command: arguments.command.clone(),
        variables: variables(around, terminal.as_ref(), settings)?,
        directory: around.workdir.clone(),
        user: around.user.clone(),
        terminal: terminal.as_ref().map(|_| Terminal::size()),
        detach: around.detach,
    };
    if around.detach {
        return started(&client.exec_detached(&id, &request).await?);
    }
    let session = client.exec(&id, &request).await?;
    attach(session, terminal).await
}

/// Starts a one-off instance.
pub(crate) async fn run(arguments: &Run, settings: &Settings) -> Result<ExitCode> {
    let (id, service) = choose(&arguments.of, settings).await?;
    let client = connect::client(settings)?;
    let around = &arguments.surroundings;
    let terminal = terminal(around)?;
    let request = RunRequest {
        service,
        command: arguments.command.clone(),
        entrypoint: arguments.entrypoint.clone().map(|program| vec![program]),
        variables: variables(around, terminal.as_ref(), settings)?,
        directory: around.workdir.clone(),
        user: around.user.clone(),
        terminal: terminal.as_ref().map(|_| Terminal::size()),
        detach: around.detach,
    };
    if around.detach {
        return started(&client.run_detached(&id, &request).await?);
    }
    let session = client.run(&id, &request).await?;
    attach(session, terminal).await
}

fn started(detached: &Detached) -> Result<ExitCode> {
    let Detached { service, instance } = detached;
    print(&format!("{service}-{instance}\n"))
}

/// Returns the environment and the service that are meant.
async fn choose(of: &InService, settings: &Settings) -> Result<(EnvironmentId, String)> {
    match of.service.as_slice() {
        [environment, service] => {
            let target = Target {
                environment: environment.clone(),
                app: of.app.clone(),
            };
            Ok((connect::target(&target, settings)?, service.clone()))
        }
        named => {
            let choice = Choice {
                environment: None,
                app: of.app.clone(),
            };
            let service = named.first().cloned().unwrap_or_default();
            Ok((connect::choose(&choice, settings).await?, service))
        }
    }
}

/// Returns the terminal that the command gets, if it gets one.
fn terminal(around: &Surroundings) -> Result<Option<Terminal>> {
    if around.no_tty || around.detach {
        return Ok(None);
    }
    Terminal::of_this_process()
}

/// Returns the variables that are named, and what kind of terminal there is.
fn variables(
    around: &Surroundings,
    terminal: Option<&Terminal>,
    settings: &Settings,
) -> Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    if let (Some(_), Some(kind)) = (terminal, settings.variables.get("TERM")) {
        variables.insert("TERM".to_owned(), kind.clone());
    }
    for named in &around.variables {
        let (name, value) = match named.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (named.as_str(), settings.variables.get(named).cloned()),
        };
        if name.is_empty() {
            let message = format!("`{named}` is not a variable: write NAME=VALUE");
            return Err(Failed::new(Failure::Input, message).into());
        }
        let value = value.ok_or_else(|| {
            let message = format!("the variable `{name}` is not set in this shell");
            Failed::new(Failure::Input, message).hint(format!("give it a value: -e {name}=..."))
        })?;
        variables.insert(name.to_owned(), value);
    }
    Ok(variables)
}

/// Carries what is typed to the command and what it says back, to its end.
async fn attach(session: Session, terminal: Option<Terminal>) -> Result<ExitCode> {
    let Session { input, mut output } = session;
    // From here on every key is the command's.
    let raw = terminal.map(Terminal::make_raw).transpose()?;
    let mut terminated = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut hung_up = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let is_terminal = raw.is_some();
    let ended = tokio::select! {
        ended = show(&mut output) => ended?,
        given = give(input, is_terminal) => match given? {},
        _ = terminated.recv() => return Ok(ExitCode::from(143)),
        _ = hung_up.recv() => return Ok(ExitCode::from(129)),
    };
    drop(raw);
    let Some(end) = ended else {
        return Ok(ExitCode::from(NO_READER));
    };
    if let Some(error) = &end.error {
        let line = format!("error: {error}\n");
        // Nobody is left to be told when standard error is closed.
        drop(write(std::io::stderr().lock(), line.as_bytes()));
    }
    Ok(ExitCode::from(exit_code(&end)))
}

/// Returns the exit code of a command as a process can have it.
fn exit_code(end: &CommandEnd) -> u8 {
    u8::try_from(end.code.rem_euclid(256)).unwrap_or(1)
}

/// Shows what the command says. Returns how it ended; nothing when nobody reads it any more.
async fn show(output: &mut SessionOutput) -> Result<Option<CommandEnd>> {
    let (printer, mut outcome) = print_pieces();
    let end = loop {
        let piece = tokio::select! {
            next = output.next() => match next? {
                Some(FromServer::Stdout(bytes)) => Piece::Stdout(bytes),
                Some(FromServer::Stderr(bytes)) => Piece::Stderr(bytes),
                Some(FromServer::Alive) => continue,
                Some(FromServer::End(end)) => break end,
                None => {
                    let message = "the control plane went away, and ended the command with it";
                    return Err(Failed::new(Failure::Operation, message).into());
                }
            },
            failed = &mut outcome => return unread(failed),
        };
        // One that went away says why below.
        if printer.send(piece).await.is_err() {
            return unread(outcome.await);
        }
    };
    drop(printer);
    match outcome.await {
        Ok(Ok(())) => Ok(Some(end)),
        failed => unread(failed),
    }
}

/// Says what it means that nothing can be outcome any more.
fn unread(failed: Result<std::io::Result<()>, RecvError>) -> Result<Option<CommandEnd>> {
    match failed {
        Ok(Err(error)) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot print")
        }
        _ => Ok(None),
    }
}

/// What is to be outcome, and where.
enum Piece {
    Stdout(Bytes),
    Stderr(Bytes),
}

/// Prints in a thread of its own, which ends with the process: a reader may take its time.
fn print_pieces() -> (mpsc::Sender<Piece>, oneshot::Receiver<std::io::Result<()>>) {
    let (printer, mut pieces) = mpsc::channel(PIECES);
    let (told, outcome) = oneshot::channel();
    std::thread::spawn(move || {
        let print = |piece| match piece {
            Piece::Stdout(bytes) => write(std::io::stdout().lock(), &bytes),
            Piece::Stderr(bytes) => write(std::io::stderr().lock(), &bytes),
        };
        while let Some(piece) = pieces.blocking_recv() {
            let done = print(piece);
            if done.is_err() {
                drop(told.send(done));
                return;
            }
        }
        drop(told.send(Ok(())));
    });
    (printer, outcome)
}

fn write(mut to: impl Write, bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

/// Gives the command what is typed, and the size of the terminal when it changes. Goes on until it is
/// dropped, or the connection breaks: then the command's end says why.
async fn give(mut input: SessionInput, is_terminal: bool) -> Result<std::convert::Infallible> {
    let mut resized = signal(SignalKind::window_change()).context("cannot listen for SIGWINCH")?;
    let mut typed = read_standard_input();
    let mut is_open = true;
    loop {
        let sent = tokio::select! {
            bytes = typed.recv(), if is_open => if let Some(bytes) = bytes {
                input.data(&bytes).await
            } else {
                is_open = false;
                input.end().await
            },
            Some(()) = resized.recv() => match Terminal::known_size() {
                Some(size) if is_terminal => input.resize(size).await,
                _ => Ok(()),
            },
        };
        if sent.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Reads the standard input in a thread of its own, which ends with the process: a read that waits
/// for a key cannot be called off.
fn read_standard_input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, typed) = mpsc::channel(PIECES);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match input.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    let bytes = buffer.get(..count).unwrap_or_default().to_vec();
                    if sender.blocking_send(bytes).is_err() {
                        return;
                    }
                }
            }
        }
    });
    typed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_one_that_a_process_can_have() {
        for (code, found) in [(0, 0), (127, 127), (-1, 255), (256, 0), (3, 3)] {
            assert_eq!(
                exit_code(&CommandEnd { code, error: None }),
                found,
                "{code}"
            );
        }
    }
}
