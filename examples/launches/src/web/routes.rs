//! Each path of the site, and what it answers. HTML is made in `page`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::{App, page, websocket};
use crate::client::{self, Appended, Item};
use crate::fault::Fault;
use crate::keyed::hex;
use crate::lifecycle::say;
use crate::migrate::{DRAWS, ENTRIES};
use crate::raffle::{Draw, Entry, masked};
use crate::serve::{Answer, json, text};

const HTML: &str = "text/html; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
const LARGEST_FORM: usize = 4 * 1024;
const LONGEST_PAGE: usize = 100;
/// `/slow` sends a little this often, up to [`SLOWEST_MS`].
const DRIP_MS: u64 = 100;
const SLOWEST_MS: u64 = 60_000;

/// Why a request is answered with an error.
enum Problem {
    Store(client::Error),
    Stored(serde_json::Error),
}

impl From<client::Error> for Problem {
    fn from(error: client::Error) -> Self {
        Self::Store(error)
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        Self::Stored(error)
    }
}

/// The answer of a release that fails some requests.
pub(super) fn broken() -> Answer {
    text(
        StatusCode::INTERNAL_SERVER_ERROR,
        PLAIN,
        "this release is broken\n",
    )
}

pub(super) async fn answer(app: &Arc<App>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let answered = match (request.method(), parts.as_slice()) {
        (&Method::GET | &Method::HEAD, [""]) => landing(app).await,
        (&Method::POST, ["enter"]) => enter(app, request).await,
        (&Method::GET, ["entries"]) => entries(app, request.uri().query()).await,
        (&Method::GET, ["entries", ticket]) => entry(app, ticket).await,
        (&Method::GET, ["winners"]) => winners(app).await,
        (&Method::GET | &Method::HEAD, ["healthz"]) => Ok(health(app)),
        (&Method::GET, ["version"]) => Ok(json(
            StatusCode::OK,
            &json!({ "version": app.config.version }),
        )),
        (&Method::GET, ["secret-check"]) => Ok(secret_check(app)),
        (&Method::GET, ["slow"]) => Ok(slow(request.uri().query()).await),
        (&Method::GET, ["ws"]) => Ok(websocket::upgrade(app, request)),
        (
            _,
            [
                "" | "enter" | "entries" | "winners" | "healthz" | "version" | "secret-check"
                | "slow" | "ws",
            ]
            | ["entries", _],
        ) => Ok(text(
            StatusCode::METHOD_NOT_ALLOWED,
            PLAIN,
            "not like this\n",
        )),
        _ => Ok(text(
            StatusCode::NOT_FOUND,
            PLAIN,
            "there is no such page\n",
        )),
    };
    answered.unwrap_or_else(|problem| unavailable(&problem))
}

fn unavailable(problem: &Problem) -> Answer {
    match problem {
        Problem::Store(error) => say(&format!("web: {error}")),
        Problem::Stored(error) => say(&format!("web: cannot read what is stored: {error}")),
    }
    text(
        StatusCode::SERVICE_UNAVAILABLE,
        PLAIN,
        "please try again in a moment\n",
    )
}

/// Says whether this instance may get requests. It does not ask the store: while that is replaced,
/// every instance would call itself ill at once and none would be left to answer late.
fn health(app: &App) -> Answer {
    let version = &app.config.version;
    if app.config.fault == Fault::FailHealth {
        let body =
            json!({ "status": "failing", "version": version, "reason": "stock feed is stale" });
        return json(StatusCode::SERVICE_UNAVAILABLE, &body);
    }
    json(
        StatusCode::OK,
        &json!({ "status": "ok", "version": version }),
    )
}

/// Proves that the secret was read without telling anything about it.
fn secret_check(app: &App) -> Answer {
    let mut digest = hex(&app.config.key.digest(&["secret-check"]));
    digest.truncate(16);
    json(StatusCode::OK, &json!({ "digest": digest }))
}

async fn landing(app: &App) -> Result<Answer, Problem> {
    let entries = app.store.page(ENTRIES, 0, 0).await?.length;
    let draws = latest_draws(app, 5).await?;
    let heat = app.raffle.heat_of(entries);
    let commitment = app.raffle.commitment(&app.config.key, heat);
    let html = page::landing(
        &app.raffle,
        &app.config.version,
        entries,
        &commitment,
        &draws,
    );
    Ok(text(StatusCode::OK, HTML, html))
}

/// Takes a form or JSON. Entering again is no error: the answer is the ticket that one has.
async fn enter(app: &App, request: Request<Incoming>) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    let as_json = wants_json(&parts.headers);
    let Ok(body) = Limited::new(body, LARGEST_FORM).collect().await else {
        return Ok(text(
            StatusCode::PAYLOAD_TOO_LARGE,
            PLAIN,
            "that is too long\n",
        ));
    };
    let (email, size) = form(&parts.headers, &body.to_bytes());
    let entry = match app.raffle.entry(&email, &size) {
        Ok(entry) => entry,
        Err(refusal) if as_json => {
            let body = json!({ "error": refusal.to_string() });
            return Ok(json(StatusCode::UNPROCESSABLE_ENTITY, &body));
        }
        Err(refusal) => {
            let html = page::refused(&app.raffle, &refusal.to_string());
            return Ok(text(StatusCode::UNPROCESSABLE_ENTITY, HTML, html));
        }
    };
    let ticket = app.raffle.ticket(&app.config.key, &entry);
    let value = serde_json::to_string(&entry)?;
    let (item, status) = match app.store.append(ENTRIES, &ticket, &value).await? {
        Appended::New(item) => (item, StatusCode::CREATED),
        Appended::Existed(item) => (item, StatusCode::OK),
    };
    let heat = app.raffle.heat_of(item.index);
    if as_json {
        let body = json!({
            "ticket": ticket,
            "number": item.index + 1,
            "heat": heat,
            "new": status == StatusCode::CREATED,
        });
        return Ok(json(status, &body));
    }
    Ok(text(
        status,
        HTML,
        page::entered(&app.raffle, &ticket, item.index + 1, heat),
    ))
}

