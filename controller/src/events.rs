//! Tells an app's owner, in the app's log, when a unit fails and when it is well again.

use std::collections::{BTreeMap, BTreeSet};

use model::name::{AppName, UnitId};
use model::snapshot::Snapshot;
use model::time::Time;
use model::unit::Phase;

/// Remembers what was told.
pub struct Events {
    /// Troubles before this are an earlier controller's to tell.
    since: Time,
    told: BTreeMap<UnitId, Time>,
    failing: BTreeSet<UnitId>,
}

impl Events {
    /// From now on.
    pub fn since(since: Time) -> Events {
        Events { since, told: BTreeMap::new(), failing: BTreeSet::new() }
    }

    /// What is new in a snapshot, for whose log.
    pub fn news(&mut self, snapshot: &Snapshot) -> Vec<(AppName, String)> {
        self.told.retain(|unit, _| snapshot.units.contains_key(unit));
        self.failing.retain(|unit| snapshot.units.contains_key(unit));
        let mut news = Vec::new();
        for (id, status) in &snapshot.statuses {
            let Some(unit) = snapshot.units.get(id).map(|unit| &unit.value) else { continue };
            let name = unit.display_name();
            if let Some(trouble) = &status.trouble
                && unit.is_wanted()
                && trouble.at > self.told.get(id).copied().unwrap_or(self.since)
            {
                self.told.insert(id.clone(), trouble.at);
                self.failing.insert(id.clone());
                news.push((unit.app.clone(), format!("{name} {}", trouble.reason)));
            }
            if status.phase == Phase::Ready && self.failing.remove(id) {
                news.push((unit.app.clone(), format!("{name} is ready again")));
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use model::name::{ProcessType, ReleaseNumber};
    use model::snapshot::Versioned;
    use model::unit::{Desired, Trouble, Unit, UnitKind, UnitStatus};

    use super::*;

    fn world(phase: Phase, failed_at: u64) -> Snapshot {
        let unit = Unit {
            exclusive: false,
            mounts: BTreeMap::new(),
            id: "u1".parse().unwrap(),
            app: "shop".parse().unwrap(),
            process: ProcessType::web(),
            ordinal: 2,
            release: ReleaseNumber(1),
            epoch: 0,
            kind: UnitKind::Service,
            node: "n1".parse().unwrap(),
            memory_bytes: 1,
            created: Time(0),
            desired: Desired::Run,
        };
        let trouble = Trouble {
            reason: "exited with code 1".to_owned(),
            code: "exited".to_owned(),
            at: Time(failed_at),
            last_lines: Vec::new(),
        };
        let status = UnitStatus {
            published: None,
            phase,
            address: None,
            restarts: 1,
            since: Time(failed_at),
            trouble: Some(trouble),
        };
        let mut snapshot = Snapshot::default();
        snapshot.statuses.insert(unit.id.clone(), status);
        snapshot.units.insert(unit.id.clone(), Versioned { value: unit, revision: 1 });
        snapshot
    }

    fn said(events: &mut Events, phase: Phase, failed_at: u64) -> Vec<String> {
        let news = events.news(&world(phase, failed_at));
        news.into_iter().map(|(_, said)| said).collect()
    }

    #[test]
    fn each_failure_and_each_recovery_is_told_once() {
        let mut events = Events::since(Time(10));
        assert!(said(&mut events, Phase::Ready, 5).is_empty());
        assert_eq!(said(&mut events, Phase::Backoff, 20), ["web.2 exited with code 1"]);
        assert!(said(&mut events, Phase::Backoff, 20).is_empty());
        assert_eq!(said(&mut events, Phase::Backoff, 30), ["web.2 exited with code 1"]);
        assert_eq!(said(&mut events, Phase::Ready, 30), ["web.2 is ready again"]);
        assert!(said(&mut events, Phase::Ready, 30).is_empty());
    }
}
