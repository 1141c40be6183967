//! The process engine over real processes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod adoption;
mod contract;
mod full;
mod instances;
mod logs;
mod probes;
mod releases;
mod secrets;
mod support;
mod surroundings;
