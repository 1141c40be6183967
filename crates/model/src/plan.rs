//! What a deployment would change, as a value for people. The rollout follows the same comparison:
//! a service whose workload is the same is not touched.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::environment::Environment;
use crate::id::ServiceName;
use crate::release::{RenderedService, Rendering, Role};
use crate::rollout::Strategy;

/// What a deployment would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How instances and traffic would move.
    pub strategy: Strategy,
    /// The services, each after those that it depends on; removed ones last.
    pub services: Vec<ServicePlan>,
    /// Whether a release job would run that old code must not follow: no automatic rollback once
    /// it ran.
    pub irreversible: bool,
}

impl Plan {
    /// Tells whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.services.iter().all(|service| {
            matches!(service.change, Change::Unchanged)
                && service.replicas_before == service.replicas
        })
    }
}

/// What would become of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePlan {
    /// The service.
    pub service: ServiceName,
    /// What would change.
    pub change: Change,
    /// Instances now.
    pub replicas_before: u32,
    /// Instances afterwards.
    pub replicas: u32,
    /// Why there can never be two instances of it at once, so that the old one stops before the new
    /// one starts, and where the Compose file says so. `None` when there can.
    pub exclusive: Option<String>,
}

/// What would change of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Change {
    /// It is new.
    New,
    /// It is a release job and would run.
    Job,
    /// Its instances would be replaced.
    Replaced {
        /// The fields of its specification that differ, dotted; never their values.
        fields: Vec<String>,
    },
    /// It would not be touched.
    Unchanged,
    /// It would be removed. Its volumes stay.
    Removed,
}

/// Compares what an environment has with what a release renders to.
pub fn plan(environment: &Environment, rendering: &Rendering) -> Plan {
    let stable = environment.stable_rendering();
    let before = |name: &ServiceName| stable.and_then(|stable| stable.services.get(name));
    let mut services: Vec<ServicePlan> = rendering
        .start_order()
        .into_iter()
        .filter_map(|name| {
            let service = rendering.services.get(name)?;
            Some(compare(environment, before(name), service))
        })
        .collect();
    let removed = stable.into_iter().flat_map(|stable| &stable.services);
    services.extend(
        removed
            .filter(|(name, service)| !rendering.services.contains_key(*name) && !service.is_job())
            .map(|(name, service)| ServicePlan {
                service: name.clone(),
                change: Change::Removed,
                replicas_before: environment.wanted(service),
                replicas: 0,
                exclusive: exclusive(service),
            }),
    );
    let irreversible = |service: &RenderedService| service.role == Role::Job { irreversible: true };
    Plan {
        strategy: rendering.settings.strategy,
        services,
        irreversible: rendering.services.values().any(irreversible),
    }
}

fn compare(
    environment: &Environment,
    before: Option<&RenderedService>,
    service: &RenderedService,
) -> ServicePlan {
    let change = match before {
        _ if service.is_job() => Change::Job,
        None => Change::New,
        Some(before) if before.workload == service.workload => Change::Unchanged,
        Some(before) => Change::Replaced {
            fields: differing_fields(before, service),
        },
    };
    ServicePlan {
        service: service.spec.service.clone(),
        change,
        replicas_before: before.map_or(0, |before| environment.wanted(before)),
        replicas: if service.is_job() {
            0
        } else {
            environment.wanted(service)
        },
        exclusive: exclusive(service),
    }
}

fn exclusive(service: &RenderedService) -> Option<String> {
    let why = service.spec.exclusive()?;
    Some(match &service.exclusive_at {
        Some(place) => format!("{why} ({place})"),
        None => why.to_string(),
    })
}

fn differing_fields(before: &RenderedService, after: &RenderedService) -> Vec<String> {
    let json = |service: &RenderedService| {
        serde_json::to_value(&*service.spec).expect("a specification has only string keys")
    };
    let mut fields = Vec::new();
    collect("", &json(before), &json(after), &mut fields);
    fields
}

/// Collects the dotted names of what differs. Lists are compared as a whole: the place of an entry
/// means nothing to a reader.
fn collect(path: &str, before: &Value, after: &Value, fields: &mut Vec<String>) {
    if before == after {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        fields.push(path.to_owned());
        return;
    };
    let added = new.keys().filter(|key| !old.contains_key(*key));
    for key in old.keys().chain(added) {
        let name = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        let at =
            |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
        collect(&name, &at(old), &at(new), fields);
    }
}
