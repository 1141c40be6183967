//! The store's HTTP interface. It decides nothing about durability.
//!
//! ```text
//! GET  /healthz
//! GET  /keys/{key}                 200 with the value, 404
//! PUT  /keys/{key}[?new]           201, 409 when `new` and it exists
//! GET  /lists/{list}?from=&limit=  200 with {"length", "items": [{"index", "key", "value"}]}
//! GET  /lists/{list}/{key}         200 with the item, 404
//! POST /lists/{list}/{key}         201 with the item, 409 with the item that has the key
//! ```
//!
//! Every write is on the disk before it is answered, and may be repeated without harm.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::data::{Change, Data, Item};
use super::writer::{Write, Written};
use crate::serve::{Answer, json, text};

const LARGEST_VALUE: usize = 64 * 1024;
const LONGEST_NAME: usize = 128;
const LONGEST_PAGE: usize = 1_000;
const PLAIN: &str = "text/plain; charset=utf-8";

#[derive(Clone, Debug)]
pub(super) struct Api {
    data: Arc<RwLock<Data>>,
    writes: mpsc::Sender<Write>,
}

#[derive(Serialize)]
struct Page<'a> {
    length: usize,
    items: &'a [Item],
}

impl Api {
    pub(super) fn new(data: Arc<RwLock<Data>>, writes: mpsc::Sender<Write>) -> Self {
        Self { data, writes }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let path: Vec<&str> = head.uri.path().split('/').skip(1).collect();
        let query = head.uri.query().unwrap_or("");
        if path.iter().skip(1).any(|name| !is_name(name)) {
            return text(
                StatusCode::BAD_REQUEST,
                PLAIN,
                "names are of A-Z a-z 0-9 . _ : -\n",
            );
        }
        match (&head.method, path.as_slice()) {
            (&Method::GET, ["healthz"]) => text(StatusCode::OK, PLAIN, "ok\n"),
            (&Method::GET, ["keys", key]) => match self.data().value(key) {
                Some(value) => text(StatusCode::OK, PLAIN, value.to_owned()),
                None => missing(),
            },
            (&Method::GET, ["lists", list]) => {
                let from = number(query, "from").unwrap_or(0);
                let limit = number(query, "limit")
                    .unwrap_or(LONGEST_PAGE)
                    .min(LONGEST_PAGE);
                let data = self.data();
                let items = data.items(list, from, limit);
                json(
                    StatusCode::OK,
                    &Page {
                        length: data.length(list),
                        items,
                    },
                )
            }
            (&Method::GET, ["lists", list, key]) => match self.data().item(list, key) {
                Some(item) => json(StatusCode::OK, item),
                None => missing(),
            },
            (&Method::PUT, ["keys", key]) => {
                let key = (*key).to_owned();
                self.write(body, query == "new", |value| Change::Set { key, value })
                    .await
            }
            (&Method::POST, ["lists", list, key]) => {
                let (list, key) = ((*list).to_owned(), (*key).to_owned());
                self.write(body, true, |value| Change::Append { list, key, value })
                    .await
            }
            (_, ["healthz"] | ["keys" | "lists", _] | ["lists", _, _]) => {
                text(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "not like this\n")
            }
            _ => missing(),
        }
    }

    async fn write(
        &self,
        body: Incoming,
        only_new: bool,
        change: impl FnOnce(String) -> Change,
    ) -> Answer {
        let Ok(body) = Limited::new(body, LARGEST_VALUE).collect().await else {
            return text(StatusCode::PAYLOAD_TOO_LARGE, PLAIN, "at most 64 KiB\n");
        };
        let Ok(value) = String::from_utf8(body.to_bytes().into()) else {
            return text(StatusCode::BAD_REQUEST, PLAIN, "values are UTF-8\n");
        };
        let change = change(value);
        let (reply, written) = oneshot::channel();
        let write = Write {
            change: change.clone(),
            only_new,
            reply,
        };
        let written = match self.writes.send(write).await {
            Ok(()) => written.await.ok(),
            Err(_) => None,
        };
        let status = match written {
            Some(Written::Done) => StatusCode::CREATED,
            Some(Written::Exists) => StatusCode::CONFLICT,
            Some(Written::NoRoom) => {
                return text(
                    StatusCode::INSUFFICIENT_STORAGE,
                    PLAIN,
                    "the disk is full\n",
                );
            }
            None => return text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "the disk failed\n"),
        };
        match change {
            Change::Set { .. } => text(status, PLAIN, ""),
            Change::Append { list, key, .. } => match self.data().item(&list, &key) {
                Some(item) => json(status, item),
                None => missing(),
            },
        }
    }

    fn data(&self) -> RwLockReadGuard<'_, Data> {
        // The writer leaves the data valid after every statement.
        self.data.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing() -> Answer {
    text(StatusCode::NOT_FOUND, PLAIN, "there is no such thing\n")
}

fn is_name(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}

fn number(query: &str, name: &str) -> Option<usize> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name)?.1.parse().ok()
}
