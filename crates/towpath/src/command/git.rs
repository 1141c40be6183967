//! What Git knows of a directory, asked of the `git` program where there is one. Not how pushes are
//! received.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::exit::{Failed, Failure};

/// Returns the commit that a directory is at, when nothing in it differs from the commit.
pub(crate) fn clean_head(directory: &Path) -> Option<String> {
    let status = git(directory, &["status", "--porcelain", "--", "."]).ok()?;
    let head = git(directory, &["rev-parse", "HEAD"]).ok()?;
    status.is_empty().then(|| head.trim().to_owned())
}

/// A commit's tree in a temporary directory.
#[derive(Debug)]
pub(crate) struct Checkout {
    directory: TempDir,
    below: PathBuf,
    commit: String,
}

impl Checkout {
    /// Returns where the tree is: for a directory within the repository, the same one in it.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join(&self.below)
    }

    /// Returns the commit.
    pub(crate) fn commit(&self) -> &str {
        &self.commit
    }
}

/// Writes the tree of a commit of the working directory's repository to a temporary directory.
pub(crate) fn check_out(revision: &str) -> Result<Checkout> {
    let here = std::env::current_dir().context("cannot find the working directory")?;
    check_out_of(&here, revision)
}

fn check_out_of(here: &Path, revision: &str) -> Result<Checkout> {
    let wanted = format!("{revision}^{{commit}}");
    let commit = git(
        here,
        &["rev-parse", "--verify", "--end-of-options", &wanted],
    )?;
    let commit = commit.trim().to_owned();
    let below = PathBuf::from(git(here, &["rev-parse", "--show-prefix"])?.trim());
    let root = PathBuf::from(git(here, &["rev-parse", "--show-toplevel"])?.trim());
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    // Compose names a project that has no name of its own for its directory.
    let name = PathBuf::from(root.file_name().unwrap_or("app".as_ref()));
    let tree = directory.path().join(&name);
    std::fs::create_dir(&tree).context("cannot make a temporary directory")?;
    let mut archive = Command::new("git")
        .current_dir(&root)
        .args(["archive", "--format=tar", &commit])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run git")?;
    let output = archive.stdout.take().context("git archive has no output")?;
    tar::Archive::new(output)
        .unpack(&tree)
        .context("cannot unpack the commit")?;
    let status = archive.wait().context("cannot wait for git")?;
    anyhow::ensure!(status.success(), "git archive {commit} failed");
    Ok(Checkout {
        directory,
        below: name.join(below),
        commit,
    })
}

fn git(directory: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .current_dir(directory)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("cannot run git")?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let message = format!("git {}: {}", arguments.join(" "), complaint.trim());
    Err(Failed::new(Failure::Input, message).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs Git in a directory as somebody in particular.
    fn as_ada(directory: &Path, arguments: &[&str]) -> String {
        let identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"];
        git(directory, &[&identity, arguments].concat()).unwrap()
    }

    #[test]
    fn a_commit_is_checked_out_as_it_was_in_a_directory_of_the_same_name() {
        let temporary = tempfile::tempdir().unwrap();
        let shop = temporary.path().join("shop");
        std::fs::create_dir_all(shop.join("web")).unwrap();
        as_ada(&shop, &["init", "--quiet"]);
        std::fs::write(shop.join("web/page"), "one").unwrap();
        as_ada(&shop, &["add", "."]);
        as_ada(&shop, &["commit", "--quiet", "-m", "one"]);
        std::fs::write(shop.join("web/page"), "two").unwrap();
        assert_eq!(clean_head(&shop), None);

        let head = as_ada(&shop, &["rev-parse", "HEAD"]);
        let whole = check_out_of(&shop, "HEAD").unwrap();
        assert_eq!(whole.commit(), head.trim());
        assert!(whole.path().ends_with("shop"));
        let below = check_out_of(&shop.join("web"), "HEAD").unwrap();
        assert!(below.path().ends_with("shop/web"));
        let page = std::fs::read_to_string(below.path().join("page")).unwrap();
        assert_eq!(page, "one");
        assert!(check_out_of(&shop, "nothing").is_err());
        assert!(check_out_of(&shop, "--all").is_err());
    }
}
