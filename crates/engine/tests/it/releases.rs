//! The artifacts of releases: copied, built once, kept and removed.

use std::collections::BTreeMap;
use std::fs;

use towpath_model::id::{ReleaseNumber, ServiceName};
use towpath_model::observation::ArtifactState;
use towpath_model::port::{Artifacts, Engine as _, Volumes};
use towpath_model::workload::{Command, VolumeMount};

use crate::support::{PATIENCE, RELEASE, World, eventually, processes_with, spec};

#[tokio::test]
async fn equal_build_steps_run_once_and_different_ones_in_order() {
    let world = World::without_release();
    let source = world.source(&[("sub/input", "x")]);
    let once = "echo built >> log.txt";
    let builds = [once, "cat sub/input log.txt > result.txt", once];
    assert_eq!(
        world.prepare(Some(source.clone()), &builds).await,
        ArtifactState::Ready
    );
    let tree = world
        .data()
        .environment(&world.environment)
        .join("releases/1/tree");
    assert_eq!(
        fs::read_to_string(tree.join("result.txt")).unwrap(),
        "xbuilt\n"
    );
    // Asked for again, they are there.
    world.prepare(Some(source.clone()), &builds).await;
    assert_eq!(fs::read_to_string(tree.join("log.txt")).unwrap(), "built\n");
    // The source is as it was.
    assert!(!world.data().source(&source).join("log.txt").exists());
}

#[tokio::test]
async fn a_build_that_fails_says_how_with_the_last_lines() {
    let world = World::without_release();
    let state = world
        .prepare(None, &["seq 1 30; echo no such crate >&2; exit 101"])
        .await;
    let ArtifactState::Failed {
        reason, log_tail, ..
    } = state
    else {
        panic!("{state:?}")
    };
    assert_eq!(reason, "the build of `web` exited with code 101");
    assert_eq!(log_tail.len(), 20);
    assert!(log_tail.contains(&"no such crate".to_owned()));
}

#[tokio::test]
async fn a_build_has_its_variables_and_a_cache_that_the_next_one_finds() {
    let world = World::without_release();
    let line = "echo $TOWPATH_APP $TOWPATH_ENVIRONMENT $TOWPATH_RELEASE $TOWPATH_SERVICE > \
                $TOWPATH_CACHE/seen; test -z \"$CARGO_MANIFEST_DIR\"";
    assert_eq!(world.prepare(None, &[line]).await, ArtifactState::Ready);
    let second = Artifacts {
        environment: world.environment.clone(),
        release: ReleaseNumber(2),
        source: None,
        builds: vec![(
            ServiceName::new("web").unwrap(),
            Command::Shell("test \"$(cat $TOWPATH_CACHE/seen)\" = 'shop dev 1 web'".to_owned()),
        )],
        images: std::collections::BTreeMap::new(),
    };
    world
        .engine
        .prepare(&second, &BTreeMap::new())
        .await
        .unwrap();
    let state = world
        .until(|observation| {
            let state = observation.artifacts.get(&ReleaseNumber(2))?;
            (*state != ArtifactState::Building).then(|| state.clone())
        })
        .await;
    assert_eq!(state, ArtifactState::Ready);
}

#[tokio::test]
async fn a_source_that_is_not_there_is_a_failure_with_its_path() {
    let world = World::without_release();
    let digest = towpath_model::id::Digest::of(b"never uploaded");
    let state = world.prepare(Some(digest.clone()), &[]).await;
    let ArtifactState::Failed { reason, .. } = state else {
        panic!("{state:?}")
    };
    assert!(
        reason.contains(digest.as_str()) && reason.contains("not there"),
        "{reason}"
    );
}

#[tokio::test]
async fn only_releases_that_are_wanted_or_run_are_kept() {
    let world = World::new().await;
    let id = world.start(1, "exec sleep 1000").await;
    world.until_running(&id).await;
    world
        .engine
        .keep_artifacts(&world.environment, &[])
        .await
        .unwrap();
    let observation = world.engine.observe(&world.environment).await.unwrap();
    assert!(observation.artifacts.contains_key(&RELEASE));
    world.stop(&id, PATIENCE).await;
    world.until_exited(&id).await;
    world
        .engine
        .keep_artifacts(&world.environment, &[RELEASE])
        .await
        .unwrap();
    let release = world
        .data()
        .environment(&world.environment)
        .join("releases/1");
    assert!(release.exists());
    world
        .engine
        .keep_artifacts(&world.environment, &[])
        .await
        .unwrap();
    assert!(!release.exists());
}

#[tokio::test]
async fn a_build_that_is_not_wanted_any_more_is_ended() {
    let world = World::without_release();
    world
        .begin_to_prepare(None, &["touch begun; sleep 1000"])
        .await;
    let release = world
        .data()
        .environment(&world.environment)
        .join("releases/1");
    eventually("the build does not begin", || {
        release.join("tree/begun").exists()
    })
    .await;
    world
        .engine
        .keep_artifacts(&world.environment, &[])
        .await
        .unwrap();
    assert!(processes_with(world.directory.path()).is_empty());
    assert!(!release.exists());
    let observation = world.engine.observe(&world.environment).await.unwrap();
    assert!(observation.artifacts.is_empty());
}

#[tokio::test]
async fn a_destroyed_environment_leaves_its_volumes_unless_they_are_to_go() {
    let world = World::new().await;
    let mut with_volume = spec("echo kept > $VOLUME_DATA_1/file; echo $VOLUME_DATA_1");
    with_volume.volumes.push(VolumeMount {
        volume: "data-1".to_owned(),
        target: "/data".to_owned(),
        read_only: false,
        shared: false,
    });
    let id = world.start_spec(1, with_volume).await;
    let exit = world.until_exited(&id).await;
    let volume = world.data().volume(&world.environment, "data-1");
    assert_eq!(exit.log_tail, [volume.to_string_lossy()]);
    assert_eq!(fs::read_to_string(volume.join("file")).unwrap(), "kept\n");
    world
        .engine
        .destroy(&world.environment, Volumes::Keep)
        .await
        .unwrap();
    assert!(!world.data().environment(&world.environment).exists());
    assert!(volume.join("file").exists());
    let observation = world.engine.observe(&world.environment).await.unwrap();
    assert_eq!(
        observation,
        towpath_model::port::EngineObservation::default()
    );
    world
        .engine
        .destroy(&world.environment, Volumes::Delete)
        .await
        .unwrap();
    assert!(!volume.exists());
}

#[tokio::test]
async fn destroying_ends_a_build_first() {
    let world = World::without_release();
    world
        .begin_to_prepare(None, &["touch begun; sleep 1000"])
        .await;
    let begun = world
        .data()
        .environment(&world.environment)
        .join("releases/1/tree/begun");
    eventually("the build does not begin", || begun.exists()).await;
    world
        .engine
        .destroy(&world.environment, Volumes::Keep)
        .await
        .unwrap();
    assert!(processes_with(world.directory.path()).is_empty());
    assert!(!world.data().environment(&world.environment).exists());
}
