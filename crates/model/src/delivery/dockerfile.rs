//! What a Dockerfile says of the program that its image runs, for a first guess at a process
//! command. Not a builder: variables are not expanded, and what base images say is not known.

use std::path::Path;

use towpath_compose::model::Service;

use crate::workload::Command;

/// What an image runs, as far as its Dockerfile says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) command: Option<Command>,
    /// The first port that is exposed.
    pub(super) port: Option<u16>,
}

/// Returns the path of a service's Dockerfile, where it is built from one on this machine.
pub fn dockerfile_of(service: &Service) -> Option<String> {
    let build = service.build.as_ref()?;
    let context = Path::new(build.context.as_deref()?);
    let file = build.dockerfile.as_deref().unwrap_or("Dockerfile");
    let path = context.join(file);
    path.is_absolute()
        .then(|| path.to_string_lossy().into_owned())
}

/// Reads the stage `target` of a Dockerfile, the last one when there is no target.
pub(super) fn read(text: &str, target: Option<&str>) -> Image {
    let mut entrypoint = None;
    let mut command = None;
    let mut port = None;
    let mut in_target = false;
    for instruction in instructions(text) {
        let Some((name, rest)) = instruction.split_once(char::is_whitespace) else {
            continue;
        };
        let rest = rest.trim();
        match name.to_ascii_uppercase().as_str() {
            "FROM" if in_target => break,
            "FROM" => {
                // What an earlier stage runs is inherited only by name, which is rare.
                (entrypoint, command, port) = (None, None, None);
                let stage = rest.split_whitespace().next_back();
                in_target = target.is_some_and(|target| stage == Some(target));
            }
            "ENTRYPOINT" => (entrypoint, command) = (form(rest), None),
            "CMD" => command = form(rest),
            "EXPOSE" => {
                let first = rest.split(|c: char| !c.is_ascii_digit()).next();
                port = port.or_else(|| first?.parse().ok());
            }
            _ => {}
        }
    }
    let command = match (entrypoint, command) {
        (Some(Command::Exec(mut words)), Some(Command::Exec(arguments))) => {
            words.extend(arguments);
            Some(Command::Exec(words))
        }
        (Some(entrypoint), _) => Some(entrypoint),
        (None, command) => command,
    };
    Image { command, port }
}

/// Joins continued lines and drops comments.
fn instructions(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        if let Some(part) = line.strip_suffix('\\') {
            open.extend([part.trim_end(), " "]);
        } else {
            open.push_str(line);
            found.push(std::mem::take(&mut open));
        }
    }
    found.push(open);
    found
}

/// Reads a command in either form: a JSON list of words, or a line for the shell.
fn form(text: &str) -> Option<Command> {
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(words) if words.is_empty() => None,
        Ok(words) => Some(Command::Exec(words)),
        Err(_) => (!text.is_empty()).then(|| Command::Shell(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(words: &[&str]) -> Command {
        Command::Exec(words.iter().map(|&word| word.to_owned()).collect())
    }

    #[test]
    fn the_last_stage_says_what_runs() {
        let text = "FROM node AS assets\nCMD [\"npm\"]\n\n# the app\nFROM python:3.12\nEXPOSE 8000/tcp 9000\nENTRYPOINT [\"gunicorn\"]\nCMD [ \"-b\", \\\n  \"0.0.0.0:8000\" ]\n";
        let image = read(text, None);
        assert_eq!(
            image.command,
            Some(exec(&["gunicorn", "-b", "0.0.0.0:8000"]))
        );
        assert_eq!(image.port, Some(8000));
        assert_eq!(read(text, Some("assets")).command, Some(exec(&["npm"])));
    }

    #[test]
    fn a_line_is_for_the_shell() {
        let line = |text| read(text, None).command;
        let shell = |line: &str| Some(Command::Shell(line.to_owned()));
        assert_eq!(line("from x\ncmd python app.py"), shell("python app.py"));
        assert_eq!(
            line("FROM x\nENTRYPOINT run me\nCMD [\"x\"]"),
            shell("run me")
        );
        assert_eq!(line("FROM x\nCMD []"), None);
        assert_eq!(line("FROM x\nRUN make"), None);
        assert_eq!(line(""), None);
    }
}
