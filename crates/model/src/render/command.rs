//! What a service runs: the command, the build step, the directory. Not its variables.

use std::path::Path;

use towpath_compose::model::{MountKind, Service};

use super::address;
use super::context::{Context, Subject};
use super::translate::{self, Translator};
use super::well_known;
use crate::workload::Command;

/// Returns what the service runs; complains when nothing says it.
pub(super) fn command(
    context: &mut Context<'_>,
    subject: &Subject<'_>,
    translator: &Translator<'_>,
) -> Option<Command> {
    if let Some(command) = &subject.settings.process.command {
        return Some(command.clone());
    }
    let mut words = stated(subject.service);
    if words.first().is_none_or(|program| program.starts_with('-')) {
        refuse_without_command(context, subject, words.first());
        return None;
    }
    let port = subject.container_port.unwrap_or_default();
    if words.iter().any(|word| translator.names_port(word)) {
        warn_of_port(context, subject, port);
    } else if subject.listens
        && let Some(arguments) = well_known::store_arguments(&words, volume(subject.service))
    {
        warn_of_store(context, subject, &arguments);
        words.extend(arguments);
    }
    Some(translator.command(Command::Exec(words)))
}

/// Returns the words of Compose's `entrypoint` and `command`.
fn stated(service: &Service) -> Vec<String> {
    let parts = [&service.entrypoint, &service.command].into_iter();
    parts.flatten().flatten().cloned().collect()
}

/// Returns the first named volume that a service may write.
fn volume(service: &Service) -> Option<&str> {
    let mut mounts = service.volumes.iter();
    let mount = mounts.find(|mount| mount.kind == MountKind::Volume && !mount.read_only)?;
    mount.source.as_deref()
}

fn refuse_without_command(
    context: &mut Context<'_>,
    subject: &Subject<'_>,
    option: Option<&String>,
) {
    let (name, service) = (&subject.name, subject.service);
    let (message, key) = match (option, &service.build, &service.image) {
        (Some(option), _, _) => (
            format!("`{option}` is an option for the program of an image, not a program"),
            "command",
        ),
        (None, Some(_), _) => (
            format!(
                "`{name}` has a Dockerfile and no command: the process engine has nothing to run"
            ),
            "build",
        ),
        (None, None, Some(_)) => (
            format!("`{name}` has an image and no command: the process engine has nothing to run"),
            "image",
        ),
        (None, None, None) => (format!("`{name}` has no command"), "image"),
    };
    let span = context.compose(&subject.at(&[key]));
    let help = match suggestion(service) {
        Some(line) => format!(
            "install the program on this machine and write `services.{name}.process.command: {line}` in towpath.yaml"
        ),
        None => format!(
            "write what runs it on this machine as `services.{name}.process.command` in towpath.yaml"
        ),
    };
    context.refuse("no-command", message, span, help);
}

/// Returns the line for the shell that runs a service as a process, as far as it can be guessed.
pub(crate) fn suggestion(service: &Service) -> Option<String> {
    let mut words = stated(service);
    let store = service.image.as_deref().and_then(well_known::store);
    if words.first().is_none_or(|word| word.starts_with('-')) {
        let program = well_known::store_program(store?.0)?;
        words.insert(0, program.to_owned());
    }
    let arguments = well_known::store_arguments(&words, volume(service)).unwrap_or_default();
    let published = service.ports.first();
    let port = published.and_then(|port| u16::try_from(port.target).ok());
    let line = with_port_variable(&words, port.unwrap_or_default());
    let line = with_volume_variables(&line, &volume_paths(service));
    let parts = [line].into_iter().chain(arguments);
    Some(format!("exec {}", parts.collect::<Vec<_>>().join(" ")))
}

/// Returns where a service finds its named volumes, and the variables for the real places.
fn volume_paths(service: &Service) -> Vec<(&str, String)> {
    let mounts = service.volumes.iter();
    let named = mounts.filter(|mount| mount.kind == MountKind::Volume);
    named
        .filter_map(|mount| {
            let variable = address::variable_prefix(mount.source.as_deref()?);
            let target = mount.target.as_deref()?.trim_end_matches('/');
            Some((target, format!("${{VOLUME_{variable}}}")))
        })
        .collect()
}

/// Replaces the paths of volumes, and what is below them, where they are words of their own.
fn with_volume_variables(line: &str, volumes: &[(&str, String)]) -> String {
    let translated = |word: &str| {
        let mut found = volumes.iter().filter_map(|(target, variable)| {
            let rest = word.strip_prefix(target)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| format!("{variable}{rest}"))
        });
        found.next().unwrap_or_else(|| word.to_owned())
    };
    let words: Vec<String> = line.split(' ').map(translated).collect();
    words.join(" ")
}

/// Warns when a store is told where to listen, which is a guess of what the program understands.
fn warn_of_store(context: &mut Context<'_>, subject: &Subject<'_>, arguments: &[String]) {
    let name = &subject.name;
    let message = format!("the command of `{name}` gets `{}` too", arguments.join(" "));
    let help = format!("write `services.{name}.process.command` in towpath.yaml for another one");
    let span = context.compose(&subject.at(&["command"]));
    context.warn("store-translated", message, span, help);
}

