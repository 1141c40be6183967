//! What the platform does: commands, queries, the reconcile loop of each environment, and the one
//! table that the router is told. There is no HTTP here and no concrete engine: both come in as
//! ports.

mod adopt;
mod bring;
mod checkout;
mod command;
mod console;
mod destroy;
mod error;
mod follow;
mod git;
mod hub;
mod intake;
mod keeper;
mod last_words;
mod mask;
mod notify;
mod observe;
mod platform;
mod preview;
mod query;
mod release;
mod run;
mod secret;
mod source;
mod statuses;
mod token;

pub use adopt::{Adopt, Ports as AdoptedPorts};
pub use bring::{BringRelease, Brought};
pub use command::Deploy;
pub use console::{InstanceUsage, UsageWatch};
pub use error::{Error, Kind};
pub use follow::PullRequest;
pub use git::{Judgement, Outcome, RepositoryInfo, StatusesInfo, TakenIn};
pub use keeper::Snapshot;
pub use notify::TriedOut;
pub use platform::{Config, Platform, Ports, SocketTest};
pub use preview::{MadePreview, NewPreview};
pub use run::{Awaited, Decision, Promote, RunLog, RunLogLine, RunLogQuery};
pub use source::app::{AppTree, AppTreeError};
pub use source::{Incoming, SourceError};
pub use towpath_store::{
    BadEvent, EventOrder, EventProblem, EventQuery, NewToken, SecretInfo, Token, Verification,
};

/// Who is named as the actor of what happens by itself.
const SYSTEM: &str = towpath_model::step::SYSTEM;
