//! How a message is worded: from a line of the audit trail, from several in one matter, and the test
//! message. Not when it is sent.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::kind::Kind;
use super::template::{Template, cut};
use super::{Also, LOG_LINES, Lane, Message, Occurrence, Repeated, Severity};
use crate::id::{Digest, EnvironmentId, TargetName};

/// The longest that one line of a message may be, in bytes.
const LONGEST_LINE: usize = 500;

/// The length of a message's id.
const ID_LENGTH: usize = 32;

/// Words what one event says, for one lane.
pub(super) fn message(
    kind: &Kind,
    severity: Severity,
    occurrence: &Occurrence,
    lane: &Lane,
) -> Message {
    let Occurrence {
        event,
        about,
        facts,
        ..
    } = occurrence;
    let app = &lane.environment.app;
    let place = about
        .as_ref()
        .map_or_else(|| app.to_string(), ToString::to_string);
    let thing = thing(&event.what, &event.subject, app.as_str(), &place);
    let thing = match facts.release {
        Some(release) => format!("{thing} (release {release})"),
        None => thing,
    };
    let title = match thing.as_str() {
        "" => format!("{place} {}", kind.says),
        thing => format!("{place}: {thing} {}", kind.says),
    };
    let skip = facts.log.len().saturating_sub(LOG_LINES);
    Message {
        id: id(&[event.hash.as_str(), &lane.to_string()]),
        kind: kind.word.to_owned(),
        severity,
        app: app.clone(),
        environment: about.clone(),
        at: event.at,
        actor: line(&event.actor),
        subject: line(&event.subject),
        title: line(&title),
        reason: event.reason.as_deref().map(line),
        release: facts.release,
        commit: facts.commit.as_deref().map(line),
        service: facts.service.as_deref().map(line),
        log: facts.log.iter().skip(skip).map(|text| line(text)).collect(),
        next: next(kind, about.is_some(), &event.subject, &place),
        also: Vec::new(),
        repeated: None,
        resolved_since: None,
        text: String::new(),
    }
}

/// Returns what to type next: on an environment by its name, on a run by its number.
fn next(kind: &Kind, is_environment: bool, subject: &str, place: &str) -> Vec<String> {
    let number = subject.rsplit(' ').next().unwrap_or_default();
    let commands = kind.next.iter();
    commands
        .map(|command| {
            if is_environment {
                format!("{command} {place}")
            } else {
                format!("{command} {number} --app {place}")
            }
        })
        .collect()
}

/// Returns what it happened to, without the place that stands before it.
fn thing(what: &str, subject: &str, app: &str, place: &str) -> String {
    let within = subject.strip_prefix(place).unwrap_or(subject);
    let within = within
        .strip_prefix(app)
        .unwrap_or(within)
        .trim_start_matches(['/', ' ']);
    match what.split('.').next() {
        Some(family @ ("deployment" | "instance")) if !within.is_empty() => {
            format!("{family} {within}")
        }
        Some("reference") => named(within),
        _ => within.to_owned(),
    }
}

/// Returns what people call a reference of Git.
fn named(reference: &str) -> String {
    let kinds = [
        ("refs/heads/", "branch"),
        ("refs/tags/", "tag"),
        ("refs/towpath/pull/", "pull request"),
    ];
    let found = kinds.iter().find_map(|(begins, kind)| {
        let name = reference.strip_prefix(begins)?;
        Some(format!("{kind} {name}"))
    });
    found.unwrap_or_else(|| reference.to_owned())
}

/// Makes one message of several in one matter: what matters most, or else what came last, speaks for
/// all. That something is well again speaks for what came before it.
pub(super) fn together(mut messages: Vec<Message>, untold: u32) -> Option<Message> {
    let last = messages.len().checked_sub(1)?;
    let weight = |at: usize, one: &Message| {
        let resolves = at == last && one.resolved_since.is_some();
        (resolves, one.severity, at)
    };
    let (speaker, _) = messages
        .iter()
        .enumerate()
        .max_by_key(|(at, one)| weight(*at, one))?;
    let mut message = messages.remove(speaker);
    for other in &messages {
        message.also.push(Also {
            at: other.at,
            title: other.title.clone(),
        });
        if message.log.is_empty() && message.resolved_since.is_none() {
            message.log.clone_from(&other.log);
            message.service = message.service.take().or_else(|| other.service.clone());
        }
    }
    if untold > 0 {
        message.also.push(Also {
            at: message.at,
            title: format!("and {untold} more, which are in the audit trail"),
        });
    }
    Some(message)
}

/// Says that something happened again.
pub(super) fn again(mut message: Message, repeated: Repeated) -> Message {
    message.id = id(&[&message.id, "again", &repeated.since.to_string()]);
    let times = match repeated.count {
        1 => "once more".to_owned(),
        count => format!("{count} times more"),
    };
    message.title = format!(
        "{} ({times} since {})",
        message.title,
        clock(repeated.since)
    );
    message.repeated = Some(repeated);
    message
}

