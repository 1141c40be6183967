//! Looks whether there is place for a release, before anything of it is made.

use std::path::Path;

use bollard::Docker;
use rustix::fs::statvfs;

use super::client::Trouble;
use super::image::Failure;
use super::shared::Shared;

const MEBIBYTE: u64 = 1 << 20;

/// Refuses when there is too little place where Docker has its images, or the engine its files.
pub(super) async fn check(shared: &Shared, docker: &Docker) -> Result<(), Failure> {
    let least = shared.config.minimum_free_bytes;
    enough(&shared.layout.data.0, least)?;
    if !shared.client.is_local() {
        return Ok(());
    }
    let info = docker.info().await;
    let info = info.map_err(|error| -> Trouble { shared.client.trouble(&error) })?;
    match info.docker_root_dir {
        Some(root) => enough(Path::new(&root), least),
        None => Ok(()),
    }
}

fn enough(path: &Path, least: u64) -> Result<(), Failure> {
    // A Docker in a machine of its own has a path that is not here.
    let Ok(found) = statvfs(path) else {
        return Ok(());
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    if free >= least {
        return Ok(());
    }
    Err(Failure::because(format!(
        "the disk of {} is nearly full: {} MiB are free, {} MiB are needed; `docker system df` shows what takes them",
        path.display(),
        free / MEBIBYTE,
        least / MEBIBYTE
    )))
}
