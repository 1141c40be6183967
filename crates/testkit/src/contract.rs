//! What every engine promises, as tests that run over any of them. Not what only one of them can
//! do, which its own tests show.
//!
//! An engine is put under contract by a [`Subject`] and one call of [`engine_contract`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use towpath_model::id::{EnvironmentId, InstanceId, ReleaseNumber, ServiceName};
use towpath_model::observation::{ArtifactState, Exit, InstanceState};
use towpath_model::port::{
    Artifacts, Engine, EngineObservation, ImageRequest, InstanceStart, LogQuery, PortError, Stop,
    Volumes,
};
use towpath_model::workload::{Command, WorkloadSpec};

/// No rule takes longer, on any machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The signal that every program of the contract but the stubborn one obeys.
const SIGNAL: &str = "SIGTERM";

/// What an instance of a specification does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// It runs until it is asked to stop.
    Serves,
    /// It runs and does not stop when it is asked to.
    Stubborn,
    /// It writes these lines and ends with this code.
    Ends {
        /// The lines, on the standard output.
        lines: Vec<String>,
        /// The exit code.
        code: i32,
    },
    /// It cannot be started at all.
    Broken,
}

/// An engine under contract, with a clean place of its own.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Returns the engine.
    fn engine(&self) -> &dyn Engine;

    /// Returns a specification of the service `web` whose instances behave so.
    fn spec(&self, behaviour: Behaviour) -> WorkloadSpec;

    /// Returns a build step that succeeds or fails.
    fn build(&self, succeeds: bool) -> Command;

    /// Returns the images that a release with these build steps needs, where instances are
    /// containers.
    fn images(&self, _builds: &[Command]) -> BTreeMap<ServiceName, ImageRequest> {
        BTreeMap::new()
    }

    /// Replaces the engine by another one on the same place, as a restart of the platform does.
    async fn restart(&mut self);

    /// Lets time pass until something may have changed.
    async fn wait(&self, environment: &EnvironmentId) {
        self.engine().changed(environment).await;
    }
}

/// Runs the whole contract, each rule on an engine that `make` makes for it.
///
/// # Panics
///
/// Where a rule is broken; the rule's name is in the backtrace.
pub async fn engine_contract<S: Subject, F: Future<Output = S>>(make: impl Fn() -> F) {
    an_unknown_environment_is_empty(make().await).await;
    artifacts_are_made_once_and_kept(make().await).await;
    a_failed_build_has_a_reason_and_can_be_tried_again(make().await).await;
    nothing_starts_before_its_artifacts_are_ready(make().await).await;
    an_instance_runs_where_it_was_told_until_it_is_stopped(make().await).await;
    one_id_is_one_instance_until_it_is_removed(make().await).await;
    what_does_not_stop_is_killed_after_the_grace_period(make().await).await;
    an_end_has_its_code_and_last_lines(make().await).await;
    what_cannot_start_has_ended_with_the_reason(make().await).await;
    a_running_instance_is_neither_removed_nor_destroyed(make().await).await;
    artifacts_that_are_not_wanted_are_removed_unless_they_run(make().await).await;
    environments_do_not_touch_one_another(make().await).await;
    a_restart_finds_everything_as_it_was(make().await).await;
    logs_are_read_by_instance_and_by_tail(make().await).await;
}

const FIRST: ReleaseNumber = ReleaseNumber(1);

fn environment(name: &str) -> EnvironmentId {
    name.parse().expect("the names of the contract are valid")
}

fn dev() -> EnvironmentId {
    environment("shop/dev")
}

fn instance(environment: &EnvironmentId, spec: &WorkloadSpec, number: u32) -> InstanceId {
    InstanceId {
        environment: environment.clone(),
        service: spec.service.clone(),
        number,
    }
}

fn stop(grace: Duration) -> Stop {
    Stop {
        signal: SIGNAL.to_owned(),
        grace,
    }
}

fn lines(lines: &[&str], code: i32) -> Behaviour {
    Behaviour::Ends {
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        code,
    }
}

