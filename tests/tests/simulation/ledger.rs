//! The store as everybody writes it, and the rules of each write checked at the moment it is done, whoever guards it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use controller::leader::Epoch;
use controller::records::{Document, decode};
use model::app::App;
use model::name::{AppName, NodeName, UnitId};
use model::node::{Duty, NodeSpec};
use model::release::{Release, ReleaseState};
use model::time::Time;
use model::unit::{Desired, Unit};
use model::volume::Volume;
use store::{Entry, Listing, MemoryStore, Op, Outcome, Revision, Store, StoreError, Txn, Watch};

use crate::trace::Trace;
use crate::truth::Truth;

/// The documents as they stand, told apart by kind.
#[derive(Default)]
pub struct Documents {
    /// Apps.
    pub apps: BTreeMap<AppName, App>,
    /// Releases by key.
    pub releases: BTreeMap<String, Release>,
    /// Units.
    pub units: BTreeMap<UnitId, Unit>,
    /// Nodes.
    pub specs: BTreeMap<NodeName, NodeSpec>,
    /// Release keys ever used, with the life of the app.
    used: BTreeSet<(String, Time)>,
    /// Units ever made.
    made: BTreeSet<UnitId>,
    /// The revision of the last write that was not a leader's beat.
    pub revision: u64,
}

impl Documents {
    /// Whether units of a node shall move away.
    pub fn is_moving(&self, node: &NodeName) -> bool {
        self.specs.get(node).is_some_and(|spec| matches!(spec.duty, Duty::Draining { .. }))
    }

    /// Whether there is another app that may take an app's room.
    pub fn has_higher(&self, app: &App) -> bool {
        self.apps.values().any(|other| other.class > app.class)
    }

    /// Whether a unit that is made now mounts what its type does, on the machine that has it.
    fn is_at_home(&self, unit: &Unit) -> bool {
        let Some(app) = self.apps.get(&unit.app) else { return false };
        let has = |volume: &Volume| self.specs.get(&unit.node).is_some_and(|it| volume.is_on(it));
        unit.mounts == app.mounts_of(&unit.process)
            && app.volumes_of(&unit.process).all(|(_, volume)| has(volume))
    }

    fn is_removed(&self, node: &NodeName) -> bool {
        self.specs.get(node).is_some_and(|spec| !spec.is_member())
    }
}

/// The store and what is known of its writes. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    store: Arc<MemoryStore>,
    documents: Arc<Mutex<Documents>>,
    truth: Truth,
    trace: Trace,
}

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hand {
    /// A controller's planner and its election.
    Planner,
    /// Its API, for people.
    Api,
}

/// One writer's way to the ledger.
pub struct Writer {
    ledger: Ledger,
    hand: Hand,
    controller: usize,
    /// Where this life's last epoch was written.
    epoch: AtomicU64,
}

impl Ledger {
    /// An empty one.
    pub fn new(truth: Truth, trace: Trace) -> Ledger {
        let (store, documents) = (Arc::new(MemoryStore::new()), Arc::default());
        Ledger { store, documents, truth, trace }
    }

    /// A writer.
    pub fn writer(&self, controller: usize, hand: Hand) -> Arc<Writer> {
        Arc::new(Writer { ledger: self.clone(), hand, controller, epoch: AtomicU64::new(0) })
    }

    /// The documents now.
    pub fn documents(&self) -> MutexGuard<'_, Documents> {
        self.documents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store itself.
    pub fn store(&self) -> &Arc<MemoryStore> {
        &self.store
    }
}

impl Writer {
    fn breaks(&self, invariant: &str, how: impl AsRef<str>) {
        self.ledger.trace.breaks(invariant, how);
    }

    /// A decision is the leader's alone.
    fn check_epoch(&self, leader: Option<&Entry>, ops: &[Op]) {
        if self.hand == Hand::Api || ops.iter().any(|op| op.key() == Epoch::PREFIX) {
            return;
        }
        let own = self.epoch.load(Ordering::SeqCst);
        if leader.is_none_or(|leader| leader.modified.0 != own) {
            let keys: Vec<&str> = ops.iter().map(Op::key).collect();
            let how = format!("controller {} wrote {keys:?} without leading", self.controller);
            self.breaks("only the leader decides", how);
        }
    }

