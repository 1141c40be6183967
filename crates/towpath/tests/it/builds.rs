//! Images that are built on Docker with a secret and a cache, from the command line to the running
//! container: what a build may read is nowhere afterwards.

use tokio::process::Command;
use towpath_model::id::EnvironmentId;

use crate::docker::cli::Docker;
use crate::docker::leftovers::Leftovers;
use crate::secrecy::{Search, assert_found_nowhere, hear_everything};
use crate::site::Site;

const COMPOSE: &str = "
services:
  web:
    build: { context: ., secrets: [{ source: npm, target: token }] }
    init: true
    stop_grace_period: 1s
secrets: { npm: { environment: NPM_TOKEN_OF_NOBODY } }
";

/// From nothing but a shell. `{last}` is the end of the step that reads the secret.
const DOCKERFILE: &str = r#"
FROM scratch AS base
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
FROM base
RUN --mount=type=secret,id=token,required --mount=type=cache,target=/cache,id={app} \
    wc -c < /run/secrets/token > /length && echo build >> /cache/builds && wc -l < /cache/builds > /builds && \
    echo the token is $(cat /run/secrets/token) && {last}
CMD ["/bin/sh", "-c", "echo length $(cat /length) builds $(cat /builds); exec sleep 3600"]
"#;

fn write(site: &Site, app: &str, last: &str) {
    let dockerfile = DOCKERFILE.replace("{app}", app).replace("{last}", last);
    site.write("Dockerfile", &dockerfile);
}

async fn history(image: &str) -> String {
    let output = Command::new("docker")
        .args(["history", "--no-trunc", image])
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_build_reads_a_secret_that_is_nowhere_afterwards() {
    let mut search = Search::default();
    let mut site = Site::new();
    let app = format!("b{:08x}", rand::random::<u32>());
    let leftovers = Leftovers::of(&app, &Docker::default());
    let id: EnvironmentId = format!("{app}/production").parse().unwrap();
    site.write("compose.yaml", COMPOSE);
    site.write(
        "towpath.yaml",
        &format!("app: {app}\nenvironments: {{ production: {{ engine: docker, rollout: {{ bake: 0s }} }} }}\n"),
    );
    let mut busybox = ["/usr/bin/busybox", "/bin/busybox"].iter();
    let busybox = busybox.find(|path| std::path::Path::new(path).exists());
    let busybox = busybox.expect("Debian's busybox-static is installed");
    std::fs::copy(busybox, site.root().join("app/busybox")).unwrap();
    write(&site, &app, "true");
    site.serve().await;
    let created = site.run(&["env", "create", "production"]).await.exited(0);
    search.hear("env create", &created);

    // Without a value nothing is built, and that is said before.
    let missing = site.run(&["up", "--env", "production"]).await.exited(2);
    assert!(missing.stderr.contains("npm"), "{}", missing.stderr);
    let first = search.canary();
    let set = ["secret", "set", "production", "npm"];
    let set = site.run_with_input(&set, first.as_bytes()).await.exited(0);
    search.hear("secret set", &set);
    let up = site.run(&["up", "--env", "production"]).await.exited(0);
    search.hear("up", &up);
    let logs = site.run(&["logs", "production"]).await.exited(0);
    let expected = format!("length {} builds 1", first.len());
    assert!(logs.stdout.contains(&expected), "{}", logs.stdout);
    search.hear(
        "history",
        &said(&history(&format!("towpath/{app}-production-web:r1")).await),
    );

    // Another value, and a step that prints it and fails: the release before serves on.
    let second = search.canary();
    let set = ["secret", "set", "production", "npm"];
    let set = site.run_with_input(&set, second.as_bytes()).await.exited(0);
    search.hear("secret set again", &set);
    write(&site, &app, "exit 9");
    let failed = site.run(&["up", "--env", "production"]).await.exited(1);
    let text = format!("{}{}", failed.stdout, failed.stderr);
    assert!(text.contains("the token is ***"), "{text}");
    search.hear("failed up", &failed);
    search.read_processes(&site);
    hear_everything(&mut search, &site, &id).await;

    // The cache is there at the next build.
    write(&site, &app, "echo again");
    search.hear(
        "up again",
        &site.run(&["up", "--env", "production"]).await.exited(0),
    );
    let logs = site.run(&["logs", "production"]).await.exited(0);
    let expected = format!("length {} builds ", second.len());
    assert!(logs.stdout.contains(&expected), "{}", logs.stdout);
    assert!(!logs.stdout.contains("builds 0"), "{}", logs.stdout);
    hear_everything(&mut search, &site, &id).await;
    site.run(&["env", "rm", &id.to_string(), "--yes", "--volumes"])
        .await
        .exited(0);
    assert_found_nowhere(search, &site);
    drop(leftovers);
}

fn said(text: &str) -> crate::site::Answer {
    crate::site::Answer {
        code: 0,
        stdout: text.to_owned(),
        stderr: String::new(),
    }
}
