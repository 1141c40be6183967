//! What can go wrong with a command or a query. HTTP statuses and exit codes are mapped elsewhere.

use std::net::SocketAddr;

use towpath_compose::{Diagnostics, Style};
use towpath_model::command::Refusal;
use towpath_model::id::{EnvironmentId, ReleaseNumber, RunId, ServiceName};
use towpath_model::port::PortError;
use towpath_model::render::MissingSecrets;

use crate::source::SourceError;
use crate::source::app::AppTreeError;

/// Any failure of the platform. None carries a secret's value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such environment.
    #[error("there is no environment `{0}`")]
    NoEnvironment(EnvironmentId),
    /// The environment is being removed.
    #[error("`{0}` is being destroyed")]
    BeingDestroyed(EnvironmentId),
    /// An attempt to remove an environment failed.
    #[error("`{environment}` is not gone yet, and is tried again until it is: {reason}")]
    NotDestroyed {
        /// The environment.
        environment: EnvironmentId,
        /// What the attempt met.
        reason: String,
    },
    /// There is no such release, or it was pruned.
    #[error("there is no release {release} of `{environment}`")]
    NoRelease {
        /// The environment that it was asked for in.
        environment: EnvironmentId,
        /// The release.
        release: ReleaseNumber,
    },
    /// The environment takes no release that was never anywhere.
    #[error(
        "`{environment}` takes only a release {wants}, not the files of a directory: {instead}"
    )]
    NeedsRelease {
        /// The environment.
        environment: EnvironmentId,
        /// What it wants of a release.
        wants: String,
        /// What to do.
        instead: String,
    },
    /// There is nothing to go back to.
    #[error("`{0}` has no earlier release to go back to")]
    NoEarlierRelease(EnvironmentId),
    /// Something else is not there.
    #[error("there is no {0}")]
    NotFound(String),
    /// No instance of a service runs.
    #[error("no instance of `{service}` runs in `{environment}`")]
    NotRunning {
        /// The environment.
        environment: EnvironmentId,
        /// The service.
        service: ServiceName,
    },
    /// The environment does not allow it now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Secrets have no value.
    #[error(transparent)]
    MissingSecrets(#[from] MissingSecrets),
    /// A port that the release publishes belongs to another environment.
    #[error("port {address} is published by `{owner}` already, for the same host names")]
    PortOfEnvironment {
        /// The socket.
        address: SocketAddr,
        /// Who has it.
        owner: EnvironmentId,
    },
    /// A port that the release publishes is in use on this machine.
    #[error("port {0} is in use by another program: stop it, or publish another port")]
    PortInUse(SocketAddr),
    /// A Compose project cannot be taken over as it is.
    #[error("the project `{project}` cannot be taken over: {reasons}")]
    NotAdopted {
        /// The project.
        project: String,
        /// Everything that stands in the way.
        reasons: String,
    },
    /// The source tree of the release was not uploaded.
    #[error("the source tree {0} was not uploaded")]
    NoSource(String),
    /// A source tree was not taken.
    #[error("the source tree is not taken")]
    Source(#[from] SourceError),
    /// There is no preview, or it is not changed.
    #[error(transparent)]
    Preview(#[from] towpath_model::preview::Refusal),
    /// What an app's author wrote is wrong.
    #[error("{}", .0.render(Style::Plain))]
    Invalid(Diagnostics),
    /// A run does not allow it now.
    #[error(transparent)]
    RunRefused(#[from] towpath_model::pipeline::command::Refusal),
    /// What is stored of a run cannot be read by this program.
    #[error("the record of {run} cannot be read")]
    UnreadableRun {
        /// The run.
        run: RunId,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The engine, or the router, did not do it.
    #[error("the engine or router failed")]
    Port(#[from] PortError),
    /// Git did not do it.
    #[error("the repository cannot be used")]
    Git(#[source] PortError),
    /// The store did not do it.
    #[error("the store failed: {0}")]
    Store(#[from] towpath_store::Error),
    /// What is stored cannot be read by this program.
    #[error("the record of `{environment}` cannot be read")]
    Unreadable {
        /// The environment.
        environment: EnvironmentId,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A repository elsewhere was not fetched from.
    #[error("{0}")]
    NotFetched(String),
    /// A webhook was taken before.
    #[error("this webhook was taken before")]
    Repeated,
    /// Too much waits already.
    #[error("too much waits already: try again in a while")]
    Busy,
    /// The platform stops.
    #[error("the control plane is stopping")]
    Stopping,
}

impl From<AppTreeError> for Error {
    fn from(error: AppTreeError) -> Self {
        match error {
            AppTreeError::Invalid(found) => Self::Invalid(found),
            AppTreeError::Files { path, source } => {
                Self::Source(SourceError::Files { path, source })
            }
        }
    }
}

/// What kind of failure it is, for statuses and exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something that was named is not there.
    NotFound,
    /// It cannot be done as things are: another state or another input would do.
    Refused,
    /// It may work later.
    Unavailable,
    /// A bug, or a damaged store.
    Internal,
}

impl Error {
    /// Tells whether it failed for want of room on the disk.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Store(error) => matches!(error, towpath_store::Error::Full { .. }),
            Self::Source(error) => error.is_full(),
            _ => false,
        }
    }

    /// Returns what kind of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoEnvironment(_)
            | Self::NoRelease { .. }
            | Self::NotFound(_)
            | Self::Store(towpath_store::Error::NotFound(_)) => Kind::NotFound,
            Self::NoEarlierRelease(_)
            | Self::NeedsRelease { .. }
            | Self::BeingDestroyed(_)
            | Self::NotRunning { .. }
            | Self::Refused(_)
            | Self::MissingSecrets(_)
            | Self::PortOfEnvironment { .. }
            | Self::PortInUse(_)
            | Self::NotAdopted { .. }
            | Self::NoSource(_)
            | Self::Preview(_)
            | Self::Invalid(_)
            | Self::RunRefused(_)
            | Self::Repeated
            | Self::Port(PortError::Refused(_))
            | Self::Git(PortError::Refused(_))
            | Self::Store(towpath_store::Error::AlreadyExists(_)) => Kind::Refused,
            Self::Stopping
            | Self::Busy
            | Self::NotFetched(_)
            | Self::NotDestroyed { .. }
            | Self::Port(PortError::Failed { .. })
            | Self::Git(PortError::Failed { .. }) => Kind::Unavailable,
            Self::Source(SourceError::Files { .. })
            | Self::Store(_)
            | Self::Unreadable { .. }
            | Self::UnreadableRun { .. } => Kind::Internal,
            Self::Source(_) => Kind::Refused,
        }
    }
}

/// Writes an error with its causes on one line.
pub(crate) fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
