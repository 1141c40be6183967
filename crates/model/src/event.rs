//! The lines of the audit trail: who did what, when, from what to what, and why. Not how they are
//! kept and chained, which is the store's.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{Digest, EnvironmentId};

/// A line to append to the audit trail. The environment is that of the change which it is
/// committed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEvent {
    /// When it happened.
    pub at: Timestamp,
    /// Who did it: a person, a token, or `towpath` when nobody asked.
    pub actor: String,
    /// What happened, as a dotted word such as `deployment.shifted`.
    pub what: String,
    /// What it happened to, such as `deployment 12`.
    pub subject: String,
    /// What the subject was before.
    pub from: Option<String>,
    /// What the subject is now.
    pub to: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// A line of the audit trail. It never changes, and its hash covers every line before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The place in the trail, from 1 and without gaps.
    pub sequence: u64,
    /// When it happened.
    pub at: Timestamp,
    /// Who did it: a person, a token, or `towpath` when nobody asked.
    pub actor: String,
    /// The environment that it happened in; absent when it is about no single one.
    pub environment: Option<EnvironmentId>,
    /// What happened, as a dotted word such as `deployment.shifted`.
    pub what: String,
    /// What it happened to, such as `deployment 12`.
    pub subject: String,
    /// What the subject was before.
    pub from: Option<String>,
    /// What the subject is now.
    pub to: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Whatever else is worth keeping.
    pub data: Option<serde_json::Value>,
    /// The digest of the hash of the line before and all other fields of this one.
    pub hash: Digest,
}
