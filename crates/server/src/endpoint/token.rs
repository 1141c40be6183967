//! Bearer tokens: made, listed, revoked.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use towpath_api::{NewToken, Problem, Token, TokenRequest};

use crate::actor::Owner;
use crate::app::Context;
use crate::extract::{Body, Params};
use crate::map::rest;
use crate::problem::Error;

/// The longest name of a token.
const NAME_MAX: usize = 100;

/// Lists all tokens, oldest first, revoked ones too.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", operation_id = "token_list", responses(
    (status = 200, body = [Token]),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(State(context): State<Context>) -> Result<Json<Vec<Token>>, Error> {
    let tokens = context.platform.tokens().await?;
    Ok(Json(tokens.into_iter().map(rest::token).collect()))
}

/// Makes a token. It is shown in this answer only.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", operation_id = "token_create",
request_body = TokenRequest,
responses(
    (status = 201, body = NewToken),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn create(
    State(context): State<Context>,
    Owner(actor): Owner,
    Body(request): Body<TokenRequest>,
) -> Result<(StatusCode, Json<NewToken>), Error> {
    let name = request.name.trim();
    if name.is_empty() || name.len() > NAME_MAX || name.contains(char::is_control) {
        let message = format!("the name of a token has 1 to {NAME_MAX} visible characters");
        return Err(Error::BadRequest(message));
    }
    let made = context.platform.create_token(name, &actor).await?;
    let answer = NewToken {
        secret: made.secret.expose().to_owned(),
        token: rest::token(made.token),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Revokes a token for ever.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens", operation_id = "token_revoke",
params(("id" = String, Path, description = "the id of the token")),
responses(
    (status = 204, description = "it is no longer accepted"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn revoke(
    State(context): State<Context>,
    Owner(actor): Owner,
    Params((id,)): Params<(String,)>,
) -> Result<StatusCode, Error> {
    context.platform.revoke_token(&id, &actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
