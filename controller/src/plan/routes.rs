//! Which host names lead to which units now, and since which version of the table.

use std::collections::BTreeMap;

use model::name::{AppName, Hostname, UnitId};
use model::release::Sealed;
use model::route::{AppRoute, Endpoint, Published};
use model::snapshot::Snapshot;
use model::time::Time;
use model::unit::{Phase, Unit, UnitKind};

/// The route table but for its version, with keys still sealed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// One row per app, by name.
    pub apps: Vec<AppRoute>,
    /// Certificates, by name.
    pub certificates: Vec<SealedCertificate>,
}

/// A certificate whose key is not opened yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCertificate {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub app: AppName,
    /// Names it serves.
    pub hosts: Vec<Hostname>,
    /// Chain, PEM.
    pub chain_pem: String,
    /// Key, sealed.
    pub key: Sealed,
}

/// The routes of a snapshot. Apps answer at `<app>.<domain>` and at their own domains.
pub fn routes(snapshot: &Snapshot, domain: &str) -> Routes {
    let mut hosts: BTreeMap<&AppName, Vec<Hostname>> = BTreeMap::new();
    for own in snapshot.domains.values().map(|domain| &domain.value) {
        hosts.entry(&own.app).or_default().push(own.host.clone());
    }
    let mut units: BTreeMap<&AppName, Vec<(u32, Endpoint)>> = BTreeMap::new();
    for unit in snapshot.units.values().map(|unit| &unit.value) {
        if let Some(address) = routed_address(snapshot, unit) {
            let published = snapshot.statuses.get(&unit.id).and_then(|it| it.published.clone());
            let node = unit.node.clone();
            let published = published.map(|address| Published { node: node.clone(), address });
            let node = Some(node);
            let endpoint = Endpoint { unit: unit.id.clone(), address, node, published };
            units.entry(&unit.app).or_default().push((unit.ordinal, endpoint));
        }
    }
    let living = snapshot.apps.values().map(|app| &app.value).filter(|app| app.destroyed.is_none());
    let apps = living.map(|app| {
        let first = format!("{}.{domain}", app.name).parse().ok();
        let mut units = units.remove(&app.name).unwrap_or_default();
        // Units came by id: a stable order within an ordinal.
        units.sort_by_key(|(ordinal, _)| *ordinal);
        AppRoute {
            app: app.name.clone(),
            hosts: first.into_iter().chain(hosts.remove(&app.name).unwrap_or_default()).collect(),
            maintenance: app.maintenance,
            units: units.into_iter().map(|(_, endpoint)| endpoint).collect(),
        }
    });
    let apps: Vec<AppRoute> = apps.collect();
    let certificates = snapshot.certificates.values().filter_map(|certificate| {
        let certificate = &certificate.value;
        let row = apps.iter().find(|row| row.app == certificate.app)?;
        // An app's certificate serves its own names only, whatever else it was issued for.
        let own = row.hosts.iter().filter(|host| certificate.covers(host));
        Some(SealedCertificate {
            name: certificate.name.clone(),
            app: certificate.app.clone(),
            hosts: own.cloned().collect(),
            chain_pem: certificate.chain_pem.clone(),
            key: certificate.key.clone(),
        })
    });
    let certificates = certificates.filter(|certificate| !certificate.hosts.is_empty()).collect();
    Routes { apps, certificates }
}

/// Where a unit receives requests: while it is wanted and ready.
fn routed_address(snapshot: &Snapshot, unit: &Unit) -> Option<String> {
    let may_serve = unit.is_wanted() && unit.process.is_web() && unit.kind == UnitKind::Service;
    let status = snapshot.statuses.get(&unit.id).filter(|_| may_serve)?;
    status.address.clone().filter(|_| status.phase == Phase::Ready)
}

/// Numbers the tables and remembers when units came into them and left.
#[derive(Debug, Clone, Default)]
pub struct Tracker {
    routes: Routes,
    /// 0: none was made yet.
    version: u64,
    entered: BTreeMap<UnitId, u64>,
    left: BTreeMap<UnitId, u64>,
}

impl Tracker {
    /// Takes the routes as they are now. Says whether they make a new table. Its version is above the last one and, so that
    /// versions grow across restarts, not below the time.
    pub fn follow(&mut self, routes: Routes, now: Time) -> bool {
        if self.is_started() && routes == self.routes {
            return false;
        }
        self.version = (self.version + 1).max(now.0);
        let (before, after) = (addresses(&self.routes), addresses(&routes));
        for (unit, address) in &after {
            if before.get(unit) != Some(address) {
                self.left.remove(*unit);
                self.entered.insert((*unit).clone(), self.version);
            }
        }
        for unit in before.keys().filter(|unit| !after.contains_key(*unit)) {
            self.entered.remove(*unit);
            self.left.insert((*unit).clone(), self.version);
        }
        self.routes = routes;
        true
    }

    /// Gives the table a version above `seen`, which some router serves from and which is not ours: a node that was cut off
    /// looked after itself meanwhile. Says whether that was needed.
    pub fn overtake(&mut self, seen: u64) -> bool {
        if !self.is_started() || seen <= self.version {
            return false;
        }
        self.version = seen + 1;
        for at in self.entered.values_mut().chain(self.left.values_mut()) {
            *at = self.version;
        }
        true
    }

    /// Whether there is a table.
    pub fn is_started(&self) -> bool {
        self.version > 0
    }

    /// The version of the table now.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What is in it.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Completes a snapshot, and forgets units that are in it no more.
    pub fn complete(&mut self, snapshot: &mut Snapshot) {
        self.left.retain(|unit, _| snapshot.units.contains_key(unit));
        snapshot.left_routes_at.clone_from(&self.left);
        snapshot.entered_routes_at.clone_from(&self.entered);
        snapshot.table_version = self.version;
    }
}

fn addresses(routes: &Routes) -> BTreeMap<&UnitId, &str> {
    let units = routes.apps.iter().flat_map(|app| &app.units);
    units.map(|endpoint| (&endpoint.unit, endpoint.address.as_str())).collect()
}

#[cfg(test)]
mod tests;
