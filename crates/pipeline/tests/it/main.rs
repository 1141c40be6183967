//! Repositories with a real Git, in a temporary directory.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod repositories;