/// Warns when the command names the port of Compose, which is a guess of what the number means.
fn warn_of_port(context: &mut Context<'_>, subject: &Subject<'_>, port: u16) {
    let name = &subject.name;
    let message = format!(
        "the command of `{name}` names the port {port}: it gets the instance's own `PORT` instead"
    );
    let help = format!("write `services.{name}.process.command` in towpath.yaml if that is not it");
    let span = context.compose(&subject.at(&["command"]));
    context.warn("port-translated", message, span, help);
}

/// Writes a command as a line for the shell, with `$PORT` for the port.
pub(crate) fn shell_line(command: &Command, port: u16) -> String {
    match command {
        Command::Exec(words) => format!("exec {}", with_port_variable(words, port)),
        Command::Shell(line) => {
            let words = line
                .split(' ')
                .map(|word| match translate::before_port(word, port) {
                    Some(before) => format!("{before}$PORT"),
                    None => word.to_owned(),
                });
            words.collect::<Vec<_>>().join(" ")
        }
    }
}

fn with_port_variable(words: &[String], port: u16) -> String {
    let words: Vec<String> = words
        .iter()
        .map(|word| match translate::before_port(word, port) {
            Some("") => "$PORT".to_owned(),
            Some(before) => format!("{}$PORT", quoted(before)),
            None => quoted(word),
        })
        .collect();
    words.join(" ")
}

/// Writes a word so that the shell takes it as it is.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Returns the directory to run in, relative to the source tree.
pub(super) fn working_directory(
    context: &mut Context<'_>,
    subject: &Subject<'_>,
) -> Option<String> {
    if let Some(directory) = &subject.settings.process.working_directory {
        return Some(directory.clone());
    }
    let directory = subject.service.working_dir.as_deref()?;
    if !directory.starts_with('/') {
        return Some(directory.to_owned());
    }
    // A directory of a container is one of the source tree where the tree is mounted into it.
    let mounted = subject.service.volumes.iter().find_map(|mount| {
        let inside = Path::new(directory)
            .strip_prefix(mount.target.as_deref()?)
            .ok()?;
        let outside = Path::new(mount.source.as_deref()?)
            .strip_prefix(context.inputs.loaded.directory.as_path());
        Some(outside.ok()?.join(inside))
    });
    if let Some(relative) = mounted {
        let relative = relative.to_string_lossy();
        return (!relative.is_empty()).then(|| relative.into_owned());
    }
    // An image's own directory says nothing to whoever wrote another command for it.
    if subject.settings.process.command.is_none() {
        let span = context.compose(&subject.at(&["working_dir"]));
        let message = format!(
            "`{directory}` is a directory of a container: `{}` runs in the source tree",
            subject.name
        );
        let help = "write `process.working_directory` in towpath.yaml if it needs another one";
        context.warn("container-directory", message, span, help);
    }
    None
}

/// Tells whether the service runs in the source tree, so that a change of it is a change of the
/// service.
pub(super) fn uses_source(context: &Context<'_>, subject: &Subject<'_>) -> bool {
    let process = &subject.settings.process;
    if let Some(source) = process.source {
        return source;
    }
    let mounts_tree = || {
        subject.service.volumes.iter().any(|mount| {
            let source = mount.source.as_deref().map(Path::new);
            source
                .is_some_and(|source| source.starts_with(context.inputs.loaded.directory.as_path()))
        })
    };
    process.build.is_some()
        || subject.service.build.is_some()
        || process
            .working_directory
            .as_deref()
            .is_some_and(|path| !path.starts_with('/'))
        || process.command.as_ref().is_some_and(runs_file_of_tree)
        || mounts_tree()
}

/// Tells whether the program of a command is named by a path within the tree, as `./serve` or
/// `target/release/web`.
fn runs_file_of_tree(command: &Command) -> bool {
    let program = match command {
        Command::Shell(line) => line.split_whitespace().find(|word| *word != "exec"),
        Command::Exec(words) => words.first().map(String::as_str),
    };
    program.is_some_and(|program| program.contains('/') && !program.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_becomes_a_variable_only_where_it_stands_alone() {
        let words = ["gunicorn", "-b", "0.0.0.0:8000", "--id=18000", "it's"].map(str::to_owned);
        assert_eq!(
            with_port_variable(&words, 8000),
            r"gunicorn -b 0.0.0.0:$PORT --id=18000 'it'\''s'"
        );
    }

    #[test]
    fn the_path_of_a_volume_becomes_a_variable_only_where_it_stands_alone() {
        let volumes = [("/data", "${VOLUME_D}".to_owned())];
        assert_eq!(
            with_volume_variables("redis-server --dir /data --pid /data/x /database", &volumes),
            "redis-server --dir ${VOLUME_D} --pid ${VOLUME_D}/x /database"
        );
    }

    #[test]
    fn a_program_with_a_relative_path_is_of_the_tree() {
        let shell = |line: &str| runs_file_of_tree(&Command::Shell(line.to_owned()));
        assert!(shell("exec target/release/web --port $PORT"));
        assert!(!shell("redis-server --port $PORT --dir /data"));
        assert!(!shell("/usr/bin/env python"));
    }
}