async fn entries(app: &App, query: Option<&str>) -> Result<Answer, Problem> {
    let from = number(query, "from").unwrap_or(0);
    let limit = number(query, "limit")
        .unwrap_or(LONGEST_PAGE)
        .min(LONGEST_PAGE);
    let page = app.store.page(ENTRIES, from, limit).await?;
    let items: Vec<Value> = page
        .items
        .iter()
        .map(|item| shown(app, item))
        .collect::<Result<_, _>>()?;
    Ok(json(
        StatusCode::OK,
        &json!({ "length": page.length, "entries": items }),
    ))
}

async fn entry(app: &App, ticket: &str) -> Result<Answer, Problem> {
    let Some(item) = app.store.item(ENTRIES, ticket).await? else {
        return Ok(json(
            StatusCode::NOT_FOUND,
            &json!({ "error": "there is no such ticket" }),
        ));
    };
    let mut body = shown(app, &item)?;
    let heat = app.raffle.heat_of(item.index).to_string();
    let outcome = match app.store.item(DRAWS, &heat).await? {
        None => "waiting",
        Some(draw) if draw_of(&draw)?.ticket == ticket => "won",
        Some(_) => "lost",
    };
    if let Some(body) = body.as_object_mut() {
        body.insert("outcome".to_owned(), outcome.into());
    }
    Ok(json(StatusCode::OK, &body))
}

/// Everything needed to check the draws: see `raffle`.
async fn winners(app: &App) -> Result<Answer, Problem> {
    let entries = app.store.page(ENTRIES, 0, 0).await?.length;
    let draws = latest_draws(app, LONGEST_PAGE).await?;
    let heat = app.raffle.heat_of(entries);
    let next = json!({ "heat": heat, "commitment": app.raffle.commitment(&app.config.key, heat) });
    let body = json!({ "heat_size": app.raffle.heat, "next": next, "draws": draws });
    Ok(json(StatusCode::OK, &body))
}

/// An answer that takes as long as it is asked to: a little at a time for `ms`, or after a silence
/// of `think_ms`, whole.
async fn slow(query: Option<&str>) -> Answer {
    let milliseconds = |name| number(query, name).and_then(|ms| u64::try_from(ms).ok());
    if let Some(think) = milliseconds("think_ms") {
        tokio::time::sleep(Duration::from_millis(think.min(SLOWEST_MS))).await;
        return text(StatusCode::OK, PLAIN, "done\n");
    }
    let wanted = milliseconds("ms").unwrap_or(2_000);
    let drips = stream::unfold(Some(wanted.min(SLOWEST_MS)), |left| async move {
        let left = left?;
        if left == 0 {
            return Some((Ok(Frame::data(Bytes::from_static(b"done\n"))), None));
        }
        let pause = left.min(DRIP_MS);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        Some((
            Ok(Frame::data(Bytes::from_static(b"drip\n"))),
            Some(left - pause),
        ))
    });
    let mut answer = Response::new(StreamBody::new(drips).boxed_unsync());
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(PLAIN));
    answer
}

async fn latest_draws(app: &App, most: usize) -> Result<Vec<Draw>, Problem> {
    let length = app.store.page(DRAWS, 0, 0).await?.length;
    let page = app
        .store
        .page(DRAWS, length.saturating_sub(most), most)
        .await?;
    Ok(page
        .items
        .iter()
        .rev()
        .map(draw_of)
        .collect::<Result<_, _>>()?)
}

fn draw_of(item: &Item) -> Result<Draw, serde_json::Error> {
    serde_json::from_str(&item.value)
}

fn shown(app: &App, item: &Item) -> Result<Value, serde_json::Error> {
    let entry: Entry = serde_json::from_str(&item.value)?;
    Ok(json!({
        "ticket": item.key,
        "number": item.index + 1,
        "heat": app.raffle.heat_of(item.index),
        "email": masked(&entry.email),
        "size": entry.size,
    }))
}

fn wants_json(headers: &HeaderMap) -> bool {
    [ACCEPT, CONTENT_TYPE]
        .iter()
        .any(|name| says(headers, name, "application/json"))
}

fn says(headers: &HeaderMap, name: &hyper::header::HeaderName, what: &str) -> bool {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|v| v.contains(what))
}

/// Reads address and size from JSON or a form; what is missing is empty.
fn form(headers: &HeaderMap, body: &[u8]) -> (String, String) {
    if says(headers, &CONTENT_TYPE, "application/json") {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let field = |name| match value.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        return (field("email"), field("size"));
    }
    let body = String::from_utf8_lossy(body);
    let field = |name| {
        let mut pairs = body.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(key, _)| *key == name)
            .map_or_else(String::new, |(_, value)| decoded(value))
    };
    (field("email"), field("size"))
}

/// Undoes the encoding of a form's field.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn number(query: Option<&str>, name: &str) -> Option<usize> {
    let mut pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_decoded_and_what_is_missing_is_empty() {
        let none = HeaderMap::new();
        let fields = form(&none, b"size=41&email=ada%2Blaunch%40example.com");
        assert_eq!(
            fields,
            ("ada+launch@example.com".to_owned(), "41".to_owned())
        );
        assert_eq!(
            form(&none, b"email=%zz%4"),
            ("?\u{4}".to_owned(), String::new())
        );
        assert_eq!(form(&none, b"\xff"), (String::new(), String::new()));
    }
}
