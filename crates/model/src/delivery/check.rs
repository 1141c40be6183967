//! Rules of the delivery file that span several keys. Not those that need the Compose project:
//! [`crate::render`] has those.

mod pipeline;

use std::collections::BTreeMap;

use towpath_compose::diagnostic::Diagnostic;

use super::{
    Delivery, EnvironmentSettings, Health, NotifySettings, Rollout, ServiceSettings, notify,
    preview,
};
use crate::id::TargetName;
use crate::routing::FULL_WEIGHT;

/// Finds everything in a well-typed delivery file that cannot be.
pub(super) fn check(delivery: &Delivery) -> Vec<Diagnostic> {
    let mut checker = Checker {
        delivery,
        found: Vec::new(),
    };
    checker.rollout(&["rollout"], &delivery.file.rollout);
    for (name, environment) in &delivery.file.environments {
        checker.environment(name.as_str(), environment);
    }
    checker.targets(&delivery.file.notify);
    for (name, service) in &delivery.file.services {
        checker.service(name.as_str(), service);
    }
    checker.pipeline();
    checker.previews();
    checker.found
}

/// Variables that the engine gives, whatever else is said.
const GIVEN: &[&str] = &["CONFIGS_DIR", "HOST", "PORT", "SECRETS_DIR"];

struct Checker<'d> {
    delivery: &'d Delivery,
    found: Vec<Diagnostic>,
}

impl Checker<'_> {
    fn refuse(&mut self, path: &[&str], message: &str, help: &str) {
        let span = self.delivery.span(path);
        self.found.push(
            Diagnostic::error("bad-value", message)
                .at_maybe(span)
                .help(help),
        );
    }

    fn environment(&mut self, name: &str, environment: &EnvironmentSettings) {
        let at = |rest: &[&'static str]| [&["environments", name], rest].concat();
        self.rollout(&at(&["rollout"]), &environment.rollout);
        if environment.http_port == Some(0) {
            let help = "write a number from 1 to 65535";
            self.refuse(&at(&["http_port"]), "a port cannot be 0", help);
        }
        for (service, hosts) in &environment.domains {
            let path = ["environments", name, "domains", service.as_str()];
            if hosts.is_empty() {
                self.refuse(
                    &path,
                    "there is no host name",
                    "write one, or remove the key",
                );
            }
            for host in hosts.iter().filter(|host| !is_host(host)) {
                let message = format!("`{host}` is not a host name");
                let help = "write only the name, such as `shop.example.com` or `*.example.com`";
                self.refuse(&path, &message, help);
            }
        }
    }

    fn rollout(&mut self, path: &[&str], rollout: &Rollout) {
        let at = |key| [path, &[key]].concat();
        if let Some(steps) = &rollout.steps {
            let growing = steps
                .iter()
                .map(|step| step.weight)
                .is_sorted_by(|a, b| a < b);
            let starts_at_nothing = steps.first().is_some_and(|step| step.weight == 0);
            if !growing || starts_at_nothing {
                let help = "write each step larger than the one before, such as `[5%, 25%, 100%]`";
                self.refuse(&at("steps"), "the steps do not grow", help);
            } else if steps.last().is_none_or(|step| step.weight != FULL_WEIGHT) {
                let help = "write `100%` as the last step";
                self.refuse(&at("steps"), "the steps do not reach 100%", help);
            }
        }
        if rollout.surge == Some(0) && rollout.unavailable.unwrap_or(0) == 0 {
            let help = "write `surge: 1` to start first, or `unavailable: 1` to stop first";
            self.refuse(&at("surge"), "no instance can ever be replaced", help);
        }
        if rollout.abort_when.min_requests == Some(0) {
            let path = [path, &["abort_when", "min_requests"]].concat();
            let help = "write at least 1: no data is never a pass";
            self.refuse(&path, "there is no verdict without a request", help);
        }
        if rollout.start_failures == Some(0) {
            let help = "write `1` to give up at the first failure";
            self.refuse(&at("start_failures"), "it gives up before it starts", help);
        }
        for (key, value) in [
            ("progress_deadline", rollout.progress_deadline),
            ("pause_expiry", rollout.pause_expiry),
        ] {
            if value.is_some_and(|value| value.is_zero()) {
                self.refuse(&at(key), "the time is over before it began", "write `10m`");
            }
        }
    }

    fn targets(&mut self, targets: &BTreeMap<TargetName, NotifySettings>) {
        for (name, target) in targets {
            for fault in notify::faults(target, &self.delivery.file) {
                let path = [&["notify", name.as_str()], fault.path.as_slice()].concat();
                self.refuse(&path, &fault.message, &fault.help);
            }
        }
    }

    fn previews(&mut self) {
        let file = &self.delivery.file;
        for fault in preview::faults(file) {
            let path = fault.path.iter().map(String::as_str);
            let path: Vec<&str> = std::iter::once("previews").chain(path).collect();
            self.refuse(&path, &fault.message, &fault.help);
        }
        for name in file.environments.keys() {
            if preview::is_taken(name, file) {
                let message = format!("`{name}` is the name of a pull request's preview");
                self.refuse(&["environments", name.as_str()], &message, "use another");
            }
        }
    }

    fn service(&mut self, name: &str, service: &ServiceSettings) {
        if let Some(health) = &service.health {
            self.health(&["services", name, "health"], health);
        }
        for variable in service.secrets.keys() {
            self.variable(&["services", name, "secrets", variable], variable);
        }
        for variable in service.process.environment.keys() {
            let path = ["services", name, "process", "environment", variable];
            self.variable(&path, variable);
        }
        if service.port == Some(0) {
            let help = "write a number from 1 to 65535";
            self.refuse(&["services", name, "port"], "a port cannot be 0", help);
        }
    }

    fn variable(&mut self, path: &[&str], variable: &str) {
        if !is_variable(variable) {
            let message = format!("`{variable}` is not the name of a variable");
            let help = "write letters, digits and underscores, not starting with a digit";
            self.refuse(path, &message, help);
        } else if GIVEN.contains(&variable) {
            let message = format!("`{variable}` is given to every instance: it cannot be set");
            self.refuse(
                path,
                &message,
                "use it in the command, or choose another name",
            );
        }
    }

    fn health(&mut self, path: &[&str], health: &Health) {
        let kinds = [
            health.http.is_some(),
            health.tcp.is_some(),
            health.command.is_some(),
            health.none.is_some(),
        ];
        if kinds.into_iter().filter(|is_there| *is_there).count() > 1 {
            let help = "write one of `http`, `tcp`, `command` and `none`";
            self.refuse(path, "there is more than one kind of check", help);
        }
        let at = |key| [path, &[key]].concat();
        if health.http.as_deref().is_some_and(|path| !is_path(path)) {
            let help = "write a path, such as `/healthz`";
            self.refuse(
                &at("http"),
                "the check needs a path that starts with `/`",
                help,
            );
        }
        if health.retries == Some(0) {
            self.refuse(
                &at("retries"),
                "no try can fail",
                "write a number of at least 1",
            );
        }
        for (key, value) in [
            ("interval", health.interval),
            ("start_interval", health.start_interval),
            ("timeout", health.timeout),
        ] {
            if value.is_some_and(|value| value.is_zero()) {
                self.refuse(&at(key), "the time cannot be nothing", "write `1s`");
            }
        }
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|c| c.is_ascii_graphic() && c != b'#')
}

fn is_variable(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

/// Tells whether `text` is a host name, or one with `*.` in front (RFC 1123 section 2.1).
pub(super) fn is_host(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || c == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}
