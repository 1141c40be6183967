//! A raffle microsite: the example app of the first story. It knows nothing of Towpath: it reads
//! its settings from the environment, its secret from a file, and stops on SIGTERM, as any app may.
//!
//! One program, four services: `web` takes entries, `worker` draws winners, `migrate` prepares the
//! store once for each release, `store` keeps the data.

mod check;
mod client;
mod config;
mod fault;
mod keyed;
mod lifecycle;
mod migrate;
mod raffle;
mod serve;
mod store;
mod web;
mod worker;

use std::collections::BTreeMap;

use config::{Config, ConfigError};
use lifecycle::say;

const USAGE: &str = "usage: launches web | worker | migrate | store | check";

/// Why a service ended badly.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}\n{USAGE}")]
    Usage(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Web(#[from] web::Error),
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error(transparent)]
    Migrate(#[from] migrate::Error),
    #[error(transparent)]
    Check(#[from] check::Error),
}

/// Runs one service until it is done or told to stop, and returns its exit code: 0 when it ended
/// well, 1 when it failed, 2 for arguments or settings that it cannot use.
///
/// `args` are the arguments without the program's name, `env` the environment. It makes its own
/// tokio runtime, so it must not be called from within one.
pub fn main_from_args(args: &[String], env: BTreeMap<String, String>) -> i32 {
    match run(args, env) {
        Ok(()) => 0,
        Err(error) => {
            let mut text = format!("launches: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                text.push_str(": ");
                text.push_str(&cause.to_string());
                source = cause.source();
            }
            say(&text);
            match error {
                Error::Usage(_) | Error::Config(_) => 2,
                _ => 1,
            }
        }
    }
}

fn run(args: &[String], env: BTreeMap<String, String>) -> Result<(), Error> {
    let service = match args {
        [service] => service.as_str(),
        [] => return Err(Error::Usage("which service?".to_owned())),
        _ => return Err(Error::Usage("one service at a time".to_owned())),
    };
    let config = Config::new(env);
    // One thread is plenty for a raffle, and keeps many instances of it small.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(async {
        let stop = lifecycle::stop_on_signal().map_err(Error::Runtime)?;
        match service {
            "web" => web::run(config.web()?, stop).await?,
            "worker" => worker::run(config.worker()?, stop).await?,
            "migrate" => migrate::run(&config.store_address()).await?,
            "store" => store::run(config.store()?, stop).await?,
            "check" => check::run(config.checked()?).await?,
            other => return Err(Error::Usage(format!("there is no service {other:?}"))),
        }
        Ok(())
    })
}
