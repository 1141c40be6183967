//! The repositories of apps in the data directory, over the `git` program. Not who may push to them.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use async_trait::async_trait;
use towpath_model::id::AppName;
use towpath_model::port::{DataDirectory, PortError};
use towpath_model::repository::outside::{Remote, Wanted};
use towpath_model::repository::{Commit, CommitId, GitProgram, Objects, Repositories};

use crate::archive::Archive;
use crate::fetch;
use crate::git::{Answer, Git};

/// The most changed paths that are named: of more, any path filter may hold.
const CHANGED_PATHS_MAX: usize = 10_000;

/// The most characters of a commit's message that are kept.
const MESSAGE_CHARACTERS_MAX: usize = 4_000;

/// The attributes that win over those in commits: all that is committed is part of the source, and as
/// it is committed.
const ATTRIBUTES: &str = "* -export-ignore -export-subst\n";

/// The repositories in a data directory.
#[derive(Debug, Clone)]
pub struct GitRepositories {
    data: DataDirectory,
    program: GitProgram,
}

impl GitRepositories {
    /// Looks after the repositories in a data directory. Nothing is made yet.
    pub fn new(data: DataDirectory, program: GitProgram) -> Self {
        Self { data, program }
    }

    fn git(&self, app: &AppName) -> Git<'_> {
        Git::new(&self.program, self.data.repository(app))
    }
}

#[async_trait]
impl Repositories for GitRepositories {
    async fn exists(&self, app: &AppName) -> Result<bool, PortError> {
        let attributes = attributes(&self.data.repository(app));
        tokio::fs::try_exists(&attributes)
            .await
            .map_err(|error| failed("look for the repository", &error))
    }

    async fn prepare(&self, app: &AppName) -> Result<(), PortError> {
        if self.exists(app).await? {
            return Ok(());
        }
        let directory = self.data.repository(app);
        let cannot = |error: std::io::Error| failed("make the repository", &error);
        tokio::fs::create_dir_all(self.data.repositories())
            .await
            .map_err(cannot)?;
        let init = [
            "init",
            "--bare",
            "--quiet",
            "--template=",
            "--initial-branch=main",
        ];
        self.git(app).ask(&init).await?;
        // This file comes last: where it is, the repository is whole.
        let attributes = attributes(&directory);
        let coming = attributes.with_extension("new");
        if let Some(parent) = attributes.parent() {
            tokio::fs::create_dir_all(parent).await.map_err(cannot)?;
        }
        tokio::fs::write(&coming, ATTRIBUTES)
            .await
            .map_err(cannot)?;
        tokio::fs::rename(&coming, &attributes)
            .await
            .map_err(cannot)
    }

    async fn fetch(&self, app: &AppName, remote: &Remote, wanted: Wanted) -> Result<(), PortError> {
        fetch::fetch(&self.git(app), remote, wanted).await
    }

    async fn remove_reference(&self, app: &AppName, name: &str) -> Result<(), PortError> {
        let remove = ["update-ref", "-d", "--end-of-options", name];
        self.git(app).ask(&remove).await.map(drop)
    }

    async fn references(&self, app: &AppName) -> Result<BTreeMap<String, CommitId>, PortError> {
        let format = "--format=%(objectname) %(*objectname) %(refname)";
        let list = [
            "for-each-ref",
            format,
            "refs/heads",
            "refs/tags",
            "refs/towpath/pull",
        ];
        let said = self.git(app).ask(&list).await?;
        let said = String::from_utf8_lossy(&said);
        Ok(said.lines().filter_map(reference).collect())
    }

    async fn commit(
        &self,
        app: &AppName,
        id: &CommitId,
        objects: &Objects,
    ) -> Result<Commit, PortError> {
        let git = self.git(app).with(objects);
        let format = "--format=%H%x00%an <%ae>%x00%B";
        let log = [
            "log",
            "-1",
            "--encoding=UTF-8",
            format,
            "--end-of-options",
            id.as_str(),
        ];
        let said = match git.answer(&log).await? {
            Answer::Good(said) => said,
            Answer::Refused(_, complaint) => {
                let message = format!("`{}` is no commit: {complaint}", id.short());
                return Err(PortError::Refused(message));
            }
        };
        let said = String::from_utf8_lossy(&said);
        let mut parts = said.splitn(3, '\0');
        let id = parts.next().and_then(|id| id.parse().ok());
        let (Some(id), Some(author), Some(message)) = (id, parts.next(), parts.next()) else {
            let message = format!("`{said}` is no commit");
            return Err(PortError::Refused(message));
        };
        let message: String = message
            .trim()
            .chars()
            .take(MESSAGE_CHARACTERS_MAX)
            .collect();
        Ok(Commit {
            id,
            author: author.to_owned(),
            message,
        })
    }

