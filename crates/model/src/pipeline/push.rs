//! What came in: a source tree, and what is known of where it is from. Not what is made of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{AppName, Digest};

/// A source tree that somebody wants delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The app.
    pub app: AppName,
    /// The digest of the tree, which is stored already.
    pub source: Digest,
    /// The commit that the tree is of; empty for a working tree.
    pub commit: String,
    /// What it was pushed to.
    pub reference: Reference,
    /// The paths that differ from what was pushed before, relative to the tree; `None` when nobody
    /// knows, which counts as all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Vec<String>>,
    /// Who wrote the commit.
    pub author: String,
    /// What the author says of it.
    pub message: String,
    /// Who pushed it.
    pub actor: String,
}

/// What was pushed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// A branch, by its name without `refs/heads/`.
    Branch(String),
    /// A tag, by its name without `refs/tags/`.
    Tag(String),
    /// A request to take a branch into another one.
    PullRequest {
        /// Its number at the forge.
        number: u64,
        /// The branch that it is from.
        from: String,
        /// The branch that it is meant for.
        into: String,
        /// Whether the branch that it is from is in another repository.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        fork: bool,
    },
    /// Nothing: the files of a directory as they are.
    WorkingTree,
}

impl Reference {
    /// Tells whether it is of somebody who need not be allowed to push: they are given no secrets.
    pub fn is_fork(&self) -> bool {
        matches!(self, Self::PullRequest { fork: true, .. })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Branch(name) => write!(f, "branch {name}"),
            Self::Tag(name) => write!(f, "tag {name}"),
            Self::PullRequest { number, .. } => write!(f, "pull request {number}"),
            Self::WorkingTree => f.write_str("working tree"),
        }
    }
}
