//! The logs that are open for writing: opened at their first use, closed when others need the place.

use std::{collections::HashMap, time::Duration};

use model::name::AppName;
use service::{Clock, Gauge};

use super::{Limits, ScribeError};
use crate::app_log::AppLog;

/// Logs kept open; the one that was used longest ago and that nobody follows is closed.
const MAX_OPEN: usize = 256;

/// The open logs.
pub(super) struct Shelf {
    limits: Limits,
    clock: Clock,
    logs: HashMap<AppName, Open>,
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
    pub fn log(&mut self, app: &AppName) -> Result<&mut AppLog, ScribeError> {
        let used = self.clock.monotonic();
        if !self.logs.contains_key(app) {
            self.close_one();
            let folder = self.limits.folder.join(app.as_str());
            let log = AppLog::open(folder, self.limits.max_app_bytes)?;
            self.logs.insert(app.clone(), Open { log, used });
            self.count();
        }
        let open = self.logs.get_mut(app).expect("it was just inserted");
        open.used = used;
        Ok(&mut open.log)
    }

    /// Deletes an app's log.
    pub fn forget(&mut self, app: &AppName) -> Result<(), ScribeError> {
        self.log(app)?;
        let forgotten = self.logs.remove(app).map(|open| open.log.delete());
        self.count();
        Ok(forgotten.unwrap_or(Ok(()))?)
    }

    /// Syncs what was written; gives the logs of which that failed.
    pub fn sync(&mut self) -> Vec<AppName> {
        let mut failed = Vec::new();
        for (app, open) in self.logs.iter_mut().filter(|(_, open)| open.log.is_dirty()) {
            if let Err(error) = open.log.sync() {
                tracing::error!(app = app.as_str(), %error, "a log could not be synced");
                failed.push(app.clone());
            }
        }
        failed
    }

    /// Learns from the disk where a log ends. If that fails the next use tries again, and this is false.
    pub fn repair(&mut self, app: &AppName) -> bool {
        let Some(Err(error)) = self.logs.get_mut(app).map(|open| open.log.reopen()) else {
            return true;
        };
        tracing::error!(app = app.as_str(), %error, "a log could not be read back");
        self.logs.remove(app);
        self.count();
        false
    }

    fn close_one(&mut self) {
        if self.logs.len() < MAX_OPEN {
            return;
        }
        let is_closable = |open: &Open| !open.log.is_dirty() && !open.log.is_followed();
        let closable = self.logs.iter().filter(|(_, open)| is_closable(open));
        let oldest = closable.min_by_key(|(_, open)| open.used).map(|(app, _)| app.clone());
        if let Some(oldest) = oldest {
            self.logs.remove(&oldest);
        }
    }

    fn count(&self) {
        self.open.set(i64::try_from(self.logs.len()).unwrap_or(i64::MAX));
    }
}
