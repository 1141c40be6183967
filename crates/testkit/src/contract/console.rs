//! What every console promises, as tests that run over any of them. Not what an engine promises
//! besides.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use towpath_model::console::{
    Attachment, CommandEnd, Console, ConsoleCommand, Detached, DetachedEnd, Input, NOT_EXECUTABLE,
    NOT_FOUND, OneOff, OneOffs, Output, Session, WindowSize,
};
use towpath_model::id::InstanceId;
use towpath_model::workload::{Command, WorkloadSpec};

use super::drive::{
    dev, is_refused, observe, order, prepare, start, stop_and_wait, until_exited, until_running,
};
use super::{Behaviour, PATIENCE, Subject};

/// How often it is looked whether something is gone.
const INTERVAL: Duration = Duration::from_millis(20);

/// More than any buffer on the way has room for.
const LARGE: usize = 10_000_000;

/// An engine whose console is under contract. Its commands have a POSIX shell and `cat`, `sleep`,
/// `stty` and `true` at hand.
pub trait ConsoleSubject: Subject {
    /// Returns the console.
    fn console(&self) -> &dyn Console;
}

/// Runs the whole contract, each rule on an engine that `make` makes for it.
///
/// # Panics
///
/// Where a rule is broken; the rule's name is in the backtrace.
pub async fn console_contract<S: ConsoleSubject, F: Future<Output = S>>(make: impl Fn() -> F) {
    a_command_has_its_streams_its_code_and_its_surroundings(make().await).await;
    what_is_given_comes_back_unchanged(make().await).await;
    what_cannot_be_run_says_why(make().await).await;
    a_terminal_is_one_and_has_its_size(make().await).await;
    a_command_that_is_left_is_ended(make().await).await;
    a_command_ends_with_its_instance(make().await).await;
    a_one_off_is_no_instance_and_leaves_nothing(make().await).await;
    a_one_off_without_anybody_ends_when_it_is_not_wanted(make().await).await;
    what_an_instance_uses_is_counted(make().await).await;
}

fn command(line: &str) -> ConsoleCommand {
    ConsoleCommand {
        words: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
        variables: BTreeMap::new(),
        directory: None,
        user: None,
        attachment: Attachment::Streams,
    }
}

/// What came of a command.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    end: Option<CommandEnd>,
}

impl Heard {
    fn text(&self) -> (String, String) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&self.stdout), text(&self.stderr))
    }

    fn code(&self) -> Option<i32> {
        self.end.as_ref().map(|end| end.code)
    }
}

