//! The rules, each on an engine of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use towpath_model::observation::{ArtifactState, InstanceState};
use towpath_model::port::{EngineObservation, LogLine, LogQuery, Volumes};

use super::drive::{
    FIRST, dev, environment, instance, is_refused, lines, observe, order, prepare, start, state_of,
    stop, stop_and_wait, until_exited, until_running,
};
use super::{Behaviour, Subject};

pub(super) async fn an_unknown_environment_is_empty(subject: impl Subject) {
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

pub(super) async fn artifacts_are_made_once_and_kept(subject: impl Subject) {
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

pub(super) async fn a_failed_build_has_a_reason_and_can_be_tried_again(subject: impl Subject) {
    let state = prepare(&subject, &dev(), &[subject.build(false)]).await;
    let reason = match state {
        ArtifactState::Failed { reason, .. } => reason,
        ArtifactState::Building | ArtifactState::Ready => String::new(),
    };
    assert!(!reason.is_empty());
    let again = prepare(&subject, &dev(), &[subject.build(true)]).await;
    assert_eq!(again, ArtifactState::Ready);
}

pub(super) async fn nothing_starts_before_its_artifacts_are_ready(subject: impl Subject) {
    let order = order(subject.spec(Behaviour::Serves), &dev(), 1);
    let started = subject.engine().start(&order, &BTreeMap::new()).await;
    assert!(started.is_err());
    assert_eq!(observe(&subject, &dev()).await.instances, []);
}

pub(super) async fn an_instance_runs_where_it_was_told_until_it_is_stopped(subject: impl Subject) {
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

pub(super) async fn one_id_is_one_instance_until_it_is_removed(subject: impl Subject) {
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

pub(super) async fn what_does_not_stop_is_killed_after_the_grace_period(subject: impl Subject) {
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

pub(super) async fn an_end_has_its_code_and_last_lines(subject: impl Subject) {
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

pub(super) async fn what_cannot_start_has_ended_with_the_reason(subject: impl Subject) {
    prepare(&subject, &dev(), &[]).await;
    let id = start(&subject, Behaviour::Broken, 1).await;
    let exit = until_exited(&subject, &id).await;
    assert!(exit.error.is_some_and(|error| !error.is_empty()));
}

pub(super) async fn a_running_instance_is_neither_removed_nor_destroyed(subject: impl Subject) {
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

pub(super) async fn artifacts_that_are_not_wanted_are_removed_unless_they_run(
    subject: impl Subject,
) {
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

pub(super) async fn environments_do_not_touch_one_another(subject: impl Subject) {
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

pub(super) async fn a_restart_finds_everything_as_it_was(mut subject: impl Subject) {
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

pub(super) async fn logs_are_read_by_instance_by_tail_and_since_a_time(subject: impl Subject) {
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
    let all = read_lines(&subject, LogQuery::default()).await;
    let third = all.get(2).map(|line| line.at);
    let since = LogQuery {
        since: third,
        ..LogQuery::default()
    };
    let expected = all.into_iter().filter(|line| Some(line.at) >= third);
    let expected: Vec<LogLine> = expected.collect();
    assert_eq!(read_lines(&subject, since).await, expected);
}

async fn read(subject: &impl Subject, query: LogQuery) -> Vec<String> {
    let lines = read_lines(subject, query).await;
    lines.into_iter().map(|line| line.text).collect()
}

async fn read_lines(subject: &impl Subject, query: LogQuery) -> Vec<LogLine> {
    let log = subject.engine().logs(&dev(), &query).await;
    let mut log = log.expect("the log can be read");
    let mut lines = Vec::new();
    while let Some(line) = log.next().await.expect("the log can be read") {
        lines.push(line);
    }
    lines
}
