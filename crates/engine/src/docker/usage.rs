//! What containers use, as Docker counts it. Not what is made of it.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerBlkioStats, ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use jiff::Timestamp;
use towpath_model::console::Usage;
use towpath_model::id::{EnvironmentId, InstanceId};
use towpath_model::port::PortError;

use super::client::Trouble;
use super::shared::Shared;
use super::state::Stage;

/// The longest that Docker may take to count.
const PATIENCE: Duration = Duration::from_secs(10);

/// Memory that the kernel keeps for later and gives back, by the names of both versions of control
/// groups.
const RECLAIMABLE: [&str; 2] = ["inactive_file", "total_inactive_file"];

/// Returns what each container that runs uses.
pub(super) async fn of_environment(
    shared: &Shared,
    environment: &EnvironmentId,
) -> Result<BTreeMap<InstanceId, Usage>, PortError> {
    let running: Vec<InstanceId> = {
        let known = shared.lock();
        let instances = known.get(environment).map(|known| &known.instances);
        instances
            .into_iter()
            .flatten()
            .filter(|(_, instance)| instance.record.stage == Stage::Begun)
            .map(|(id, _)| id.clone())
            .collect()
    };
    if running.is_empty() {
        return Ok(BTreeMap::new());
    }
    let attempted = || format!("see what the instances of {environment} use");
    let docker = shared.client.get().await;
    let docker = docker.map_err(|trouble| trouble.failed(attempted()))?;
    let looks = running.iter().map(|id| of_instance(shared, &docker, id));
    let mut all = BTreeMap::new();
    for (id, usage) in running.iter().zip(join_all(looks).await) {
        let usage = usage.map_err(|trouble| trouble.failed(attempted()))?;
        all.extend(usage.map(|usage| (id.clone(), usage)));
    }
    Ok(all)
}

/// Returns what a container uses; nothing when it ended meanwhile.
async fn of_instance(
    shared: &Shared,
    docker: &Docker,
    id: &InstanceId,
) -> Result<Option<Usage>, Trouble> {
    let options = StatsOptionsBuilder::default()
        .stream(false)
        .one_shot(true)
        .build();
    let container = shared.container_of(id);
    let mut counts = docker.stats(&container, Some(options));
    let counted = tokio::time::timeout(PATIENCE, counts.next()).await;
    let counted = counted.map_err(|_| {
        let host = shared.client.host();
        Trouble::Away(format!("Docker at {host} does not answer"))
    })?;
    match counted.transpose() {
        Ok(counted) => Ok(counted.and_then(|counted| usage(&counted, shared.clock.now()))),
        Err(error) => match shared.client.trouble(&error) {
            Trouble::Missing(_) | Trouble::Conflict(_) => Ok(None),
            trouble => Err(trouble),
        },
    }
}

/// Reads what Docker counted. Nothing for a container that ended: then there are no processes.
fn usage(counted: &ContainerStatsResponse, now: Timestamp) -> Option<Usage> {
    let pids = counted.pids_stats.as_ref()?.current?;
    let cpu = counted
        .cpu_stats
        .as_ref()?
        .cpu_usage
        .as_ref()?
        .total_usage?;
    let memory = counted.memory_stats.as_ref();
    let networks = counted.networks.as_ref().map(|networks| {
        networks.values().fold((0, 0), |(received, sent), one| {
            (
                received + one.rx_bytes.unwrap_or_default(),
                sent + one.tx_bytes.unwrap_or_default(),
            )
        })
    });
    Some(Usage {
        at: counted
            .read
            .as_ref()
            .and_then(|at| at.parse().ok())
            .unwrap_or(now),
        cpu: Duration::from_nanos(cpu),
        memory_bytes: memory.map(in_use).unwrap_or_default(),
        memory_limit_bytes: memory.and_then(|memory| memory.limit),
        network: networks,
        disk: counted.blkio_stats.as_ref().and_then(disk),
        pids,
    })
}

fn in_use(memory: &ContainerMemoryStats) -> u64 {
    let usage = memory.usage.unwrap_or_default();
    let stats = memory.stats.as_ref();
    let reclaimable = RECLAIMABLE
        .iter()
        .find_map(|name| stats?.get(*name).copied());
    usage.saturating_sub(reclaimable.unwrap_or_default())
}

fn disk(counted: &ContainerBlkioStats) -> Option<(u64, u64)> {
    let entries = counted.io_service_bytes_recursive.as_ref()?;
    let sum = |wanted: &str| {
        let of_kind = entries.iter().filter(|entry| {
            let kind = entry.op.as_deref().unwrap_or_default();
            kind.eq_ignore_ascii_case(wanted)
        });
        of_kind.filter_map(|entry| entry.value).sum()
    };
    Some((sum("read"), sum("write")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_counts_is_read() {
        let counted = serde_json::from_value(serde_json::json!({
            "read": "2026-11-21T10:00:00.5Z",
            "cpu_stats": { "cpu_usage": { "total_usage": 1_500_000_000_u64 } },
            "memory_stats": {
                "usage": 3_000, "limit": 8_000, "stats": { "inactive_file": 1_000 },
            },
            "networks": {
                "eth0": { "rx_bytes": 10, "tx_bytes": 1 }, "eth1": { "rx_bytes": 5, "tx_bytes": 2 },
            },
            "pids_stats": { "current": 4 },
            "blkio_stats": { "io_service_bytes_recursive": [
                { "op": "Read", "value": 7 }, { "op": "write", "value": 8 }, { "op": "read", "value": 1 },
            ] },
        }));
        let usage = usage(&counted.unwrap(), Timestamp::UNIX_EPOCH).unwrap();
        let expected = Usage {
            at: "2026-11-21T10:00:00.5Z".parse().unwrap(),
            cpu: Duration::from_millis(1_500),
            memory_bytes: 2_000,
            memory_limit_bytes: Some(8_000),
            network: Some((15, 3)),
            disk: Some((8, 8)),
            pids: 4,
        };
        assert_eq!(usage, expected);
    }

    #[test]
    fn a_container_that_ended_uses_nothing() {
        let ended = serde_json::json!({ "read": "0001-01-01T00:00:00Z", "pids_stats": {} });
        let counted = serde_json::from_value(ended).unwrap();
        assert_eq!(usage(&counted, Timestamp::UNIX_EPOCH), None);
    }
}
