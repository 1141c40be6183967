//! The Compose project of an environment: which files, variables and profiles the delivery file asks
//! for. Not the loading itself, which is the compose crate's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use towpath_compose::diagnostic::Diagnostics;
use towpath_compose::{Files, LoadOptions, Loaded, Project};

use super::address::address_variable;
use super::context::port_of_container;
use super::unknown_environment;
use crate::delivery::{Delivery, Engine};
use crate::id::EnvironmentName;

/// Loads the Compose project of an environment.
///
/// `options` has the working directory (that of the delivery file), the variables of the caller and
/// what was asked for on the command line, which goes before the delivery file. In the Compose files
/// `${<SERVICE>_ADDR}` stands for the address of a service (for containers, its name and port), unless the caller has a variable of
/// that name; other tools can be given a default, as in `${DB_ADDR:-db:5432}`.
pub fn load(
    delivery: &Delivery,
    environment: &EnvironmentName,
    mut options: LoadOptions,
    files: &dyn Files,
) -> Result<Loaded, Diagnostics> {
    let Some(settings) = delivery.file.environment(environment) else {
        return Err(unknown_environment(delivery, environment).into());
    };
    let paths = |texts: &[String]| texts.iter().map(PathBuf::from).collect();
    if options.files.is_empty() {
        options.files = paths(&settings.compose);
    }
    if options.env_files.is_empty() {
        options.env_files = paths(&settings.env_files);
    }
    if options.profiles.is_empty() {
        options.profiles = settings.profiles;
    }
    options.environment.extend(settings.variables);
    options.keep_unused = true;
    let first = towpath_compose::load(&options, files)?;
    let addresses = match settings.engine {
        Engine::Process => addresses(&first.project, &first.environment),
        Engine::Docker => names(&first.project, &first.environment),
    };
    if addresses.is_empty() {
        return Ok(first);
    }
    options.environment.extend(addresses);
    towpath_compose::load(&options, files)
}

/// Returns the addresses of the services in their network, where it is known on which port they
/// listen.
fn names(project: &Project, environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let services = project.services.iter();
    services
        .filter_map(|(name, service)| {
            let port = port_of_container(service, None)?;
            Some((address_variable(name), format!("{name}:{port}")))
        })
        .filter(|(name, _)| !environment.contains_key(name))
        .collect()
}

/// Returns variables that stand for themselves: the engine replaces them when an instance starts.
fn addresses(
    project: &Project,
    environment: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let names = project.services.keys().map(|name| address_variable(name));
    names
        .filter(|name| !environment.contains_key(name))
        .map(|name| (name.clone(), format!("${{{name}}}")))
        .collect()
}
