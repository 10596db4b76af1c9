//! Accounts of one's own: register, log in and out, change the password.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::account::{Actor, Right, Scope, User};
use model::app::App;
use model::name::Username;
use model::snapshot::Versioned;
use model::time::Time;
use proto::api::{Login, PasswordChange, Registration, Session, Whoami};
use proto::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Allowed;
use super::answer::{Answer, Body, Failure, WRITE_ATTEMPTS};
use super::tokens::{NewSession, delete_all, new_token, scope_name, tokens_of};
use crate::accounts::password::check_rule;
use crate::records::{CommitError, Document, RegistrationDoor, Write, user_key};

/// The longest mail address.
const MAX_EMAIL_BYTES: usize = 254;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(login))
        .routes(routes!(logout))
        .routes(routes!(whoami))
        .routes(routes!(passwd))
}

/// Makes an account. The first one is the administrator's and closes registration.
#[utoipa::path(post, path = "/v1/auth/register", request_body = Registration,
    responses((status = 201, body = Session)))]
async fn register(
    State(api): State<Api>,
    mut allowed: Allowed,
    Body(wanted): Body<Registration>,
) -> Answer<(StatusCode, Json<Session>)> {
    let name: Username = wanted.username.parse()?;
    check_password(&wanted.password)?;
    if wanted.email.len() > MAX_EMAIL_BYTES || wanted.email.chars().any(char::is_control) {
        return Err(Failure::invalid("this is not a mail address"));
    }
    if api.records.get::<User>(&user_key(&name)).await?.is_some() {
        return Err(taken(&name));
    }
    if is_named_in_apps(&api, &name).await? {
        return Err(taken(&name));
    }
    let password_hash = api.passwords().hash(&wanted.password).await;
    let now = Time(api.clock.now_ms());
    let email = wanted.email.trim().to_owned();
    let mut user = User { name, email, password_hash, is_admin: false, created: now };
    let session = new_token(&user.name, "login", Scope::Full, now, None);
    for _ in 0..WRITE_ATTEMPTS {
        let door = api.records.get::<RegistrationDoor>(RegistrationDoor::PREFIX).await?;
        // Two racers for the first account: both create the door, so one of them loses and finds it closed.
        let guard = match &door {
            None => Write::new().create(&RegistrationDoor { open: false }),
            Some(door) => Write::new().require(&door.value, door.revision),
        };
        let is_open = door.as_ref().is_none_or(|door| door.value.open);
        if !is_open {
            allowed.permit = allowed.require(Right::Register)?;
        }
        user.is_admin = door.is_none();
        match api.records.commit(guard.create(&user).create(&session.token)).await {
            Ok(_) => return Ok((StatusCode::CREATED, Json(session.shown()))),
            Err(CommitError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
        if api.records.get::<User>(&user_key(&user.name)).await?.is_some() {
            return Err(taken(&user.name));
        }
    }
    Err(Failure::Conflict)
}

/// Whether an app names a user of that name, as one may that was shared or handed over while its user was deleted. Nobody
/// shall come by the rights of another.
async fn is_named_in_apps(api: &Api, name: &Username) -> Answer<bool> {
    let apps = api.records.all::<App>().await?;
    let mut apps = apps.iter().map(|app| &app.value);
    Ok(apps.any(|app| app.owner == *name || app.collaborators.contains(name)))
}

fn taken(name: &Username) -> Failure {
    Problem::new(Code::Exists, format!("the user name `{name}` is taken"))
        .hint("choose another name, or log in")
        .into()
}

fn check_password(password: &str) -> Answer<()> {
    check_rule(password).map_err(|error| Failure::invalid(error.to_string()))
}

/// Exchanges a password for a token.
#[utoipa::path(post, path = "/v1/auth/login", request_body = Login,
    responses((status = 200, body = Session)))]
async fn login(
    State(api): State<Api>,
    _: Allowed,
    Body(login): Body<Login>,
) -> Answer<Json<Session>> {
    let user = check_login(&api, &login.username, &login.password).await?;
    let label = if login.label.is_empty() { "login" } else { &login.label };
    super::tokens::check_label(label)?;
    // The clock of the controller that made the account may be a little ahead of this one's.
    let now = Time(api.clock.now_ms()).max(user.value.created);
    let session = new_token(&user.value.name, label, Scope::Full, now, None);
    store_session(&api, &user.value.name, &session).await?;
    Ok(Json(session.shown()))
}

