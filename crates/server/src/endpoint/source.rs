//! Source trees: uploaded whole, verified, and moved into place in one step.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::State;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use towpath_api::tree::ARCHIVE_BYTES_MAX;
use towpath_api::{Problem, SourceInfo};
use towpath_model::id::Digest;

use crate::app::Context;
use crate::extract::Params;
use crate::problem::Error;
use crate::unpack::{self, Unpacked, unpack};

/// How the name of an upload that is under way begins.
const INCOMING: &str = ".incoming-";

/// Tells uploads of this process apart.
static NEXT_UPLOAD: AtomicU64 = AtomicU64::new(1);

/// Tells whether a source tree is there.
#[utoipa::path(get, path = "/v1/sources/{digest}", tag = "sources", operation_id = "source_show",
params(("digest" = String, Path, description = "the digest of the tree")),
responses(
    (status = 200, body = SourceInfo),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(context): State<Context>,
    Params((digest,)): Params<(Digest,)>,
) -> Result<Json<SourceInfo>, Error> {
    if !context.platform.source_exists(&digest).await? {
        return Err(Error::NotFound(format!("source tree {}", digest.short())));
    }
    Ok(Json(SourceInfo {
        digest: digest.to_string(),
    }))
}

/// Takes a source tree: a gzipped tar archive of files, directories and symbolic links within the
/// tree. It is refused when the tree has another digest. Does nothing when the tree is there.
#[utoipa::path(put, path = "/v1/sources/{digest}", tag = "sources", operation_id = "source_upload",
params(("digest" = String, Path, description = "the digest of the tree")),
request_body(content = Vec<u8>, content_type = "application/gzip"),
responses(
    (status = 201, body = SourceInfo),
    (status = 200, body = SourceInfo, description = "it was there"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn upload(
    State(context): State<Context>,
    Params((digest,)): Params<(Digest,)>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<SourceInfo>), Error> {
    let info = Json(SourceInfo {
        digest: digest.to_string(),
    });
    if context.platform.source_exists(&digest).await? {
        return Ok((StatusCode::OK, info));
    }
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > ARCHIVE_BYTES_MAX) {
        return Err(too_large());
    }
    let target = context.platform.source_directory(&digest);
    let number = NEXT_UPLOAD.fetch_add(1, Ordering::Relaxed);
    let name = format!("{INCOMING}{}-{number}", std::process::id());
    let incoming = Incoming(target.with_file_name(name));
    std::fs::create_dir_all(&incoming.0).map_err(failed(&incoming.0))?;
    receive(body.into_data_stream(), &incoming.archive()).await?;
    let wanted = digest.clone();
    let work = tokio::task::spawn_blocking(move || install(&incoming, &target, wanted));
    let unpacked = work
        .await
        .map_err(|error| Error::BadRequest(error.to_string()))??;
    context
        .platform
        .record_source(&digest, unpacked.bytes)
        .await?;
    Ok((StatusCode::CREATED, info))
}

/// Removes what uploads left that were under way when an earlier server was killed. Blocks. Call it
/// while nothing is uploaded.
pub(crate) fn clear_leftovers(sources: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(sources) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let is_left = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(INCOMING));
        if is_left {
            std::fs::remove_dir_all(entry.path())?;
            tracing::info!(path = %entry.path().display(), "an unfinished upload was removed");
        }
    }
    Ok(())
}

/// A directory for one upload. It is removed with everything in it when it is dropped.
struct Incoming(PathBuf);

impl Incoming {
    fn archive(&self) -> PathBuf {
        self.0.join("archive.tar.gz")
    }

    fn tree(&self) -> PathBuf {
        self.0.join("tree")
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "an upload was not cleared away");
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Upload(unpack::Error::Files { path, source })
}

fn too_large() -> Error {
    let limit = ARCHIVE_BYTES_MAX >> 20;
    Error::TooLarge(format!(
        "the archive of the source tree has more than {limit} MiB"
    ))
}

/// Writes the body to a file.
async fn receive(mut body: BodyDataStream, path: &Path) -> Result<(), Error> {
    let mut file = tokio::fs::File::create(path).await.map_err(failed(path))?;
    let mut bytes: u64 = 0;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| Error::BadRequest(error.to_string()))?;
        bytes = bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if bytes > ARCHIVE_BYTES_MAX {
            return Err(too_large());
        }
        file.write_all(&piece).await.map_err(failed(path))?;
    }
    file.flush().await.map_err(failed(path))
}

/// Unpacks, verifies, and moves into place. Blocks.
fn install(incoming: &Incoming, target: &Path, wanted: Digest) -> Result<Unpacked, Error> {
    let archive = incoming.archive();
    let file = std::fs::File::open(&archive).map_err(failed(&archive))?;
    let tree = incoming.tree();
    let unpacked = unpack(std::io::BufReader::new(file), &tree)?;
    if unpacked.digest != wanted {
        let found = unpacked.digest;
        return Err(unpack::Error::Digest { wanted, found }.into());
    }
    // What is there without a record of it was left by a crash, or is the same tree.
    if target.exists() {
        std::fs::remove_dir_all(target).map_err(failed(target))?;
    }
    std::fs::rename(&tree, target).map_err(failed(target))?;
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_uploads_are_removed_and_trees_stay() {
        let directory = tempfile::tempdir().unwrap();
        let sources = directory.path().join("sources");
        clear_leftovers(&sources).unwrap();
        for name in [".incoming-1-1/tree/src", "0123abcd/src"] {
            std::fs::create_dir_all(sources.join(name)).unwrap();
        }
        clear_leftovers(&sources).unwrap();
        let left = std::fs::read_dir(&sources).unwrap().map(|entry| {
            let name = entry.unwrap().file_name();
            name.into_string().unwrap()
        });
        assert_eq!(left.collect::<Vec<_>>(), ["0123abcd"]);
    }
}
