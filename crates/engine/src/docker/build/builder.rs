//! Which builder a Docker has. Not the building.

use hyper::header::HeaderMap;
use hyper::{Method, Request};

use crate::docker::client::{Client, Trouble};
use crate::docker::wire::{Wire, empty, refusal};

/// The first version of the API whose builds may be BuildKit's.
const FIRST: (u32, u32) = (1, 39);

/// What builds images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Builder {
    /// BuildKit, which is in every Docker Engine since 18.09.
    BuildKit,
    /// The builder before it, and why.
    Classic(&'static str),
}

/// Asks which builder there is.
pub(super) async fn of(client: &Client) -> Result<Builder, Trouble> {
    let mut wire = Wire::connect(client).await?;
    let request = Request::builder().method(Method::GET).uri("/_ping");
    let request = request
        .body(empty())
        .map_err(|error| Trouble::Refused(error.to_string()))?;
    let answer = wire.send(request).await?;
    if !answer.status().is_success() {
        return Err(refusal(answer).await);
    }
    Ok(read(answer.headers()))
}

/// Reads it off the headers of `/_ping`. `Builder-Version` is what Docker recommends: before 23 it
/// recommends nothing, and has BuildKit.
fn read(headers: &HeaderMap) -> Builder {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if header("libpod-api-version").is_some() {
        return Builder::Classic("Podman builds in its own way");
    }
    if header("ostype").is_some_and(|os| os != "linux") {
        return Builder::Classic("this Docker is not on Linux");
    }
    let version = header("api-version").and_then(|version| {
        let (major, minor) = version.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    match (header("builder-version"), version) {
        (Some("1"), _) => Builder::Classic(
            "the configuration of this Docker switches BuildKit off (`features.buildkit` of daemon.json)",
        ),
        (Some("2"), _) => Builder::BuildKit,
        (_, Some(version)) if version >= FIRST => Builder::BuildKit,
        _ => Builder::Classic("this Docker is older than 18.09"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&'static str, &'static str)]) -> Builder {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        read(&map)
    }

    #[test]
    fn every_docker_that_has_buildkit_builds_by_it_unless_it_is_switched_off() {
        let linux = ("ostype", "linux");
        // 20.10, 28, and those that say otherwise.
        assert_eq!(of(&[linux, ("api-version", "1.41")]), Builder::BuildKit);
        assert_eq!(
            of(&[linux, ("api-version", "1.51"), ("builder-version", "2")]),
            Builder::BuildKit
        );
        for classic in [
            &[linux, ("api-version", "1.51"), ("builder-version", "1")][..],
            &[linux, ("api-version", "1.38")],
            &[("ostype", "windows"), ("api-version", "1.41")],
            &[
                linux,
                ("api-version", "1.41"),
                ("libpod-api-version", "4.3.1"),
            ],
            &[],
        ] {
            assert!(matches!(of(classic), Builder::Classic(_)), "{classic:?}");
        }
    }
}
