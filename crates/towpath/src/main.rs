//! The binary: arguments, configuration, lifecycle, roles, CLI commands. Everything that can be
//! decided without the world is in the other crates.

mod arguments;
mod command;
mod demo;
mod exit;
mod place;
mod role;
mod settings;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use arguments::Arguments;
use settings::Settings;

fn main() -> ExitCode {
    // These two are processes of which there are many: they come before everything that costs
    // memory or a thread.
    let mut words = std::env::args_os().skip(1);
    match words.next().as_ref().and_then(|word| word.to_str()) {
        Some(role::SHIM) => return towpath_engine::shim::main(words),
        Some(role::LAUNCHES) => return launches(words),
        Some(role::PRE_RECEIVE) => {
            return run(async { role::pre_receive::run(&settings::variables()).await });
        }
        _ => {}
    }
    let arguments = Arguments::parse();
    let settings = Settings::from_environment();
    run(async {
        let outcome = command::run(arguments, settings).await;
        outcome.unwrap_or_else(|error| exit::report(&error))
    })
}

/// Runs to the end what needs a runtime.
fn run(work: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => exit::report(&anyhow::Error::from(error).context("cannot start the runtime")),
    }
}

/// Plays a service of the example app, which the demo deploys.
fn launches(words: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<String> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let code = launches::main_from_args(&words, settings::variables());
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
