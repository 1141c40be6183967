//! One exchange with `git http-backend`: the request streams in, the answer streams out, and what a push
//! brought is taken in when it ended. Not who may ask.

use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use towpath_control::{Outcome, Platform, TakenIn};
use towpath_model::id::{AppName, RunId};
use towpath_model::pipeline::Run;

use super::cgi::{self, HEAD_BYTES_MAX, Head};
use super::progress::{self, Verdict};
use super::sideband::{Band, Held, alive, line};
use crate::app::Context;
use crate::problem::Error;

/// The most bytes that a request may have, as it is sent.
const REQUEST_BYTES_MAX: u64 = 2 << 30;

/// The most bytes of the objects that a push may bring.
const PACK_BYTES_MAX: u64 = 1 << 30;

/// How long a client may say nothing while it is to send.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// How long a whole exchange may take.
const DEADLINE: Duration = Duration::from_hours(1);

/// How long a push shows its runs, each. They go on without it.
const FOLLOWED_MAX: Duration = Duration::from_hours(1);

/// The time between two packets that show that the connection lives.
const ALIVE_EVERY: Duration = Duration::from_secs(5);

/// How much is read at a time.
const PIECE_BYTES: usize = 32 << 10;

/// How many pieces may wait for a client that reads slowly.
const QUEUE: usize = 8;

/// What Git is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// To send objects: a clone, a fetch.
    UploadPack,
    /// To receive objects: a push.
    ReceivePack,
}

impl Service {
    /// Returns Git's name of it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::UploadPack => "git-upload-pack",
            Self::ReceivePack => "git-receive-pack",
        }
    }
}

/// One request, as CGI wants it.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) app: AppName,
    pub(super) actor: String,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) variables: Vec<(&'static str, String)>,
}

/// Answers a request. `service` is that of an exchange of objects.
pub(super) async fn answer(
    context: &Context,
    limit: &Arc<Semaphore>,
    call: Call,
    body: Body,
    service: Option<Service>,
) -> Result<Response, Error> {
    let permit = Arc::clone(limit).try_acquire_owned();
    let permit = permit.map_err(|_| Error::Busy)?;
    let child = spawn(&context.platform, &call).map_err(|error| Error::Git(error.to_string()))?;
    let (head, coming) = oneshot::channel();
    let (pieces, receiver) = mpsc::channel(QUEUE);
    let exchange = Exchange {
        platform: context.platform.clone(),
        call,
        service,
        head: Some(head),
        pieces,
        held: Held::default(),
        permit: Some(permit),
    };
    let stop = context.stop.clone();
    context
        .platform
        .carry(exchange.run(child, body.into_data_stream(), stop));
    let failed = |_| Error::Git("it ended without an answer".to_owned());
    let Head { status, fields } = coming.await.map_err(failed)?;
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    Ok((status, fields, Body::from_stream(stream)).into_response())
}

/// Starts `git http-backend` (CGI, RFC 3875 section 4.1).
fn spawn(platform: &Platform, call: &Call) -> io::Result<Child> {
    let data = platform.data();
    let git = platform.git_program();
    let hooks = data.hooks().display().to_string();
    let settings = [
        ("core.hooksPath", hooks),
        ("http.receivepack", "true".to_owned()),
        ("receive.fsckObjects", "true".to_owned()),
        // Flaws of old versions of Git, which old histories have and nobody can mend.
        ("receive.fsck.zeroPaddedFilemode", "ignore".to_owned()),
        ("receive.fsck.missingSpaceBeforeDate", "ignore".to_owned()),
        ("receive.fsck.badTimezone", "ignore".to_owned()),
        ("receive.maxInputSize", PACK_BYTES_MAX.to_string()),
        ("receive.denyDeleteCurrent", "ignore".to_owned()),
        ("transfer.hideRefs", "refs/towpath".to_owned()),
        ("gc.autoDetach", "false".to_owned()),
        ("maintenance.autoDetach", "false".to_owned()),
        ("safe.directory", "*".to_owned()),
    ];
    let mut command = Command::new(&git.program);
    command
        .arg("http-backend")
        .env_clear()
        .envs(git.variables())
        .env("GIT_PROJECT_ROOT", data.repositories())
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", settings.len().to_string())
        .env("REQUEST_METHOD", call.method)
        .env("PATH_INFO", &call.path)
        .env("QUERY_STRING", &call.query)
        .env("REMOTE_USER", &call.actor)
        .env("TOWPATH_PUSH_APP", call.app.as_str())
        .env("TOWPATH_PUSH_ACTOR", &call.actor)
        .env("TOWPATH_PUSH_DATA", &data.0)
        .envs(call.variables.iter().map(|(name, value)| (name, value)))
        .current_dir(data.repositories())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    for (at, (name, value)) in settings.iter().enumerate() {
        command
            .env(format!("GIT_CONFIG_KEY_{at}"), name)
            .env(format!("GIT_CONFIG_VALUE_{at}"), value);
    }
    command.spawn()
}

