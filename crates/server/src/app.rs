//! All endpoints put together, and the document of them. Not the sockets that they are served on.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tokio_util::sync::CancellationToken;
use towpath_control::Platform;
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::problem::Error;
use crate::{actor, endpoint, git, webhook};

/// The largest body of a request in JSON. A draft has the contents of all Compose `configs`.
const JSON_BYTES_MAX: usize = 32 << 20;

/// What every endpoint has at hand.
#[derive(Debug, Clone)]
pub struct Context {
    /// The platform.
    pub platform: Platform,
    /// The version of this program.
    pub version: String,
    /// Cancelled when the server is to stop; cancel it to stop the server.
    pub stop: CancellationToken,
}

/// Who may connect to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Only its owner can.
    Owner,
    /// Everybody can: a token is asked for.
    Bearer,
}

/// Returns the service behind a door.
pub(crate) fn service(context: Context, door: Door) -> Router {
    let (endpoints, document) = endpoints().split_for_parts();
    let json = document
        .to_json()
        .expect("the document has only string keys");
    let router = Router::new()
        .merge(endpoints)
        .merge(git::routes())
        .route("/openapi.json", axum::routing::get(openapi_json(json)))
        .fallback(|| async { Error::NoRoute })
        .method_not_allowed_fallback(|| async { Error::NoMethod })
        .layer(DefaultBodyLimit::max(JSON_BYTES_MAX));
    let router = match door {
        Door::Owner => router.layer(from_fn(actor::owner)),
        Door::Bearer => router.layer(from_fn_with_state(context.clone(), actor::bearer)),
    };
    router
        // Who sends a webhook has no token, but a signature.
        .merge(webhook::routes())
        .layer(from_fn_with_state(context.clone(), refuse_when_stopping))
        .with_state(context)
}

/// Returns the document of all endpoints.
pub fn openapi() -> OpenApi {
    endpoints().into_openapi()
}

fn openapi_json(json: String) -> impl Fn() -> std::future::Ready<Response> + Clone {
    let document = bytes::Bytes::from(json);
    move || {
        let kind = [(axum::http::header::CONTENT_TYPE, "application/json")];
        std::future::ready((kind, document.clone()).into_response())
    }
}

async fn refuse_when_stopping(
    State(context): State<Context>,
    request: Request,
    next: Next,
) -> Response {
    if context.stop.is_cancelled() {
        return Error::from(towpath_control::Error::Stopping).into_response();
    }
    next.run(request).await
}

/// Returns the document without any endpoint.
fn document() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Towpath")
        .version("1")
        .description(Some("What the command line does, for programs."));
    OpenApiBuilder::new().info(info.build()).build()
}

fn endpoints() -> OpenApiRouter<Context> {
    OpenApiRouter::with_openapi(document())
        .routes(routes!(endpoint::server::info))
        .routes(routes!(endpoint::server::stop))
        .routes(routes!(endpoint::environment::list))
        .routes(routes!(
            endpoint::environment::show,
            endpoint::environment::create,
            endpoint::environment::destroy
        ))
        .routes(routes!(endpoint::environment::scale))
        .routes(routes!(endpoint::environment::down))
        .routes(routes!(
            endpoint::environment::hold,
            endpoint::environment::release_hold
        ))
        .routes(routes!(endpoint::environment::traffic))
        .routes(routes!(endpoint::preview::create))
        .routes(routes!(endpoint::preview::extend))
        .routes(routes!(endpoint::adoption::projects))
        .routes(routes!(endpoint::adoption::plan))
        .routes(routes!(
            endpoint::adoption::show,
            endpoint::adoption::adopt,
            endpoint::adoption::undo
        ))
        .routes(routes!(endpoint::deployment::plan))
        .routes(routes!(
            endpoint::deployment::deploy,
            endpoint::deployment::list
        ))
        .routes(routes!(endpoint::deployment::redeploy))
        .routes(routes!(endpoint::deployment::rollback))
        .routes(routes!(endpoint::deployment::abort))
        .routes(routes!(endpoint::deployment::pause))
        .routes(routes!(endpoint::deployment::resume))
        .routes(routes!(endpoint::deployment::show))
        .routes(routes!(endpoint::deployment::progress))
        .routes(routes!(endpoint::secret::list))
        .routes(routes!(endpoint::secret::set, endpoint::secret::remove))
        .routes(routes!(endpoint::notify::test))
        .routes(routes!(endpoint::log::read))
        .routes(routes!(endpoint::console::exec))
        .routes(routes!(endpoint::console::run))
        .routes(routes!(endpoint::console::usage))
        .routes(routes!(endpoint::console::follow_usage))
        .routes(routes!(endpoint::release::list))
        .routes(routes!(
            endpoint::repository::show,
            endpoint::repository::set,
            endpoint::repository::unset
        ))
        .routes(routes!(endpoint::repository::set_secret))
        .routes(routes!(endpoint::repository::fetch))
        .merge(runs())
        .routes(routes!(endpoint::source::show, endpoint::source::upload))
        .routes(routes!(endpoint::event::list))
        .routes(routes!(endpoint::event::follow))
        .routes(routes!(endpoint::event::verify))
        .routes(routes!(endpoint::token::list, endpoint::token::create))
        .routes(routes!(endpoint::token::revoke))
}

/// The endpoints of runs.
fn runs() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(endpoint::run::start, endpoint::run::list))
        .routes(routes!(endpoint::run::promote))
        .routes(routes!(endpoint::run::show))
        .routes(routes!(endpoint::run::progress))
        .routes(routes!(endpoint::run::cancel))
        .routes(routes!(endpoint::run::retry))
        .routes(routes!(endpoint::run::decide))
        .routes(routes!(endpoint::approval::list))
        .routes(routes!(endpoint::run::log))
        .routes(routes!(endpoint::run::artifacts))
        .routes(routes!(endpoint::cache::list, endpoint::cache::remove))
}
