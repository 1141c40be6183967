//! The ends of a command's standard streams that the control plane has: three pipes, or a terminal.
//! Not the command.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;
use rustix::fs::{Gid, Mode, OFlags, Uid, fchmod, fchown, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use towpath_model::console::{
    Attachment, CommandEnd, Input, Output, Session, SessionInput, SessionOutput, WindowSize,
};
use towpath_model::port::PortError;

use crate::shim::launch::{Credentials, Streams};

/// How much is read at a time.
const READ_BYTES: usize = 64 * 1024;

/// What a terminal takes for the end of its input.
const END_OF_TRANSMISSION: &[u8] = &[4];

/// A terminal, as whoever sits at it has it.
type Master = Arc<AsyncFd<OwnedFd>>;

/// Both ends of a command's standard streams.
pub(super) struct Ends {
    /// What is handed over to the command.
    pub(super) theirs: Vec<OwnedFd>,
    /// What they are.
    pub(super) streams: Streams,
    /// What the control plane has; nothing where nobody is attached.
    pub(super) ours: Option<Ours>,
}

/// The control plane's ends.
pub(super) enum Ours {
    Streams {
        input: pipe::Sender,
        output: pipe::Receiver,
        errors: pipe::Receiver,
    },
    Terminal(Master),
}

impl Ends {
    /// Makes streams, which a command of another user may open again by their names.
    pub(super) fn new(attachment: Attachment, user: Option<&Credentials>) -> io::Result<Self> {
        let ends = match attachment {
            Attachment::Detached => Self {
                theirs: Vec::new(),
                streams: Streams::Supervised,
                ours: None,
            },
            Attachment::Streams => Self::pipes()?,
            Attachment::Terminal(size) => Self::terminal(size)?,
        };
        for end in ends.theirs.iter().filter(|_| user.is_some()) {
            let (uid, gid) = (user.map(|user| user.uid), user.map(|user| user.gid));
            fchown(end, uid.map(Uid::from_raw), gid.map(Gid::from_raw))?;
        }
        Ok(ends)
    }

    fn pipes() -> io::Result<Self> {
        let (their_input, input) = pipe_with(PipeFlags::CLOEXEC)?;
        let (output, their_output) = pipe_with(PipeFlags::CLOEXEC)?;
        let (errors, their_errors) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Self {
            theirs: vec![their_input, their_output, their_errors],
            streams: Streams::Handed,
            ours: Some(Ours::Streams {
                input: pipe::Sender::from_owned_fd(input)?,
                output: pipe::Receiver::from_owned_fd(output)?,
                errors: pipe::Receiver::from_owned_fd(errors)?,
            }),
        })
    }

    #[expect(
        deprecated,
        reason = "the replacement is unsafe: it asks the caller to promise what an owned descriptor is"
    )]
    fn terminal(size: WindowSize) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let theirs = ioctl_tiocgptpeer(&master, flags)?;
        fchmod(&theirs, Mode::RUSR | Mode::WUSR | Mode::WGRP)?;
        tcsetwinsize(&master, window(size))?;
        fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        Ok(Self {
            theirs: vec![theirs],
            streams: Streams::Terminal,
            ours: Some(Ours::Terminal(Arc::new(AsyncFd::new(master)?))),
        })
    }
}

impl Ours {
    /// Returns the session of a command whose end is told to `end`.
    pub(super) fn session(self, end: oneshot::Receiver<CommandEnd>) -> Session {
        let (input, output, errors) = match self {
            Self::Streams {
                input,
                output,
                errors,
            } => (
                In::Pipe(Some(input)),
                Source::Pipe(output),
                Some(Source::Pipe(errors)),
            ),
            Self::Terminal(master) => (
                In::Terminal(Arc::clone(&master)),
                Source::Terminal(master),
                None,
            ),
        };
        Session {
            input: Box::new(input),
            output: Box::new(Out {
                output: Some(output),
                errors,
                end,
            }),
        }
    }
}

fn window(size: WindowSize) -> Winsize {
    Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

enum In {
    /// Until the command closed it, or whoever gives it.
    Pipe(Option<pipe::Sender>),
    Terminal(Master),
}

#[async_trait]
impl SessionInput for In {
    async fn give(&mut self, input: Input) -> Result<(), PortError> {
        match (&mut *self, input) {
            (Self::Pipe(pipe), Input::Data(bytes)) => {
                let written = match pipe {
                    Some(open) => open.write_all(&bytes).await,
                    None => Ok(()),
                };
                // Its end is seen where its output is read.
                if written.is_err() {
                    *pipe = None;
                }
            }
            (Self::Pipe(pipe), Input::End) => *pipe = None,
            (Self::Pipe(_), Input::Resize(_)) => {}
            (Self::Terminal(master), Input::Data(bytes)) => type_in(master, &bytes).await,
            (Self::Terminal(master), Input::End) => type_in(master, END_OF_TRANSMISSION).await,
            (Self::Terminal(master), Input::Resize(size)) => {
                // One that is gone has no size.
                tcsetwinsize(master.get_ref(), window(size)).ok();
            }
        }
        Ok(())
    }
}

/// Writes to a terminal. What nobody reads any more is lost.
async fn type_in(master: &Master, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = master
            .async_io(Interest::WRITABLE, |fd| {
                rustix::io::write(fd, rest).map_err(io::Error::from)
            })
            .await;
        match written {
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(_) => return,
        }
    }
}

enum Source {
    Pipe(pipe::Receiver),
    Terminal(Master),
}

impl Source {
    /// Reads what there is; `None` at the end. Cancel-safe.
    async fn read(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; READ_BYTES];
        let count = match self {
            Self::Pipe(pipe) => pipe.read(&mut bytes).await.unwrap_or(0),
            Self::Terminal(master) => {
                let read = master.async_io(Interest::READABLE, |fd| {
                    match rustix::io::read(fd, &mut bytes) {
                        // Nobody has the other end any more.
                        Err(Errno::IO) => Ok(0),
                        read => read.map_err(io::Error::from),
                    }
                });
                read.await.unwrap_or(0)
            }
        };
        bytes.truncate(count);
        (count > 0).then_some(bytes)
    }
}

/// Reads a source that is open; never returns of one that is not.
async fn read(source: &mut Option<Source>) -> Option<Vec<u8>> {
    match source {
        Some(source) => source.read().await,
        None => std::future::pending().await,
    }
}

struct Out {
    output: Option<Source>,
    errors: Option<Source>,
    end: oneshot::Receiver<CommandEnd>,
}

#[async_trait]
impl SessionOutput for Out {
    async fn next(&mut self) -> Result<Output, PortError> {
        while self.output.is_some() || self.errors.is_some() {
            tokio::select! {
                bytes = read(&mut self.output) => match bytes {
                    Some(bytes) => return Ok(Output::Stdout(bytes)),
                    None => self.output = None,
                },
                bytes = read(&mut self.errors) => match bytes {
                    Some(bytes) => return Ok(Output::Stderr(bytes)),
                    None => self.errors = None,
                },
            }
        }
        let end = (&mut self.end).await;
        end.map(Output::Ended).map_err(|_| PortError::Failed {
            attempted: "see how the command ended".to_owned(),
            reason: "the engine is shutting down".to_owned(),
        })
    }
}
