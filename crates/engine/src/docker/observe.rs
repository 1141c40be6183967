//! Looks at what Docker has of an environment, and compares it with what is written down. Not the
//! picture that the model makes of it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use bollard::Docker;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::ListContainersOptionsBuilder;
use towpath_model::id::{EnvironmentId, InstanceId};
use towpath_model::observation::{InstanceState, Network, ObservedInstance};
use towpath_model::port::PortError;

use super::client::{Trouble, label_filter};
use super::limits::Limits;
use super::names::{self, Labelled};
use super::shared::{Instance, Shared, Work};
use super::state::{Record, Stage};
use super::{ended, limits, naming, rejoin};

/// What a look at an environment found, and what has to be done about it.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) instances: Vec<ObservedInstance>,
    /// Who is in which network, and who answers for names there.
    pub(super) networks: BTreeMap<String, Network>,
    /// Starts and stops that nobody sees to any more.
    pub(super) orphaned: Vec<(InstanceId, Work)>,
}

/// Looks at an environment that is known.
pub(super) async fn look(
    shared: &Arc<Shared>,
    environment: &EnvironmentId,
) -> Result<Look, PortError> {
    let failed = |trouble: Trouble| trouble.failed(format!("observe {environment}"));
    // First what is written down: what is begun by then has a container in the list.
    let (mut known, swept) = snapshot(shared, environment);
    if known.is_empty() && swept {
        return Ok(Look::default());
    }
    let listed = match shared.client.get().await {
        Ok(docker) => containers(shared, &docker, environment)
            .await
            .map(|containers| (docker, containers)),
        Err(trouble) => Err(trouble),
    };
    let (docker, (mut containers, guests)) = match listed {
        Ok(listed) => listed,
        // Nothing is known to run: that its images cannot be made has to be seen all the same.
        Err(Trouble::Away(_)) if known.is_empty() => return Ok(Look::default()),
        Err(trouble) => return Err(failed(trouble)),
    };
    containers.extend(adopted(shared, &docker, &known).await.map_err(failed)?);
    if !swept {
        adopt(shared, environment, &containers, &mut known);
    }
    let networks = naming::networks(shared, &docker, environment)
        .await
        .map_err(failed)?;
    let mut look = Look {
        networks: naming::observed(networks, containers.values(), &guests),
        ..Look::default()
    };
    for (id, instance) in known {
        let container = containers.get(&id);
        let state = judge(shared, &docker, &id, &instance, container, &mut look)
            .await
            .map_err(failed)?;
        if let Some(state) = state {
            let known = shared.instance(&id);
            look.instances.push(ObservedInstance {
                limits: known.and_then(|known| known.limits),
                id,
                workload: instance.record.labelled.workload,
                state,
            });
        }
    }
    Ok(look)
}

fn snapshot(
    shared: &Shared,
    environment: &EnvironmentId,
) -> (BTreeMap<InstanceId, Instance>, bool) {
    let known = shared.lock();
    known.get(environment).map_or_else(
        || (BTreeMap::new(), true),
        |known| (known.instances.clone(), known.swept),
    )
}

/// Containers by instance.
type ByInstance = HashMap<InstanceId, (Labelled, ContainerSummary)>;

/// Lists the containers of an environment by instance, and those that are no instance.
async fn containers(
    shared: &Shared,
    docker: &Docker,
    environment: &EnvironmentId,
) -> Result<(ByInstance, Vec<ContainerSummary>), Trouble> {
    let filter = label_filter(&names::filter(&shared.data_id, environment));
    let (mut instances, mut others) = (ByInstance::new(), Vec::new());
    for container in list(shared, docker, &filter).await? {
        match container.labels.as_ref().and_then(Labelled::read) {
            Some(labelled) => {
                instances.insert(labelled.id.clone(), (labelled, container));
            }
            None => others.push(container),
        }
    }
    Ok((instances, others))
}

/// Lists the containers that were taken over: they carry no labels of ours.
async fn adopted(
    shared: &Shared,
    docker: &Docker,
    known: &BTreeMap<InstanceId, Instance>,
) -> Result<HashMap<InstanceId, (Labelled, ContainerSummary)>, Trouble> {
    let records = known.values().map(|instance| &instance.record);
    let by_container: HashMap<&String, &Record> = records
        .filter(|record| !matches!(record.stage, Stage::Ended(_)))
        .filter_map(|record| Some((record.container.as_ref()?, record)))
        .collect();
    if by_container.is_empty() {
        return Ok(HashMap::new());
    }
    let ids = by_container.keys().map(|id| (*id).clone()).collect();
    let listed = list(shared, docker, &HashMap::from([("id".to_owned(), ids)])).await?;
    let labelled = listed.into_iter().filter_map(|container| {
        let labelled = &by_container.get(container.id.as_ref()?)?.labelled;
        Some((labelled.id.clone(), (labelled.clone(), container)))
    });
    Ok(labelled.collect())
}

