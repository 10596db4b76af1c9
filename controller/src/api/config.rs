//! Configuration: variables by name, their values for those who may see them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Query, State};
use model::account::Right;
use model::name::EnvKey;
use model::release::Release;
use proto::api::{Change, Config, ConfigPatch};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::AppAccess;
use super::answer::{Answer, Body};
use super::changing::{Changed, change, current_release};
use crate::change::config::{configure, difference};
use crate::seal::{Seal, SealError};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(show, patch))
}

/// A release's variables, opened. Secret.
pub(crate) fn open(
    seal: &Seal,
    release: Option<&Release>,
) -> Result<BTreeMap<EnvKey, String>, SealError> {
    let Some(release) = release else { return Ok(BTreeMap::new()) };
    let opened = release.config.iter().map(|(key, sealed)| {
        let value = seal.open_text(&format!("{}/{key}", release.app), sealed)?;
        Ok((key.clone(), value))
    });
    opened.collect()
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Reveal {
    /// Show values.
    #[serde(default)]
    reveal: bool,
}

/// Shows the variables of the release in force.
#[utoipa::path(get, path = "/v1/apps/{app}/config", params(Reveal),
    responses((status = 200, body = Config)))]
async fn show(
    State(api): State<Api>,
    access: AppAccess,
    Query(query): Query<Reveal>,
) -> Answer<Json<Config>> {
    if query.reveal {
        access.require(Right::SeeSecrets)?;
    }
    let current = current_release(&api, &access.app.value).await?;
    let values = match query.reveal {
        true => open(&api.seal, current.as_ref())?
            .into_iter()
            .map(|(key, value)| (key.to_string(), Some(value)))
            .collect(),
        false => {
            let keys = current.iter().flat_map(|release| release.config.keys());
            keys.map(|key| (key.to_string(), None)).collect()
        }
    };
    Ok(Json(Config { values }))
}

/// Sets and unsets variables.
#[utoipa::path(patch, path = "/v1/apps/{app}/config", request_body = ConfigPatch,
    responses((status = 202, body = Change)))]
async fn patch(
    State(api): State<Api>,
    access: AppAccess,
    Body(patch): Body<ConfigPatch>,
) -> Answer<Changed> {
    let seal = &api.seal;
    change(&api, access, "configured", |asked| {
        let now = open(seal, asked.current)?;
        let difference = difference(&now, &patch.set, &patch.unset)?;
        let app = &asked.app.name;
        let sealed =
            difference.map(|key, value| seal.seal(&format!("{app}/{key}"), value.as_bytes()));
        Ok(configure(asked, sealed)?)
    })
    .await
}
