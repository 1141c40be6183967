//! The `worker` service: draws each heat once it is full. Two workers at once, as in the middle of a
//! release, draw the same winner, and the store takes only one of the two.

use crate::client::{Client, Error};
use crate::config::WorkerConfig;
use crate::lifecycle::{Stop, say};
use crate::migrate::{DRAWS, ENTRIES, RAFFLE};
use crate::raffle::Raffle;

/// Draws full heats until `stop`.
pub(crate) async fn run(config: WorkerConfig, stop: Stop) -> Result<(), Error> {
    let store = Client::new(&config.store_address);
    say(&format!(
        "worker: draws from the store at {}",
        config.store_address
    ));
    loop {
        tokio::select! {
            () = stop.asked() => return Ok(()),
            () = tokio::time::sleep(config.poll) => {}
        }
        // The store being away is no reason to end: entries wait. A heat that was begun is finished
        // even if the worker is asked to stop meanwhile.
        if let Err(error) = draw_all(&config, &store).await {
            say(&format!("worker: {error}"));
        }
    }
}

async fn draw_all(config: &WorkerConfig, store: &Client) -> Result<(), Error> {
    let Some(raffle) = raffle(store).await? else {
        return Ok(());
    };
    let entries = store.page(ENTRIES, 0, 0).await?.length;
    let drawn = store.page(DRAWS, 0, 0).await?.length;
    for heat in drawn + 1..=raffle.full_heats(entries) {
        let page = store
            .page(ENTRIES, (heat - 1) * raffle.heat, raffle.heat)
            .await?;
        let tickets = page.items.iter().map(|item| item.key.as_str());
        let Some(draw) = raffle.draw(&config.key, heat, tickets) else {
            continue;
        };
        let path = format!("/lists/{DRAWS}/{heat}");
        let value =
            serde_json::to_string(&draw).map_err(|source| Error::Content { path, source })?;
        store.append(DRAWS, &heat.to_string(), &value).await?;
        say(&format!(
            "worker: heat {heat} goes to ticket {}",
            draw.ticket
        ));
    }
    Ok(())
}

/// Reads the raffle that is open; `None` before the first migration.
pub(crate) async fn raffle(store: &Client) -> Result<Option<Raffle>, Error> {
    let Some(text) = store.value(RAFFLE).await? else {
        return Ok(None);
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|source| Error::Content {
            path: format!("/keys/{RAFFLE}"),
            source,
        })
}
