//! The supervisor alone, for tests. Not what users run: they have it as a role of `towpath`.

use std::process::ExitCode;

fn main() -> ExitCode {
    towpath_engine::shim::main(std::env::args_os().skip(1))
}
