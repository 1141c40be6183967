//! A disk that is full, and one that is read-only. A small file system is mounted where the
//! machine allows it; where it does not, the rule is tested with the database's own limit on its
//! size, beside the store.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::json;
use towpath_store::{Error, MasterKey, Store};

use crate::support::{Directory, event, production};

/// A file system of one megabyte, gone with the test.
struct Disk<'a>(&'a Directory);

impl<'a> Disk<'a> {
    /// Mounts it; `None` where that is not allowed.
    fn mount(directory: &'a Directory) -> Option<Self> {
        let mounted = run(
            "mount",
            &["-t", "tmpfs", "-o", "size=1m", "towpath"],
            directory,
        );
        mounted.then_some(Self(directory))
    }

    fn make_read_only(&self) {
        assert!(run("mount", &["-o", "remount,ro"], self.0));
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        run("umount", &["-l"], self.0);
    }
}

fn run(program: &str, arguments: &[&str], directory: &Directory) -> bool {
    Command::new(program)
        .args(arguments)
        .arg(directory.path())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_writes_go_on_when_there_is_room() {
    let directory = Directory::new();
    let Some(_disk) = Disk::mount(&directory) else {
        eprintln!("skipped: mounting a file system is not allowed here");
        return;
    };
    let store = directory.with_shop().await;
    let filler = directory.path().join("filler");
    fs::write(&filler, vec![1; 400_000]).unwrap();
    let document = json!("x".repeat(60_000));
    let mut version = 1;
    let error = loop {
        let commit = store
            .commit_environment(&production(), version, &document, &[], &[event("tick")])
            .await;
        match commit {
            Ok(next) => version = next,
            Err(error) => break error,
        }
        assert!(version < 1000, "the disk never fills");
    };
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    assert!(error.to_string().contains("make room"), "{error}");

    let loaded = store.load_environment(&production()).await.unwrap();
    assert_eq!(loaded.unwrap().version, version);
    fs::remove_file(&filler).unwrap();
    store
        .commit_environment(&production(), version, &json!(1), &[], &[event("tick")])
        .await
        .unwrap();
    drop(store);
    let store = directory.open().await;
    let verification = store.verify_events().await.unwrap();
    assert_eq!(
        (verification.count, verification.first_bad),
        (version + 1, None)
    );
}

#[tokio::test]
async fn a_disk_that_is_full_from_the_start_is_named() {
    let directory = Directory::new();
    let Some(_disk) = Disk::mount(&directory) else {
        eprintln!("skipped: mounting a file system is not allowed here");
        return;
    };
    let key = MasterKey::random().unwrap();
    let filler = directory.path().join("filler");
    fs::write(&filler, vec![1; 1 << 20]).unwrap();
    let error = Store::open(directory.path(), key.clone())
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    assert!(text.contains(directory.path().to_str().unwrap()), "{text}");
    fs::remove_file(&filler).unwrap();
    Store::open(directory.path(), key).await.unwrap();
}

#[tokio::test]
async fn a_read_only_disk_is_named() {
    let directory = Directory::new();
    let Some(disk) = Disk::mount(&directory) else {
        eprintln!("skipped: mounting a file system is not allowed here");
        return;
    };
    directory.with_shop().await.close().await;
    disk.make_read_only();
    let error = directory.try_open().await.unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }), "{error:?}");
}
