//! The audit trail on the wire.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A line of the audit trail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// The place in the trail, from 1 and without gaps.
    pub sequence: u64,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who did it: a person, a token, or `towpath` when nobody asked.
    pub actor: String,
    /// The environment, `app/environment`; absent when it is about no single one.
    pub environment: Option<String>,
    /// What happened, as a dotted word such as `deployment.shifted`.
    pub what: String,
    /// What it happened to.
    pub subject: String,
    /// What the subject was before.
    pub from: Option<String>,
    /// What the subject is now.
    pub to: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The digest of the line before and of all other fields of this one.
    pub hash: String,
}

/// What a check of the whole audit trail found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verification {
    /// Whether no line was changed, removed or added by another hand.
    pub intact: bool,
    /// How many lines were checked and found good.
    pub events: u64,
    /// The hash of the last good line.
    pub head: Option<String>,
    /// The first line that is not as it was written.
    pub broken: Option<BrokenLink>,
}

/// A line of the audit trail that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BrokenLink {
    /// Its place in the trail.
    pub sequence: u64,
    /// What is wrong with it.
    pub problem: String,
}
