//! The hook that Git runs before it takes a push: it asks the control plane, and shows the answer. Not
//! the judgement, which is the control plane's.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use towpath_api::client::Client;
use towpath_api::git::{JudgeRequest, Judgement, ReferenceUpdate};
use towpath_model::port::DataDirectory;

use super::{PRE_RECEIVE, api_socket};

/// The most lines that are read: the control plane takes fewer.
const UPDATES_MAX: usize = 10_000;

/// Writes the hook to where Git looks for it. It names this program's own file.
pub(crate) fn install(data: &DataDirectory, program: &Path) -> Result<()> {
    let hooks = data.hooks();
    let cannot = || format!("cannot write Git's hook in {}", hooks.display());
    std::fs::create_dir_all(&hooks).with_context(cannot)?;
    let program = program
        .to_str()
        .context("this program's path is not UTF-8")?;
    let quoted = program.replace('\'', "'\\''");
    let script = format!("#!/bin/sh\nexec '{quoted}' {PRE_RECEIVE}\n");
    let coming = hooks.join("pre-receive.new");
    std::fs::write(&coming, script).with_context(cannot)?;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&coming, mode).with_context(cannot)?;
    std::fs::rename(&coming, hooks.join("pre-receive")).with_context(cannot)
}

/// Is the hook (githooks(5), "pre-receive"): lines of `old new name` come in, what is printed is shown to
/// whoever pushes, and any other exit code than 0 refuses the push.
pub(crate) async fn run(variables: &BTreeMap<String, String>) -> ExitCode {
    let (code, lines) = match judge(variables).await {
        Ok(judgement) => {
            let code = if judgement.accepted {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
            (code, judgement.lines)
        }
        Err(error) => {
            let line = format!("error: the push cannot be judged: {error:#}");
            (ExitCode::FAILURE, vec![line])
        }
    };
    let mut screen = std::io::stderr().lock();
    for line in lines {
        // Whoever pushed may be gone.
        drop(writeln!(screen, "{line}"));
    }
    code
}

async fn judge(variables: &BTreeMap<String, String>) -> Result<Judgement> {
    let get = |name: &str| {
        let value = variables.get(name).filter(|value| !value.is_empty());
        value.with_context(|| format!("{name} is not set: this is run by Git alone"))
    };
    let socket = api_socket(Path::new(get("TOWPATH_PUSH_DATA")?));
    let client = Client::unix(socket, get("TOWPATH_PUSH_ACTOR")?);
    let app = get("TOWPATH_PUSH_APP")?;
    let incoming = variables.get("GIT_QUARANTINE_PATH").map(Path::new);
    let incoming = incoming.and_then(|path| path.file_name()?.to_str());
    let mut updates = Vec::new();
    for line in std::io::stdin().lock().lines().take(UPDATES_MAX) {
        let line = line.context("cannot read what is pushed")?;
        let mut words = line.splitn(3, ' ').map(str::to_owned);
        let (Some(old), Some(new), Some(name)) = (words.next(), words.next(), words.next()) else {
            anyhow::bail!("Git says `{line}`");
        };
        updates.push(ReferenceUpdate { name, old, new });
    }
    let request = JudgeRequest {
        updates,
        incoming: incoming.map(str::to_owned),
    };
    Ok(client.judge_push(app, &request).await?)
}
