//! A data directory on a full disk: each command says so and exits with 1, what serves goes on, nothing
//! is lost, and all of it works again when there is room. The disk is a small file system in memory,
//! mounted as root or in a user namespace. Where neither is allowed the test fails, and says how to
//! leave it out.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::site::{Delivery, LONGEST, Site, assert_none_lost, production};

/// Set for the run of a test within a user namespace, where it may mount.
const WITHIN: &str = "TOWPATH_TEST_WITHIN_NAMESPACE";

/// Set by those whose machine allows no mount at all, and who know it.
const LEAVE_OUT: &str = "TOWPATH_TEST_WITHOUT_FULL_DISK";

/// A small file system, gone with the test.
pub(crate) struct Disk {
    directory: PathBuf,
}

impl Disk {
    /// Mounts one of so many megabytes; `None` where that is not allowed.
    pub(crate) fn mount(directory: &Path, megabytes: u32) -> Option<Self> {
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "towpath"])
            .arg(directory)
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Self {
            directory: directory.to_owned(),
        })
    }

    /// Takes all the room there is.
    pub(crate) fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        for size in [1 << 20, 4096, 1] {
            while filler.write_all(&vec![1; size]).is_ok() {}
        }
    }

    /// Takes so many megabytes of the room.
    pub(crate) fn take(&self, megabytes: u64) {
        let filler = File::create(self.filler()).unwrap();
        // A file of holes takes nothing.
        let flags = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(filler, flags, 0, megabytes << 20).unwrap();
    }

    /// Gives the room back.
    pub(crate) fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.directory.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount")
            .arg("-l")
            .arg(&self.directory)
            .status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

/// Mounts a disk as the data directory of a site. Where that is not allowed, has the test that is
/// named run where it is, and returns `None`.
#[expect(clippy::print_stdout, reason = "how a disk was made full is told")]
fn disk_for(site: &Site, megabytes: u32, test: &str) -> Option<Disk> {
    let disk = Disk::mount(&site.home(), megabytes);
    if disk.is_some() {
        let within = std::env::var_os(WITHIN).is_some();
        let how = if within {
            "in a user namespace"
        } else {
            "as root"
        };
        println!("the disk is a tmpfs, mounted {how}");
        return disk;
    }
    assert!(
        std::env::var_os(WITHIN).is_none(),
        "a user namespace that allows no mount"
    );
    if std::env::var_os(LEAVE_OUT).is_some() {
        println!("left out, as {LEAVE_OUT} says: no disk is full here");
        return None;
    }
    let again = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(WITHIN, "1")
        .status();
    assert!(
        again.is_ok_and(|status| status.success()),
        "neither root nor a user namespace may mount here, or the test failed in one: see above. On a \
         machine that allows neither, set {LEAVE_OUT}=1 to leave the full disk out"
    );
    None
}

/// Refuses an answer that does not say what is the matter.
fn assert_says_full(said: &str) {
    assert!(
        said.contains("no room") || said.contains("No space left"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_loses_nothing_and_everything_works_again_with_room() {
    let test = "full::a_disk_that_fills_up_loses_nothing_and_everything_works_again_with_room";
    let mut site = Site::new();
    let Some(disk) = disk_for(&site, 16, test) else {
        return;
    };
    site.put_launches(&Delivery::default());
    site.serve().await;
    let up = ["up", "--env", "production", "--json", "--wait", "bake"];
    site.run(&up).await.exited(0);

    disk.fill();
    let load = site.load();
    site.write_version("2", "none");
    let deploy = ["deploy", "production", "--wait", "bake"];
    let refused: [&[&str]; 4] = [
        &deploy,
        &["secret", "set", "production", "password"],
        &["scale", "production", "web=3"],
        &["env", "create", "launches/another"],
    ];
    for words in refused {
        let answer = site.run_with_input(words, b"hunter2").await.exited(1);
        assert_says_full(&answer.stderr);
        assert!(!answer.stderr.contains("hunter2"), "{}", answer.stderr);
    }
    let status = ["status", "production", "--json"];
    let full = site.run(&status).await.exited(0).json();
    assert_eq!(full["stable"], 1);
    assert_eq!(full["deployment"], Value::Null);

    // A control plane that dies now comes back, or says why not; the router and the app serve on.
    site.kill_control_plane().await;
    site.try_serve().await;
    while load.snapshot().sent < 200 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_none_lost(&load.stop().await, "while the disk is full");

    disk.make_room();
    site.serve_if_ended().await;
    let settled = site.run(&status).await.exited(0).json();
    assert_eq!(settled["stable"], 1, "{settled:#}");
    site.run(&deploy).await.exited(0);
    let environment = site
        .wait_for(&production(), "on release 2", |now| now.stable == Some(2))
        .await;
    assert!(environment.instances.len() >= 4, "{environment:#?}");
    let trail = site.run(&["events", "verify", "--json"]).await.exited(0);
    assert_eq!(trail.json()["intact"], true);
    site.run(&["down", "production"]).await.exited(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_from_the_start_is_named_at_once() {
    let test = "full::a_disk_that_is_full_from_the_start_is_named_at_once";
    let mut site = Site::new();
    let Some(disk) = disk_for(&site, 4, test) else {
        return;
    };
    site.put_launches(&Delivery::default());
    disk.fill();
    for words in [&["serve"][..], &["up", "--env", "production"]] {
        let began = tokio::time::Instant::now();
        let answer = site.run(words).await.exited(1);
        assert_says_full(&answer.stderr);
        assert!(answer.stderr.contains("home"), "{}", answer.stderr);
        assert!(began.elapsed() < LONGEST / 6, "{:?}", began.elapsed());
    }
    disk.make_room();
    let left: Vec<_> = std::fs::read_dir(site.home()).unwrap().flatten().collect();
    let is_key = |name: &str| name.starts_with("master.key");
    let keys = left
        .iter()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_key));
    assert_eq!(keys.count(), 0, "{left:?}");
    site.serve().await;
    assert!(site.client().server().await.is_ok());
}
