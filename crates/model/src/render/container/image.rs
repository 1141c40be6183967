//! Where the image of a container comes from. Not the pulling and building, which are an engine's.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use towpath_compose::model::{Build, Service};

use super::{isolation, named};
use crate::container::{BuildSecret, Image, ImageBuild, NamedContext, PullPolicy};
use crate::id::SecretName;
use crate::render::context::{Context, Subject};
use crate::render::limits::rlimits;

/// Returns where the service's image comes from; complains when it can come from nowhere.
pub(super) fn image(context: &mut Context<'_>, subject: &Subject<'_>) -> Image {
    let (name, service) = (subject.name.as_str(), subject.service);
    if let Some(build) = &service.build {
        return built(context, name, service, build);
    }
    let Some(reference) = service.image.clone().filter(|image| !image.is_empty()) else {
        if service.provider.is_none() {
            let span = context.compose(&["services", name]);
            let message = format!("`{name}` has no image: the Docker engine has nothing to run");
            context.refuse("no-image", message, span, "write its `image` or `build`");
        }
        return Image::default();
    };
    // An image that another service builds is that one's, whatever a registry has by the name.
    let mut services = context.inputs.loaded.project.services.iter();
    let builder = services.find_map(|(builder, other)| {
        let build = other.build.as_ref()?;
        (other.image.as_ref() == Some(&reference)).then_some((builder.as_str(), other, build))
    });
    if let Some((builder, other, build)) = builder {
        return built(context, builder, other, build);
    }
    Image::Pulled {
        reference,
        policy: policy(service),
    }
}

/// Returns the platform to pull or build for.
pub(super) fn platform(context: &mut Context<'_>, subject: &Subject<'_>) -> Option<String> {
    let platforms = subject.service.build.as_ref().map(|build| &build.platforms);
    if let Some([_, second, ..]) = platforms.map(Vec::as_slice) {
        let span = context.compose(&subject.at(&["build", "platforms"]));
        let message = format!("the image is not built for `{second}`: it is for this machine");
        context.warn(
            "ignored",
            message,
            span,
            "write the `platform` of the service",
        );
        return subject.service.platform.clone();
    }
    let only = platforms.and_then(|platforms| platforms.first().cloned());
    subject.service.platform.clone().or(only)
}

/// Tells whether newer base images are asked for.
pub(super) fn pulls(service: &Service, build: &Build) -> bool {
    build.pull || service.pull_policy.as_deref() == Some("always")
}

fn policy(service: &Service) -> PullPolicy {
    match service.pull_policy.as_deref() {
        Some("never") => PullPolicy::Never,
        // What is asked for by the clock is asked for at every release.
        Some("always" | "daily" | "weekly" | "refresh") => PullPolicy::Always,
        Some(policy) if policy.starts_with("every_") => PullPolicy::Always,
        _ => PullPolicy::Missing,
    }
}

fn built(context: &mut Context<'_>, name: &str, service: &Service, build: &Build) -> Image {
    let Some(directory) = tree_path(context, name, build) else {
        return Image::default();
    };
    let dockerfile = dockerfile(context, name, build, &directory);
    let text = |variables: &towpath_compose::model::Environment| -> BTreeMap<String, String> {
        let stated = variables.iter();
        stated
            .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
            .collect()
    };
    let mut tags = build.tags.clone();
    tags.extend(service.image.clone().filter(|image| !tags.contains(image)));
    let shm = build.shm_size.map(|size| size.0);
    let mut parts = vec![directory.clone()];
    parts.extend(
        dockerfile
            .as_ref()
            .map(|file| format!("{directory}/{file}")),
    );
    let contexts = named::contexts(context, name, service, build);
    parts.extend(contexts.values().filter_map(|one| match one {
        NamedContext::Directory(path) => Some(path.clone()),
        NamedContext::Image(_) => None,
    }));
    let digest = context.content(&parts);
    Image::Built(Box::new(ImageBuild {
        content: digest,
        context: directory,
        dockerfile,
        dockerfile_inline: build.dockerfile_inline.clone(),
        target: build.target.clone(),
        args: text(&build.args),
        labels: build.labels.clone(),
        cache_from: caches(context, name, build),
        no_cache: build.no_cache,
        pull: pulls(service, build),
        network: build.network.clone(),
        extra_hosts: build
            .extra_hosts
            .iter()
            .filter_map(|line| isolation::host(line))
            .collect(),
        shm_bytes: shm.and_then(|bytes| u64::try_from(bytes).ok()),
        tags,
        secrets: secrets(context, name, build),
        agents: agents(context, name, build),
        ulimits: rlimits(&build.ulimits),
        contexts,
    }))
}

/// Returns the secrets that the build may read.
fn secrets(context: &mut Context<'_>, name: &str, build: &Build) -> Vec<BuildSecret> {
    let mut secrets = Vec::new();
    for (index, mount) in build.secrets.iter().enumerate() {
        let index = format!("[{index}]");
        let span = context.compose(&["services", name, "build", "secrets", &index]);
        if mount.uid.is_some() || mount.gid.is_some() || mount.mode.is_some() {
            let message = format!("the Dockerfile says who may read `{}`", mount.source);
            let help = "write `uid`, `gid` and `mode` into its `RUN --mount=type=secret`";
            context.warn("ignored", message, span.clone(), help);
        }
        match SecretName::new(mount.source.as_str()) {
            Ok(secret) => secrets.push(BuildSecret {
                id: mount.target.clone().unwrap_or_else(|| mount.source.clone()),
                secret,
                version: None,
            }),
            Err(invalid) => context.refuse("bad-name", invalid.to_string(), span, invalid.rule),
        }
    }
    secrets
}

