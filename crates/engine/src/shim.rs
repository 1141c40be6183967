//! The supervisor of one instance: a process of its own that starts the program, writes its log,
//! waits for it and leaves nothing behind. Not the control plane, without which it works on.
//!
//! It is two short-lived stages and one long one of the same binary:
//!
//! 1. `run`: leads a new session, claims the instance's directory, starts stage 2 and watches over
//!    it. Everything that the program starts and leaves behind is handed to it by the kernel
//!    (`PR_SET_CHILD_SUBREAPER`), so it can end all of it.
//! 2. `exec`: sets limits, user and directory for itself and becomes the program
//!    (`PR_SET_PDEATHSIG`: the kernel kills the program when stage 1 dies, however it dies).
//!
//! Secrets come in over pipes, never as arguments. There is one thread and no runtime: it must
//! be small, as there is one for each instance.

pub(crate) mod become_program;
pub(crate) mod files;
pub(crate) mod handover;
pub(crate) mod launch;
mod pump;
mod supervisor;

use std::ffi::OsString;
use std::process::ExitCode;

/// The first argument that asks for stage 1. Others may follow; they only name the instance in
/// process lists.
pub(crate) const RUN: &str = "run";

/// The first argument that asks for stage 2.
const EXEC: &str = "exec";

/// Plays the role that `args` ask for: those after the binary's own name of the hidden role.
/// Call it before anything else in `main`, and before any thread is started.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let role = args.into_iter().next();
    match role.as_ref().and_then(|role| role.to_str()) {
        Some(RUN) => supervisor::main(),
        Some(EXEC) => become_program::main(),
        _ => ExitCode::from(2),
    }
}
