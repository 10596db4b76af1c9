//! What `paasctl ps` shows: pure, from documents and what was last heard.

use std::collections::{BTreeMap, BTreeSet};

use model::app::App;
use model::name::ProcessType;
use model::release::Release;
use model::unit::{Desired, Phase, Unit, UnitKind, UnitStatus};
use proto::api::{ProcessFormation, Processes, UnitInfo};

use crate::api::answer::rfc3339;
use crate::plan::rollout::shown_command;
use crate::view::View;

/// Types of the release in force and units of all releases.
pub(super) fn processes(app: &App, current: Option<&Release>, view: &View) -> Processes {
    let scalable = current.into_iter().flat_map(Release::scalable);
    let types: BTreeSet<&ProcessType> = scalable.chain(app.formation.keys()).collect();
    let formation: BTreeMap<String, ProcessFormation> = types
        .into_iter()
        .map(|process| (process.to_string(), formation(app, current, view, process)))
        .collect();
    let mut units: Vec<&Unit> = view.snapshot.units_of(&app.name).map(|unit| &unit.value).collect();
    units.sort_by_key(|unit| (&unit.process, unit.ordinal, unit.release));
    let units = units.into_iter().map(|unit| unit_info(unit, view)).collect();
    Processes { formation, units }
}

fn formation(
    app: &App,
    current: Option<&Release>,
    view: &View,
    process: &ProcessType,
) -> ProcessFormation {
    let scale = app.formation.get(process).cloned().unwrap_or_default();
    let command = current.and_then(|release| release.command(process)).flatten();
    let waiting = view
        .waiting
        .iter()
        .find(|waiting| waiting.app == app.name && waiting.process.as_ref() == Some(process));
    ProcessFormation {
        count: scale.count,
        stopped: scale.stopped,
        command: command.map(shown_command),
        waiting: waiting.map(|waiting| waiting.reason.clone()),
    }
}

fn unit_info(unit: &Unit, view: &View) -> UnitInfo {
    let status = view.snapshot.statuses.get(&unit.id);
    let node = view.snapshot.nodes.get(&unit.node);
    let is_silent =
        node.is_none_or(|node| !node.is_placeable(view.as_of) && node.trouble.is_none());
    let reason = match (is_silent, status.and_then(|status| status.trouble.as_ref())) {
        (true, _) => Some(format!("its node {} is not heard", unit.node)),
        (false, Some(trouble)) => Some(trouble.reason.clone()),
        (false, None) => None,
    };
    UnitInfo {
        name: unit.display_name(),
        process: unit.process.to_string(),
        release: unit.release.to_string(),
        state: state(unit, status).to_owned(),
        since: status.map(|status| rfc3339(status.since)),
        node: Some(unit.node.to_string()),
        restarts: status.map_or(0, |status| status.restarts),
        reason,
    }
}

fn state(unit: &Unit, status: Option<&UnitStatus>) -> &'static str {
    match unit.desired {
        Desired::Drain { .. } => return "draining",
        Desired::Stop { .. } => return "stopping",
        Desired::Run => {}
    }
    let Some(status) = status else { return "assigned" };
    match status.phase {
        Phase::Assigned => "assigned",
        Phase::Pulling => "pulling",
        Phase::Starting => "starting",
        Phase::Running if unit.kind == UnitKind::ReleasePhase => "running",
        Phase::Running => "starting",
        Phase::Ready => "ready",
        Phase::Backoff => "backoff",
        Phase::Stopping => "stopping",
        Phase::Finished => "finished",
        Phase::Gone => "gone",
    }
}
