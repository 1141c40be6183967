//! How the release is rolled out: the defaults, over them Compose's `deploy.update_config`, over
//! that the delivery file's `rollout`, over that the environment's own.

use towpath_compose::model::{Service, UpdateConfig};

use super::context::Context;
use crate::delivery::{AbortWhen, Rollout, Step};
use crate::rollout::{Analysis, CanaryStep, Settings};

/// Returns the settings of the rollout in the context's environment.
pub(super) fn settings(context: &mut Context<'_>) -> Settings {
    let compose = from_compose(context);
    let file = context.inputs.delivery.file.rollout.clone();
    let environment = context.environment.rollout.clone();
    let merged = over(environment, over(file, compose));
    if merged.surge == Some(0) && merged.unavailable.unwrap_or(0) == 0 {
        let span = context
            .in_environment(&["rollout"])
            .or_else(|| context.delivery(&["rollout"]));
        let message = "no instance can ever be replaced: `surge` and `unavailable` are both 0";
        context.refuse(
            "bad-value",
            message,
            span,
            "write `surge: 1` to start first",
        );
    }
    resolved(merged)
}

/// Lays `upper` over `lower`: what `upper` does not say, `lower` does.
fn over(upper: Rollout, lower: Rollout) -> Rollout {
    let limits = (upper.abort_when, lower.abort_when);
    Rollout {
        strategy: upper.strategy.or(lower.strategy),
        steps: upper.steps.or(lower.steps),
        soak: upper.soak.or(lower.soak),
        surge: upper.surge.or(lower.surge),
        unavailable: upper.unavailable.or(lower.unavailable),
        progress_deadline: upper.progress_deadline.or(lower.progress_deadline),
        bake: upper.bake.or(lower.bake),
        drain: upper.drain.or(lower.drain),
        drain_websockets: upper.drain_websockets.or(lower.drain_websockets),
        start_failures: upper.start_failures.or(lower.start_failures),
        automatic_rollback: upper.automatic_rollback.or(lower.automatic_rollback),
        pause_expiry: upper.pause_expiry.or(lower.pause_expiry),
        abort_when: AbortWhen {
            error_rate: limits.0.error_rate.or(limits.1.error_rate),
            p99: limits.0.p99.or(limits.1.p99),
            p99_ratio: limits.0.p99_ratio.or(limits.1.p99_ratio),
            min_requests: limits.0.min_requests.or(limits.1.min_requests),
        },
    }
}

/// Fills in the defaults.
fn resolved(rollout: Rollout) -> Settings {
    let default = Settings::default();
    let steps = match rollout.steps {
        Some(steps) => steps
            .into_iter()
            .map(
                |Step {
                     weight,
                     soak,
                     pause,
                 }| (weight, soak, pause),
            )
            .collect(),
        None => default
            .steps
            .iter()
            .map(|step| (step.weight, None, step.pause))
            .collect::<Vec<_>>(),
    };
    let default_soak = default
        .steps
        .first()
        .map(|step| step.soak)
        .unwrap_or_default();
    let soak_of_all = rollout.soak.unwrap_or(default_soak);
    let limits = rollout.abort_when;
    let analysis = Analysis {
        min_requests: limits.min_requests.unwrap_or(default.analysis.min_requests),
        max_error_rate: limits.error_rate.unwrap_or(default.analysis.max_error_rate),
        max_p99: limits.p99.or(default.analysis.max_p99),
        max_p99_ratio: limits.p99_ratio.unwrap_or(default.analysis.max_p99_ratio),
    };
    Settings {
        strategy: rollout.strategy.unwrap_or(default.strategy),
        steps: steps
            .into_iter()
            .map(|(weight, soak, pause)| CanaryStep {
                weight,
                soak: soak.unwrap_or(soak_of_all),
                pause,
            })
            .collect(),
        surge: rollout.surge.unwrap_or(default.surge),
        unavailable: rollout.unavailable.unwrap_or(default.unavailable),
        progress_deadline: rollout
            .progress_deadline
            .unwrap_or(default.progress_deadline),
        bake: rollout.bake.unwrap_or(default.bake),
        drain: rollout.drain.unwrap_or(default.drain),
        drain_upgraded: rollout.drain_websockets.unwrap_or(default.drain_upgraded),
        start_failures: rollout.start_failures.unwrap_or(default.start_failures),
        automatic_rollback: rollout
            .automatic_rollback
            .unwrap_or(default.automatic_rollback),
        analysis,
        pause_expiry: rollout.pause_expiry.unwrap_or(default.pause_expiry),
    }
}

