//! Instances as containers: what they are given, how they end, and what is adopted.

use std::time::Duration;

use bollard::query_parameters::{KillContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use towpath_engine::probe::RunInInstance as _;
use towpath_model::container::{ContainerMount, Hook, MountSource, NetworkMode, PublishedPort};
use towpath_model::id::{SecretName, SecretVersion};
use towpath_model::observation::InstanceState;
use towpath_model::port::{Engine as _, LogQuery, Volumes};
use towpath_model::workload::{Command, ConfigMount, SecretMount, VolumeMount, WorkloadSpec};

use super::daemon::IMAGE;
use super::support::{FIRST, World, pulled, spec};

/// It runs until it is asked to stop.
const SERVES: &str = "trap 'exit 0' TERM; while :; do sleep 0.05; done";

fn secret(name: &str, file: Option<&str>, variable: Option<&str>) -> SecretMount {
    SecretMount {
        secret: SecretName::new(name).unwrap(),
        version: SecretVersion(1),
        file: file.map(str::to_owned),
        variable: variable.map(str::to_owned),
    }
}

/// Runs a line to its end and returns what it wrote.
async fn written(
    world: &World,
    number: u32,
    spec: WorkloadSpec,
    secrets: &[(&str, &str)],
) -> Vec<String> {
    let id = world.start_with(number, spec, secrets).await;
    let exit = world.until_exited(&id).await;
    assert!(exit.is_success(), "{exit:?}");
    exit.log_tail
}

#[tokio::test]
async fn an_instance_has_its_variables_files_limits_and_mounts() {
    let world = World::new().await;
    let mut spec = spec(
        "echo $GREETING $TOWPATH_SERVICE; cat /run/secrets/key /etc/app.conf; echo $TOKEN; \
         id -u; pwd; stat -c %a /run/secrets/key; df /mem | tail -1 | cut -d' ' -f1; ulimit -n; \
         touch /root-is-read-only 2>/dev/null || echo read-only",
    );
    spec.environment
        .insert("GREETING".to_owned(), "hello".to_owned());
    spec.user = Some("1234:1234".to_owned());
    spec.working_directory = Some("/bin".to_owned());
    spec.secrets = vec![
        secret("key", Some("key"), None),
        secret("token", None, Some("TOKEN")),
    ];
    spec.configs = vec![ConfigMount {
        name: "conf".to_owned(),
        target: "/etc/app.conf".to_owned(),
        content: "a=b\n".to_owned(),
    }];
    spec.limits.rlimits.insert("nofile".to_owned(), (512, 512));
    let container = spec.container.as_mut().unwrap();
    container.isolation.read_only = true;
    container.mounts = vec![ContainerMount {
        target: "/mem".to_owned(),
        source: MountSource::Tmpfs {
            size: Some(1 << 20),
            mode: None,
            options: Vec::new(),
        },
        read_only: false,
        shared: false,
        relabel: None,
    }];
    let lines = written(&world, 1, spec, &[("key", "k\n"), ("token", "t")]).await;
    assert_eq!(
        lines,
        [
            "hello web",
            "k",
            "a=b",
            "t",
            "1234",
            "/bin",
            "444",
            "tmpfs",
            "512",
            "read-only"
        ]
    );
}

#[tokio::test]
async fn a_secrets_value_is_not_in_what_docker_tells_of_a_container() {
    let world = World::new().await;
    let mut spec = spec(SERVES);
    spec.secrets = vec![secret("key", Some("key"), None)];
    let id = world.start_with(1, spec, &[("key", "v4lue-of-it")]).await;
    world.until_running(&id).await;
    let found = world
        .docker
        .inspect_container(&world.container(&id), None)
        .await;
    let text = serde_json::to_string(&found.unwrap()).unwrap();
    assert!(!text.contains("v4lue-of-it"));
    let read = Command::Shell("grep -q v4lue-of-it /run/secrets/key".to_owned());
    assert_eq!(world.engine.run_in(&id, &read).await, Ok(()));
    world.stop(&id).await;
}

#[tokio::test]
async fn a_command_in_an_instance_says_what_it_met() {
    let world = World::new().await;
    let id = world.start(1, spec(SERVES)).await;
    world.until_running(&id).await;
    let fails = Command::Shell("echo not yet; exit 3".to_owned());
    let error = world.engine.run_in(&id, &fails).await.unwrap_err();
    assert!(
        error.contains("code 3") && error.contains("not yet"),
        "{error}"
    );
    world.stop(&id).await;
}

#[tokio::test]
async fn a_command_that_nobody_waits_for_any_more_is_killed() {
    let world = World::new().await;
    let id = world.start(1, spec(SERVES)).await;
    world.until_running(&id).await;
    let hangs = Command::Exec(["sleep", "4711"].map(str::to_owned).to_vec());
    let runs = Command::Shell("ps | grep -q '[s]leep 4711'".to_owned());
    {
        let hanging = world.engine.run_in(&id, &hangs);
        let seen = async { while world.engine.run_in(&id, &runs).await.is_err() {} };
        tokio::select! {
            ended = hanging => panic!("{ended:?}"),
            () = seen => {}
        }
    }
    let gone = async { while world.engine.run_in(&id, &runs).await.is_ok() {} };
    let gone = tokio::time::timeout(super::support::PATIENCE, gone).await;
    gone.expect("it runs on");
    world.stop(&id).await;
}

#[tokio::test]
async fn one_that_was_killed_by_somebody_is_seen_at_once_with_the_signal() {
    let world = World::new().await;
    let id = world.start(1, spec(SERVES)).await;
    world.until_running(&id).await;
    let options = KillContainerOptionsBuilder::default()
        .signal("SIGKILL")
        .build();
    world
        .docker
        .kill_container(&world.container(&id), Some(options))
        .await
        .unwrap();
    let exit = world.until_exited(&id).await;
    assert_eq!((exit.code, exit.signal), (None, Some(9)));
}

#[tokio::test]
async fn one_whose_container_was_removed_by_hand_ended_and_is_never_made_again() {
    let world = World::new().await;
    let id = world.start(1, spec(SERVES)).await;
    world.until_running(&id).await;
    let options = RemoveContainerOptionsBuilder::default().force(true).build();
    world
        .docker
        .remove_container(&world.container(&id), Some(options))
        .await
        .unwrap();
    let exit = world.until_exited(&id).await;
    assert!(!exit.is_success(), "{exit:?}");
    world.start(1, spec(SERVES)).await;
    assert!(matches!(
        world.state(&id).await,
        Some(InstanceState::Exited(_))
    ));
    world.engine.remove(&id).await.unwrap();
    assert_eq!(world.state(&id).await, None);
}

#[tokio::test]
async fn one_that_takes_too_much_memory_says_so() {
    let world = World::new().await;
    let mut spec = spec("x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done");
    spec.limits.memory_bytes = Some(16 << 20);
    let container = spec.container.as_mut().unwrap();
    container.resources.memory_swap = Some(16 << 20);
    let id = world.start(1, spec).await;
    let exit = world.until_exited(&id).await;
    let summary = exit.summary();
    assert!(
        summary.contains("memory") && summary.contains("16 MiB"),
        "{summary}"
    );
}

#[tokio::test]
async fn a_port_that_is_taken_is_the_reason_and_leaves_nothing_behind() {
    let world = World::new().await;
    let taken = std::net::TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut spec = spec(SERVES);
    let container = spec.container.as_mut().unwrap();
    container.published = vec![PublishedPort {
        host: None,
        port: Some(port),
        target: 80,
        protocol: "tcp".to_owned(),
    }];
    let id = world.start(1, spec).await;
    let exit = world.until_exited(&id).await;
    let error = exit.error.unwrap();
    assert!(error.contains(&port.to_string()), "{error}");
    assert!(
        world
            .docker
            .inspect_container(&world.container(&id), None)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_published_port_of_a_container_is_reached() {
    let world = World::new().await;
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut spec = spec("while :; do echo hello | nc -l -p 80; done");
    let container = spec.container.as_mut().unwrap();
    container.published = vec![PublishedPort {
        host: Some(address.ip()),
        port: Some(address.port()),
        target: 80,
        protocol: "tcp".to_owned(),
    }];
    let id = world.start(1, spec).await;
    world.until_running(&id).await;
    let reach = async {
        loop {
            let Ok(stream) = tokio::net::TcpStream::connect(address).await else {
                continue;
            };
            let mut text = String::new();
            let mut stream = stream;
            let read = tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut text).await;
            if read.is_ok() && text == "hello\n" {
                return;
            }
        }
    };
    tokio::time::timeout(super::support::PATIENCE, reach)
        .await
        .expect("it is never reached");
}

#[tokio::test]
async fn a_network_that_was_removed_comes_back_with_the_next_start() {
    let world = World::new().await;
    let first = world.start(1, spec(SERVES)).await;
    world.until_running(&first).await;
    let network = format!("{}-dev_default", world.environment.app);
    world.docker.inspect_network(&network, None).await.unwrap();
    world.stop(&first).await;
    world.engine.remove(&first).await.unwrap();
    world.docker.remove_network(&network).await.unwrap();
    let second = world.start(2, spec(SERVES)).await;
    world.until_running(&second).await;
    world.docker.inspect_network(&network, None).await.unwrap();
    world.stop(&second).await;
}

#[tokio::test]
async fn a_network_of_somebody_else_with_our_name_is_refused() {
    let world = World::new().await;
    let network = format!("{}-dev_default", world.environment.app);
    let request = bollard::models::NetworkCreateRequest {
        name: network.clone(),
        ..Default::default()
    };
    world.docker.create_network(request).await.unwrap();
    let id = world.start(1, spec(SERVES)).await;
    let exit = world.until_exited(&id).await;
    world.docker.remove_network(&network).await.unwrap();
    let error = exit.error.unwrap();
    assert!(
        error.contains(&network) && error.contains("external"),
        "{error}"
    );
}

#[tokio::test]
async fn one_reaches_another_by_the_name_of_its_service() {
    let world = World::new().await;
    let mut server = spec("while :; do echo hello | nc -l -p 80; done");
    server.container_port = Some(80);
    let id = world.start(1, server).await;
    let address = world.until_running(&id).await;
    assert_eq!(address.port(), 80);
    let mut client =
        spec("for i in $(seq 100); do nc web 80 2>/dev/null && exit 0; sleep 0.1; done; exit 1");
    client.service = super::support::client();
    let lines = written(&world, 2, client, &[]).await;
    assert_eq!(lines, ["hello"]);
}

#[tokio::test]
async fn a_volume_stays_when_the_environment_goes_and_goes_when_that_is_asked() {
    let world = World::new().await;
    let name = format!("{}-dev_data", world.environment.app);
    let with_volume = |line: &str| {
        let mut spec = spec(line);
        spec.volumes = vec![VolumeMount {
            volume: "data".to_owned(),
            target: "/data".to_owned(),
            read_only: false,
            shared: false,
        }];
        spec
    };
    written(&world, 1, with_volume("echo kept > /data/file"), &[]).await;
    world
        .engine
        .destroy(&world.environment, Volumes::Keep)
        .await
        .unwrap();
    world.docker.inspect_volume(&name).await.unwrap();
    assert!(!world.engine.knows(&world.environment));
    world.prepare(FIRST, pulled(IMAGE)).await;
    let lines = written(&world, 2, with_volume("cat /data/file"), &[]).await;
    assert_eq!(lines, ["kept"]);
    world
        .engine
        .destroy(&world.environment, Volumes::Delete)
        .await
        .unwrap();
    assert!(world.docker.inspect_volume(&name).await.is_err());
}

#[tokio::test]
async fn hooks_run_after_the_start_and_before_the_stop() {
    let world = World::new().await;
    let mut spec = spec("trap 'cat /tmp/note; exit 0' TERM; while :; do sleep 0.05; done");
    let hook = |word: &str| Hook {
        command: ["/bin/sh", "-c", &format!("echo {word} >> /tmp/note")]
            .map(str::to_owned)
            .to_vec(),
        ..Hook::default()
    };
    let container = spec.container.as_mut().unwrap();
    container.mounts = vec![ContainerMount {
        target: "/tmp".to_owned(),
        source: MountSource::Anonymous,
        read_only: false,
        shared: false,
        relabel: None,
    }];
    container.post_start = vec![hook("started")];
    container.pre_stop = vec![hook("stops")];
    let id = world.start(1, spec).await;
    world.until_running(&id).await;
    let exit = world.stop(&id).await;
    assert_eq!(exit.log_tail, ["started", "stops"]);
}

#[tokio::test]
async fn a_stop_goes_on_after_a_restart_of_the_platform() {
    let world = World::new().await;
    let id = world
        .start(1, spec("trap '' TERM; while :; do sleep 0.05; done"))
        .await;
    world.until_running(&id).await;
    let stop = towpath_model::port::Stop {
        signal: "SIGTERM".to_owned(),
        grace: Duration::from_millis(300),
    };
    world.engine.stop(&id, &stop).await.unwrap();
    let world = world.reopen();
    let exit = world.until_exited(&id).await;
    assert_eq!(exit.signal, Some(9));
}

#[tokio::test]
async fn what_runs_is_adopted_by_its_labels_when_the_record_of_it_is_lost() {
    let world = World::new().await;
    let id = world.start(1, spec(SERVES)).await;
    world.until_running(&id).await;
    let before = world.state(&id).await;
    let own = world.data().environment(&world.environment).join("docker");
    std::fs::remove_dir_all(own.join("instances")).unwrap();
    let world = world.reopen();
    assert_eq!(world.state(&id).await, before);
    world.start(1, spec(SERVES)).await;
    assert_eq!(world.state(&id).await, before);
    world.stop(&id).await;
}

#[tokio::test]
async fn two_data_directories_on_one_docker_do_not_touch_one_another() {
    let one = World::new().await;
    let id = one.start(1, spec(SERVES)).await;
    one.until_running(&id).await;
    let other = World::of(tempfile::tempdir().unwrap(), &one.environment.to_string()).await;
    other.prepare(FIRST, pulled(IMAGE)).await;
    assert_eq!(other.state(&id).await, None);
    other.start(1, spec(SERVES)).await;
    let exit = other.until_exited(&id).await;
    assert!(exit.error.is_some());
    other.engine.remove(&id).await.unwrap();
    other
        .engine
        .destroy(&other.environment, Volumes::Delete)
        .await
        .unwrap();
    assert!(matches!(
        one.state(&id).await,
        Some(InstanceState::Running { .. })
    ));
    one.stop(&id).await;
}

#[tokio::test]
async fn an_instance_in_the_machines_network_is_reached_at_the_loopback_address() {
    let world = World::new().await;
    let mut spec = spec(SERVES);
    spec.container_port = Some(8123);
    spec.container.as_mut().unwrap().network = NetworkMode::Host;
    let id = world.start(1, spec).await;
    let address = world.until_running(&id).await;
    assert_eq!(address, "127.0.0.1:8123".parse().unwrap());
    world.stop(&id).await;
}

#[tokio::test]
async fn a_followed_log_has_the_lines_of_instances_that_start_later() {
    let world = World::new().await;
    let first = world.start(1, spec("echo first")).await;
    world.until_exited(&first).await;
    let query = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    let mut log = world.engine.logs(&world.environment, &query).await.unwrap();
    let second = world.start(2, spec("echo second; echo third >&2")).await;
    let reading = async {
        let mut lines = Vec::new();
        while lines.len() < 3 {
            let line = log.next().await.unwrap().unwrap();
            lines.push((line.instance.number, line.stream, line.text));
        }
        lines
    };
    let mut lines = tokio::time::timeout(super::support::PATIENCE, reading)
        .await
        .unwrap();
    lines.sort();
    let line = |number, stream: &str, text: &str| (number, stream.to_owned(), text.to_owned());
    assert_eq!(
        lines,
        [
            line(1, "stdout", "first"),
            line(2, "stderr", "third"),
            line(2, "stdout", "second")
        ]
    );
    world.until_exited(&second).await;
}

#[tokio::test]
async fn the_log_of_an_instance_outlives_it() {
    let world = World::new().await;
    let id = world.start(1, spec("echo last words")).await;
    world.until_exited(&id).await;
    world.engine.remove(&id).await.unwrap();
    let mut log = world
        .engine
        .logs(&world.environment, &LogQuery::default())
        .await
        .unwrap();
    let line = log.next().await.unwrap().unwrap();
    assert_eq!((line.instance, line.text.as_str()), (id, "last words"));
    assert!(log.next().await.unwrap().is_none());
}