/// Hears a session to its end, or until it has said something.
async fn hear(session: &mut Session, until: Option<&str>) -> Heard {
    let mut heard = Heard::default();
    let hearing = async {
        while heard.end.is_none() {
            match session.output.next().await.expect("it can be heard") {
                Output::Stdout(bytes) => heard.stdout.extend(bytes),
                Output::Stderr(bytes) => heard.stderr.extend(bytes),
                Output::Ended(end) => heard.end = Some(end),
            }
            if until.is_some_and(|said| heard.text().0.contains(said)) {
                return;
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, hearing).await;
    assert!(in_time.is_ok(), "it does not end: {heard:?}");
    heard
}

async fn exec(subject: &impl ConsoleSubject, id: &InstanceId, command: &ConsoleCommand) -> Session {
    let session = subject.console().exec(id, command).await;
    let session = session.expect("a command can be run in an instance that runs");
    session.expect("somebody is attached")
}

/// Gives nothing, and hears the command to its end.
async fn run(subject: &impl ConsoleSubject, id: &InstanceId, command: &ConsoleCommand) -> Heard {
    let mut session = exec(subject, id, command).await;
    give(&mut session, Input::End).await;
    hear(&mut session, None).await
}

async fn give(session: &mut Session, input: Input) {
    let given = session.input.give(input).await;
    given.expect("a command can be given something");
}

async fn serving(subject: &impl Subject) -> InstanceId {
    prepare(subject, &dev(), &[]).await;
    let id = start(subject, Behaviour::Serves, 1).await;
    until_running(subject, &id).await;
    id
}

/// Returns how long to sleep so that nobody else on this machine sleeps as long: the processes of one
/// test are told from those of others by it, also from those in containers.
fn long_nap() -> String {
    static NAPS: AtomicU32 = AtomicU32::new(0);
    let nap = NAPS.fetch_add(1, Ordering::Relaxed);
    format!("{}{:03}", std::process::id() + 10_000, nap % 1_000)
}

/// Returns how many processes of this machine have a word among their arguments.
fn processes_with(word: &str) -> usize {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let words = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    words
        .filter(|words| {
            words
                .split(|byte| *byte == 0)
                .any(|one| one == word.as_bytes())
        })
        .count()
}

/// Waits until so many processes have a word among their arguments.
async fn until_processes(word: &str, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while processes_with(word) != count {
        let left = processes_with(word);
        assert!(Instant::now() < deadline, "{left} processes have {word}");
        // sleep: processes that end tell nobody but their parents.
        sleep(INTERVAL).await;
    }
}

async fn a_command_has_its_streams_its_code_and_its_surroundings(subject: impl ConsoleSubject) {
    let id = serving(&subject).await;
    let mut asked = command("printf \"$GIVEN $TOWPATH_INSTANCE\"; pwd >&2; exit 3");
    asked.variables = BTreeMap::from([("GIVEN".to_owned(), "a b".to_owned())]);
    asked.directory = Some("/proc".to_owned());
    let heard = run(&subject, &id, &asked).await;
    let said = (format!("a b {id}"), "/proc\n".to_owned());
    assert_eq!((heard.text(), heard.code()), (said, Some(3)));
    let killed = run(&subject, &id, &command("kill -9 $$")).await;
    assert_eq!(killed.code(), Some(137));
    stop_and_wait(&subject, &id).await;
    let ended = subject.console().exec(&id, &command("true")).await;
    assert!(is_refused(&ended), "{ended:?}");
}

async fn what_is_given_comes_back_unchanged(subject: impl ConsoleSubject) {
    let id = serving(&subject).await;
    let bytes: Vec<u8> = (0..LARGE)
        .map(|index| u8::try_from((index * 31 + index / 256) % 256).unwrap_or_default())
        .collect();
    let Session {
        mut input,
        mut output,
    } = exec(&subject, &id, &command("cat")).await;
    let giving = async {
        for piece in bytes.chunks(50_000) {
            let given = input.give(Input::Data(piece.to_vec())).await;
            given.expect("a command can be given something");
        }
        let given = input.give(Input::End).await;
        given.expect("its input can end");
    };
    let hearing = async {
        let mut heard = Vec::new();
        loop {
            match output.next().await.expect("it can be heard") {
                Output::Stdout(bytes) => heard.extend(bytes),
                Output::Stderr(bytes) => assert_eq!(bytes, b""),
                Output::Ended(end) => return (heard, end.code),
            }
        }
    };
    let both = async { tokio::join!(giving, hearing) };
    let ((), (heard, code)) = tokio::time::timeout(PATIENCE, both)
        .await
        .expect("nothing waits for ever");
    assert_eq!((heard.len(), code), (LARGE, 0));
    assert!(heard == bytes, "something was changed");
    stop_and_wait(&subject, &id).await;
}

async fn what_cannot_be_run_says_why(subject: impl ConsoleSubject) {
    let id = serving(&subject).await;
    for (program, code) in [("/no/such/program", NOT_FOUND), ("/", NOT_EXECUTABLE)] {
        let mut asked = command("");
        asked.words = vec![program.to_owned()];
        let heard = run(&subject, &id, &asked).await;
        assert_eq!(heard.code(), Some(code), "{heard:?}");
        let error = heard.end.and_then(|end| end.error).unwrap_or_default();
        assert!(error.contains(program), "{error}");
    }
    stop_and_wait(&subject, &id).await;
}

async fn a_terminal_is_one_and_has_its_size(subject: impl ConsoleSubject) {
    let id = serving(&subject).await;
    let size = |columns, rows| WindowSize { columns, rows };
    // A shell that waits for a command which ends well when it is interrupted goes on: so the last one
    // takes its place.
    let mut asked = command(
        "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo ready; read x; stty size; echo there; exec cat",
    );
    asked.attachment = Attachment::Terminal(size(101, 33));
    let mut session = exec(&subject, &id, &asked).await;
    hear(&mut session, Some("ready")).await;
    give(&mut session, Input::Resize(size(99, 31))).await;
    give(&mut session, Input::Data(b"go\n".to_vec())).await;
    let heard = hear(&mut session, Some("there")).await;
    assert!(heard.text().0.contains("31 99"), "{heard:?}");
    // A control character is the terminal's: it interrupts what runs there.
    give(&mut session, Input::Data(vec![3])).await;
    let heard = hear(&mut session, None).await;
    assert_eq!(heard.code(), Some(130), "{heard:?}");
    asked.words = ["/bin/sh", "-c", "stty size; printf '\\001\\002'"]
        .map(str::to_owned)
        .to_vec();
    // The size is there before anything is typed, though perhaps not before anything is run.
    let mut session = exec(&subject, &id, &asked).await;
    let heard = hear(&mut session, None).await;
    assert!(heard.stdout.ends_with(&[1, 2]), "{heard:?}");
    assert_eq!(heard.code(), Some(0));
    stop_and_wait(&subject, &id).await;
}

async fn a_command_that_is_left_is_ended(subject: impl ConsoleSubject) {
    let id = serving(&subject).await;
    let nap = &long_nap();
    let line = &format!("trap '' HUP TERM INT PIPE; sleep {nap} & echo begun; wait; sleep {nap}");
    for attachment in [
        Attachment::Streams,
        Attachment::Terminal(WindowSize {
            columns: 80,
            rows: 24,
        }),
    ] {
        let mut asked = command(line);
        asked.attachment = attachment;
        let mut session = exec(&subject, &id, &asked).await;
        hear(&mut session, Some("begun")).await;
        until_processes(nap, 1).await;
        drop(session);
        until_processes(nap, 0).await;
    }
    until_running(&subject, &id).await;
    stop_and_wait(&subject, &id).await;
}

async fn a_command_ends_with_its_instance(subject: impl ConsoleSubject) {
    let id = serving(&subject).await;
    let nap = &long_nap();
    let attached = command(&format!("echo begun; exec sleep {nap}"));
    let mut session = exec(&subject, &id, &attached).await;
    hear(&mut session, Some("begun")).await;
    let mut detached = command(&format!("exec sleep {nap}"));
    detached.attachment = Attachment::Detached;
    let nobody = subject.console().exec(&id, &detached).await;
    assert!(matches!(nobody, Ok(None)), "{nobody:?}");
    until_processes(nap, 2).await;
    stop_and_wait(&subject, &id).await;
    let heard = hear(&mut session, None).await;
    assert_ne!(heard.code(), Some(0), "{heard:?}");
    until_processes(nap, 0).await;
    assert_ne!(end_of(&subject, Detached::Command, &id).await, 0);
}

/// Returns a specification whose instances run a shell's line.
fn of_line(subject: &impl Subject, line: &str) -> WorkloadSpec {
    let mut spec = subject.spec(Behaviour::Serves);
    let words = ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
    match &mut spec.container {
        Some(container) => container.entrypoint = Some(words),
        None => spec.command = Command::Exec(words),
    }
    spec
}

fn one_off(subject: &impl Subject, number: u32, line: &str, attachment: Attachment) -> OneOff {
    OneOff {
        start: order(of_line(subject, line), &dev(), number),
        attachment,
    }
}

async fn begin(subject: &impl ConsoleSubject, one: &OneOff) -> Option<Session> {
    let begun = subject.console().run(one, &BTreeMap::new()).await;
    begun.expect("a one-off can be started")
}

async fn a_one_off_is_no_instance_and_leaves_nothing(mut subject: impl ConsoleSubject) {
    let id = serving(&subject).await;
    let line = "echo $TOWPATH_INSTANCE; cat; sleep 0; exit 4";
    let one = one_off(&subject, 7, line, Attachment::Streams);
    let mut session = begin(&subject, &one).await.expect("somebody is attached");
    let seen = observe(&subject, &dev()).await.instances;
    let seen: Vec<_> = seen.into_iter().map(|one| one.id).collect();
    assert_eq!(seen, std::slice::from_ref(&id));
    give(&mut session, Input::Data(b"given\n".to_vec())).await;
    give(&mut session, Input::End).await;
    let heard = hear(&mut session, None).await;
    let said = (format!("{}\ngiven\n", one.start.id), String::new());
    assert_eq!((heard.text(), heard.code()), (said, Some(4)));

    // One that is left is ended; one that is left by a restart too.
    let nap = &long_nap();
    let line = &format!("echo begun; sleep {nap}; sleep {nap}");
    let one = one_off(&subject, 8, line, Attachment::Streams);
    let mut session = begin(&subject, &one).await.expect("somebody is attached");
    hear(&mut session, Some("begun")).await;
    settle(&subject, OneOffs::Keep).await;
    until_processes(nap, 1).await;
    drop(session);
    until_processes(nap, 0).await;
    let terminal = Attachment::Terminal(WindowSize {
        columns: 80,
        rows: 24,
    });
    let one = one_off(&subject, 9, line, terminal);
    let mut session = begin(&subject, &one).await.expect("somebody is attached");
    hear(&mut session, Some("begun")).await;
    subject.restart().await;
    settle(&subject, OneOffs::Keep).await;
    until_processes(nap, 0).await;
    drop(session);
    until_running(&subject, &id).await;
    stop_and_wait(&subject, &id).await;
}

async fn settle(subject: &impl ConsoleSubject, wanted: OneOffs) -> Vec<DetachedEnd> {
    let settled = subject.console().settle(&dev(), wanted).await;
    settled.expect("one-offs can be settled")
}

/// Waits until it is told how something ended that nobody was attached to, and returns the code. It
/// is told once.
async fn end_of(subject: &impl ConsoleSubject, of: Detached, id: &InstanceId) -> i32 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ends = settle(subject, OneOffs::Keep).await;
        if let [end] = ends.as_slice() {
            assert_eq!((end.of, &end.id), (of, id));
            assert_eq!(settle(subject, OneOffs::Keep).await, []);
            return end.code;
        }
        assert_eq!(ends, []);
        assert!(Instant::now() < deadline, "the end of {id} is never told");
        // sleep: an end is told to whoever settles.
        sleep(INTERVAL).await;
    }
}

