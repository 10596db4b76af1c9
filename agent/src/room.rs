//! How much memory the node may hand out, and how much of it is spoken for.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A cheap handle on the node's memory account.
#[derive(Debug, Clone)]
pub struct Room(Arc<Account>);

#[derive(Debug)]
struct Account {
    capacity_bytes: u64,
    units_bytes: AtomicU64,
    sessions_bytes: AtomicU64,
}

/// Memory held by one one-off command; given back when dropped.
#[derive(Debug)]
pub struct Held {
    room: Room,
    bytes: u64,
}

impl Room {
    /// So much may be handed out.
    pub fn new(capacity_bytes: u64) -> Room {
        let (units_bytes, sessions_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Room(Arc::new(Account { capacity_bytes, units_bytes, sessions_bytes }))
    }

    /// Memory that may be handed out in all.
    pub fn capacity_bytes(&self) -> u64 {
        self.0.capacity_bytes
    }

    /// Memory of one-off commands.
    pub fn sessions_bytes(&self) -> u64 {
        self.0.sessions_bytes.load(Ordering::SeqCst)
    }

    /// Tells what units and one-off commands use together.
    pub fn set_units(&self, used_bytes: u64) {
        let units = used_bytes.saturating_sub(self.sessions_bytes());
        self.0.units_bytes.store(units, Ordering::SeqCst);
    }

    /// Takes memory for a one-off command; the bytes that are free if they are too few.
    pub fn hold(&self, bytes: u64) -> Result<Held, u64> {
        let free = self.0.capacity_bytes.saturating_sub(self.0.units_bytes.load(Ordering::SeqCst));
        let taken = self.0.sessions_bytes.try_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
            let after = used.checked_add(bytes)?;
            (after <= free).then_some(after)
        });
        match taken {
            Ok(_) => Ok(Held { room: self.clone(), bytes }),
            Err(used) => Err(free.saturating_sub(used)),
        }
    }

    /// Takes memory that is in use already.
    pub fn hold_running(&self, bytes: u64) -> Held {
        self.0.sessions_bytes.fetch_add(bytes, Ordering::SeqCst);
        Held { room: self.clone(), bytes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.0.sessions_bytes.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_handed_out_once_and_given_back() {
        let room = Room::new(100);
        room.set_units(50);
        let held = room.hold(40).unwrap();
        assert_eq!(room.hold(20).unwrap_err(), 10);
        // The engine counts one-off commands among what is used.
        room.set_units(90);
        assert!(room.hold(10).is_ok());
        drop(held);
        assert_eq!(room.sessions_bytes(), 0);
        assert!(room.hold(50).is_ok());
    }
}
