//! How to tell that an instance is well: the delivery file's word, else Compose's health check
//! turned into one that works for a process, else what fits a service that listens or does not.

use std::time::Duration;

use towpath_compose::model::Healthcheck;

use super::context::{Context, Subject};
use super::translate::Translator;
use super::well_known;
use crate::delivery::Health;
use crate::workload::{Command, HealthCheck, Probe};

/// How long a service may take to start when nobody says it. Compose's own defaults, three tries 30 s
/// apart, give 90 s; here the tries of a start are so close that they would give a third of a second.
const LONGEST_START: Duration = Duration::from_secs(30);

/// How long a container may take to start when nobody says how to tell that it is well.
const LONGEST_SETUP: Duration = Duration::from_mins(2);

/// Returns the service's health check.
pub(super) fn check(
    context: &mut Context<'_>,
    subject: &Subject<'_>,
    translator: &Translator<'_>,
) -> HealthCheck {
    let compose = subject.service.healthcheck.as_ref();
    let delivery = subject.settings.health.clone().unwrap_or_default();
    let probe = match stated(&delivery) {
        Some(probe) => {
            refuse_without_port(context, subject, &probe);
            probe
        }
        None => compose
            .and_then(|check| translated(context, subject, check))
            .map(|probe| match probe {
                Probe::Command(command) => Probe::Command(translator.command(command)),
                probe => probe,
            })
            .unwrap_or(fallback(subject)),
    };
    timed(
        subject,
        &delivery,
        probe,
        &HealthCheck::default(),
        LONGEST_START,
    )
}

/// Returns the health check of a service that is a container: a command is run in it as it is.
pub(super) fn of_container(context: &mut Context<'_>, subject: &Subject<'_>) -> HealthCheck {
    let delivery = subject.settings.health.clone().unwrap_or_default();
    let stated = stated(&delivery);
    if let Some(probe) = &stated {
        refuse_without_port(context, subject, probe);
    }
    let compose = subject.service.healthcheck.as_ref();
    let probe = stated.or_else(|| in_container(compose?));
    let patience = match probe {
        Some(_) => Duration::ZERO,
        // Nobody wrote down how long it takes, and images set themselves up at their first start.
        None => LONGEST_SETUP,
    };
    let probe = probe.unwrap_or(fallback(subject));
    let mut default = HealthCheck::default();
    if matches!(probe, Probe::Command(_)) {
        // Each try starts a process in the container.
        default.start_interval = Duration::from_millis(250);
    }
    timed(
        subject,
        &delivery,
        probe,
        &default,
        patience.max(LONGEST_START),
    )
}

/// Tells whether nobody says how to tell that an instance is well: then the image may know.
pub(super) fn is_unstated(subject: &Subject<'_>) -> bool {
    let delivery = subject.settings.health.clone().unwrap_or_default();
    let compose = subject.service.healthcheck.as_ref();
    stated(&delivery).is_none() && compose.and_then(in_container).is_none()
}

/// Returns Compose's check, to be run in the container.
fn in_container(check: &Healthcheck) -> Option<Probe> {
    let (kind, words) = match check.test.split_first() {
        _ if check.disable => return Some(Probe::Running),
        first => first?,
    };
    Some(match kind.as_str() {
        "NONE" => Probe::Running,
        "CMD-SHELL" => Probe::Command(Command::Shell(words.join(" "))),
        "CMD" => Probe::Command(Command::Exec(words.to_vec())),
        _ => Probe::Command(Command::Exec(check.test.clone())),
    })
}

fn fallback(subject: &Subject<'_>) -> Probe {
    if subject.listens {
        Probe::Tcp
    } else {
        Probe::Running
    }
}

/// Adds the times: the delivery file's, else Compose's, else the defaults.
fn timed(
    subject: &Subject<'_>,
    delivery: &Health,
    probe: Probe,
    default: &HealthCheck,
    start_period: Duration,
) -> HealthCheck {
    let compose = subject.service.healthcheck.as_ref();
    let time = |of: fn(&Healthcheck) -> Option<towpath_compose::model::Duration>| {
        let time = compose.and_then(of)?.to_std();
        (!time.is_zero()).then_some(time)
    };
    let retries = compose
        .and_then(|check| check.retries)
        .map(|retries| u32::try_from(retries).unwrap_or(u32::MAX).max(1));
    HealthCheck {
        probe,
        interval: delivery
            .interval
            .or(time(|check| check.interval))
            .unwrap_or(default.interval),
        start_interval: delivery
            .start_interval
            .or(time(|check| check.start_interval))
            .unwrap_or(default.start_interval),
        timeout: delivery
            .timeout
            .or(time(|check| check.timeout))
            .unwrap_or(default.timeout),
        retries: delivery.retries.or(retries).unwrap_or(default.retries),
        start_period: delivery
            .start_period
            .or(time(|check| check.start_period))
            .unwrap_or(start_period),
    }
}

