//! Commands in containers, one-off containers, logs and what containers use, by the real binary on
//! Docker: streams, exit codes, terminals, and that nothing is left behind.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::app::App;
use crate::site::{LONGEST, PROGRAM};
use crate::terminal::{SIZE, Terminal};

/// Says which byte each key is, one after the other, as soon as it is typed.
const KEYS: &str = "stty raw -echo; echo ready; \
    while key=$(dd bs=1 count=1 2>/dev/null | od -An -tx1); do echo \"key$key.\"; done";

/// The end of a line of [`KEYS`] for a byte.
fn said_of(key: u8) -> String {
    format!("key {key:02x}.")
}

/// Brings the app out.
async fn serving(name: &str) -> App {
    App::new(name).await.up().await
}

/// Starts the program; it is killed when it is dropped.
fn begin(app: &App, words: &[&str]) -> Child {
    Command::new(PROGRAM)
        .args(words)
        .current_dir(app.site.root().join("app"))
        .env("TOWPATH_HOME", app.site.home())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Waits until so many containers of the app are there, and so many processes in them have a word
/// among their arguments.
async fn until_left(app: &App, containers: usize, word: &str, processes: usize) {
    let deadline = Instant::now() + LONGEST;
    loop {
        let found = (
            app.containers().await.len(),
            crate::machine::with_argument(word).len(),
        );
        if found == (containers, processes) {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?} with {word}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn events(app: &App) -> Vec<Value> {
    let words = ["events", "--json", "--limit", "1000"];
    let events = app.site.run(&words).await.exited(0).json();
    events.as_array().unwrap().clone()
}

/// Waits until the trail has an event, and returns it.
async fn event(app: &App, what: &str, subject: &str) -> Value {
    let deadline = Instant::now() + LONGEST;
    loop {
        let events = events(app).await;
        let mut events = events.into_iter();
        let found = events.find(|one| one["what"] == what && one["subject"] == subject);
        if let Some(found) = found {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} of {subject}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_in_a_container_is_as_if_it_ran_here() {
    let app = serving("kexec").await;
    let site = &app.site;
    let line = "cat; echo \"$GIVEN in $TOWPATH_SERVICE of $VERSION\" >&2; exit 5";
    let words = ["exec", "-e", "GIVEN=a=b", "web", "--", "sh", "-c", line];
    let answer = site.run_with_input(&words, b"through\n").await.exited(5);
    assert_eq!(answer.stdout, "through\n");
    assert_eq!(answer.stderr, "a=b in web of 1\n");
    let large = "a line of no particular length\n".repeat(100_000);
    site.write("large", &large);
    let line = format!("'{PROGRAM}' exec production web -- cat < large > returned");
    let mut through = Command::new("sh");
    through
        .args(["-c", &line])
        .current_dir(site.root().join("app"))
        .env("TOWPATH_HOME", site.home())
        .kill_on_drop(true);
    let through = tokio::time::timeout(LONGEST, through.status()).await;
    assert!(through.unwrap().unwrap().success());
    let returned = std::fs::read_to_string(site.root().join("app/returned")).unwrap();
    assert!(returned == large, "{} bytes", returned.len());
    let words = ["exec", "-w", "/www", "-u", "65534", "web", "--", "sh", "-c"];
    let words = [&words[..], &["pwd; id -u"]].concat();
    assert_eq!(site.run(&words).await.exited(0).stdout, "/www\n65534\n");

    let missing = site.run(&["exec", "web", "--", "/no/such"]).await;
    let missing = missing.exited(127);
    assert!(missing.stderr.contains("/no/such"), "{}", missing.stderr);
    site.run(&["exec", "web", "--", "/www"]).await.exited(126);
    let words = ["exec", "web", "--", "sh", "-c", "kill -9 $$"];
    site.run(&words).await.exited(137);
    let nobody = site.run(&["exec", "nothing", "--", "true"]).await;
    assert!(nobody.exited(3).stderr.contains("`nothing`"));

    let events = events(&app).await;
    let mut started = events.iter().filter(|one| one["what"] == "exec.started");
    assert!(started.any(|one| one["reason"] == "cat"), "{events:?}");
    let codes: Vec<&Value> = events
        .iter()
        .filter(|one| one["what"] == "exec.ended")
        .map(|one| &one["reason"])
        .collect();
    for code in [5, 0, 127, 126, 137] {
        let wanted = json!(format!("exit code {code}"));
        assert!(codes.contains(&&wanted), "no {wanted} in {codes:?}");
    }
    let all = app.events().await;
    assert!(!all.contains("GIVEN") && !all.contains("/no/such"), "{all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_on_docker_gets_each_key_when_it_is_typed() {
    let app = serving("kterminal").await;
    // A shell may hear a signal just before it waits for a command, and heeds it when that has ended: none
    // takes long. Docker before 23 gives a terminal its size when the command runs already. The first process of
    // a container gets no signal that it does not wait for.
    let line = "trap 'exit 130' INT; \
        until size=$(stty size 2>/dev/null); [ \"$size\" = '35 91' ]; do sleep 0.1; done; \
        echo \"size $size\"; read x; echo \"got $x\"; while :; do sleep 0.1; done";
    for command in ["exec", "run"] {
        let words = [command, "web", "--", "sh", "-c", line];
        let code = Terminal::run(&app.site, &words).sit(|terminal| {
            terminal.until(&format!("size {SIZE}"));
            terminal.write(b"typed\r");
            terminal.until("got typed");
            // Ctrl-C ends what runs there, and not this client.
            terminal.write(&[3]);
            terminal.code()
        });
        assert_eq!(code.await, Some(130), "{command}");
    }
    // In a command Docker holds one key back, Ctrl-^, until the next one is typed.
    for (command, held) in [("exec", Some(0x1e)), ("run", None)] {
        let words = [command, "web", "--", "sh", "-c", KEYS];
        let sitting = Terminal::run(&app.site, &words).sit(move |terminal| {
            terminal.until("ready");
            for key in (0..=0x7f).filter(|key| Some(*key) != held) {
                terminal.write(&[key]);
                terminal.until(&said_of(key));
            }
            for key in held.into_iter().chain([b'q']) {
                terminal.write(&[key]);
            }
            terminal.until(&said_of(b'q'));
        });
        sitting.await;
    }
    app.settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_killed_leaves_nothing_running_on_docker() {
    let app = serving("kleft").await;
    let before = app.containers().await.len();
    for (command, mark, there) in [("exec", "97651", before), ("run", "97652", before + 1)] {
        let line = format!("echo begun; sleep {mark}; sleep {mark}");
        let mut client = begin(&app, &[command, "web", "--", "sh", "-c", &line]);
        let mut said = [0; 6];
        let mut stdout = client.stdout.take().unwrap();
        stdout.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"begun\n");
        until_left(&app, there, mark, 1).await;
        client.kill().await.unwrap();
        until_left(&app, before, mark, 0).await;
    }
    app.settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_with_nobody_attached_goes_on_and_its_end_is_in_the_trail() {
    let mut app = serving("kdetached").await;
    let before = app.containers().await.len();
    let line = "echo secret-word >/tmp/it; exit 6";
    let words = ["exec", "-d", "web", "--", "sh", "-c", line];
    let named = app.site.run(&words).await.exited(0).stdout;
    let ended = event(&app, "exec.ended", named.trim()).await;
    assert_eq!(ended["reason"], "exit code 6");

    let line = "echo working; sleep 97653; sleep 97653";
    let words = ["run", "-d", "web", "--", "sh", "-c", line];
    let long = app.site.run(&words).await.exited(0).stdout;
    let words = ["run", "-d", "web", "--", "sh", "-c", "sleep 1; exit 7"];
    let short = app.site.run(&words).await.exited(0).stdout;
    let started = event(&app, "run.started", short.trim()).await;
    assert_eq!(started["reason"], "sh");
    app.site.kill_control_plane().await;
    app.site.serve().await;
    let ended = event(&app, "run.ended", short.trim()).await;
    assert_eq!(ended["reason"], "exit code 7");
    until_left(&app, before + 1, "97653", 1).await;

    let status = app.site.run(&["status", "--json"]).await.exited(0).json();
    let mut services = status["services"].as_array().unwrap().iter();
    let web = services.find(|one| one["name"] == "web").unwrap();
    assert_eq!((&web["healthy"], &web["wanted"]), (&json!(2), &json!(2)));
    let (_, number) = long.trim().rsplit_once('-').unwrap();
    let logs = ["logs", "production", "--instance", number];
    let deadline = Instant::now() + LONGEST;
    while !app
        .site
        .run(&logs)
        .await
        .exited(0)
        .stdout
        .contains("working")
    {
        assert!(Instant::now() < deadline, "its log is never seen");
    }
    app.down().await;
    let ended = event(&app, "run.ended", long.trim()).await;
    assert_eq!(ended["reason"], "exit code 137");
    assert!(!app.events().await.contains("secret-word"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_of_containers_are_read_and_followed_over_a_release() {
    let app = App::new("klogs").await;
    let write = |version: &str| {
        app.open_gate(version);
        app.write_changed(version, |file| {
            let line = format!("echo one; echo web {version}; exec sh /serve web");
            file["services"]["web"]["command"] = json!(["sh", "-c", line]);
        });
    };
    write("1");
    let app = app.up().await;
    let logs = async |words: &[&str]| {
        let words = [&["logs", "production"], words].concat();
        app.site.run(&words).await.exited(0).stdout
    };
    let all = logs(&["web"]).await;
    assert_eq!(all.matches("one").count(), 2, "{all}");
    assert_eq!(all.matches("web 1").count(), 2, "{all}");
    let last = logs(&["web", "--tail", "1"]).await;
    assert_eq!(last.matches("one").count(), 0, "{last}");
    assert_eq!(last.matches("web 1").count(), 2, "{last}");
    assert_eq!(logs(&["store"]).await, "");

    let mut follower = begin(&app, &["logs", "production", "web", "--follow"]);
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut until = async |said: &str| {
        let reading = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains(said) {
                    return;
                }
            }
            panic!("it ends before {said}");
        };
        let read = tokio::time::timeout(LONGEST, reading).await;
        read.unwrap_or_else(|_| panic!("{said} is never read"));
    };
    until("web 1").await;
    app.open_gate("2");
    app.write_changed("2", |file| {
        let line = "echo web 2; exec sh /serve web";
        file["services"]["web"]["command"] = json!(["sh", "-c", line]);
    });
    app.deploy().await;
    until("web 2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_containers_use_is_told_once_or_again_and_again() {
    let app = serving("kstats").await;
    let once = app.site.run(&["stats", "--no-stream", "--json"]).await;
    let once = once.exited(0).json();
    let used = once["instances"].as_array().unwrap();
    // Two of the web, and the store.
    assert_eq!(used.len(), 3, "{once:#}");
    for one in used {
        assert!(one["memory_bytes"].as_u64().unwrap() > 0, "{one}");
        assert!(one["cpu_percent"].is_number(), "{one}");
        assert!(one["pids"].as_u64().unwrap() > 0, "{one}");
    }
    let words = ["stats", "production", "store", "--no-stream"];
    let table = app.site.run(&words).await.exited(0).stdout;
    assert!(
        table.contains("store-") && !table.contains("web-"),
        "{table}"
    );
    let mut follower = begin(&app, &["stats", "--json"]);
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        let line = tokio::time::timeout(LONGEST, lines.next_line()).await;
        let line = line.unwrap().unwrap().expect("it ends by itself");
        let told: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(told["instances"].as_array().unwrap().len(), 3, "{told}");
    }
}
