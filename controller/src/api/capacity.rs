//! What the cluster would survive, and what a change would do to it: looked at before it happens.

use axum::Json;
use axum::extract::State;
use model::app::{App, Class};
use model::snapshot::{Snapshot, Versioned};
use model::time::Time;
use model::unit::Unit;
use proto::api::{Capacity, LossInfo, PlannedUnit, ScalePlan};
use proto::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Allowed;
use crate::change::Next;
use crate::plan::Rules;
use crate::plan::imagine::{Loss, beyond_the_reserve, losses, outlook};
use crate::platform::Reserve;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(show))
}

/// Shows what would wait after each loss of a node or two.
#[utoipa::path(get, path = "/v1/cluster/capacity", responses((status = 200, body = Capacity)))]
async fn show(State(api): State<Api>, _: Allowed) -> Json<Capacity> {
    let snapshot = api.view.borrow().snapshot.clone();
    let losses = losses(&snapshot, &rules(&api), Time(api.clock.now_ms()));
    Json(Capacity { losses: losses.iter().map(loss_info).collect() })
}

fn loss_info(loss: &Loss) -> LossInfo {
    let names = |class| loss.apps(class).into_iter().map(ToString::to_string);
    LossInfo {
        nodes: loss.nodes.iter().map(ToString::to_string).collect(),
        production: names(Class::Production).collect(),
        others: names(Class::Standard).chain(names(Class::Preview)).collect(),
    }
}

fn rules(api: &Api) -> Rules {
    Rules { default_memory_bytes: api.platform.default_memory_bytes }
}

/// The world as last seen, with this app as it shall be.
fn imagined(api: &Api, app: &App) -> Snapshot {
    let mut snapshot = Snapshot::clone(&api.view.borrow().snapshot);
    let document = Versioned { value: app.clone(), revision: 0 };
    snapshot.apps.insert(app.name.clone(), document);
    snapshot
}

/// What a change would do.
pub(super) fn foretell(api: &Api, app: &App) -> ScalePlan {
    let (snapshot, now) = (imagined(api, app), Time(api.clock.now_ms()));
    let outlook = outlook(&snapshot, &rules(api), now);
    let units = |units: &[Unit]| units.iter().map(planned).collect();
    let waits = outlook.waiting.iter();
    ScalePlan {
        starts: units(&outlook.starts),
        stops: units(&outlook.stops),
        preempts: units(&outlook.preempted),
        waits: waits.map(|waiting| format!("{} {}", waiting.app, waiting.reason)).collect(),
        beyond_reserve: beyond_the_reserve(&snapshot, &app.name, &rules(api), now)
            .map(|loss| said(app, &loss)),
    }
}

fn planned(unit: &Unit) -> PlannedUnit {
    PlannedUnit {
        app: unit.app.to_string(),
        name: unit.display_name(),
        node: unit.node.to_string(),
    }
}

fn said(app: &App, loss: &Loss) -> String {
    let nodes: Vec<&str> = loss.nodes.iter().map(|node| node.as_str()).collect();
    let of_app = loss.waiting.iter().find(|(_, waiting)| waiting.app == app.name);
    let reason = of_app.map(|(_, waiting)| waiting.reason.as_str()).unwrap_or_default();
    format!("if {} is lost, {reason}", nodes.join(" and "))
}

/// Refuses what a production app would not survive the loss of a node with, or says so in its log, as the cluster's policy is.
pub(super) fn keep_the_reserve(api: &Api, next: &Next) -> Result<(), Problem> {
    let snapshot = imagined(api, &next.app);
    // Two nodes cannot hold one in reserve without standing half empty.
    if snapshot.nodes.len() < 3 {
        return Ok(());
    }
    let now = Time(api.clock.now_ms());
    let Some(loss) = beyond_the_reserve(&snapshot, &next.app.name, &rules(api), now) else {
        return Ok(());
    };
    let said = said(&next.app, &loss);
    match api.platform.reserve {
        Reserve::Warn => {
            api.logs.say(&next.app.name, format!("beyond the reserve: {said}"));
            Ok(())
        }
        Reserve::Refuse => Err(Problem::new(Code::NoRoom, format!("beyond the reserve: {said}"))
            .hint("add a node, ask for less, or see `clusterctl capacity`")),
    }
}
