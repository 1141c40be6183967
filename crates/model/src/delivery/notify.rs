//! `notify` of the delivery file: who is told of what happens. What the keys are, and what cannot be. Not
//! how they are read, nor what becomes of them, which is [`crate::notify`]'s.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use towpath_compose::diagnostic::nearest;

use super::{DeliveryFile, schema};
use crate::id::{EnvironmentName, SecretName};
use crate::notify::template::{NAMES, Template};
use crate::notify::{
    self, Channel, GROUP, KINDS, REPEAT, Setting, Severity, Smtp, Target, Targets, Tls, Webhook,
};

/// The most targets: each event is held against all of them.
const MOST_TARGETS: usize = 32;

/// The port of a mail server, by the way in which it is spoken to (RFC 6409, RFC 8314, RFC 5321).
const SUBMISSION: u16 = 587;
const SUBMISSIONS: u16 = 465;
const SMTP: u16 = 25;

/// Who is told, and of what: exactly one of `teams`, `slack`, `smtp` and `webhook`.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct NotifySettings {
    /// A channel of Microsoft Teams, by a workflow that a webhook starts.
    pub teams: Option<IncomingWebhook>,
    /// A channel of Slack, by an incoming webhook.
    pub slack: Option<IncomingWebhook>,
    /// Mail.
    pub smtp: Option<SmtpSettings>,
    /// A program that takes messages as JSON.
    pub webhook: Option<WebhookSettings>,
    /// What is told: kinds such as `deployment.failed`, or families such as `deployment.*`. Default:
    /// everything that matters enough.
    #[schemars(default)]
    pub on: Vec<String>,
    /// Only what happens in these environments. Default: in all.
    #[schemars(with = "Vec<String>", default)]
    pub environments: Vec<EnvironmentName>,
    /// Nothing that matters less. Default: `warning`; `info` where `on` says what is told.
    #[schemars(with = "Option<schema::SeverityText>")]
    pub severity: Option<Severity>,
    /// The text of a message, in which `{{ title }}` and other names are replaced. Default: a text
    /// with all that is known.
    pub template: Option<String>,
    /// How long what belongs together is gathered before it becomes one message; at most 1h. Default:
    /// 10s.
    #[schemars(with = "Option<schema::DurationText>")]
    pub group: Option<Duration>,
    /// How long the same thing is only counted after it was told; at most 7d. Default: 10m.
    #[schemars(with = "Option<schema::DurationText>")]
    pub repeat: Option<Duration>,
}

/// An incoming webhook of a chat.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct IncomingWebhook {
    /// Its address, which whoever knows it may write to: `{ secret: NAME }`.
    #[schemars(with = "schema::SettingText")]
    pub url: Setting,
}

/// A mail server, and who writes to whom.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SmtpSettings {
    /// The server's name.
    pub host: String,
    /// Its port. Default: 587 with `starttls`, 465 with `implicit`, 25 with `none`.
    pub port: Option<u16>,
    /// How the connection is kept from others: `starttls` demands TLS before anything is said,
    /// `implicit` is TLS from the first byte, `none` is for a server on this machine. Default:
    /// `starttls`.
    #[schemars(with = "Option<schema::TlsText>")]
    pub tls: Option<Tls>,
    /// Who one is there. Default: nobody, without a password.
    pub username: Option<String>,
    /// The password: `{ secret: NAME }`.
    #[schemars(with = "Option<schema::SecretText>")]
    pub password: Option<SecretName>,
    /// The address that messages are from.
    pub from: String,
    /// The address that messages go to, or a list.
    #[schemars(with = "schema::OneOrMany")]
    pub to: Vec<String>,
    /// The certificates of an authority of your own, as PEM or `{ secret: NAME }`, which is trusted beside
    /// those of the machine. Default: those of the machine alone.
    #[schemars(with = "Option<schema::SettingText>")]
    pub ca: Option<Setting>,
}

/// A program that takes messages as JSON.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Its address, or `{ secret: NAME }`.
    #[schemars(with = "schema::SettingText")]
    pub url: Setting,
    /// More headers of the request by name, each a text or `{ secret: NAME }`.
    #[schemars(with = "BTreeMap<String, schema::SettingText>", default)]
    pub headers: BTreeMap<String, Setting>,
    /// What requests are signed with, in `Towpath-Signature`: `{ secret: NAME }`. Default: they are
    /// not signed.
    #[schemars(with = "Option<schema::SecretText>")]
    pub secret: Option<SecretName>,
    /// The certificates of an authority of your own, as PEM or `{ secret: NAME }`, which is trusted beside
    /// those of the machine. Default: those of the machine alone.
    #[schemars(with = "Option<schema::SettingText>")]
    pub ca: Option<Setting>,
}

