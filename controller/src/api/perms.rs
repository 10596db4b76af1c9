//! Who else may operate an app.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use model::name::Username;
use proto::api::NewCollaborator;
use proto::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::AppAccess;
use super::answer::{Answer, Body, Failure};
use super::auth::user_named;
use super::changing::edit;

/// The most collaborators of one app.
const MAX_COLLABORATORS: usize = 200;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(remove))
}

fn names(access: &AppAccess) -> Vec<String> {
    access.app.value.collaborators.iter().map(Username::to_string).collect()
}

/// Lists collaborators.
#[utoipa::path(get, path = "/v1/apps/{app}/perms", responses((status = 200, body = Vec<String>)))]
async fn list(access: AppAccess) -> Json<Vec<String>> {
    Json(names(&access))
}

/// Adds a collaborator. Answers with all of them.
#[utoipa::path(post, path = "/v1/apps/{app}/perms", request_body = NewCollaborator,
    responses((status = 200, body = Vec<String>)))]
async fn add(
    State(api): State<Api>,
    mut access: AppAccess,
    Body(wanted): Body<NewCollaborator>,
) -> Answer<Json<Vec<String>>> {
    let user = user_named(&api, &wanted.username.parse()?).await?.value.name;
    if user == access.app.value.owner {
        return Err(Problem::new(Code::Exists, format!("`{user}` owns the app already")).into());
    }
    let changed = edit(&api, &mut access, |app| {
        app.collaborators.insert(user.clone());
        match app.collaborators.len() {
            ..=MAX_COLLABORATORS => Ok(()),
            _ => Err(Failure::invalid("an app has at most 200 collaborators")),
        }
    })
    .await?;
    if changed {
        api.logs.say(access.name(), format!("shared with {user} by {}", access.user()));
    }
    Ok(Json(names(&access)))
}

/// Removes a collaborator.
#[utoipa::path(delete, path = "/v1/apps/{app}/perms/{user}", responses((status = 204)))]
async fn remove(
    State(api): State<Api>,
    mut access: AppAccess,
    Path((_app, user)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let found = access.app.value.collaborators.iter().find(|name| name.as_str() == user).cloned();
    let Some(user) = found else {
        let message = "this user is no collaborator of the app";
        return Err(Problem::new(Code::NotFound, message)
            .hint("`paasctl perms` lists them")
            .into());
    };
    edit(&api, &mut access, |app| {
        app.collaborators.remove(&user);
        Ok(())
    })
    .await?;
    api.logs.say(access.name(), format!("no longer shared with {user}, by {}", access.user()));
    Ok(StatusCode::NO_CONTENT)
}