    async fn submodules(
        &self,
        app: &AppName,
        id: &CommitId,
        directory: &str,
        objects: &Objects,
    ) -> Result<Vec<String>, PortError> {
        let git = self.git(app).with(objects);
        let list = ["ls-tree", "-r", "-z", &tree(id, directory)];
        let said = match git.answer(&list).await? {
            Answer::Good(said) => said,
            Answer::Refused(..) if !directory.is_empty() => {
                let message = format!("there is no directory `{directory}` in {}", id.short());
                return Err(PortError::Refused(message));
            }
            Answer::Refused(_, reason) => return Err(failed("git ls-tree", &reason)),
        };
        let said = String::from_utf8_lossy(&said);
        let found = said.split('\0').filter(|line| line.starts_with("160000 "));
        Ok(found
            .filter_map(|line| Some(line.split_once('\t')?.1.to_owned()))
            .collect())
    }

    fn archive(
        &self,
        app: &AppName,
        id: &CommitId,
        directory: &str,
        objects: &Objects,
    ) -> Result<Box<dyn Read + Send>, PortError> {
        let git = self.git(app).with(objects);
        let command = git.command(&["archive", "--format=tar", &tree(id, directory)]);
        let archive = Archive::open(command).map_err(|error| failed("git archive", &error))?;
        Ok(Box::new(archive))
    }

    async fn changed_paths(
        &self,
        app: &AppName,
        from: &CommitId,
        to: &CommitId,
    ) -> Result<Option<Vec<String>>, PortError> {
        let (from, to) = (from.as_str(), to.as_str());
        let diff = [
            "diff",
            "--name-only",
            "-z",
            "--no-renames",
            "--no-ext-diff",
            from,
            to,
            "--",
        ];
        let said = match self.git(app).answer(&diff).await? {
            Answer::Good(said) => said,
            Answer::Refused(..) => return Ok(None),
        };
        let said = String::from_utf8_lossy(&said);
        let paths: Vec<String> = said
            .split('\0')
            .filter(|path| !path.is_empty())
            .map(str::to_owned)
            .collect();
        Ok((paths.len() <= CHANGED_PATHS_MAX).then_some(paths))
    }

    async fn is_forward(
        &self,
        app: &AppName,
        old: &CommitId,
        new: &CommitId,
        objects: &Objects,
    ) -> Result<bool, PortError> {
        let git = self.git(app).with(objects);
        let question = ["merge-base", "--is-ancestor", old.as_str(), new.as_str()];
        match git.answer(&question).await? {
            Answer::Good(_) => Ok(true),
            Answer::Refused(1, _) => Ok(false),
            Answer::Refused(_, reason) => Err(failed("git merge-base", &reason)),
        }
    }
}

/// Returns where the attributes of a repository are that win over all others.
fn attributes(repository: &Path) -> std::path::PathBuf {
    repository.join("info/attributes")
}

/// Names a directory of a commit as Git does; the commit itself where it is all of it.
fn tree(id: &CommitId, directory: &str) -> String {
    match directory.trim_matches('/') {
        "" => id.to_string(),
        directory => format!("{id}:{directory}"),
    }
}

/// Reads one line of the list of references. What is behind a tag counts, where there is something.
fn reference(line: &str) -> Option<(String, CommitId)> {
    let (id, rest) = line.split_once(' ')?;
    let (behind, name) = rest.split_once(' ')?;
    let id = if behind.is_empty() { id } else { behind };
    Some((name.to_owned(), id.parse().ok()?))
}

fn failed(attempted: &str, reason: &impl std::fmt::Display) -> PortError {
    PortError::Failed {
        attempted: attempted.to_owned(),
        reason: reason.to_string(),
    }
}
