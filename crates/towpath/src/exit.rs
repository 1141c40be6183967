//! What an error is to whoever runs the program: an exit code, and words. The codes: 0 done, 1 the
//! operation failed, 2 bad input, 3 not found or not reachable, 4 not allowed.

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::process::ExitCode;

use towpath_compose::{Diagnostics, Style};
use towpath_server::CertificateError;

use crate::place;

/// What to do about a certificate that is not trusted.
const UNTRUSTED: &str =
    "where it is good, name a file with the certificate of its authority (PEM) in TOWPATH_CA";

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
    /// Returns the failure that another process of this program ended with.
    pub(crate) fn of_code(code: Option<i32>) -> Self {
        match code {
            Some(2) => Self::Input,
            Some(3) => Self::NotFound,
            Some(4) => Self::Denied,
            _ => Self::Operation,
        }
    }

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
        return Some(kind_of_store(store));
    }
    if let Some(server) = cause.downcast_ref::<towpath_server::Error>() {
        return Some(kind_of_door(server));
    }
    if let Some(certificate) = cause.downcast_ref::<CertificateError>() {
        return Some(kind_of_certificate(certificate));
    }
    cause
        .downcast_ref::<towpath_store::KeyError>()
        .map(kind_of_key)
}

/// Finds out what kind of failure an answer of the control plane is, by its HTTP status.
fn kind_of_answer(error: &towpath_api::client::Error) -> Failure {
    use towpath_api::client::Error;
    match error {
        Error::Unreachable { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            Failure::Denied
        }
        Error::Unreachable { .. } | Error::Untrusted { .. } => Failure::NotFound,
        Error::Problem(problem) => match problem.status {
            401 | 403 => Failure::Denied,
            404 => Failure::NotFound,
            // The input is good, and refused for the state that things are in: another deployment
            // is under way, the environment is on hold, there is nothing to abort.
            409 => Failure::Operation,
            400..=499 => Failure::Input,
            _ => Failure::Operation,
        },
        Error::Broken(_) | Error::Malformed { .. } => Failure::Operation,
    }
}

/// Finds out what kind of failure it is that a role cannot use its data directory.
fn kind_of_store(error: &towpath_store::Error) -> Failure {
    use towpath_store::Error;
    match error {
        Error::NotFound(_) => Failure::NotFound,
        Error::AlreadyExists(_) | Error::Locked { .. } | Error::SecretTooLarge { .. } => {
            Failure::Input
        }
        Error::Key(error) => kind_of_key(error),
        Error::Directory { source, .. } => kind_of_system(source),
        Error::Corrupt { .. }
        | Error::Newer { .. }
        | Error::Full { .. }
        | Error::ReadOnly { .. }
        | Error::Database { .. }
        | Error::Inconsistent { .. }
        | Error::Stale { .. }
        | Error::Differs { .. }
        | Error::NoPort { .. } => Failure::Operation,
    }
}

/// Finds out what kind of failure it is that the control plane cannot listen.
fn kind_of_door(error: &towpath_server::Error) -> Failure {
    use towpath_server::Error;
    match error {
        Error::LongPath(_) | Error::InUse(_) | Error::PortInUse(_) => Failure::Input,
        Error::Socket { source, .. } | Error::Tcp { source, .. } => kind_of_system(source),
    }
}

/// Finds out what kind of failure it is that there is no certificate to speak TLS with.
fn kind_of_certificate(error: &CertificateError) -> Failure {
    match error {
        CertificateError::Read { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            Failure::Denied
        }
        CertificateError::Read { .. }
        | CertificateError::Damaged(_)
        | CertificateError::NoCertificate(_)
        | CertificateError::NoKey(_)
        | CertificateError::OtherKey { .. }
        | CertificateError::Unusable { .. } => Failure::Input,
    }
}

/// Finds out what kind of failure it is that the master key cannot be used.
fn kind_of_key(error: &towpath_store::KeyError) -> Failure {
    use towpath_store::KeyError;
    match error {
        KeyError::File { source, .. } => kind_of_system(source),
        KeyError::Exposed { .. }
        | KeyError::Missing { .. }
        | KeyError::Malformed { .. }
        | KeyError::Wrong { .. } => Failure::Input,
        KeyError::Tampered { .. } | KeyError::Random(_) | KeyError::Refused => Failure::Operation,
    }
}

fn kind_of_system(error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::PermissionDenied => Failure::Denied,
        _ => Failure::Operation,
    }
}

fn text(error: &anyhow::Error) -> String {
    if let Some(diagnostics) = error.downcast_ref::<Diagnostics>() {
        let style = if std::io::stderr().is_terminal() {
            Style::Coloured
        } else {
            Style::Plain
        };
        return place::drawn(diagnostics, style);
    }
    let mut text = format!("error: {error}\n");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("  because: {cause}\n"));
    }
    if let Some(hint) = error.chain().find_map(hint_of) {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    text
}

