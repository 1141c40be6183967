//! What is remembered between events: messages in the making, what was told lately, and what is not
//! well. Bounded: of too much the oldest goes. It is written down with the place in the trail.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::kind::{Kind, Problem};
use super::{Channel, Message, Repeated, Target, letter};
use crate::event::Event;
use crate::id::{EnvironmentId, TargetName};
use crate::instance::after;

/// The most messages in the making; the oldest is sent at once when there are more.
const MOST_PENDING: usize = 500;

/// The most things that were told lately; the oldest is forgotten when there are more.
const MOST_TOLD: usize = 1000;

/// The most problems that are waited for to be well; the oldest is forgotten when there are more.
const MOST_OPEN: usize = 1000;

/// The most events that one message is made of; more are counted.
const MOST_TOGETHER: usize = 20;

/// The way of messages to one target of one environment. They stay in order in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lane {
    /// The environment whose secrets are used.
    pub environment: EnvironmentId,
    /// The target.
    pub target: TargetName,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.environment, self.target)
    }
}

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Messages in the making, by lane and matter.
    pending: BTreeMap<String, Pending>,
    /// What was told lately, by lane, kind and matter.
    told: BTreeMap<String, Told>,
    /// Since when things are not well, by lane and problem.
    open: BTreeMap<String, Timestamp>,
    /// The deployments under way, by environment.
    deploying: BTreeMap<EnvironmentId, BTreeSet<String>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pending {
    lane: Lane,
    channel: Channel,
    template: Option<String>,
    until: Timestamp,
    messages: Vec<Message>,
    untold: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Told {
    lane: Lane,
    target: Target,
    since: Timestamp,
    until: Timestamp,
    count: u32,
    /// The last one that was not told.
    last: Option<Message>,
    /// What is not well by it, and whether it still is not.
    problem: Option<(String, bool)>,
}

/// A message that is to be sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outgoing {
    /// On which way.
    pub lane: Lane,
    /// How.
    pub channel: Channel,
    /// What.
    pub message: Message,
}

/// Something that is to be told in one lane.
pub(super) struct Notice<'a> {
    pub(super) lane: Lane,
    pub(super) target: &'a Target,
    pub(super) kind: &'a Kind,
    /// What belongs together.
    pub(super) matter: &'a str,
    /// Of what a problem is one.
    pub(super) scope: &'a str,
    /// Whether the target wants it for itself, not only as the end of what it was told of.
    pub(super) wanted: bool,
    pub(super) message: Message,
}

impl State {
    /// Follows which deployments are under way.
    pub(super) fn follow(&mut self, event: &Event) {
        let Some(id) = &event.environment else {
            return;
        };
        match event.what.as_str() {
            "deployment.requested" => {
                let subjects = self.deploying.entry(id.clone()).or_default();
                subjects.insert(event.subject.clone());
            }
            "deployment.ended" | "deployment.aborted" | "deployment.superseded" => {
                if let Some(subjects) = self.deploying.get_mut(id) {
                    subjects.remove(&event.subject);
                    if subjects.is_empty() {
                        self.deploying.remove(id);
                    }
                }
            }
            "environment.destroyed" => {
                self.deploying.remove(id);
            }
            _ => {}
        }
    }

    /// Tells whether a deployment is under way where something happens.
    pub(super) fn is_deploying(&self, event: &Event) -> bool {
        let id = event.environment.as_ref();
        id.is_some_and(|id| self.deploying.contains_key(id))
    }

    /// Takes in something that is to be told.
    pub(super) fn take(&mut self, notice: Notice<'_>, now: Timestamp) {
        let problem = |word: &str| format!("{}|{word}|{}", notice.lane, notice.scope);
        let begins = match notice.kind.problem {
            Some(Problem::Ends(word)) => {
                let key = problem(word);
                self.is_well(&key);
                if let Some(since) = self.open.remove(&key) {
                    let message = letter::resolved(notice.message, since);
                    return self.gather(&notice.lane, notice.target, notice.matter, message, now);
                }
                None
            }
            Some(Problem::Begins(word)) => Some(problem(word)),
            None => None,
        };
        if !notice.wanted {
            return;
        }
        let key = format!("{}|{}|{}", notice.lane, notice.kind.word, notice.matter);
        if let Some(told) = self.told.get_mut(&key).filter(|told| now < told.until) {
            told.count = told.count.saturating_add(1);
            told.last = Some(notice.message);
            told.problem = begins.map(|problem| (problem, true));
            return;
        }
        let at = notice.message.at;
        if let Some(problem) = &begins {
            self.open.entry(problem.clone()).or_insert(at);
        }
        let told = Told {
            lane: notice.lane.clone(),
            target: notice.target.clone(),
            since: at,
            until: after(now, notice.target.repeat),
            count: 0,
            last: None,
            problem: begins.map(|problem| (problem, true)),
        };
        self.told.insert(key, told);
        self.gather(
            &notice.lane,
            notice.target,
            notice.matter,
            notice.message,
            now,
        );
    }

