//! Tests of the server from outside.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod json_docs;
