//! Gathers everything that is known of an environment. Not what is made of it.

use std::collections::BTreeSet;

use towpath_model::adoption::takeover::Redirect;
use towpath_model::environment::Environment;
use towpath_model::observation::Observation;
use towpath_model::port::PortError;

use crate::platform::Shared;

/// Observes an environment.
pub(crate) async fn observe(
    shared: &Shared,
    environment: &Environment,
) -> Result<Observation, PortError> {
    // The report is taken first: what it says of an instance is then never newer than the engine's
    // word on the same instance.
    let router = shared.hub.report().map(|report| (*report).clone());
    let at = shared.ports.clock.now();
    let seen = shared.ports.engine.observe(&environment.id).await?;
    Ok(Observation {
        at,
        instances: seen.instances,
        artifacts: seen.artifacts,
        probes: shared.ports.prober.records(&environment.id),
        router,
        redirects: redirects(shared, environment).await,
        networks: seen.networks,
    })
}

/// Returns the redirects in force, where the environment has or had any. What cannot be seen is
/// unknown: the rest of the observation is worth having all the same.
async fn redirects(shared: &Shared, environment: &Environment) -> Option<BTreeSet<Redirect>> {
    let adopted = environment.adopted.as_ref()?;
    let moves = adopted.takeovers.iter().any(|one| one.via.is_some());
    if !moves {
        return None;
    }
    match shared.ports.redirects.get(&environment.id).await {
        Ok(redirects) => Some(redirects),
        Err(error) => {
            tracing::warn!(environment = %environment.id, %error, "redirects cannot be seen");
            None
        }
    }
}
