//! Everything the controller knows at one moment: the stored documents and what was last heard.

use std::collections::BTreeMap;

use crate::app::App;
use crate::name::{AppName, Hostname, NodeName, ReleaseNumber, UnitId, VolumeId};
use crate::node::{Node, NodeSpec};
use crate::release::Release;
use crate::route::{Certificate, Domain, ROUTER_LOST_AFTER_MS, RouterStatus};
use crate::time::Time;
use crate::unit::{Unit, UnitStatus};
use crate::volume::Doomed;

/// Input of every planner. Desired state with the revision it was read at, and observed state.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Apps by name, with the revision of their document.
    pub apps: BTreeMap<AppName, Versioned<App>>,
    /// Releases by app and number.
    pub releases: BTreeMap<(AppName, ReleaseNumber), Versioned<Release>>,
    /// Units by id.
    pub units: BTreeMap<UnitId, Versioned<Unit>>,
    /// Domains by host.
    pub domains: BTreeMap<Hostname, Versioned<Domain>>,
    /// Certificates by name.
    pub certificates: BTreeMap<String, Versioned<Certificate>>,
    /// Volumes that were destroyed and whose data is not gone yet.
    pub doomed: BTreeMap<VolumeId, Versioned<Doomed>>,
    /// What is known of nodes, by name, with the revision of their document.
    pub specs: BTreeMap<NodeName, Versioned<NodeSpec>>,
    /// Nodes, as last heard.
    pub nodes: BTreeMap<NodeName, Node>,
    /// Since when nodes are listened to.
    pub listening_since: Time,
    /// Since when this controller leads; none while it does not.
    pub leading_since: Option<Time>,
    /// Units, as last heard from their agents.
    pub statuses: BTreeMap<UnitId, UnitStatus>,
    /// Routers by node, as last heard.
    pub routers: BTreeMap<NodeName, RouterStatus>,
    /// The version at which a unit left the route table: it may stop once every live router
    /// serves from this version or a later one.
    pub left_routes_at: BTreeMap<UnitId, u64>,
    /// The version at which a unit entered the route table.
    pub entered_routes_at: BTreeMap<UnitId, u64>,
    /// The version of the route table now.
    pub table_version: u64,
}

/// A document and the store revision it was last modified at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The document.
    pub value: T,
    /// Its modification revision, compared when it is written again.
    pub revision: u64,
}

impl Snapshot {
    /// The units of one app.
    pub fn units_of<'s, 'n>(
        &'s self,
        app: &'n AppName,
    ) -> impl Iterator<Item = &'s Versioned<Unit>> + use<'s, 'n> {
        self.units.values().filter(move |unit| unit.value.app == *app)
    }

    /// One release.
    pub fn release(&self, app: &AppName, number: ReleaseNumber) -> Option<&Release> {
        self.releases.get(&(app.clone(), number)).map(|release| &release.value)
    }

    /// Whether a unit is of the release and restart that its app wants, so that nothing is about to replace it.
    pub fn is_up_to_date(&self, unit: &Unit) -> bool {
        let Some(app) = self.apps.get(&unit.app).map(|app| &app.value) else { return false };
        let epoch = app.formation.get(&unit.process).map_or(0, |scale| scale.epoch);
        app.wanted_release() == Some(unit.release) && epoch == unit.epoch
    }

    /// Routers that are waited for.
    pub fn live_routers(&self, now: Time) -> impl Iterator<Item = &RouterStatus> {
        self.routers
            .values()
            .filter(move |router| now.since_ms(router.heard) < ROUTER_LOST_AFTER_MS)
    }

    /// Whether there may be live routers that were not heard yet, because listening has only begun.
    pub fn may_have_more_routers(&self, now: Time) -> bool {
        let is_unheard = |spec: &Versioned<NodeSpec>| {
            spec.value.is_member() && !self.routers.contains_key(&spec.value.name)
        };
        now.since_ms(self.listening_since) < ROUTER_LOST_AFTER_MS
            && self.specs.values().any(is_unheard)
    }

    /// Memory reserved on a node by all units that are not gone and by one-off commands.
    pub fn reserved_bytes(&self, node: &NodeName) -> u64 {
        let here = self.units.values().filter(|unit| unit.value.node == *node);
        let units: u64 = here.map(|unit| unit.value.memory_bytes).sum();
        let sessions = self.nodes.get(node).map_or(0, |node| node.sessions_bytes);
        units.saturating_add(sessions)
    }
}
