//! The platform over a real store, with an engine and a router that do at once what they are told.
//! Not the rules of a rollout, which are the model's.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod destroy;
mod notify;
mod platform;
mod preview;
mod run;
mod site;
mod statuses;