async fn list(
    shared: &Shared,
    docker: &Docker,
    filter: &HashMap<String, Vec<String>>,
) -> Result<Vec<ContainerSummary>, Trouble> {
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(filter)
        .build();
    let call = docker.list_containers(Some(options));
    shared.client.look_up(call).await
}

/// Writes down what runs though nobody wrote it down: the data directory lost it.
fn adopt(
    shared: &Shared,
    environment: &EnvironmentId,
    containers: &HashMap<InstanceId, (Labelled, ContainerSummary)>,
    known: &mut BTreeMap<InstanceId, Instance>,
) {
    for (id, (labelled, _)) in containers {
        if known.contains_key(id) {
            continue;
        }
        tracing::warn!(instance = %id, "a container that was not written down is adopted");
        let record = Record {
            labelled: labelled.clone(),
            container: None,
            stage: Stage::Begun,
            stop: None,
            check: None,
            networks: BTreeMap::new(),
            exclusive: false,
            limits: None,
            post_start: Vec::new(),
            pre_stop: Vec::new(),
        };
        if let Err(error) = shared.write(&record) {
            tracing::error!(instance = %id, %error, "an instance cannot be written down");
            continue;
        }
        let instance = Instance {
            record,
            work: Work::None,
            seen: None,
            paused: false,
            hand: None,
            limits: None,
        };
        known.insert(id.clone(), instance);
    }
    let mut all = shared.lock();
    let environment = all.entry(environment.clone()).or_default();
    for (id, instance) in &*known {
        let known = environment.instances.entry(id.clone());
        known.or_insert_with(|| instance.clone());
    }
    environment.swept = true;
}

/// How a container is, in the engine's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    Absent,
    Made,
    Runs,
    Ended,
}

impl Container {
    fn of(summary: Option<&ContainerSummary>) -> Self {
        use ContainerSummaryStateEnum as State;
        let Some(summary) = summary else {
            return Self::Absent;
        };
        match summary.state {
            Some(State::RUNNING | State::PAUSED | State::RESTARTING | State::STOPPING) => {
                Self::Runs
            }
            Some(State::EXITED | State::DEAD | State::REMOVING) => Self::Ended,
            Some(State::CREATED | State::EMPTY) | None => Self::Made,
        }
    }
}

/// What is to be said of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Starting,
    Running,
    Stopping,
    /// It has to be seen how it ended.
    Ended,
    /// Its container is gone.
    Vanished,
    /// Its start was interrupted before its container ran: it is as if it was never asked for.
    Forget,
    /// Its start has to be asked of Docker again.
    StartAgain,
    /// Nobody sees to its end any more.
    StopAgain,
}

/// Compares what is written down of an instance with its container.
fn verdict(stage: &Stage, work: Work, to_stop: bool, container: Container) -> Option<Verdict> {
    Some(match (stage, work, container) {
        (Stage::Ended(_), ..) => return None,
        (_, Work::Starting, _) => Verdict::Starting,
        (_, _, Container::Ended) => Verdict::Ended,
        (_, _, Container::Runs) if !to_stop => Verdict::Running,
        // Whoever puts it back into its network, or its limits, is waited for.
        (_, Work::Stopping | Work::Joining | Work::Limiting, Container::Runs) => Verdict::Stopping,
        (_, Work::None, Container::Runs) => Verdict::StopAgain,
        (Stage::Asked, _, Container::Made | Container::Absent) => Verdict::Forget,
        (Stage::Begun, _, Container::Made) if !to_stop => Verdict::StartAgain,
        // It is gone, or it was told to stop before it ran.
        (Stage::Begun, _, Container::Made | Container::Absent) => Verdict::Vanished,
    })
}

async fn judge(
    shared: &Arc<Shared>,
    docker: &Docker,
    id: &InstanceId,
    instance: &Instance,
    container: Option<&(Labelled, ContainerSummary)>,
    look: &mut Look,
) -> Result<Option<InstanceState>, Trouble> {
    let record = &instance.record;
    let summary = container.map(|(_, summary)| summary);
    let found = Container::of(summary);
    let verdict = match (
        &record.stage,
        verdict(&record.stage, instance.work, record.stop.is_some(), found),
    ) {
        (Stage::Ended(exit), _) => return Ok(Some(InstanceState::Exited(exit.clone()))),
        (_, Some(verdict)) => verdict,
        (_, None) => return Ok(None),
    };
    Ok(Some(match verdict {
        Verdict::Starting => InstanceState::Starting,
        Verdict::Stopping => InstanceState::Stopping,
        Verdict::StartAgain => {
            look.orphaned.push((id.clone(), Work::Starting));
            InstanceState::Starting
        }
        Verdict::StopAgain => {
            look.orphaned.push((id.clone(), Work::Stopping));
            InstanceState::Stopping
        }
        Verdict::Running => {
            let Some(summary) = summary else {
                return Ok(None);
            };
            if !rejoin::is_in_all(record, summary) {
                look.orphaned.push((id.clone(), Work::Joining));
            }
            running(shared, docker, instance, summary).await?
        }
        Verdict::Ended => {
            let Some(container) = summary.and_then(|summary| summary.id.as_deref()) else {
                return Ok(None);
            };
            match ended::see(shared, docker, id, container).await? {
                Some(exit) => InstanceState::Exited(exit),
                None => runs_again(shared, docker, id, container).await?,
            }
        }
        Verdict::Vanished => {
            let exit = ended::vanished(shared);
            shared.ended(id, exit.clone());
            InstanceState::Exited(exit)
        }
        Verdict::Forget => {
            if found == Container::Made {
                let options = bollard::query_parameters::RemoveContainerOptionsBuilder::default();
                let removed = docker
                    .remove_container(&names::container(id), Some(options.v(true).build()))
                    .await;
                removed.map_err(|error| shared.client.trouble(&error))?;
            }
            if let Err(error) = shared.forget(id) {
                tracing::error!(instance = %id, %error, "an instance cannot be forgotten");
            }
            return Ok(None);
        }
    }))
}

