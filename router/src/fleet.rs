//! The table in force and the live units behind it: lookups without locks, changes in one place, and what the gateway is told.
//!
//! ```text
//! apply:   new units in  ->  table swapped  ->  old units marked left  ->  version told
//! request: table read    ->  unit chosen    ->  claimed; had it left? then read the table again
//! ```
//!
//! So once a version is told, no request can reach a unit that is not in it, and every request that did is counted.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use model::{
    name::{AppName, NodeName, UnitId},
    route::{Endpoint, RouteTable, RouterStatus},
    time::Time,
};
use service::Clock;

use crate::{
    balance::{self, Candidate},
    host::HostMap,
    unit::{Claim, Signals, Unit},
};

/// A cheap handle on the routes and units.
#[derive(Debug, Clone)]
pub struct Fleet(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    routes: ArcSwap<HostMap<Arc<App>>>,
    registry: Mutex<Registry>,
    signals: Signals,
    clock: Clock,
    place: Place,
}

/// Where this router is.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its node, whose units it reaches directly.
    pub node: String,
    /// The platform's own name, which no app's wildcard covers.
    pub reserved: String,
}

/// An app as requests see it.
#[derive(Debug)]
struct App {
    name: AppName,
    is_in_maintenance: bool,
    units: Vec<Arc<Unit>>,
}

/// A unit and its address.
type Key = (UnitId, String);

type Units = HashMap<Key, Arc<Unit>>;

#[derive(Debug, Default)]
struct Registry {
    /// Epoch and version.
    table: Option<(u64, u64)>,
    current: Units,
    /// Units that left and may still have requests in flight.
    left: Vec<Arc<Unit>>,
}

/// Why no unit takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoUnit {
    /// Nobody's host name.
    UnknownHost,
    /// The app's owner shows the maintenance page.
    Maintenance,
    /// The app has no unit that is ready.
    NoneReady,
    /// The request failed at each of them.
    AllTried,
}

impl Fleet {
    /// No routes yet.
    pub fn new(clock: Clock, signals: Signals, place: Place) -> Fleet {
        Fleet(Arc::new(Shared {
            routes: ArcSwap::default(),
            registry: Mutex::default(),
            signals,
            clock,
            place,
        }))
    }

    /// Puts a table in force. When it returns, no request can reach a unit that is not in it.
    pub fn apply(&self, table: &RouteTable) {
        let mut registry = self.lock();
        let old = std::mem::take(&mut registry.current);
        for endpoint in table.apps.iter().flat_map(|app| &app.units) {
            let Some(key) = self.key(endpoint) else { continue };
            let known = old.get(&key).cloned();
            let unit = known.unwrap_or_else(|| self.enter(&mut registry, &key));
            registry.current.insert(key, unit);
        }
        self.0.routes.store(Arc::new(self.routes(table, &registry.current)));
        for (key, unit) in old {
            if !registry.current.contains_key(&key) {
                unit.leave();
                registry.left.push(unit);
            }
        }
        registry.table = Some((table.epoch, table.version));
    }

    fn enter(&self, registry: &mut Registry, (id, address): &Key) -> Arc<Unit> {
        let is_it = |unit: &Arc<Unit>| unit.id == *id && unit.address == *address;
        match registry.left.iter().position(is_it) {
            Some(place) => {
                let unit = registry.left.swap_remove(place);
                unit.rejoin();
                unit
            }
            None => Arc::new(Unit::new(id.clone(), address.clone(), self.0.signals.clone())),
        }
    }

    fn routes(&self, table: &RouteTable, units: &Units) -> HostMap<Arc<App>> {
        let mut routes = HostMap::default();
        for row in &table.apps {
            let app = Arc::new(App {
                name: row.app.clone(),
                is_in_maintenance: row.maintenance,
                units: row
                    .units
                    .iter()
                    .filter_map(|endpoint| Some(units[&self.key(endpoint)?].clone()))
                    .collect(),
            });
            for host in &row.hosts {
                if !routes.insert(host, app.clone()) {
                    tracing::warn!(%host, app = %row.app, "the host name is another app's; it stays there");
                }
            }
        }
        routes
    }