    fn take(&self, op: &Op, revision: Revision) {
        match op {
            Op::Put { key, value } => {
                let entry = Entry {
                    key: key.clone(),
                    value: value.clone(),
                    created: revision,
                    modified: revision,
                };
                if key.starts_with(App::PREFIX) {
                    self.app(decode::<App>(&entry).expect("apps can be read").value);
                } else if key.starts_with(Release::PREFIX) {
                    self.release(key, decode::<Release>(&entry).expect("releases too").value);
                } else if key.starts_with(Unit::PREFIX) {
                    self.unit(decode::<Unit>(&entry).expect("units too").value);
                } else if key.starts_with(NodeSpec::PREFIX) {
                    self.node(decode::<NodeSpec>(&entry).expect("nodes too").value);
                }
            }
            Op::Delete { key } => self.delete(key),
        }
    }

    fn delete(&self, key: &str) {
        let mut documents = self.ledger.documents();
        if let Some(name) = key.strip_prefix(App::PREFIX) {
            let app = name.parse::<AppName>().expect("keys hold names");
            let is_doomed = documents.apps.remove(&app).is_some_and(|it| it.destroyed.is_some());
            if !is_doomed || documents.units.values().any(|unit| unit.app == app) {
                drop(documents);
                self.breaks("an acknowledged change is never lost", format!("{key} was deleted"));
            }
        } else if key.starts_with(Release::PREFIX) {
            documents.releases.remove(key);
        } else if let Some(name) = key.strip_prefix(Unit::PREFIX) {
            let id = name.parse::<UnitId>().expect("keys hold ids");
            let unit = documents.units.remove(&id);
            let may_go = unit.is_some_and(|unit| {
                matches!(unit.desired, Desired::Stop { .. }) || documents.is_removed(&unit.node)
            });
            drop(documents);
            if !may_go {
                self.breaks("units only move forward", format!("{key} was deleted unstopped"));
            }
        }
    }

    fn app(&self, app: App) {
        let mut documents = self.ledger.documents();
        let before = documents.apps.insert(app.name.clone(), app.clone());
        drop(documents);
        let Some(before) = before else { return };
        let is_kept = match self.hand {
            // What people asked for is theirs.
            Hand::Planner => {
                (&before.formation, before.generation, before.next_release, before.destroyed)
                    == (&app.formation, app.generation, app.next_release, app.destroyed)
                    && (before.class, &before.volumes) == (app.class, &app.volumes)
            }
            // What was seen is the planner's.
            Hand::Api => (before.current, &before.settled) == (app.current, &app.settled),
        };
        let is_forward = before.generation <= app.generation
            && before.next_release <= app.next_release
            && before.settled.generation <= app.settled.generation
            && app.settled.generation <= app.generation
            && (before.destroyed.is_none() || app.destroyed == before.destroyed);
        if !is_kept || !is_forward {
            let how = format!("{:?} wrote {app:?} over {before:?}", self.hand);
            self.breaks("an acknowledged change is never lost", how);
        }
    }

    fn node(&self, spec: NodeSpec) {
        let before = self.ledger.documents().specs.insert(spec.name.clone(), spec.clone());
        let Some(before) = before else { return };
        // What operators said is theirs; where a node is reached is the planner's.
        let said = |spec: &NodeSpec| (spec.labels.clone(), spec.duty, spec.admission.clone());
        if self.hand == Hand::Planner && said(&before) != said(&spec) {
            let how = format!("{:?} wrote {spec:?} over {before:?}", self.hand);
            self.breaks("an acknowledged change is never lost", how);
        }
    }

    fn release(&self, key: &str, release: Release) {
        let mut documents = self.ledger.documents();
        let life = documents.apps.get(&release.app).map_or(Time(0), |app| app.created);
        let is_new = documents.used.insert((key.to_owned(), life));
        let before = documents.releases.insert(key.to_owned(), release.clone());
        drop(documents);
        match before {
            None if is_new => {}
            None => self.breaks("releases are numbered once", format!("{key} was made twice")),
            Some(before) => {
                let is_same = before.build == release.build
                    && before.config == release.config
                    && before.settings == release.settings;
                let was_open = before.state == ReleaseState::Deploying;
                if !is_same || !(was_open || before.state == release.state) {
                    self.breaks("releases are numbered once", format!("{key} was changed"));
                }
            }
        }
    }

