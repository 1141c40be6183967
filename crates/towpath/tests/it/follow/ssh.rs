//! A repository that is followed over SSH: a server of this machine, with keys of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::Scene;
use crate::site::{LONGEST, free_port};

/// A server for the user who runs the tests, until it is dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    async fn start(directory: &Path, port: u16, host_key: &Path, user_key: &Path) -> Self {
        if rustix::process::getuid().is_root() {
            // The server of a superuser wants an empty directory, which the service would make.
            drop(std::fs::create_dir("/run/sshd"));
        }
        let settings = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}.pub\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n",
            host_key.display(),
            user_key.display(),
        );
        let file = directory.join("sshd_config");
        std::fs::write(&file, settings).unwrap();
        let log = std::fs::File::create(directory.join("sshd.log")).unwrap();
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(&file)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + LONGEST;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            let said = std::fs::read_to_string(directory.join("sshd.log")).unwrap();
            assert!(
                Instant::now() < deadline,
                "the server does not answer: {said}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { child, port }
    }

    async fn stop(mut self) -> u16 {
        self.child.kill().await.unwrap();
        self.port
    }
}

async fn new_key(directory: &Path, name: &str) -> PathBuf {
    let file = directory.join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(&file)
        .output()
        .await
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_is_followed_over_ssh_until_its_host_shows_another_key() {
    let scene = Scene::new().await;
    let directory = scene.site.root().join("ssh");
    std::fs::create_dir(&directory).unwrap();
    let user_key = new_key(&directory, "user").await;
    let (first, second) = (
        new_key(&directory, "one").await,
        new_key(&directory, "two").await,
    );
    let server = Server::start(&directory, free_port(), &first, &user_key).await;
    let name = Command::new("id").arg("-un").output().await.unwrap();
    let name = String::from_utf8(name.stdout).unwrap();
    let path = scene.origin.display();
    let url = format!("ssh://{}@127.0.0.1:{}{path}", name.trim(), server.port);
    let set = ["repo", "set", "shop", &url, "--poll", "1h"];
    scene.site.run(&set).await.exited(0);
    let fetch = ["repo", "fetch", "shop"];
    let refused = scene.site.run(&fetch).await;
    assert_eq!(refused.code, 1, "nobody may without a key: {refused:?}");
    let secret = ["repo", "secret", "shop", "credential"];
    let key = std::fs::read(&user_key).unwrap();
    scene.site.run_with_input(&secret, &key).await.exited(0);
    scene.site.run(&fetch).await.exited(0);
    let head = scene.git(&["rev-parse", "HEAD"]).await;
    scene.wait_for("shop refs/heads/main", &head).await;

    // Somebody else stands where the host stood.
    let port = server.stop().await;
    let server = Server::start(&directory, port, &second, &user_key).await;
    scene.write("page", "two");
    scene.commit("Two").await;
    let refused = scene.site.run(&fetch).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    let shown = scene.site.run(&["repo", "show", "shop"]).await.exited(0);
    assert!(shown.stdout.contains("Host key for"), "{}", shown.stdout);
    assert!(shown.stdout.contains("has changed"), "{}", shown.stdout);
    assert_eq!(scene.moves().await.len(), 1, "nothing came from it");
    let left = std::fs::read_dir("/dev/shm").unwrap().flatten();
    let left = left.filter(|file| {
        let text = std::fs::read(file.path()).unwrap_or_default();
        text.windows(key.len()).any(|part| part == key)
    });
    assert_eq!(left.count(), 0, "the key is nowhere any more");
    server.stop().await;
}