    /// Chooses a unit for a host name in its normal form, not one of `tried`, and counts the request there.
    pub fn claim(&self, host: &str, tried: &[Arc<Unit>]) -> Result<Claim, NoUnit> {
        if host == self.0.place.reserved {
            return Err(NoUnit::UnknownHost);
        }
        loop {
            let routes = self.0.routes.load();
            let app = routes.get(host).ok_or(NoUnit::UnknownHost)?;
            if app.is_in_maintenance {
                return Err(NoUnit::Maintenance);
            }
            if app.units.is_empty() {
                return Err(NoUnit::NoneReady);
            }
            let unit = self.choose(app, tried).ok_or(NoUnit::AllTried)?;
            // A unit that left in between: the table it is not in is in place already.
            if let Some(claim) = unit.claim() {
                unit.tries(self.0.clock.monotonic());
                tracing::trace!(app = %app.name, unit = %unit.id, "chosen");
                return Ok(claim);
            }
        }
    }

    /// Whether a request has another unit to try that is not left alone.
    pub fn has_another(&self, host: &str, than: &Arc<Unit>, tried: &[Arc<Unit>]) -> bool {
        let (routes, now) = (self.0.routes.load(), self.0.clock.monotonic());
        let is_other = |unit: &Arc<Unit>| {
            !Arc::ptr_eq(unit, than)
                && !unit.is_ejected(now)
                && !tried.iter().any(|tried| Arc::ptr_eq(tried, unit))
        };
        routes.get(host).is_some_and(|app| app.units.iter().any(is_other))
    }

    fn choose<'a>(&self, app: &'a App, tried: &[Arc<Unit>]) -> Option<&'a Arc<Unit>> {
        let now = self.0.clock.monotonic();
        let candidate = |index: usize| {
            let unit: &Arc<Unit> = &app.units[index];
            Candidate {
                in_flight: unit.in_flight(),
                is_ejected: unit.is_ejected(now),
                is_tried: tried.iter().any(|tried| Arc::ptr_eq(tried, unit)),
            }
        };
        let random = if app.units.len() > 1 { rand::random() } else { [0, 0] };
        balance::choose(app.units.len(), candidate, random).map(|index| &app.units[index])
    }

    /// What the gateway is told: the version in force, and who still works for a unit that is not in it.
    pub fn status(&self) -> Option<RouterStatus> {
        let mut registry = self.lock();
        registry.left.retain(|unit| unit.in_flight() > 0);
        let mut draining: BTreeMap<UnitId, u32> = BTreeMap::new();
        for unit in &registry.left {
            // A unit that moved to another address has not left.
            if !registry.current.keys().any(|(id, _)| *id == unit.id) {
                *draining.entry(unit.id.clone()).or_default() += unit.in_flight();
            }
        }
        let (epoch, version) = registry.table?;
        Some(RouterStatus { epoch, version, draining, heard: Time::default() })
    }

    /// The version in force.
    pub fn version(&self) -> Option<u64> {
        self.lock().table.map(|(_, version)| version)
    }

    /// Every unit of the table in force.
    pub fn units(&self) -> Vec<Arc<Unit>> {
        self.lock().current.values().cloned().collect()
    }

    /// The unit and where this router reaches it; none: it is on another node and not published there, and its own address
    /// may be that of anything here.
    fn key(&self, endpoint: &Endpoint) -> Option<Key> {
        let is_elsewhere = |node: &NodeName| node.as_str() != self.0.place.node;
        let published = endpoint.published.as_ref().filter(|at| is_elsewhere(&at.node));
        let address = match published {
            Some(published) => &published.address,
            None if endpoint.node.as_ref().is_some_and(is_elsewhere) => return None,
            None => &endpoint.address,
        };
        Some((endpoint.unit.clone(), address.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