impl DeliveryFile {
    /// Returns the targets with what they leave out.
    pub fn targets(&self) -> Targets {
        let resolved = self.notify.iter();
        resolved
            .filter_map(|(name, settings)| Some((name.clone(), settings.resolved()?)))
            .collect()
    }
}

impl NotifySettings {
    fn channel(&self) -> Option<Channel> {
        if let Some(teams) = &self.teams {
            let url = teams.url.clone();
            return Some(Channel::Teams { url });
        }
        if let Some(slack) = &self.slack {
            let url = slack.url.clone();
            return Some(Channel::Slack { url });
        }
        if let Some(smtp) = &self.smtp {
            return Some(Channel::Smtp(smtp.resolved()));
        }
        let webhook = self.webhook.as_ref()?;
        Some(Channel::Webhook(Webhook {
            url: webhook.url.clone(),
            headers: webhook.headers.clone(),
            secret: webhook.secret.clone().map(Setting::Secret),
            ca: webhook.ca.clone(),
        }))
    }

    fn resolved(&self) -> Option<Target> {
        let usual = if self.on.is_empty() {
            Severity::Warning
        } else {
            Severity::Info
        };
        Some(Target {
            channel: self.channel()?,
            on: self.on.clone(),
            environments: self.environments.clone(),
            severity: self.severity.unwrap_or(usual),
            template: self.template.clone(),
            group: self.group.unwrap_or(GROUP),
            repeat: self.repeat.unwrap_or(REPEAT),
        })
    }
}

impl SmtpSettings {
    fn resolved(&self) -> Smtp {
        let tls = self.tls.unwrap_or_default();
        let usual = match tls {
            Tls::Starttls => SUBMISSION,
            Tls::Implicit => SUBMISSIONS,
            Tls::None => SMTP,
        };
        Smtp {
            host: self.host.clone(),
            port: self.port.unwrap_or(usual),
            tls,
            username: self.username.clone(),
            password: self.password.clone().map(Setting::Secret),
            from: self.from.clone(),
            to: self.to.clone(),
            ca: self.ca.clone(),
        }
    }
}

/// Something in a target that cannot be.
pub(super) struct Fault {
    pub(super) path: Vec<&'static str>,
    pub(super) message: String,
    pub(super) help: String,
}

