//! The data plane: listeners, matching, balancing, health, draining. Not what decides the routes:
//! it serves the newest table that it was given, with or without a control plane.
//!
//! [`run`] is the whole process; [`client::RouterClient`] is how the control plane speaks to it.

mod admission;
mod body;
mod checks;
pub mod client;
mod codec;
mod config;
mod control;
mod counters;
mod downstream;
mod forward;
mod header_maps;
mod headers;
mod instance;
mod interim;
mod listeners;
mod metrics;
mod names;
mod process;
mod receive;
mod registry;
mod report;
mod shared;
mod table;
mod table_file;
mod tcp;
mod transfer;
mod tunnel;
mod upstream;
mod watchdog;
mod worker;

pub use config::{Config, Error, Limits, Resolvers};
pub use process::run;
