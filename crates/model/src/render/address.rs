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

/// The names under which Compose lets services reach one another.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, String>);

impl Names {
    /// Collects the names of services, containers and hosts, and the aliases in networks and links.
    pub(super) fn of(project: &Project) -> Self {
        let mut names = BTreeMap::new();
        for (name, service) in &project.services {
            let own = [&service.container_name, &service.hostname];
            let networks = service.networks.values().flatten();
            let aliases = networks.flat_map(|network| &network.aliases);
            for alias in own.into_iter().flatten().chain(aliases) {
                names.insert(alias.clone(), name.clone());
            }
            for (target, alias) in service.links.iter().filter_map(|link| link.split_once(':')) {
                names.insert(alias.to_owned(), target.to_owned());
            }
        }
        // The name of a service goes before another one's alias.
        names.extend(
            project
                .services
                .keys()
                .map(|name| (name.clone(), name.clone())),
        );
        names.retain(|_, service| project.services.contains_key(service));
        Self(names)
    }

    /// Returns the service that has this name.
    fn service(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns the ports under which services are named in the variables and commands of any service.
    pub(super) fn mentioned_ports(&self, project: &Project) -> BTreeMap<String, u16> {
        let mut ports = BTreeMap::new();
        for service in project.services.values() {
            let variables = service.environment.values().flatten();
            let words = service.entrypoint.iter().chain(&service.command).flatten();
            for mut text in variables.chain(words).map(String::as_str) {
                while let Some(mention) = self.first_mention(text) {
                    if let Some(port) = mention.port {
                        ports.entry(mention.service.to_owned()).or_insert(port);
                    }
                    text = mention.after;
                }
            }
        }
        ports
    }

    /// Replaces the addresses of services in a text by the variables that hold the real ones.
    /// `ports` are the ports that stand for the services; another port of a service stays as it is.
    pub(super) fn translate(&self, value: &str, ports: &BTreeMap<String, u16>) -> String {
        let mut text = String::with_capacity(value.len());
        let mut rest = value;
        while let Some(mention) = self.first_mention(rest) {
            text.push_str(mention.before);
            let is_real = ports
                .get(mention.service)
                .is_some_and(|real| mention.port.is_none_or(|port| port == *real));
            if is_real {
                text.extend(["${", &address_variable(mention.service), "}"]);
            } else {
                text.push_str(mention.written);
            }
            rest = mention.after;
        }
        text.push_str(rest);
        text
    }

    /// Finds the first address of a service: `service:port` where an address begins, or `service`
    /// alone as the host of a URL.
    fn first_mention<'t>(&'t self, text: &'t str) -> Option<Mention<'t>> {
        let after_delimiter = text
            .match_indices(['/', '@', ',', '=', ' '])
            .map(|(at, delimiter)| at + delimiter.len());
        std::iter::once(0)
            .chain(after_delimiter)
            .find_map(|start| self.mention_at(text, start))
    }

    fn mention_at<'t>(&'t self, text: &'t str, start: usize) -> Option<Mention<'t>> {
        let (before, rest) = text.split_at_checked(start)?;
        let is_path = before.ends_with('/') && !before.ends_with("//");
        let host = split_while(rest, |c| {
            c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
        });
        let service = self.service(host.0)?;
        let (port, after) = match host.1.strip_prefix(':') {
            Some(tail) => {
                let (port, after) = split_while(tail, |c| c.is_ascii_digit());
                (Some(port.parse().ok()?), after)
            }
            None => (None, host.1),
        };
        let is_host = before.ends_with("//") || before.ends_with('@') && before.contains("://");
        let ends = after.is_empty() || after.starts_with(['/', '?', ',', ';', ' ']);
        let written = rest.strip_suffix(after)?;
        (!is_path && ends && (port.is_some() || is_host)).then_some(Mention {
            before,
            written,
            service,
            port,
            after,
        })
    }
}

/// One address of a service within a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mention<'t> {
    before: &'t str,
    written: &'t str,
    service: &'t str,
    port: Option<u16>,
    after: &'t str,
}

/// Splits a text before the first character that does not belong.
fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
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
pub(super) fn bare_name(variable: &str, value: &str, names: &Names) -> Option<BareName> {
    let stem = ["HOSTNAME", "HOST", "SERVER", "hostname", "host", "server"]
        .iter()
        .find_map(|end| variable.strip_suffix(end))?;
    let port = if variable.ends_with(|c: char| c.is_ascii_lowercase()) {
        "port"
    } else {
        "PORT"
    };
    let service = names.service(value)?;
    Some(BareName {
        variable: variable.to_owned(),
        port_variable: format!("{stem}{port}"),
        service: service.to_owned(),
        prefix: variable_prefix(service),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let mut project = Project::default();
        for name in ["db", "cache-1", "api"] {
            let service = towpath_compose::Service::default();
            project.services.insert(name.to_owned(), service);
        }
        let db = project.services.entry("db".to_owned()).or_default();
        db.container_name = Some("shop-db".to_owned());
        let api = project.services.entry("api".to_owned()).or_default();
        api.links = vec!["cache-1:cache".to_owned()];
        Names::of(&project)
    }

    #[test]
    fn addresses_of_services_become_variables() {
        let ports = BTreeMap::from([("db".to_owned(), 5432), ("cache-1".to_owned(), 6379)]);
        for (value, translated) in [
            ("postgres://u:p@db:5432/x", "postgres://u:p@${DB_ADDR}/x"),
            ("postgres://u:p@db/x", "postgres://u:p@${DB_ADDR}/x"),
            (
                "postgres://u:p@shop-db:5432/x",
                "postgres://u:p@${DB_ADDR}/x",
            ),
            ("redis://cache", "redis://${CACHE_1_ADDR}"),
            ("db:5432", "${DB_ADDR}"),
            (
                "redis://cache-1:6379/0,db:5432",
                "redis://${CACHE_1_ADDR}/0,${DB_ADDR}",
            ),
            ("db:5433", "db:5433"),
            ("db", "db"),
            ("http://api/", "http://api/"),
            ("/srv/db:5432", "/srv/db:5432"),
            ("http://other/db", "http://other/db"),
            ("http://other:5432", "http://other:5432"),
            ("mydb:5432", "mydb:5432"),
            ("user:db:5432", "user:db:5432"),
            ("me@db", "me@db"),
            ("a text with db: 5432", "a text with db: 5432"),
            ("żółw://db:5432/ą", "żółw://${DB_ADDR}/ą"),
        ] {
            assert_eq!(names().translate(value, &ports), translated);
        }
    }

    #[test]
    fn a_service_is_a_host_only_where_the_variable_says_so() {
        let found = bare_name("POSTGRES_HOST", "db", &names()).unwrap();
        assert_eq!(
            (found.service.as_str(), found.port_variable.as_str()),
            ("db", "POSTGRES_PORT")
        );
        assert_eq!(bare_name("POSTGRES_DB", "db", &names()), None);
        assert_eq!(bare_name("POSTGRES_HOST", "elsewhere", &names()), None);
    }
}
