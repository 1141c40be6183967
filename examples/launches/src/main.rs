//! The app as a program of its own. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let code = launches::main_from_args(&args, std::env::vars().collect());
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