    fn unit(&self, unit: Unit) {
        let mut documents = self.ledger.documents();
        let before = documents.units.insert(unit.id.clone(), unit.clone());
        match before {
            None => {
                let is_new = documents.made.insert(unit.id.clone());
                let here = documents.units.values().filter(|it| it.node == unit.node);
                let reserved: u64 = here.map(|it| it.memory_bytes).sum();
                let is_at_home = documents.is_at_home(&unit);
                drop(documents);
                if !is_at_home {
                    let how = format!("{unit:?}");
                    self.breaks("a unit runs where the volumes of its type are", how);
                }
                if !is_new {
                    self.breaks("units only move forward", format!("{} was made twice", unit.id));
                }
                let capacity = self.ledger.truth.capacity(&unit.node);
                if reserved > capacity {
                    let how = format!("{reserved} of {capacity} bytes promised on {}", unit.node);
                    self.breaks("memory is never overcommitted", how);
                }
            }
            Some(before) => {
                if stage(before.desired) > stage(unit.desired)
                    || (Unit { desired: unit.desired, ..before.clone() }) != unit
                {
                    let how = format!("{before:?} became {unit:?}");
                    drop(documents);
                    return self.breaks("units only move forward", how);
                }
                let broken =
                    self.ledger.truth.check_move(&documents, &before, &unit, self.controller);
                drop(documents);
                if let Some((invariant, how)) = broken {
                    self.breaks(invariant, how);
                }
            }
        }
    }
}

fn stage(desired: Desired) -> u8 {
    match desired {
        Desired::Run => 0,
        Desired::Drain { .. } => 1,
        Desired::Stop { .. } => 2,
    }
}

/// What a write did, in short.
fn shown(op: &Op, documents: &Documents) -> String {
    let unit = |key: &str| {
        let id = key.strip_prefix(Unit::PREFIX)?.parse::<UnitId>().ok()?;
        let unit = documents.units.get(&id)?;
        let want = ["run", "drain", "stop"][usize::from(stage(unit.desired))];
        Some(format!("{key} {} on {} shall {want}", unit.release, unit.node))
    };
    let app = |key: &str| {
        let name = key.strip_prefix(App::PREFIX)?.parse::<AppName>().ok()?;
        let app = documents.apps.get(&name)?;
        let target = app.target.as_ref().map(|deploy| deploy.release.0);
        let counts: Vec<String> = app
            .formation
            .iter()
            .map(|(name, scale)| format!("{name}={}", scale.wanted()))
            .collect();
        Some(format!(
            "{key} now {:?} then {target:?} generation {} settled {} {:?} {}",
            app.current.map(|release| release.0),
            app.generation,
            app.settled.generation,
            app.settled.outcome,
            counts.join(" ")
        ))
    };
    match op {
        Op::Put { key, .. } => unit(key).or_else(|| app(key)).unwrap_or_else(|| key.clone()),
        Op::Delete { key } => format!("{key} deleted"),
    }
}

#[async_trait]
impl Store for Writer {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.ledger.store.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.ledger.store.list(prefix).await
    }

    async fn transact(&self, txn: Txn) -> Result<Outcome, StoreError> {
        let leader = self.ledger.store.get(Epoch::PREFIX).await?;
        let ops = txn.ops.clone();
        let outcome = match self.ledger.store.transact(txn).await {
            Ok(outcome) => outcome,
            Err(error) => {
                let keys: Vec<&str> = ops.iter().map(Op::key).collect();
                self.breaks("every write can be made", format!("{error}: {keys:?}"));
                return Err(error);
            }
        };
        let Outcome::Committed(revision) = outcome else { return Ok(outcome) };
        self.check_epoch(leader.as_ref(), &ops);
        for op in &ops {
            self.take(op, revision);
            if op.key() == Epoch::PREFIX {
                self.epoch.store(revision.0, Ordering::SeqCst);
            }
            if op.key() != controller::leader::Beat::PREFIX {
                let mut documents = self.ledger.documents();
                documents.revision = revision.0;
                let text = shown(op, &documents);
                drop(documents);
                self.ledger.trace.say(format!("c{} {:?} {text}", self.controller, self.hand));
            }
        }
        Ok(outcome)
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.ledger.store.watch(prefix, after).await
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.ledger.store.compact(before).await
    }
}
