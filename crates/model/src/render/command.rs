//! What a service runs: the command, the build step, the directory. Not its variables.

use std::path::Path;

use super::context::{Context, Subject};
use crate::workload::Command;

/// Returns what the service runs; complains when nothing says it.
pub(super) fn command(context: &mut Context<'_>, subject: &Subject<'_>) -> Option<Command> {
    if let Some(command) = &subject.settings.process.command {
        return Some(command.clone());
    }
    let service = subject.service;
    let words: Vec<String> = [&service.entrypoint, &service.command]
        .into_iter()
        .flatten()
        .flatten()
        .cloned()
        .collect();
    let name = &subject.name;
    let instead = format!(
        "write what runs it on this machine as `services.{name}.process.command` in towpath.yaml"
    );
    match words.first() {
        Some(program) if program.starts_with('-') => {
            let message =
                format!("`{program}` is an option for the program of an image, not a program");
            let span = context.compose(&subject.at(&["command"]));
            context.refuse("no-command", message, span, instead);
            None
        }
        Some(_) => {
            warn_of_fixed_port(context, subject, &words);
            Some(Command::Exec(words))
        }
        None => {
            let (what, key) = match (&service.image, &service.build) {
                (_, Some(_)) => ("a Dockerfile", "build"),
                (Some(_), None) => ("an image", "image"),
                (None, None) => ("nothing", "image"),
            };
            let message = format!(
                "`{name}` has {what} and no command: the process engine has nothing to run"
            );
            let span = context.compose(&subject.at(&[key]));
            context.refuse("no-command", message, span, instead);
            None
        }
    }
}

/// Warns when the command names the port of Compose: an instance has to listen on `PORT`.
fn warn_of_fixed_port(context: &mut Context<'_>, subject: &Subject<'_>, words: &[String]) {
    let Some(port) = subject.container_port.filter(|_| subject.listens) else {
        return;
    };
    if !words.iter().any(|word| names_port(word, port)) {
        return;
    }
    let line = with_port_variable(words, port);
    let message =
        format!("the command names the port {port}, but an instance gets its own as `PORT`");
    let help = format!(
        "write `services.{}.process.command: {line}` in towpath.yaml",
        subject.name
    );
    let span = context.compose(&subject.at(&["command"]));
    context.warn("fixed-port", message, span, help);
}

fn names_port(word: &str, port: u16) -> bool {
    let port = port.to_string();
    word.split(|c: char| !c.is_ascii_digit())
        .any(|number| number == port)
}

/// Writes words as a line for the shell, with `$PORT` for the port.
pub(crate) fn with_port_variable(words: &[String], port: u16) -> String {
    let words: Vec<String> = words
        .iter()
        .map(|word| {
            if names_port(word, port) {
                word.replace(&port.to_string(), "$PORT")
            } else {
                quoted(word)
            }
        })
        .collect();
    words.join(" ")
}

/// Writes a word so that the shell takes it as it is.
pub(crate) fn quoted(word: &str) -> String {
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
        let outside = Path::new(mount.source.as_deref()?).strip_prefix(context.inputs.directory);
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
            source.is_some_and(|source| source.starts_with(context.inputs.directory))
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
    fn a_program_with_a_relative_path_is_of_the_tree() {
        let shell = |line: &str| runs_file_of_tree(&Command::Shell(line.to_owned()));
        assert!(shell("exec target/release/web --port $PORT"));
        assert!(!shell("redis-server --port $PORT --dir /data"));
        assert!(!shell("/usr/bin/env python"));
    }
}
