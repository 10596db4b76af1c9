//! The logs that are open for writing: opened at their first use, closed when others need the place.

use std::{collections::HashMap, time::Duration};

use model::name::AppName;
use service::{Clock, Gauge};

use super::{Limits, Place, ScribeError};
use crate::app_log::AppLog;

/// Logs kept open; the one that was used longest ago and that nobody follows is closed.
const MAX_OPEN: usize = 256;

/// The open logs.
pub(super) struct Shelf {
    limits: Limits,
    clock: Clock,
    logs: HashMap<Place, Open>,
    open: Gauge,
}

struct Open {
    log: AppLog,
    used: Duration,
}

impl Shelf {
    /// Empty.
    pub fn new(limits: Limits, clock: Clock, open: Gauge) -> Shelf {
        Shelf { limits, clock, logs: HashMap::new(), open }
    }

    /// An app's log; one without lines has no folder yet.
    pub fn log(&mut self, place: &Place) -> Result<&mut AppLog, ScribeError> {
        let used = self.clock.monotonic();
        if !self.logs.contains_key(place) {
            self.close_one();
            let log = AppLog::open(self.limits.folder_of(place), self.limits.max_app_bytes)?;
            self.logs.insert(place.clone(), Open { log, used });
            self.count();
        }
        let open = self.logs.get_mut(place).expect("it was just inserted");
        open.used = used;
        Ok(&mut open.log)
    }

    /// Deletes an app's log, those of other nodes too.
    pub fn forget(&mut self, app: &AppName) -> Result<(), ScribeError> {
        let others = self.limits.origins(app)?.into_iter().map(Some);
        for origin in others.chain([None]) {
            let place = Place { origin, app: app.clone() };
            self.log(&place)?;
            let forgotten = self.logs.remove(&place).map(|open| open.log.delete());
            self.count();
            forgotten.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    /// Syncs what was written; gives the logs of which that failed.
    pub fn sync(&mut self) -> Vec<Place> {
        let mut failed = Vec::new();
        for (place, open) in self.logs.iter_mut().filter(|(_, open)| open.log.is_dirty()) {
            if let Err(error) = open.log.sync() {
                tracing::error!(app = place.app.as_str(), %error, "a log could not be synced");
                failed.push(place.clone());
            }
        }
        failed
    }

    /// Learns from the disk where a log ends. If that fails the next use tries again, and this is false.
    pub fn repair(&mut self, place: &Place) -> bool {
        let Some(Err(error)) = self.logs.get_mut(place).map(|open| open.log.reopen()) else {
            return true;
        };
        tracing::error!(app = place.app.as_str(), %error, "a log could not be read back");
        self.logs.remove(place);
        self.count();
        false
    }

    fn close_one(&mut self) {
        if self.logs.len() < MAX_OPEN {
            return;
        }
        let is_closable = |open: &Open| !open.log.is_dirty() && !open.log.is_followed();
        let closable = self.logs.iter().filter(|(_, open)| is_closable(open));
        let oldest = closable.min_by_key(|(_, open)| open.used).map(|(place, _)| place.clone());
        if let Some(oldest) = oldest {
            self.logs.remove(&oldest);
        }
    }

    fn count(&self) {
        self.open.set(i64::try_from(self.logs.len()).unwrap_or(i64::MAX));
    }
}
