//! The nouns of delivery and the pure rules over them.
//!
//! Everything here is a value or a function of values. There is no clock, no runtime, no file, no
//! socket, no randomness and no environment variable in this crate: time and observations come in
//! as arguments, decisions go out as data.

pub mod adoption;
mod advance;
pub mod analysis;
pub mod command;
pub mod console;
pub mod container;
pub mod delivery;
pub mod deployment;
pub mod desired;
mod duration;
pub mod environment;
pub mod event;
pub mod exclusive;
pub mod id;
pub mod instance;
mod last_words;
pub mod names;
pub mod notify;
pub mod observation;
pub mod pipeline;
pub mod plan;
pub mod port;
pub mod preview;
mod reconcile;
pub mod release;
pub mod render;
pub mod repository;
pub mod rollout;
pub mod routes;
pub mod routing;
pub mod step;
pub mod traffic;
pub mod tree;
pub mod workload;
