//! The service that fills the volumes of a new preview: rendered like every other, as a release job that
//! nothing reaches. Not when it runs.

use towpath_compose::diagnostic::{Diagnostic, Diagnostics, nearest};

use super::{DraftService, RenderInputs};
use crate::release::{Restart, Role};

/// Returns the seed of previews that are like the environment; `None` where the delivery file names
/// none, or where the environment runs that service itself.
pub(super) fn seed(inputs: &RenderInputs<'_>) -> Result<Option<DraftService>, Diagnostics> {
    let file = &inputs.delivery.file;
    let Some(name) = &file.previews.seed else {
        return Ok(None);
    };
    let known = inputs.loaded;
    let Some(service) = known.disabled.get(name.as_str()) else {
        return refusal(inputs).map_or(Ok(None), |refusal| Err(refusal.into()));
    };
    let mut loaded = known.clone();
    loaded.disabled.remove(name.as_str());
    let mut service = service.clone();
    service.ports.clear();
    service.healthcheck = None;
    service
        .depends_on
        .retain(|other, _| loaded.project.services.contains_key(other));
    loaded.project.services.insert(name.to_string(), service);
    let mut delivery = inputs.delivery.clone();
    let settings = delivery.file.services.entry(name.clone()).or_default();
    settings.health = None;
    settings.listen = Some(false);
    let rendered = super::services(&RenderInputs {
        loaded: &loaded,
        delivery: &delivery,
        ..inputs.clone()
    })?;
    let mut services = rendered.draft.services;
    Ok(services.remove(name).map(|service| DraftService {
        role: Role::Job {
            irreversible: false,
        },
        restart: Restart::No,
        routes: Vec::new(),
        internal: None,
        ..service
    }))
}

/// Says why a service cannot be the seed. In the environment that previews are like it must not run
/// anyway; what others run is no mistake.
fn refusal(inputs: &RenderInputs<'_>) -> Option<Diagnostic> {
    let file = &inputs.delivery.file;
    let name = file.previews.seed.as_ref()?;
    let services = &inputs.loaded.project.services;
    let is_running = services.contains_key(name.as_str());
    if is_running && inputs.environment != &file.preview_from() {
        return None;
    }
    let known = services.keys().chain(inputs.loaded.disabled.keys());
    let (message, help) = if is_running {
        let message = format!("`{name}` runs in `{}` anyway", inputs.environment);
        let help = "give it a profile in the Compose file that no environment has";
        (message, help.to_owned())
    } else {
        let message = format!("there is no service `{name}` in the Compose project");
        let help = match nearest(name.as_str(), known.map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "name a service of the Compose files".to_owned(),
        };
        (message, help)
    };
    let span = inputs.delivery.span(&["previews", "seed"]);
    let refused = Diagnostic::error("unknown-name", message);
    Some(refused.at_maybe(span).help(help))
}
