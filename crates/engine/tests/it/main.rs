//! The engines over real processes and real containers.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod adoption;
mod contract;
mod docker;
mod full;
mod instances;
mod logs;
mod probes;
mod releases;
mod secrets;
mod support;
mod surroundings;