/// Reads the services' `deploy.update_config` as settings of the one rollout that they share.
///
/// `parallelism` is how many instances are replaced at a time: started first (`surge`), or stopped
/// first (`unavailable`) where every service that names an order says so. The largest of the
/// services counts; what they contradict one another in is warned of.
fn from_compose(context: &mut Context<'_>) -> Rollout {
    let services = &context.inputs.loaded.project.services;
    let configs: Vec<(&str, &Service, &UpdateConfig)> = services
        .iter()
        .filter_map(|(name, service)| {
            let deploy = service.deploy.as_ref()?;
            Some((name.as_str(), service, deploy.update_config.as_ref()?))
        })
        .collect();
    let mut rollout = Rollout::default();
    for (name, _, config) in &configs {
        action(context, name, config, &mut rollout);
    }
    let monitors = configs.iter().filter_map(|(_, _, config)| config.monitor);
    rollout.bake = monitors.max().map(towpath_compose::model::Duration::to_std);
    let parallel = configs.iter().filter_map(|(_, service, config)| {
        Some(match config.parallelism? {
            0 => service.replicas().max(1),
            some => u32::try_from(some).unwrap_or(u32::MAX),
        })
    });
    let parallelism = parallel.max();
    let stop_first = |order: &&str| *order == "stop-first";
    let orders: Vec<(&str, &str)> = configs
        .iter()
        .filter_map(|(name, _, config)| Some((*name, config.order.as_deref()?)))
        .collect();
    let stopping = orders.iter().filter(|(_, order)| stop_first(order)).count();
    if stopping > 0 && stopping == orders.len() {
        rollout.surge = Some(0);
        rollout.unavailable = Some(parallelism.unwrap_or(1));
        return rollout;
    }
    if let Some((name, _)) = orders.iter().find(|(_, order)| stop_first(order)) {
        let span = context.compose(&["services", name, "deploy", "update_config", "order"]);
        let message = "the services of a release move together, and another one says `start-first`";
        let help = "write `rollout: { surge: 0, unavailable: 1 }` in towpath.yaml to stop first";
        context.warn("ignored", message, span, help);
    }
    rollout.surge = parallelism;
    rollout
}

/// Reads what happens on failure.
fn action(context: &mut Context<'_>, name: &str, config: &UpdateConfig, rollout: &mut Rollout) {
    let span = |context: &Context<'_>, key| {
        context.compose(&["services", name, "deploy", "update_config", key])
    };
    match config.failure_action.as_deref() {
        // A pause asked for by one service holds for the release that all of them share.
        Some("pause") => rollout.automatic_rollback = Some(false),
        Some("rollback") if rollout.automatic_rollback.is_none() => {
            rollout.automatic_rollback = Some(true);
        }
        Some("continue") => {
            let span = span(context, "failure_action");
            let message = "a release that fails never goes on: it is rolled back";
            let help = "write `rollback`, or `pause` to have a person decide";
            context.warn("ignored", message, span, help);
        }
        _ => {}
    }
    if config.max_failure_ratio.is_some_and(|ratio| ratio.0 > 0.0) {
        let span = span(context, "max_failure_ratio");
        let message = "every instance of a new release has to be healthy: no share may fail";
        let help = "`start_failures` in towpath.yaml says how often one may fail to start";
        context.warn("ignored", message, span, help);
    }
    if config.delay.is_some_and(|delay| delay.as_nanos() > 0) {
        let span = span(context, "delay");
        let message =
            "there is no delay between instances: the next is replaced when one is healthy";
        let help = "write a `canary` strategy with `soak` in towpath.yaml to go slowly";
        context.warn("ignored", message, span, help);
    }
}
