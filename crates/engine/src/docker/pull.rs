//! Pulls images from registries. Not who one is there ([`super::credentials`]).

use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt as _;
use towpath_model::container::PullPolicy;

use super::client::Trouble;
use super::credentials::{self, Reference};
use super::image;
use super::shared::Shared;
use super::state::PinnedImage;

/// The waits between tries: a registry that is away for longer fails the deployment, and the old
/// release goes on.
const WAITS: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// What registries say where another try would be answered the same.
const FINAL: [&str; 8] = [
    "not found",
    "manifest unknown",
    "denied",
    "unauthorized",
    "authentication required",
    "no basic auth",
    "no matching manifest",
    "invalid",
];

/// Returns an image that a reference names, pulled as the policy wants.
pub(super) async fn image(
    shared: &Shared,
    docker: &Docker,
    reference: &str,
    policy: PullPolicy,
    platform: Option<&str>,
) -> Result<PinnedImage, String> {
    let here = match docker.inspect_image(reference).await {
        Ok(found) => image::pinned(found, None),
        Err(error) => match shared.client.trouble(&error) {
            Trouble::Missing(_) => None,
            trouble => return Err(trouble.words().to_owned()),
        },
    };
    match (policy, here) {
        (PullPolicy::Missing | PullPolicy::Never, Some(here)) => Ok(here),
        (PullPolicy::Never, None) => Err(format!(
            "`{reference}` is not on this machine, and `pull_policy: never` forbids to pull it"
        )),
        (PullPolicy::Always, Some(_)) => pulled(shared, docker, reference, platform, None).await,
        (PullPolicy::Always | PullPolicy::Missing, None) => {
            let brought = Some(reference.to_owned());
            pulled(shared, docker, reference, platform, brought).await
        }
    }
}

/// Pulls the very image that a registry knows by this digest.
pub(super) async fn again(
    shared: &Shared,
    docker: &Docker,
    digest: &str,
) -> Result<PinnedImage, String> {
    pulled(shared, docker, digest, None, Some(digest.to_owned())).await
}

async fn pulled(
    shared: &Shared,
    docker: &Docker,
    reference: &str,
    platform: Option<&str>,
    brought: Option<String>,
) -> Result<PinnedImage, String> {
    let mut waits = WAITS.iter();
    loop {
        let Err(trouble) = pull(shared, docker, reference, platform).await else {
            break;
        };
        let words = trouble.words();
        let lower = words.to_lowercase();
        let last = FINAL.iter().any(|sign| lower.contains(sign));
        match waits.next() {
            Some(wait) if !last => {
                tracing::warn!(
                    reference,
                    reason = words,
                    "an image could not be pulled and is tried again"
                );
                tokio::time::sleep(*wait).await;
            }
            _ => return Err(explained(reference, words)),
        }
    }
    let found = docker.inspect_image(reference).await;
    let found = found.map_err(|error| shared.client.trouble(&error).words().to_owned())?;
    image::pinned(found, brought).ok_or_else(|| format!("Docker has no id for `{reference}`"))
}

/// Adds what to do.
fn explained(reference: &str, words: &str) -> String {
    let lower = words.to_lowercase();
    let host = Reference::parse(reference).host;
    let denied = [
        "denied",
        "unauthorized",
        "authentication required",
        "no basic auth",
    ];
    let advice = if denied.iter().any(|sign| lower.contains(sign)) {
        format!(" (does it exist, and may you pull it? `docker login {host}` says who you are)")
    } else {
        String::new()
    };
    format!("`{reference}` cannot be pulled: {words}{advice}")
}

async fn pull(
    shared: &Shared,
    docker: &Docker,
    reference: &str,
    platform: Option<&str>,
) -> Result<(), Trouble> {
    let parsed = Reference::parse(reference);
    let credentials = credentials::find(&shared.config, &parsed.host)
        .await
        .map_err(Trouble::Refused)?;
    let mut options = CreateImageOptionsBuilder::default().from_image(&parsed.name);
    if let Some(tag) = &parsed.tag {
        options = options.tag(tag);
    }
    if let Some(platform) = platform {
        options = options.platform(platform);
    }
    let mut steps = docker.create_image(Some(options.build()), None, credentials);
    while let Some(step) = steps.next().await {
        step.map_err(|error| shared.client.trouble(&error))?;
    }
    Ok(())
}
