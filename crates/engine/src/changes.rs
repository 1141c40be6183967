//! Who waits for something to change in an environment. Not what changed: whoever waits looks again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use towpath_model::id::EnvironmentId;

/// The changes of all environments.
#[derive(Debug, Default)]
pub(crate) struct Changes(Mutex<BTreeMap<EnvironmentId, Arc<Notify>>>);

impl Changes {
    /// Returns what tells of the changes of an environment.
    pub(crate) fn of(&self, environment: &EnvironmentId) -> Arc<Notify> {
        let mut changes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(changes.entry(environment.clone()).or_default())
    }

    /// Tells all that wait for a change of an environment, or the next one that will.
    pub(crate) fn tell(&self, environment: &EnvironmentId) {
        let changes = self.of(environment);
        changes.notify_waiters();
        changes.notify_one();
    }
}
