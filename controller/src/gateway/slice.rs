//! What one node shall run: its units, each with all an agent needs to start it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::name::{EnvKey, NodeName, ReleaseNumber, UnitId};
use model::release::{Release, Sealed};
use model::snapshot::{Snapshot, Versioned};
use model::unit::Unit;
use proto::gateway::Assignment;

use crate::environment::{self, environment};
use crate::seal::{Seal, SealError};

/// How long a unit may take to end after SIGTERM.
const STOP_GRACE_SECONDS: u32 = 10;

/// A node's slice as it was last made.
pub struct Slice {
    node: NodeName,
    seal: Arc<Seal>,
    /// None: nothing was made yet.
    last: Option<BTreeMap<UnitId, Made>>,
    is_told: bool,
}

/// A unit's assignment, and the revision of the unit it was made from.
struct Made {
    revision: u64,
    assignment: Assignment,
}

/// Why a unit cannot be put into words for an agent.
#[derive(Debug, thiserror::Error)]
pub enum SliceError {
    /// Its release is not there.
    #[error("assign unit `{unit}`: its release {release} has no image")]
    NoImage {
        /// Which unit.
        unit: UnitId,
        /// Its release.
        release: ReleaseNumber,
    },
    /// Its configuration does not open.
    #[error("assign unit `{unit}`")]
    Sealed {
        /// Which unit.
        unit: UnitId,
        /// Why.
        #[source]
        source: SealError,
    },
}

impl Slice {
    /// Of a node, not made yet.
    pub fn new(node: NodeName, seal: Arc<Seal>) -> Slice {
        Slice { node, seal, last: None, is_told: false }
    }

    /// Whose.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// The next one is told even if it does not differ.
    pub fn forget(&mut self) {
        self.is_told = false;
    }

    /// The slice, if it differs from the last one.
    ///
    /// A unit that was assigned before and cannot be made anew keeps its last image and environment. One that was not is an
    /// error for the whole slice, because a slice without it would stop it.
    pub fn follow(&mut self, snapshot: &Snapshot) -> Result<Option<Vec<Assignment>>, SliceError> {
        let here = || snapshot.units.iter().filter(|(_, unit)| unit.value.node == self.node);
        if let Some(last) = self.last.as_ref().filter(|_| self.is_told)
            && here().count() == last.len()
            && here()
                .all(|(id, unit)| last.get(id).is_some_and(|made| made.revision == unit.revision))
        {
            return Ok(None);
        }
        let mut made = BTreeMap::new();
        for (id, unit) in here() {
            made.insert(id.clone(), self.make(unit, snapshot)?);
        }
        let units = made.values().map(|made: &Made| made.assignment.clone()).collect();
        (self.last, self.is_told) = (Some(made), true);
        Ok(Some(units))
    }

    fn make(&self, unit: &Versioned<Unit>, snapshot: &Snapshot) -> Result<Made, SliceError> {
        let last = self.last.as_ref().and_then(|last| last.get(&unit.value.id));
        let assignment = match (last, assignment(&unit.value, snapshot, &self.seal)) {
            (_, Ok(assignment)) => assignment,
            (None, Err(error)) => return Err(error),
            (Some(last), Err(error)) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::error!(unit = %unit.value.id, error, "a unit keeps its last orders");
                Assignment { unit_json: unit_json(&unit.value), ..last.assignment.clone() }
            }
        };
        Ok(Made { revision: unit.revision, assignment })
    }
}

fn assignment(unit: &Unit, snapshot: &Snapshot, seal: &Seal) -> Result<Assignment, SliceError> {
    let release = snapshot.release(&unit.app, unit.release);
    let no_image = || SliceError::NoImage { unit: unit.id.clone(), release: unit.release };
    let (release, build) = release
        .and_then(|release| Some((release, release.build.as_ref()?)))
        .ok_or_else(no_image)?;
    let command = release.command(&unit.process).flatten();
    let check = release.check(&unit.process);
    Ok(Assignment {
        unit_json: unit_json(unit),
        image: build.image.clone(),
        command: command.map(|command| command.0.clone()).unwrap_or_default(),
        env: opened(unit, release, seal)
            .map_err(|source| SliceError::Sealed { unit: unit.id.clone(), source })?,
        port: u32::from(environment::port(release)),
        cpu_millis: release.limits(&unit.process).cpu_millis.unwrap_or(0),
        check_json: serde_json::to_string(&check).expect("a check holds text and numbers only"),
        stop_grace_seconds: STOP_GRACE_SECONDS,
    })
}

/// What the container gets.
fn opened(
    unit: &Unit,
    release: &Release,
    seal: &Seal,
) -> Result<HashMap<String, String>, SealError> {
    let open = |(key, sealed): (&EnvKey, &Sealed)| {
        Ok((key.clone(), seal.open_text(&format!("{}/{key}", release.app), sealed)?))
    };
    let config = release.config.iter().map(open).collect::<Result<BTreeMap<_, _>, SealError>>()?;
    let all = environment(config, release, unit.process.as_str(), &unit.display_name());
    Ok(all.into_iter().collect())
}

fn unit_json(unit: &Unit) -> String {
    serde_json::to_string(unit).expect("a unit holds text and numbers only")
}
