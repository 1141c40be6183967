//! How `notify` is read. The types and their docs are in [`crate::delivery::NotifySettings`] and beside it.

use towpath_compose::yaml::{Node, Value};

use super::{OneOrMany, word};
use crate::delivery::notify::{IncomingWebhook, NotifySettings, SmtpSettings, WebhookSettings};
use crate::delivery::reader::{Decode, Fields, Reader};
use crate::id::SecretName;
use crate::notify::{Setting, Severity, Tls};

impl Decode for NotifySettings {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let wanted = "a mapping, such as `{ teams: { url: { secret: teams-webhook } } }`";
        let mut fields = Fields::of(node, reader, wanted)?;
        let before = reader.found.len();
        let settings = Self {
            teams: fields.take("teams", reader),
            slack: fields.take("slack", reader),
            smtp: fields.take("smtp", reader),
            webhook: fields.take("webhook", reader),
            on: fields.take_or_default("on", reader),
            environments: fields.take_or_default("environments", reader),
            severity: fields.take("severity", reader),
            template: fields.take("template", reader),
            group: fields.take("group", reader),
            repeat: fields.take("repeat", reader),
        };
        fields.finish(reader);
        (reader.found.len() == before).then_some(settings)
    }
}

impl Decode for IncomingWebhook {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let wanted = "a mapping, such as `{ url: { secret: teams-webhook } }`";
        let mut fields = Fields::of(node, reader, wanted)?;
        let url = fields.demand("url", node, reader);
        fields.finish(reader);
        Some(Self { url: url? })
    }
}

impl Decode for SmtpSettings {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let mut fields = Fields::of(node, reader, "a mapping, such as `host: mail.example.com`")?;
        let host = fields.demand("host", node, reader);
        let from = fields.demand("from", node, reader);
        let to = fields.demand("to", node, reader);
        let settings = Self {
            host: host.unwrap_or_default(),
            port: fields.take("port", reader),
            tls: fields.take("tls", reader),
            username: fields.take("username", reader),
            password: fields.take("password", reader).map(|SecretOnly(name)| name),
            from: from.unwrap_or_default(),
            to: to.map_or_else(Vec::new, |OneOrMany(to)| to),
            ca: fields.take("ca", reader),
        };
        fields.finish(reader);
        Some(settings)
    }
}

impl Decode for WebhookSettings {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let wanted = "a mapping, such as `url: https://example.com/hook`";
        let mut fields = Fields::of(node, reader, wanted)?;
        let url = fields.demand("url", node, reader);
        let headers = fields.take_or_default("headers", reader);
        let secret = fields.take("secret", reader);
        let ca = fields.take("ca", reader);
        fields.finish(reader);
        Some(Self {
            url: url?,
            headers,
            secret: secret.map(|SecretOnly(name)| name),
            ca,
        })
    }
}

impl Decode for Setting {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(Self::Plain(text.clone())),
            Value::Map(_) => {
                SecretOnly::decode(node, reader).map(|SecretOnly(name)| Self::Secret(name))
            }
            _ => {
                reader.wrong_type(node, "a text, or `{ secret: NAME }`");
                None
            }
        }
    }
}

/// The name of a secret that has a value; never the value.
struct SecretOnly(SecretName);

impl Decode for SecretOnly {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let mut fields = Fields::of(
            node,
            reader,
            "`{ secret: NAME }`; `towpath secret set` gives it its value",
        )?;
        let name = fields.demand("secret", node, reader);
        fields.finish(reader);
        name.map(Self)
    }
}

impl Decode for Severity {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let words = [
            ("info", Self::Info),
            ("warning", Self::Warning),
            ("critical", Self::Critical),
        ];
        word(node, reader, "severity", &words)
    }
}

impl Decode for Tls {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let words = [
            ("starttls", Self::Starttls),
            ("implicit", Self::Implicit),
            ("none", Self::None),
        ];
        word(node, reader, "way to use TLS", &words)
    }
}