/// An exchange under way.
struct Exchange {
    platform: Platform,
    call: Call,
    service: Option<Service>,
    head: Option<oneshot::Sender<Head>>,
    pieces: mpsc::Sender<io::Result<Bytes>>,
    held: Held,
    permit: Option<OwnedSemaphorePermit>,
}

impl Exchange {
    /// Carries it to its end, whether or not the client is still there: what was pushed is taken in.
    async fn run(mut self, mut child: Child, body: BodyDataStream, stop: CancellationToken) {
        let ended = tokio::select! {
            ended = tokio::time::timeout(DEADLINE, self.exchange(&mut child, body)) => {
                ended.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            }
            () = stop.cancelled() => Err(io::Error::other("the control plane stops")),
        };
        let app = &self.call.app;
        if let Err(error) = &ended {
            tracing::warn!(%app, path = self.call.path, %error, "an exchange with Git failed");
        }
        if self.service == Some(Service::ReceivePack) && !stop.is_cancelled() {
            // Others may have its place while a run is only watched.
            self.permit = None;
            self.take_in(&stop).await;
        }
        match ended {
            Ok(()) => {
                let rest = std::mem::take(&mut self.held).rest();
                self.send(rest).await;
            }
            // The client sees that its answer broke off.
            Err(error) => drop(self.pieces.send(Err(error)).await),
        }
    }

