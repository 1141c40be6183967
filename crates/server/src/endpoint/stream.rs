//! Answers that go on: server-sent events and lines of JSON. Not what is in them.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use serde::Serialize;
use tokio_util::io::ReaderStream;

/// The time between two comments that show that the stream lives.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// Answers with an event of this name for each value.
pub(crate) fn events<T: Serialize + 'static>(
    name: &'static str,
    values: impl Stream<Item = T> + Send + 'static,
) -> Response {
    let events = values
        .map(move |value| Ok::<_, Infallible>(Event::default().event(name).data(json(&value))));
    let alive = KeepAlive::new().interval(ALIVE_EVERY);
    Sse::new(events).keep_alive(alive).into_response()
}

/// Answers with a tar archive.
pub(crate) fn archive(file: tokio::fs::File) -> Response {
    let pieces = ReaderStream::with_capacity(file, 64 * 1024);
    let headers = [(CONTENT_TYPE, "application/x-tar")];
    (headers, Body::from_stream(pieces)).into_response()
}

/// Answers with a line for each value.
pub(crate) fn lines<T: Serialize + 'static>(
    values: impl Stream<Item = T> + Send + 'static,
) -> Response {
    let lines = values.map(|value| {
        let mut line = json(&value);
        line.push('\n');
        Ok::<_, Infallible>(Bytes::from(line))
    });
    let headers = [
        (CONTENT_TYPE, "application/x-ndjson"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, Body::from_stream(lines)).into_response()
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("a wire type has only string keys")
}
