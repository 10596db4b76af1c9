//! Who asks, and whether they may: the table of endpoints and the proofs handlers ask for.
//!
//! Each endpoint's right stands once, in [`ENDPOINTS`]. A handler takes [`Allowed`] or [`AppAccess`]:
//! both look the right up, ask `model::account::authorize`, and exist only when it said yes.

mod endpoints;
pub use endpoints::{ENDPOINTS, Endpoint};

use std::sync::{Arc, OnceLock};

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use model::account::{Actor, Denied, Permit, Resource, Right, Scope, Token, User, authorize};
use model::app::App;
use model::name::{AppName, Username};
use model::snapshot::Versioned;
use model::time::Time;
use proto::problem::{Code, Problem};

use super::Api;
use super::answer::Failure;
use crate::accounts::secret;
use crate::records::{Document, RegistrationDoor, user_key};

/// How `clusterctl` is called: it shows the operator's token.
const OPERATOR: &str = "operator";

/// Filled in once the caller is known, for the request's log line.
pub(super) type Known = Arc<OnceLock<Username>>;

/// Who asks, and the right the endpoint needs.
pub(super) struct Caller {
    pub(super) actor: Actor,
    /// The token in use.
    pub(super) token: Option<Token>,
    right: Right,
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Caller, Failure> {
        let right = right_of(parts)?;
        if bearer(parts).is_some_and(|bearer| secret::hash(bearer) == api.0.operator_hash) {
            let name = OPERATOR.parse().expect("it is written as names must be");
            let actor = Actor::User { name, is_admin: true, scope: Scope::Full };
            return Ok(Caller { actor, token: None, right });
        }
        let Some((user, token)) = identify(parts, api).await? else {
            return Ok(Caller { actor: Actor::Anonymous, token: None, right });
        };
        if let Some(known) = parts.extensions.get::<Known>() {
            let _ = known.set(user.name.clone());
        }
        let actor = Actor::User { name: user.name, is_admin: user.is_admin, scope: token.scope };
        Ok(Caller { actor, token: Some(token), right })
    }
}

fn right_of(parts: &Parts) -> Result<Right, Failure> {
    let path = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    let endpoint = ENDPOINTS
        .iter()
        .find(|endpoint| Some(endpoint.path) == path && parts.method.as_str() == endpoint.method);
    // Refusing is right for what the table does not list; a test compares it with the routes.
    endpoint.map(|endpoint| endpoint.right).ok_or_else(|| {
        Failure::internal("find the endpoint's right", &"the endpoint is not in the table")
    })
}

fn bearer(parts: &Parts) -> Option<&str> {
    let header = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, bearer) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(bearer.trim())
}

async fn identify(parts: &Parts, api: &Api) -> Result<Option<(User, Token)>, Failure> {
    let Some(bearer) = bearer(parts) else { return Ok(None) };
    let key = format!("{}{}", Token::PREFIX, secret::hash(bearer));
    let Some(token) = api.records.get::<Token>(&key).await? else { return Ok(None) };
    let token = token.value;
    if token.expires.is_some_and(|expires| expires <= Time(api.clock.now_ms())) {
        return Ok(None);
    }
    let user = api.records.get::<User>(&user_key(&token.user)).await?;
    // A token that is older than the account was of another one of that name.
    let user = user.filter(|user| user.value.created <= token.created);
    Ok(user.map(|user| (user.value, token)))
}

/// Permission for something that is not about one app.
pub(super) struct Allowed {
    /// The proof.
    pub(super) permit: Permit,
    /// Who asked.
    pub(super) caller: Caller,
}

impl FromRequestParts<Api> for Allowed {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Allowed, Failure> {
        let caller = Caller::from_request_parts(parts, api).await?;
        let registration_open = match caller.right {
            Right::Register => is_registration_open(api).await?,
            Right::Public
            | Right::SeeSelf
            | Right::ChangeSelf
            | Right::CreateApp
            | Right::ListApps
            | Right::SeeApp
            | Right::SeeSecrets
            | Right::OperateApp
            | Right::RunInApp
            | Right::OwnApp
            | Right::Administer => false,
        };
        let resource = Resource::Platform { registration_open };
        let permit = authorize(&caller.actor, caller.right, resource)?;
        Ok(Allowed { permit, caller })
    }
}

impl Allowed {
    /// Asks for a further right of the platform.
    pub(super) fn require(&self, right: Right) -> Result<Permit, Failure> {
        let platform = Resource::Platform { registration_open: false };
        Ok(authorize(&self.caller.actor, right, platform)?)
    }

