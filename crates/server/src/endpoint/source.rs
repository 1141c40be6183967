//! Source trees: uploaded whole, verified, and moved into place in one step.

use std::path::Path;

use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::State;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use towpath_api::tree::ARCHIVE_BYTES_MAX;
use towpath_api::{Problem, SourceInfo};
use towpath_control::SourceError;
use towpath_model::id::Digest;

use crate::app::Context;
use crate::extract::Params;
use crate::problem::Error;

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
    let incoming = context.platform.incoming()?;
    receive(body.into_data_stream(), &incoming.archive()).await?;
    context.platform.install_upload(incoming, &digest).await?;
    Ok((StatusCode::CREATED, info))
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let failed = SourceError::files(path);
    move |error| towpath_control::Error::from(failed(error)).into()
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
