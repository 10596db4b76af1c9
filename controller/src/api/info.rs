//! Facts anybody may know: versions, doors, and this API's description.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use proto::api::Info;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::{Allowed, is_registration_open};
use super::answer::Answer;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(info)).routes(routes!(openapi))
}

/// Facts anybody may know.
#[utoipa::path(get, path = "/v1/info", responses((status = 200, body = Info)))]
async fn info(State(api): State<Api>, _: Allowed) -> Answer<Json<Info>> {
    let platform = &api.platform;
    Ok(Json(Info {
        version: platform.version.clone(),
        domain: platform.domain.clone(),
        git_remote_base: platform.git_remote_base.clone(),
        http_port: platform.http_port,
        https_port: platform.https_port,
        registration_open: is_registration_open(&api).await?,
    }))
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json",
    responses((status = 200, description = "The OpenAPI document")))]
async fn openapi(State(api): State<Api>, _: Allowed) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], api.0.openapi.clone())
}
