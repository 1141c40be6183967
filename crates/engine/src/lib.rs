//! Where workloads run: the engines behind the model's `Engine` port, and the prober. Not what
//! should run, which the control crate decides.
//!
//! - [`process`]: plain processes of this machine, each under a small supervisor ([`shim`]) that
//!   outlives the control plane.
//! - [`docker`]: containers, over the API of a Docker Engine on this machine.
//! - [`host`]: both as one.

mod changes;
mod console;
pub mod docker;
pub mod host;
mod log;
pub mod probe;
pub mod process;
mod procfs;
pub mod redirect;
mod secret_place;
pub mod shim;
mod workspace;
