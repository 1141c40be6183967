//! Repositories elsewhere that an app follows: where, with whose rights, how often. Not what of them is
//! delivered ([`crate::pipeline::trigger`]).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;
use crate::pipeline::trigger::Follow;
use crate::workload::SecretValue;

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
}

impl Outside {
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
}

impl RepositorySecret {
    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Webhook => "webhook",
        }
    }
}

/// A text that names no secret of a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a repository has the secrets `credential` and `webhook`, not `{0}`")]
pub struct BadSecretName(String);

impl FromStr for RepositorySecret {
    type Err = BadSecretName;
    fn from_str(text: &str) -> Result<Self, BadSecretName> {
        let all = [Self::Credential, Self::Webhook];
        let named = all.into_iter().find(|one| one.as_str() == text);
        named.ok_or_else(|| BadSecretName(text.to_owned()))
    }
}

/// How a repository elsewhere is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP over TLS.
    Https,
    /// HTTP that everybody on the way can read.
    Http,
    /// SSH.
    Ssh,
    /// A directory of this machine.
    File,
}

/// Where a repository elsewhere is: `https://`, `http://`, `ssh://` or `file://`, or `user@host:path`.
/// There is no password in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RemoteUrl {
    text: String,
}

/// A text that is no address of a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BadUrl {
    reason: String,
}

impl RemoteUrl {
    /// Returns the address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns how it is reached.
    pub fn transport(&self) -> Transport {
        let starts = |scheme: &str| self.text.starts_with(scheme);
        if starts("https://") {
            Transport::Https
        } else if starts("http://") {
            Transport::Http
        } else if starts("file://") {
            Transport::File
        } else {
            Transport::Ssh
        }
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for RemoteUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let bad = |reason: &str| BadUrl {
            reason: reason.to_owned(),
        };
        let odd = |c: char| c.is_control() || c.is_whitespace();
        if text.is_empty() || text.len() > 2000 || text.starts_with('-') || text.contains(odd) {
            return Err(bad("an address has no spaces and does not begin with `-`"));
        }
        let (authority, path) = match text.split_once("://") {
            Some(("file", path)) if path.starts_with('/') => ("", path),
            Some(("https" | "http" | "ssh", rest)) => rest
                .split_once('/')
                .ok_or_else(|| bad("the address has no path: which repository of the host?"))?,
            Some((scheme, _)) => {
                let schemes = "use https://, http://, ssh:// or file:///, or user@host:path";
                return Err(bad(&format!("`{scheme}` is not spoken: {schemes}")));
            }
            None => text
                .split_once(':')
                .filter(|(host, _)| !host.contains('/'))
                .ok_or_else(|| {
                    bad("use https://, http://, ssh:// or file:///, or user@host:path")
                })?,
        };
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        if user.contains(':') || (!user.is_empty() && text.starts_with("http")) {
            return Err(bad(
                "no name and no password belongs into the address: set the secret `credential`",
            ));
        }
        let is_file = text.starts_with("file:");
        if host.starts_with('-') || user.starts_with('-') || (host.is_empty() && !is_file) {
            return Err(bad("the address has no host"));
        }
        if path.is_empty() || path.starts_with('-') {
            return Err(bad(
                "the address has no path: which repository of the host?",
            ));
        }
        Ok(Self {
            text: text.to_owned(),
        })
    }
}

impl TryFrom<String> for RemoteUrl {
    type Error = BadUrl;
    fn try_from(text: String) -> Result<Self, BadUrl> {
        text.parse()
    }
}

impl From<RemoteUrl> for String {
    fn from(url: RemoteUrl) -> Self {
        url.text
    }
}

/// What a fetch needs.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Where the repository is.
    pub url: RemoteUrl,
    /// What is shown to it.
    pub credential: Option<SecretValue>,
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

/// Returns the reference at which the head of a pull request is kept here. Clients do not see it.
pub fn pull_request_reference(number: u64) -> String {
    format!("refs/towpath/pull/{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_the_known_kinds_and_have_no_password() {
        for (good, transport) in [
            ("https://git.example.com/shop.git", Transport::Https),
            ("http://127.0.0.1:8000/git/shop", Transport::Http),
            ("ssh://git@git.example.com:2222/shop.git", Transport::Ssh),
            ("git@git.example.com:team/shop.git", Transport::Ssh),
            ("file:///srv/shop.git", Transport::File),
        ] {
            let url: RemoteUrl = good.parse().unwrap();
            assert_eq!(url.transport(), transport, "{good}");
        }
        for bad in [
            "",
            "shop",
            "/srv/shop.git",
            "file://shop",
            "ext::sh -c id",
            "ext://x/y",
            "git://git.example.com/shop",
            "--upload-pack=touch /tmp/x",
            "-oProxyCommand=x:y",
            "ssh://-oProxyCommand=x/y",
            "https://ada:password@git.example.com/shop",
            "https://token@git.example.com/shop",
            "https://git.example.com",
            "https:///shop",
            "git@host:-x",
            "https://git.example.com/a b",
        ] {
            assert!(bad.parse::<RemoteUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn failures_make_the_next_look_later_and_never_sooner() {
        let outside = |seconds| Outside {
            url: "https://git.example.com/shop".parse().unwrap(),
            every: Duration::from_secs(seconds),
        };
        let waits = |seconds| [0, 1, 2, 3, 40].map(|failures| outside(seconds).wait(failures));
        let seconds = |of: [Duration; 5]| of.map(|wait| wait.as_secs());
        assert_eq!(seconds(waits(10)), [10, 30, 60, 120, 3600]);
        assert_eq!(seconds(waits(7200)), [7200; 5]);
    }
}