/// Says that something is well again.
pub(super) fn resolved(mut message: Message, since: Timestamp) -> Message {
    message.title = format!("Well again: {}", message.title);
    message.resolved_since = Some(since);
    message
}

/// Fills in the text: by the template, or else Towpath's own.
pub(super) fn finish(mut message: Message, template: Option<&str>) -> Message {
    let template = template.and_then(|text| Template::parse(text).ok());
    message.text = match template {
        Some(template) => template.fill(&message),
        None => plain(&message),
    };
    message
}

/// Words the message by which a target is tried out.
pub fn test_message(
    environment: &EnvironmentId,
    target: &TargetName,
    actor: &str,
    at: Timestamp,
    salt: &str,
) -> Message {
    let message = Message {
        id: id(&["test", salt, target.as_str(), &at.to_string()]),
        kind: "notify.test".to_owned(),
        severity: Severity::Info,
        app: environment.app.clone(),
        environment: Some(environment.clone()),
        at,
        actor: line(actor),
        subject: format!("target {target}"),
        title: format!("{environment}: a test message to `{target}`"),
        reason: Some("Messages of Towpath arrive here.".to_owned()),
        release: None,
        commit: None,
        service: None,
        log: Vec::new(),
        next: Vec::new(),
        also: Vec::new(),
        repeated: None,
        resolved_since: None,
        text: String::new(),
    };
    finish(message, None)
}

fn plain(message: &Message) -> String {
    let mut text = format!("{}\n", message.title);
    if let Some(reason) = &message.reason {
        text.push_str(&format!("\n{reason}\n"));
    }
    text.push('\n');
    for (name, value) in facts(message) {
        text.push_str(&format!("{name}: {value}\n"));
    }
    if !message.log.is_empty() {
        text.push_str("\nThe last lines of its log:\n");
        for line in &message.log {
            text.push_str(&format!("  {line}\n"));
        }
    }
    if !message.also.is_empty() {
        text.push_str("\nMeanwhile:\n");
        for also in &message.also {
            text.push_str(&format!("  {} {}\n", clock(also.at), also.title));
        }
    }
    if !message.next.is_empty() {
        text.push_str("\nWhat to type next:\n");
        for command in &message.next {
            text.push_str(&format!("  {command}\n"));
        }
    }
    cut(text, 16 * 1024)
}

/// Returns what is known of it beside title and reason, named, for people.
fn facts(message: &Message) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(service) = &message.service {
        facts.push(("service", service.clone()));
    }
    if let Some(release) = message.release {
        let commit = message.commit.as_ref();
        let commit = commit.map_or_else(String::new, |commit| format!(", commit {commit}"));
        facts.push(("release", format!("{release}{commit}")));
    }
    facts.push(("by", message.actor.clone()));
    facts.push(("at", clock(message.at)));
    if let Some(since) = message.resolved_since {
        facts.push(("not well since", clock(since)));
    }
    facts.push(("severity", message.severity.as_str().to_owned()));
    facts
}

/// Writes a time to the second, in UTC.
fn clock(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%d %H:%M:%S UTC")
        .to_string()
}

/// Makes one line of a text, without what a terminal or a mail header would obey.
fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(LONGEST_LINE));
    let mut escape = false;
    for c in text.chars() {
        match c {
            '\u{1b}' => escape = true,
            // The end of a control sequence (ECMA-48 section 5.4).
            c if escape => escape = !c.is_ascii_alphabetic(),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
        if out.len() > LONGEST_LINE {
            break;
        }
    }
    cut(out, LONGEST_LINE)
}

/// Makes an id of what makes it the only one.
fn id(parts: &[&str]) -> String {
    let mut text = String::new();
    for part in parts {
        write!(text, "{}:{part}", part.len()).expect("writing to a string cannot fail");
    }
    let digest: String = Digest::of(text.as_bytes()).into();
    digest.chars().take(ID_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_nothing_that_a_terminal_or_a_header_obeys() {
        assert_eq!(line("\u{1b}[31mred\u{1b}[0m\r\nBcc: x"), "red  Bcc: x");
        assert!(line(&"ü".repeat(1000)).len() <= LONGEST_LINE + 3);
    }

    #[test]
    fn a_thing_is_named_within_its_place() {
        let thing = |what, subject| thing(what, subject, "shop", "shop/production");
        assert_eq!(
            thing("deployment.ended", "shop/production/12"),
            "deployment 12"
        );
        assert_eq!(
            thing("instance.exited", "shop/production/web-3"),
            "instance web-3"
        );
        assert_eq!(thing("environment.held", "shop/production"), "");
        assert_eq!(
            thing("approval.requested", "shop run 7 to production"),
            "run 7 to production"
        );
        assert_eq!(
            super::thing("reference.refused", "shop refs/heads/a/b", "shop", "shop"),
            "branch a/b"
        );
    }
}
