//! The `store` service: keys and lists over HTTP, in memory and in a file. It is not a database; it
//! keeps what it acknowledged, through a kill and a power cut, and that is all it promises.

mod api;
mod data;
mod log;
mod writer;

use std::sync::{Arc, RwLock};

use tokio::sync::mpsc;

use crate::config::StoreConfig;
use crate::lifecycle::{Stop, say};
use crate::serve;
use data::Data;
use log::{Log, Opened};
use writer::Writer;

/// Writes that wait for the disk at once. More callers than this wait in their connections.
const WAITING_WRITES: usize = 256;

/// Why the store ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Log(#[from] log::Error),
    #[error("the store cannot listen")]
    Listen(#[source] std::io::Error),
    #[error("the writer of the store ended unexpectedly")]
    Writer,
}

/// Serves the store until `stop`.
pub(crate) async fn run(config: StoreConfig, stop: Stop) -> Result<(), Error> {
    let Opened { log, changes, torn } = Log::open(&config.directory)?;
    if torn > 0 {
        say(&format!(
            "store: cut {torn} bytes off the end: a write that was never acknowledged"
        ));
    }
    let mut data = Data::default();
    let count = changes.len();
    for change in changes {
        data.apply(change);
    }
    let data = Arc::new(RwLock::new(data));
    let (sender, waiting) = mpsc::channel(WAITING_WRITES);
    let scribe = Writer::new(log, Arc::clone(&data), waiting);
    let mut written = tokio::task::spawn_blocking(move || scribe.run());

    let listener = serve::listen(config.listen).await.map_err(Error::Listen)?;
    say(&format!(
        "store: {count} changes read, listening on {}",
        config.listen
    ));
    let api = api::Api::new(data, sender);
    let serving = serve::serve(listener, &stop, config.grace, move |request| {
        let api = api.clone();
        async move { api.answer(request).await }
    });
    // The writer ends by itself only when the disk fails. Then nothing can be promised any more.
    tokio::select! {
        () = serving => {}
        ended = &mut written => return Ok(ended.map_err(|_| Error::Writer)??),
    }
    Ok(written.await.map_err(|_| Error::Writer)??)
}
