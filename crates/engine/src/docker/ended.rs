//! How a container ended, as Docker tells it. Not what follows from it.

use std::time::Duration;

use bollard::Docker;
use bollard::models::ContainerInspectResponse;
use jiff::Timestamp;
use towpath_model::id::InstanceId;
use towpath_model::observation::Exit;

use super::client::Trouble;
use super::logs;
use super::shared::{Hand, Shared};

/// The exit code of what was killed.
const KILLED: i64 = 137;

/// The time in which Docker hears that a container's memory ran out, and in which one is gone that
/// somebody removed as it ran.
const LAST_WORD: Duration = Duration::from_millis(250);

/// Sees how a container ended, and writes it down: what Docker forgets is known all the same. `None` when
/// somebody started it again meanwhile.
pub(super) async fn see(
    shared: &Shared,
    docker: &Docker,
    id: &InstanceId,
    container: &str,
) -> Result<Option<Exit>, Trouble> {
    let look = || {
        let call = docker.inspect_container(container, None);
        shared.client.look_up(call)
    };
    let mut found = look().await;
    if let Ok(inspected) = &found
        && (was_killed(shared, id, inspected) || hand(shared, id) == Some(Hand::Signalled))
    {
        // Docker hears that the memory ran out apart from the end, and may hear it later. Whoever
        // removes a container that runs has it killed first. That it was stopped is said when it has ended.
        tokio::time::sleep(LAST_WORD).await;
        found = look().await;
    }
    let exit = match found {
        Ok(found) if runs(&found) => return Ok(None),
        Ok(found) => {
            let tail = logs::tail(shared, docker, container).await;
            let is_by_hand = hand(shared, id) == Some(Hand::Ended);
            let unexplained = !is_by_hand && was_killed(shared, id, &found) && is_limited(&found);
            let mut exit = exit(shared, &found, unexplained, tail);
            exit.is_by_hand = is_by_hand;
            if is_by_hand {
                exit.note
                    .get_or_insert_with(|| "stopped by another hand".to_owned());
            }
            exit
        }
        Err(Trouble::Missing(_)) => vanished(shared),
        Err(trouble) => return Err(trouble),
    };
    shared.ended(id, exit.clone());
    Ok(Some(exit))
}

/// Tells whether a container runs after all.
fn runs(found: &ContainerInspectResponse) -> bool {
    let state = found.state.as_ref();
    state.and_then(|state| state.running) == Some(true)
}

fn hand(shared: &Shared, id: &InstanceId) -> Option<Hand> {
    shared.instance(id).and_then(|known| known.hand)
}

/// Tells whether a container was killed by nobody that is known.
fn was_killed(shared: &Shared, id: &InstanceId, found: &ContainerInspectResponse) -> bool {
    let state = found.state.as_ref();
    let killed = state.and_then(|state| state.exit_code) == Some(KILLED);
    let known = state.and_then(|state| state.oom_killed) == Some(true);
    let asked = shared
        .instance(id)
        .is_some_and(|it| it.record.stop.is_some());
    killed && !known && !asked
}

/// Tells whether a container has a limit of memory.
fn is_limited(found: &ContainerInspectResponse) -> bool {
    let host = found.host_config.as_ref();
    host.and_then(|host| host.memory).is_some_and(|it| it > 0)
}

fn exit(
    shared: &Shared,
    found: &ContainerInspectResponse,
    unexplained: bool,
    log_tail: Vec<String>,
) -> Exit {
    let state = found.state.clone().unwrap_or_default();
    let host = found.host_config.as_ref();
    let limit = host.and_then(|host| host.memory).filter(|limit| *limit > 0);
    let (code, signal) = split_code(state.exit_code.unwrap_or_default());
    let certainty = match state.oom_killed {
        Some(true) => Certainty::Known,
        _ if unexplained => Certainty::Likely,
        _ => Certainty::None,
    };
    let note = of_memory(certainty, limit);
    let said = state.error.filter(|error| !error.is_empty());
    Exit {
        code,
        signal,
        error: None,
        is_by_hand: false,
        note: note.or(said),
        at: time(state.finished_at.as_deref()).unwrap_or_else(|| shared.clock.now()),
        log_tail,
    }
}

/// How certain it is that a container was killed for want of memory.
#[derive(Debug, Clone, Copy)]
enum Certainty {
    /// Docker says so.
    Known,
    /// It has a limit, and nobody known killed it. Docker's word may come too late, or never.
    Likely,
    /// Nothing speaks for it.
    None,
}

/// Says what memory has to do with an end.
fn of_memory(certainty: Certainty, limit: Option<i64>) -> Option<String> {
    let limit = limit.map(|bytes| format!("its limit is {} MiB", bytes >> 20));
    match (certainty, limit) {
        (Certainty::Known, Some(limit)) => Some(format!("killed for want of memory: {limit}")),
        (Certainty::Known, None) => Some("killed for want of memory".to_owned()),
        (Certainty::Likely, Some(limit)) => {
            Some(format!("killed, perhaps for want of memory: {limit}"))
        }
        (Certainty::Likely, None) | (Certainty::None, _) => None,
    }
}

/// Takes the signal out of an exit code, where it is one: 128 and the signal's number.
fn split_code(code: i64) -> (Option<i32>, Option<i32>) {
    let code = i32::try_from(code).unwrap_or(-1);
    match code {
        129..=159 => (None, Some(code - 128)),
        code => (Some(code), None),
    }
}

/// Says that a container is gone, and nobody saw how it ended.
pub(super) fn vanished(shared: &Shared) -> Exit {
    Exit {
        code: None,
        signal: None,
        error: None,
        is_by_hand: false,
        note: Some("its container was removed".to_owned()),
        at: shared.clock.now(),
        log_tail: Vec::new(),
    }
}

/// Reads a time of Docker's. The year 1 is no time.
pub(super) fn time(text: Option<&str>) -> Option<Timestamp> {
    let time: Timestamp = text?.parse().ok()?;
    (time > Timestamp::UNIX_EPOCH).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_memory_is_told_as_certain_only_where_docker_says_so() {
        let limit = Some(16 << 20);
        assert_eq!(
            of_memory(Certainty::Known, limit).unwrap(),
            "killed for want of memory: its limit is 16 MiB"
        );
        assert_eq!(
            of_memory(Certainty::Likely, limit).unwrap(),
            "killed, perhaps for want of memory: its limit is 16 MiB"
        );
        assert_eq!(of_memory(Certainty::None, limit), None);
        assert_eq!(of_memory(Certainty::Likely, None), None);
    }

    #[test]
    fn a_code_above_128_is_a_signal() {
        assert_eq!(split_code(137), (None, Some(9)));
        assert_eq!(split_code(0), (Some(0), None));
        assert_eq!(split_code(128), (Some(128), None));
        assert_eq!(split_code(255), (Some(255), None));
    }
}
