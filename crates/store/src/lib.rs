//! The one door to the database: schema, SQL, transactions, the event chain, encryption at rest.
//!
//! [`Store`] has everything that the control plane must not forget, in one `SQLite` file in the data
//! directory. There is no rule of delivery here, no clock (times come in as arguments) and no
//! cache. One connection writes, so transactions are never in conflict; a commit is on the disk
//! when it returns. Each aggregate has one file, with its SQL beside the function that uses it.

mod app;
mod cache;
mod connections;
mod database;
mod destruction;
mod envelope;
mod environment;
mod error;
mod event;
mod key;
mod lock;
mod notify;
mod port;
mod release;
mod rendering;
mod repository;
mod row;
mod run;
mod secret;
mod source;
mod store;
mod token;

pub use app::App;
pub use destruction::Destruction;
pub use environment::{DeploymentRow, StoredEnvironment};
pub use error::Error;
pub use event::{BadEvent, EventOrder, EventProblem, EventQuery, Verification};
pub use key::{KeyError, MasterKey};
pub use notify::{NotifyProgress, Waiting};
pub use release::NewRelease;
pub use repository::status::{ForgeLane, UntoldStatus};
pub use run::{Progress, ReleaseOfRun, Said, StoredRun};
pub use secret::{SECRET_BYTES_MAX, SecretInfo};
pub use source::Source;
pub use store::Store;
pub use token::{NewToken, Token, TokenSecret};
