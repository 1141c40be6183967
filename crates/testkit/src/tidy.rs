//! Checks on the source tree itself: who may depend on whom, shapes of files, names, left-overs,
//! links. Not what rustfmt and clippy check (function length, for one, is clippy's).
//!
//! Every check is a pure function from what was read to findings; [`tree::Tree::read`] and
//! [`layering::Graph::read`] do the reading.

pub mod absence;
pub mod deny;
pub mod layering;
pub mod links;
pub mod shape;
pub mod sleeps;
pub mod source;
pub mod tree;

use std::fmt;

/// One place where the tree breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, relative to the root of the repository.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// Which rule, and what to do about it.
    pub message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Writes findings one to a line, in the order of the tree.
pub fn report(mut findings: Vec<Finding>) -> String {
    findings.sort();
    findings
        .iter()
        .map(Finding::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
