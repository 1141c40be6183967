//! Previews: environments that are like another one and go by themselves. What is known of one, whose
//! secrets it reads, how many there may be, when it goes. Not how environments are made and removed.

mod adapt;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::command::Change;
use crate::duration;
use crate::environment::Environment;
use crate::event::NewEvent;
use crate::id::{AppName, EnvironmentId, EnvironmentName, InvalidId, SecretName, ServiceName};
use crate::instance::after;
use crate::step::SYSTEM;

pub use adapt::{adapt, published_ports};

/// How many previews of an app there may be at once where nobody says it.
pub const LIMIT: u32 = 10;

/// How long a preview stays where nobody says it.
pub const TTL: Duration = Duration::from_hours(24 * 7);

/// The longest that one may stay: ten years, so that no time is beyond what can be counted.
const TTL_MAX: Duration = Duration::from_hours(24 * 3650);

/// How long before its end it is told of, where it stays for long enough.
const TOLD_BEFORE: Duration = Duration::from_hours(1);

/// What stands for the preview's name in a host name.
pub const NAME: &str = "{name}";

/// What stands for the service's name in a host name.
pub const SERVICE: &str = "{service}";

/// What the names of previews of pull requests begin with, before the number.
pub const OF_PULL_REQUESTS: &str = "pr-";

/// Names the preview of a pull request.
pub fn environment_of(number: u64) -> Result<EnvironmentName, InvalidId> {
    EnvironmentName::new(format!("{OF_PULL_REQUESTS}{number}"))
}

/// What the delivery file says of the previews that are like one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The host names, with [`NAME`] and [`SERVICE`] in them; those of the environment with the
    /// preview's name before them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// How many there may be at once.
    pub limit: u32,
    /// How long one stays.
    #[serde(with = "duration")]
    pub ttl: Duration,
    /// How many instances of services there are; 1 where nobody says it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scale: BTreeMap<ServiceName, u32>,
    /// The environment whose secrets they read, where the file says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets_from: Option<EnvironmentName>,
    /// Whether releases come to the environment behind approvals: then its secrets are lent to nobody
    /// who does not say so.
    #[serde(default)]
    pub is_guarded: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            domain: None,
            limit: LIMIT,
            ttl: TTL,
            scale: BTreeMap::new(),
            secrets_from: None,
            is_guarded: false,
        }
    }
}

impl Terms {
    /// Returns whose secrets a preview reads that is like an environment, when somebody asks for those
    /// of one in particular or nobody does. `None`: nobody's.
    pub fn lender(
        &self,
        like: &EnvironmentName,
        asked: Option<&EnvironmentName>,
    ) -> Option<EnvironmentName> {
        let own = (!self.is_guarded).then_some(like);
        asked.or(self.secrets_from.as_ref()).or(own).cloned()
    }

    /// Refuses one more preview of an app that has these.
    pub fn refuse_more(&self, app: &AppName, present: &[EnvironmentName]) -> Result<(), Refusal> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        if present.len() < limit {
            return Ok(());
        }
        let names: Vec<&str> = present.iter().map(EnvironmentName::as_str).collect();
        Err(Refusal::TooMany {
            app: app.clone(),
            limit: self.limit,
            present: names.join(", "),
        })
    }
}

/// A pull request that a preview is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfRequest {
    /// Its number at the forge.
    pub number: u64,
    /// The branch that it is from.
    pub from: String,
    /// Whether that branch is in another repository.
    #[serde(default)]
    pub is_fork: bool,
}

/// What makes an environment a preview.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// The environment that it is like.
    pub like: EnvironmentName,
    /// The environment whose secrets it reads, beside its own; nobody's when absent.
    pub secrets_from: Option<EnvironmentName>,
    /// The pull request that it goes with.
    pub request: Option<OfRequest>,
    /// What the delivery file said.
    pub terms: Terms,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// How long it stays, from the last time that somebody said so.
    #[serde(with = "duration")]
    pub ttl: Duration,
    /// When it goes, with its volumes.
    pub expires_at: Timestamp,
    /// Whether it was told that it goes soon.
    #[serde(default)]
    pub is_told: bool,
    /// Whether it is being removed because its time is over.
    #[serde(default)]
    pub has_expired: bool,
}