async fn a_one_off_without_anybody_ends_when_it_is_not_wanted(mut subject: impl ConsoleSubject) {
    let id = serving(&subject).await;
    let nap = &long_nap();
    let line = format!("sleep {nap}; sleep {nap}");
    let one = one_off(&subject, 7, &line, Attachment::Detached);
    assert!(begin(&subject, &one).await.is_none());
    let short = one_off(&subject, 8, "exit 6", Attachment::Detached);
    assert!(begin(&subject, &short).await.is_none());
    let code = end_of(&subject, Detached::OneOff, &short.start.id).await;
    assert_eq!(code, 6);
    until_processes(nap, 1).await;
    subject.restart().await;
    settle(&subject, OneOffs::Keep).await;
    until_processes(nap, 1).await;
    let seen = observe(&subject, &dev()).await.instances;
    assert_eq!(seen.len(), 1, "{seen:?}");
    let ends = settle(&subject, OneOffs::End).await;
    until_processes(nap, 0).await;
    let killed = DetachedEnd {
        id: one.start.id.clone(),
        of: Detached::OneOff,
        code: 137,
    };
    assert_eq!(ends, [killed]);
    assert_eq!(settle(&subject, OneOffs::End).await, []);
    until_running(&subject, &id).await;
    stop_and_wait(&subject, &id).await;
}

