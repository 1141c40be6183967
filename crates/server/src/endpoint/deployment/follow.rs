//! A deployment as it goes on: its progress at each change. Not how that is sent.

use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::watch;
use towpath_api::Progress;
use towpath_control::Snapshot;
use towpath_model::id::DeploymentNumber;

use crate::app::Context;
use crate::map::deployment as map;
use crate::problem::Error;

/// How often a deployment is looked at though nothing was heard of its environment.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Returns the progress of a deployment, active or ended.
pub(super) async fn progress_of(
    context: &Context,
    snapshot: &Snapshot,
    number: DeploymentNumber,
) -> Result<Progress, Error> {
    if let Some(progress) = map::progress(snapshot, number) {
        return Ok(progress);
    }
    let id = &snapshot.environment.id;
    let ended = context.platform.deployment(id, number).await?;
    Ok(Progress {
        deployment: map::deployment(id, &ended),
        services: Vec::new(),
        engine_fault: None,
    })
}

/// A deployment that is followed.
pub(super) struct Follow {
    context: Context,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    number: DeploymentNumber,
    last: Option<Progress>,
}

impl Follow {
    pub(super) fn new(
        context: Context,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        number: DeploymentNumber,
    ) -> Self {
        Self {
            context,
            snapshots,
            number,
            last: None,
        }
    }

    pub(super) fn stream(self) -> impl Stream<Item = Progress> + Send + 'static {
        futures_util::stream::unfold(self, |mut follow| async move {
            let progress = follow.next().await?;
            Some((progress, follow))
        })
    }

    /// Waits for the next progress that is not the last one again; `None` at the end.
    async fn next(&mut self) -> Option<Progress> {
        if self.last.as_ref().is_some_and(|last| last.deployment.ended) {
            return None;
        }
        let stop = self.context.stop.clone();
        loop {
            let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
            let progress = progress_of(&self.context, &snapshot, self.number).await;
            let progress = progress.ok()?;
            if self.last.as_ref() != Some(&progress) {
                self.last = Some(progress.clone());
                return Some(progress);
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                changed = self.snapshots.changed() => changed.ok()?,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }
}
