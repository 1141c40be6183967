//! The `migrate` service: brings the store to the form that this release needs, and ends. It never
//! takes away what an older release needs, so that one can be rolled back to.

use crate::client::{self, Client};
use crate::lifecycle::say;
use crate::raffle::Raffle;

/// The key that says how far the store is.
pub(crate) const SCHEMA: &str = "schema";
/// The key of the raffle that is open.
pub(crate) const RAFFLE: &str = "raffle";
/// The list of entries, by ticket.
pub(crate) const ENTRIES: &str = "entries";
/// The list of draws, by heat.
pub(crate) const DRAWS: &str = "draws";
/// The schema that this release needs.
pub(crate) const NEEDED: u32 = 2;

/// Why a migration failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Store(#[from] client::Error),
    #[error("the store's schema is {0:?}, which is not a number")]
    Schema(String),
    #[error("cannot write the raffle")]
    Raffle(#[source] serde_json::Error),
}

/// Reads how far the store is; 0 when it is new.
pub(crate) async fn schema(store: &Client) -> Result<u32, Error> {
    match store.value(SCHEMA).await? {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| Error::Schema(text)),
    }
}

/// Makes the missing steps. Each may be repeated, so a migration that was killed is run again.
pub(crate) async fn run(address: &str) -> Result<(), Error> {
    let store = Client::new(address);
    let found = schema(&store).await?;
    if found >= NEEDED {
        say(&format!("migrate: schema is {found}, nothing to do"));
        return Ok(());
    }
    for step in found + 1..=NEEDED {
        match step {
            1 => open_raffle(&store).await?,
            // Draws are listed from here on; a list needs no preparation, but older stores have
            // none, and `web` shows winners only from a schema that has them.
            _ => store.set_new("draws-since", "heat 1").await?,
        }
        store.set(SCHEMA, &step.to_string()).await?;
        say(&format!("migrate: schema is now {step}"));
    }
    Ok(())
}

async fn open_raffle(store: &Client) -> Result<(), Error> {
    let raffle = Raffle {
        id: "tidal-runner-01".to_owned(),
        name: "Tidal Runner".to_owned(),
        line: "Low tide / chalk. One pair for every heat of 25.".to_owned(),
        sizes: (36, 46),
        heat: 25,
    };
    let text = serde_json::to_string(&raffle).map_err(Error::Raffle)?;
    Ok(store.set_new(RAFFLE, &text).await?)
}
