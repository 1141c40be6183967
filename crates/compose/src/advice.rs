//! What a project says that is legal and unwise. Not errors, nor the warnings of a load: nothing
//! depends on it, and a review may weigh it against what else it knows.

mod image;

use self::image::{is_unpinned, store};
use crate::diagnostic::Diagnostic;
use crate::load::Loaded;
use crate::model::{MountKind, Port, Service};
use crate::source::Span;

/// Why something is unwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// An image without a tag, or with `latest`: what runs changes by itself.
    FloatingImage,
    /// A database that everybody who reaches the machine can reach.
    PublicStore,
    /// A database whose data goes away with its container.
    LosingStore,
    /// A container that may do what the machine may.
    Privileged,
    /// A capability that is as good as all of them.
    Capability,
    /// A namespace of the machine.
    HostNamespace,
    /// The socket of the engine, or the whole file system, in a container.
    HostMount,
    /// A secret that is written into the file.
    WrittenSecret,
    /// A name that only one container can have.
    ContainerName,
    /// `links`, for which networks have names.
    Links,
}

impl Rule {
    /// Returns a stable name for programs, like `floating-image`.
    pub fn code(self) -> &'static str {
        match self {
            Self::FloatingImage => "floating-image",
            Self::PublicStore => "public-store",
            Self::LosingStore => "losing-store",
            Self::Privileged => "privileged",
            Self::Capability => "capability",
            Self::HostNamespace => "host-namespace",
            Self::HostMount => "host-mount",
            Self::WrittenSecret => "written-secret",
            Self::ContainerName => "container-name",
            Self::Links => "links",
        }
    }
}

/// One thing that would be better otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Advice {
    /// Why.
    pub rule: Rule,
    /// The service that it is about.
    pub service: String,
    /// What is unwise: lowercase, no full stop.
    pub message: String,
    /// What to write instead.
    pub help: &'static str,
    /// The place.
    pub span: Option<Span>,
}

impl Advice {
    /// Makes a note of it, to be shown beside errors and warnings.
    pub fn to_diagnostic(&self) -> Diagnostic {
        Diagnostic::note(self.rule.code(), self.message.clone())
            .at_maybe(self.span.as_ref())
            .help(self.help)
    }
}

/// Goes through the enabled services of a project, and returns what would be better otherwise, by
/// service and in the order of [`Rule`].
pub fn advise(loaded: &Loaded) -> Vec<Advice> {
    let mut all = Vec::new();
    for (name, service) in &loaded.project.services {
        let mut review = Review {
            loaded,
            name,
            service,
            found: &mut all,
        };
        review.image();
        review.store();
        review.power();
        review.mounts();
        review.secrets();
        review.habits();
    }
    all
}

struct Review<'r> {
    loaded: &'r Loaded,
    name: &'r str,
    service: &'r Service,
    found: &'r mut Vec<Advice>,
}

impl Review<'_> {
    fn span(&self, key: &str) -> Option<&Span> {
        let path = format!("services.{}.{key}", self.name);
        self.loaded.spans.get(&path)
    }

    fn advise(&mut self, rule: Rule, key: &str, message: String, help: &'static str) {
        let span = self.span(key).cloned();
        self.found.push(Advice {
            rule,
            service: self.name.to_owned(),
            message,
            help,
            span,
        });
    }

    fn image(&mut self) {
        if let Some(image) = &self.service.image
            && self.service.build.is_none()
            && is_unpinned(image)
        {
            let message = format!("image `{image}` may be another one at every pull");
            let help = "name a version, like `:1.2.3`, or a digest";
            self.advise(Rule::FloatingImage, "image", message, help);
        }
    }

    fn store(&mut self) {
        let service = self.service;
        let Some(store) = service.image.as_deref().and_then(store) else {
            return;
        };
        for (at, port) in service.ports.iter().enumerate() {
            if port.target == store.port && is_public(port) {
                let message = format!("{} can be reached from everywhere", store.name);
                let help =
                    "publish it on 127.0.0.1, or not at all: services reach one another anyway";
                self.advise(Rule::PublicStore, &format!("ports[{at}]"), message, help);
            }
        }
        let kept = service.volumes.iter().any(|mount| {
            !mount.read_only && matches!(mount.kind, MountKind::Volume | MountKind::Bind)
        });
        if store.is_durable && !kept && service.volumes_from.is_empty() {
            let message = format!("the data of {} goes away with its container", store.name);
            let help = "mount a volume where it keeps its data";
            self.advise(Rule::LosingStore, "image", message, help);
        }
    }

    fn power(&mut self) {
        let service = self.service;
        if service.privileged {
            let message = "a privileged container may do what the machine may".to_owned();
            let help = "add the capabilities or devices that it needs";
            self.advise(Rule::Privileged, "privileged", message, help);
        }
        for (at, capability) in service.cap_add.iter().enumerate() {
            let bare = capability.trim_start_matches("CAP_");
            if matches!(bare, "ALL" | "SYS_ADMIN") {
                let message = format!("capability `{capability}` is nearly all of them");
                let help = "add only those that it needs";
                self.advise(Rule::Capability, &format!("cap_add[{at}]"), message, help);
            }
        }
        let namespaces = [
            ("network_mode", &service.network_mode),
            ("pid", &service.pid),
            ("ipc", &service.ipc),
        ];
        for (key, value) in namespaces {
            if value.as_deref() == Some("host") {
                let message = format!("with `{key}: host` it is not apart from the machine");
                let help = "leave it out, and publish ports or share a volume";
                self.advise(Rule::HostNamespace, key, message, help);
            }
        }
    }

    fn mounts(&mut self) {
        let service = self.service;
        for (at, mount) in service.volumes.iter().enumerate() {
            let message = match (mount.kind, mount.source.as_deref()) {
                (MountKind::Bind, Some("/var/run/docker.sock" | "/run/docker.sock")) => {
                    "who may use the engine's socket may do what the machine may"
                }
                (MountKind::Bind, Some("/")) => "the whole file system is in this container",
                _ => continue,
            };
            let help = "mount what it needs, read-only where that is enough";
            let key = format!("volumes[{at}]");
            self.advise(Rule::HostMount, &key, message.to_owned(), help);
        }
    }

    fn secrets(&mut self) {
        for (name, value) in &self.service.environment {
            let written = value.as_deref().is_some_and(|value| !value.is_empty());
            if !written || !is_secret(name) || self.is_from_a_variable(name) {
                continue;
            }
            let message = format!("the value of `{name}` is in the file for all who can read it");
            let help = "take it from a variable, like ${NAME:?}, or from `secrets`";
            let key = format!("environment.{name}");
            self.advise(Rule::WrittenSecret, &key, message, help);
        }
    }

    /// Says whether a value is not written here: it has a variable, or comes from an env file.
    fn is_from_a_variable(&self, name: &str) -> bool {
        let Some(span) = self.span(&format!("environment.{name}")) else {
            return true;
        };
        let text = span.text();
        text.contains('$') || text == name || text == "environment"
    }

    fn habits(&mut self) {
        let service = self.service;
        if service.container_name.is_some() {
            let message =
                "only one container can have this name, so no new one can start beside it";
            let help = "leave it out: other services reach it by the service's name";
            self.advise(
                Rule::ContainerName,
                "container_name",
                message.to_owned(),
                help,
            );
        }
        if !service.links.is_empty() {
            let message = "`links` is from a time when networks had no names".to_owned();
            let help = "leave it out: services of a network reach one another by name";
            self.advise(Rule::Links, "links", message, help);
        }
    }
}

