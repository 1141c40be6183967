//! The store on real files: every test has a data directory of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod caches;
mod chain;
mod destructions;
mod environments;
mod full;
mod killed;
mod notify;
mod opening;
mod ports;
mod releases;
mod repositories;
mod runs;
mod secrets;
mod support;
mod tokens;
