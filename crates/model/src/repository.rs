//! Git repositories as a port: the one that each app has in the data directory, what is in it, and
//! who may change what. Not how Git is run, which is the pipeline crate's, and no wire format.

pub mod outside;
pub mod status;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::id::AppName;
use crate::pipeline::Reference;
use crate::port::PortError;
use outside::{Remote, Wanted};

/// The longest name of a reference that is taken, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// The id of a Git object that is a commit: 40 hexadecimal characters, or 64 with SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId(String);

impl CommitId {
    /// Returns all hexadecimal characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first 10 characters, which is what people read.
    pub fn short(&self) -> &str {
        self.0.get(..10).unwrap_or(&self.0)
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no commit id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the id of a commit: write 40 or 64 lower-case hexadecimal characters")]
pub struct BadCommitId(pub String);

impl FromStr for CommitId {
    type Err = BadCommitId;
    fn from_str(text: &str) -> Result<Self, BadCommitId> {
        let hexadecimal = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if matches!(text.len(), 40 | 64) && text.bytes().all(hexadecimal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadCommitId(text.to_owned()))
        }
    }
}

impl TryFrom<String> for CommitId {
    type Error = BadCommitId;
    fn try_from(text: String) -> Result<Self, BadCommitId> {
        text.parse()
    }
}

impl From<CommitId> for String {
    fn from(id: CommitId) -> Self {
        id.0
    }
}

/// What is known of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its id. For a tag that is an object of its own, that of the commit behind it.
    pub id: CommitId,
    /// Who wrote it: a name and an address, as `Ada <ada@example.com>`.
    pub author: String,
    /// What the author says of it, cut to a few thousand characters.
    pub message: String,
}

/// Which objects of a repository are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objects {
    /// Those that it has.
    Kept,
    /// Those too that a push brings, and that are not taken yet: the name of the directory within
    /// `objects` in which Git keeps them apart.
    Incoming(String),
}

impl Objects {
    /// Accepts the name of a directory as Git makes them for a push, and nothing that leads elsewhere.
    pub fn incoming(name: &str) -> Option<Self> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        let made_by_git = name.starts_with("incoming-") || name.starts_with("tmp_objdir-incoming-");
        (made_by_git && name.bytes().all(plain)).then(|| Self::Incoming(name.to_owned()))
    }
}

/// What a push wants of one reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceUpdate {
    /// Its whole name, as `refs/heads/main`.
    pub name: String,
    /// The commit that it has; none when it is made.
    pub old: Option<CommitId>,
    /// The commit that it is to have; none when it is to be removed.
    pub new: Option<CommitId>,
}

impl ReferenceUpdate {
    /// Returns the branch or tag; `None` for another name, which is not taken.
    pub fn reference(&self) -> Option<Reference> {
        reference(&self.name)
    }
}

/// Returns the branch or tag of a reference's whole name.
pub fn reference(name: &str) -> Option<Reference> {
    if name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
        return None;
    }
    let some = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    if let Some(branch) = name.strip_prefix("refs/heads/") {
        return some(branch).map(Reference::Branch);
    }
    some(name.strip_prefix("refs/tags/")?).map(Reference::Tag)
}

/// The repositories of all apps.
///
/// A repository is bare, and one app's alone. What is asked of one that is not there fails.
#[async_trait]
pub trait Repositories: Send + Sync + fmt::Debug {
    /// Tells whether an app has a repository.
    async fn exists(&self, app: &AppName) -> Result<bool, PortError>;

    /// Makes the repository of an app when there is none, and sets it up as it has to be. A second
    /// call changes nothing.
    async fn prepare(&self, app: &AppName) -> Result<(), PortError>;

    /// Brings what a repository elsewhere has. Refused when that can never work; the reason names the
    /// repository, and no secret.
    async fn fetch(&self, app: &AppName, remote: &Remote, wanted: Wanted) -> Result<(), PortError>;

    /// Removes a reference. Nothing happens when it is not there.
    async fn remove_reference(&self, app: &AppName, name: &str) -> Result<(), PortError>;

