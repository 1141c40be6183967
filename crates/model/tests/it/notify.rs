//! What people are told: which events make which messages, what belongs together, what is counted,
//! when it is well again.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use towpath_model::event::Event;
use towpath_model::id::{Digest, EnvironmentId};
use towpath_model::notify::{
    Channel, Facts, Message, Occurrence, Origin, Setting, Severity, State, Target, Targets,
    origin_of, route,
};

const DEPLOYMENT: &str = "shop/production/12";

fn production() -> EnvironmentId {
    "shop/production".parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn target(on: &[&str], severity: Severity) -> Target {
    Target {
        channel: Channel::Slack {
            url: Setting::Plain("http://127.0.0.1/".to_owned()),
        },
        on: on.iter().map(|&word| word.to_owned()).collect(),
        environments: Vec::new(),
        severity,
        template: None,
        group: Duration::from_secs(10),
        repeat: Duration::from_mins(10),
    }
}

/// Events, what is remembered of them, and who was told what.
struct Story {
    targets: Arc<Targets>,
    state: State,
    sequence: u64,
    told: Vec<(String, Message)>,
}

impl Story {
    fn new(targets: &[(&str, Target)]) -> Self {
        let targets = targets.iter().cloned();
        let targets = targets.map(|(name, target)| (name.parse().unwrap(), target));
        Self {
            targets: Arc::new(targets.collect()),
            state: State::default(),
            sequence: 0,
            told: Vec::new(),
        }
    }

    fn occurrence(&mut self, second: i64, [what, subject, to]: [&str; 3]) -> Occurrence {
        self.sequence += 1;
        let event = Event {
            sequence: self.sequence,
            at: at(second),
            actor: "towpath".to_owned(),
            environment: Some(production()),
            what: what.to_owned(),
            subject: subject.to_owned(),
            from: None,
            to: (!to.is_empty()).then(|| to.to_owned()),
            reason: Some("the check failed".to_owned()),
            data: None,
            hash: Digest::of(&self.sequence.to_be_bytes()),
        };
        Occurrence {
            event,
            about: Some(production()),
            environment: production(),
            facts: Facts::default(),
            targets: Arc::clone(&self.targets),
        }
    }

    /// Something happens, and is looked at in the same second.
    fn event(&mut self, second: i64, event: [&str; 3]) {
        let occurrence = self.occurrence(second, event);
        self.turn(second, &[occurrence]);
    }

    fn turn(&mut self, second: i64, occurrences: &[Occurrence]) {
        let routed = route(&self.state, occurrences, at(second));
        // What is remembered survives being written down.
        let json = serde_json::to_string(&routed.state).unwrap();
        self.state = serde_json::from_str(&json).unwrap();
        assert_eq!(self.state, routed.state);
        let told = routed.messages.into_iter();
        self.told
            .extend(told.map(|one| (one.lane.target.to_string(), one.message)));
    }

    /// Time goes on, and nothing happens.
    fn until(&mut self, second: i64) {
        self.turn(second, &[]);
    }

    fn kinds(&self) -> Vec<&str> {
        self.told
            .iter()
            .map(|(_, message)| message.kind.as_str())
            .collect()
    }
}

#[test]
fn what_happens_to_one_deployment_within_the_window_is_one_message_that_says_the_worst() {
    let mut story = Story::new(&[(
        "ops",
        target(&["deployment.*", "environment.*"], Severity::Info),
    )]);
    story.event(0, ["deployment.requested", DEPLOYMENT, ""]);
    story.event(4, ["deployment.failing", DEPLOYMENT, ""]);
    story.event(9, ["deployment.ended", DEPLOYMENT, "failed (rolled back)"]);
    assert_eq!(story.kinds(), [""; 0], "the window is open");
    story.until(10);
    assert_eq!(story.kinds(), ["deployment.failed"]);
    let (_, message) = &story.told[0];
    let also: Vec<&str> = message
        .also
        .iter()
        .map(|also| also.title.as_str())
        .collect();
    assert_eq!(
        also,
        [
            "shop/production: deployment 12 was asked for",
            "shop/production: deployment 12 fails and goes back",
        ]
    );
    assert!(message.text.contains("Meanwhile:"), "{}", message.text);
    story.until(10_000);
    assert_eq!(story.told.len(), 1);
}

#[test]
fn two_deployments_are_two_messages() {
    let mut story = Story::new(&[("ops", target(&[], Severity::Warning))]);
    story.event(0, ["deployment.ended", DEPLOYMENT, "failed (rolled back)"]);
    story.event(
        1,
        [
            "deployment.ended",
            "shop/production/13",
            "failed (rolled back)",
        ],
    );
    story.until(11);
    assert_eq!(story.kinds(), ["deployment.failed", "deployment.failed"]);
}

#[test]
fn the_same_again_is_counted_and_told_once_when_the_time_is_over() {
    let mut story = Story::new(&[("ops", target(&[], Severity::Warning))]);
    for second in 0..6 {
        story.event(
            second * 60,
            ["instance.exited", "shop/production/web-3", ""],
        );
    }
    assert_eq!(story.told.len(), 1);
    story.until(599);
    assert_eq!(story.told.len(), 1);
    story.until(600);
    assert_eq!(story.told.len(), 2);
    let (_, message) = &story.told[1];
    assert_eq!(message.repeated.map(|repeated| repeated.count), Some(5));
    assert!(
        message.title.contains("5 times more since"),
        "{}",
        message.title
    );
    story.until(100_000);
    assert_eq!(story.told.len(), 2, "nothing more happened");
}

#[test]
fn who_was_told_that_something_is_not_well_is_told_when_it_is_and_nobody_else() {
    let mut story = Story::new(&[
        ("critical", target(&[], Severity::Critical)),
        ("warning", target(&["instance.unhealthy"], Severity::Info)),
    ]);
    story.event(0, ["instance.healthy", "shop/production/web-1", ""]);
    story.event(20, ["instance.unhealthy", "shop/production/web-1", ""]);
    story.event(100, ["instance.healthy", "shop/production/web-2", ""]);
    story.until(120);
    assert_eq!(story.kinds(), ["instance.unhealthy", "instance.healthy"]);
    assert!(story.told.iter().all(|(target, _)| target == "warning"));
    assert_eq!(story.told[1].1.resolved_since, Some(at(20)));
    story.event(200, ["instance.healthy", "shop/production/web-3", ""]);
    story.until(300);
    assert_eq!(story.told.len(), 2, "it was well already");
}

#[test]
fn a_release_that_is_brought_out_after_a_failed_one_resolves_it() {
    let mut story = Story::new(&[("ops", target(&["deployment.failed"], Severity::Info))]);
    story.event(0, ["deployment.ended", DEPLOYMENT, "failed"]);
    story.event(500, ["deployment.ended", "shop/production/13", "succeeded"]);
    story.until(600);
    assert_eq!(story.kinds(), ["deployment.failed", "deployment.succeeded"]);
    assert!(story.told[1].1.title.starts_with("Well again: "));
}

#[test]
fn what_flaps_is_told_a_few_times_whatever_it_does() {
    let mut story = Story::new(&[("ops", target(&["instance.*"], Severity::Info))]);
    for round in 0..600 {
        let what = ["instance.unhealthy", "instance.healthy"][usize::from(round % 2 == 1)];
        story.event(round * 6, [what, "shop/production/web-1", ""]);
    }
    assert!(story.told.len() <= 24, "{} in an hour", story.told.len());
}

#[test]
fn a_target_gets_its_environments_and_what_matters_enough() {
    let elsewhere = Target {
        environments: vec!["staging".parse().unwrap()],
        ..target(&[], Severity::Info)
    };
    let mut story = Story::new(&[
        ("elsewhere", elsewhere),
        ("loud", target(&[], Severity::Critical)),
    ]);
    story.event(0, ["deployment.paused", DEPLOYMENT, ""]);
    story.event(30, ["secret.set", "secret key", ""]);
    story.until(60);
    assert_eq!(story.kinds(), [""; 0]);
}

#[test]
fn what_instances_do_in_a_deployment_is_told_by_its_end_unless_somebody_asks_for_it() {
    let mut story = Story::new(&[
        ("ops", target(&[], Severity::Warning)),
        ("all", target(&["instance.exited"], Severity::Info)),
    ]);
    story.event(0, ["deployment.requested", DEPLOYMENT, ""]);
    story.event(20, ["instance.exited", "shop/production/web-3", ""]);
    story.event(40, ["deployment.ended", DEPLOYMENT, "failed (rolled back)"]);
    story.event(60, ["instance.exited", "shop/production/worker-1", ""]);
    story.until(80);
    let told: Vec<(&str, &str)> = story
        .told
        .iter()
        .map(|(target, message)| (target.as_str(), message.kind.as_str()))
        .collect();
    let exited = "instance.exited";
    let wanted = [
        ("all", exited),
        ("ops", "deployment.failed"),
        ("all", exited),
        ("ops", exited),
    ];
    assert_eq!(told, wanted);
}

#[test]
fn a_template_is_the_text_and_nothing_else_changes() {
    let worded = Target {
        template: Some("{{ severity }}: {{ title }} ({{ reason }})".to_owned()),
        ..target(&[], Severity::Info)
    };
    let mut story = Story::new(&[("ops", worded)]);
    story.event(0, ["deployment.paused", DEPLOYMENT, ""]);
    story.until(10);
    let text = "warning: shop/production: deployment 12 waits for a person (the check failed)";
    assert_eq!(story.told[0].1.text, text);
}

#[test]
fn a_flood_is_bounded_in_what_is_remembered_and_in_each_message() {
    let mut story = Story::new(&[("ops", target(&[], Severity::Info))]);
    let mut flood = Vec::new();
    for number in 0..2000 {
        let subject = format!("shop/production/{number}");
        flood.push(story.occurrence(0, ["deployment.requested", &subject, ""]));
    }
    for _ in 0..100 {
        flood.push(story.occurrence(0, ["deployment.resumed", DEPLOYMENT, ""]));
        flood.push(story.occurrence(0, ["deployment.paused", DEPLOYMENT, ""]));
    }
    story.turn(0, &flood);
    let size = serde_json::to_string(&story.state).unwrap().len();
    assert!(size < 2_000_000, "{size} bytes");
    story.until(60);
    assert!(
        story
            .told
            .iter()
            .all(|(_, message)| message.also.len() <= 21)
    );
    assert!(
        story.told.len() >= 2000,
        "each was told: {}",
        story.told.len()
    );
}

/// Events that may come in any order.
const ANY: [[&str; 3]; 8] = [
    ["deployment.requested", DEPLOYMENT, ""],
    ["deployment.failing", DEPLOYMENT, ""],
    ["deployment.ended", DEPLOYMENT, "failed (rolled back)"],
    ["deployment.ended", "shop/production/13", "succeeded"],
    ["instance.exited", "shop/production/web-1", ""],
    ["instance.unhealthy", "shop/production/worker-1", ""],
    ["instance.healthy", "shop/production/web-2", ""],
    ["environment.held", "shop/production", ""],
];

proptest! {
    /// A control plane that was killed reads the same events in other portions.
    #[test]
    fn it_makes_no_difference_in_which_portions_events_are_read(
        picks in prop::collection::vec((0..ANY.len(), 0..400_i64), 1..40),
        cut in 0..40_usize,
    ) {
        let targets = [
            ("all", target(&[], Severity::Info)),
            ("bad", Target { group: Duration::ZERO, ..target(&["deployment.failed", "instance.*"], Severity::Warning) }),
        ];
        let (mut one, mut two) = (Story::new(&targets), Story::new(&targets));
        let mut second = 0;
        for chunk in picks.chunks(5) {
            second += chunk[0].1;
            let occurrences: Vec<Occurrence> =
                chunk.iter().map(|(pick, _)| one.occurrence(second, ANY[*pick])).collect();
            one.turn(second, &occurrences);
            let (first, rest) = occurrences.split_at(cut.min(occurrences.len()));
            two.turn(second, first);
            two.turn(second, rest);
        }
        one.until(100_000);
        two.until(100_000);
        prop_assert_eq!(&one.told, &two.told);
    }

    /// Whatever matters is in some message: as its subject, as a line of another, or in a count.
    #[test]
    fn nothing_that_is_wanted_is_lost(
        picks in prop::collection::vec((0..ANY.len(), 0..700_i64), 1..60),
    ) {
        let mut story = Story::new(&[("all", target(&[], Severity::Info))]);
        let (mut second, mut wanted) = (0, 0);
        for (pick, pause) in picks {
            second += pause;
            story.event(second, ANY[pick]);
            wanted += 1;
        }
        story.until(1_000_000);
        let told: usize = story.told.iter().map(|(_, message)| {
            let again = message.repeated.map_or(1, |repeated| usize::try_from(repeated.count).unwrap());
            again + message.also.len()
        }).sum();
        prop_assert_eq!(told, wanted);
        let mut ids: Vec<&str> = story.told.iter().map(|(_, message)| message.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), story.told.len(), "an id is of one message");
    }
}

#[test]
fn what_another_hand_did_and_what_is_refused_is_told_and_grouped() {
    let mut story = Story::new(&[("ops", target(&[], Severity::Warning))]);
    let drift = |second| (second, ["environment.drifted", "shop/production", ""]);
    let happened = [drift(0), drift(1), drift(2)];
    let mut occurrences: Vec<Occurrence> = happened
        .into_iter()
        .map(|(second, what)| story.occurrence(second, what))
        .collect();
    let mut refused = story.occurrence(3, ["reference.refused", "shop refs/heads/main", ""]);
    refused.event.environment = None;
    refused.about = None;
    assert_eq!(
        origin_of(&refused.event),
        Some(Origin::App("shop".parse().unwrap()))
    );
    occurrences.push(refused);
    let routed = route(&State::default(), &occurrences, at(3));
    assert!(routed.messages.is_empty(), "it is gathered first");
    let routed = route(&routed.state, &[], at(20));
    let titles: Vec<&str> = routed
        .messages
        .iter()
        .map(|one| one.message.title.as_str())
        .collect();
    assert_eq!(
        titles,
        [
            "shop: branch main was refused",
            "shop/production was changed by another hand",
        ]
    );
}
