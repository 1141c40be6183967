//! `previews` of the delivery file: environments that are like another one and go by themselves. What
//! the keys are, how they are read, and what cannot be. Not what becomes of them, which is
//! [`crate::preview`]'s.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use towpath_compose::yaml::Node;

use super::decode::Scale;
use super::reader::{Decode, Fields, Reader};
use super::{DEFAULT_ENVIRONMENT, DeliveryFile, schema};
use crate::id::{EnvironmentName, ServiceName};
use crate::preview::{LIMIT, NAME, OF_PULL_REQUESTS, SERVICE, TTL, Terms};

/// Previews: environments that are like another one, have data of their own, and go by themselves.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct PreviewSettings {
    /// The environment that those of pull requests are like. Default: `dev`, or the first.
    #[schemars(with = "Option<String>")]
    pub from: Option<EnvironmentName>,
    /// Their host names: `{name}` stands for the preview's name, `{service}` for the service's. Only
    /// services have one that have one in the environment that the preview is like. Default: the
    /// host names there, with the preview's name and a dot before them.
    pub domain: Option<String>,
    /// How many there may be at once; more are refused. Default: 10.
    pub limit: Option<u32>,
    /// How long one stays that nobody asks for another time for; that of a pull request from its last
    /// push on. Default: 7d.
    #[schemars(with = "Option<schema::DurationText>")]
    pub ttl: Option<Duration>,
    /// The number of instances of a service, by its name. Default: 1.
    #[schemars(with = "BTreeMap<String, u32>", default)]
    pub scale: BTreeMap<ServiceName, u32>,
    /// A service that runs to its end once in a new preview, before any traffic, and fills its volumes.
    /// Give it a profile that no environment has. Default: none, the volumes are empty.
    #[schemars(with = "Option<String>")]
    pub seed: Option<ServiceName>,
    /// The environment whose secrets they read. Default: that which they are like, but for one that
    /// releases come to behind approvals: its secrets are lent only where this says so.
    #[schemars(with = "Option<String>")]
    pub secrets_from: Option<EnvironmentName>,
    /// Whether a pull request has one, `pr-NUMBER`, as long as it is open. Default: false.
    #[schemars(default)]
    pub pull_requests: bool,
    /// Whether one from a fork has one too. It is given no secrets. What counts is the file of the
    /// branch that the pull request is meant for. Default: false.
    #[schemars(default)]
    pub forks: bool,
}

impl Decode for PreviewSettings {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let mut fields = Fields::of(node, reader, "a mapping, such as `ttl: 3d`")?;
        let scale: BTreeMap<_, Scale> = fields.take_or_default("scale", reader);
        let settings = Self {
            from: fields.take("from", reader),
            domain: fields.take("domain", reader),
            limit: fields.take("limit", reader),
            ttl: fields.take("ttl", reader),
            scale: scale
                .into_iter()
                .map(|(key, Scale(count))| (key, count))
                .collect(),
            seed: fields.take("seed", reader),
            secrets_from: fields.take("secrets_from", reader),
            pull_requests: fields.take_or_default("pull_requests", reader),
            forks: fields.take_or_default("forks", reader),
        };
        fields.later(&[("backup", "data from a backup")]);
        fields.finish(reader);
        Some(settings)
    }
}

impl DeliveryFile {
    /// Returns the environment that previews of pull requests are like.
    pub fn preview_from(&self) -> EnvironmentName {
        let names = self.environment_names();
        let is_dev = |name: &&EnvironmentName| name.as_str() == DEFAULT_ENVIRONMENT;
        let stated = self.previews.from.clone();
        stated
            .or_else(|| names.iter().find(is_dev).cloned())
            .or_else(|| names.first().cloned())
            .unwrap_or_else(|| {
                EnvironmentName::new(DEFAULT_ENVIRONMENT).expect("the constant is a name")
            })
    }

    /// Returns what the file says of previews that are like an environment.
    pub fn preview_terms(&self, like: &EnvironmentName) -> Terms {
        let settings = &self.previews;
        Terms {
            domain: settings.domain.clone(),
            limit: settings.limit.unwrap_or(LIMIT),
            ttl: settings.ttl.unwrap_or(TTL),
            scale: settings.scale.clone(),
            secrets_from: settings.secrets_from.clone(),
            is_guarded: self.deploy(like).approvals.is_some(),
        }
    }
}

/// Something that cannot be: the keys below `previews`, what it is, and what to write.
pub(super) struct Fault {
    pub(super) path: Vec<String>,
    pub(super) message: String,
    pub(super) help: String,
}

/// Finds what in `previews` cannot be.
pub(super) fn faults(file: &DeliveryFile) -> Vec<Fault> {
    let mut found = Vec::new();
    let mut refuse = |path: &[&str], message: String, help: &str| {
        found.push(Fault {
            path: path.iter().map(|&key| key.to_owned()).collect(),
            message,
            help: help.to_owned(),
        });
    };
    let settings = &file.previews;
    let names = file.environment_names();
    for (key, name) in [
        ("from", &settings.from),
        ("secrets_from", &settings.secrets_from),
    ] {
        if let Some(name) = name.as_ref().filter(|name| !names.contains(name)) {
            let names: Vec<&str> = names.iter().map(EnvironmentName::as_str).collect();
            let help = format!("there are: {}", names.join(", "));
            refuse(&[key], format!("there is no environment `{name}`"), &help);
        }
    }
    if let Some(domain) = &settings.domain {
        for (message, help) in faults_of_domain(domain, file) {
            refuse(&["domain"], message, &help);
        }
    }
    if settings.limit == Some(0) {
        let help = "write at least 1, or remove `previews`";
        refuse(&["limit"], "there can be no preview".to_owned(), help);
    }
    if settings.ttl.is_some_and(|ttl| ttl.is_zero()) {
        let message = "the time is over before it began".to_owned();
        refuse(&["ttl"], message, "write `ttl: 3d`");
    }
    if settings.forks && !settings.pull_requests {
        let message = "without `pull_requests: true` no pull request has a preview".to_owned();
        refuse(&["forks"], message, "write `pull_requests: true` too");
    }
    found
}

fn faults_of_domain(domain: &str, file: &DeliveryFile) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let example = "write one such as `{name}.preview.example.com`";
    let filled = domain.replace(NAME, "pr-1").replace(SERVICE, "web");
    if !super::check::is_host(&filled) || domain.starts_with("*.") {
        let message = format!("`{domain}` is not a host name");
        return vec![(message, example.to_owned())];
    }
    if !domain.contains(NAME) {
        let message = format!("all previews would have the host name `{domain}`");
        found.push((message, example.to_owned()));
    }
    let from = file.environment(&file.preview_from()).unwrap_or_default();
    if from.domains.len() > 1 && !domain.contains(SERVICE) {
        let services: Vec<&str> = from.domains.keys().map(ServiceName::as_str).collect();
        let message = format!("{} would have the same host name", services.join(" and "));
        let help = "write `{service}` into it too, such as `{service}-{name}.example.com`";
        found.push((message, help.to_owned()));
    }
    found
}

/// Says why an environment of the file cannot have a name.
pub(super) fn is_taken(name: &EnvironmentName, file: &DeliveryFile) -> bool {
    let number = name.as_str().strip_prefix(OF_PULL_REQUESTS);
    file.previews.pull_requests && number.is_some_and(|text| text.parse::<u64>().is_ok())
}
