//! Releases of a commit, and of an earlier release: whatever the working tree is at.

use crate::git::{commit, git};
use crate::site::{Delivery, Site, production};

/// Returns the version that the stable release of production has.
async fn served(site: &Site) -> String {
    let load = site.load();
    while load.snapshot().by_version.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let counts = load.stop().await;
    counts.by_version.into_keys().next().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_or_an_earlier_release_is_brought_out_whatever_the_working_tree_has() {
    let site = Site::with_launches(&Delivery::default()).await;
    let app = site.root().join("app");
    git(&app, &["init", "--quiet"]).await.exited(0);
    let first = commit(&app, "one").await;
    let up = ["up", "--env", "production", "--json", "--wait", "bake"];
    site.run(&up).await.exited(0);
    site.write_version("2", "none");
    let second = commit(&app, "two").await;
    site.write_version("3-never-committed", "crash-at-start");

    let deploy = |what: &'static [&'static str]| {
        let words = ["deploy", "production", "--wait", "bake"];
        [&words[..], what].concat()
    };
    site.run(&deploy(&["--commit", "HEAD"])).await.exited(0);
    assert_eq!(served(&site).await, "2");
    site.run(&deploy(&["--commit", "HEAD~1"])).await.exited(0);
    assert_eq!(served(&site).await, "1");
    site.run(&deploy(&["--release", "2"])).await.exited(0);
    assert_eq!(served(&site).await, "2");

    let environment = site.client().environment(&production()).await.unwrap();
    assert_eq!(environment.stable, Some(2));
    let releases = site.run(&["releases", "--json"]).await.exited(0).json();
    let commit_of = |number: u64| {
        let mut all = releases.as_array().unwrap().iter();
        all.find(|one| one["number"] == number).unwrap()["commit"].clone()
    };
    assert_eq!(commit_of(1), first.as_str(), "the tree was clean");
    assert_eq!(commit_of(2), second.as_str());
    assert_eq!(commit_of(3), first.as_str());

    let unknown = site.run(&deploy(&["--release", "99"])).await.exited(3);
    assert!(unknown.stderr.contains("release 99"), "{}", unknown.stderr);
    let unknown = site.run(&deploy(&["--commit", "nonsense"])).await.exited(2);
    assert!(unknown.stderr.contains("nonsense"), "{}", unknown.stderr);
    let both = deploy(&["--commit", "HEAD", "--release", "1"]);
    site.run(&both).await.exited(2);
}
