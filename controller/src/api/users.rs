//! What administrators see and set of accounts.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use model::account::{Right, User};
use model::app::App;
use model::name::Username;
use proto::api::{RegistrationSetting, UserInfo};
use proto::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Allowed;
use super::answer::{Answer, Body, Failure, WRITE_ATTEMPTS, rfc3339};
use super::auth::user_named;
use super::confirm::Confirmation;
use super::keys::keys_of;
use super::tokens::{revoke, tokens_of};
use crate::records::{CommitError, Document, RegistrationDoor, Write};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(delete))
        .routes(routes!(set_registration))
}

/// Lists all users.
#[utoipa::path(get, path = "/v1/users", responses((status = 200, body = Vec<UserInfo>)))]
async fn list(State(api): State<Api>, _: Allowed) -> Answer<Json<Vec<UserInfo>>> {
    let users = api.records.all::<User>().await?.into_iter().map(|user| UserInfo {
        username: user.value.name.to_string(),
        email: user.value.email,
        is_admin: user.value.is_admin,
        created: rfc3339(user.value.created),
    });
    Ok(Json(users.collect()))
}

/// Deletes a user with keys and tokens: one's own account, or as an administrator another's.
#[utoipa::path(delete, path = "/v1/users/{user}", params(Confirmation),
    responses((status = 204)))]
async fn delete(
    State(api): State<Api>,
    allowed: Allowed,
    Path(name): Path<String>,
    Query(given): Query<Confirmation>,
) -> Answer<StatusCode> {
    let name: Username = name.parse()?;
    if *allowed.user()? != name {
        allowed.require(Right::Administer)?;
    }
    for _ in 0..WRITE_ATTEMPTS {
        let user = user_named(&api, &name).await?;
        given.check(name.as_str(), "the account with its keys and tokens")?;
        let guard = keep_an_administrator(&api, &user.value).await?;
        leave_apps(&api, &name).await?;
        let keys = keys_of(&api, &name).await?;
        let write = guard.delete(&user.value, user.revision);
        let write = keys.iter().fold(write, |write, key| write.delete(&key.value, key.revision));
        match api.records.commit(write).await {
            Ok(_) => {
                tracing::info!(user = %name, by = %allowed.user()?, "a user was deleted");
                for token in tokens_of(&api, &name).await? {
                    revoke(&api, &token.value).await?;
                }
                return Ok(StatusCode::NO_CONTENT);
            }
            Err(CommitError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::Conflict)
}

/// Refuses to delete the last administrator. Two who leave at once depend on each other, so that one of them stays.
async fn keep_an_administrator(api: &Api, leaving: &User) -> Answer<Write> {
    if !leaving.is_admin {
        return Ok(Write::new());
    }
    let users = api.records.all::<User>().await?;
    let other = users.iter().find(|user| user.value.is_admin && user.value.name != leaving.name);
    match other {
        Some(other) => Ok(Write::new().require(&other.value, other.revision)),
        None => {
            let message = format!("`{}` is the only administrator", leaving.name);
            Err(Problem::new(Code::InUse, message)
                .hint("a cluster needs one: nobody else could see to it")
                .into())
        }
    }
}

/// Takes the user from the apps of others; refuses while there are own ones.
async fn leave_apps(api: &Api, name: &Username) -> Answer<()> {
    let mut apps = api.records.all::<App>().await?;
    apps.retain(|app| app.value.destroyed.is_none());
    let owned = apps.iter().filter(|app| app.value.owner == *name);
    let owned: Vec<&str> = owned.map(|app| app.value.name.as_str()).collect();
    if !owned.is_empty() {
        let message = format!("`{name}` owns apps: {}", owned.join(", "));
        return Err(Problem::new(Code::InUse, message)
            .hint("hand each over with `paasctl apps:transfer`, or remove it with `paasctl apps:destroy`")
            .into());
    }
    for mut app in apps {
        if app.value.collaborators.remove(name) {
            api.records.commit(Write::new().replace(&app.value, app.revision)).await?;
        }
    }
    Ok(())
}

/// Opens or closes registration.
#[utoipa::path(put, path = "/v1/settings/registration", request_body = RegistrationSetting,
    responses((status = 200, body = RegistrationSetting)))]
async fn set_registration(
    State(api): State<Api>,
    _: Allowed,
    Body(setting): Body<RegistrationSetting>,
) -> Answer<Json<RegistrationSetting>> {
    let wanted = RegistrationDoor { open: setting.open };
    for _ in 0..WRITE_ATTEMPTS {
        let door = api.records.get::<RegistrationDoor>(RegistrationDoor::PREFIX).await?;
        let write = match door {
            Some(door) => Write::new().replace(&wanted, door.revision),
            None => Write::new().create(&wanted),
        };
        match api.records.commit(write).await {
            Ok(_) => return Ok(Json(setting)),
            Err(CommitError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::Conflict)
}