async fn what_an_instance_uses_is_counted(subject: impl ConsoleSubject) {
    let id = serving(&subject).await;
    let used = subject.console().usage(&dev()).await;
    let used = used.expect("it can be counted");
    assert_eq!(used.keys().collect::<Vec<_>>(), [&id]);
    let usage = used.get(&id).cloned().unwrap_or_default();
    assert!(usage.memory_bytes > 0 && usage.pids > 0, "{usage:?}");
    let busy = of_line(&subject, "while :; do :; done");
    let busy = order(busy, &dev(), 2);
    let started = subject.engine().start(&busy, &BTreeMap::new()).await;
    started.expect("an instance can be started");
    until_running(&subject, &busy.id).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let used = subject.console().usage(&dev()).await;
        let used = used.expect("it can be counted");
        let cpu = |id| used.get(id).map(|usage| usage.cpu).unwrap_or_default();
        if cpu(&busy.id) > cpu(&id) + Duration::from_millis(200) {
            break;
        }
        assert!(Instant::now() < deadline, "{used:?}");
        // sleep: time on a CPU is not waited for in another way.
        sleep(INTERVAL).await;
    }
    subject
        .engine()
        .stop(&busy.id, &super::drive::stop(Duration::ZERO))
        .await
        .expect("it can be stopped");
    until_exited(&subject, &busy.id).await;
    stop_and_wait(&subject, &id).await;
    let used = subject.console().usage(&dev()).await;
    assert!(used.is_ok_and(|used| used.is_empty()));
}
