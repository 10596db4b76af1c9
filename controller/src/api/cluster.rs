//! The cluster's state, for administrators.

use axum::Json;
use axum::extract::State;
use model::node::Node;
use model::route::{ROUTER_LOST_AFTER_MS, RouterStatus};
use model::snapshot::Snapshot;
use model::time::Time;
use proto::api::{Cluster, NodeInfo, RouterInfo};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Allowed;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(show))
}

/// Shows nodes, routers and what is waited for.
#[utoipa::path(get, path = "/v1/cluster", responses((status = 200, body = Cluster)))]
async fn show(State(api): State<Api>, _: Allowed) -> Json<Cluster> {
    let view = api.view.borrow().clone();
    let snapshot = &view.snapshot;
    let now = view.as_of;
    let waiting = view.waiting.iter().map(|waiting| format!("{}: {}", waiting.app, waiting.reason));
    Json(Cluster {
        version: api.platform.version.clone(),
        nodes: snapshot.nodes.values().map(|node| node_info(snapshot, node, now)).collect(),
        routers: snapshot
            .routers
            .iter()
            .map(|(node, router)| RouterInfo {
                node: node.to_string(),
                state: router_state(snapshot, router, now).to_owned(),
                version: router.version,
            })
            .collect(),
        apps: count(snapshot.apps.len()),
        units: count(snapshot.units.len()),
        waiting: waiting.collect(),
    })
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn node_info(snapshot: &Snapshot, node: &Node, now: Time) -> NodeInfo {
    let state = match &node.trouble {
        _ if node.is_placeable(now) => "ready",
        Some(trouble) => trouble,
        None => "silent",
    };
    let here = snapshot.units.values().filter(|unit| unit.value.node == node.name);
    NodeInfo {
        name: node.name.to_string(),
        state: state.to_owned(),
        memory_bytes: node.memory_bytes,
        reserved_bytes: snapshot.reserved_bytes(&node.name),
        units: count(here.count()),
        disk_free_bytes: node.disk_free_bytes,
    }
}

fn router_state(snapshot: &Snapshot, router: &RouterStatus, now: Time) -> &'static str {
    if now.since_ms(router.heard) >= ROUTER_LOST_AFTER_MS {
        "silent"
    } else if router.version < snapshot.table_version {
        "behind"
    } else {
        "ready"
    }
}
