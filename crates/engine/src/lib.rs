//! Where workloads run: the engines behind the model's `Engine` port, and the prober. Not what
//! should run, which the control crate decides.
//!
//! The only engine so far is [`process`]: plain processes of this machine, each under a small
//! supervisor ([`shim`]) that outlives the control plane.

mod log;
pub mod probe;
pub mod process;
mod procfs;
pub mod shim;