    async fn exchange(&mut self, child: &mut Child, body: BodyDataStream) -> io::Result<()> {
        let no_pipe = || io::Error::other("Git has no pipe");
        let stdin = child.stdin.take().ok_or_else(no_pipe)?;
        let stdout = child.stdout.take().ok_or_else(no_pipe)?;
        let stderr = child.stderr.take().ok_or_else(no_pipe)?;
        let app = self.call.app.clone();
        let ((), (), ()) = tokio::try_join!(
            feed(body, stdin),
            self.read(stdout),
            complaints(stderr, &app)
        )?;
        let status = child.wait().await?;
        if status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("git http-backend: {status}")))
    }

    async fn read(&mut self, mut stdout: ChildStdout) -> io::Result<()> {
        let mut buffer = BytesMut::with_capacity(PIECE_BYTES);
        let body_at = loop {
            if let Some(at) = cgi::end(&buffer) {
                break at;
            }
            let length = stdout.read_buf(&mut buffer).await?;
            if length == 0 || buffer.len() > HEAD_BYTES_MAX + PIECE_BYTES {
                return Err(io::Error::other("Git answered without a head"));
            }
        };
        let head = cgi::parse(&buffer.split_to(body_at));
        let head = head.ok_or_else(|| io::Error::other("Git answered with a bad head"))?;
        if let Some(waiting) = self.head.take() {
            // A client that went away waits for nothing.
            drop(waiting.send(head));
        }
        loop {
            if !buffer.is_empty() {
                let passed = match self.service {
                    Some(Service::ReceivePack) => self.held.pass(&buffer.split()),
                    Some(Service::UploadPack) | None => buffer.split().freeze(),
                };
                self.send(passed).await;
            }
            buffer.reserve(PIECE_BYTES);
            if stdout.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
    }

    /// Sends a piece of the answer. A client that went away gets none, and Git goes on.
    async fn send(&self, piece: Bytes) {
        if !piece.is_empty() {
            drop(self.pieces.send(Ok(piece)).await);
        }
    }

    /// Takes in what was pushed, says so, and shows how its runs go.
    async fn take_in(&self, stop: &CancellationToken) {
        let (app, actor) = (&self.call.app, &self.call.actor);
        let taken = match self.platform.take_in(app, actor).await {
            Ok(taken) => taken,
            Err(error) => {
                tracing::error!(%app, %error, "what was pushed cannot be taken in");
                let text = format!("it cannot be taken in: {error}");
                return self.tell(line(Band::Failure, &text)).await;
            }
        };
        for one in &taken {
            self.tell(told(one)).await;
        }
        let mut failures = Vec::new();
        for one in taken {
            if let Outcome::HandedOn(_, Some(number)) = one.outcome
                && self.held.takes_lines()
            {
                let id = RunId::new(app.clone(), number);
                let followed = tokio::time::timeout(FOLLOWED_MAX, self.follow(&id, stop)).await;
                failures.extend(followed.ok().flatten());
            }
        }
        if !failures.is_empty() {
            let text = format!("{}; what was pushed stays", failures.join(", "));
            self.tell(line(Band::Failure, &text)).await;
        }
    }

    /// Shows a run until there is no more to wait for. Returns why it failed.
    async fn follow(&self, id: &RunId, stop: &CancellationToken) -> Option<String> {
        let mut records = self.platform.watch_run(id);
        let mut before: Option<Arc<Run>> = None;
        loop {
            let run = match &mut records {
                Some(records) => Arc::clone(&records.borrow_and_update()),
                None => Arc::new(self.platform.show_run(id).await.ok()?),
            };
            for text in progress::news(before.as_deref(), &run, self.platform.now()) {
                self.tell(line(Band::Progress, &text)).await;
            }
            match progress::verdict(&run) {
                Verdict::GoesOn => {}
                Verdict::Enough => return None,
                Verdict::Failed(reason) => return Some(reason),
            }
            before = Some(run);
            loop {
                let changed = tokio::select! {
                    () = stop.cancelled() => return None,
                    () = self.pieces.closed() => return None,
                    changed = records.as_mut()?.changed() => changed,
                    () = tokio::time::sleep(ALIVE_EVERY) => {
                        self.tell(alive()).await;
                        continue;
                    }
                };
                if changed.is_err() {
                    records = None;
                }
                break;
            }
        }
    }

    /// Sends a packet for whoever pushed, where the answer takes any.
    async fn tell(&self, packet: Bytes) {
        if self.held.takes_lines() {
            self.send(packet).await;
        }
    }
}

/// Says what became of a commit.
fn told(taken: &TakenIn) -> Bytes {
    match &taken.outcome {
        Outcome::HandedOn(source, run) => {
            let begun = match run {
                Some(run) => format!(", run {run} begins"),
                None => ", nothing is to be done for it".to_owned(),
            };
            let (reference, source) = (&taken.reference, source.short());
            let text = format!("{reference}: taken in as source {source}{begun}");
            line(Band::Progress, &text)
        }
        Outcome::Refused(reason) => {
            let text = format!("{}: refused: {reason}", taken.reference);
            line(Band::Failure, &text)
        }
    }
}

/// Gives Git what the client sends.
async fn feed(mut body: BodyDataStream, mut stdin: ChildStdin) -> io::Result<()> {
    let mut bytes: u64 = 0;
    loop {
        let piece = tokio::time::timeout(SILENCE_MAX, body.next()).await;
        let piece = match piece.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))? {
            Some(piece) => piece.map_err(io::Error::other)?,
            None => return Ok(()),
        };
        bytes = bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if bytes > REQUEST_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        match stdin.write_all(&piece).await {
            // Git has heard enough, and says why in its answer.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
}

/// Logs what Git complains of.
async fn complaints(mut stderr: ChildStderr, app: &AppName) -> io::Result<()> {
    let mut said = Vec::new();
    (&mut stderr).take(4096).read_to_end(&mut said).await?;
    if !said.is_empty() {
        let said = String::from_utf8_lossy(&said);
        tracing::info!(%app, said = said.trim(), "Git complains");
    }
    tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await?;
    Ok(())
}
