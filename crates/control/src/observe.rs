//! Gathers everything that is known of an environment. Not what is made of it.

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
    })
}
