//! Health checks by process type.

mod form;

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use model::name::ProcessType;
use model::release::Release;
use proto::api::{Change, CheckInfo, ChecksByProcess};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::AppAccess;
use super::answer::{Answer, Body};
use super::changing::{Changed, change, current_release};
use crate::change::settings::set_check;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(put, delete))
}

/// Shows checks by type, defaults included.
#[utoipa::path(get, path = "/v1/apps/{app}/checks",
    responses((status = 200, body = ChecksByProcess)))]
async fn show(State(api): State<Api>, access: AppAccess) -> Answer<Json<ChecksByProcess>> {
    let current = current_release(&api, &access.app.value).await?;
    let checks = current.iter().flat_map(|release| {
        let shown = types_of(release).into_iter();
        shown.map(|process| (process.to_string(), form::shown(release.check(process))))
    });
    Ok(Json(ChecksByProcess { checks: checks.collect() }))
}

fn types_of(release: &Release) -> BTreeSet<&ProcessType> {
    let checked = release.settings.iter().filter(|(_, settings)| settings.check.is_some());
    release.scalable().chain(checked.map(|(process, _)| process)).collect()
}

/// Sets a type's check.
#[utoipa::path(put, path = "/v1/apps/{app}/checks/{process}", request_body = CheckInfo,
    responses((status = 202, body = Change)))]
async fn put(
    State(api): State<Api>,
    access: AppAccess,
    Path((_app, process)): Path<(String, String)>,
    Body(wanted): Body<CheckInfo>,
) -> Answer<Changed> {
    let process: ProcessType = process.parse()?;
    let check = form::read(&wanted)?;
    change(&api, access, "checked", |asked| Ok(set_check(asked, &process, Some(check.clone()))?))
        .await
}

/// Returns a type to the default check.
#[utoipa::path(delete, path = "/v1/apps/{app}/checks/{process}",
    responses((status = 202, body = Change)))]
async fn delete(
    State(api): State<Api>,
    access: AppAccess,
    Path((_app, process)): Path<(String, String)>,
) -> Answer<Changed> {
    let process: ProcessType = process.parse()?;
    change(&api, access, "checked", |asked| Ok(set_check(asked, &process, None)?)).await
}