fn stated(health: &Health) -> Option<Probe> {
    let http = health.http.clone().map(|path| Probe::Http { path });
    let tcp = health.tcp.map(|_| Probe::Tcp);
    let command = health.command.clone().map(Probe::Command);
    let none = health.none.map(|_| Probe::Running);
    http.or(tcp).or(command).or(none)
}

fn refuse_without_port(context: &mut Context<'_>, subject: &Subject<'_>, probe: &Probe) {
    if subject.listens || !matches!(probe, Probe::Http { .. } | Probe::Tcp) {
        return;
    }
    let name = subject.name.as_str();
    let span = context.delivery(&["services", name, "health"]);
    let message = format!("the check needs a port, but `{name}` does not listen");
    let help = "remove `listen: false`, or write a check with `command` or `none`";
    context.refuse("no-port", message, span, help);
}

/// Turns Compose's check into one for a process. `None` leaves the choice to the default.
fn translated(
    context: &mut Context<'_>,
    subject: &Subject<'_>,
    check: &Healthcheck,
) -> Option<Probe> {
    let (command, words) = match check.test.split_first() {
        _ if check.disable => return Some(Probe::Running),
        None => return None,
        Some((kind, _)) if kind == "NONE" => return Some(Probe::Running),
        Some((kind, words)) if kind == "CMD-SHELL" => {
            let line = words.join(" ");
            let words = line.split_whitespace().map(str::to_owned).collect();
            (Command::Shell(line), words)
        }
        Some((kind, words)) if kind == "CMD" => (Command::Exec(words.to_vec()), words.to_vec()),
        Some(_) => (Command::Exec(check.test.clone()), check.test.clone()),
    };
    let program = words.first()?;
    if subject.listens
        && let Some(path) = http_path(&words, subject.container_port)
    {
        return Some(Probe::Http { path });
    }
    let names_port = words.iter().any(|word| word.contains("PORT"));
    if subject.listens && well_known::is_store_client(program) && !names_port {
        let span = context.compose(&subject.at(&["healthcheck", "test"]));
        let message = format!(
            "`{program}` asks the usual port of the store, not the one of the instance: its port is tried instead"
        );
        let help = format!(
            "write `services.{}.health` in towpath.yaml for another check",
            subject.name
        );
        context.warn("health-translated", message, span, help);
        return Some(Probe::Tcp);
    }
    Some(Probe::Command(command))
}

/// Returns the path that `curl` or `wget` asks this very service for, where the check is nothing
/// but that.
pub(crate) fn http_path(words: &[String], container_port: Option<u16>) -> Option<String> {
    let program = words.first()?.rsplit('/').next()?;
    let joins = |word: &String| matches!(word.as_str(), "&&" | "|" | ";") || word.ends_with(';');
    if !matches!(program, "curl" | "wget") || words.iter().any(joins) {
        return None;
    }
    let mut urls = words.iter().filter_map(|word| {
        let word = word.trim_matches(['"', '\'']);
        word.strip_prefix("http://")
    });
    let (url, None) = (urls.next()?, urls.next()) else {
        return None;
    };
    let (authority, path) = match url.find('/') {
        Some(at) => url.split_at_checked(at)?,
        None => (url, "/"),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().ok()?),
        None => (authority, 80),
    };
    let is_self = matches!(
        host,
        "localhost" | "127.0.0.1" | "0.0.0.0" | "[::1]" | "[::]"
    );
    let is_port = container_port.is_none_or(|own| own == port);
    let is_plain = path.bytes().all(|c| c.is_ascii_graphic() && c != b'$');
    (is_self && is_port && is_plain).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(line: &str, port: u16) -> Option<String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        http_path(&words, Some(port))
    }

    #[test]
    fn a_request_to_the_service_itself_becomes_an_http_check() {
        assert_eq!(
            path("curl -f http://localhost:8000/health", 8000).as_deref(),
            Some("/health")
        );
        assert_eq!(
            path("curl -f http://localhost:8000 || exit 1", 8000).as_deref(),
            Some("/")
        );
        assert_eq!(
            path("wget -qO- 'http://127.0.0.1/up?x=1'", 80).as_deref(),
            Some("/up?x=1")
        );
    }

    #[test]
    fn any_other_command_stays_a_command() {
        for line in [
            "curl -f http://localhost:9000/health",
            "curl -f http://other:8000/health",
            "curl -f https://localhost:8000/health",
            "curl http://localhost:8000/ | grep ok",
            "curl http://localhost:8000/ && true",
            "curl http://localhost:8000/$X",
            "python check.py http://localhost:8000/",
        ] {
            assert_eq!(path(line, 8000), None, "{line}");
        }
    }
}
