//! The `web` service: the raffle's pages over HTTP. It holds no data and draws nothing.

mod page;
mod routes;
mod websocket;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::Client;
use crate::config::WebConfig;
use crate::fault::{Fault, Verdict};
use crate::lifecycle::{Stop, say};
use crate::migrate::{self, NEEDED};
use crate::raffle::Raffle;
use crate::serve::{self, Answer};
use crate::{client, worker};

const VERSION: HeaderName = HeaderName::from_static("x-launches-version");
/// How long `web` waits for a migration that somebody else runs.
const MIGRATION: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(200);

/// Why the service ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the size chart of the raffle is missing (LAUNCHES_FAULT=crash-at-start)")]
    Crash,
    #[error("LAUNCHES_VERSION={0:?} cannot be sent in a header")]
    Version(String),
    #[error("the store's schema is {found}, this release needs {NEEDED}: did migrate run?")]
    Schema { found: u32 },
    #[error("the store has a schema but no raffle")]
    NoRaffle,
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error(transparent)]
    Migrate(#[from] migrate::Error),
    #[error("web cannot listen")]
    Listen(#[source] std::io::Error),
}

/// What every request needs.
#[derive(Debug)]
struct App {
    config: WebConfig,
    version: HeaderValue,
    raffle: Raffle,
    store: Client,
    seen: AtomicU64,
    sessions: TaskTracker,
    /// Cancelled when WebSocket sessions are to be closed, after everything else is done.
    closing: CancellationToken,
}

/// Serves the pages until `stop`. Listens only once it could answer: until then a connection is
/// refused, which nobody mistakes for health.
pub(crate) async fn run(config: WebConfig, stop: Stop) -> Result<(), Error> {
    let version = HeaderValue::from_str(&config.version)
        .map_err(|_| Error::Version(config.version.clone()))?;
    let store = Client::new(&config.store_address);
    say(&format!("web: version {} starts", config.version));
    let raffle = tokio::select! {
        raffle = prepare(&config, &store) => raffle?,
        () = stop.asked() => return Ok(()),
    };
    let listener = serve::listen(config.listen).await.map_err(Error::Listen)?;
    say(&format!(
        "web: version {}, listening on {}",
        config.version, config.listen
    ));

    let (grace, sessions, closing) = (config.grace, TaskTracker::new(), CancellationToken::new());
    let app = Arc::new(App {
        config,
        version,
        raffle,
        store,
        seen: AtomicU64::new(0),
        sessions: sessions.clone(),
        closing: closing.clone(),
    });
    serve::serve(listener, &stop, grace, move |request| {
        let app = Arc::clone(&app);
        async move { app.answer(request).await }
    })
    .await;
    closing.cancel();
    sessions.close();
    // Each session bounds its own farewell.
    sessions.wait().await;
    say("web: stopped");
    Ok(())
}

async fn prepare(config: &WebConfig, store: &Client) -> Result<Raffle, Error> {
    tokio::time::sleep(config.start).await;
    if config.fault == Fault::CrashAtStart {
        return Err(Error::Crash);
    }
    let begun = tokio::time::Instant::now();
    loop {
        let found = migrate::schema(store).await?;
        if found >= NEEDED {
            return worker::raffle(store).await?.ok_or(Error::NoRaffle);
        }
        if begun.elapsed() >= MIGRATION {
            return Err(Error::Schema { found });
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl App {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let version = self.version.clone();
        let verdict = match request.uri().path() {
            // The faults are in the pages; what watches the app sees it as it is.
            "/healthz" | "/version" | "/ws" => Verdict::Serve,
            _ => self.config.fault.judge(&self.seen),
        };
        let mut answer = match verdict {
            Verdict::Serve => routes::answer(&self, request).await,
            Verdict::ServeLater(delay) => {
                tokio::time::sleep(delay).await;
                routes::answer(&self, request).await
            }
            Verdict::Fail => routes::broken(),
        };
        let headers = answer.headers_mut();
        headers.insert(VERSION, version);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }
}
