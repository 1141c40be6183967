//! The nouns of delivery and the pure rules over them.
//!
//! Everything here is a value or a function of values. There is no clock, no runtime, no file, no
//! socket, no randomness and no environment variable in this crate: time and observations come in
//! as arguments, decisions go out as data.

mod duration;
pub mod event;
pub mod id;
pub mod observation;
pub mod port;
pub mod release;
pub mod rollout;
pub mod routing;
pub mod traffic;
pub mod workload;
