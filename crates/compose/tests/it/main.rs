//! Tests of the loader from outside.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and scores are printed"
)]

mod canon;
mod conformance;
mod hostile;
mod oracle;
