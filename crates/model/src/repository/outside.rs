//! Repositories elsewhere that an app follows: where, with whose rights, how often. Not what of them is
//! delivered ([`crate::pipeline::trigger`]).

mod address;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;
use crate::pipeline::trigger::Follow;
use crate::workload::SecretValue;

pub use address::{BadUrl, RemoteUrl, Transport, WebUrl};

/// How often a repository elsewhere is looked at where nobody says it.
pub const POLL_EVERY: Duration = Duration::from_mins(5);

/// The shortest time between two looks that is taken.
pub const POLL_EVERY_MIN: Duration = Duration::from_secs(10);

/// The first back-off after a fetch that failed.
const BACK_OFF_FIRST: Duration = Duration::from_secs(30);

/// The longest back-off, unless the repository is looked at less often anyway.
const BACK_OFF_MAX: Duration = Duration::from_hours(1);

/// What is set up for the repository of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositorySettings {
    /// The repository elsewhere that it follows; none when it is pushed to.
    pub outside: Option<Outside>,
    /// What of it is delivered.
    #[serde(default)]
    pub follow: Follow,
    /// The branches that never lose commits and are never removed.
    #[serde(default)]
    pub protected: Vec<String>,
}

/// A repository elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// Where it is.
    pub url: RemoteUrl,
    /// How often it is looked at.
    #[serde(with = "duration")]
    pub every: Duration,
    /// What it is served by, where its host does not say so.
    #[serde(default)]
    pub forge: Option<Forge>,
    /// The address of the forge itself, where that of the repository does not say it.
    #[serde(default)]
    pub web: Option<WebUrl>,
    /// Where people read more of a run, with `{app}`, `{run}` and `{commit}` in it.
    #[serde(default)]
    pub link: Option<WebUrl>,
}

impl Outside {
    /// Returns what it is served by, where that is known.
    pub fn forge(&self) -> Option<Forge> {
        self.forge.or_else(|| Forge::of(&self.url))
    }

    /// Returns how long to wait until the next look, after so many failures in a row: longer with each,
    /// never shorter than without any.
    pub fn wait(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else {
            return self.every;
        };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let back_off = BACK_OFF_FIRST.saturating_mul(factor).min(BACK_OFF_MAX);
        back_off.max(self.every)
    }
}

/// Which part of a repository's secrets is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepositorySecret {
    /// What Git shows the repository elsewhere: a token or password, or a private key for SSH.
    Credential,
    /// What the forge signs its webhooks with.
    Webhook,
    /// The token with which the forge is told the statuses of commits; the credential where there is none.
    Status,
    /// The certificates of authorities that are trusted beside those of the machine, as PEM: by fetches over
    /// HTTPS, and when the forge is told statuses. Nothing secret, but it goes the same way.
    Authorities,
}

impl RepositorySecret {
    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Webhook => "webhook",
            Self::Status => "status",
            Self::Authorities => "ca",
        }
    }

    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Credential,
        Self::Webhook,
        Self::Status,
        Self::Authorities,
    ];
}

/// A text that names no secret of a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a repository has the secrets `credential`, `webhook`, `status` and `ca`, not `{0}`")]
pub struct BadSecretName(String);

impl FromStr for RepositorySecret {
    type Err = BadSecretName;
    fn from_str(text: &str) -> Result<Self, BadSecretName> {
        let named = Self::ALL.into_iter().find(|one| one.as_str() == text);
        named.ok_or_else(|| BadSecretName(text.to_owned()))
    }
}

/// Returns how many certificates there are in what should be PEM (RFC 7468 section 5).
pub fn certificates(pem: &SecretValue) -> usize {
    let text = String::from_utf8_lossy(pem.expose());
    text.matches("-----BEGIN CERTIFICATE-----").count()
}

/// What a fetch needs.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Where the repository is.
    pub url: RemoteUrl,
    /// What is shown to it.
    pub credential: Option<SecretValue>,
    /// Which authorities are trusted beside those of the machine, as PEM.
    pub authorities: Option<SecretValue>,
}

/// What is fetched of a repository elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All branches and tags; those that are gone go here too.
    BranchesAndTags,
    /// The head of a pull request.
    PullRequest(Forge, u64),
}

/// The program that a repository elsewhere is served by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forge {
    /// GitHub.
    GitHub,
    /// GitLab.
    GitLab,
    /// Bitbucket Cloud.
    BitbucketCloud,
    /// Bitbucket Data Center.
    BitbucketDataCenter,
    /// Gitea or Forgejo.
    Gitea,
}

impl Forge {
    /// Returns the forge that is behind an address, where its host says so.
    pub fn of(url: &RemoteUrl) -> Option<Self> {
        match url.host()? {
            "github.com" => Some(Self::GitHub),
            "gitlab.com" => Some(Self::GitLab),
            "bitbucket.org" => Some(Self::BitbucketCloud),
            "codeberg.org" | "gitea.com" => Some(Self::Gitea),
            _ => None,
        }
    }

    /// Returns the reference at which the forge has the head of a pull request; `None` where it has
    /// none.
    pub fn head(self, number: u64) -> Option<String> {
        match self {
            Self::GitHub | Self::Gitea => Some(format!("refs/pull/{number}/head")),
            Self::GitLab => Some(format!("refs/merge-requests/{number}/head")),
            Self::BitbucketDataCenter => Some(format!("refs/pull-requests/{number}/from")),
            Self::BitbucketCloud => None,
        }
    }
}

impl FromStr for Forge {
    type Err = BadForge;
    fn from_str(text: &str) -> Result<Self, BadForge> {
        match text {
            "github" => Ok(Self::GitHub),
            "gitlab" => Ok(Self::GitLab),
            "bitbucket-cloud" => Ok(Self::BitbucketCloud),
            "bitbucket-data-center" => Ok(Self::BitbucketDataCenter),
            "gitea" | "forgejo" => Ok(Self::Gitea),
            _ => Err(BadForge(text.to_owned())),
        }
    }
}

/// A text that names no forge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no forge that is known: use github, gitlab, bitbucket-cloud, bitbucket-data-center, gitea or forgejo"
)]
pub struct BadForge(String);

impl fmt::Display for Forge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::BitbucketCloud => "bitbucket-cloud",
            Self::BitbucketDataCenter => "bitbucket-data-center",
            Self::Gitea => "gitea",
        })
    }
}

/// Returns the reference at which the head of a pull request is kept here. Clients do not see it.
pub fn pull_request_reference(number: u64) -> String {
    format!("refs/towpath/pull/{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_make_the_next_look_later_and_never_sooner() {
        let outside = |seconds| Outside {
            url: "https://git.example.com/shop".parse().unwrap(),
            every: Duration::from_secs(seconds),
            forge: None,
            web: None,
            link: None,
        };
        let waits = |seconds| [0, 1, 2, 3, 40].map(|failures| outside(seconds).wait(failures));
        let seconds = |of: [Duration; 5]| of.map(|wait| wait.as_secs());
        assert_eq!(seconds(waits(10)), [10, 30, 60, 120, 3600]);
        assert_eq!(seconds(waits(7200)), [7200; 5]);
    }
}
