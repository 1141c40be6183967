//! Secrets: set, listed, removed. A value goes in and never comes out.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use towpath_api::{Problem, Secret, SecretSet};
use towpath_model::id::SecretName;
use towpath_model::workload::SecretValue;

use crate::actor::Actor;
use crate::app::Context;
use crate::extract::{Of, Raw, Within};
use crate::map::rest;
use crate::problem::Error;

/// Lists the secrets of an environment, without their values.
#[utoipa::path(get, path = "/v1/environments/{app}/{environment}/secrets", tag = "secrets", operation_id = "secret_list",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
responses(
    (status = 200, body = [Secret]),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(context): State<Context>,
    Of(id): Of,
) -> Result<Json<Vec<Secret>>, Error> {
    let secrets = context.platform.secrets(&id).await?;
    Ok(Json(secrets.into_iter().map(rest::secret).collect()))
}

/// Sets a secret: the body is its value, as it is.
#[utoipa::path(put, path = "/v1/environments/{app}/{environment}/secrets/{name}", tag = "secrets", operation_id = "secret_set",
params(
    ("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment"),
    ("name" = String, Path, description = "the secret"),
),
request_body(content = Vec<u8>, content_type = "application/octet-stream"),
responses(
    (status = 200, body = SecretSet),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn set(
    State(context): State<Context>,
    Actor(actor): Actor,
    Within(id, name): Within<SecretName>,
    Raw(value): Raw,
) -> Result<Json<SecretSet>, Error> {
    let value = SecretValue::new(Vec::from(value));
    let version = context
        .platform
        .set_secret(&id, &name, &value, &actor)
        .await?;
    Ok(Json(SecretSet {
        name: name.to_string(),
        version: version.0,
    }))
}

/// Removes a secret. Releases that read it keep their version for a rollback.
#[utoipa::path(delete, path = "/v1/environments/{app}/{environment}/secrets/{name}", tag = "secrets", operation_id = "secret_remove",
params(
    ("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment"),
    ("name" = String, Path, description = "the secret"),
),
responses(
    (status = 204, description = "it is gone"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn remove(
    State(context): State<Context>,
    Actor(actor): Actor,
    Within(id, name): Within<SecretName>,
) -> Result<StatusCode, Error> {
    context.platform.remove_secret(&id, &name, &actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