/// Returns the names by which the build asks for the SSH agent.
fn agents(context: &mut Context<'_>, name: &str, build: &Build) -> Vec<String> {
    let mut agents = Vec::new();
    for (index, key) in build.ssh.iter().enumerate() {
        if key.path.is_some() {
            let index = format!("[{index}]");
            let span = context.compose(&["services", name, "build", "ssh", &index]);
            let message = format!("the key of `{}` is in a file of this machine", key.id);
            let help = "write `default`, and load the key into the SSH agent that `towpath serve` is started with";
            context.refuse("not-supported", message, span, help);
        }
        agents.push(key.id.clone());
    }
    agents
}

/// Returns the images whose layers may be reused. A cache of another kind is passed over, as Compose
/// says.
fn caches(context: &mut Context<'_>, name: &str, build: &Build) -> Vec<String> {
    let mut images = Vec::new();
    for (index, stated) in build.cache_from.iter().enumerate() {
        let part = |key: &str| {
            let mut parts = stated.split(',').filter_map(|part| part.split_once('='));
            parts.find_map(|(name, value)| (name.trim() == key).then(|| value.trim().to_owned()))
        };
        let image = match part("type").as_deref() {
            None => Some(stated.clone()),
            Some("registry") => part("ref"),
            Some(_) => None,
        };
        if let Some(image) = image {
            images.push(image);
            continue;
        }
        let index = format!("[{index}]");
        let span = context.compose(&["services", name, "build", "cache_from", &index]);
        let message = format!("the cache `{stated}` is not used");
        let help = "name an image of a registry: `type=registry,ref=...`";
        context.warn("ignored", message, span, help);
    }
    images
}

/// Returns the build context relative to the source tree; complains when it is not in it.
fn tree_path(context: &mut Context<'_>, name: &str, build: &Build) -> Option<String> {
    let stated = build.context.as_deref().unwrap_or(".");
    let span = context.compose(&["services", name, "build", "context"]);
    if is_remote(stated) {
        let message = format!("the build context `{stated}` is not in the source tree");
        let help = "copy it into the project: a release has everything that it is made of";
        context.refuse("not-supported", message, span, help);
        return None;
    }
    let relative = context.in_tree(Path::new(stated));
    if relative.is_none() {
        let message = format!("the build context `{stated}` is outside of the project directory");
        let help = "move the Compose file up, or name the directory above with `--project-directory`: a release has the files of one directory";
        context.refuse("outside", message, span, help);
    }
    relative
}

/// Returns the Dockerfile relative to the context, where one is named; complains when it is not in the
/// source tree.
fn dockerfile(
    context: &mut Context<'_>,
    name: &str,
    build: &Build,
    directory: &str,
) -> Option<String> {
    if build.dockerfile_inline.is_some() {
        return build.dockerfile.clone();
    }
    let stated = build.dockerfile.as_deref().unwrap_or("Dockerfile");
    let tree = context.inputs.loaded.directory.clone();
    let absolute = normal(&tree.join(directory).join(stated));
    let Some(inside) = context.in_tree(&absolute) else {
        let span = context.compose(&["services", name, "build", "dockerfile"]);
        let message = format!("the Dockerfile `{stated}` is outside of the project directory");
        let help = "move it into the project: a release has everything that it is made of";
        context.refuse("outside", message, span, help);
        return None;
    };
    if !context.is_released(&inside) {
        let key = build
            .dockerfile
            .as_ref()
            .map_or("context", |_| "dockerfile");
        let span = context.compose(&["services", name, "build", key]);
        let message = format!("there is no Dockerfile `{inside}` in the project");
        let help = "write it, or name another with `dockerfile`; what Git ignores is not part of a release";
        context.refuse("no-dockerfile", message, span, help);
    }
    build.dockerfile.as_ref()?;
    Some(relative_to(Path::new(directory), Path::new(&inside)))
}

/// Writes one path of the tree as seen from another.
fn relative_to(from: &Path, path: &Path) -> String {
    let plain = |path: &Path| -> Vec<String> {
        path.components()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
                _ => None,
            })
            .collect()
    };
    let (from, path) = (plain(from), plain(path));
    let common = from.iter().zip(&path).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..".to_owned(), from.len() - common);
    let down = path.into_iter().skip(common);
    up.chain(down).collect::<Vec<_>>().join("/")
}

/// Resolves `.` and `..` without looking at the file system.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

/// Tells whether a build context is something that would have to be fetched.
pub(super) fn is_remote(context: &str) -> bool {
    let schemes = [
        "docker-image:",
        "oci-layout:",
        "git@",
        "github.com/",
        "target:",
        "service:",
    ];
    context.contains("://") || schemes.iter().any(|scheme| context.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dockerfile_is_named_as_seen_from_its_context() {
        let relative = |from, path| relative_to(Path::new(from), Path::new(path));
        assert_eq!(relative(".", "Dockerfile"), "Dockerfile");
        assert_eq!(
            relative("web", "web/docker/Dockerfile"),
            "docker/Dockerfile"
        );
        assert_eq!(relative("web/app", "docker/web"), "../../docker/web");
    }

    #[test]
    fn a_context_that_has_to_be_fetched_is_remote() {
        for context in [
            "https://example.com/x.git#main",
            "git@example.com:x",
            "docker-image://a",
        ] {
            assert!(is_remote(context), "{context}");
        }
        assert!(!is_remote("/app/web"));
    }
}
