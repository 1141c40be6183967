//! What Git's hook asks before a push is taken. Between programs of one version: it is no part of the
//! documented API.

use serde::{Deserialize, Serialize};

/// Asks whether a push may be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeRequest {
    /// What it wants of each reference.
    pub updates: Vec<ReferenceUpdate>,
    /// The name of the directory in which Git keeps its objects apart.
    pub incoming: Option<String>,
}

/// What a push wants of one reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceUpdate {
    /// Its whole name.
    pub name: String,
    /// The object that it has; zeros for none.
    pub old: String,
    /// The object that it is to have; zeros for none.
    pub new: String,
}

/// What becomes of a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Whether it is taken.
    pub accepted: bool,
    /// What there is to say to whoever pushes.
    pub lines: Vec<String>,
}
