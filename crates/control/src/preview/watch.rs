//! The one task that has previews go when their time is over, and has that told before. Level-triggered:
//! it looks at what is written down of all of them, so that a control plane which was away makes up for
//! it at its start. Not the rules, which are `model::preview`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use towpath_model::id::EnvironmentId;
use towpath_model::instance::elapsed;
use towpath_model::port::Volumes;
use towpath_model::preview::{Due, Preview};

use crate::error::{Error, describe};
use crate::platform::Shared;

/// The longest time between two looks: the clock of the machine may be set.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The time until the next look after something failed, or was just done and is not seen yet.
const AGAIN: Duration = Duration::from_millis(500);

/// The least time between two looks, however much happens.
const BREATH: Duration = Duration::from_millis(50);

/// Watches until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut bell = shared.bell();
    loop {
        bell.mark_unchanged();
        let wait = look(&shared).await;
        tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = bell.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(BREATH) => {}
        }
    }
}

/// Does what is due. Returns how long nothing will be.
async fn look(shared: &Arc<Shared>) -> Duration {
    let now = shared.ports.clock.now();
    let mut wait = LONGEST_WAIT;
    for snapshot in shared.snapshots() {
        let environment = &snapshot.environment;
        let Some(preview) = &environment.preview else {
            continue;
        };
        if shared.removals.has(&environment.id) {
            continue;
        }
        match mind(shared, &environment.id, preview, now).await {
            Ok(next) => wait = wait.min(next),
            Err(Error::NoEnvironment(_) | Error::Stopping) => {}
            Err(error) => {
                let error = describe(&error);
                tracing::warn!(environment = %environment.id, error, "the end of a preview is tried again");
                wait = wait.min(AGAIN);
            }
        }
    }
    wait
}

async fn mind(
    shared: &Arc<Shared>,
    id: &EnvironmentId,
    preview: &Preview,
    now: Timestamp,
) -> Result<Duration, Error> {
    match preview.due(now) {
        Due::At(then) => Ok(elapsed(now, then)),
        Due::Tell => {
            let keeper = shared.keeper(id)?;
            keeper
                .edit(|environment, now| Ok(((), environment.tell_end(now))))
                .await?;
            Ok(AGAIN)
        }
        Due::Remove => {
            // Somebody may have had it stay in this moment: the record says what counts.
            let keeper = shared.keeper(id)?;
            let is_over = keeper
                .edit(|environment, now| Ok(environment.expire(now)))
                .await?;
            if is_over {
                let asked = shared.ask_to_destroy(id, Volumes::Delete, crate::SYSTEM);
                drop(asked.await?);
            }
            Ok(AGAIN)
        }
    }
}
