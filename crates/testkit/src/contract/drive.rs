//! What the rules do with an engine: order, wait, look. Not the rules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use towpath_model::id::{EnvironmentId, InstanceId, ReleaseNumber};
use towpath_model::observation::{ArtifactState, Exit, InstanceState};
use towpath_model::port::{Artifacts, EngineObservation, InstanceStart, PortError, Stop};
use towpath_model::workload::{Command, WorkloadSpec};

use super::{Behaviour, PATIENCE, SIGNAL, Subject};

pub(super) const FIRST: ReleaseNumber = ReleaseNumber(1);

pub(super) fn environment(name: &str) -> EnvironmentId {
    name.parse().expect("the names of the contract are valid")
}

pub(super) fn dev() -> EnvironmentId {
    environment("shop/dev")
}

pub(super) fn instance(
    environment: &EnvironmentId,
    spec: &WorkloadSpec,
    number: u32,
) -> InstanceId {
    InstanceId {
        environment: environment.clone(),
        service: spec.service.clone(),
        number,
    }
}

pub(super) fn stop(grace: Duration) -> Stop {
    Stop {
        signal: SIGNAL.to_owned(),
        grace,
    }
}

pub(super) fn lines(lines: &[&str], code: i32) -> Behaviour {
    Behaviour::Ends {
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        code,
    }
}

/// Waits until something is observed.
pub(super) async fn until<T>(
    subject: &impl Subject,
    environment: &EnvironmentId,
    what: &str,
    seen: impl Fn(&EngineObservation) -> Option<T>,
) -> T {
    let waiting = async {
        loop {
            let observation = observe(subject, environment).await;
            if let Some(found) = seen(&observation) {
                return found;
            }
            subject.wait(environment).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(found.is_ok(), "it is never seen that {what}");
    found.expect("asserted just now")
}

pub(super) async fn observe(
    subject: &impl Subject,
    environment: &EnvironmentId,
) -> EngineObservation {
    subject
        .engine()
        .observe(environment)
        .await
        .expect("it can always be observed")
}

pub(super) fn state_of(observation: &EngineObservation, id: &InstanceId) -> Option<InstanceState> {
    let mut instances = observation.instances.iter();
    let found = instances.find(|instance| instance.id == *id);
    found.map(|instance| instance.state.clone())
}

pub(super) async fn until_running(subject: &impl Subject, id: &InstanceId) -> InstanceState {
    until(
        subject,
        &id.environment,
        "an instance runs",
        |observation| {
            let state = state_of(observation, id)?;
            assert!(
                !matches!(state, InstanceState::Exited(_)),
                "it ended: {state:?}"
            );
            matches!(state, InstanceState::Running { .. }).then_some(state)
        },
    )
    .await
}

pub(super) async fn until_exited(subject: &impl Subject, id: &InstanceId) -> Exit {
    until(
        subject,
        &id.environment,
        "an instance ends",
        |observation| match state_of(observation, id)? {
            InstanceState::Exited(exit) => Some(exit),
            InstanceState::Starting | InstanceState::Running { .. } | InstanceState::Stopping => {
                None
            }
        },
    )
    .await
}

pub(super) async fn prepare(
    subject: &impl Subject,
    environment: &EnvironmentId,
    builds: &[Command],
) -> ArtifactState {
    let service = subject.spec(Behaviour::Serves).service;
    let images = subject.images(builds);
    let builds = builds.iter().map(|build| (service.clone(), build.clone()));
    let artifacts = Artifacts {
        environment: environment.clone(),
        release: FIRST,
        source: None,
        builds: builds.collect(),
        images,
    };
    subject
        .engine()
        .prepare(&artifacts, &BTreeMap::new())
        .await
        .expect("a release can be prepared");
    until(subject, environment, "artifacts are made", |observation| {
        let state = observation.artifacts.get(&FIRST)?;
        (*state != ArtifactState::Building).then(|| state.clone())
    })
    .await
}

pub(super) fn order(spec: WorkloadSpec, environment: &EnvironmentId, number: u32) -> InstanceStart {
    InstanceStart {
        id: instance(environment, &spec, number),
        workload: spec.id(),
        release: FIRST,
        spec: Arc::new(spec),
        fixed_port: None,
        peers: BTreeMap::new(),
    }
}

pub(super) async fn start(subject: &impl Subject, behaviour: Behaviour, number: u32) -> InstanceId {
    let order = order(subject.spec(behaviour), &dev(), number);
    subject
        .engine()
        .start(&order, &BTreeMap::new())
        .await
        .expect("an instance can be started");
    order.id
}

pub(super) async fn stop_and_wait(subject: &impl Subject, id: &InstanceId) -> Exit {
    subject
        .engine()
        .stop(id, &stop(PATIENCE))
        .await
        .expect("an instance can be stopped");
    until_exited(subject, id).await
}

pub(super) fn is_refused<T: std::fmt::Debug>(result: &Result<T, PortError>) -> bool {
    matches!(result, Err(PortError::Refused(_)))
}
