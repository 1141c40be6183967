//! What a container sees of the machine's files. Pure: not the making of files and volumes.

use std::collections::HashMap;

use bollard::models::{
    Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType,
    MountVolumeOptions,
};
use towpath_model::container::{Container, ContainerMount, MountSource, VolumeSource};
use towpath_model::id::EnvironmentId;
use towpath_model::workload::{VolumeMount, WorkloadSpec};

use super::names;

/// A container's mounts, as Docker takes them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Mounted {
    pub(super) mounts: Vec<Mount>,
    /// Paths that Docker makes when they are not there, or gives a label: only this form does it.
    pub(super) binds: Vec<String>,
    /// File systems in memory with options that only this form has.
    pub(super) tmpfs: HashMap<String, String>,
}

/// A file that the engine made for an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GivenFile {
    /// Where it is on the machine.
    pub(super) source: String,
    /// Where it is in the container.
    pub(super) target: String,
}

/// Lists the mounts of an instance. `tree` is where its source tree is.
pub(super) fn mounted(
    environment: &EnvironmentId,
    spec: &WorkloadSpec,
    container: &Container,
    given: &[GivenFile],
    tree: Option<&str>,
) -> Result<Mounted, String> {
    let mut mounted = Mounted::default();
    let unknown = VolumeSource::default();
    for mount in &spec.volumes {
        let source = container.volumes.get(&mount.volume).unwrap_or(&unknown);
        mounted.mounts.push(volume(environment, mount, source));
    }
    for mount in &container.mounts {
        add(&mut mounted, mount, tree)?;
    }
    mounted.mounts.extend(given.iter().map(|file| Mount {
        typ: Some(MountType::BIND),
        source: Some(file.source.clone()),
        target: Some(file.target.clone()),
        read_only: Some(true),
        ..Mount::default()
    }));
    Ok(mounted)
}

/// Returns the name of a volume on the machine.
pub(super) fn volume_name(
    environment: &EnvironmentId,
    name: &str,
    source: &VolumeSource,
) -> String {
    let external = source.external.clone();
    external.unwrap_or_else(|| names::volume(environment, name))
}

fn volume(environment: &EnvironmentId, mount: &VolumeMount, source: &VolumeSource) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume_name(environment, &mount.volume, source)),
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(source.no_copy),
            subpath: source.subpath.clone(),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

fn add(mounted: &mut Mounted, mount: &ContainerMount, tree: Option<&str>) -> Result<(), String> {
    let mut made = Mount {
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        ..Mount::default()
    };
    match &mount.source {
        MountSource::Path {
            path,
            propagation,
            create,
        } => {
            let has_colon = path.contains(':') || mount.target.contains(':');
            if (*create || mount.relabel.is_some()) && !has_colon {
                mounted
                    .binds
                    .push(bind(path, mount, propagation.as_deref()));
                return Ok(());
            }
            made.typ = Some(MountType::BIND);
            made.source = Some(path.clone());
            made.bind_options =
                propagation
                    .as_deref()
                    .map(propagated)
                    .transpose()?
                    .map(|propagation| MountBindOptions {
                        propagation: Some(propagation),
                        ..MountBindOptions::default()
                    });
        }
        MountSource::Source { path, .. } => {
            let tree = tree.ok_or("the release has no source tree to mount")?;
            made.typ = Some(MountType::BIND);
            made.source = Some(match path.trim_start_matches("./") {
                "" | "." => tree.to_owned(),
                inside => format!("{tree}/{inside}"),
            });
            made.read_only = Some(true);
        }
        MountSource::Tmpfs {
            size,
            mode,
            options,
        } if !options.is_empty() => {
            let mut all = options.clone();
            all.extend(size.map(|size| format!("size={size}")));
            all.extend(mode.map(|mode| format!("mode={mode:o}")));
            mounted.tmpfs.insert(mount.target.clone(), all.join(","));
            return Ok(());
        }
        MountSource::Tmpfs { size, mode, .. } => {
            made.typ = Some(MountType::TMPFS);
            made.tmpfs_options = Some(MountTmpfsOptions {
                size_bytes: size.and_then(|size| i64::try_from(size).ok()),
                mode: mode.map(i64::from),
                options: None,
            });
        }
        MountSource::Anonymous => made.typ = Some(MountType::VOLUME),
    }
    mounted.mounts.push(made);
    Ok(())
}

fn bind(path: &str, mount: &ContainerMount, propagation: Option<&str>) -> String {
    let access = if mount.read_only { "ro" } else { "rw" };
    let mut text = format!("{path}:{}:{access}", mount.target);
    for word in [propagation, mount.relabel.as_deref()]
        .into_iter()
        .flatten()
    {
        text.push(',');
        text.push_str(word);
    }
    text
}

fn propagated(words: &str) -> Result<MountBindOptionsPropagationEnum, String> {
    use MountBindOptionsPropagationEnum as Propagation;
    Ok(match words {
        "private" => Propagation::PRIVATE,
        "rprivate" => Propagation::RPRIVATE,
        "shared" => Propagation::SHARED,
        "rshared" => Propagation::RSHARED,
        "slave" => Propagation::SLAVE,
        "rslave" => Propagation::RSLAVE,
        other => return Err(format!("`{other}` is no way for mounts to propagate")),
    })
}