/// What is to be done of a preview at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing, until then.
    At(Timestamp),
    /// It is to be told that it goes soon.
    Tell,
    /// It is to be removed.
    Remove,
}

impl Preview {
    /// Says what is to be done at this moment.
    pub fn due(&self, now: Timestamp) -> Due {
        if now >= self.expires_at {
            return Due::Remove;
        }
        if self.is_told {
            return Due::At(self.expires_at);
        }
        let before = TOLD_BEFORE.min(self.ttl / 4);
        let told_at = self.expires_at.checked_sub(before);
        let told_at = told_at.unwrap_or(self.expires_at);
        if now >= told_at {
            return Due::Tell;
        }
        Due::At(told_at)
    }

    /// Has it go so long after this moment.
    fn stay(&mut self, ttl: Duration, now: Timestamp) {
        let ttl = ttl.min(TTL_MAX);
        self.ttl = ttl;
        self.expires_at = after(now, ttl);
        self.is_told = false;
    }

    /// Makes one that is not there yet.
    pub fn new(asked: Asked, terms: Terms, now: Timestamp) -> Self {
        let ttl = asked.ttl.unwrap_or(terms.ttl).min(TTL_MAX);
        let is_fork = asked.request.as_ref().is_some_and(|one| one.is_fork);
        let lender = terms.lender(&asked.like, asked.secrets_from.as_ref());
        Self {
            secrets_from: lender.filter(|_| !is_fork),
            like: asked.like,
            request: asked.request,
            terms,
            created_by: asked.actor,
            created_at: now,
            ttl,
            expires_at: after(now, ttl),
            is_told: false,
            has_expired: false,
        }
    }

    /// Says what it is, in a few words.
    pub fn words(&self) -> String {
        let of = match &self.request {
            Some(request) => format!(" of pull request {}", request.number),
            None => String::new(),
        };
        let Self {
            like, expires_at, ..
        } = self;
        format!("a preview{of} like {like}, until {expires_at:.0}, then it goes with its volumes")
    }
}

/// A preview that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The environment that it is to be like.
    pub like: EnvironmentName,
    /// How long it is to stay, where it is not as the delivery file says.
    pub ttl: Option<Duration>,
    /// The environment whose secrets it is to read, where it is not as the delivery file says.
    pub secrets_from: Option<EnvironmentName>,
    /// The pull request that it is of.
    pub request: Option<OfRequest>,
    /// Who asks.
    pub actor: String,
}

/// Why there is no preview, or why it is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is an environment of that name.
    #[error("`{0}` is there already")]
    Present(EnvironmentId),
    /// The name is not for previews.
    #[error("`{0}` cannot be the name of a preview: it is that of a job")]
    Name(EnvironmentName),
    /// Nothing was brought out that it could have.
    #[error(
        "nothing was ever brought out in `{0}`: a preview has the release that is stable there"
    )]
    NothingThere(EnvironmentId),
    /// What it is to be like is a preview.
    #[error("`{0}` is a preview itself: make one like `{1}`")]
    OfPreview(EnvironmentId, EnvironmentName),
    /// It is a preview, where an environment of the delivery file is wanted.
    #[error(
        "`{0}` is a preview, and an environment of the delivery file has its name: remove it first"
    )]
    IsPreview(EnvironmentId),
    /// There are too many.
    #[error(
        "`{app}` has as many previews as it may have ({limit}): {present}; remove one (`towpath env rm --volumes`), or raise `previews.limit`"
    )]
    TooMany {
        /// The app.
        app: AppName,
        /// How many there may be.
        limit: u32,
        /// Which there are.
        present: String,
    },
    /// It reads secrets that nobody lends it.
    #[error(
        "it reads {secrets}, and releases come to `{like}` behind approvals: say whose secrets it is to read with `--secrets-from`, or with `previews.secrets_from` in the delivery file"
    )]
    Guarded {
        /// The environment that it is like.
        like: EnvironmentName,
        /// The secrets.
        secrets: String,
    },
    /// It reads secrets, and is of a pull request from a fork.
    #[error("it reads {0}, and a pull request from a fork is given no secrets")]
    Fork(String),
    /// A service cannot be there twice.
    #[error(
        "service `{0}` has the machine's own network: a second one beside it would be in its way"
    )]
    HostNetwork(ServiceName),
    /// The environment is no preview.
    #[error("`{0}` is no preview: it does not go by itself")]
    NotPreview(EnvironmentId),
    /// It is being removed.
    #[error("the time of `{0}` is over: it is being removed")]
    Over(EnvironmentId),
    /// The time is over at once.
    #[error("a preview stays for a second at least")]
    NoTime,
}

