//! Active checks of instances that refused a connection, until they accept one. Not the health of
//! the application: the control plane knows that.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::instance::Instance;

/// The pause before the first check; it doubles with each that fails.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between two checks.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The longest that a check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// The instances under check.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    due: HashMap<SocketAddr, Check>,
}

#[derive(Debug)]
struct Check {
    instance: Weak<Instance>,
    pause: Duration,
    at: Instant,
}

impl Checks {
    /// Takes up those of `instances` that do not answer.
    pub(crate) fn take_up<'a>(&mut self, instances: impl Iterator<Item = &'a Arc<Instance>>) {
        for instance in instances.filter(|instance| !instance.is_answering()) {
            self.due.entry(instance.address).or_insert_with(|| Check {
                instance: Arc::downgrade(instance),
                pause: FIRST_PAUSE,
                at: Instant::now() + FIRST_PAUSE,
            });
        }
    }

    /// Returns when the next check is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.values().map(|check| check.at).min()
    }

    /// Returns the instances whose check is due; what came of it goes to [`Self::result`].
    pub(crate) fn start(&mut self) -> Vec<Arc<Instance>> {
        let now = Instant::now();
        self.due.retain(|_, check| {
            let instance = check.instance.upgrade();
            instance.is_some_and(|instance| !instance.is_answering() && !instance.is_retired())
        });
        let due = self.due.values_mut().filter(|check| check.at <= now);
        due.filter_map(|check| {
            check.pause = (check.pause * 2).min(LONGEST_PAUSE);
            check.at = now + check.pause + CHECK_TIMEOUT;
            check.instance.upgrade()
        })
        .collect()
    }

    /// Notes what came of a check, so that the next one comes after the pause.
    pub(crate) fn result(&mut self, instance: &Instance, accepts: bool) {
        if accepts {
            self.due.remove(&instance.address);
            instance.restore();
        } else if let Some(check) = self.due.get_mut(&instance.address) {
            check.at = Instant::now() + check.pause;
        }
    }
}

/// Whether `instance` accepts a connection.
pub(crate) async fn accepts(instance: &Instance) -> bool {
    let connecting = TcpStream::connect(instance.address);
    matches!(
        tokio::time::timeout(CHECK_TIMEOUT, connecting).await,
        Ok(Ok(_))
    )
}
