//! Who is told of what happened: targets with their rules, and the messages that the audit trail is
//! made into. Not how a message is carried, which is a port ([`crate::port::Notifier`]).

mod kind;
mod letter;
mod retry;
mod route;
mod state;
pub mod template;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::duration;
use crate::id::{AppName, EnvironmentId, EnvironmentName, ReleaseNumber, SecretName, TargetName};

pub(crate) use kind::is_known;
pub use kind::{KINDS, Kind, Problem, kind_of};
pub use letter::test_message;
pub use retry::retry_at;
pub use route::{Occurrence, Origin, Routed, origin_of, route};
pub use state::{Lane, Outgoing, State};

/// How long what belongs together is gathered before it becomes a message, unless a target says so.
pub const GROUP: Duration = Duration::from_secs(10);

/// How long the same thing is only counted after it was told, unless a target says so.
pub const REPEAT: Duration = Duration::from_mins(10);

/// The most lines of a log in a message.
pub const LOG_LINES: usize = 20;

/// How much a message matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    #[default]
    Info,
    /// Somebody should look at it.
    Warning,
    /// Somebody has to do something.
    Critical,
}

impl Severity {
    /// Returns the word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Where messages go, and which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// How they get there.
    pub channel: Channel,
    /// The kinds that are wanted, as dotted words or `word.*`; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<String>,
    /// Only of these environments; of all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<EnvironmentName>,
    /// Nothing that matters less.
    pub severity: Severity,
    /// The text of a message; Towpath's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// How long what belongs together is gathered before it becomes a message.
    #[serde(with = "duration")]
    pub group: Duration,
    /// How long the same thing is only counted after it was told.
    #[serde(with = "duration")]
    pub repeat: Duration,
}

/// The targets of an environment by name.
pub type Targets = BTreeMap<TargetName, Target>;

/// How messages get somewhere. Secrets are named, never held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// A workflow of Microsoft Teams that is started by a webhook.
    Teams {
        /// Where.
        url: Setting,
    },
    /// An incoming webhook of Slack.
    Slack {
        /// Where.
        url: Setting,
    },
    /// Mail.
    Smtp(Smtp),
    /// A program of somebody's.
    Webhook(Webhook),
}

impl Channel {
    /// Returns the word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Teams { .. } => "teams",
            Self::Slack { .. } => "slack",
            Self::Smtp(_) => "smtp",
            Self::Webhook(_) => "webhook",
        }
    }

    /// Returns the names of the secrets that it needs.
    pub fn secrets(&self) -> Vec<&SecretName> {
        let settings: Vec<&Setting> = match self {
            Self::Teams { url } | Self::Slack { url } => vec![url],
            Self::Smtp(smtp) => smtp.password.iter().chain(&smtp.ca).collect(),
            Self::Webhook(webhook) => {
                let one = [&webhook.url].into_iter().chain(&webhook.secret);
                let one = one.chain(&webhook.ca);
                one.chain(webhook.headers.values()).collect()
            }
        };
        settings
            .into_iter()
            .filter_map(|setting| match setting {
                Setting::Secret(name) => Some(name),
                Setting::Plain(_) => None,
            })
            .collect()
    }
}

/// A value that is written down, or the name of the secret that has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// As it is.
    Plain(String),
    /// The secret's latest version.
    Secret(SecretName),
}

/// A mail server, and who writes to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Smtp {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept from others.
    pub tls: Tls,
    /// Who one is there.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Setting>,
    /// The sender's address.
    pub from: String,
    /// The receivers' addresses.
    pub to: Vec<String>,
    /// The certificates of an authority that is trusted beside those of the machine, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<Setting>,
}

/// How a connection to a mail server is kept from others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// It begins without TLS, which is demanded before anything is said (RFC 3207).
    #[default]
    Starttls,
    /// TLS from the first byte (RFC 8314).
    Implicit,
    /// Not at all.
    None,
}

/// A program of somebody's that takes messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Where.
    pub url: Setting,
    /// More headers.
    pub headers: BTreeMap<String, Setting>,
    /// What messages are signed with.
    pub secret: Option<Setting>,
    /// The certificates of an authority that is trusted beside those of the machine, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<Setting>,
}

/// One message, ready to be sent. No secret's value is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The same whenever the message is sent again, and of no other message.
    pub id: String,
    /// What kind of thing happened, as a dotted word.
    pub kind: String,
    /// How much it matters.
    pub severity: Severity,
    /// The app.
    pub app: AppName,
    /// The environment, where it is about one.
    pub environment: Option<EnvironmentId>,
    /// When it happened.
    pub at: Timestamp,
    /// Who did it.
    pub actor: String,
    /// What it happened to.
    pub subject: String,
    /// What happened, in one line.
    pub title: String,
    /// Why.
    pub reason: Option<String>,
    /// The release that it is about.
    pub release: Option<ReleaseNumber>,
    /// The commit of the release.
    pub commit: Option<String>,
    /// The service that it happened to.
    pub service: Option<String>,
    /// The last lines that the service, or the job of a run, wrote, newest last.
    pub log: Vec<String>,
    /// What to type next.
    pub next: Vec<String>,
    /// What else happened in the same matter meanwhile, oldest first.
    pub also: Vec<Also>,
    /// How often it happened again, since it was told first.
    pub repeated: Option<Repeated>,
    /// Since when what is well again was not.
    pub resolved_since: Option<Timestamp>,
    /// The whole of it as text for people.
    pub text: String,
}

/// Something else in the same matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Also {
    /// When.
    pub at: Timestamp,
    /// What, in one line.
    pub title: String,
}

/// How often something happened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeated {
    /// How often, the first time not counted.
    pub count: u32,
    /// When it was told first.
    pub since: Timestamp,
}

/// What is known of an event beyond its line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The release that it is about.
    pub release: Option<ReleaseNumber>,
    /// The commit of the release.
    pub commit: Option<String>,
    /// The service that it happened to.
    pub service: Option<String>,
    /// The last lines that the service, or the job of a run, wrote, newest last.
    pub log: Vec<String>,
    /// Whether a rollback was meant.
    pub rollback: bool,
}
