//! What an instance finds beside its program: volumes, secrets, configs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use towpath_compose::model::{FileMount, Mount, MountKind, Project};
use towpath_compose::source::Span;

use super::context::{Context, Subject};
use super::draft::{SecretSource, SecretUse};
use crate::id::SecretName;
use crate::workload::{ConfigMount, VolumeMount};

/// Returns the paths of the files that a rendering needs the content of: those of configs.
pub fn wanted_files(project: &Project) -> BTreeSet<String> {
    project
        .services
        .values()
        .flat_map(|service| &service.configs)
        .filter_map(|mount| project.configs.get(&mount.source)?.file.clone())
        .collect()
}

/// Returns the named volumes of a service; judges its other mounts.
pub(super) fn volumes(context: &mut Context<'_>, subject: &Subject<'_>) -> Vec<VolumeMount> {
    let mut volumes = Vec::new();
    for (index, mount) in subject.service.volumes.iter().enumerate() {
        let index = format!("[{index}]");
        let at = subject.at(&["volumes", &index]);
        match mount.kind {
            MountKind::Volume => volumes.extend(named_volume(context, mount, &at)),
            MountKind::Bind => judge_bind(context, subject, mount, &at),
            MountKind::Tmpfs => {
                let message = "a process has no temporary file system of its own";
                let span = context.compose(&at);
                context.warn(
                    "ignored",
                    message,
                    span,
                    "it sees the machine's file system",
                );
            }
            MountKind::Cluster | MountKind::Npipe | MountKind::Image => {
                let span = context.compose(&at);
                let message = "the process engine has no mounts of this type";
                context.refuse("not-supported", message, span, "use a named volume");
            }
        }
    }
    volumes
}

fn named_volume(context: &mut Context<'_>, mount: &Mount, at: &[&str]) -> Option<VolumeMount> {
    let target = mount.target.clone().unwrap_or_default();
    let span = context.compose(at);
    let Some(name) = &mount.source else {
        let message =
            format!("the volume at `{target}` has no name: what is written there is not kept");
        context.warn(
            "anonymous-volume",
            message,
            span,
            "give it a name if it holds data",
        );
        return None;
    };
    let options = mount.volume.as_ref();
    if options.is_some_and(|options| options.subpath.is_some()) {
        let message = "the process engine gives a whole volume, not a path within it";
        context.refuse("not-supported", message, span, "use a volume of its own");
        return None;
    }
    let project = &context.inputs.loaded.project;
    if let Some(volume) = project.volumes.get(name) {
        let is_local = volume
            .driver
            .as_deref()
            .is_none_or(|driver| driver == "local");
        if volume.external || !is_local || !volume.driver_opts.is_empty() {
            let message =
                format!("the process engine keeps the volume `{name}` itself, as a directory");
            let span = context.compose(&["volumes", name]);
            let help =
                "remove `external`, `driver` and `driver_opts`, in an overlay for this environment";
            context.refuse("not-supported", message, span, help);
            return None;
        }
    }
    let settings = context.inputs.delivery.file.volumes.get(name);
    Some(VolumeMount {
        volume: name.clone(),
        target,
        read_only: mount.read_only,
        shared: settings.is_some_and(|settings| settings.shared),
    })
}

/// Judges a bind mount: a process sees the machine's own paths, and the source tree as its own copy.
fn judge_bind(context: &mut Context<'_>, subject: &Subject<'_>, mount: &Mount, at: &[&str]) {
    let source = Path::new(mount.source.as_deref().unwrap_or_default());
    let target = Path::new(mount.target.as_deref().unwrap_or_default());
    let span = context.compose(at);
    let directory = context.inputs.loaded.directory.as_path();
    let name = &subject.name;
    let build = subject.service.build.as_ref();
    let built_from = build
        .and_then(|build| build.context.as_deref())
        .map(Path::new);
    let is_whole_tree = directory.starts_with(source)
        || built_from
            .is_some_and(|context| context.starts_with(source) && source.starts_with(directory));
    if let Ok(relative) = source.strip_prefix(directory)
        && (mount.read_only || is_whole_tree)
    {
        let relative = match relative.to_string_lossy() {
            empty if empty.is_empty() => ".".to_owned(),
            path => path.into_owned(),
        };
        let message = format!(
            "`{name}` sees `{relative}` in the release's own copy of the source tree, not at `{}`",
            target.display()
        );
        let help =
            "the path is changed in commands and variables; what is written there is not kept";
        context.warn("source-mount", message, span, help);
    } else if source == target {
        // What is read where it is anyway needs no word.
        if !mount.read_only {
            let message = format!(
                "`{name}` sees `{}` as it is on this machine",
                source.display()
            );
            let help = "nothing to do, if it may be written";
            context.warn("host-path", message, span, help);
        }
    } else {
        let message = format!(
            "a process cannot have `{}` at `{}`: it sees the machine's own paths",
            source.display(),
            target.display()
        );
        let help = "use a named volume for data; let the program read the path where it is";
        context.refuse("bind-mount", message, span, help);
    }
}

