//! What a container finds beside its image: named volumes, paths of the source tree and of the
//! machine, memory. Not its secrets and configs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use towpath_compose::model::{Mount, MountKind};
use towpath_compose::source::Span;

use crate::container::{ContainerMount, MountSource, VolumeSource};
use crate::render::context::{Context, Subject};
use crate::workload::VolumeMount;

/// What a container has mounted.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// The named volumes.
    pub(super) volumes: Vec<VolumeMount>,
    /// What those are.
    pub(super) sources: BTreeMap<String, VolumeSource>,
    /// Everything else.
    pub(super) others: Vec<ContainerMount>,
}

/// Directories of the machine in which nobody keeps data: sockets, devices, what the system says.
const SYSTEM: &[&str] = &[
    "/dev",
    "/proc",
    "/run",
    "/sys",
    "/tmp/.X11-unix",
    "/var/run",
];

/// Files of the machine that are mounted to be read, with or without `:ro`.
const SETTINGS: &[&str] = &[
    "/etc/localtime",
    "/etc/timezone",
    "/etc/hosts",
    "/etc/resolv.conf",
];

/// Where an image reads what it is set up with.
const SETUP: &str = "/docker-entrypoint-initdb.d";

/// Returns what the container has mounted.
pub(super) fn mounts(context: &mut Context<'_>, subject: &Subject<'_>) -> Mounts {
    let mut mounts = Mounts::default();
    for (index, mount) in subject.service.volumes.iter().enumerate() {
        let index = format!("[{index}]");
        let span = context.compose(&subject.at(&["volumes", &index]));
        add(context, &mut mounts, mount, span);
    }
    of_others(context, subject, &mut mounts);
    let tmpfs = subject.service.tmpfs.iter();
    mounts.others.extend(tmpfs.map(|text| tmpfs_of_text(text)));
    mounts
}

/// Adds the mounts of the services that `volumes_from` names.
fn of_others(context: &mut Context<'_>, subject: &Subject<'_>, mounts: &mut Mounts) {
    let loaded = context.inputs.loaded;
    for (index, from) in subject.service.volumes_from.iter().enumerate() {
        let index = format!("[{index}]");
        let span = context.compose(&subject.at(&["volumes_from", &index]));
        let (name, mode) = from.split_once(':').unwrap_or((from, ""));
        let Some(other) = loaded.project.services.get(name) else {
            let message = format!("the container `{from}` is not one of this project");
            let help = "name a volume in both, `external` where it is another project's";
            context.refuse("not-supported", message, span, help);
            continue;
        };
        for mount in &other.volumes {
            let mut mount = mount.clone();
            mount.read_only = mount.read_only || mode == "ro";
            add(context, mounts, &mount, span.clone());
        }
    }
}

fn add(context: &mut Context<'_>, mounts: &mut Mounts, mount: &Mount, span: Option<Span>) {
    let target = mount.target.clone().unwrap_or_default();
    match mount.kind {
        MountKind::Volume => {
            if let Some(name) = &mount.source {
                named(context, mounts, mount, name, span);
                return;
            }
            let message = format!(
                "the volume at `{target}` has no name: what is written there goes with the instance"
            );
            let help = "give it a name if it holds data";
            context.warn("anonymous-volume", message, span, help);
            mounts.others.push(plain(mount, MountSource::Anonymous));
        }
        MountKind::Bind => mounts.others.push(bind(context, mount, span)),
        MountKind::Tmpfs => {
            let options = mount.tmpfs.as_ref();
            let size = options.and_then(|options| options.size);
            mounts.others.push(plain(
                mount,
                MountSource::Tmpfs {
                    size: size.and_then(|size| u64::try_from(size.0).ok()),
                    mode: options.and_then(|options| options.mode),
                    options: Vec::new(),
                },
            ));
        }
        MountKind::Cluster | MountKind::Npipe | MountKind::Image => {
            let message = "the Docker engine has no mounts of this type";
            let help = "use a named volume, or copy the files in the Dockerfile";
            context.refuse("not-supported", message, span, help);
        }
    }
}

fn plain(mount: &Mount, source: MountSource) -> ContainerMount {
    ContainerMount {
        target: mount.target.clone().unwrap_or_default(),
        source,
        read_only: mount.read_only,
        shared: false,
        relabel: mount.bind.as_ref().and_then(|bind| bind.selinux.clone()),
    }
}

fn named(
    context: &mut Context<'_>,
    mounts: &mut Mounts,
    mount: &Mount,
    name: &str,
    span: Option<Span>,
) {
    let options = mount.volume.clone().unwrap_or_default();
    let volume = context.inputs.loaded.project.volumes.get(name);
    let volume = volume.cloned().unwrap_or_default();
    let external = volume.external.then(|| match volume.name.as_str() {
        "" => name.to_owned(),
        given => given.to_owned(),
    });
    let source = VolumeSource {
        driver: volume.driver.filter(|_| external.is_none()),
        driver_opts: volume.driver_opts,
        labels: volume.labels,
        subpath: options.subpath,
        no_copy: options.nocopy,
        external,
    };
    if mounts
        .sources
        .get(name)
        .is_some_and(|earlier| *earlier != source)
    {
        let message = format!("the volume `{name}` is mounted twice, with different options");
        let help = "write the same `subpath` and `nocopy`, or use two volumes";
        context.refuse("not-supported", message, span, help);
        return;
    }
    mounts.sources.insert(name.to_owned(), source);
    let settings = context.inputs.delivery.file.volumes.get(name);
    mounts.volumes.push(VolumeMount {
        volume: name.to_owned(),
        target: mount.target.clone().unwrap_or_default(),
        read_only: mount.read_only,
        shared: settings.is_some_and(|settings| settings.shared),
    });
}

