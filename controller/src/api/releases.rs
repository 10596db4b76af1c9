//! Releases: the numbered history, and the way back.

use axum::Json;
use axum::extract::{Path, State};
use model::app::App;
use model::name::ReleaseNumber;
use model::release::{Release, ReleaseState};
use proto::api::{Change, ReleaseInfo, Rollback};
use proto::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::AppAccess;
use super::answer::{Answer, Body, rfc3339};
use super::changing::{Changed, change};
use crate::change::release::rollback;
use crate::plan::rollout::shown_command;
use crate::records::releases_prefix;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(roll_back))
}

async fn releases_of(api: &Api, app: &App) -> Answer<Vec<Release>> {
    let releases = api.records.list::<Release>(&releases_prefix(&app.name)).await?;
    Ok(releases.into_iter().map(|release| release.value).collect())
}

fn info(app: &App, release: Release) -> ReleaseInfo {
    let (state, reason) = match release.state {
        ReleaseState::Deploying => ("deploying", None),
        ReleaseState::Succeeded => ("succeeded", None),
        ReleaseState::Failed { reason } => ("failed", Some(reason)),
    };
    let build = release.build.as_ref();
    let processes = build
        .into_iter()
        .flat_map(|build| &build.processes)
        .map(|(process, command)| (process.to_string(), command.as_ref().map(shown_command)));
    ReleaseInfo {
        release: release.number.to_string(),
        state: state.to_owned(),
        current: app.current == Some(release.number),
        summary: release.summary,
        created: rfc3339(release.created),
        created_by: release.created_by.to_string(),
        image: build.map(|build| build.image.clone()),
        commit: build.and_then(|build| build.commit.clone()),
        reason,
        config_keys: release.config.keys().map(ToString::to_string).collect(),
        processes: processes.collect(),
    }
}

/// Lists releases, newest first.
#[utoipa::path(get, path = "/v1/apps/{app}/releases",
    responses((status = 200, body = Vec<ReleaseInfo>)))]
async fn list(State(api): State<Api>, access: AppAccess) -> Answer<Json<Vec<ReleaseInfo>>> {
    let app = &access.app.value;
    let releases = releases_of(&api, app).await?;
    Ok(Json(releases.into_iter().rev().map(|release| info(app, release)).collect()))
}

/// Shows one release.
#[utoipa::path(get, path = "/v1/apps/{app}/releases/{release}",
    responses((status = 200, body = ReleaseInfo)))]
async fn show(
    State(api): State<Api>,
    access: AppAccess,
    Path((_app, release)): Path<(String, String)>,
) -> Answer<Json<ReleaseInfo>> {
    let number: ReleaseNumber = release.parse()?;
    let release = api.records.release(access.name(), number).await?;
    let release = release.ok_or_else(|| {
        Problem::new(Code::NotFound, format!("there is no release {number}"))
            .hint("`paasctl releases` lists them")
    })?;
    Ok(Json(info(&access.app.value, release.value)))
}

/// Makes a new release with an earlier one's build, configuration and settings.
#[utoipa::path(post, path = "/v1/apps/{app}/rollback", request_body = Rollback,
    responses((status = 202, body = Change)))]
async fn roll_back(
    State(api): State<Api>,
    access: AppAccess,
    Body(request): Body<Rollback>,
) -> Answer<Changed> {
    let to = request.to.as_deref().map(str::parse).transpose()?;
    let releases = releases_of(&api, &access.app.value).await?;
    change(&api, access, "rolled back", |asked| Ok(rollback(asked, &releases, to)?)).await
}
