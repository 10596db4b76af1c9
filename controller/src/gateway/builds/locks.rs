//! One build at a time per app: locks that lapse when nobody keeps them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::name::AppName;

/// A lock that nobody named for this long is free. Builders keep theirs every 5 s.
const LAPSES_AFTER: Duration = Duration::from_secs(15);

/// Locks by app. Memory only: after a restart the first to keep or take one has it.
#[derive(Default)]
pub(super) struct Locks(Mutex<BTreeMap<AppName, Lock>>);

struct Lock {
    build_id: String,
    kept: Duration,
}

impl Locks {
    /// Takes or keeps the lock; false while another build holds it.
    pub(super) fn take(&self, app: &AppName, build_id: &str, now: Duration) -> bool {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| now.saturating_sub(lock.kept) < LAPSES_AFTER);
        let is_others = locks.get(app).is_some_and(|lock| lock.build_id != build_id);
        if !is_others {
            locks.insert(app.clone(), Lock { build_id: build_id.to_owned(), kept: now });
        }
        !is_others
    }

    /// Gives the lock up, if it is this build's.
    pub(super) fn release(&self, app: &AppName, build_id: &str) {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.get(app).is_some_and(|lock| lock.build_id == build_id) {
            locks.remove(app);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_build_holds_the_lock_until_it_lapses_or_gives_it_up() {
        let locks = Locks::default();
        let (shop, blog) = ("shop".parse().unwrap(), "blog".parse().unwrap());
        let at = Duration::from_secs;
        assert!(locks.take(&shop, "one", at(0)));
        assert!(!locks.take(&shop, "two", at(14)));
        assert!(locks.take(&blog, "two", at(14)));
        assert!(locks.take(&shop, "one", at(14)));
        assert!(!locks.take(&shop, "two", at(28)));
        assert!(locks.take(&shop, "two", at(29)));
        locks.release(&shop, "one");
        assert!(!locks.take(&shop, "one", at(30)));
        locks.release(&shop, "two");
        assert!(locks.take(&shop, "one", at(30)));
    }
}
