//! Makes all that an instance needs before it can start: its directory, variables, secrets,
//! configuration files and volumes. Not its process ([`super::instance`]).

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Gid, Uid, chown};
use rustix::process::geteuid;
use tokio::sync::watch;
use towpath_model::id::SecretName;
use towpath_model::port::{InstanceStart, PortError, Stop};
use towpath_model::workload::{SecretValue, WorkloadSpec};

use super::layout::{LOG, STATE};
use super::plan::Plan;
use super::shared::{Shared, failed};
use super::state::StateFile;
use super::{secrets, variables};
use crate::shim::files;
use crate::shim::launch::{Credentials, Launch, Program, Streams};
use crate::workspace;

/// A start that was asked for.
pub(super) struct Order {
    pub(super) start: InstanceStart,
    pub(super) secrets: BTreeMap<SecretName, SecretValue>,
    pub(super) stop: watch::Receiver<Option<Stop>>,
}

/// What was written down, and how to go on or why not.
pub(super) type Prepared = (StateFile, Result<Launch, String>);

/// Writes the instance down and makes what it needs. An error is returned when it could not be
/// written down; what goes wrong after that is the reason why it never starts.
pub(super) fn prepare(
    shared: &Shared,
    order: &Order,
    directory: &Path,
) -> Result<Prepared, PortError> {
    let id = &order.start.id;
    let attempted = || format!("start {id}");
    let plan =
        Plan::new(shared, &order.start, directory).map_err(|error| failed(attempted(), &error))?;
    let recorded = DirBuilder::new()
        .mode(0o711)
        .recursive(true)
        .create(directory)
        .and_then(|()| files::write(&directory.join(STATE), &plan.state));
    if let Err(error) = recorded {
        // What cannot be written down may not exist. If this fails too, the next opening does it.
        drop(fs::remove_dir_all(directory));
        return Err(failed(attempted(), &error));
    }
    let launch = match &plan.refused {
        Some(reason) => Err(reason.clone()),
        None => make(shared, order, directory, &plan),
    };
    Ok((plan.state, launch))
}

fn make(shared: &Shared, order: &Order, directory: &Path, plan: &Plan) -> Result<Launch, String> {
    let spec = &order.start.spec;
    let user = plan.state.user.as_ref();
    secrets::write(&plan.state.secrets, &spec.secrets, &order.secrets, user)?;
    write_configs(&directory.join("configs"), spec)?;
    make_private(&directory.join("tmp"), user)
        .map_err(|error| format!("cannot make a directory for temporary files: {error}"))?;
    for mount in &spec.volumes {
        let volume = shared
            .layout
            .data
            .volume(&order.start.id.environment, &mount.volume);
        if !volume.exists() {
            make_private(&volume, user)
                .map_err(|error| format!("cannot make the volume `{}`: {error}", mount.volume))?;
        }
    }
    let service = &order.start.id.service;
    let own = shared.layout.environment(&order.start.id.environment);
    let given = workspace::given(&own, service);
    for archive in given.map_err(|error| format!("cannot look for given files: {error}"))? {
        workspace::unpack(&archive, &plan.state.directory)
            .map_err(|error| format!("cannot take given files apart: {error}"))?;
    }
    let mut environment = plan.state.environment.clone();
    let secret_variables = secrets::variables(&plan.state.secrets)
        .map_err(|error| format!("cannot read secrets: {error}"))?;
    environment.extend(secret_variables);
    let (words, shell) = variables::words(&spec.command, &plan.given);
    Ok(Launch {
        stage: stage(shared)?,
        program: Program {
            words,
            shell,
            environment,
            directory: plan.state.directory.clone(),
            user: switch_to(user),
            rlimits: spec.limits.rlimits.clone(),
            cgroup: plan.state.cgroup.clone(),
            streams: Streams::Supervised,
        },
        recorded: true,
        log: Some((PathBuf::from(LOG), shared.config.log)),
        lifeline: false,
    })
}

/// Returns whom to become: nobody, when this is them already.
pub(super) fn switch_to(user: Option<&Credentials>) -> Option<Credentials> {
    user.filter(|_| geteuid().is_root()).cloned()
}

/// Returns how a supervisor starts its second stage.
pub(super) fn stage(shared: &Shared) -> Result<Vec<String>, String> {
    let (program, words) = &shared.config.shim;
    std::iter::once(program.as_os_str())
        .chain(words.iter().map(std::ffi::OsString::as_os_str))
        .map(|word| word.to_str().map(str::to_owned))
        .collect::<Option<Vec<String>>>()
        .ok_or_else(|| format!("the path {} is not UTF-8", program.display()))
}

/// Writes the configuration files: each under its name, and under the path that it asks for.
fn write_configs(directory: &Path, spec: &WorkloadSpec) -> Result<(), String> {
    let failed = |error: io::Error| format!("cannot write configuration files: {error}");
    DirBuilder::new()
        .mode(0o755)
        .recursive(true)
        .create(directory)
        .map_err(failed)?;
    for config in &spec.configs {
        for path in [&config.name, &config.target] {
            let path = directory.join(inside(path));
            if let Some(parent) = path.parent() {
                DirBuilder::new()
                    .mode(0o755)
                    .recursive(true)
                    .create(parent)
                    .map_err(failed)?;
            }
            fs::write(path, &config.content).map_err(failed)?;
        }
    }
    Ok(())
}

/// Returns the named parts of a path: what remains cannot lead out of a directory.
fn inside(path: &str) -> PathBuf {
    let components = Path::new(path).components();
    components
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect()
}

/// Makes a directory that belongs to the instance's user alone.
fn make_private(directory: &Path, user: Option<&Credentials>) -> io::Result<()> {
    if let Some(parent) = directory.parent() {
        DirBuilder::new()
            .mode(0o711)
            .recursive(true)
            .create(parent)?;
    }
    DirBuilder::new().mode(0o700).create(directory)?;
    if let Some(user) = user {
        chown(
            directory,
            Some(Uid::from_raw(user.uid)),
            Some(Gid::from_raw(user.gid)),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_inside_of_its_directory() {
        assert_eq!(inside("/etc/../../x.conf"), Path::new("etc/x.conf"));
        assert_eq!(inside("name"), Path::new("name"));
    }
}
