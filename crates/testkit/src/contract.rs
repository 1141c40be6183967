//! What every engine promises, as tests that run over any of them. Not what only one of them can
//! do, which its own tests show.
//!
//! An engine is put under contract by a [`Subject`] and one call of [`engine_contract`].

mod console;
mod drive;
mod rule;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use towpath_model::id::{EnvironmentId, ServiceName};
use towpath_model::port::{Engine, ImageRequest};
use towpath_model::workload::{Command, WorkloadSpec};

pub use console::{ConsoleSubject, console_contract};

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
    rule::an_unknown_environment_is_empty(make().await).await;
    rule::artifacts_are_made_once_and_kept(make().await).await;
    rule::a_failed_build_has_a_reason_and_can_be_tried_again(make().await).await;
    rule::nothing_starts_before_its_artifacts_are_ready(make().await).await;
    rule::an_instance_runs_where_it_was_told_until_it_is_stopped(make().await).await;
    rule::one_id_is_one_instance_until_it_is_removed(make().await).await;
    rule::what_does_not_stop_is_killed_after_the_grace_period(make().await).await;
    rule::an_end_has_its_code_and_last_lines(make().await).await;
    rule::what_cannot_start_has_ended_with_the_reason(make().await).await;
    rule::a_running_instance_is_neither_removed_nor_destroyed(make().await).await;
    rule::artifacts_that_are_not_wanted_are_removed_unless_they_run(make().await).await;
    rule::environments_do_not_touch_one_another(make().await).await;
    rule::a_restart_finds_everything_as_it_was(make().await).await;
    rule::logs_are_read_by_instance_by_tail_and_since_a_time(make().await).await;
}
