//! Apps: made, listed, shown, handed over, put under maintenance, destroyed.

mod names;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use model::account::{Resource, Right, authorize};
use model::app::App;
use model::name::{AppName, Username};
use model::route::Domain;
use model::time::Time;
use proto::api::{AppInfo, Change, DeployBranch, Maintenance, NewApp, Transfer};
use proto::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::{Allowed, AppAccess};
use super::answer::{Answer, Body, Failure, WRITE_ATTEMPTS, rfc3339};
use super::auth::user_named;
use super::changing::{Changed, edit};
use super::confirm::Confirmation;
use crate::records::{CommitError, Write};

/// The longest name of a branch.
const MAX_BRANCH_BYTES: usize = 200;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, destroy))
        .routes(routes!(transfer))
        .routes(routes!(set_maintenance))
        .routes(routes!(set_deploy_branch))
}

/// An app as users see it.
fn info(api: &Api, app: &App, domains: Vec<String>) -> AppInfo {
    let name = app.name.as_str();
    AppInfo {
        name: name.to_owned(),
        owner: app.owner.to_string(),
        collaborators: app.collaborators.iter().map(Username::to_string).collect(),
        created: rfc3339(app.created),
        url: api.platform.url_of(name),
        git_remote: api.platform.git_remote_of(name),
        deploy_branch: app.deploy_branch.clone(),
        maintenance: app.maintenance,
        release: app.current.map(|release| release.to_string()),
        deploying: app.target.as_ref().map(|deploy| deploy.release.to_string()),
        formation: app
            .formation
            .iter()
            .map(|(process, scale)| (process.to_string(), scale.wanted()))
            .collect(),
        domains,
    }
}

async fn info_of(api: &Api, app: &App) -> Answer<Json<AppInfo>> {
    let domains = api.records.all::<Domain>().await?.into_iter();
    let own = domains.filter(|domain| domain.value.app == app.name);
    Ok(Json(info(api, app, own.map(|domain| domain.value.host.to_string()).collect())))
}

/// Lists the apps one may see.
#[utoipa::path(get, path = "/v1/apps", responses((status = 200, body = Vec<AppInfo>)))]
async fn list(State(api): State<Api>, allowed: Allowed) -> Answer<Json<Vec<AppInfo>>> {
    let actor = &allowed.caller.actor;
    let domains = api.records.all::<Domain>().await?;
    let apps = api.records.all::<App>().await?.into_iter().map(|app| app.value);
    let visible = apps.filter(|app| {
        app.destroyed.is_none() && authorize(actor, Right::SeeApp, Resource::App(app)).is_ok()
    });
    let shown = visible.map(|app| {
        let own = domains.iter().filter(|domain| domain.value.app == app.name);
        info(&api, &app, own.map(|domain| domain.value.host.to_string()).collect())
    });
    Ok(Json(shown.collect()))
}

/// Makes an app.
#[utoipa::path(post, path = "/v1/apps", request_body = NewApp,
    responses((status = 201, body = AppInfo)))]
async fn create(
    State(api): State<Api>,
    allowed: Allowed,
    Body(wanted): Body<NewApp>,
) -> Answer<(StatusCode, Json<AppInfo>)> {
    let owner = allowed.user()?;
    let given = wanted.name.as_deref().map(str::parse::<AppName>).transpose()?;
    for _ in 0..WRITE_ATTEMPTS {
        let name = given.clone().unwrap_or_else(names::generate);
        let app = App::new(name, owner.clone(), Time(api.clock.now_ms()));
        match api.records.commit(Write::new().create(&app)).await {
            Ok(_) => {
                api.wake.kick();
                api.logs.say(&app.name, format!("created by {owner}"));
                return Ok((StatusCode::CREATED, Json(info(&api, &app, Vec::new()))));
            }
            // A generated name is tried anew.
            Err(CommitError::Conflict) if given.is_none() => {}
            Err(CommitError::Conflict) => return Err(taken(&api, &app.name).await),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::Conflict)
}

async fn taken(api: &Api, name: &AppName) -> Failure {
    let is_leaving = match api.records.app(name).await {
        Ok(app) => app.is_some_and(|app| app.value.destroyed.is_some()),
        Err(error) => return error.into(),
    };
    let hint = match is_leaving {
        true => "it is being destroyed: the name is free again in a moment",
        false => "choose another name, or none for a generated one",
    };
    Problem::new(Code::Exists, format!("the name `{name}` is taken")).hint(hint).into()
}

/// Shows an app.
#[utoipa::path(get, path = "/v1/apps/{app}", responses((status = 200, body = AppInfo)))]
async fn show(State(api): State<Api>, access: AppAccess) -> Answer<Json<AppInfo>> {
    info_of(&api, &access.app.value).await
}

/// Destroys an app and all it owns.
#[utoipa::path(delete, path = "/v1/apps/{app}", params(Confirmation),
    responses((status = 202, body = Change)))]
