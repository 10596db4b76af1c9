//! What this node shall run: the last assignment set, parsed, checked, and kept on disk before it is obeyed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use model::{
    incarnation::{Heard, Incarnation, Refusal},
    name::UnitId,
    release::Check,
    time::Time,
    unit::{Desired, Unit},
};
use proto::gateway::{Assignment, AssignmentSet};
use serde::{Deserialize, Serialize};
use service::durable::{self, DurableError};
use sha2::{Digest, Sha256};

const FILE: &str = "orders.json";
const VERSION: u32 = 1;
/// How long units are left running that a later incarnation does not know.
const QUARANTINE_MS: u64 = 10 * 60 * 1_000;

/// A whole assignment set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// The life of the store they are from.
    pub incarnation: Incarnation,
    /// The lead of the controller that gave them.
    #[serde(default)]
    pub epoch: u64,
    /// That controller's count.
    pub version: u64,
    /// What to run.
    pub units: BTreeMap<UnitId, Order>,
    /// Units that ran when the store went on under another incarnation, which knows nothing of them: until when they are
    /// left running. An older copy of the store is no reason to end what serves before an operator could see it.
    #[serde(default)]
    pub quarantine: BTreeMap<UnitId, Time>,
}

/// One unit and all that is needed to run it. All but what `unit` desires is the same for its whole life.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The unit.
    pub unit: Unit,
    /// Image by digest.
    pub image: String,
    /// Empty: the image's own.
    pub command: Vec<String>,
    /// Environment. Secret.
    pub env: BTreeMap<String, String>,
    /// Where it serves.
    pub port: u16,
    /// CPU limit; 0: none.
    pub cpu_millis: u32,
    /// How to tell that it is well.
    pub check: Check,
    /// How long it may take to stop.
    pub stop_grace_seconds: u32,
    /// Hash of everything a container is made from. A container with another hash is not this unit's.
    pub spec: String,
}

/// Why an assignment set is not obeyed.
#[derive(Debug, thiserror::Error)]
pub enum OrdersError {
    /// One of its units cannot be read. The whole set is refused: leaving one out would end a unit that shall run.
    #[error("read the assignment of unit {position}: {what}")]
    Malformed {
        /// Which, from 0.
        position: usize,
        /// What is wrong.
        what: String,
    },
    /// It is of another life of the store.
    #[error(transparent)]
    Incarnation(#[from] Refusal),
    /// It is older than what is obeyed: of an earlier lead, or an earlier one of the same.
    #[error("obey version {} of lead {}: {} of lead {} came before it", offered.1, offered.0, applied.1, applied.0)]
    Stale {
        /// Lead and version of what came before.
        applied: (u64, u64),
        /// Lead and version of what came now.
        offered: (u64, u64),
    },
    /// It cannot be kept.
    #[error(transparent)]
    Keep(#[from] DurableError),
}

impl Orders {
    /// Parses a set.
    pub fn parse(set: AssignmentSet) -> Result<Orders, OrdersError> {
        let mut units = BTreeMap::new();
        for (position, assignment) in set.units.into_iter().enumerate() {
            let order = Order::parse(assignment)
                .map_err(|what| OrdersError::Malformed { position, what })?;
            units.insert(order.unit.id.clone(), order);
        }
        let AssignmentSet { incarnation, epoch, version, .. } = set;
        let (incarnation, quarantine) = (incarnation.into(), BTreeMap::new());
        Ok(Orders { incarnation, epoch, version, units, quarantine })
    }

    /// Whose they are: of which life of the store, and of which lead. Nobody's before the first.
    pub fn lead(&self) -> (&Incarnation, u64) {
        (&self.incarnation, self.epoch)
    }

    /// These orders as they follow `known`, if they may. Leads are compared before versions: each leader counts for itself, and
    /// each life of the store gives its own leads.
    pub fn after(self, known: &Orders, now: Time) -> Result<Orders, OrdersError> {
        let mut quarantine = known.quarantine.clone();
        match known.incarnation.hear(&self.incarnation)? {
            Heard::Later => {
                let until = now.plus_ms(QUARANTINE_MS);
                // One that may run only once may be started elsewhere by whoever does not know of it.
                let shared = known.units.values().filter(|order| !order.unit.exclusive);
                quarantine.extend(shared.map(|order| (order.unit.id.clone(), until)));
            }
            Heard::Same => {
                let (applied, offered) = ((known.epoch, known.version), (self.epoch, self.version));
                if offered < applied {
                    return Err(OrdersError::Stale { applied, offered });
                }
            }
        }
        quarantine.retain(|unit, until| *until > now && !self.units.contains_key(unit));
        Ok(Orders { quarantine, ..self })
    }

    /// Keeps them for the time without a controller. Blocks.
    pub fn keep(&self, folder: &Path) -> Result<(), DurableError> {
        durable::write_json(&path(folder), VERSION, self, durable::PRIVATE)
    }

    /// The orders of the last run. Blocks.
    pub fn kept(folder: &Path) -> Result<Option<Orders>, DurableError> {
        durable::read_json(&path(folder), VERSION)
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

impl Order {
    fn parse(assignment: Assignment) -> Result<Order, String> {
        let unit: Unit = serde_json::from_str(&assignment.unit_json)
            .map_err(|error| format!("`unit_json`: {error}"))?;
        let check: Check = serde_json::from_str(&assignment.check_json)
            .map_err(|error| format!("`check_json`: {error}"))?;
        let port = u16::try_from(assignment.port)
            .map_err(|_| format!("`port`: {} is not a port", assignment.port))?;
        let mut env: BTreeMap<String, String> = assignment.env.into_iter().collect();
        if port != 0 {
            env.entry("PORT".to_owned()).or_insert_with(|| port.to_string());
        }
        // A unit's mounts never change, so they tell no two containers of it apart.
        let made_from = serde_json::json!([
            assignment.image,
            assignment.command,
            env,
            port,
            assignment.cpu_millis,
            unit.memory_bytes
        ]);
        Ok(Order {
            unit,
            image: assignment.image,
            command: assignment.command,
            env,
            port,
            cpu_millis: assignment.cpu_millis,
            check,
            stop_grace_seconds: assignment.stop_grace_seconds,
            spec: hash(made_from.to_string().as_bytes()),
        })
    }

    /// Whether it shall end.
    pub fn shall_stop(&self) -> bool {
        matches!(self.unit.desired, Desired::Stop { .. })
    }
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl std::fmt::Debug for Order {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Order({}, {}, {:?})", self.unit.id, self.image, self.unit.desired)
    }
}
