//! What an error is to whoever runs the program: an exit code, and words. The codes: 0 done, 1 the
//! operation failed, 2 bad input, 3 not found or not reachable, 4 not allowed.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use towpath_compose::{Diagnostics, Style};

/// The kinds of failure, each with its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The operation was tried and failed: a deployment that was rolled back is this.
    Operation,
    /// The input is wrong.
    Input,
    /// What was named is not there, or does not answer.
    NotFound,
    /// It is not allowed.
    Denied,
}

impl Failure {
    /// Returns the exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Operation => 1,
            Self::Input => 2,
            Self::NotFound => 3,
            Self::Denied => 4,
        }
    }
}

/// An error whose kind is known, with a hint.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failed {
    /// The kind.
    pub(crate) failure: Failure,
    /// What happened.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl Failed {
    /// Makes an error without a hint.
    pub(crate) fn new(failure: Failure, message: impl Into<String>) -> Self {
        Self {
            failure,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Says what went wrong on standard error, and returns the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let mut screen = std::io::stderr().lock();
    // Nobody is left to be told when standard error is closed.
    drop(screen.write_all(text(error).as_bytes()));
    ExitCode::from(kind(error).code())
}

/// Finds out what kind of failure an error is.
fn kind(error: &anyhow::Error) -> Failure {
    error
        .chain()
        .find_map(kind_of)
        .unwrap_or(Failure::Operation)
}

fn kind_of(cause: &(dyn std::error::Error + 'static)) -> Option<Failure> {
    if let Some(failed) = cause.downcast_ref::<Failed>() {
        return Some(failed.failure);
    }
    if cause.downcast_ref::<Diagnostics>().is_some() {
        return Some(Failure::Input);
    }
    if let Some(api) = cause.downcast_ref::<towpath_api::client::Error>() {
        return Some(kind_of_answer(api));
    }
    if let Some(store) = cause.downcast_ref::<towpath_store::Error>() {
        return Some(match store {
            towpath_store::Error::NotFound(_) => Failure::NotFound,
            towpath_store::Error::AlreadyExists(_) | towpath_store::Error::Locked { .. } => {
                Failure::Input
            }
            _ => Failure::Operation,
        });
    }
    cause
        .downcast_ref::<towpath_store::KeyError>()
        .map(|_| Failure::Input)
}

/// Finds out what kind of failure an answer of the control plane is, by its HTTP status.
fn kind_of_answer(error: &towpath_api::client::Error) -> Failure {
    use towpath_api::client::Error;
    match error {
        Error::Unreachable { .. } => Failure::NotFound,
        Error::Problem(problem) => match problem.status {
            401 | 403 => Failure::Denied,
            404 => Failure::NotFound,
            400..=499 => Failure::Input,
            _ => Failure::Operation,
        },
        Error::Broken(_) | Error::Malformed { .. } => Failure::Operation,
    }
}

fn text(error: &anyhow::Error) -> String {
    if let Some(diagnostics) = error.downcast_ref::<Diagnostics>() {
        let style = if std::io::stderr().is_terminal() {
            Style::Coloured
        } else {
            Style::Plain
        };
        return diagnostics.render(style);
    }
    let mut text = format!("error: {error}\n");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("  because: {cause}\n"));
    }
    let hint = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Failed>()?.hint.as_deref());
    if let Some(hint) = hint {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    text
}
