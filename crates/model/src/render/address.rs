//! How services name one another. In Compose `db:5432` is the address of the service `db`; a
//! process has no such names, so that an address which stands in a variable becomes `${DB_ADDR}`,
//! which is replaced by the real one when an instance starts.

use std::collections::BTreeMap;

use towpath_compose::model::Project;

/// Returns the variable that holds the address of a service, such as `DB_ADDR`: the name in
/// capitals, with `_` for what is neither letter nor digit.
pub(super) fn address_variable(service: &str) -> String {
    format!("{}_ADDR", variable_prefix(service))
}

/// Writes a name as a part of a variable's name.
pub(super) fn variable_prefix(service: &str) -> String {
    let capital = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => c.to_ascii_uppercase(),
        _ => '_',
    };
    service.chars().map(capital).collect()
}

/// One address of a service within a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mention<'t> {
    before: &'t str,
    service: &'t str,
    port: u16,
    after: &'t str,
}

/// Finds the first `service:port` that stands where an address does: at the start, or after `//`,
/// `@`, `,`, `=` or a space; and up to the end, or to `/`, `?`, `,`, `;` or a space.
fn first_mention<'t>(text: &'t str, project: &Project) -> Option<Mention<'t>> {
    text.match_indices(':').find_map(|(colon, _)| {
        let (head, tail) = text.split_at_checked(colon)?;
        let start = head
            .rfind(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-'))
            .map_or(0, |at| at + 1);
        let (before, service) = head.split_at_checked(start)?;
        let begins =
            before.is_empty() || before.ends_with("//") || before.ends_with(['@', ',', '=', ' ']);
        let tail = tail.strip_prefix(':')?;
        let end = tail
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (port, after) = tail.split_at_checked(end)?;
        let ends = after.is_empty() || after.starts_with(['/', '?', ',', ';', ' ']);
        let port = port.parse().ok()?;
        (begins && ends && project.services.contains_key(service)).then_some(Mention {
            before,
            service,
            port,
            after,
        })
    })
}

/// Returns the ports under which services are named in the variables and commands of any service.
pub(super) fn mentioned(project: &Project) -> BTreeMap<String, u16> {
    let mut ports = BTreeMap::new();
    for service in project.services.values() {
        let variables = service.environment.values().flatten();
        let words = service.entrypoint.iter().chain(&service.command).flatten();
        for mut text in variables.chain(words).map(String::as_str) {
            while let Some(mention) = first_mention(text, project) {
                let port = ports.entry(mention.service.to_owned());
                port.or_insert(mention.port);
                text = mention.after;
            }
        }
    }
    ports
}

/// Replaces the addresses of services in a value by the variables that hold the real ones.
/// `ports` are the ports that stand for the services; another port of a service stays as it is.
pub(super) fn translate(value: &str, project: &Project, ports: &BTreeMap<String, u16>) -> String {
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(mention) = first_mention(rest, project) {
        text.push_str(mention.before);
        if ports.get(mention.service) == Some(&mention.port) {
            text.extend(["${", &address_variable(mention.service), "}"]);
        } else {
            text.extend([mention.service, ":", &mention.port.to_string()]);
        }
        rest = mention.after;
    }
    text.push_str(rest);
    text
}

/// A variable whose value is the bare name of a service, as in `DB_HOST=db`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BareName {
    /// The variable.
    pub(super) variable: String,
    /// The variable beside it that would hold the port (`DB_PORT`).
    pub(super) port_variable: String,
    /// The service.
    pub(super) service: String,
    /// What the names of the real variables start with (`DB`).
    pub(super) prefix: String,
}

/// Returns the service whose bare name a value is, where the variable says that it is a host.
pub(super) fn bare_name(variable: &str, value: &str, project: &Project) -> Option<BareName> {
    let stem = ["HOSTNAME", "HOST", "SERVER", "hostname", "host", "server"]
        .iter()
        .find_map(|end| variable.strip_suffix(end))?;
    let port = if variable.ends_with(|c: char| c.is_ascii_lowercase()) {
        "port"
    } else {
        "PORT"
    };
    project.services.contains_key(value).then(|| BareName {
        variable: variable.to_owned(),
        port_variable: format!("{stem}{port}"),
        service: value.to_owned(),
        prefix: variable_prefix(value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> Project {
        let services = ["db", "cache-1", "api"]
            .map(|name| (name.to_owned(), towpath_compose::Service::default()));
        Project {
            services: services.into(),
            ..Project::default()
        }
    }

    #[test]
    fn addresses_of_services_become_variables() {
        let ports = BTreeMap::from([("db".to_owned(), 5432), ("cache-1".to_owned(), 6379)]);
        for (value, translated) in [
            ("postgres://u:p@db:5432/x", "postgres://u:p@${DB_ADDR}/x"),
            ("db:5432", "${DB_ADDR}"),
            (
                "redis://cache-1:6379/0,db:5432",
                "redis://${CACHE_1_ADDR}/0,${DB_ADDR}",
            ),
            ("db:5433", "db:5433"),
            ("http://other:5432", "http://other:5432"),
            ("mydb:5432", "mydb:5432"),
            ("user:db:5432", "user:db:5432"),
            ("a text with db: 5432", "a text with db: 5432"),
        ] {
            assert_eq!(translate(value, &project(), &ports), translated);
        }
    }

    #[test]
    fn a_service_is_a_host_only_where_the_variable_says_so() {
        let found = bare_name("POSTGRES_HOST", "db", &project()).unwrap();
        assert_eq!(
            (found.service.as_str(), found.port_variable.as_str()),
            ("db", "POSTGRES_PORT")
        );
        assert_eq!(bare_name("POSTGRES_DB", "db", &project()), None);
        assert_eq!(bare_name("POSTGRES_HOST", "elsewhere", &project()), None);
    }
}
