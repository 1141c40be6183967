//! Images of a registry that asks who one is: Debian's docker-registry, with a password.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::query_parameters::{
    PushImageOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder,
};
use futures_util::StreamExt as _;
use tokio::process::{Child, Command};
use towpath_model::observation::ArtifactState;
use towpath_model::port::Engine as _;

use super::daemon::IMAGE;
use super::support::{FIRST, PATIENCE, World, built, inline, pulled, spec};

/// The user, a password that needs every letter of base64, and what `htpasswd -B` makes of it.
const USER: &str = "me";
const PASSWORD: &str = "p>>>???~~~w";
const HASH: &str = "$2b$05$oQ1tpWxMIFgWzd7rDPOSmOgs/mXcBBGEM3xu5mnsQ22I74C5AjslO";

struct Registry {
    host: String,
    directory: tempfile::TempDir,
    _process: Child,
}

impl Registry {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let host = format!("127.0.0.1:{port}");
        let path = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(path("passwords"), format!("{USER}:{HASH}\n")).unwrap();
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '{host}'}}\nauth: {{htpasswd: {{realm: test, path: {}}}}}\n",
            path("data"),
            path("passwords")
        );
        std::fs::write(path("config.yml"), config).unwrap();
        let process = Command::new("docker-registry")
            .args(["serve", &path("config.yml")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("Debian's docker-registry is installed");
        let answers = async {
            while tokio::net::TcpStream::connect(&host).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, answers)
            .await
            .expect("the registry does not start");
        Self {
            host,
            directory,
            _process: process,
        }
    }

    fn reference(&self) -> String {
        format!("{}/box:1", self.host)
    }

    /// Puts the tests' image into the registry, and takes it off the machine.
    async fn fill(&self, docker: &Docker) {
        let repository = format!("{}/box", self.host);
        let tag = TagImageOptionsBuilder::default()
            .repo(&repository)
            .tag("1")
            .build();
        docker.tag_image(IMAGE, Some(tag)).await.unwrap();
        let credentials = DockerCredentials {
            username: Some(USER.to_owned()),
            password: Some(PASSWORD.to_owned()),
            ..DockerCredentials::default()
        };
        let docker = docker.clone().with_request_modifier(|mut request| {
            if let Some(value) = request.headers_mut().get_mut("x-registry-auth") {
                let text = value.to_str().unwrap().replace('+', "-").replace('/', "_");
                *value = text.parse().unwrap();
            }
            request
        });
        let options = PushImageOptionsBuilder::default().tag("1").build();
        let mut steps = docker.push_image(&repository, Some(options), Some(credentials));
        while let Some(step) = steps.next().await {
            step.unwrap();
        }
        self.forget(&docker).await;
    }

    async fn forget(&self, docker: &Docker) {
        let options = RemoveImageOptionsBuilder::default().build();
        docker
            .remove_image(&self.reference(), Some(options), None)
            .await
            .ok();
    }

    /// Writes what `docker login` does, and returns where.
    fn login(&self, password: &str) -> &Path {
        let auth = STANDARD.encode(format!("{USER}:{password}"));
        let host = &self.host;
        let config = format!(r#"{{"auths": {{"{host}": {{"auth": "{auth}"}}}}}}"#);
        std::fs::write(self.directory.path().join("config.json"), config).unwrap();
        self.directory.path()
    }
}

fn reason(state: ArtifactState) -> String {
    match state {
        ArtifactState::Failed { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_image_is_pulled_as_who_docker_login_says_one_is() {
    let registry = Registry::start().await;
    let world = World::without_release().await;
    registry.fill(&world.docker).await;
    let login = registry.login(PASSWORD).to_owned();
    let world = world.reopen_with(|config| config.credentials = Some(login));
    let state = world.prepare(FIRST, pulled(&registry.reference())).await;
    assert_eq!(state, ArtifactState::Ready);
    // Whatever becomes of the name, the release has its image.
    registry.forget(&world.docker).await;
    let id = world.start(1, spec("echo it runs")).await;
    assert_eq!(world.until_exited(&id).await.log_tail, ["it runs"]);
}

#[tokio::test]
async fn a_base_image_is_pulled_as_who_docker_login_says_one_is() {
    let registry = Registry::start().await;
    let world = World::without_release().await;
    registry.fill(&world.docker).await;
    let recipe = || {
        built(inline(&format!(
            "FROM {}\nRUN true\n",
            registry.reference()
        )))
    };
    let reason = reason(world.prepare(FIRST, recipe()).await);
    assert!(
        reason.contains(&registry.host) && reason.contains("docker login"),
        "{reason}"
    );
    let login = registry.login(PASSWORD).to_owned();
    let world = world.reopen_with(|config| config.credentials = Some(login));
    let state = world.prepare(FIRST, recipe()).await;
    assert_eq!(state, ArtifactState::Ready);
}

#[tokio::test]
async fn a_registry_that_refuses_is_named_with_what_to_do() {
    let registry = Registry::start().await;
    let world = World::without_release().await;
    registry.fill(&world.docker).await;
    let login = registry.login("wrong").to_owned();
    let world = world.reopen_with(|config| config.credentials = Some(login));
    let reason = reason(world.prepare(FIRST, pulled(&registry.reference())).await);
    let advice = format!("docker login {}", registry.host);
    assert!(
        reason.contains(&registry.reference()) && reason.contains(&advice),
        "{reason}"
    );
    assert!(!reason.contains("wrong"), "{reason}");
}

#[tokio::test]
async fn a_registry_that_is_away_fails_the_release_within_bounds_and_can_be_tried_again() {
    let registry = Registry::start().await;
    let world = World::without_release().await;
    registry.fill(&world.docker).await;
    let login = registry.login(PASSWORD).to_owned();
    let world = world.reopen_with(|config| config.credentials = Some(login));
    let nobody = "127.0.0.1:1/box:1";
    let reason = reason(world.prepare(FIRST, pulled(nobody)).await);
    assert!(
        reason.contains(nobody) && reason.contains("refused"),
        "{reason}"
    );
    let state = world.prepare(FIRST, pulled(&registry.reference())).await;
    assert_eq!(state, ArtifactState::Ready);
    // It was pulled for this release only: it goes with it.
    world
        .docker
        .inspect_image(&registry.reference())
        .await
        .unwrap();
    let kept = world.engine.keep_artifacts(&world.environment, &[]).await;
    kept.unwrap();
    let found = world.docker.inspect_image(&registry.reference()).await;
    assert!(found.is_err());
}
