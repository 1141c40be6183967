//! The binary as its users run it: real processes, real sockets, real load.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod chaos;
mod git;
mod machine;
mod site;
mod terminal;

mod adopt;
mod builds;
mod commits;
mod console;
mod demo;
mod docker;
mod exits;
mod follow;
mod full;
mod gates;
mod https;
mod input;
mod jobs;
mod kill;
mod notify;
mod operate;
mod orphans;
mod pipeline;
mod preview;
mod push;
mod secrecy;
mod sides;
mod story;
mod taken;
