//! Tests of the real binary.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod input;
