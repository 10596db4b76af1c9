//! The store when most of its members are gone: what the one here remembers of them, and the cluster's going on without them.

use axum::Json;
use axum::extract::State;
use model::name::NodeName;
use model::node::NodeSpec;
use model::time::Time;
use proto::api::{Recovered, Recovery, StoreInfo, StoreMember};
use proto::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Allowed;
use super::answer::{Answer, Body, Failure};
use super::nodes::take_out;
use crate::incarnation::{self, Begun, LifeError};
use crate::membership;
use crate::records::Document;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(recover))
}

/// Shows the members of the store, with or without a quorum.
#[utoipa::path(get, path = "/v1/cluster/store", responses((status = 200, body = StoreInfo)))]
async fn show(State(api): State<Api>, _: Allowed) -> Answer<Json<StoreInfo>> {
    let lasts = api.records.doubt().lasts();
    Ok(Json(StoreInfo {
        without_quorum_ms: lasts.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX)),
        members: members(&api).await?,
    }))
}

/// Goes on without the nodes that are gone: they are taken out, and the store begins another life, in which nothing of theirs is
/// obeyed. Safe to repeat.
#[utoipa::path(post, path = "/v1/cluster/recovery", request_body = Recovery,
    responses((status = 200, body = Recovered)))]
async fn recover(
    State(api): State<Api>,
    _: Allowed,
    Body(recovery): Body<Recovery>,
) -> Answer<Json<Recovered>> {
    if members(&api).await?.iter().any(|member| !member.is_here) {
        let message = "the store still counts on other members";
        let hint = "`clusterctl recover` on this node makes it go on alone";
        return Err(Problem::new(Code::Busy, message).hint(hint).into());
    }
    for name in &recovery.dead {
        // One that never came into the cluster has nothing to be let go of.
        let Ok(name) = name.parse::<NodeName>() else { continue };
        let key = format!("{}{name}", NodeSpec::PREFIX);
        if let Some(known) = api.records.get_now::<NodeSpec>(&key).await? {
            take_out(&api, &known).await?;
        }
    }
    // The last: this controller begins anew as soon as it sees it.
    let Recovery { operation, story, .. } = recovery;
    let begun = Begun { operation, story, at: Time(api.clock.now_ms()) };
    let began = incarnation::begin(&api.records, &Default::default(), begun).await;
    let incarnation = began.map_err(|error| match error {
        LifeError::Read(error) => Failure::from(error),
        LifeError::Commit(error) => Failure::from(error),
    })?;
    tracing::warn!(%incarnation, dead = ?recovery.dead, "the cluster was recovered");
    Ok(Json(Recovered { incarnation: incarnation.to_string() }))
}

async fn members(api: &Api) -> Answer<Vec<StoreMember>> {
    let members = api.members.as_ref().ok_or_else(|| {
        Problem::new(Code::Unsupported, "this cluster keeps its memory on one machine alone")
            .hint("there are no other members that could be lost")
    })?;
    let nodes = api.records.all::<NodeSpec>().await?;
    membership::remembered(members, &nodes).await.map_err(|error| {
        tracing::warn!(%error, "the members of the store are not known");
        Problem::new(Code::Unavailable, "the member of the store on this node does not answer")
            .hint("see `clusterctl status` and `clusterctl logs etcd`")
            .into()
    })
}
