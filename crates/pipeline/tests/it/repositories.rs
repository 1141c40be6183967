//! What is in a repository, how it is read out, and what is fetched into it.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use towpath_model::id::AppName;
use towpath_model::port::{DataDirectory, PortError};
use towpath_model::repository::outside::{Forge, Remote, Wanted};
use towpath_model::repository::{CommitId, GitProgram, Objects, Repositories as _};
use towpath_pipeline::GitRepositories;

/// A repository elsewhere, and the one of an app.
struct Place {
    _directory: TempDir,
    origin: PathBuf,
    repositories: GitRepositories,
    app: AppName,
}

impl Place {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let origin = directory.path().join("origin");
        std::fs::create_dir(&origin).unwrap();
        let data = DataDirectory(directory.path().join("data"));
        let place = Self {
            _directory: directory,
            origin,
            repositories: GitRepositories::new(data, GitProgram::default()),
            app: "shop".parse().unwrap(),
        };
        place.git(&["init", "--quiet", "--initial-branch=main"]);
        place
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com"])
            .args(arguments)
            .current_dir(&self.origin)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn commit(&self, files: &[(&str, &str)]) -> CommitId {
        for (name, text) in files {
            let path = self.origin.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        self.git(&["add", "--all"]);
        self.git(&[
            "commit",
            "--quiet",
            "--allow-empty",
            "-m",
            "Message\n\nBody",
        ]);
        self.git(&["rev-parse", "HEAD"]).parse().unwrap()
    }

    fn remote(&self) -> Remote {
        Remote {
            url: format!("file://{}", self.origin.display()).parse().unwrap(),
            credential: None,
            authorities: None,
        }
    }

    async fn fetch(&self, wanted: Wanted) -> Result<(), PortError> {
        self.repositories.prepare(&self.app).await.unwrap();
        self.repositories
            .fetch(&self.app, &self.remote(), wanted)
            .await
    }

    /// Returns the paths in the archive of a commit's directory.
    fn archived(&self, commit: &CommitId, directory: &str) -> std::io::Result<Vec<String>> {
        let kept = Objects::Kept;
        let opened = self
            .repositories
            .archive(&self.app, commit, directory, &kept);
        let mut bytes = Vec::new();
        opened.unwrap().read_to_end(&mut bytes)?;
        let mut archive = tar::Archive::new(&*bytes);
        let entries = archive.entries()?.map(|entry| {
            let entry = entry.unwrap();
            let path: &Path = &entry.path().unwrap();
            path.to_str().unwrap().to_owned()
        });
        Ok(entries
            .filter(|path| !path.ends_with('/') && path != "pax_global_header")
            .collect())
    }
}

#[tokio::test]
async fn all_that_is_committed_comes_out_as_it_is_committed() {
    let place = Place::new();
    let commit = place.commit(&[
        (
            ".gitattributes",
            "tests export-ignore\nversion export-subst\n",
        ),
        ("tests/one", "1"),
        ("version", "$Format:%H$\n"),
        ("apps/shop/page", "x"),
    ]);
    place.fetch(Wanted::BranchesAndTags).await.unwrap();
    let all = place.archived(&commit, "").unwrap();
    assert_eq!(
        all,
        [".gitattributes", "apps/shop/page", "tests/one", "version"]
    );
    assert_eq!(place.archived(&commit, "apps/shop").unwrap(), ["page"]);
    let mut bytes = Vec::new();
    let kept = Objects::Kept;
    let opened = place.repositories.archive(&place.app, &commit, "", &kept);
    opened.unwrap().read_to_end(&mut bytes).unwrap();
    assert!(String::from_utf8_lossy(&bytes).contains("$Format:%H$"));
}

#[tokio::test]
async fn what_cannot_be_read_whole_is_an_error_and_no_empty_archive() {
    let place = Place::new();
    place.commit(&[("page", "x")]);
    place.fetch(Wanted::BranchesAndTags).await.unwrap();
    let missing: CommitId = "0123456789".repeat(4).parse().unwrap();
    let failed = place.archived(&missing, "").unwrap_err();
    assert!(failed.to_string().starts_with("git archive: "), "{failed}");
}

#[tokio::test]
async fn what_is_known_of_a_commit_is_read_and_a_tag_is_the_commit_behind_it() {
    let place = Place::new();
    let first = place.commit(&[("page", "1"), ("same", "1")]);
    place.git(&["tag", "--annotate", "-m", "First", "v1"]);
    let tag: CommitId = place.git(&["rev-parse", "v1"]).parse().unwrap();
    let second = place.commit(&[("page", "2")]);
    place.fetch(Wanted::BranchesAndTags).await.unwrap();
    let (repositories, app) = (&place.repositories, &place.app);
    let commit = repositories
        .commit(app, &tag, &Objects::Kept)
        .await
        .unwrap();
    assert_eq!(commit.id, first);
    assert_eq!(commit.author, "Ada <ada@example.com>");
    assert_eq!(commit.message, "Message\n\nBody");
    let references = repositories.references(app).await.unwrap();
    assert_eq!(references["refs/tags/v1"], first);
    assert_eq!(references["refs/heads/main"], second);

    let changed = repositories
        .changed_paths(app, &first, &second)
        .await
        .unwrap();
    assert_eq!(changed, Some(vec!["page".to_owned()]));
    let gone: CommitId = "0123456789".repeat(4).parse().unwrap();
    let unknown = repositories
        .changed_paths(app, &gone, &second)
        .await
        .unwrap();
    assert_eq!(
        unknown, None,
        "a commit that is gone says nothing of what changed"
    );
    let kept = Objects::Kept;
    assert!(
        repositories
            .is_forward(app, &first, &second, &kept)
            .await
            .unwrap()
    );
    assert!(
        !repositories
            .is_forward(app, &second, &first, &kept)
            .await
            .unwrap()
    );
    let blob: CommitId = place.git(&["rev-parse", "HEAD:page"]).parse().unwrap();
    let refused = repositories.commit(app, &blob, &kept).await.unwrap_err();
    assert!(matches!(refused, PortError::Refused(_)), "{refused:?}");
}

#[tokio::test]
async fn a_fetch_brings_what_is_there_and_takes_away_what_is_not_but_for_pull_requests() {
    let place = Place::new();
    let first = place.commit(&[("page", "1")]);
    place.git(&["branch", "feature"]);
    place.git(&["update-ref", "refs/pull/7/head", "HEAD"]);
    place.fetch(Wanted::BranchesAndTags).await.unwrap();
    place
        .fetch(Wanted::PullRequest(Forge::GitHub, 7))
        .await
        .unwrap();
    let names = async || {
        let references = place.repositories.references(&place.app).await.unwrap();
        assert!(references.values().all(|commit| *commit == first));
        references.into_keys().collect::<Vec<_>>()
    };
    let request = "refs/towpath/pull/7";
    assert_eq!(
        names().await,
        ["refs/heads/feature", "refs/heads/main", request]
    );
    place.git(&["branch", "--delete", "feature"]);
    place.fetch(Wanted::BranchesAndTags).await.unwrap();
    assert_eq!(names().await, ["refs/heads/main", request]);
    let (repositories, app) = (&place.repositories, &place.app);
    repositories.remove_reference(app, request).await.unwrap();
    repositories.remove_reference(app, request).await.unwrap();
    assert_eq!(names().await, ["refs/heads/main"]);
    let none = place
        .fetch(Wanted::PullRequest(Forge::BitbucketCloud, 7))
        .await;
    assert!(matches!(none, Err(PortError::Refused(_))), "{none:?}");
}

#[tokio::test]
async fn a_repository_that_cannot_be_fetched_from_is_named() {
    let place = Place::new();
    place.commit(&[("page", "1")]);
    place.fetch(Wanted::BranchesAndTags).await.unwrap();
    std::fs::remove_dir_all(place.origin.join(".git")).unwrap();
    let failed = place.fetch(Wanted::BranchesAndTags).await.unwrap_err();
    let url = place.remote().url.to_string();
    assert!(failed.to_string().contains(&url), "{failed}");
    let references = place.repositories.references(&place.app).await.unwrap();
    assert_eq!(references.len(), 1, "what was there stays");
}

#[tokio::test]
async fn submodules_are_found_below_the_directory_alone() {
    let place = Place::new();
    let first = place.commit(&[("apps/shop/page", "1")]);
    let module = format!("160000,{first},apps/other/module");
    place.git(&["update-index", "--add", "--cacheinfo", &module]);
    place.git(&["commit", "--quiet", "-m", "Module"]);
    let commit: CommitId = place.git(&["rev-parse", "HEAD"]).parse().unwrap();
    place.fetch(Wanted::BranchesAndTags).await.unwrap();
    let below = async |directory: &str| {
        let kept = Objects::Kept;
        let found = place
            .repositories
            .submodules(&place.app, &commit, directory, &kept);
        found.await
    };
    assert_eq!(below("").await.unwrap(), ["apps/other/module"]);
    assert_eq!(below("apps/shop").await.unwrap(), Vec::<String>::new());
    let missing = below("nowhere").await.unwrap_err();
    assert!(
        missing.to_string().contains("no directory `nowhere`"),
        "{missing}"
    );
}
