//! The small language that a message's text may be written in: `{{ name }}` is replaced, and what
//! stands between `{{ if name }}` and `{{ end }}` is left out where the name has no value. There is
//! nothing else: no code, no loops, no files, so the work is linear in the template.

use super::Message;

/// The names that a template may use.
pub const NAMES: &[&str] = &[
    "actor",
    "also",
    "app",
    "at",
    "commit",
    "count",
    "environment",
    "id",
    "kind",
    "log",
    "next",
    "reason",
    "release",
    "resolved",
    "service",
    "severity",
    "since",
    "subject",
    "title",
];

/// The longest template in bytes.
pub const LONGEST: usize = 4096;

/// The longest text that a template makes, in bytes; the rest is cut.
const LONGEST_TEXT: usize = 16 * 1024;

/// How deep `if` may be in `if`.
const DEEPEST: usize = 8;

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// There is too much of it.
    #[error("the template is longer than {LONGEST} bytes")]
    TooLong,
    /// `{{` without `}}`.
    #[error("`{{{{` is not closed by `}}}}`")]
    Open,
    /// A name that is none.
    #[error("there is no `{0}` in a message")]
    Unknown(String),
    /// `{{ end }}` without an `if`.
    #[error("`{{{{ end }}}}` has no `{{{{ if ... }}}}`")]
    End,
    /// An `if` without its end.
    #[error("`{{{{ if {0} }}}}` has no `{{{{ end }}}}`")]
    If(String),
    /// Too many `if` in one another.
    #[error("`if` is in `if` more than {DEEPEST} times")]
    Deep,
}

/// A template that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(&'static str),
    If(&'static str, Vec<Self>),
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        if text.len() > LONGEST {
            return Err(InvalidTemplate::TooLong);
        }
        let mut open: Vec<(&'static str, Vec<Part>)> = Vec::new();
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, tail)) = rest.split_once("{{") {
            let (tag, after) = tail.split_once("}}").ok_or(InvalidTemplate::Open)?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            rest = after;
            match tag.trim() {
                "end" => {
                    let (name, outer) = open.pop().ok_or(InvalidTemplate::End)?;
                    let inner = std::mem::replace(&mut parts, outer);
                    parts.push(Part::If(name, inner));
                }
                tag => match tag.strip_prefix("if ") {
                    Some(_) if open.len() == DEEPEST => return Err(InvalidTemplate::Deep),
                    Some(name) => open.push((known(name.trim())?, std::mem::take(&mut parts))),
                    None => parts.push(Part::Value(known(tag)?)),
                },
            }
        }
        if let Some((name, _)) = open.pop() {
            return Err(InvalidTemplate::If(name.to_owned()));
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// Fills in a message. A text that grows too long is cut.
    pub fn fill(&self, message: &Message) -> String {
        let mut text = String::new();
        write(&self.0, message, &mut text);
        cut(text, LONGEST_TEXT)
    }
}

/// Cuts a text to so many bytes, between two characters.
pub(super) fn cut(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        let end = (0..=longest).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

fn known(name: &str) -> Result<&'static str, InvalidTemplate> {
    let found = NAMES.iter().find(|one| **one == name);
    found
        .copied()
        .ok_or_else(|| InvalidTemplate::Unknown(name.to_owned()))
}

fn write(parts: &[Part], message: &Message, text: &mut String) {
    for part in parts {
        if text.len() > LONGEST_TEXT {
            return;
        }
        match part {
            Part::Text(words) => text.push_str(words),
            Part::Value(name) => text.push_str(&value(message, name)),
            Part::If(name, inner) if !value(message, name).is_empty() => {
                write(inner, message, text);
            }
            Part::If(..) => {}
        }
    }
}

/// Returns what a name stands for; nothing where it has no value.
fn value(message: &Message, name: &str) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    match name {
        "actor" => message.actor.clone(),
        "also" => {
            let lines = message.also.iter();
            let lines = lines.map(|also| format!("{} {}", also.at, also.title));
            lines.collect::<Vec<_>>().join("\n")
        }
        "app" => message.app.to_string(),
        "at" => message.at.to_string(),
        "commit" => text(&message.commit),
        "count" => message
            .repeated
            .map_or_else(String::new, |repeated| repeated.count.to_string()),
        "environment" => message
            .environment
            .as_ref()
            .map_or_else(String::new, |id| id.name.to_string()),
        "id" => message.id.clone(),
        "kind" => message.kind.clone(),
        "log" => message.log.join("\n"),
        "next" => message.next.join("\n"),
        "reason" => text(&message.reason),
        "release" => message
            .release
            .map_or_else(String::new, |release| release.to_string()),
        "resolved" => message
            .resolved_since
            .map_or_else(String::new, |since| since.to_string()),
        "service" => text(&message.service),
        "severity" => message.severity.as_str().to_owned(),
        "since" => message
            .repeated
            .map_or_else(String::new, |repeated| repeated.since.to_string()),
        "subject" => message.subject.clone(),
        "title" => message.title.clone(),
        // Only names of the list come out of the parser.
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> Message {
        super::super::test_message(
            &"shop/production".parse().unwrap(),
            &"ops".parse().unwrap(),
            "ann",
            jiff::Timestamp::UNIX_EPOCH,
            "x",
        )
    }

    #[test]
    fn names_are_replaced_and_what_has_no_value_is_left_out() {
        let text = "{{environment}}: {{ kind }}{{ if service }} of {{ service }}{{ end }}{{ if actor }} by {{ actor }}{{ end }}";
        let template = Template::parse(text).unwrap();
        assert_eq!(template.fill(&message()), "production: notify.test by ann");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        let refused = |text: &str| Template::parse(text).unwrap_err();
        assert_eq!(refused("{{ title"), InvalidTemplate::Open);
        assert_eq!(
            refused("{{ tilte }}"),
            InvalidTemplate::Unknown("tilte".to_owned())
        );
        assert_eq!(refused("{{ end }}"), InvalidTemplate::End);
        assert_eq!(
            refused("{{ if log }}x"),
            InvalidTemplate::If("log".to_owned())
        );
        assert_eq!(refused(&"{{ if log }}".repeat(9)), InvalidTemplate::Deep);
        assert_eq!(refused(&"x".repeat(LONGEST + 1)), InvalidTemplate::TooLong);
    }

    #[test]
    fn every_name_can_be_used() {
        for name in NAMES {
            let template = Template::parse(&format!("{{{{ {name} }}}}")).unwrap();
            assert!(template.fill(&message()).len() < 200, "{name}");
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let mut long = message();
        long.title = "ü".repeat(2 * LONGEST_TEXT);
        let text = Template::parse("x{{ title }}").unwrap().fill(&long);
        assert!(text.len() <= LONGEST_TEXT + 3 && text.ends_with('…'));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\{\\{|\\}\\}| |if|end|log|title|ü|x){0,40}") {
            if let Ok(template) = Template::parse(&text) {
                template.fill(&message());
            }
        }
    }
}