/// Says how a container is that somebody started again as it was looked at.
async fn runs_again(
    shared: &Shared,
    docker: &Docker,
    id: &InstanceId,
    container: &str,
) -> Result<InstanceState, Trouble> {
    let filter = HashMap::from([("id".to_owned(), vec![container.to_owned()])]);
    let found = list(shared, docker, &filter).await?.pop();
    if let (Some(summary), Some(instance)) = (found, shared.instance(id)) {
        return running(shared, docker, &instance, &summary).await;
    }
    let exit = ended::vanished(shared);
    shared.ended(id, exit.clone());
    Ok(InstanceState::Exited(exit))
}

/// Returns where and since when a container runs. Since when is asked once.
async fn running(
    shared: &Shared,
    docker: &Docker,
    instance: &Instance,
    summary: &ContainerSummary,
) -> Result<InstanceState, Trouble> {
    let labelled = &instance.record.labelled;
    note_pause(shared, labelled, summary);
    let Some(address) = rejoin::address(labelled, summary) else {
        // In no network any more: it is put back, and is somewhere else then.
        return Ok(InstanceState::Starting);
    };
    let container = summary.id.clone().unwrap_or_default();
    let since = match &instance.seen {
        Some((seen, since)) if *seen == container => *since,
        _ => {
            let call = docker.inspect_container(&container, None);
            let found = shared.client.look_up(call).await?;
            if let Some(host) = &found.host_config {
                limits::note(shared, &labelled.id, Limits::of(host));
            }
            let state = found.state.unwrap_or_default();
            let since =
                ended::time(state.started_at.as_deref()).unwrap_or_else(|| shared.clock.now());
            if let Some(known) = shared.lock().get_mut(&labelled.id.environment)
                && let Some(instance) = known.instances.get_mut(&labelled.id)
            {
                instance.seen = Some((container, since));
            }
            since
        }
    };
    let address = SocketAddr::new(address, labelled.port);
    Ok(InstanceState::Running { address, since })
}

/// Notes whether somebody paused a container: its health check says so.
fn note_pause(shared: &Shared, labelled: &Labelled, summary: &ContainerSummary) {
    let mut known = shared.lock();
    let environment = known.get_mut(&labelled.id.environment);
    let instances = environment.map(|known| &mut known.instances);
    if let Some(instance) = instances.and_then(|all| all.get_mut(&labelled.id)) {
        instance.paused = summary.state == Some(ContainerSummaryStateEnum::PAUSED);
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use towpath_model::observation::Exit;

    use super::*;

    fn ended() -> Stage {
        Stage::Ended(Exit {
            code: Some(0),
            signal: None,
            error: None,
            is_by_hand: false,
            note: None,
            at: Timestamp::UNIX_EPOCH,
            log_tail: Vec::new(),
        })
    }

    #[test]
    fn what_was_never_begun_may_be_asked_for_again_and_what_was_begun_never() {
        for container in [Container::Absent, Container::Made] {
            let found = verdict(&Stage::Asked, Work::None, false, container);
            assert_eq!(found, Some(Verdict::Forget));
        }
        let gone = verdict(&Stage::Begun, Work::None, false, Container::Absent);
        assert_eq!(gone, Some(Verdict::Vanished));
        let made = verdict(&Stage::Begun, Work::None, false, Container::Made);
        assert_eq!(made, Some(Verdict::StartAgain));
    }

    #[test]
    fn a_stop_that_nobody_sees_to_is_taken_up_again() {
        let found = |work| verdict(&Stage::Begun, work, true, Container::Runs);
        assert_eq!(found(Work::None), Some(Verdict::StopAgain));
        assert_eq!(found(Work::Stopping), Some(Verdict::Stopping));
    }

    #[test]
    fn an_end_that_was_written_down_stays_whatever_docker_has() {
        for container in [Container::Absent, Container::Runs, Container::Ended] {
            assert_eq!(verdict(&ended(), Work::None, false, container), None);
        }
    }
}
