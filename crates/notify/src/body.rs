//! What is sent over HTTP: a card of Teams, blocks of Slack, the JSON of a webhook. Pure functions of
//! a message.

use serde_json::{Value, json};
use towpath_model::notify::{Message, Severity};

/// The most characters of a text in one block of Slack (3000 in its documentation).
const SLACK_TEXT: usize = 2900;

/// The most characters of a text in a card, of which Teams takes 28 KB in all.
const TEAMS_TEXT: usize = 8000;

/// Returns an Adaptive Card as a workflow of Teams takes it.
pub(crate) fn teams(message: &Message) -> Value {
    let colour = match message.severity {
        Severity::Info => "Accent",
        Severity::Warning => "Warning",
        Severity::Critical => "Attention",
    };
    let colour = if message.resolved_since.is_some() {
        "Good"
    } else {
        colour
    };
    let mut body = vec![json!({
        "type": "TextBlock", "size": "Medium", "weight": "Bolder", "wrap": true,
        "color": colour, "text": escaped(&message.title),
    })];
    // A text block is Markdown; one line end is none in it.
    let rest = without_title(message);
    for part in paragraphs(&rest, TEAMS_TEXT) {
        body.push(json!({
            "type": "TextBlock", "wrap": true, "fontType": "Monospace", "size": "Small", "text": part,
        }));
    }
    let facts: Vec<Value> = facts(message)
        .into_iter()
        .map(|(title, value)| json!({ "title": title, "value": escaped(&value) }))
        .collect();
    body.push(json!({ "type": "FactSet", "facts": facts }));
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": { "width": "Full" },
                "body": body,
            },
        }],
    })
}

/// Returns a message as an incoming webhook of Slack takes it.
pub(crate) fn slack(message: &Message) -> Value {
    let sign = match message.severity {
        _ if message.resolved_since.is_some() => ":white_check_mark:",
        Severity::Info => ":information_source:",
        Severity::Warning => ":warning:",
        Severity::Critical => ":rotating_light:",
    };
    let title = slack_escaped(&message.title);
    let mut blocks = vec![json!({
        "type": "section",
        "text": { "type": "mrkdwn", "text": format!("{sign} *{}*", cut(&title, SLACK_TEXT)) },
    })];
    let rest = without_title(message);
    if !rest.is_empty() {
        let text = cut(&slack_escaped(&rest), SLACK_TEXT).replace("```", "'''");
        blocks.push(json!({
            "type": "section",
            "text": { "type": "mrkdwn", "text": format!("```{text}```") },
        }));
    }
    json!({ "text": message.title, "blocks": blocks })
}

/// Returns a message as a webhook gets it: all of its fields.
pub(crate) fn webhook(message: &Message) -> Value {
    let mut body =
        serde_json::to_value(message).unwrap_or_else(|_| json!({ "text": message.text }));
    if let Some(fields) = body.as_object_mut() {
        fields.insert("version".to_owned(), json!(1));
    }
    body
}

fn facts(message: &Message) -> Vec<(&'static str, String)> {
    let mut facts = vec![("Severity", message.severity.as_str().to_owned())];
    if let Some(environment) = &message.environment {
        facts.push(("Environment", environment.to_string()));
    }
    if let Some(service) = &message.service {
        facts.push(("Service", service.clone()));
    }
    if let Some(release) = message.release {
        facts.push(("Release", release.to_string()));
    }
    facts
}

/// Returns the text without the title that stands above it.
fn without_title(message: &Message) -> String {
    let text = message.text.strip_prefix(&message.title);
    text.unwrap_or(&message.text).trim().to_owned()
}

/// Cuts a text into what stands between empty lines, with line ends that Markdown keeps.
fn paragraphs(text: &str, most: usize) -> Vec<String> {
    let text = cut(text, most);
    text.split("\n\n")
        .filter(|part| !part.trim().is_empty())
        .map(|part| {
            let lines: Vec<String> = part.lines().map(escaped).collect();
            lines.join("\n\n")
        })
        .collect()
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most).collect();
    short.push('…');
    short
}

/// Takes the meaning out of what a card's Markdown would obey: a log line must not become a link.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '[' | ']' | '*' | '_' | '`' | '<' | '>') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Takes the meaning out of the characters that Slack has its own use for.
fn slack_escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
