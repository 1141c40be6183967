//! Images that BuildKit builds: secrets, caches, and how a build fails. What of it this Docker's own
//! frontend knows, which is BuildKit 0.8's: no other can be pulled here.

use futures_util::StreamExt as _;
use towpath_model::container::{BuildSecret, ImageBuild, NamedContext};
use towpath_model::id::{Digest, ReleaseNumber, SecretName, SecretVersion};
use towpath_model::observation::ArtifactState;
use towpath_model::port::Engine as _;

use super::daemon::IMAGE;
use super::support::{FIRST, World, built, failure, inline, spec};
use crate::support::eventually;

const VALUE: &str = "s3cr3t-of-the-build-4711";

fn secret(id: &str, name: &str, version: u32) -> BuildSecret {
    BuildSecret {
        id: id.to_owned(),
        secret: SecretName::new(name).unwrap(),
        version: Some(SecretVersion(version)),
    }
}

fn with_secret(text: &str) -> ImageBuild {
    ImageBuild {
        secrets: vec![secret("token", "npm", 1)],
        ..inline(text)
    }
}

#[tokio::test]
async fn a_step_reads_a_secret_which_the_image_and_the_disk_do_not_have() {
    let world = World::without_release().await;
    let recipe = with_secret(&format!(
        "FROM {IMAGE}\nRUN --mount=type=secret,id=token wc -c < /run/secrets/token > /length\n"
    ));
    let state = world
        .prepare_with(FIRST, built(recipe), &[("npm", VALUE)])
        .await;
    assert_eq!(state, ArtifactState::Ready);
    let id = world
        .start(1, spec("cat /length; ls /run/secrets 2>/dev/null"))
        .await;
    let said = world.until_exited(&id).await.log_tail;
    assert_eq!(said.first(), Some(&VALUE.len().to_string()), "{said:?}");
    assert_eq!(said.len(), 1, "{said:?}");
    let tag = world.tag(FIRST);
    let history = world.docker.image_history(&tag).await.unwrap();
    assert!(!format!("{history:?}").contains(VALUE));
    let mut image = Vec::new();
    let mut pieces = world.docker.export_image(&tag);
    while let Some(piece) = pieces.next().await {
        image.extend_from_slice(&piece.unwrap());
    }
    assert!(image.len() > 1 << 20 && !has(&image, VALUE));
    for file in files(world.path()) {
        let content = std::fs::read(&file).unwrap();
        assert!(!has(&content, VALUE), "{}", file.display());
    }
}

#[tokio::test]
async fn a_step_that_prints_a_secret_and_fails_does_not_give_it_away() {
    let world = World::without_release().await;
    let recipe = with_secret(&format!(
        "FROM {IMAGE}\nRUN --mount=type=secret,id=token echo it is $(cat /run/secrets/token); exit 3\n"
    ));
    let state = world
        .prepare_with(FIRST, built(recipe), &[("npm", VALUE)])
        .await;
    let (reason, log_tail) = failure(state);
    assert!(reason.contains("`web`") && reason.contains('3'), "{reason}");
    assert!(
        log_tail.iter().any(|line| line == "it is ***"),
        "{log_tail:?}"
    );
    assert!(!format!("{reason}{log_tail:?}").contains(VALUE));
}

#[tokio::test]
async fn a_secret_that_the_recipe_does_not_name_is_named() {
    let world = World::without_release().await;
    let recipe = with_secret(&format!(
        "FROM {IMAGE}\nRUN --mount=type=secret,id=other,required cat /run/secrets/other\n"
    ));
    let state = world
        .prepare_with(FIRST, built(recipe), &[("npm", VALUE)])
        .await;
    let (reason, _) = failure(state);
    assert!(reason.contains("other"), "{reason}");
}

#[tokio::test]
async fn a_cache_mount_is_there_at_the_next_build() {
    let world = World::without_release().await;
    let cache = format!("--mount=type=cache,target=/c,id={}", world.environment.app);
    let first = inline(&format!("FROM {IMAGE}\nRUN {cache} echo kept > /c/it\n"));
    let state = world.prepare(FIRST, built(first)).await;
    assert_eq!(state, ArtifactState::Ready);
    let second = inline(&format!("FROM {IMAGE}\nRUN {cache} cp /c/it /it\n"));
    // A start takes the first release's images: this build has to succeed.
    let state = world.prepare(ReleaseNumber(2), built(second)).await;
    assert_eq!(state, ArtifactState::Ready);
}

