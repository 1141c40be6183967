//! Tests of the server from outside.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod console;
mod doors;
mod json_docs;
mod notify;
mod openapi;
mod site;
mod streams;
mod uploads;
