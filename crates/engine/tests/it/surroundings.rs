//! What an instance finds around itself: variables, files, user, limits.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;

use towpath_model::port::Engine as _;
use towpath_model::workload::{Command, ConfigMount, VolumeMount};

use crate::support::{World, spec};

#[tokio::test]
async fn an_instance_has_the_variables_that_the_engine_gives_and_no_others() {
    let world = World::new().await;
    let mut spec = spec("env; pwd");
    spec.environment.insert(
        "GREETING".to_owned(),
        "hello from ${TOWPATH_SERVICE}".to_owned(),
    );
    spec.environment.insert(
        "STORE_URL".to_owned(),
        "redis://${MY_STORE_ADDR}/0".to_owned(),
    );
    let mut order = world.order(1, spec);
    order.peers.insert(
        "my-store".parse().unwrap(),
        "127.0.0.1:6379".parse().unwrap(),
    );
    world.engine.start(&order, &BTreeMap::new()).await.unwrap();
    let exit = world.until_exited(&order.id).await;
    // The last lines would not be enough.
    let query = towpath_model::port::LogQuery::default();
    let mut lines = world.engine.logs(&world.environment, &query).await.unwrap();
    let mut seen = Vec::new();
    while let Some(line) = lines.next().await.unwrap() {
        seen.push(line.text);
    }
    for expected in [
        "HOST=127.0.0.1",
        "MY_STORE_ADDR=127.0.0.1:6379",
        "MY_STORE_HOST=127.0.0.1",
        "MY_STORE_PORT=6379",
        "GREETING=hello from web",
        "STORE_URL=redis://127.0.0.1:6379/0",
        "TOWPATH_APP=shop",
        "TOWPATH_ENVIRONMENT=dev",
        "TOWPATH_INSTANCE=shop/dev/web-1",
        "TOWPATH_RELEASE=1",
        "TOWPATH_SERVICE=web",
        "LANG=C.UTF-8",
    ] {
        assert!(
            seen.iter().any(|line| line == expected),
            "{expected} in {seen:?}"
        );
    }
    assert!(
        !seen.iter().any(|line| line.starts_with("CARGO")),
        "{seen:?}"
    );
    let tree = world
        .data()
        .environment(&world.environment)
        .join("releases/1/tree");
    assert_eq!(exit.log_tail.last().unwrap(), &*tree.to_string_lossy());
}

#[tokio::test]
async fn an_instance_listens_on_the_port_that_it_is_given() {
    let world = World::new().await;
    let mut seen = Vec::new();
    for number in 1..=3 {
        let id = world
            .start(number, "echo port=$PORT; exec sleep 1000")
            .await;
        let address = world.until_running(&id).await;
        assert!(address.ip().is_loopback());
        let text = format!("port={}", address.port());
        world.line(|line| line == text).await;
        seen.push(address.port());
    }
    seen.dedup();
    assert_eq!(seen.len(), 3);
    let mut fixed = world.order(4, spec("echo port=$PORT; exec sleep 1000"));
    fixed.fixed_port = Some(54_321);
    world.engine.start(&fixed, &BTreeMap::new()).await.unwrap();
    assert_eq!(world.until_running(&fixed.id).await.port(), 54_321);
    world.line(|line| line == "port=54321").await;
}

#[tokio::test]
async fn given_variables_are_expanded_in_the_words_of_a_command() {
    let world = World::new().await;
    let mut spec = spec("");
    spec.command = Command::Exec(
        ["echo", "${TOWPATH_SERVICE}", "$TOWPATH_SERVICE", "${HOME}x"]
            .map(str::to_owned)
            .into(),
    );
    let id = world.start_spec(1, spec).await;
    assert_eq!(
        world.until_exited(&id).await.log_tail,
        ["web $TOWPATH_SERVICE ${HOME}x"]
    );
}

#[tokio::test]
async fn configuration_files_are_under_their_names_and_their_targets() {
    let world = World::new().await;
    let mut spec = spec("cat $CONFIGS_DIR/site $CONFIGS_DIR/etc/site.conf; ls $CONFIGS_DIR/..");
    spec.configs.push(ConfigMount {
        name: "site".to_owned(),
        target: "/../etc/site.conf".to_owned(),
        content: "listen\n".to_owned(),
    });
    let id = world.start_spec(1, spec).await;
    let tail = world.until_exited(&id).await.log_tail;
    assert_eq!(tail.first().map(String::as_str), Some("listen"));
    assert_eq!(tail.get(1).map(String::as_str), Some("listen"));
    assert!(!tail.contains(&"etc".to_owned()));
}

