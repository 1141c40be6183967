//! The images of releases: built, kept, made again, and what cannot be made.

use bollard::query_parameters::RemoveImageOptionsBuilder;
use towpath_engine::probe::RunInInstance as _;
use towpath_model::container::{Image, ImageBuild, PullPolicy};
use towpath_model::id::ReleaseNumber;

use towpath_model::observation::ArtifactState;
use towpath_model::port::{Engine as _, ImageRequest};
use towpath_model::workload::Command;

use super::daemon::IMAGE;
use super::support::{FIRST, World, built, failure, inline, pulled, spec};

#[tokio::test]
async fn an_image_is_built_from_the_source_tree_with_its_arguments_and_target() {
    let world = World::without_release().await;
    let dockerfile = format!(
        "FROM {IMAGE} AS base\nARG WORD\nRUN echo $WORD > /word\nCOPY . /app\n\
         FROM base AS wanted\nRUN cp /word /wanted\nFROM base\n"
    );
    let source = world.source(&[
        ("web/Dockerfile", &dockerfile),
        ("web/index", "hello"),
        ("web/.dockerignore", "ignored\n"),
        ("web/ignored", ""),
    ]);
    let recipe = ImageBuild {
        context: "web".to_owned(),
        target: Some("wanted".to_owned()),
        args: [("WORD".to_owned(), "w".to_owned())].into(),
        ..ImageBuild::default()
    };
    let state = world.prepare_from(FIRST, built(recipe), Some(source)).await;
    assert_eq!(state, ArtifactState::Ready);
    let id = world
        .start(
            1,
            spec("cat /wanted /app/index; echo; ls /app/ignored 2>/dev/null || echo left out; ls /app | wc -l"),
        )
        .await;
    let exit = world.until_exited(&id).await;
    let said: Vec<&str> = exit.log_tail.iter().map(String::as_str).collect();
    // Two files: the Dockerfile and the index.
    assert_eq!(said, ["w", "hello", "left out", "2"]);
}

#[tokio::test]
async fn a_build_that_fails_says_what_the_step_wrote() {
    let world = World::without_release().await;
    let recipe = inline(&format!("FROM {IMAGE}\nRUN echo the reason; exit 7\n"));
    let (reason, log_tail) = failure(world.prepare(FIRST, built(recipe)).await);
    assert!(reason.contains("`web`") && reason.contains('7'), "{reason}");
    assert!(
        log_tail.iter().any(|line| line == "the reason"),
        "{log_tail:?}"
    );
}

#[tokio::test]
async fn an_image_that_nobody_has_is_named() {
    let world = World::without_release().await;
    let never = ImageRequest {
        image: Image::Pulled {
            reference: "towpath-test/nobody:1".to_owned(),
            policy: PullPolicy::Never,
        },
        platform: None,
    };
    let (reason, _) = failure(world.prepare(FIRST, never).await);
    assert!(
        reason.contains("towpath-test/nobody:1") && reason.contains("never"),
        "{reason}"
    );
}

#[tokio::test]
async fn an_image_that_was_removed_by_hand_is_made_again_at_the_next_start() {
    let world = World::without_release().await;
    let recipe = inline(&format!("FROM {IMAGE}\nRUN echo it > /it\n"));
    world.prepare(FIRST, built(recipe)).await;
    let tag = format!("towpath/{}-dev-web:r1", world.environment.app);
    let options = RemoveImageOptionsBuilder::default().force(true).build();
    world
        .docker
        .remove_image(&tag, Some(options), None)
        .await
        .unwrap();
    let world = world.reopen();
    let id = world.start(1, spec("cat /it")).await;
    assert_eq!(world.until_exited(&id).await.log_tail, ["it"]);
    world.docker.inspect_image(&tag).await.unwrap();
}

#[tokio::test]
async fn the_images_of_releases_that_are_not_kept_lose_our_tags_only() {
    let world = World::without_release().await;
    for number in [1, 2] {
        let state = world.prepare(ReleaseNumber(number), pulled(IMAGE)).await;
        assert_eq!(state, ArtifactState::Ready);
    }
    let keep = [ReleaseNumber(2)];
    world
        .engine
        .keep_artifacts(&world.environment, &keep)
        .await
        .unwrap();
    let tag = |number: u32| format!("towpath/{}-dev-web:r{number}", world.environment.app);
    assert!(world.docker.inspect_image(&tag(1)).await.is_err());
    world.docker.inspect_image(&tag(2)).await.unwrap();
    world.docker.inspect_image(IMAGE).await.unwrap();
    world
        .engine
        .keep_artifacts(&world.environment, &[])
        .await
        .unwrap();
    assert!(world.docker.inspect_image(&tag(2)).await.is_err());
    world.docker.inspect_image(IMAGE).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_stops_a_release_before_anything_is_made() {
    let world = World::without_release().await;
    let world = world.reopen_with(|config| config.minimum_free_bytes = u64::MAX);
    let (reason, _) = failure(world.prepare(FIRST, pulled(IMAGE)).await);
    assert!(reason.contains("full"), "{reason}");
}

#[tokio::test]
async fn a_docker_that_is_not_there_is_named_and_what_to_do() {
    let world = World::without_release().await;
    let world = world.reopen_with(|config| config.host = "unix:///no/such/docker.sock".to_owned());
    let (reason, _) = failure(world.prepare(FIRST, pulled(IMAGE)).await);
    assert!(
        reason.contains("unix:///no/such/docker.sock") && reason.contains("DOCKER_HOST"),
        "{reason}"
    );
}

#[tokio::test]
async fn the_health_check_of_an_image_is_tried_where_nobody_named_another() {
    let world = World::without_release().await;
    let recipe = inline(&format!("FROM {IMAGE}\nHEALTHCHECK CMD test -f /ok\n"));
    world.prepare(FIRST, built(recipe)).await;
    let mut spec = spec("trap 'exit 0' TERM; while :; do sleep 0.05; done");
    let named = world.start(1, spec.clone()).await;
    spec.container.as_mut().unwrap().image_health = true;
    let id = world.start(2, spec).await;
    world.until_running(&named).await;
    world.until_running(&id).await;
    assert_eq!(world.engine.own_check(&named), None);
    let check = world.engine.own_check(&id).unwrap();
    assert!(world.engine.run_in(&id, &check).await.is_err());
    let make = Command::Shell("touch /ok".to_owned());
    world.engine.run_in(&id, &make).await.unwrap();
    assert_eq!(world.engine.run_in(&id, &check).await, Ok(()));
    world.stop(&named).await;
    world.stop(&id).await;
}