/// The user, if the password is right. Takes as long for a name that nobody has.
async fn check_login(api: &Api, name: &str, password: &str) -> Answer<Versioned<User>> {
    let wrong = || {
        Failure::from(
            Problem::new(Code::WrongPassword, "the user name or the password is wrong")
                .hint("names and passwords are told apart by case"),
        )
    };
    let key = name.chars().take(80).collect::<String>();
    if let Err(wait) = api.throttle().attempt(&key, api.clock.monotonic()) {
        let message = "too many attempts to log in as this user";
        let seconds = wait.as_secs() + 1;
        return Err(Problem::new(Code::TooMany, message)
            .hint(format!("wait {seconds} seconds, then try again"))
            .into());
    }
    let user = match name.parse::<Username>() {
        Ok(name) => api.records.get::<User>(&user_key(&name)).await?,
        Err(_) => None,
    };
    let hash = user.as_ref().map(|user| user.value.password_hash.as_str());
    if !api.passwords().verify(password, hash).await {
        return Err(wrong());
    }
    api.throttle().succeeded(&key);
    user.ok_or_else(wrong)
}

/// Stores a login's token. Beyond the limit the user's oldest login goes, so that nobody locks themselves out.
async fn store_session(api: &Api, user: &Username, session: &NewSession) -> Answer<()> {
    let tokens = tokens_of(api, user).await?;
    let mut write = Write::new().create(&session.token);
    if tokens.len() >= super::tokens::MAX_TOKENS {
        let logins = tokens
            .iter()
            .filter(|token| token.value.scope == Scope::Full && token.value.expires.is_none());
        if let Some(oldest) = logins.min_by_key(|token| token.value.created) {
            write = write.delete(&oldest.value, oldest.revision);
        }
    }
    api.records.commit(write).await?;
    Ok(())
}

/// Ends the token in use.
#[utoipa::path(post, path = "/v1/auth/logout", responses((status = 204)))]
async fn logout(State(api): State<Api>, allowed: Allowed) -> Answer<StatusCode> {
    let Some(token) = &allowed.caller.token else { return Ok(StatusCode::NO_CONTENT) };
    super::tokens::revoke(&api, token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whose token it is.
#[utoipa::path(get, path = "/v1/auth/whoami", responses((status = 200, body = Whoami)))]
async fn whoami(State(api): State<Api>, allowed: Allowed) -> Answer<Json<Whoami>> {
    let user = user_named(&api, allowed.user()?).await?.value;
    let scope = match allowed.caller.actor {
        Actor::User { scope, .. } => scope_name(scope),
        Actor::Anonymous => "",
    };
    Ok(Json(Whoami {
        username: user.name.to_string(),
        email: user.email,
        is_admin: user.is_admin,
        scope: scope.to_owned(),
    }))
}

/// Changes a password and revokes the user's other tokens.
#[utoipa::path(post, path = "/v1/auth/passwd", request_body = PasswordChange,
    responses((status = 204)))]
async fn passwd(
    State(api): State<Api>,
    allowed: Allowed,
    Body(change): Body<PasswordChange>,
) -> Answer<StatusCode> {
    let own = allowed.user()?.clone();
    check_password(&change.new)?;
    let whose: Username =
        if change.username.is_empty() { own.clone() } else { change.username.parse()? };
    if whose == own {
        check_login(&api, own.as_str(), &change.current).await?;
    } else {
        allowed.require(Right::Administer)?;
    }
    let password_hash = api.passwords().hash(&change.new).await;
    let kept = allowed.caller.token.as_ref().map(|token| token.id.as_str());
    for _ in 0..WRITE_ATTEMPTS {
        let user = user_named(&api, &whose).await?;
        let changed = User { password_hash: password_hash.clone(), ..user.value };
        let mut tokens = tokens_of(&api, &whose).await?;
        tokens.retain(|token| Some(token.value.id.as_str()) != kept);
        let write = delete_all(Write::new().replace(&changed, user.revision), &tokens);
        match api.records.commit(write).await {
            Ok(_) => return Ok(StatusCode::NO_CONTENT),
            Err(CommitError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::Conflict)
}

/// A user there must be.
pub(super) async fn user_named(api: &Api, name: &Username) -> Answer<Versioned<User>> {
    let user = api.records.get::<User>(&user_key(name)).await?;
    user.ok_or_else(|| {
        Problem::new(Code::NotFound, format!("there is no user `{name}`"))
            .hint("names are told apart by case")
            .into()
    })
}