    /// Returns all branches and tags by their whole names, each with its commit, and the heads of pull
    /// requests that were fetched.
    async fn references(&self, app: &AppName) -> Result<BTreeMap<String, CommitId>, PortError>;

    /// Returns what is known of a commit, or of the commit behind a tag. Refused when `id` is
    /// neither.
    async fn commit(
        &self,
        app: &AppName,
        id: &CommitId,
        objects: &Objects,
    ) -> Result<Commit, PortError>;

    /// Returns the paths below `directory` of a commit that are other repositories: Git's submodules.
    async fn submodules(
        &self,
        app: &AppName,
        id: &CommitId,
        directory: &str,
        objects: &Objects,
    ) -> Result<Vec<String>, PortError>;

    /// Opens the files of a commit, those below `directory` alone (all when it is empty), as a tar
    /// archive: every file that is committed, with its mode, symbolic links as such. Reading blocks,
    /// and ends in an error when not all of it could be read. Dropping the reader ends it.
    fn archive(
        &self,
        app: &AppName,
        id: &CommitId,
        directory: &str,
        objects: &Objects,
    ) -> Result<Box<dyn Read + Send>, PortError>;

    /// Returns the paths that differ between two commits, relative to the repository; `None` when they
    /// are very many, or one of the commits is not there any more.
    async fn changed_paths(
        &self,
        app: &AppName,
        from: &CommitId,
        to: &CommitId,
    ) -> Result<Option<Vec<String>>, PortError>;

    /// Tells whether `new` has all that `old` has: whether a branch may move from one to the other
    /// without losing commits.
    async fn is_forward(
        &self,
        app: &AppName,
        old: &CommitId,
        new: &CommitId,
        objects: &Objects,
    ) -> Result<bool, PortError>;
}

/// How Git is run: by which program, with which variables and no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitProgram {
    /// The program.
    pub program: String,
    /// Where programs are looked for, as in `PATH`.
    pub search_path: String,
}

impl Default for GitProgram {
    /// Returns `git` where Debian has it.
    fn default() -> Self {
        Self {
            program: "git".to_owned(),
            search_path: "/usr/local/bin:/usr/bin:/bin".to_owned(),
        }
    }
}

impl GitProgram {
    /// Returns all variables that Git is run with: nothing of the machine's or the user's
    /// configuration counts, nobody is asked for a password, and messages are in English.
    pub fn variables(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("PATH", self.search_path.clone()),
            // There is nothing in it, and Git wants one.
            ("HOME", "/nonexistent".to_owned()),
            ("LC_ALL", "C".to_owned()),
            ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
            ("GIT_CONFIG_GLOBAL", "/dev/null".to_owned()),
            ("GIT_ATTR_NOSYSTEM", "1".to_owned()),
            ("GIT_TERMINAL_PROMPT", "0".to_owned()),
            ("GIT_ASKPASS", "/bin/false".to_owned()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_id_is_hexadecimal_and_whole() {
        assert!("a".repeat(40).parse::<CommitId>().is_ok());
        assert!("0".repeat(64).parse::<CommitId>().is_ok());
        for bad in ["", "HEAD", "--all", &"A".repeat(40), &"a".repeat(41)] {
            assert!(bad.parse::<CommitId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_branches_and_tags_are_references() {
        let branch = Reference::Branch("feature/x".to_owned());
        assert_eq!(reference("refs/heads/feature/x"), Some(branch));
        let tag = Reference::Tag("v1".to_owned());
        assert_eq!(reference("refs/tags/v1"), Some(tag));
        let long = format!("refs/heads/{}", "x".repeat(300));
        for other in [
            "refs/heads/",
            "refs/notes/x",
            "HEAD",
            "refs/heads/a\nb",
            &long,
        ] {
            assert_eq!(reference(other), None, "{other}");
        }
    }

    #[test]
    fn the_place_of_what_comes_in_stays_within_the_repository() {
        assert!(Objects::incoming("tmp_objdir-incoming-Ab12xY").is_some());
        assert!(Objects::incoming("incoming-Ab12xY").is_some());
        for bad in ["", "..", "incoming-/../../x", "pack", "/etc", "incoming-."] {
            assert_eq!(Objects::incoming(bad), None, "{bad}");
        }
    }
}
