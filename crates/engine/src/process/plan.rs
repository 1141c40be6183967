//! What an instance will be: everything that follows from the order, before anything is made. Not
//! the making ([`super::start`]).

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use towpath_model::id::InstanceId;
use towpath_model::port::InstanceStart;

use super::shared::Shared;
use super::state::{MARK, StateFile};
use super::{secrets, user, variables};
use crate::procfs::random_name;
use crate::secret_place;
use crate::shim::launch::Credentials;

/// A plan of an instance.
pub(super) struct Plan {
    /// What is written down of it.
    pub(super) state: StateFile,
    /// The variables that the engine gives it.
    pub(super) given: BTreeMap<String, String>,
    /// Why it cannot start, where that is known already.
    pub(super) refused: Option<String>,
}

impl Plan {
    /// Takes a port and a mark, and makes the control group, for an instance in `directory`.
    pub(super) fn new(
        shared: &Shared,
        start: &InstanceStart,
        directory: &Path,
    ) -> io::Result<Self> {
        let spec = &start.spec;
        let port = match start.fixed_port {
            Some(port) => port,
            None => shared
                .ports
                .take()
                .ok_or_else(|| io::Error::other("no port is free"))?,
        };
        let environment_id = &start.id.environment;
        let mark = format!("{}/{environment_id}/{}", shared.data_id, random_name()?);
        let (user, home, refused) = match spec.user.as_deref().map(|name| wanted_user(shared, name))
        {
            None => (None, None, None),
            Some(Ok((user, home))) => (Some(user), home, None),
            Some(Err(reason)) => (None, None, Some(reason)),
        };
        let secrets = secrets_of(shared, &start.id);
        let mut given = variables::given(start, port);
        given.insert(MARK.to_owned(), mark.clone());
        given.extend(paths(shared, start, directory, &secrets));
        let mut base = shared.config.base_environment.clone();
        base.insert("TMPDIR".to_owned(), text(&directory.join("tmp")));
        base.extend(home.map(|home| ("HOME".to_owned(), home)));
        let mounted: Vec<String> = spec.secrets.iter().filter_map(secrets::file_name).collect();
        let files = secrets::files(&secrets);
        let environment =
            variables::environment(&base, &spec.environment, &given, (&files, &mounted));
        let cgroup = match &shared.cgroups {
            Ok(cgroups) => cgroups.make(&start.id, &spec.limits)?,
            // The plan was told that limits are not enforced here.
            Err(_) => None,
        };
        let tree = shared.layout.tree(environment_id, start.release);
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
            user,
            cgroup,
            created_at: shared.clock.now(),
        };
        Ok(Self {
            state,
            given,
            refused,
        })
    }
}

/// Returns the variables that are paths.
fn paths(
    shared: &Shared,
    start: &InstanceStart,
    directory: &Path,
    secrets: &Path,
) -> BTreeMap<String, String> {
    let own = [
        ("SECRETS_DIR".to_owned(), text(&secrets::files(secrets))),
        ("CONFIGS_DIR".to_owned(), text(&directory.join("configs"))),
    ];
    let volumes = start.spec.volumes.iter().map(|mount| {
        let path = shared
            .layout
            .data
            .volume(&start.id.environment, &mount.volume);
        (
            format!("VOLUME_{}", variables::variable_name(&mount.volume)),
            text(&path),
        )
    });
    volumes.chain(own).collect()
}

/// Every path is under the data directory, which is UTF-8, and made of names that are.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Returns where the secrets of an instance are.
pub(super) fn secrets_of(shared: &Shared, id: &InstanceId) -> PathBuf {
    match &shared.secret_place {
        Some(place) => place.join(secret_place::directory_name(id)),
        None => shared.layout.instance(id).join("secrets"),
    }
}

/// Looks up who an instance is to run as, and its home.
pub(super) fn wanted_user(
    shared: &Shared,
    name: &str,
) -> Result<(Credentials, Option<String>), String> {
    let (found, home) = user::look_up(name)?;
    let own = geteuid();
    match &shared.users {
        Err(reason) if found.uid != own.as_raw() => {
            Err(format!("cannot run as user `{name}`: {reason}"))
        }
        Ok(()) | Err(_) => Ok((found, home)),
    }
}