    /// Who was permitted. Endpoints for nobody in particular do not call it.
    pub(super) fn user(&self) -> Result<&Username, Failure> {
        self.permit.user().ok_or_else(|| Failure::from(Denied::LoginNeeded))
    }
}

/// Whether anybody may register now: by setting, or because there is no user yet.
pub(super) async fn is_registration_open(api: &Api) -> Result<bool, Failure> {
    let door = api.records.get::<RegistrationDoor>(RegistrationDoor::PREFIX).await?;
    Ok(door.is_none_or(|door| door.value.open))
}

/// Permission for something about one app. The app is as it was when the permission was given.
pub(super) struct AppAccess {
    api: Api,
    caller: Caller,
    name: String,
    /// The proof.
    pub(super) permit: Permit,
    /// The app as it was read.
    pub(super) app: Versioned<App>,
}

impl FromRequestParts<Api> for AppAccess {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<AppAccess, Failure> {
        let caller = Caller::from_request_parts(parts, api).await?;
        let access = AppAccess::new(parts, api, caller).await?;
        match access.app.value.destroyed {
            Some(_) => Err(no_such_app(&access.name).into()),
            None => Ok(access),
        }
    }
}

/// As [`AppAccess`], also to an app that is being destroyed: for those who follow its end.
pub(super) struct FollowAccess(pub(super) AppAccess);

impl FromRequestParts<Api> for FollowAccess {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<FollowAccess, Failure> {
        let caller = Caller::from_request_parts(parts, api).await?;
        Ok(FollowAccess(AppAccess::new(parts, api, caller).await?))
    }
}

impl AppAccess {
    async fn new(parts: &mut Parts, api: &Api, caller: Caller) -> Result<AppAccess, Failure> {
        let name = path_parameter(parts, api, "app").await?;
        let (app, permit) = enter(api, &caller, &name).await?;
        Ok(AppAccess { api: api.clone(), caller, name, permit, app })
    }

    /// Reads the app anew and asks again: for another try after a lost race.
    pub(super) async fn again(&mut self) -> Result<(), Failure> {
        (self.app, self.permit) = enter(&self.api, &self.caller, &self.name).await?;
        match self.app.value.destroyed {
            Some(_) => Err(no_such_app(&self.name).into()),
            None => Ok(()),
        }
    }

    /// Asks for a further right on the app.
    pub(super) fn require(&self, right: Right) -> Result<Permit, Failure> {
        Ok(authorize(&self.caller.actor, right, Resource::App(&self.app.value))?)
    }

    /// The app's name.
    pub(super) fn name(&self) -> &AppName {
        &self.app.value.name
    }

    /// When the app was created.
    pub(super) fn created(&self) -> Time {
        self.app.value.created
    }

    /// Who was permitted.
    pub(super) fn user(&self) -> &Username {
        self.permit.user().expect("every right on an app needs a user")
    }
}

/// An app that may not be known of answers as one that does not exist.
async fn enter(
    api: &Api,
    caller: &Caller,
    name: &str,
) -> Result<(Versioned<App>, Permit), Failure> {
    if caller.actor == Actor::Anonymous {
        return Err(Denied::LoginNeeded.into());
    }
    let app = match name.parse::<AppName>() {
        Ok(parsed) => api.records.app(&parsed).await?,
        Err(_) => None,
    };
    let visible = app
        .filter(|app| authorize(&caller.actor, Right::SeeApp, Resource::App(&app.value)).is_ok());
    let app = visible.ok_or_else(|| no_such_app(name))?;
    let permit = authorize(&caller.actor, caller.right, Resource::App(&app.value))?;
    Ok((app, permit))
}

/// The answer for an app that does not exist, or that the caller may not know of.
pub(crate) fn no_such_app(name: &str) -> Problem {
    let shown: String = name.chars().take(80).collect();
    Problem::new(Code::NotFound, format!("there is no app `{shown}`"))
        .hint("`paasctl apps` lists the apps you may see")
}

async fn path_parameter(parts: &mut Parts, api: &Api, wanted: &str) -> Result<String, Failure> {
    // Not text, so no app's name.
    let not_text = |_| no_such_app("?");
    let parameters = RawPathParams::from_request_parts(parts, api).await.map_err(not_text)?;
    let found = parameters.iter().find(|(name, _)| *name == wanted);
    found
        .map(|(_, value)| value.to_owned())
        .ok_or_else(|| Failure::internal("read the path", &"it has no such parameter"))
}