impl Refusal {
    /// Tells whether it is what was asked for that cannot be, and not for the state of things.
    pub fn is_of_input(&self) -> bool {
        match self {
            Self::Name(_)
            | Self::OfPreview(..)
            | Self::Guarded { .. }
            | Self::Fork(_)
            | Self::HostNetwork(_)
            | Self::NoTime => true,
            Self::Present(_)
            | Self::NothingThere(_)
            | Self::IsPreview(_)
            | Self::TooMany { .. }
            | Self::NotPreview(_)
            | Self::Over(_) => false,
        }
    }

    /// Says that secrets are lent by nobody.
    pub fn unlent(preview: &Preview, secrets: &[&SecretName]) -> Self {
        let names: Vec<String> = secrets.iter().map(|name| format!("`{name}`")).collect();
        let secrets = names.join(", ");
        if preview.request.as_ref().is_some_and(|one| one.is_fork) {
            return Self::Fork(secrets);
        }
        let like = preview.like.clone();
        Self::Guarded { like, secrets }
    }
}

/// Refuses a time that is over at once.
pub fn check_ttl(ttl: Option<Duration>) -> Result<(), Refusal> {
    match ttl {
        Some(ttl) if ttl < Duration::from_secs(1) => Err(Refusal::NoTime),
        _ => Ok(()),
    }
}

impl Environment {
    /// Has a preview go so long after this moment, and no earlier time counts any more.
    pub fn extend(
        &mut self,
        ttl: Duration,
        actor: &str,
        at: Timestamp,
    ) -> Result<(Timestamp, Change), Refusal> {
        check_ttl(Some(ttl))?;
        let id = self.id.clone();
        let Some(preview) = &mut self.preview else {
            return Err(Refusal::NotPreview(id));
        };
        if preview.has_expired {
            return Err(Refusal::Over(id));
        }
        let before = preview.expires_at;
        preview.stay(ttl, at);
        let change = self.told_of_preview("environment.extended", actor, at, Some(before));
        let expires_at = self.preview.as_ref().map_or(at, |one| one.expires_at);
        Ok((expires_at, change))
    }

    /// Has the preview of a pull request stay on, for another push came to it.
    pub fn renew(&mut self, terms: &Terms, at: Timestamp) {
        if let Some(preview) = self.preview.as_mut().filter(|one| !one.has_expired) {
            let ttl = terms.ttl;
            preview.terms = terms.clone();
            // Somebody may have asked for more.
            if after(at, ttl) > preview.expires_at {
                preview.stay(ttl, at);
            }
        }
    }

    /// Notes that it was told that the preview goes soon. Nothing happens where that is not so.
    pub fn tell_end(&mut self, at: Timestamp) -> Change {
        let Some(preview) = self.preview.as_mut().filter(|one| one.due(at) == Due::Tell) else {
            return Change::default();
        };
        preview.is_told = true;
        self.told_of_preview("environment.expiring", SYSTEM, at, None)
    }

    /// Notes that the time of the preview is over. Returns whether it is.
    pub fn expire(&mut self, at: Timestamp) -> (bool, Change) {
        let preview = self.preview.as_mut();
        let Some(preview) = preview.filter(|one| one.due(at) == Due::Remove) else {
            return (false, Change::default());
        };
        if preview.has_expired {
            return (true, Change::default());
        }
        preview.has_expired = true;
        let change = self.told_of_preview("environment.expired", SYSTEM, at, None);
        (true, change)
    }

    fn told_of_preview(
        &self,
        what: &str,
        actor: &str,
        at: Timestamp,
        before: Option<Timestamp>,
    ) -> Change {
        let expires_at = self.preview.as_ref().map(|one| one.expires_at);
        let event = NewEvent {
            at,
            actor: actor.to_owned(),
            what: what.to_owned(),
            subject: self.id.to_string(),
            from: before.map(|before| before.to_string()),
            to: expires_at.map(|then| then.to_string()),
            reason: self.preview.as_ref().map(Preview::words),
        };
        Change {
            events: vec![event],
            finished: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
