//! What an instance may use, and how it is stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use towpath_compose::model::{ByteSize, Resource, Ulimit};

use super::context::{Context, Subject};
use crate::delivery::{Engine, thousandths};
use crate::workload::Limits;

/// Compose's default of `stop_grace_period`.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Signals by name, and those numbers of Linux that are the same everywhere.
const SIGNALS: &[(&str, &str)] = &[
    ("SIGHUP", "1"),
    ("SIGINT", "2"),
    ("SIGQUIT", "3"),
    ("SIGABRT", "6"),
    ("SIGKILL", "9"),
    ("SIGUSR1", "10"),
    ("SIGUSR2", "12"),
    ("SIGALRM", "14"),
    ("SIGTERM", "15"),
    ("SIGWINCH", "28"),
];

/// Returns the limits of one instance.
pub(super) fn limits(context: &mut Context<'_>, subject: &Subject<'_>) -> Limits {
    let service = subject.service;
    let none = Resource::default();
    let stated = service
        .deploy
        .as_ref()
        .and_then(|deploy| deploy.resources.limits.as_ref())
        .unwrap_or(&none);
    let is_process = context.environment.engine == Engine::Process;
    if !stated.devices.is_empty() && is_process {
        let span = context.compose(&subject.at(&["deploy", "resources", "limits", "devices"]));
        let help = "remove it: processes see all devices of the machine";
        context.refuse("not-supported", "devices cannot be limited", span, help);
    }
    let deploy = service.deploy.as_ref();
    if is_process && deploy.is_some_and(|deploy| deploy.resources.reservations.is_some()) {
        let span = context.compose(&subject.at(&["deploy", "resources", "reservations"]));
        let message = format!(
            "nothing is reserved for `{}` on the process engine",
            subject.name
        );
        context.warn("ignored", message, span, "`limits` are honoured");
    }
    let positive = |ByteSize(bytes): ByteSize| u64::try_from(bytes).ok().filter(|bytes| *bytes > 0);
    let cpus = stated.cpus.or(service.cpus);
    Limits {
        memory_bytes: stated.memory.or(service.mem_limit).and_then(positive),
        cpu_millis: cpus
            .and_then(|cpus| thousandths(&cpus.to_string()))
            .filter(|millis| *millis > 0),
        pids: stated
            .pids
            .or(service.pids_limit)
            .and_then(|pids| u32::try_from(pids).ok())
            .filter(|pids| *pids > 0),
        rlimits: rlimits(&service.ulimits),
    }
}

/// Returns soft and hard limits; what Compose writes as -1 is no limit.
pub(super) fn rlimits(ulimits: &BTreeMap<String, Ulimit>) -> BTreeMap<String, (u64, u64)> {
    let limit = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    ulimits
        .iter()
        .map(|(name, ulimit)| {
            let (soft, hard) = match *ulimit {
                Ulimit::Single(both) => (both, both),
                Ulimit::Range { soft, hard } => (soft, hard),
            };
            (name.clone(), (limit(soft), limit(hard)))
        })
        .collect()
}

/// Returns the signal that asks an instance to stop, by its full name.
pub(super) fn stop_signal(context: &mut Context<'_>, subject: &Subject<'_>) -> String {
    let stated = subject.service.stop_signal.as_deref().unwrap_or("SIGTERM");
    let full = stated.to_ascii_uppercase();
    let found = SIGNALS
        .iter()
        .find(|(name, number)| {
            *name == full || name.strip_prefix("SIG") == Some(full.as_str()) || *number == stated
        })
        .map(|(name, _)| (*name).to_owned());
    found.unwrap_or_else(|| {
        let span = context.compose(&subject.at(&["stop_signal"]));
        let names: Vec<&str> = SIGNALS.iter().map(|(name, _)| *name).collect();
        let message = format!("`{stated}` is not a signal that can be sent");
        context.refuse(
            "bad-value",
            message,
            span,
            format!("write one of {}", names.join(", ")),
        );
        "SIGTERM".to_owned()
    })
}

/// Returns the signal that asks a container to stop; empty for the one that its image names.
pub(super) fn stop_signal_of_container(subject: &Subject<'_>) -> String {
    let stated = subject.service.stop_signal.as_deref().unwrap_or_default();
    let full = stated.to_ascii_uppercase();
    match SIGNALS.iter().find(|(_, number)| *number == full) {
        Some((name, _)) => (*name).to_owned(),
        None if full.is_empty() || full.starts_with("SIG") => full,
        None if full.starts_with(|c: char| c.is_ascii_digit()) => full,
        None => format!("SIG{full}"),
    }
}

/// Returns how long an instance may take to stop before it is killed.
pub(super) fn stop_grace(subject: &Subject<'_>) -> Duration {
    subject
        .service
        .stop_grace_period
        .map_or(STOP_GRACE, towpath_compose::model::Duration::to_std)
}