/// Returns what a path of the machine becomes: the release's own copy of it, where it is of the
/// source tree and is not written; else the path.
fn bind(context: &mut Context<'_>, mount: &Mount, span: Option<Span>) -> ContainerMount {
    let source = mount.source.clone().unwrap_or_default();
    let target = mount.target.as_deref().unwrap_or_default();
    let stated = context.shared_path(&source);
    let relative = context.in_tree(Path::new(&source));
    if let (Some(path), None) = (&relative, stated) {
        let is_written = !mount.read_only && !is_configuration(context, path, target);
        if !is_written && context.is_released(path) {
            if !mount.read_only {
                warn_of_copy(context, path, target, span);
            }
            let copy = MountSource::Source {
                path: path.clone(),
                content: context.content(std::slice::from_ref(path)),
            };
            return ContainerMount {
                read_only: true,
                ..plain(mount, copy)
            };
        }
        if is_written {
            warn_of_data(context, path, target, span);
        }
    }
    let options = mount.bind.clone();
    let path = Path::new(&source);
    let is_system =
        SYSTEM.iter().any(|system| path.starts_with(system)) || SETTINGS.contains(&source.as_str());
    ContainerMount {
        shared: stated.unwrap_or(is_system),
        ..plain(
            mount,
            MountSource::Path {
                path: source.clone(),
                create: options.as_ref().is_none_or(|bind| bind.create_host_path),
                propagation: options.and_then(|bind| bind.propagation),
            },
        )
    }
}

/// Tells whether a path of the source tree is what a program is set up with, though it is not
/// mounted read-only: a file of the release, or what an image sets up a store with.
fn is_configuration(context: &Context<'_>, path: &str, target: &str) -> bool {
    context.is_file(path) || Path::new(target).starts_with(SETUP)
}

fn warn_of_copy(context: &mut Context<'_>, path: &str, target: &str, span: Option<Span>) {
    let message =
        format!("`{target}` is the release's own copy of `{path}`, which cannot be written");
    let help = format!(
        "write `:ro`; or `volumes: {{ ./{path}: {{ shared: false }} }}` in towpath.yaml if the program writes there"
    );
    context.warn("source-mount", message, span, help);
}

fn warn_of_data(context: &mut Context<'_>, path: &str, target: &str, span: Option<Span>) {
    let message = if path == "." {
        format!("`{target}` is the working tree itself: a change of it changes what runs")
    } else {
        format!(
            "`{target}` is `{path}` of the project directory, the same for every release and environment"
        )
    };
    let help = if path == "." {
        "take the files from the image in an overlay (`volumes: !override []`), or write `:ro` for the release's own copy"
    } else {
        "use a named volume for data; write `:ro` for files of the release"
    };
    context.warn("host-path", message, span, help);
}

/// Reads `tmpfs: /run:size=64m,mode=1777`.
fn tmpfs_of_text(text: &str) -> ContainerMount {
    let (target, stated) = text.split_once(':').unwrap_or((text, ""));
    let (mut size, mut mode, mut options, mut read_only) = (None, None, Vec::new(), false);
    for option in stated.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", text)) if bytes(text).is_some() => size = bytes(text),
            Some(("mode", text)) if u32::from_str_radix(text, 8).is_ok() => {
                mode = u32::from_str_radix(text, 8).ok();
            }
            None if option == "ro" => read_only = true,
            None if option == "rw" => {}
            _ => options.push(option.to_owned()),
        }
    }
    ContainerMount {
        target: target.to_owned(),
        source: MountSource::Tmpfs {
            size,
            mode,
            options,
        },
        read_only,
        shared: false,
        relabel: None,
    }
}

/// Reads a size as the kernel does: with a suffix for powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let size: towpath_compose::model::ByteSize = text.parse().ok()?;
    u64::try_from(size.0).ok()
}

/// Judges the volumes of the project: which are the environment's own.
pub(in crate::render) fn judge(context: &mut Context<'_>) {
    let project = &context.inputs.loaded.project;
    let used: BTreeSet<&String> = project
        .services
        .values()
        .flat_map(|service| &service.volumes)
        .filter_map(|mount| mount.source.as_ref())
        .collect();
    for (name, volume) in &project.volumes {
        if !used.contains(name) {
            continue;
        }
        if volume.external {
            let span = context.compose(&["volumes", name, "external"]);
            let message = format!(
                "the volume `{name}` is not the environment's own: whoever names it has the same data"
            );
            let help = "give each environment its own in an overlay, unless they are to share it";
            context.warn("external-volume", message, span, help);
        } else if volume.name != format!("{}_{name}", project.name) && !volume.name.is_empty() {
            let span = context.compose(&["volumes", name, "name"]);
            let message = format!(
                "the volume `{name}` is not called `{}`: every environment has its own",
                volume.name
            );
            let help = "write `external: true` to have one that is there already";
            context.warn("own-name", message, span, help);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_everything_about_a_temporary_file_system() {
        let mount = tmpfs_of_text("/run:size=64m,mode=1777,noexec,uid=1000,ro");
        assert_eq!((mount.target.as_str(), mount.read_only), ("/run", true));
        assert_eq!(
            mount.source,
            MountSource::Tmpfs {
                size: Some(64 << 20),
                mode: Some(0o1777),
                options: vec!["noexec".to_owned(), "uid=1000".to_owned()],
            }
        );
        assert_eq!(tmpfs_of_text("/tmp").target, "/tmp");
    }
}