/// Says whether a port is published on all addresses.
fn is_public(port: &Port) -> bool {
    let address = port.host_ip.as_deref().unwrap_or_default();
    port.published.is_some() && matches!(address, "" | "0.0.0.0" | "::" | "[::]")
}

/// Says whether a variable has the name of a secret, and not of a file or a setting of one.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let words: Vec<&str> = name.split('_').collect();
    let secret = |word: &&str| {
        matches!(
            *word,
            "PASSWORD" | "PASSWD" | "PASS" | "SECRET" | "TOKEN" | "APIKEY" | "CREDENTIALS"
        )
    };
    match words.as_slice() {
        [] | [.., "FILE" | "PATH" | "URL" | "EXPIRY" | "LENGTH"] => false,
        [
            ..,
            "API" | "SECRET" | "PRIVATE" | "ACCESS" | "ENCRYPTION",
            "KEY",
        ] => true,
        [.., last] => secret(last),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::files::MemoryFiles;
    use crate::load::load;
    use crate::options::LoadOptions;

    fn found(service: &str) -> Vec<String> {
        let options = LoadOptions {
            working_directory: PathBuf::from("/w"),
            ..LoadOptions::default()
        };
        let text =
            format!("services:\n  a: {{{service}}}\n  b: {{image: 'x:1'}}\nvolumes: {{vv: }}\n");
        let files = MemoryFiles::default().with("/w/compose.yaml", text);
        let loaded = load(&options, &files).unwrap();
        let found = advise(&loaded).into_iter();
        let shown = found.map(|one| format!("{} {}", one.rule.code(), one.span.unwrap().text()));
        shown.collect()
    }

    #[test]
    fn each_rule_finds_its_place() {
        for (service, rules) in [
            ("image: nginx", vec!["floating-image nginx"]),
            (
                "image: 'nginx:latest'",
                vec!["floating-image 'nginx:latest'"],
            ),
            (
                "image: 'postgres:17', ports: ['5432:5432'], volumes: ['vv:/d']",
                vec!["public-store '5432:5432'"],
            ),
            ("image: 'mysql:8'", vec!["losing-store 'mysql:8'"]),
            ("image: 'x:1', privileged: true", vec!["privileged true"]),
            (
                "image: 'x:1', cap_add: [NET_ADMIN, ALL]",
                vec!["capability ALL"],
            ),
            ("image: 'x:1', pid: host", vec!["host-namespace host"]),
            (
                "image: 'x:1', volumes: ['/var/run/docker.sock:/s']",
                vec!["host-mount '/var/run/docker.sock:/s'"],
            ),
            (
                "image: 'x:1', environment: {DB_PASSWORD: hunter2}",
                vec!["written-secret hunter2"],
            ),
            (
                "image: 'x:1', container_name: nn",
                vec!["container-name nn"],
            ),
            ("image: 'x:1', links: [b]", vec!["links links"]),
        ] {
            assert_eq!(found(service), rules, "{service}");
        }
    }

    #[test]
    fn what_is_wise_is_left_alone() {
        for service in [
            "image: 'nginx:1.27'",
            "image: 'nginx@sha256:aa'",
            "image: 'localhost:5000/x:1'",
            "image: mine, build: .",
            "image: 'postgres:17', ports: ['127.0.0.1:5432:5432'], volumes: ['vv:/d']",
            "image: 'redis:7'",
            "image: 'x:1', environment: {DB_PASSWORD: '${P:-x}', TOKEN: , SECRET_FILE: /run/s}",
            "image: 'x:1', environment: ['DB_PASSWORD=${P:-x}', TOKEN]",
        ] {
            assert_eq!(found(service), [""; 0], "{service}");
        }
    }
}
