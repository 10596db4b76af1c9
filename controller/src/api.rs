//! The public API: HTTP and JSON under `/v1`, one file per noun.
//!
//! A request passes `request` (id, log line, deadline, one error shape), then `access` (who asks, what
//! the endpoint's right is, may they), then its handler, which reads documents, asks `change` what
//! shall be, and writes it in one transaction. `openapi` describes the same routes.

pub mod access;
mod answer;
mod confirm;
mod openapi;
mod request;

mod auth;
mod info;
mod keys;
mod tokens;
mod users;
mod volumes;

mod apps;
mod changing;
mod checks;
mod config;
mod limits;
mod perms;
mod placement;
mod processes;
mod releases;
mod rollout;

mod certificates;
mod domains;
mod logs;
mod run;

mod backup;
mod capacity;
mod cluster;
mod join;
mod nodes;
mod recovery;

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::Context;
use crate::accounts::password::Passwords;
use crate::accounts::secret;
use crate::accounts::throttle::Throttle;

// What the builders' side of the gateway shares with the handlers.
pub(crate) use access::no_such_app;
pub(crate) use answer::Failure;
pub(crate) use changing::{current_release, say, write};
pub(crate) use config::open as open_config;

/// The largest request body.
const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Shared>);

pub(crate) struct Shared {
    context: Context,
    passwords: Passwords,
    throttle: Throttle,
    /// What is known of the operator's token, as of any other: its hash.
    operator_hash: String,
    openapi: String,
}

impl Deref for Api {
    type Target = Context;
    fn deref(&self) -> &Context {
        &self.0.context
    }
}

impl Api {
    fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    fn throttle(&self) -> &Throttle {
        &self.0.throttle
    }
}

/// The whole API.
pub fn router(context: Context) -> Router {
    let (routes, description) = routes().split_for_parts();
    let openapi = openapi::finish(description);
    let operator = service::identity::operator_token(context.seal.key());
    let api = Api(Arc::new(Shared {
        operator_hash: secret::hash(&operator),
        context,
        passwords: Passwords::default(),
        throttle: Throttle::default(),
        openapi,
    }));
    routes
        .fallback(answer::no_such_endpoint)
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(request::deadline))
        .layer(from_fn(request::one_error_shape))
        .layer(from_fn_with_state(api.clone(), request::observe))
        .with_state(api)
}

/// The OpenAPI document, as served at `/v1/openapi.json`.
pub fn openapi_json() -> String {
    openapi::finish(routes().into_openapi())
}

fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::Common::openapi())
        .merge(info::routes())
        .merge(auth::routes())
        .merge(tokens::routes())
        .merge(keys::routes())
        .merge(users::routes())
        .merge(apps::routes())
        .merge(perms::routes())
        .merge(config::routes())
        .merge(processes::routes())
        .merge(placement::routes())
        .merge(releases::routes())
        .merge(rollout::routes())
        .merge(limits::routes())
        .merge(checks::routes())
        .merge(domains::routes())
        .merge(volumes::routes())
        .merge(certificates::routes())
        .merge(logs::routes())
        .merge(run::routes())
        .merge(cluster::routes())
        .merge(capacity::routes())
        .merge(backup::routes())
        .merge(join::routes())
        .merge(nodes::routes())
        .merge(recovery::routes())
}
