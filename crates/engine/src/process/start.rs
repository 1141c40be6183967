//! Makes all that an instance needs before it can start: its directory, variables, secrets,
//! configuration files and volumes. Not its process ([`super::instance`]).

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Gid, Uid, chown};
use rustix::process::geteuid;
use tokio::sync::watch;
use towpath_model::id::{InstanceId, SecretName};
use towpath_model::port::{InstanceStart, PortError, Stop};
use towpath_model::workload::{SecretValue, WorkloadSpec};

use super::layout::{LOG, STATE};
use super::shared::{Shared, failed};
use super::state::{MARK, StateFile};
use super::{secrets, user, variables};
use crate::procfs::random_name;
use crate::shim::files;
use crate::shim::launch::{Credentials, Launch, Program};

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
pub(super) fn prepare(shared: &Shared, order: &Order) -> Result<Prepared, PortError> {
    let id = &order.start.id;
    let directory = shared.layout.instance(id);
    let attempted = || format!("start {id}");
    let plan = Plan::new(shared, order, &directory).map_err(|error| failed(attempted(), &error))?;
    let recorded = DirBuilder::new()
        .mode(0o711)
        .recursive(true)
        .create(&directory)
        .and_then(|()| files::write(&directory.join(STATE), &plan.state));
    if let Err(error) = recorded {
        // What cannot be written down may not exist. If this fails too, the next opening does it.
        drop(fs::remove_dir_all(&directory));
        return Err(failed(attempted(), &error));
    }
    let launch = plan
        .user
        .clone()
        .and_then(|_| make(shared, order, &directory, &plan));
    Ok((plan.state, launch))
}

/// What follows from the order without touching anything.
struct Plan {
    state: StateFile,
    given: BTreeMap<String, String>,
    user: Result<Option<Credentials>, String>,
}

impl Plan {
    fn new(shared: &Shared, order: &Order, directory: &Path) -> io::Result<Self> {
        let start = &order.start;
        let spec = &start.spec;
        let port = match start.fixed_port {
            Some(port) => port,
            None => shared
                .ports
                .take()
                .ok_or_else(|| io::Error::other("no port is free"))?,
        };
        let mark = format!(
            "{}/{}/{}",
            shared.data_id,
            start.id.environment,
            random_name()?
        );
        let (user, home) = match spec.user.as_deref().map(wanted_user).transpose() {
            Ok(user) => user.unzip(),
            Err(error) => return Ok(Self::refused(shared, order, port, (mark, error))),
        };
        let secrets = secrets_of(shared, &start.id);
        let mut given = variables::given(start, port);
        given.insert(MARK.to_owned(), mark.clone());
        let mut path = |name: &str, path: &Path| {
            given.insert(name.to_owned(), path.to_string_lossy().into_owned());
        };
        path("SECRETS_DIR", &secrets::files(&secrets));
        path("CONFIGS_DIR", &directory.join("configs"));
        for volume in &spec.volumes {
            let name = format!("VOLUME_{}", variables::variable_name(&volume.volume));
            path(
                &name,
                &shared
                    .layout
                    .data
                    .volume(&start.id.environment, &volume.volume),
            );
        }
        let mut base = shared.config.base_environment.clone();
        base.insert(
            "TMPDIR".to_owned(),
            directory.join("tmp").to_string_lossy().into_owned(),
        );
        if let Some(home) = home.flatten() {
            base.insert("HOME".to_owned(), home);
        }
        let mounted: Vec<String> = spec.secrets.iter().filter_map(secrets::file_name).collect();
        let place = (secrets::files(&secrets), mounted);
        let environment =
            variables::environment(&base, &spec.environment, &given, (&place.0, &place.1));
        let tree = shared.layout.tree(&start.id.environment, start.release);
        let state = StateFile {
            id: start.id.clone(),
            workload: start.workload.clone(),
            release: start.release,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            mark,
            environment,
            secrets,
            directory: match &spec.working_directory {
                Some(relative) => tree.join(relative),
                None => tree,
            },
            user: user.clone(),
            created_at: shared.clock.now(),
        };
        Ok(Self {
            state,
            given,
            user: Ok(user),
        })
    }

    /// The plan of an instance that cannot start for a reason that is known already.
    fn refused(shared: &Shared, order: &Order, port: u16, why: (String, String)) -> Self {
        let start = &order.start;
        let state = StateFile {
            id: start.id.clone(),
            workload: start.workload.clone(),
            release: start.release,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            mark: why.0,
            environment: BTreeMap::new(),
            secrets: secrets_of(shared, &start.id),
            directory: PathBuf::new(),
            user: None,
            created_at: shared.clock.now(),
        };
        Self {
            state,
            given: BTreeMap::new(),
            user: Err(why.1),
        }
    }
}

/// Returns where the secrets of an instance are.
pub(super) fn secrets_of(shared: &Shared, id: &InstanceId) -> PathBuf {
    match &shared.secret_place {
        Some(place) => place.join(secrets::directory_name(id)),
        None => shared.layout.instance(id).join("secrets"),
    }
}

/// Looks up who an instance is to run as, and its home.
fn wanted_user(name: &str) -> Result<(Credentials, Option<String>), String> {
    let (found, home) = user::look_up(name)?;
    let own = geteuid();
    if own.is_root() || found.uid == own.as_raw() {
        return Ok((found, home));
    }
    Err(format!(
        "cannot run as user `{name}`: only root may change the user"
    ))
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
            cgroup: None,
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