#[tokio::test]
async fn a_dockerfile_may_have_rules_of_its_own_for_what_is_ignored() {
    let world = World::without_release().await;
    let dockerfile = format!("FROM {IMAGE}\nCOPY . /app\nRUN ls -A /app > /list\n");
    let source = world.source(&[
        ("docker/web", &dockerfile),
        ("docker/web.dockerignore", "b\ndocker\n"),
        (".dockerignore", "a\n"),
        ("a", ""),
        ("b", ""),
    ]);
    let recipe = ImageBuild {
        context: ".".to_owned(),
        dockerfile: Some("docker/web".to_owned()),
        ..ImageBuild::default()
    };
    let state = world.prepare_from(FIRST, built(recipe), Some(source)).await;
    assert_eq!(state, ArtifactState::Ready);
    let id = world.start(1, spec("cat /list")).await;
    let said = world.until_exited(&id).await.log_tail;
    assert_eq!(said, [".dockerignore", "a"]);
}

#[tokio::test]
async fn a_dockerfile_copies_from_directories_and_images_by_their_names() {
    let world = World::without_release().await;
    let dockerfile = format!(
        "ARG BASE={IMAGE}\nFROM ${{BASE}}\nCOPY --from=files /one /\nCOPY --from=files in /in\n\
         COPY --from=other /bin/busybox /other\nCOPY . /app\nRUN ls -A /app /in > /list\n"
    );
    let source = world.source(&[
        ("web/Dockerfile", &dockerfile),
        ("assets/one", "of the directory"),
        ("assets/in/two", ""),
        ("assets/not", ""),
        ("assets/.dockerignore", "not\n"),
    ]);
    let contexts = [
        ("files", NamedContext::Directory("assets".to_owned())),
        ("other", NamedContext::Image(IMAGE.to_owned())),
    ];
    let recipe = ImageBuild {
        context: "web".to_owned(),
        contexts: contexts.map(|(name, what)| (name.to_owned(), what)).into(),
        ..ImageBuild::default()
    };
    let missing = ImageBuild {
        contexts: [("files".to_owned(), NamedContext::Directory("no".to_owned()))].into(),
        ..recipe.clone()
    };
    let state = world.prepare_from(FIRST, built(recipe), Some(source.clone()));
    assert_eq!(state.await, ArtifactState::Ready);
    let id = world
        .start(1, spec("cat /one; echo; cat /list; test -s /other"))
        .await;
    let exit = world.until_exited(&id).await;
    let said = ["of the directory", "/app:", "Dockerfile", "", "/in:", "two"];
    assert_eq!(
        (exit.log_tail, exit.code),
        (said.map(str::to_owned).to_vec(), Some(0))
    );
    let helper = format!("{}-files", world.tag(FIRST));
    assert!(world.docker.inspect_image(&helper).await.is_err());

    let second = ReleaseNumber(2);
    let state = world
        .prepare_from(second, built(missing), Some(source))
        .await;
    let (reason, _) = failure(state);
    assert!(reason.contains("context `files`"), "{reason}");
}

