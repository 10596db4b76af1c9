//! The nodes of the cluster, for administrators: how they are, their labels and duty, and the end of one.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use model::app::App;
use model::name::NodeName;
use model::node::{Duty, NodeSpec};
use model::snapshot::{Snapshot, Versioned};
use model::standing::{Standing, standing};
use model::time::Time;
use model::unit::Unit;
use proto::api::{NodeAddresses, NodeChange, NodeDetail};
use proto::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Allowed;
use super::answer::{Answer, Body, Failure, WRITE_ATTEMPTS, rfc3339};
use crate::membership;
use crate::records::{CommitError, Document, Write};

/// Labels are for choosing nodes, not for keeping data.
const MAX_LABELS: usize = 32;
const MAX_LABEL_CHARS: usize = 63;
/// Documents of units deleted in one transaction.
const GROUP: usize = 60;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show, change, remove))
}

/// Lists the nodes.
#[utoipa::path(get, path = "/v1/nodes", responses((status = 200, body = Vec<NodeDetail>)))]
async fn list(State(api): State<Api>, _: Allowed) -> Answer<Json<Vec<NodeDetail>>> {
    let specs = api.records.all::<NodeSpec>().await?;
    let view = api.view.borrow();
    let (snapshot, now) = (&view.snapshot, view.as_of);
    let members = specs.iter().filter(|spec| spec.value.is_member());
    Ok(Json(members.map(|spec| detail(&spec.value, snapshot, now)).collect()))
}

/// Shows one node.
#[utoipa::path(get, path = "/v1/nodes/{node}", responses((status = 200, body = NodeDetail)))]
async fn show(
    State(api): State<Api>,
    _: Allowed,
    Path(node): Path<String>,
) -> Answer<Json<NodeDetail>> {
    let spec = find(&api, &node).await?;
    Ok(Json(shown(&api, &spec.value)))
}

/// Sets labels and duty.
#[utoipa::path(patch, path = "/v1/nodes/{node}", request_body = NodeChange,
    responses((status = 200, body = NodeDetail)))]
