//! Where an app's units may run, and what goes first when there is not room for all.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use model::account::Right;
use model::app::{App, Class};
use model::name::ProcessType;
use proto::api::{self, AppClass, Change, Placement, ScalePlan, ScaleRequest, TypePlacement};
use proto::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::AppAccess;
use super::answer::{Answer, Body};
use super::capacity::foretell;
use super::changing::{Changed, change, current_release, edit};
use super::processes::counts;
use crate::change::scale::{PlacementPatch, scale, set_placement};
use crate::change::{Asked, Refusal};

/// The longest name or value of a tag.
const MAX_TAG_BYTES: usize = 63;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(show, patch))
        .routes(routes!(set_class))
        .routes(routes!(plan))
}

/// Shows the app's class and where its types may run.
#[utoipa::path(get, path = "/v1/apps/{app}/placement", responses((status = 200, body = Placement)))]
async fn show(access: AppAccess) -> Json<Placement> {
    Json(placement(&access.app.value))
}

fn placement(app: &App) -> Placement {
    let types = app.formation.iter().map(|(process, scale)| {
        let own = TypePlacement { tags: scale.tags.clone(), exclusive: scale.exclusive };
        (process.to_string(), own)
    });
    Placement { class: class_word(app.class).to_owned(), types: types.collect() }
}

/// Changes which labels types ask for, and which are exclusive. Their units are replaced.
#[utoipa::path(patch, path = "/v1/apps/{app}/placement", request_body = api::PlacementPatch,
    responses((status = 202, body = Change)))]
async fn patch(
    State(api): State<Api>,
    access: AppAccess,
    Body(request): Body<api::PlacementPatch>,
) -> Answer<Changed> {
    let mut patches: BTreeMap<ProcessType, PlacementPatch> = BTreeMap::new();
    for (process, patch) in request.types {
        for (label, value) in &patch.tags {
            check_word(label)?;
            value.as_deref().map_or(Ok(()), check_word)?;
        }
        let patch = PlacementPatch { tags: patch.tags, exclusive: patch.exclusive };
        patches.insert(process.parse()?, patch);
    }
    let names: Vec<&str> = patches.keys().map(ProcessType::as_str).collect();
    let event = format!("placement changed: {},", names.join(", "));
    change(&api, access, &event, |asked| Ok(set_placement(asked, &patches)?)).await
}

fn check_word(word: &str) -> Result<(), Refusal> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    match (1..=MAX_TAG_BYTES).contains(&word.len()) && word.bytes().all(is_plain) {
        true => Ok(()),
        false => Err(Refusal::Value {
            what: "the tag".to_owned(),
            given: word.chars().take(80).collect(),
            rule: "must be 1 to 63 letters, digits, `-`, `_`, `.` or `/`",
        }),
    }
}

fn class_word(class: Class) -> &'static str {
    match class {
        Class::Production => "production",
        Class::Standard => "standard",
        Class::Preview => "preview",
    }
}

/// Sets the app's class. Only an administrator makes an app a production one: it may stop the units of all others.
#[utoipa::path(put, path = "/v1/apps/{app}/class", request_body = AppClass,
    responses((status = 200, body = Placement)))]
async fn set_class(
    State(api): State<Api>,
    mut access: AppAccess,
    Body(wanted): Body<AppClass>,
) -> Answer<Json<Placement>> {
    let classes = [Class::Production, Class::Standard, Class::Preview];
    let class = classes.into_iter().find(|class| class_word(*class) == wanted.class);
    let class = class.ok_or_else(|| {
        let shown: String = wanted.class.chars().take(80).collect();
        Problem::new(Code::Invalid, format!("there is no class `{shown}`"))
            .hint("it is `production`, `standard` or `preview`")
    })?;
    if class == Class::Production {
        access.require(Right::Administer)?;
    }
    let changed = edit(&api, &mut access, |app| {
        app.class = class;
        Ok(())
    })
    .await?;
    if changed {
        api.logs.say(access.name(), format!("class {} by {}", wanted.class, access.user()));
    }
    Ok(Json(placement(&access.app.value)))
}

/// Tells what scaling would do. Nothing is changed.
#[utoipa::path(post, path = "/v1/apps/{app}/scale/plan", request_body = ScaleRequest,
    responses((status = 200, body = ScalePlan)))]
async fn plan(
    State(api): State<Api>,
    access: AppAccess,
    Body(request): Body<ScaleRequest>,
) -> Answer<Json<ScalePlan>> {
    let counts = counts(&request)?;
    let current = current_release(&api, &access.app.value).await?;
    let asked = Asked {
        app: &access.app.value,
        current: current.as_ref(),
        by: access.user(),
        now: model::time::Time(api.clock.now_ms()),
    };
    let next = scale(asked, &counts)?;
    let app = next.map_or_else(|| access.app.value.clone(), |next| next.app);
    Ok(Json(foretell(&api, &app)))
}
