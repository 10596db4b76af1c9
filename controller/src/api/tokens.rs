//! Tokens: made with a scope and an end, listed without their secret, revoked.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use model::account::{Scope, Token};
use model::name::Username;
use model::snapshot::Versioned;
use model::time::Time;
use proto::api::{NewToken, Session, TokenInfo};
use proto::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Allowed;
use super::answer::{Answer, Body, Failure, rfc3339};
use crate::accounts::secret;
use crate::records::{CommitError, Document, Write};

/// The most tokens of one user; few enough to be revoked in one transaction.
pub(super) const MAX_TOKENS: usize = 100;
/// The longest life of a token that ends.
const MAX_DAYS: u32 = 3_650;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// The longest label.
const MAX_LABEL_CHARS: usize = 100;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(delete))
}

/// A token that is about to be stored, with the secret that never is.
pub(super) struct NewSession {
    pub(super) token: Token,
    secret: String,
}

impl NewSession {
    pub(super) fn shown(self) -> Session {
        Session { username: self.token.user.to_string(), token: self.secret, id: self.token.id }
    }
}

pub(super) fn new_token(
    user: &Username,
    label: &str,
    scope: Scope,
    now: Time,
    expires: Option<Time>,
) -> NewSession {
    let secret = secret::new_secret();
    let token = Token {
        id: secret::new_id(),
        user: user.clone(),
        label: label.to_owned(),
        secret_hash: secret::hash(&secret),
        scope,
        created: now,
        expires,
    };
    NewSession { token, secret }
}

pub(super) fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "read",
        Scope::Deploy => "deploy",
        Scope::Full => "full",
    }
}

fn scope_named(name: &str) -> Answer<Scope> {
    match name {
        "read" => Ok(Scope::Read),
        "deploy" => Ok(Scope::Deploy),
        "full" => Ok(Scope::Full),
        _ => Err(Failure::invalid("a token's scope is `read`, `deploy` or `full`")),
    }
}

pub(super) fn check_label(label: &str) -> Answer<()> {
    let is_sane = (1..=MAX_LABEL_CHARS).contains(&label.chars().count())
        && !label.chars().any(char::is_control);
    if is_sane { Ok(()) } else { Err(Failure::invalid("a label has 1 to 100 visible characters")) }
}

pub(super) async fn tokens_of(api: &Api, user: &Username) -> Answer<Vec<Versioned<Token>>> {
    let mut tokens = api.records.all::<Token>().await?;
    tokens.retain(|token| token.value.user == *user);
    Ok(tokens)
}

pub(super) fn delete_all(write: Write, tokens: &[Versioned<Token>]) -> Write {
    tokens.iter().fold(write, |write, token| write.delete(&token.value, token.revision))
}

/// Ends a token; one that is gone already is fine.
pub(super) async fn revoke(api: &Api, token: &Token) -> Answer<()> {
    let Some(stored) = api.records.get::<Token>(&token.key()).await? else { return Ok(()) };
    match api.records.commit(Write::new().delete(&stored.value, stored.revision)).await {
        // A token is never changed, so a conflict means it is gone.
        Ok(_) | Err(CommitError::Conflict) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Lists one's tokens.
#[utoipa::path(get, path = "/v1/auth/tokens", responses((status = 200, body = Vec<TokenInfo>)))]
async fn list(State(api): State<Api>, allowed: Allowed) -> Answer<Json<Vec<TokenInfo>>> {
    let mut tokens = tokens_of(&api, allowed.user()?).await?;
    tokens.sort_by_key(|token| token.value.created);
    let used = allowed.caller.token.as_ref().map(|token| token.id.as_str());
    let shown = tokens.into_iter().map(|token| TokenInfo {
        current: Some(token.value.id.as_str()) == used,
        id: token.value.id,
        label: token.value.label,
        scope: scope_name(token.value.scope).to_owned(),
        created: rfc3339(token.value.created),
        expires: token.value.expires.map(rfc3339),
    });
    Ok(Json(shown.collect()))
}

/// Makes a token.
#[utoipa::path(post, path = "/v1/auth/tokens", request_body = NewToken,
    responses((status = 201, body = Session)))]
async fn create(
    State(api): State<Api>,
    allowed: Allowed,
    Body(wanted): Body<NewToken>,
) -> Answer<(StatusCode, Json<Session>)> {
    let user = allowed.user()?;
    check_label(&wanted.label)?;
    let scope = scope_named(&wanted.scope)?;
    if wanted.expires_days.is_some_and(|days| days == 0 || days > MAX_DAYS) {
        return Err(Failure::invalid("a token ends after 1 to 3650 days, or when revoked"));
    }
    if tokens_of(&api, user).await?.len() >= MAX_TOKENS {
        let message = format!("you have {MAX_TOKENS} tokens, which is the most");
        return Err(Problem::new(Code::TooMany, message)
            .hint("revoke some: `paasctl tokens:revoke`")
            .into());
    }
    let now = Time(api.clock.now_ms());
    let expires = wanted.expires_days.map(|days| now.plus_ms(u64::from(days) * DAY_MS));
    // No earlier than what was used to ask for it: that may come from a controller whose clock is a little ahead.
    let created = allowed.caller.token.as_ref().map_or(now, |token| now.max(token.created));
    let session = new_token(user, &wanted.label, scope, created, expires);
    api.records.commit(Write::new().create(&session.token)).await?;
    Ok((StatusCode::CREATED, Json(session.shown())))
}

/// Revokes a token.
#[utoipa::path(delete, path = "/v1/auth/tokens/{id}", responses((status = 204)))]
async fn delete(
    State(api): State<Api>,
    allowed: Allowed,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let tokens = tokens_of(&api, allowed.user()?).await?;
    let Some(token) = tokens.iter().find(|token| token.value.id == id) else {
        return Err(Problem::new(Code::NotFound, "you have no such token")
            .hint("`paasctl tokens` lists them")
            .into());
    };
    revoke(&api, &token.value).await?;
    Ok(StatusCode::NO_CONTENT)
}