/// Returns the secrets that a service is given: as files those of Compose, as variables those of
/// the delivery file.
pub(super) fn secrets(context: &mut Context<'_>, subject: &Subject<'_>) -> Vec<SecretUse> {
    let mut uses = Vec::new();
    for (index, mount) in subject.service.secrets.iter().enumerate() {
        let index = format!("[{index}]");
        let at = subject.at(&["secrets", &index]);
        let file = mount.target.as_deref().unwrap_or(&mount.source);
        let file = file.strip_prefix("/run/secrets/").unwrap_or(file);
        let span = context.compose(&at);
        if file.contains('/') || matches!(file, "" | "." | "..") {
            let message = format!("the secret `{}` cannot be put at `{file}`", mount.source);
            let help = "write only a file name: it is in the directory that `SECRETS_DIR` names";
            context.refuse("not-supported", message, span, help);
            continue;
        }
        warn_of_owner(context, mount, span.clone());
        match SecretName::new(mount.source.as_str()) {
            Ok(secret) => uses.push(SecretUse {
                secret,
                file: Some(file.to_owned()),
                variable: None,
            }),
            Err(invalid) => context.refuse("bad-name", invalid.to_string(), span, invalid.rule),
        }
    }
    uses.extend(secret_variables(subject));
    uses
}

/// Returns the secrets that the delivery file gives a service as variables.
pub(super) fn secret_variables(subject: &Subject<'_>) -> Vec<SecretUse> {
    let secrets = subject.settings.secrets.iter();
    secrets
        .map(|(variable, secret)| SecretUse {
            secret: secret.clone(),
            file: None,
            variable: Some(variable.clone()),
        })
        .collect()
}

/// Warns of an owner or mode, which files of the process engine do not take from Compose.
fn warn_of_owner(context: &mut Context<'_>, mount: &FileMount, span: Option<Span>) {
    if mount.uid.is_some() || mount.gid.is_some() || mount.mode.is_some() {
        let message = format!(
            "the file of `{}` belongs to the instance's user",
            mount.source
        );
        context.warn(
            "ignored",
            message,
            span,
            "`uid`, `gid` and `mode` have no effect",
        );
    }
}

/// Returns where Compose says that the values of secrets come from.
pub(super) fn sources<'u>(
    project: &Project,
    names: impl Iterator<Item = &'u SecretName>,
) -> BTreeMap<SecretName, SecretSource> {
    names
        .filter_map(|name| {
            let secret = project.secrets.get(name.as_str())?;
            let file = secret.file.clone().map(SecretSource::File);
            let variable = secret.environment.clone().map(SecretSource::Variable);
            Some((name.clone(), file.or(variable)?))
        })
        .collect()
}

/// Returns the configs that a service is given, with their content.
pub(super) fn configs(context: &mut Context<'_>, subject: &Subject<'_>) -> Vec<ConfigMount> {
    let mounts = &subject.service.configs;
    mounts
        .iter()
        .filter_map(|mount| {
            let span = context.compose(&subject.at(&["configs"]));
            warn_of_owner(context, mount, span);
            let text = config_content(context, mount)?;
            let default = || format!("/{}", mount.source);
            Some(ConfigMount {
                name: mount.source.clone(),
                target: mount.target.clone().unwrap_or_else(default),
                content: text,
            })
        })
        .collect()
}

/// Returns the content of a config; complains when there is none.
pub(super) fn config_content(context: &mut Context<'_>, mount: &FileMount) -> Option<String> {
    let name = mount.source.as_str();
    let config = context.inputs.loaded.project.configs.get(name)?;
    let inputs = context.inputs;
    let found = if let Some(content) = &config.content {
        Some(content.clone())
    } else if let Some(file) = &config.file {
        inputs.files.get(file).cloned()
    } else if let Some(variable) = &config.environment {
        inputs.loaded.environment.get(variable).cloned()
    } else {
        None
    };
    if found.is_none() {
        let (message, help) = match (&config.file, &config.environment) {
            (Some(file), _) => (
                format!("the file `{file}` of the config `{name}` cannot be read"),
                "create it, as UTF-8 text",
            ),
            (None, Some(variable)) => (
                format!("the variable `{variable}` of the config `{name}` is not set"),
                "set it, or write it into `.env`",
            ),
            (None, None) => (
                format!("the config `{name}` is not in the Compose file"),
                "write its `content` or `file`: this machine has no configs of its own",
            ),
        };
        let span = context.compose(&["configs", name]);
        context.refuse("no-config", message, span, help);
    }
    found
}