#[tokio::test]
async fn resource_limits_are_set_and_unknown_ones_are_an_error() {
    let world = World::new().await;
    let mut limited = spec("ulimit -Sn; ulimit -Hn");
    limited
        .limits
        .rlimits
        .insert("nofile".to_owned(), (100, 200));
    let id = world.start_spec(1, limited).await;
    assert_eq!(world.until_exited(&id).await.log_tail, ["100", "200"]);
    let mut unknown = spec("echo started");
    unknown.limits.rlimits.insert("nofiles".to_owned(), (1, 1));
    let id = world.start_spec(2, unknown).await;
    let error = world.until_exited(&id).await.error;
    assert_eq!(error.as_deref(), Some("`nofiles` is not a known ulimit"));
}

#[tokio::test]
async fn the_user_is_switched_by_root_and_refused_to_others() {
    let world = World::new().await;
    let line =
        "id -u; id -g; id -G; touch $VOLUME_DATA/x $TMPDIR/y && echo $HOME; cat $SECRETS_DIR/*";
    let mut as_daemon = spec(line);
    as_daemon.user = Some("daemon".to_owned());
    as_daemon.volumes.push(VolumeMount {
        volume: "data".to_owned(),
        target: "/data".to_owned(),
        read_only: false,
        shared: false,
    });
    let id = world.start_spec(1, as_daemon).await;
    let exit = world.until_exited(&id).await;
    if rustix::process::geteuid().is_root() {
        let [uid, gid, groups, ..] = exit.log_tail.as_slice() else {
            panic!("{exit:?}")
        };
        assert_eq!((uid.as_str(), gid, groups), ("1", gid, gid));
        let volume = world.data().volume(&world.environment, "data");
        assert_eq!(volume.join("x").metadata().unwrap().uid(), 1);
        assert_eq!(world.engine.capabilities().users, Ok(()));
    } else {
        assert!(
            exit.error
                .unwrap()
                .contains("only root may change the user")
        );
    }
}

#[tokio::test]
async fn programs_that_signal_their_group_do_not_hit_the_supervisor() {
    let world = World::new().await;
    let id = world
        .start(1, "trap 'exit 8' TERM; kill -TERM 0; sleep 1")
        .await;
    assert_eq!(world.until_exited(&id).await.code, Some(8));
}

#[tokio::test]
async fn a_program_starts_with_no_signal_ignored_or_blocked_and_no_file_but_its_own() {
    let world = World::new().await;
    let mut signals = spec("");
    let words = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"];
    signals.command = Command::Exec(words.map(str::to_owned).into());
    let id = world.start_spec(1, signals).await;
    let tail = world.until_exited(&id).await.log_tail;
    assert_eq!(tail.len(), 2);
    for line in tail {
        let (_, mask) = line.split_once('\t').unwrap();
        // The C library keeps two signals above the standard ones to itself.
        assert_eq!(
            u64::from_str_radix(mask, 16).unwrap() & 0x7fff_ffff,
            0,
            "{line}"
        );
    }
    let mut files = spec("");
    files.command = Command::Exec(["ls", "/proc/self/fd"].map(str::to_owned).into());
    let id = world.start_spec(2, files).await;
    let mut open = world.until_exited(&id).await.log_tail;
    open.retain(|file| !is_handed_on(file));
    // Its input, outputs, and the directory that it lists.
    assert_eq!(open, ["0", "1", "2", "3"]);
}

/// Tells whether whoever runs the tests left this file open for all that is started.
fn is_handed_on(file: &str) -> bool {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{file}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:\t"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags, 8).ok());
    file.parse().is_ok_and(|number: u32| number > 2)
        && flags.is_some_and(|flags| flags & CLOSE_ON_EXEC == 0)
}

#[tokio::test]
async fn a_data_directory_that_others_cannot_pass_is_the_reason_not_to_switch_the_user() {
    let world = World::new().await;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(world.directory.path(), mode).unwrap();
    let world = world.reopen();
    let reason = world.engine.capabilities().users.unwrap_err();
    let mut as_daemon = spec("exit");
    as_daemon.user = Some("daemon".to_owned());
    let id = world.start_spec(1, as_daemon).await;
    let error = world.until_exited(&id).await.error;
    assert_eq!(
        error,
        Some(format!("cannot run as user `daemon`: {reason}"))
    );
}
