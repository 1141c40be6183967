//! Commands in instances, one-off instances and what instances use, by the real binary: streams, exit
//! codes, terminals, and that nothing is left behind. On processes; the engines' own contract has
//! both engines.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

use crate::machine;
use crate::site::{Delivery, LONGEST, PROGRAM, Site};
use crate::terminal::{SIZE, Terminal};

/// A site that serves a release in production.
async fn serving_site() -> Site {
    let site = Site::with_launches(&Delivery::default()).await;
    let up = ["up", "--env", "production", "--json", "--wait", "bake"];
    site.run(&up).await.exited(0);
    site
}

/// The words of a command, its exit code, and what it says.
type Refused<'a> = (&'a [&'a str], i32, &'a str);

/// Waits until so many processes have a word among their arguments.
async fn until_processes(word: &str, count: usize) {
    let deadline = Instant::now() + LONGEST;
    loop {
        let found = machine::with_argument(word).len();
        if found == count {
            return;
        }
        assert!(Instant::now() < deadline, "{found} processes have {word}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_in_an_instance_is_as_if_it_ran_here() {
    let site = serving_site().await;
    let line = "cat; echo \"$GIVEN in $TOWPATH_SERVICE of $LAUNCHES_VERSION\" >&2; exit 5";
    let words = ["exec", "-e", "GIVEN=a=b", "web", "--", "sh", "-c", line];
    let answer = site.run_with_input(&words, b"through\n").await.exited(5);
    assert_eq!(answer.stdout, "through\n");
    assert_eq!(answer.stderr, "a=b in web of 1\n");

    let large = "a line of no particular length
"
    .repeat(400_000);
    assert!(large.len() > 10_000_000);
    site.write("large", &large);
    let line = format!("'{PROGRAM}' exec production web -- cat < large > returned");
    let through = tokio::process::Command::new("sh")
        .args(["-c", &line])
        .current_dir(site.root().join("app"))
        .env("TOWPATH_HOME", site.home())
        .kill_on_drop(true)
        .status();
    let through = tokio::time::timeout(LONGEST, through).await.unwrap();
    assert!(through.unwrap().success());
    let returned = std::fs::read_to_string(site.root().join("app/returned")).unwrap();
    assert!(returned == large, "{} bytes", returned.len());

    let missing = site
        .run(&["exec", "web", "--", "/no/such"])
        .await
        .exited(127);
    assert!(missing.stderr.contains("/no/such"), "{}", missing.stderr);
    site.run(&["exec", "web", "--", "/"]).await.exited(126);
    let words = ["exec", "web", "--", "sh", "-c", "kill -9 $$"];
    site.run(&words).await.exited(137);

    let events = site.run(&["events", "--json"]).await.exited(0).json();
    let mut events = events.as_array().unwrap().iter();
    let started = events.find(|one| one["what"] == "exec.started").unwrap();
    assert_eq!(started["reason"], "sh");
    let ended = events.find(|one| one["what"] == "exec.ended").unwrap();
    assert_eq!(ended["reason"], "exit code 5");
    let all = site.run(&["events"]).await.exited(0).stdout;
    assert!(!all.contains("GIVEN") && !all.contains("TOWPATH_SERVICE"));
    site.run(&["events", "verify"]).await.exited(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_reached_is_refused_by_its_name() {
    let site = serving_site().await;
    let refused: &[Refused<'_>] = &[
        (&["exec", "nothing", "--", "true"], 3, "service `nothing`"),
        (
            &["exec", "web", "--instance", "99", "--", "true"],
            3,
            "instance 99",
        ),
        (
            &["exec", "migrate", "--", "true"],
            1,
            "no instance of `migrate` runs",
        ),
        (&["exec", "other/env", "web", "--", "true"], 3, "other/env"),
        (&["exec", "web"], 2, "COMMAND"),
        (
            &["exec", "-e", "NOT_SET_ANYWHERE", "web", "--", "true"],
            2,
            "NOT_SET_ANYWHERE",
        ),
        (
            &["exec", "-u", "nobody-there", "web", "--", "true"],
            1,
            "nobody-there",
        ),
        (&["run", "nothing"], 3, "service `nothing`"),
        (&["run", "--entrypoint", "sh", "web"], 1, "entry point"),
        (&["stats", "production", "nothing"], 3, "service `nothing`"),
    ];
    for (words, code, said) in refused {
        let answer = site.run(words).await.exited(*code);
        assert!(answer.stderr.contains(said), "{words:?}: {}", answer.stderr);
    }
    site.run(&["down", "production"]).await.exited(0);
    let down = site.run(&["run", "web", "--", "true"]).await.exited(1);
    assert!(down.stderr.contains("is down"), "{}", down.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_killed_leaves_nothing_running() {
    let site = serving_site().await;
    for (words, mark) in [
        (
            ["exec", "web", "--", "sh", "-c", "echo begun; sleep 87651"],
            "87651",
        ),
        (
            ["run", "web", "--", "sh", "-c", "echo begun; sleep 87652"],
            "87652",
        ),
    ] {
        let mut client = tokio::process::Command::new(PROGRAM)
            .args(words)
            .current_dir(site.root().join("app"))
            .env("TOWPATH_HOME", site.home())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = [0; 6];
        client
            .stdout
            .take()
            .unwrap()
            .read_exact(&mut said)
            .await
            .unwrap();
        assert_eq!(&said, b"begun\n");
        until_processes(mark, 1).await;
        client.kill().await.unwrap();
        until_processes(mark, 0).await;
    }
    let runs = site.home().join("environments/launches/production/runs");
    let deadline = Instant::now() + LONGEST;
    while runs.exists() {
        assert!(Instant::now() < deadline, "a one-off is left behind");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_one_off_is_not_counted_and_ends_with_the_environment() {
    let mut site = serving_site().await;
    let words = [
        "run",
        "web",
        "--",
        "sh",
        "-c",
        "echo $TOWPATH_RELEASE; exit 7",
    ];
    let answer = site.run(&words).await.exited(7);
    assert_eq!(answer.stdout, "1\n");

    let line = "echo working; sleep 87653; sleep 87653";
    let words = ["run", "-d", "worker", "--", "sh", "-c", line];
    let named = site.run(&words).await.exited(0).stdout;
    let (_, number) = named.trim().rsplit_once('-').unwrap();
    until_processes("87653", 1).await;
    let status = site.run(&["status", "--json"]).await.exited(0).json();
    let mut services = status["services"].as_array().unwrap().iter();
    let worker = services.find(|one| one["name"] == "worker").unwrap();
    assert_eq!(
        (&worker["healthy"], &worker["wanted"]),
        (&1.into(), &1.into())
    );
    let logs = ["logs", "production", "--instance", number];
    let deadline = Instant::now() + LONGEST;
    while !site.run(&logs).await.exited(0).stdout.contains("working") {
        assert!(Instant::now() < deadline, "its log is never seen");
    }

    // It goes on without its control plane; one that somebody is attached to does not.
    let mut attached = tokio::process::Command::new(PROGRAM)
        .args(["run", "web", "--", "sh", "-c", "exec sleep 87654"])
        .current_dir(site.root().join("app"))
        .env("TOWPATH_HOME", site.home())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until_processes("87654", 1).await;
    site.kill_control_plane().await;
    let ended = tokio::time::timeout(LONGEST, attached.wait())
        .await
        .unwrap();
    assert_eq!(ended.unwrap().code(), Some(1));
    let mut said = String::new();
    attached
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .await
        .unwrap();
    assert!(said.contains("control plane"), "{said}");
    until_processes("87654", 0).await;
    site.serve().await;
    until_processes("87653", 1).await;
    site.run(&["down", "production"]).await.exited(0);
    until_processes("87653", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_instances_use_is_told_once_or_again_and_again() {
    let site = serving_site().await;
    let once = site.run(&["stats", "--no-stream", "--json"]).await;
    let once = once.exited(0).json();
    let used = once["instances"].as_array().unwrap();
    // Two of the web, the worker, the store.
    assert_eq!(used.len(), 4, "{once:#}");
    for one in used {
        assert!(one["memory_bytes"].as_u64().unwrap() > 0, "{one}");
        assert!(one["cpu_percent"].is_number(), "{one}");
    }
    let words = ["stats", "production", "store", "--no-stream"];
    let table = site.run(&words).await.exited(0).stdout;
    assert!(
        table.contains("store-") && !table.contains("web-"),
        "{table}"
    );

    let mut follower = tokio::process::Command::new(PROGRAM)
        .args(["stats", "--json"])
        .current_dir(site.root().join("app"))
        .env("TOWPATH_HOME", site.home())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    let mut stdout = follower.stdout.take().unwrap();
    while String::from_utf8_lossy(&lines).lines().count() < 3 {
        let read = tokio::time::timeout(LONGEST, stdout.read_buf(&mut lines)).await;
        assert!(read.unwrap().unwrap() > 0, "it ends by itself");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_is_the_commands_while_it_runs_and_as_before_afterwards() {
    let site = serving_site().await;
    let line = "echo \"size $(stty size)\"; read x; echo \"got $x\"; sleep 1000";
    let words = ["exec", "web", "--", "sh", "-c", line];
    let code = Terminal::run(&site, &words).sit(|terminal| {
        terminal.until(&format!("size {SIZE}"));
        terminal.write(b"typed\r");
        terminal.until("got typed");
        // Ctrl-C ends what runs there, and not this client.
        terminal.write(&[3]);
        terminal.code()
    });
    assert_eq!(code.await, Some(130));
}
