//! Carries messages to Teams, Slack, mail servers and webhooks, and statuses of commits to forges: the
//! one door to the crates that speak to them. Not what is told to whom, nor when it is tried again.

mod body;
mod config;
mod forge;
mod http;
mod mail;
mod sender;
mod sign;

pub use config::Config;
pub use sender::Sender;
pub use sign::{SIGNATURE, signature};
