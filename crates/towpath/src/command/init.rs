//! `towpath init`: writes a delivery file for the Compose file that is there.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use towpath_compose::Project;
use towpath_model::delivery::{
    Engine, FILE_NAME, Surroundings, dockerfile_of, needs_containers, scaffold_with,
};

use super::print;
use super::project::load;
use crate::arguments::Init;
use crate::exit::{Failed, Failure};
use crate::settings::Settings;

/// Writes it beside the Compose file, and never over one that is there unless told to.
pub(crate) fn run(init: &Init, settings: &Settings) -> Result<ExitCode> {
    let loaded = load(&init.files, settings)?;
    let path = loaded.directory.join(FILE_NAME);
    let mut open = std::fs::OpenOptions::new();
    open.write(true);
    if init.force {
        open.create(true).truncate(true);
    } else {
        open.create_new(true);
    }
    let mut file = match open.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let message = format!("{} is there already", path.display());
            let hint = "edit it, or replace it with --force";
            return Err(Failed::new(Failure::Input, message).hint(hint).into());
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot write {}", path.display()));
        }
    };
    let mut found = surroundings(&loaded.project);
    found.engine = match init.engine {
        Some(engine) => engine.into(),
        None if needs_containers(&loaded.project) && docker_answers(settings) => Engine::Docker,
        None => Engine::Process,
    };
    file.write_all(scaffold_with(&loaded.project, &found).as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    print(&format!(
        "wrote {}\nnext: towpath check, then towpath up\n",
        path.display()
    ))
}

/// Tells whether somebody listens where Docker does on this machine.
fn docker_answers(settings: &Settings) -> bool {
    let host = settings.variables.get("DOCKER_HOST").map(String::as_str);
    let socket = match host.filter(|host| !host.is_empty()) {
        Some(host) => host.strip_prefix("unix://"),
        None => Some("/var/run/docker.sock"),
    };
    socket.is_some_and(|socket| std::os::unix::net::UnixStream::connect(socket).is_ok())
}

/// Reads what lies around and says how services are made and run. What cannot be read is not there.
fn surroundings(project: &Project) -> Surroundings {
    let mut found = Surroundings::default();
    for service in project.services.values() {
        if let Some(path) = dockerfile_of(service)
            && let Ok(text) = std::fs::read_to_string(&path)
        {
            found.dockerfiles.insert(path, text);
        }
        let context = service
            .build
            .as_ref()
            .and_then(|build| build.context.clone());
        if let Some(context) = context
            && let Ok(entries) = std::fs::read_dir(&context)
        {
            let names = entries.flatten().map(|entry| entry.file_name());
            let names = names.filter_map(|name| name.into_string().ok());
            found.files.insert(context, names.collect());
        }
    }
    found
}
