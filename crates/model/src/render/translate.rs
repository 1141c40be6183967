//! Texts that were written for a container, made to work for a process: addresses of services,
//! paths of volumes, configs and secrets, and the port to listen on become variables, which the
//! engine replaces when an instance starts.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use towpath_compose::model::MountKind;

use super::address::{self, Names};
use super::context::{Context, Subject};
use crate::workload::Command;

/// What a text of one service is translated by.
pub(super) struct Translator<'a> {
    names: Rc<Names>,
    /// The ports that stand for services.
    ports: &'a BTreeMap<String, u16>,
    /// Paths inside and the variables for them, longer ones first.
    paths: Vec<(String, String)>,
    /// The port that the service listens on inside.
    port: Option<u16>,
}

impl<'a> Translator<'a> {
    pub(super) fn new(
        context: &Context<'_>,
        ports: &'a BTreeMap<String, u16>,
        subject: &Subject<'_>,
        working_directory: Option<&str>,
    ) -> Self {
        let mut paths = paths(subject);
        paths.extend(paths_of_tree(
            &context.inputs.loaded.directory,
            subject,
            working_directory,
        ));
        paths.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Self {
            names: Rc::clone(&context.names),
            ports,
            paths,
            port: subject.container_port.filter(|_| subject.listens),
        }
    }

    /// Translates the value of a variable.
    pub(super) fn text(&self, text: &str) -> String {
        let text = self.names.translate(text, self.ports);
        let replace = |text, (path, variable): &(String, String)| in_variable(text, path, variable);
        self.paths.iter().fold(text, replace)
    }

    /// Translates one word of a command.
    pub(super) fn word(&self, word: &str) -> String {
        let Some(port) = self.port else {
            return self.text(word);
        };
        if let Some(before) = before_port(word, port) {
            return format!("{}${{PORT}}", self.text(before));
        }
        let own = ["localhost", "127.0.0.1"];
        own.iter().fold(self.text(word), |text, host| {
            let (inside, real) = (format!("{host}:{port}/"), format!("{host}:${{PORT}}/"));
            text.replace(&inside, &real)
        })
    }

    /// Translates a command. A line for the shell has the same variables.
    pub(super) fn command(&self, command: Command) -> Command {
        match command {
            Command::Shell(line) => {
                let words: Vec<String> = line.split(' ').map(|word| self.word(word)).collect();
                Command::Shell(words.join(" "))
            }
            Command::Exec(words) => {
                Command::Exec(words.iter().map(|word| self.word(word)).collect())
            }
        }
    }

    /// Returns the port that stands for a service.
    pub(super) fn port_of(&self, service: &str) -> Option<u16> {
        self.ports.get(service).copied()
    }

    /// Tells whether a word names the port that the service listens on inside.
    pub(super) fn names_port(&self, word: &str) -> bool {
        self.port
            .is_some_and(|port| before_port(word, port).is_some())
    }
}

/// Returns what stands before a port at the end of a word: `8000`, `0.0.0.0:8000`, `--port=8000`.
pub(crate) fn before_port(word: &str, port: u16) -> Option<&str> {
    let before = word.strip_suffix(port.to_string().as_str())?;
    (before.is_empty() || before.ends_with([':', '='])).then_some(before)
}

/// Returns the paths that a service finds its mounts at, and the variables for the real ones.
fn paths(subject: &Subject<'_>) -> Vec<(String, String)> {
    let service = subject.service;
    let volumes = service.volumes.iter().filter_map(|mount| {
        let name = mount.source.as_deref()?;
        let variable = format!("${{VOLUME_{}}}", address::variable_prefix(name));
        (mount.kind == MountKind::Volume).then_some((mount.target.clone()?, variable))
    });
    let configs = service.configs.iter().map(|mount| {
        let default = || format!("/{}", mount.source);
        let target = mount.target.clone().unwrap_or_else(default);
        (target, format!("${{CONFIGS_DIR}}/{}", mount.source))
    });
    let secrets = service.secrets.iter().map(|mount| {
        let file = mount.target.as_deref().unwrap_or(&mount.source);
        let file = file.strip_prefix("/run/secrets/").unwrap_or(file);
        let variable = format!("${{SECRETS_DIR}}/{file}");
        (format!("/run/secrets/{file}"), variable)
    });
    volumes
        .chain(configs)
        .chain(secrets)
        .map(|(path, variable)| (path.trim_end_matches('/').to_owned(), variable))
        .filter(|(path, _)| path.len() > 1)
        .collect()
}

/// Returns the paths at which a service finds parts of the source tree, and where those are as seen
/// from the directory that it runs in.
fn paths_of_tree(
    tree: &Path,
    subject: &Subject<'_>,
    working_directory: Option<&str>,
) -> Vec<(String, String)> {
    let directory = Path::new(working_directory.unwrap_or_default());
    if directory.is_absolute() {
        return Vec::new();
    }
    let up = "../".repeat(directory.components().count());
    let mounts = subject.service.volumes.iter();
    mounts
        .filter(|mount| mount.kind == MountKind::Bind)
        .filter_map(|mount| {
            let inside = mount.target.as_deref()?.trim_end_matches('/');
            let source = Path::new(mount.source.as_deref()?);
            let outside = source.strip_prefix(tree).ok()?.to_str()?;
            let outside = match format!("{up}{outside}").trim_end_matches('/') {
                "" => ".".to_owned(),
                outside => outside.to_owned(),
            };
            (inside.len() > 1).then_some((inside.to_owned(), outside))
        })
        .collect()
}

/// Replaces `path` by `variable` wherever it stands as a whole path, or as the start of one.
fn in_variable(text: String, path: &str, variable: &str) -> String {
    if !text.contains(path) {
        return text;
    }
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once(path) {
        replaced.push_str(before);
        let begins = replaced.is_empty()
            || replaced.ends_with(":///")
            || replaced.ends_with(['=', ':', ',', ' ', '"', '\'']);
        let ends = after.is_empty() || after.starts_with(['/', ':', ',', ' ', '"', '\'', '?']);
        replaced.push_str(if begins && ends { variable } else { path });
        rest = after;
    }
    replaced.push_str(rest);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_one_only_where_it_stands_alone() {
        assert_eq!(before_port("8000", 8000), Some(""));
        assert_eq!(before_port("0.0.0.0:8000", 8000), Some("0.0.0.0:"));
        assert_eq!(before_port("--port=8000", 8000), Some("--port="));
        for word in ["18000", "x8000", "8000x", "--id-8000", "8000/tcp"] {
            assert_eq!(before_port(word, 8000), None, "{word}");
        }
    }

    #[test]
    fn paths_are_replaced_only_as_whole_paths() {
        for (text, replaced) in [
            ("/data", "$V"),
            ("/data/app.db", "$V/app.db"),
            ("--dir=/data --x", "--dir=$V --x"),
            ("sqlite:////data/app.db", "sqlite:///$V/app.db"),
            ("/data:/data", "$V:$V"),
            ("/database", "/database"),
            ("/srv/data", "/srv/data"),
        ] {
            assert_eq!(
                in_variable(text.to_owned(), "/data", "$V"),
                replaced,
                "{text}"
            );
        }
    }
}