async fn destroy(
    State(api): State<Api>,
    mut access: AppAccess,
    Query(given): Query<Confirmation>,
) -> Answer<Changed> {
    let name = access.name().clone();
    given.check(name.as_str(), "everything of the app")?;
    let now = Time(api.clock.now_ms());
    edit(&api, &mut access, |app| {
        app.destroyed = Some(now);
        app.generation += 1;
        Ok(())
    })
    .await?;
    api.logs.say(&name, format!("destroyed by {}", access.user()));
    let generation = access.app.value.generation;
    Ok((StatusCode::ACCEPTED, Json(Change { generation, release: None, changed: true })))
}

/// Hands an app over. The old owner keeps no right to it.
#[utoipa::path(post, path = "/v1/apps/{app}/transfer", request_body = Transfer,
    responses((status = 200, body = AppInfo)))]
async fn transfer(
    State(api): State<Api>,
    mut access: AppAccess,
    Body(wanted): Body<Transfer>,
) -> Answer<Json<AppInfo>> {
    let to = user_named(&api, &wanted.to.parse()?).await?.value.name;
    let changed = edit(&api, &mut access, |app| {
        app.collaborators.remove(&to);
        app.owner = to.clone();
        Ok(())
    })
    .await?;
    if changed {
        api.logs.say(access.name(), format!("handed over to {to} by {}", access.user()));
    }
    info_of(&api, &access.app.value).await
}

/// Turns the maintenance page on or off.
#[utoipa::path(put, path = "/v1/apps/{app}/maintenance", request_body = Maintenance,
    responses((status = 200, body = AppInfo)))]
async fn set_maintenance(
    State(api): State<Api>,
    mut access: AppAccess,
    Body(wanted): Body<Maintenance>,
) -> Answer<Json<AppInfo>> {
    let changed = edit(&api, &mut access, |app| {
        app.maintenance = wanted.on;
        Ok(())
    })
    .await?;
    if changed {
        let what = if wanted.on { "maintenance on" } else { "maintenance off" };
        api.logs.say(access.name(), format!("{what} by {}", access.user()));
    }
    info_of(&api, &access.app.value).await
}

/// Names the one branch that deploys.
#[utoipa::path(put, path = "/v1/apps/{app}/deploy-branch", request_body = DeployBranch,
    responses((status = 200, body = AppInfo)))]
async fn set_deploy_branch(
    State(api): State<Api>,
    mut access: AppAccess,
    Body(wanted): Body<DeployBranch>,
) -> Answer<Json<AppInfo>> {
    if let Some(branch) = &wanted.branch {
        check_branch(branch)?;
    }
    edit(&api, &mut access, |app| {
        app.deploy_branch = wanted.branch.clone();
        Ok(())
    })
    .await?;
    info_of(&api, &access.app.value).await
}

/// What git takes as a branch, and a little less.
fn check_branch(branch: &str) -> Answer<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let is_branch = (1..=MAX_BRANCH_BYTES).contains(&branch.len())
        && branch.bytes().all(is_plain)
        && branch.split('/').all(|part| {
            !part.is_empty() && !part.starts_with(['.', '-']) && !part.ends_with(".lock")
        })
        && !branch.contains("..")
        && !branch.ends_with('.');
    if is_branch {
        return Ok(());
    }
    let hint = "give its short name, such as `main` or `release/2`";
    Err(Problem::new(Code::Invalid, "this is not the name of a branch").hint(hint).into())
}
