//! Processes: what runs, how many shall run, restarts, stops and starts.

mod listing;

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use model::name::ProcessType;
use proto::api::{Change, ProcessSelection, Processes, ScaleRequest};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::AppAccess;
use super::answer::{Answer, Body};
use super::capacity::keep_the_reserve;
use super::changing::{Changed, change, current_release};
use crate::change::scale;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(scale_to))
        .routes(routes!(restart))
        .routes(routes!(stop))
        .routes(routes!(start))
}

/// Lists process types and units.
#[utoipa::path(get, path = "/v1/apps/{app}/ps", responses((status = 200, body = Processes)))]
async fn list(State(api): State<Api>, access: AppAccess) -> Answer<Json<Processes>> {
    let current = current_release(&api, &access.app.value).await?;
    let view = api.view.borrow().clone();
    Ok(Json(listing::processes(&access.app.value, current.as_ref(), &view)))
}

/// Sets how many units of each named type there shall be, all or none.
#[utoipa::path(post, path = "/v1/apps/{app}/scale", request_body = ScaleRequest,
    responses((status = 202, body = Change)))]
async fn scale_to(
    State(api): State<Api>,
    access: AppAccess,
    Body(request): Body<ScaleRequest>,
) -> Answer<Changed> {
    let counts = counts(&request)?;
    let words: Vec<String> =
        counts.iter().map(|(process, count)| format!("{process}={count}")).collect();
    let event = format!("scaled to {}", words.join(" "));
    change(&api, access, &event, |asked| {
        let next = scale::scale(asked, &counts)?;
        next.iter().try_for_each(|next| keep_the_reserve(&api, next))?;
        Ok(next)
    })
    .await
}

/// The types and counts of a request.
pub(super) fn counts(request: &ScaleRequest) -> Answer<BTreeMap<ProcessType, u32>> {
    request.counts.iter().map(|(process, count)| Ok((process.parse()?, *count))).collect()
}

fn selected(selection: &ProcessSelection) -> Answer<Vec<ProcessType>> {
    selection.processes.iter().map(|process| Ok(process.parse()?)).collect()
}

fn event(verb: &str, processes: &[ProcessType]) -> String {
    let names: Vec<&str> = processes.iter().map(ProcessType::as_str).collect();
    if names.is_empty() { verb.to_owned() } else { format!("{verb}: {},", names.join(", ")) }
}

/// Replaces running units by new ones.
#[utoipa::path(post, path = "/v1/apps/{app}/restart", request_body = ProcessSelection,
    responses((status = 202, body = Change)))]
async fn restart(
    State(api): State<Api>,
    access: AppAccess,
    Body(selection): Body<ProcessSelection>,
) -> Answer<Changed> {
    let processes = selected(&selection)?;
    let event = event("restarted", &processes);
    change(&api, access, &event, |asked| Ok(scale::restart(asked, &processes)?)).await
}

/// Stops units; counts are remembered.
#[utoipa::path(post, path = "/v1/apps/{app}/stop", request_body = ProcessSelection,
    responses((status = 202, body = Change)))]
async fn stop(
    State(api): State<Api>,
    access: AppAccess,
    Body(selection): Body<ProcessSelection>,
) -> Answer<Changed> {
    let processes = selected(&selection)?;
    let event = event("stopped", &processes);
    change(&api, access, &event, |asked| Ok(scale::set_stopped(asked, &processes, true)?)).await
}

/// Starts what was stopped.
#[utoipa::path(post, path = "/v1/apps/{app}/start", request_body = ProcessSelection,
    responses((status = 202, body = Change)))]
async fn start(
    State(api): State<Api>,
    access: AppAccess,
    Body(selection): Body<ProcessSelection>,
) -> Answer<Changed> {
    let processes = selected(&selection)?;
    let event = event("started", &processes);
    change(&api, access, &event, |asked| Ok(scale::set_stopped(asked, &processes, false)?)).await
}
