//! Plans on the wire: what a deployment would change. Never a value of a variable or a secret.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::deployment::Strategy;

/// Asks what a deployment would change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// What the release renders to in this environment, as the client made it.
    #[schema(value_type = Object)]
    pub draft: towpath_model::render::Draft,
}

/// What a deployment would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// The environment, `app/environment`.
    pub environment: String,
    /// How instances and traffic would move.
    pub strategy: Strategy,
    /// Whether nothing would change.
    pub empty: bool,
    /// Whether a release job would run that old code must not follow: no automatic rollback once
    /// it ran.
    pub irreversible: bool,
    /// The services, each after those that it depends on; removed ones last.
    pub services: Vec<ServicePlan>,
}

/// What would become of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServicePlan {
    /// The service.
    pub service: String,
    /// What would change.
    pub change: Change,
    /// For a replaced service: the fields of its specification that differ, dotted.
    pub fields: Vec<String>,
    /// Instances now.
    pub replicas_before: u32,
    /// Instances afterwards.
    pub replicas: u32,
    /// Whether there are never two instances of it at once: the old instance stops before the new
    /// one starts, whatever the strategy.
    pub stateful: bool,
    /// Why that is so, and where the Compose file says it; `null` when it is not.
    #[serde(default)]
    pub exclusive: Option<String>,
}

/// What would change of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    New,
    /// It is a release job and would run.
    Job,
    /// Its instances would be replaced.
    Replaced,
    /// It would not be touched.
    Unchanged,
    /// It would be removed; its volumes stay.
    Removed,
}

impl Change {
    /// Returns the word for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Job => "runs",
            Self::Replaced => "replaced",
            Self::Unchanged => "unchanged",
            Self::Removed => "removed",
        }
    }
}
