//! What administrators see and set of accounts.

use axum::Json;
use axum::extract::State;
use model::account::User;
use proto::api::{RegistrationSetting, UserInfo};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Allowed;
use super::answer::{Answer, Body, Failure, WRITE_ATTEMPTS, rfc3339};
use crate::records::{CommitError, Document, RegistrationDoor, Write};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(set_registration))
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
