//! SSH keys: whose pushes are whose.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use model::account::SshKey;
use model::name::Username;
use model::snapshot::Versioned;
use model::time::Time;
use proto::api::{KeyInfo, NewKey};
use proto::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Allowed;
use super::answer::{Answer, Body, Failure, rfc3339};
use super::auth::user_named;
use crate::accounts::ssh_key::{self, PublicKey};
use crate::records::{CommitError, Document, Write};

/// The most keys of one user.
const MAX_KEYS: usize = 50;
/// The longest name of a key.
const MAX_NAME_CHARS: usize = 100;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(delete))
}

pub(super) async fn keys_of(api: &Api, user: &Username) -> Answer<Vec<Versioned<SshKey>>> {
    let mut keys = api.records.all::<SshKey>().await?;
    keys.retain(|key| key.value.user == *user);
    Ok(keys)
}

fn shown(key: SshKey) -> KeyInfo {
    let algorithm = key.public_key.split(' ').next().unwrap_or_default();
    KeyInfo {
        algorithm: algorithm.to_owned(),
        name: key.name,
        fingerprint: key.fingerprint,
        created: rfc3339(key.created),
    }
}

/// Lists one's keys.
#[utoipa::path(get, path = "/v1/keys", responses((status = 200, body = Vec<KeyInfo>)))]
async fn list(State(api): State<Api>, allowed: Allowed) -> Answer<Json<Vec<KeyInfo>>> {
    let mut keys = keys_of(&api, allowed.user()?).await?;
    keys.sort_by(|one, other| one.value.name.cmp(&other.value.name));
    Ok(Json(keys.into_iter().map(|key| shown(key.value)).collect()))
}

/// Adds a key.
#[utoipa::path(post, path = "/v1/keys", request_body = NewKey,
    responses((status = 201, body = KeyInfo)))]
async fn create(
    State(api): State<Api>,
    allowed: Allowed,
    Body(wanted): Body<NewKey>,
) -> Answer<(StatusCode, Json<KeyInfo>)> {
    let user = allowed.user()?;
    let key = ssh_key::parse(&wanted.public_key)
        .map_err(|error| Problem::new(Code::Invalid, error.to_string()).hint(error.hint()))?;
    let key = SshKey {
        name: name_of(&wanted.name, &key)?,
        user: user.clone(),
        fingerprint: key.fingerprint,
        public_key: key.text,
        created: Time(api.clock.now_ms()),
    };
    let owner = user_named(&api, user).await?;
    let keys = keys_of(&api, user).await?;
    if keys.len() >= MAX_KEYS {
        let message = format!("you have {MAX_KEYS} keys, which is the most");
        return Err(Problem::new(Code::TooMany, message).into());
    }
    if keys.iter().any(|other| other.value.name == key.name) {
        let message = format!("you have a key named `{}` already", key.name);
        return Err(Problem::new(Code::Exists, message).hint("give it another name").into());
    }
    // Writing the owner anew makes two additions at once collide, so that names stay unique.
    let write = Write::new().replace(&owner.value, owner.revision).create(&key);
    match api.records.commit(write).await {
        Ok(_) => Ok((StatusCode::CREATED, Json(shown(key)))),
        Err(CommitError::Conflict) => Err(collision(&api, &key).await),
        Err(error) => Err(error.into()),
    }
}

async fn collision(api: &Api, key: &SshKey) -> Failure {
    match api.records.get::<SshKey>(&key.key()).await {
        Ok(Some(_)) => Problem::new(Code::Exists, "this key is in use already")
            .hint("one key belongs to one user: make another with `ssh-keygen -t ed25519`")
            .into(),
        Ok(None) => Failure::Conflict,
        Err(error) => error.into(),
    }
}

/// The name given, else the key's comment, else its fingerprint's beginning.
fn name_of(wanted: &str, key: &PublicKey) -> Answer<String> {
    let shortened: String = key.fingerprint.chars().skip("SHA256:".len()).take(8).collect();
    let candidates = [wanted.trim(), key.comment.trim(), &shortened];
    let name = candidates.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
    let is_sane = name.chars().count() <= MAX_NAME_CHARS
        && !name.contains('/')
        && !name.chars().any(char::is_control);
    if is_sane {
        return Ok(name.to_owned());
    }
    Err(Failure::invalid("a key's name has 1 to 100 visible characters and no `/`"))
}

/// Removes a key.
#[utoipa::path(delete, path = "/v1/keys/{name}", responses((status = 204)))]
async fn delete(
    State(api): State<Api>,
    allowed: Allowed,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    let keys = keys_of(&api, allowed.user()?).await?;
    let Some(key) = keys.iter().find(|key| key.value.name == name) else {
        return Err(Problem::new(Code::NotFound, "you have no key of that name")
            .hint("`paasctl keys` lists them")
            .into());
    };
    api.records.commit(Write::new().delete(&key.value, key.revision)).await?;
    Ok(StatusCode::NO_CONTENT)
}