fn fault(path: &[&'static str], message: impl Into<String>, help: impl Into<String>) -> Fault {
    Fault {
        path: path.to_vec(),
        message: message.into(),
        help: help.into(),
    }
}

/// Finds everything in a well-typed target that cannot be.
pub(super) fn faults(target: &NotifySettings, file: &DeliveryFile) -> Vec<Fault> {
    let mut found = Vec::new();
    if file.notify.len() > MOST_TARGETS {
        let message = format!("there are more than {MOST_TARGETS} targets");
        found.push(fault(&[], message, "send to a program that hands on"));
    }
    let channels = [
        target.teams.is_some(),
        target.slack.is_some(),
        target.smtp.is_some(),
        target.webhook.is_some(),
    ];
    if channels.into_iter().filter(|is_there| *is_there).count() != 1 {
        let help =
            "write one of `teams`, `slack`, `smtp` and `webhook`; another target has another";
        found.push(fault(&[], "the target is not exactly one channel", help));
    }
    for wanted in target.on.iter().filter(|wanted| !notify::is_known(wanted)) {
        let help = match nearest(wanted, KINDS.iter().map(|kind| kind.word)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "the kinds are listed in docs/notifications.md".to_owned(),
        };
        found.push(fault(
            &["on"],
            format!("nothing is told as `{wanted}`"),
            help,
        ));
    }
    let known = file.environment_names();
    let unknown = |name: &&EnvironmentName| !known.contains(name);
    for name in target.environments.iter().filter(unknown) {
        let message = format!("there is no environment `{name}`");
        let names: Vec<&str> = known.iter().map(EnvironmentName::as_str).collect();
        let help = format!("the delivery file has: {}", names.join(", "));
        found.push(fault(&["environments"], message, help));
    }
    if let Some(Err(invalid)) = target.template.as_deref().map(Template::parse) {
        let help = format!("the names are: {}", NAMES.join(", "));
        found.push(fault(&["template"], invalid.to_string(), help));
    }
    let hour = Duration::from_hours(1);
    for (key, value, most, words) in [
        ("group", target.group, hour, "1h"),
        ("repeat", target.repeat, hour * 24 * 7, "7d"),
    ] {
        if value.is_some_and(|value| value > most) {
            let message = format!("the time is longer than {words}");
            found.push(fault(&[key], message, format!("write at most `{words}`")));
        }
    }
    found.extend(channel_faults(target));
    found
}

fn channel_faults(target: &NotifySettings) -> Vec<Fault> {
    let mut found = Vec::new();
    let addresses = [
        ("teams", target.teams.as_ref().map(|teams| &teams.url)),
        ("slack", target.slack.as_ref().map(|slack| &slack.url)),
        (
            "webhook",
            target.webhook.as_ref().map(|webhook| &webhook.url),
        ),
    ];
    for (key, url) in addresses {
        if let Some(Setting::Plain(url)) = url
            && !is_address(url)
        {
            let help = "write `https://...`, or `{ secret: NAME }`";
            found.push(fault(
                &[key, "url"],
                "the address is not one of the web",
                help,
            ));
        }
    }
    for name in target
        .webhook
        .iter()
        .flat_map(|webhook| webhook.headers.keys())
    {
        if !is_header(name) {
            let message = format!("`{name}` is not a header that can be set");
            let help = "write letters, digits and hyphens, and none of Towpath's or HTTP's own";
            found.push(fault(&["webhook", "headers"], message, help));
        }
    }
    if let Some(smtp) = &target.smtp {
        found.extend(smtp_faults(smtp));
    }
    let smtp = target.smtp.as_ref().and_then(|smtp| smtp.ca.as_ref());
    let webhook = target.webhook.as_ref();
    let webhook = webhook.and_then(|webhook| webhook.ca.as_ref());
    for (key, ca) in [("smtp", smtp), ("webhook", webhook)] {
        if let Some(Setting::Plain(text)) = ca
            && !text.contains("-----BEGIN CERTIFICATE-----")
        {
            let help = "write it as PEM, which begins with `-----BEGIN CERTIFICATE-----`";
            found.push(fault(&[key, "ca"], "there is no certificate in it", help));
        }
    }
    found
}

fn smtp_faults(smtp: &SmtpSettings) -> Vec<Fault> {
    let mut found = Vec::new();
    if smtp.port == Some(0) {
        let help = "write a number from 1 to 65535";
        found.push(fault(&["smtp", "port"], "a port cannot be 0", help));
    }
    if smtp.username.is_some() != smtp.password.is_some() {
        let message = "a user name and a password go together";
        found.push(fault(&["smtp"], message, "write both, or neither"));
    }
    if smtp.password.is_some() && smtp.tls == Some(Tls::None) {
        let message = "the password would cross the network for everybody to read";
        found.push(fault(
            &["smtp", "tls"],
            message,
            "write `starttls` or `implicit`",
        ));
    }
    if smtp.to.is_empty() {
        let help = "write an address, or remove the target";
        found.push(fault(&["smtp", "to"], "nobody would get the mail", help));
    }
    let addresses = smtp
        .to
        .iter()
        .map(|to| ("to", to))
        .chain([("from", &smtp.from)]);
    for (key, address) in addresses {
        if !is_mail_address(address) {
            let message = format!("`{address}` is not a mail address");
            found.push(fault(&["smtp", key], message, "write `name@example.com`"));
        }
    }
    found
}

fn is_address(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|c| c.is_ascii_graphic()))
}

/// Tells whether a header may be set: a token (RFC 9110 section 5.6.2) that is not ours to write.
fn is_header(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let ours = [
        "host",
        "content-length",
        "content-type",
        "transfer-encoding",
        "connection",
    ];
    !name.is_empty()
        && name
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
        && !lower.starts_with("towpath-")
        && !ours.contains(&lower.as_str())
}

/// Tells whether it looks like an address; the mail server knows better.
fn is_mail_address(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && !host.is_empty() && text.bytes().all(|c| c.is_ascii_graphic())
    }) && !text.contains(['<', '>', ',', ';', '"'])
}
