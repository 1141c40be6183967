//! The router over real sockets: each test starts a whole router and the backends behind it.

#![expect(
    clippy::unwrap_used,
    reason = "what the tests are made of fails a test by a panic"
)]

mod support;

mod choice;
mod forwarding;
mod http2;
mod interim;
mod lifecycle;
mod modes;
mod names;
mod retries;
mod shield;
mod swaps;
mod upgrades;
mod wire;
