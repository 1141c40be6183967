//! The limits of a container that runs: those that it was made with, and those that somebody gave it since
//! with `docker update`, which are put back. Not its making ([`super::body`]).

use std::sync::Arc;
use std::time::Duration;

use bollard::models::{ContainerUpdateBody, HostConfig};
use serde::{Deserialize, Serialize};
use towpath_model::id::InstanceId;
use towpath_model::observation::ChangedLimits;

use super::client::Trouble;
use super::shared::{Shared, Work};

/// The wait before another try.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many billionths of a CPU Docker counts as one.
const NANOS: i64 = 1_000_000_000;

/// What a container may use, as Docker has it; 0 where there is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Limits {
    memory: i64,
    /// Memory and swap together; -1 where there is no limit.
    memory_swap: i64,
    nano_cpus: i64,
    pids: i64,
}

impl Limits {
    /// Reads what Docker has.
    pub(super) fn of(host: &HostConfig) -> Self {
        Self {
            memory: host.memory.unwrap_or(0),
            memory_swap: host.memory_swap.unwrap_or(0),
            nano_cpus: host.nano_cpus.unwrap_or(0),
            pids: host.pids_limit.unwrap_or(0).max(0),
        }
    }

    /// Says what is not as it was made; `None` where all is.
    pub(super) fn changed_to(self, found: Self) -> Option<ChangedLimits> {
        if found == self {
            return None;
        }
        let mut words = Vec::new();
        let mut compare = |what: &str, own: i64, found: i64, say: fn(i64) -> String| {
            let say = |limit: i64| match limit {
                ..=0 => "no limit".to_owned(),
                limit => say(limit),
            };
            if own != found {
                words.push(format!("{what}: {} instead of {}", say(found), say(own)));
            }
        };
        compare("memory", self.memory, found.memory, mebibytes);
        // It goes with the memory unless somebody says otherwise.
        if self.memory == found.memory {
            let (own, found) = (self.memory_swap, found.memory_swap);
            compare("memory and swap", own, found, mebibytes);
        }
        compare("CPUs", self.nano_cpus, found.nano_cpus, cpus);
        compare("processes", self.pids, found.pids, |pids| pids.to_string());
        Some(ChangedLimits {
            found: words.join(", "),
            is_put_back: self.can_be_put_back(found),
        })
    }

    /// Tells whether Docker gives these to a container that has others: it takes no limit of memory or
    /// CPUs away from one that runs.
    fn can_be_put_back(self, found: Self) -> bool {
        let stays = |own: i64, found: i64| own == 0 && found != 0;
        !stays(self.memory, found.memory)
            && !stays(self.memory_swap, found.memory_swap)
            && !stays(self.nano_cpus, found.nano_cpus)
    }

    fn request(self) -> ContainerUpdateBody {
        let set = |limit: i64| (limit != 0).then_some(limit);
        ContainerUpdateBody {
            memory: set(self.memory),
            memory_swap: set(self.memory_swap),
            nano_cpus: set(self.nano_cpus),
            pids_limit: Some(set(self.pids).unwrap_or(-1)),
            ..ContainerUpdateBody::default()
        }
    }
}

fn mebibytes(bytes: i64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// Writes a number of CPUs with as many decimals as it has.
fn cpus(nanos: i64) -> String {
    let text = format!("{}.{:09}", nanos / NANOS, nanos % NANOS);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Compares what a container has with what it was made with, which is written down when it is seen
/// first.
pub(super) fn note(shared: &Shared, id: &InstanceId, found: Limits) {
    let Some(instance) = shared.instance(id) else {
        return;
    };
    let changed = if let Some(made_with) = instance.record.limits {
        made_with.changed_to(found)
    } else {
        let written = shared.change(id, |record| record.limits = Some(found));
        if let Err(error) = written {
            tracing::warn!(instance = %id, %error, "the limits of an instance cannot be written down");
        }
        None
    };
    if let Some(known) = shared.lock().get_mut(&id.environment)
        && let Some(instance) = known.instances.get_mut(id)
    {
        instance.limits = changed;
    }
}

/// Gives a container the limits that it was made with.
pub(super) async fn run(shared: Arc<Shared>, id: InstanceId) {
    if let Err(trouble) = put_back(&shared, &id).await {
        let reason = trouble.words();
        tracing::warn!(instance = %id, reason, "the limits of a container cannot be put back");
        // The next observation tries again, but not at once.
        tokio::time::sleep(PATIENCE).await;
    }
    shared.forget_seen(&id.environment);
    shared.set_work(&id, Work::None);
}

async fn put_back(shared: &Shared, id: &InstanceId) -> Result<(), Trouble> {
    let Some(instance) = shared.instance(id) else {
        return Ok(());
    };
    let Some(limits) = instance.record.limits else {
        return Ok(());
    };
    let docker = shared.client.get().await?;
    tracing::warn!(instance = %id, "the limits of a container were changed and are put back");
    let container = instance.record.container();
    let updated = docker.update_container(&container, limits.request()).await;
    updated.map_err(|error| shared.client.trouble(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(memory: i64, nano_cpus: i64, pids: i64) -> Limits {
        Limits {
            memory,
            memory_swap: memory * 2,
            nano_cpus,
            pids,
        }
    }

    #[test]
    fn what_is_not_as_it_was_made_is_said_and_what_is_is_not() {
        let own = limits(256 << 20, NANOS / 2, 100);
        assert_eq!(own.changed_to(own), None);
        let found = own.changed_to(limits(256 << 20, 2 * NANOS, 0)).unwrap();
        let wanted = "CPUs: 2 instead of 0.5, processes: no limit instead of 100";
        assert_eq!(found.found, wanted);
        assert!(found.is_put_back);
    }

    #[test]
    fn a_limit_where_there_was_none_stays_but_for_that_of_processes() {
        let own = limits(0, 0, 0);
        for (found, is_put_back) in [
            (limits(64 << 20, 0, 0), false),
            (limits(0, NANOS, 0), false),
            (limits(0, 0, 20), true),
        ] {
            assert_eq!(own.changed_to(found).unwrap().is_put_back, is_put_back);
        }
        assert_eq!(own.request().pids_limit, Some(-1));
        assert_eq!(own.request().memory, None);
    }
}