fn hint_of<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a str> {
    if let Some(failed) = cause.downcast_ref::<Failed>() {
        return failed.hint.as_deref();
    }
    match cause.downcast_ref::<towpath_api::client::Error>()? {
        towpath_api::client::Error::Untrusted { .. } => Some(UNTRUSTED),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use anyhow::{Context as _, anyhow};
    use towpath_api::Problem;
    use towpath_api::client::Error as Answer;
    use towpath_compose::Diagnostic;
    use towpath_store::{Error as Store, KeyError, MasterKey};

    use super::*;

    fn problem(status: u16) -> anyhow::Error {
        let problem = Problem {
            kind: String::new(),
            status,
            title: String::new(),
            detail: String::new(),
        };
        Answer::Problem(problem).into()
    }

    fn unreachable(kind: io::ErrorKind) -> anyhow::Error {
        let (address, source) = ("towpath.sock".to_owned(), kind.into());
        Answer::Unreachable { address, source }.into()
    }

    fn directory(kind: io::ErrorKind) -> anyhow::Error {
        let (path, source) = (PathBuf::from("/data"), kind.into());
        Store::Directory { path, source }.into()
    }

    fn untrusted() -> anyhow::Error {
        let (address, reason) = ("https://x".to_owned(), "it has expired".to_owned());
        Answer::Untrusted { address, reason }.into()
    }

    fn certificate(kind: io::ErrorKind) -> anyhow::Error {
        let (path, source) = (PathBuf::from("/cert.pem"), kind.into());
        CertificateError::Read { path, source }.into()
    }

    fn file() -> PathBuf {
        PathBuf::from("/data/towpath.db")
    }

    #[test]
    fn each_answer_of_the_control_plane_has_its_exit_code() {
        for (status, code) in [
            (400, 2),
            (401, 4),
            (403, 4),
            (404, 3),
            (405, 2),
            (409, 1),
            (413, 2),
            (422, 2),
            (500, 1),
            (503, 1),
            (507, 1),
        ] {
            assert_eq!(kind(&problem(status)).code(), code, "{status}");
        }
    }

    #[test]
    fn each_failure_has_its_exit_code() {
        let bad = Diagnostics::check(vec![Diagnostic::error("bad", "it is bad")]).unwrap_err();
        let key: KeyError = MasterKey::from_base64("no key").unwrap_err();
        let (pid, address) = (None, ([127, 0, 0, 1], 80).into());
        let cases: Vec<(anyhow::Error, u8)> = vec![
            (bad.into(), 2),
            (Failed::new(Failure::Denied, "no").into(), 4),
            (anyhow!("something else"), 1),
            (unreachable(io::ErrorKind::NotFound), 3),
            (unreachable(io::ErrorKind::ConnectionRefused), 3),
            (unreachable(io::ErrorKind::PermissionDenied), 4),
            (key.into(), 2),
            (
                Store::Locked {
                    directory: file(),
                    pid,
                }
                .into(),
                2,
            ),
            (Store::Full { file: file() }.into(), 1),
            (Store::ReadOnly { file: file() }.into(), 1),
            (Store::NotFound("app".to_owned()).into(), 3),
            (untrusted(), 3),
            (certificate(io::ErrorKind::NotFound), 2),
            (certificate(io::ErrorKind::PermissionDenied), 4),
            (directory(io::ErrorKind::PermissionDenied), 4),
            (directory(io::ErrorKind::NotADirectory), 1),
            (towpath_server::Error::PortInUse(address).into(), 2),
            (towpath_server::Error::LongPath(file()).into(), 2),
        ];
        for (error, code) in cases {
            let text = error.to_string();
            assert_eq!(kind(&error).code(), code, "{text}");
            let error = Err::<(), _>(error).context("what was tried").unwrap_err();
            assert_eq!(kind(&error).code(), code, "within another: {text}");
        }
    }

    #[test]
    fn a_certificate_that_is_not_trusted_comes_with_what_to_do() {
        let text = text(&untrusted().context("cannot ask"));
        assert!(
            text.contains("because: the certificate of https://x is"),
            "{text}"
        );
        assert!(
            text.contains("hint: ") && text.contains("TOWPATH_CA"),
            "{text}"
        );
    }

    #[test]
    fn a_failure_survives_the_way_through_an_exit_code() {
        for failure in [
            Failure::Operation,
            Failure::Input,
            Failure::NotFound,
            Failure::Denied,
        ] {
            let code = Some(i32::from(failure.code()));
            assert_eq!(Failure::of_code(code), failure);
        }
        assert_eq!(Failure::of_code(None), Failure::Operation);
    }
}