/// Waits until something is observed.
async fn until<T>(
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

async fn observe(subject: &impl Subject, environment: &EnvironmentId) -> EngineObservation {
    subject
        .engine()
        .observe(environment)
        .await
        .expect("it can always be observed")
}

fn state_of(observation: &EngineObservation, id: &InstanceId) -> Option<InstanceState> {
    let mut instances = observation.instances.iter();
    let found = instances.find(|instance| instance.id == *id);
    found.map(|instance| instance.state.clone())
}

async fn until_running(subject: &impl Subject, id: &InstanceId) -> InstanceState {
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

async fn until_exited(subject: &impl Subject, id: &InstanceId) -> Exit {
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

async fn prepare(
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
        .prepare(&artifacts)
        .await
        .expect("a release can be prepared");
    until(subject, environment, "artifacts are made", |observation| {
        let state = observation.artifacts.get(&FIRST)?;
        (*state != ArtifactState::Building).then(|| state.clone())
    })
    .await
}

fn order(spec: WorkloadSpec, environment: &EnvironmentId, number: u32) -> InstanceStart {
    InstanceStart {
        id: instance(environment, &spec, number),
        workload: spec.id(),
        release: FIRST,
        spec: Arc::new(spec),
        fixed_port: None,
        peers: BTreeMap::new(),
    }
}

async fn start(subject: &impl Subject, behaviour: Behaviour, number: u32) -> InstanceId {
    let order = order(subject.spec(behaviour), &dev(), number);
    subject
        .engine()
        .start(&order, &BTreeMap::new())
        .await
        .expect("an instance can be started");
    order.id
}

async fn stop_and_wait(subject: &impl Subject, id: &InstanceId) -> Exit {
    subject
        .engine()
        .stop(id, &stop(PATIENCE))
        .await
        .expect("an instance can be stopped");
    until_exited(subject, id).await
}

fn is_refused<T: std::fmt::Debug>(result: &Result<T, PortError>) -> bool {
    matches!(result, Err(PortError::Refused(_)))
}

async fn an_unknown_environment_is_empty(subject: impl Subject) {
    let nobody = environment("shop/nobody");
    assert_eq!(
        observe(&subject, &nobody).await,
        EngineObservation::default()
    );
    let engine = subject.engine();
    let id = instance(&nobody, &subject.spec(Behaviour::Serves), 1);
    engine
        .stop(&id, &stop(Duration::ZERO))
        .await
        .expect("nothing is to be stopped");
    engine.remove(&id).await.expect("nothing is to be removed");
    engine
        .keep_artifacts(&nobody, &[])
        .await
        .expect("no artifacts are to be removed");
    engine
        .destroy(&nobody, Volumes::Keep)
        .await
        .expect("nothing is to be destroyed");
}

async fn artifacts_are_made_once_and_kept(subject: impl Subject) {
    let build = [subject.build(true)];
    assert_eq!(
        prepare(&subject, &dev(), &build).await,
        ArtifactState::Ready
    );
    assert_eq!(
        prepare(&subject, &dev(), &build).await,
        ArtifactState::Ready
    );
    subject
        .engine()
        .keep_artifacts(&dev(), &[FIRST])
        .await
        .expect("artifacts can be kept");
    let observation = observe(&subject, &dev()).await;
    assert_eq!(
        observation.artifacts.get(&FIRST),
        Some(&ArtifactState::Ready)
    );
}

async fn a_failed_build_has_a_reason_and_can_be_tried_again(subject: impl Subject) {
    let state = prepare(&subject, &dev(), &[subject.build(false)]).await;
    let reason = match state {
        ArtifactState::Failed { reason, .. } => reason,
        ArtifactState::Building | ArtifactState::Ready => String::new(),
    };
    assert!(!reason.is_empty());
    let again = prepare(&subject, &dev(), &[subject.build(true)]).await;
    assert_eq!(again, ArtifactState::Ready);
}

async fn nothing_starts_before_its_artifacts_are_ready(subject: impl Subject) {
    let order = order(subject.spec(Behaviour::Serves), &dev(), 1);
    let started = subject.engine().start(&order, &BTreeMap::new()).await;
    assert!(started.is_err());
    assert_eq!(observe(&subject, &dev()).await.instances, []);
}

async fn an_instance_runs_where_it_was_told_until_it_is_stopped(subject: impl Subject) {
    prepare(&subject, &dev(), &[]).await;
    let mut order = order(subject.spec(Behaviour::Serves), &dev(), 1);
    order.fixed_port = Some(9_871);
    let none = BTreeMap::new();
    subject
        .engine()
        .start(&order, &none)
        .await
        .expect("an instance can be started");
    let state = until_running(&subject, &order.id).await;
    let port = match state {
        InstanceState::Running { address, .. } => address.port(),
        InstanceState::Starting | InstanceState::Stopping | InstanceState::Exited(_) => 0,
    };
    assert_eq!(port, 9_871);
    let observed = observe(&subject, &dev()).await;
    let workloads: Vec<_> = observed.instances.iter().map(|one| &one.workload).collect();
    assert_eq!(workloads, [&order.workload]);
    let exit = stop_and_wait(&subject, &order.id).await;
    assert_eq!(exit.error, None);
    // It has ended: being asked again changes nothing.
    assert_eq!(stop_and_wait(&subject, &order.id).await, exit);
}

async fn one_id_is_one_instance_until_it_is_removed(subject: impl Subject) {
    prepare(&subject, &dev(), &[]).await;
    let id = start(&subject, Behaviour::Serves, 1).await;
    let running = until_running(&subject, &id).await;
    start(&subject, Behaviour::Serves, 1).await;
    let observation = observe(&subject, &dev()).await;
    assert_eq!(observation.instances.len(), 1);
    assert_eq!(state_of(&observation, &id), Some(running));
    let exit = stop_and_wait(&subject, &id).await;
    start(&subject, Behaviour::Serves, 1).await;
    let observation = observe(&subject, &dev()).await;
    assert_eq!(
        state_of(&observation, &id),
        Some(InstanceState::Exited(exit))
    );
    subject
        .engine()
        .remove(&id)
        .await
        .expect("an ended instance can be removed");
    assert_eq!(observe(&subject, &dev()).await.instances, []);
    subject
        .engine()
        .remove(&id)
        .await
        .expect("it is gone already");
    start(&subject, Behaviour::Serves, 1).await;
    until_running(&subject, &id).await;
    stop_and_wait(&subject, &id).await;
}

async fn what_does_not_stop_is_killed_after_the_grace_period(subject: impl Subject) {
    prepare(&subject, &dev(), &[]).await;
    let id = start(&subject, Behaviour::Stubborn, 1).await;
    until_running(&subject, &id).await;
    let grace = Duration::from_millis(500);
    subject
        .engine()
        .stop(&id, &stop(grace))
        .await
        .expect("an instance can be stopped");
    let observation = observe(&subject, &dev()).await;
    let state = state_of(&observation, &id);
    assert!(
        !matches!(state, Some(InstanceState::Running { .. })),
        "{state:?}"
    );
    let exit = until_exited(&subject, &id).await;
    assert!(!exit.is_success() && exit.error.is_none(), "{exit:?}");
}

async fn an_end_has_its_code_and_last_lines(subject: impl Subject) {
    prepare(&subject, &dev(), &[]).await;
    let id = start(&subject, lines(&["one", "two"], 3), 1).await;
    let exit = until_exited(&subject, &id).await;
    assert_eq!(
        (exit.code, exit.signal, &exit.error),
        (Some(3), None, &None)
    );
    assert_eq!(exit.log_tail, ["one", "two"]);
    let id = start(&subject, lines(&[], 0), 2).await;
    assert!(until_exited(&subject, &id).await.is_success());
}

async fn what_cannot_start_has_ended_with_the_reason(subject: impl Subject) {
    prepare(&subject, &dev(), &[]).await;
    let id = start(&subject, Behaviour::Broken, 1).await;
    let exit = until_exited(&subject, &id).await;
    assert!(exit.error.is_some_and(|error| !error.is_empty()));
}

async fn a_running_instance_is_neither_removed_nor_destroyed(subject: impl Subject) {
    prepare(&subject, &dev(), &[]).await;
    let id = start(&subject, Behaviour::Serves, 1).await;
    let running = until_running(&subject, &id).await;
    let engine = subject.engine();
    assert!(is_refused(&engine.remove(&id).await));
    assert!(is_refused(&engine.destroy(&dev(), Volumes::Delete).await));
    let observation = observe(&subject, &dev()).await;
    assert_eq!(state_of(&observation, &id), Some(running));
    stop_and_wait(&subject, &id).await;
    engine
        .destroy(&dev(), Volumes::Delete)
        .await
        .expect("nothing runs any more");
    assert_eq!(
        observe(&subject, &dev()).await,
        EngineObservation::default()
    );
}

async fn artifacts_that_are_not_wanted_are_removed_unless_they_run(subject: impl Subject) {
    prepare(&subject, &dev(), &[]).await;
    let id = start(&subject, Behaviour::Serves, 1).await;
    until_running(&subject, &id).await;
    let keep = async || subject.engine().keep_artifacts(&dev(), &[]).await;
    keep().await.expect("artifacts can be removed");
    assert_eq!(observe(&subject, &dev()).await.artifacts.len(), 1);
    stop_and_wait(&subject, &id).await;
    keep().await.expect("artifacts can be removed");
    assert!(observe(&subject, &dev()).await.artifacts.is_empty());
}

async fn environments_do_not_touch_one_another(subject: impl Subject) {
    let other = environment("shop/production");
    prepare(&subject, &dev(), &[]).await;
    prepare(&subject, &other, &[]).await;
    let here = start(&subject, Behaviour::Serves, 1).await;
    let there = order(subject.spec(Behaviour::Serves), &other, 1);
    let none = BTreeMap::new();
    subject
        .engine()
        .start(&there, &none)
        .await
        .expect("an instance can be started");
    until_running(&subject, &here).await;
    let running = until_running(&subject, &there.id).await;
    stop_and_wait(&subject, &here).await;
    let engine = subject.engine();
    engine
        .destroy(&dev(), Volumes::Delete)
        .await
        .expect("nothing runs there");
    let observation = observe(&subject, &other).await;
    assert_eq!(state_of(&observation, &there.id), Some(running));
    assert_eq!(
        observation.artifacts.get(&FIRST),
        Some(&ArtifactState::Ready)
    );
    stop_and_wait(&subject, &there.id).await;
}

async fn a_restart_finds_everything_as_it_was(mut subject: impl Subject) {
    prepare(&subject, &dev(), &[]).await;
    let running = start(&subject, Behaviour::Serves, 1).await;
    until_running(&subject, &running).await;
    let ended = start(&subject, lines(&["bye"], 4), 2).await;
    until_exited(&subject, &ended).await;
    let before = observe(&subject, &dev()).await;
    subject.restart().await;
    assert_eq!(observe(&subject, &dev()).await, before);
    start(&subject, Behaviour::Serves, 1).await;
    start(&subject, Behaviour::Serves, 2).await;
    assert_eq!(observe(&subject, &dev()).await, before);
    stop_and_wait(&subject, &running).await;
    subject
        .engine()
        .remove(&ended)
        .await
        .expect("an ended instance can be removed");
}

async fn logs_are_read_by_instance_and_by_tail(subject: impl Subject) {
    prepare(&subject, &dev(), &[]).await;
    for (number, line) in [(1, "a"), (2, "b")] {
        let id = start(&subject, lines(&[line, line, "last"], 0), number).await;
        until_exited(&subject, &id).await;
    }
    let all = read(&subject, LogQuery::default()).await;
    assert_eq!(all, ["a", "a", "last", "b", "b", "last"]);
    let only = LogQuery {
        instance: Some(2),
        ..LogQuery::default()
    };
    assert_eq!(read(&subject, only).await, ["b", "b", "last"]);
    let tail = LogQuery {
        tail: Some(1),
        ..LogQuery::default()
    };
    assert_eq!(read(&subject, tail).await, ["last", "last"]);
}

async fn read(subject: &impl Subject, query: LogQuery) -> Vec<String> {
    let log = subject.engine().logs(&dev(), &query).await;
    let mut log = log.expect("the log can be read");
    let mut texts = Vec::new();
    while let Some(line) = log.next().await.expect("the log can be read") {
        texts.push(line.text);
    }
    texts
}
