//! `towpath secret`: secrets of an environment. A value comes from standard input or a file, never
//! from an argument, which every process of the machine could read.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;

use super::table::{ago, table};
use super::{connect, print};
use crate::arguments::{OnEnvironment, SecretCommand, SecretRemove, SecretSet};
use crate::exit::{Failed, Failure};
use crate::settings::Settings;

/// The largest value that is read, in bytes: more than the control plane takes.
const VALUE_BYTES_MAX: u64 = 2 << 20;

/// Runs `towpath secret`.
pub(crate) async fn run(command: &SecretCommand, settings: &Settings) -> Result<ExitCode> {
    match command {
        SecretCommand::Set(arguments) => set(arguments, settings).await,
        SecretCommand::Ls(arguments) => list(arguments, settings).await,
        SecretCommand::Rm(arguments) => remove(arguments, settings).await,
    }
}

async fn set(arguments: &SecretSet, settings: &Settings) -> Result<ExitCode> {
    let id = connect::target(&arguments.target, settings)?;
    let value = read(arguments.file.as_deref())?;
    let client = connect::client(settings)?;
    let set = client.set_secret(&id, &arguments.name, value).await?;
    if arguments.json {
        return print(&format!("{}\n", serde_json::to_string(&set)?));
    }
    print(&format!(
        "secret {} of {id} has version {}; releases made from now on read it\n",
        set.name, set.version
    ))
}

/// Reads a value as it is; of one that was typed or echoed, the last line end is no part.
pub(super) fn read(file: Option<&Path>) -> Result<Bytes> {
    let unreadable = |what: String, error: std::io::Error| {
        Failed::new(Failure::Input, format!("cannot read {what}: {error}"))
    };
    let mut value = Vec::new();
    if let Some(path) = file {
        std::fs::File::open(path)
            .and_then(|file| file.take(VALUE_BYTES_MAX).read_to_end(&mut value))
            .map_err(|error| unreadable(path.display().to_string(), error))?;
        return Ok(Bytes::from(value));
    }
    if std::io::stdin().is_terminal() {
        let hint =
            "pipe it in, as in `pass show db | towpath secret set dev db-password`, or use --file";
        let message = "the value of a secret is not typed where others can see it";
        return Err(Failed::new(Failure::Input, message).hint(hint).into());
    }
    std::io::stdin()
        .take(VALUE_BYTES_MAX)
        .read_to_end(&mut value)
        .map_err(|error| unreadable("standard input".to_owned(), error))?;
    Ok(Bytes::from(without_line_end(value)))
}

fn without_line_end(mut value: Vec<u8>) -> Vec<u8> {
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    value
}

async fn list(arguments: &OnEnvironment, settings: &Settings) -> Result<ExitCode> {
    let id = connect::choose(&arguments.choice, settings).await?;
    let secrets = connect::client(settings)?.secrets(&id).await?;
    if arguments.json {
        return print(&format!("{}\n", serde_json::to_string(&secrets)?));
    }
    let now = Timestamp::now();
    let rows = secrets.iter().map(|secret| {
        vec![
            secret.name.clone(),
            secret.version.to_string(),
            ago(secret.created_at, now),
            secret.created_by.clone(),
        ]
    });
    print(&format!(
        "{}\n",
        table(&["secret", "version", "set", "by"], rows)
    ))
}

async fn remove(arguments: &SecretRemove, settings: &Settings) -> Result<ExitCode> {
    let id = connect::target(&arguments.target, settings)?;
    let client = connect::client(settings)?;
    client.remove_secret(&id, &arguments.name).await?;
    if arguments.json {
        let removed = json!({ "name": arguments.name, "removed": true });
        return print(&format!("{removed}\n"));
    }
    print(&format!(
        "secret {} of {id} is removed; releases that read it keep theirs for a rollback\n",
        arguments.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_line_end_of_a_piped_value_goes() {
        for (piped, value) in [
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("a", "a"),
            ("", ""),
        ] {
            assert_eq!(without_line_end(piped.into()), value.as_bytes());
        }
    }
}
