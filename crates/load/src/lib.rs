//! Constant HTTP and WebSocket load, counted exactly. It is not a benchmark of the target: it asks
//! at a fixed rate, whatever the answers are, and says what became of every request.
//!
//! A [`LoadPlan`] names the target and its [`Stream`]s; [`LoadPlan::start`] gives a [`Handle`],
//! whose [`Counts`] can be read at any time and subtracted ([`Counts::since`]) to get one phase.

mod counts;
mod generator;
mod http;
mod latency;
mod plan;
mod pulse;
mod schedule;
mod tally;
mod websocket;

pub use counts::{Answers, Counts, FailureKind, FailureNote, Failures, Sessions};
pub use generator::Handle;
pub use latency::Latency;
pub use plan::{Kind, LoadPlan, Payload, PlanError, Stream, VERSION_HEADER};