async fn change(
    State(api): State<Api>,
    _: Allowed,
    Path(node): Path<String>,
    Body(change): Body<NodeChange>,
) -> Answer<Json<NodeDetail>> {
    for _ in 0..WRITE_ATTEMPTS {
        let known = find(&api, &node).await?;
        let spec = changed(&known.value, &change, Time(api.clock.now_ms()))?;
        if spec != known.value {
            match api.records.commit(Write::new().replace(&spec, known.revision)).await {
                Ok(_) => api.wake.kick(),
                Err(CommitError::Conflict) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        return Ok(Json(shown(&api, &spec)));
    }
    Err(Failure::Conflict)
}

/// Takes a node out of the cluster: one that is drained, or one that is lost.
#[utoipa::path(delete, path = "/v1/nodes/{node}", responses((status = 204)))]
async fn remove(
    State(api): State<Api>,
    _: Allowed,
    Path(node): Path<String>,
) -> Answer<StatusCode> {
    let known = find(&api, &node).await?;
    let name = &known.value.name;
    let units = units_on(&api, name).await?;
    let is_lost = {
        let view = api.view.borrow();
        standing(&view.snapshot, name, view.as_of).is_lost()
    };
    if !is_lost && !units.is_empty() {
        let message = format!("node `{name}` is alive and runs {} units", units.len());
        let hint = format!("first `clusterctl drain {name}`, and wait until it runs none");
        return Err(Problem::new(Code::Busy, message).hint(hint).into());
    }
    refuse_with_volumes(&api, &known.value).await?;
    // First what etcd may refuse, so that nothing is half done then.
    if let Some(members) = &api.members
        && let Err(error) = membership::dismiss(members, &known.value).await
    {
        tracing::warn!(node = %name, %error, "its member of the store was not taken out");
        let message = "the store cannot let go of a member now; nothing was changed";
        let hint = "most of its members must be well: see `clusterctl nodes`";
        return Err(Problem::new(Code::Unavailable, message).hint(hint).into());
    }
    take_out(&api, &known).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Data is given up by those whose it is, never with a machine. Who destroyed an app has done so.
async fn refuse_with_volumes(api: &Api, spec: &NodeSpec) -> Answer<()> {
    let apps = api.records.all::<App>().await?;
    let apps = apps.iter().filter(|app| app.value.destroyed.is_none());
    let volumes = apps.flat_map(|app| {
        let here = app.value.volumes.iter().filter(|(_, volume)| volume.is_on(spec));
        here.map(|(volume, _)| format!("{} {volume}", app.value.name))
    });
    let volumes: Vec<String> = volumes.collect();
    if volumes.is_empty() {
        return Ok(());
    }
    let message = format!(
        "node `{}` has the only copy of volumes: {} (each by its app and name)",
        spec.name,
        volumes.join(", ")
    );
    Err(Problem::new(Code::InUse, message)
        .hint("save what is needed, then for each `paasctl volumes:unmount` and `paasctl volumes:destroy`; nothing was changed")
        .into())
}

/// Makes a node no member of the cluster, and lets go of its units.
pub(super) async fn take_out(api: &Api, known: &Versioned<NodeSpec>) -> Answer<()> {
    let name = &known.value.name;
    if known.value.is_member() {
        let duty = Duty::Removed { at: Time(api.clock.now_ms()) };
        let spec = NodeSpec { duty, ..known.value.clone() };
        api.records.commit(Write::new().replace(&spec, known.revision)).await?;
        tracing::info!(node = %name, "removed from the cluster");
    }
    for group in units_on(api, name).await?.chunks(GROUP) {
        let write =
            group.iter().fold(Write::new(), |write, unit| write.delete(&unit.value, unit.revision));
        match api.records.commit(write).await {
            // The planner is at the same work.
            Ok(_) | Err(CommitError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    api.wake.kick();
    Ok(())
}

async fn find(api: &Api, node: &str) -> Answer<Versioned<NodeSpec>> {
    let known = match node.parse::<NodeName>() {
        Ok(name) => api.records.get::<NodeSpec>(&format!("{}{name}", NodeSpec::PREFIX)).await?,
        Err(_) => None,
    };
    known.filter(|spec| spec.value.is_member()).ok_or_else(|| {
        let shown: String = node.chars().take(80).collect();
        Problem::new(Code::NotFound, format!("the cluster has no node `{shown}`"))
            .hint("`clusterctl nodes` lists them")
            .into()
    })
}

async fn units_on(api: &Api, node: &NodeName) -> Answer<Vec<Versioned<Unit>>> {
    let mut units = api.records.all::<Unit>().await?;
    units.retain(|unit| unit.value.node == *node);
    Ok(units)
}

fn changed(known: &NodeSpec, change: &NodeChange, now: Time) -> Answer<NodeSpec> {
    let mut spec = known.clone();
    for (label, value) in &change.labels {
        let is_sane = |text: &str| {
            !text.is_empty()
                && text.chars().count() <= MAX_LABEL_CHARS
                && text.chars().all(|sign| sign.is_ascii_alphanumeric() || "-_./".contains(sign))
        };
        if !is_sane(label) || !value.as_deref().is_none_or(is_sane) {
            return Err(Failure::invalid(
                "labels and their values have 1 to 63 letters, digits, `-`, `_`, `.` or `/`",
            ));
        }
        match value {
            Some(value) => spec.labels.insert(label.clone(), value.clone()),
            None => spec.labels.remove(label),
        };
    }
    if spec.labels.len() > MAX_LABELS {
        return Err(Failure::invalid(format!("a node has at most {MAX_LABELS} labels")));
    }
    match change.duty.as_deref() {
        None => {}
        Some("open") => spec.duty = Duty::Open,
        Some("cordoned") => spec.duty = Duty::Cordoned,
        Some("draining") if matches!(spec.duty, Duty::Draining { .. }) => {}
        Some("draining") => spec.duty = Duty::Draining { since: now },
        Some(_) => {
            return Err(Failure::invalid("a node's duty is `open`, `cordoned` or `draining`"));
        }
    }
    Ok(spec)
}

fn shown(api: &Api, spec: &NodeSpec) -> NodeDetail {
    let view = api.view.borrow();
    detail(spec, &view.snapshot, view.as_of)
}

fn detail(spec: &NodeSpec, snapshot: &Snapshot, now: Time) -> NodeDetail {
    let node = snapshot.nodes.get(&spec.name);
    let state = match (standing(snapshot, &spec.name, now), node) {
        (_, None) => "silent",
        (Standing::Lost { .. }, _) => "lost",
        (Standing::Suspect, _) => "suspect",
        (Standing::Here, Some(node)) => node.trouble.as_deref().unwrap_or("ready"),
    };
    let duty = match spec.duty {
        Duty::Open => "open",
        Duty::Cordoned => "cordoned",
        Duty::Draining { .. } => "draining",
        Duty::Removed { .. } => "removed",
    };
    let here = snapshot.units.values().filter(|unit| unit.value.node == spec.name).count();
    let addresses = spec.addresses.clone();
    NodeDetail {
        name: spec.name.to_string(),
        state: state.to_owned(),
        duty: duty.to_owned(),
        control: addresses.gateway.is_some(),
        labels: spec.labels.clone(),
        addresses: NodeAddresses {
            agent: addresses.agent,
            logger: addresses.logger,
            registry: addresses.registry,
            gateway: addresses.gateway,
        },
        joined: rfc3339(spec.joined),
        heard_ms_ago: node.map(|node| now.since_ms(node.heard)),
        memory_bytes: node.map_or(0, |node| node.memory_bytes),
        reserved_bytes: snapshot.reserved_bytes(&spec.name),
        cpu_millis: node.map_or(0, |node| node.cpu_millis),
        disk_free_bytes: node.map_or(0, |node| node.disk_free_bytes),
        version: node.map_or_else(String::new, |node| node.version.clone()),
        clock_ahead_ms: node.map_or(0, |node| node.clock_ahead_ms),
        units: u32::try_from(here).unwrap_or(u32::MAX),
        left_running: node
            .iter()
            .flat_map(|node| &node.left_running)
            .map(|(unit, until)| (unit.to_string(), rfc3339(*until)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::node::Addresses;

    use super::*;

    fn spec() -> NodeSpec {
        NodeSpec {
            name: "n1".parse().unwrap(),
            addresses: Addresses::default(),
            labels: BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]),
            duty: Duty::Open,
            joined: Time(1),
            admission: String::new(),
        }
    }

    fn duty(known: &NodeSpec, duty: &str, now: u64) -> NodeSpec {
        let change = NodeChange { duty: Some(duty.to_owned()), ..NodeChange::default() };
        changed(known, &change, Time(now)).unwrap()
    }

    #[test]
    fn draining_is_dated_from_its_beginning_and_can_be_called_off() {
        let draining = duty(&spec(), "draining", 5);
        assert_eq!(draining.duty, Duty::Draining { since: Time(5) });
        assert_eq!(duty(&draining, "draining", 9), draining);
        assert_eq!(duty(&draining, "open", 9), spec());
    }

    #[test]
    fn labels_are_set_and_taken_away_and_bad_ones_refused_whole() {
        let labels = |pairs: &[(&str, Option<&str>)]| NodeChange {
            labels: pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)))
                .collect(),
            duty: None,
        };
        let spec = spec();
        let change = labels(&[("disk", None), ("zone", Some("a"))]);
        let after = changed(&spec, &change, Time(2)).unwrap();
        assert_eq!(after.labels, BTreeMap::from([("zone".to_owned(), "a".to_owned())]));
        for bad in [("", Some("a")), ("a b", Some("a")), ("a", Some("")), ("a", Some("ü"))] {
            assert!(changed(&spec, &labels(&[("zone", Some("a")), bad]), Time(2)).is_err());
        }
    }
}