    /// Notes that a problem ended, for what is only counted at present.
    fn is_well(&mut self, problem: &str) {
        for told in self.told.values_mut() {
            if let Some((key, persists)) = &mut told.problem
                && key == problem
            {
                *persists = false;
            }
        }
    }

    /// Adds a message to the one in the making in its matter.
    fn gather(
        &mut self,
        lane: &Lane,
        target: &Target,
        matter: &str,
        message: Message,
        now: Timestamp,
    ) {
        let key = format!("{lane}|{matter}");
        let pending = self.pending.entry(key).or_insert_with(|| Pending {
            lane: lane.clone(),
            channel: target.channel.clone(),
            template: target.template.clone(),
            until: after(now, target.group),
            messages: Vec::new(),
            untold: 0,
        });
        if pending.messages.len() == MOST_TOGETHER {
            // The first tells how it began, the last how it is.
            pending.messages.remove(1);
            pending.untold = pending.untold.saturating_add(1);
        }
        pending.messages.push(message);
    }

    /// Takes out what is due.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<Outgoing> {
        let mut due = Vec::new();
        let over = |pending: &Pending| pending.until <= now;
        let ready: Vec<Pending> = extract(&mut self.pending, over);
        due.extend(ready.into_iter().filter_map(Pending::finish));
        while self.pending.len() > MOST_PENDING
            && let Some(oldest) = oldest(&self.pending, |pending| pending.until)
        {
            due.extend(self.pending.remove(&oldest).and_then(Pending::finish));
        }
        due.extend(self.counted(now));
        while self.told.len() > MOST_TOLD
            && let Some(oldest) = oldest(&self.told, |told| told.until)
        {
            self.told.remove(&oldest);
        }
        while self.open.len() > MOST_OPEN
            && let Some(oldest) = oldest(&self.open, |since| *since)
        {
            self.open.remove(&oldest);
        }
        due
    }

    /// Tells what was only counted for long enough.
    fn counted(&mut self, now: Timestamp) -> Vec<Outgoing> {
        let mut due = Vec::new();
        self.told
            .retain(|_, told| now < told.until || told.last.is_some());
        for told in self.told.values_mut().filter(|told| told.until <= now) {
            let Some(last) = told.last.take() else {
                continue;
            };
            if let Some((problem, true)) = &told.problem {
                self.open.entry(problem.clone()).or_insert(last.at);
            }
            let repeated = Repeated {
                count: told.count,
                since: told.since,
            };
            told.count = 0;
            told.since = last.at;
            told.until = after(now, told.target.repeat);
            let message = letter::again(last, repeated);
            due.push(Outgoing {
                lane: told.lane.clone(),
                channel: told.target.channel.clone(),
                message: letter::finish(message, told.target.template.as_deref()),
            });
        }
        due
    }

    /// Returns when something is due next though nothing happens.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        let pending = self.pending.values().map(|pending| pending.until);
        let told = self.told.values().map(|told| told.until);
        pending.chain(told).min()
    }
}

impl Pending {
    fn finish(self) -> Option<Outgoing> {
        let message = letter::together(self.messages, self.untold)?;
        Some(Outgoing {
            lane: self.lane,
            channel: self.channel,
            message: letter::finish(message, self.template.as_deref()),
        })
    }
}

/// Takes out of a map what is over, in the order of the time at which it was begun.
fn extract(map: &mut BTreeMap<String, Pending>, over: impl Fn(&Pending) -> bool) -> Vec<Pending> {
    let keys: Vec<String> = map
        .iter()
        .filter(|(_, one)| over(one))
        .map(|(key, _)| key.clone())
        .collect();
    let mut out: Vec<Pending> = keys.iter().filter_map(|key| map.remove(key)).collect();
    out.sort_by_key(|one| one.until);
    out
}

fn oldest<T>(map: &BTreeMap<String, T>, age: impl Fn(&T) -> Timestamp) -> Option<String> {
    let (key, _) = map.iter().min_by_key(|(_, one)| age(one))?;
    Some(key.clone())
}