#[tokio::test]
async fn the_context_arrives_as_it_is_without_what_is_ignored() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let world = World::without_release().await;
    let mut big = String::new();
    for number in 0..200_000 {
        big.push_str(&format!("{number} "));
    }
    let dockerfile = format!(
        "FROM {IMAGE}\nCOPY . /app\nRUN cd /app && find . | sort > /list && /app/run > /ran && \
         readlink link > /link && sha256sum big | cut -c 1-64 > /sum && touch -d '1980-01-01' /t && \
         find . ! -newer /t -type f > /old\n"
    );
    let source = world.source(&[
        ("Dockerfile", &dockerfile),
        (
            ".dockerignore",
            "Dockerfile\n.dockerignore\nout/*\n!out/kept\n",
        ),
        ("run", "#!/bin/sh\necho it runs\n"),
        ("big", &big),
        ("empty", ""),
        ("out/kept", ""),
        ("out/left", ""),
        ("b/a", ""),
        ("b.c", ""),
        ("b-c/d e", ""),
    ]);
    let tree = world.data().source(&source);
    std::fs::set_permissions(tree.join("run"), std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink("b/a", tree.join("link")).unwrap();
    std::fs::create_dir(tree.join("hollow")).unwrap();
    let old = std::fs::File::open(tree.join("empty")).unwrap();
    old.set_modified(std::time::UNIX_EPOCH).unwrap();
    let recipe = ImageBuild {
        context: ".".to_owned(),
        ..ImageBuild::default()
    };
    let state = world.prepare_from(FIRST, built(recipe), Some(source)).await;
    assert_eq!(state, ArtifactState::Ready);
    let line = "cat /list /ran /link /sum /old";
    let id = world.start(1, spec(line)).await;
    let said = world.until_exited(&id).await.log_tail;
    let sum = Digest::of(big.as_bytes());
    let expected = [
        ".",
        "./b",
        "./b-c",
        "./b-c/d e",
        "./b.c",
        "./b/a",
        "./big",
        "./empty",
        "./hollow",
        "./link",
        "./out",
        "./out/kept",
        "./run",
        "it runs",
        "b/a",
        sum.as_str().trim_start_matches("sha256:"),
    ];
    assert_eq!(said, expected);
}

#[tokio::test]
async fn what_was_sent_before_is_not_taken_for_what_is_sent() {
    let world = World::without_release().await;
    let source = world.source(&[("file", "")]);
    // The context is the same; the Dockerfiles are of one length and time.
    for (number, letter) in [(1, "a"), (2, "b")] {
        let text = format!("FROM {IMAGE}\nCOPY . /app\nLABEL letter={letter}\n");
        let recipe = ImageBuild {
            context: ".".to_owned(),
            content: Some(Digest::of(world.environment.app.as_str().as_bytes())),
            ..inline(&text)
        };
        let release = ReleaseNumber(number);
        let state = world
            .prepare_from(release, built(recipe), Some(source.clone()))
            .await;
        assert_eq!(state, ArtifactState::Ready);
        let image = world.docker.inspect_image(&world.tag(release)).await;
        let labels = image.unwrap().config.unwrap().labels.unwrap();
        assert_eq!(labels.get("letter").map(String::as_str), Some(letter));
    }
}

#[tokio::test]
async fn a_build_that_is_given_up_ends_at_once() {
    let world = World::without_release().await;
    let line = format!("sleep 98{}", std::process::id());
    let recipe = inline(&format!("FROM {IMAGE}\nRUN {line}\n"));
    world.begin(FIRST, built(recipe)).await;
    eventually("the step begins", || runs(&line)).await;
    let environment = &world.environment;
    world.engine.keep_artifacts(environment, &[]).await.unwrap();
    eventually("the step ends", || !runs(&line)).await;
}

#[tokio::test]
async fn an_ssh_agent_that_nobody_has_is_named_before_anything_is_built() {
    let world = World::without_release().await;
    let recipe = ImageBuild {
        agents: vec!["default".to_owned()],
        ..inline(&format!("FROM {IMAGE}\n"))
    };
    let (reason, _) = failure(world.prepare(FIRST, built(recipe)).await);
    assert!(reason.contains("SSH_AUTH_SOCK"), "{reason}");
}

#[tokio::test]
async fn a_step_reaches_the_ssh_agent() {
    let world = World::without_release().await;
    let socket = world.path().join("agent");
    let _agent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let world = world.reopen_with(|config| config.ssh_agent = Some(socket));
    let recipe = ImageBuild {
        agents: vec!["default".to_owned()],
        ..inline(&format!(
            "FROM {IMAGE}\nRUN --mount=type=ssh,required test -S $SSH_AUTH_SOCK\n"
        ))
    };
    let state = world.prepare(FIRST, built(recipe)).await;
    assert_eq!(state, ArtifactState::Ready);
}

/// Tells whether some process of this machine has these words.
fn runs(line: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap();
    let mut lines = processes.filter_map(|entry| {
        let line = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.any(|one| one.trim_end() == line)
}

fn has(content: &[u8], text: &str) -> bool {
    content
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

fn files(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(self::files(&entry.path()));
        } else if entry.file_type().unwrap().is_file() {
            files.push(entry.path());
        }
    }
    files
}
