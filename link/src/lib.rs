//! How every part holds on to the controllers: where their gateways are, which of them answers now, and who else is in
//! the cluster.
//!
//! In come the addresses from the settings and, from any gateway, the list of the cluster's members; out go a channel
//! that works now ([`Gateways::best`]), work and streams for each gateway at once ([`Gateways::with_each`], [`Gateways::listen`])
//! and the members. The last list is kept on disk, so that a part finds the controllers again after a restart, wherever they
//! have moved. It knows nothing of orders or reports. Read [`Gateways`] first, then `listen` and `follow`.

mod follow;
mod listen;
mod members;

pub use listen::{Listener, Refused, Silence};
pub use members::Members;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{AbortHandle, abortable};
use futures_util::stream::{FuturesUnordered, StreamExt};
use service::identity::IdentityError;
use service::{Identity, List, Settings, Stop, Tasks};
use tokio::sync::watch;
use tonic::transport::Channel;

/// What a part must say to be linked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who it is.
    pub identity: Identity,
    /// Gateways it was told of, `host:port`; at least one.
    pub gateways: Vec<String>,
    /// Where the members are kept; exists.
    pub folder: PathBuf,
}

/// Reads the gateways from the settings.
pub fn gateways(settings: &mut Settings) -> Vec<String> {
    let List(gateways) = settings.get(
        "cluster.gateway",
        "127.0.0.1:7400",
        "Addresses of the controllers' gateways; those of members that join later are learnt.",
    );
    if gateways.is_empty() {
        settings.problem("`gateway` in [cluster] must name a controller's gateway".to_owned());
    }
    gateways
}

/// A cheap handle on the way to the controllers.
#[derive(Clone)]
pub struct Gateways(Arc<Shared>);

impl fmt::Debug for Gateways {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.doors().keys()).finish()
    }
}

struct Shared {
    config: Config,
    doors: Mutex<BTreeMap<String, Door>>,
    addresses: watch::Sender<Vec<String>>,
    members: watch::Sender<Members>,
}

/// One gateway.
struct Door {
    channel: Channel,
    state: DoorState,
}

/// The way to one gateway.
#[derive(Debug, Clone)]
pub struct Way {
    address: String,
    /// What leads there.
    pub channel: Channel,
}

/// Whether a gateway answers.
#[derive(PartialEq, Eq)]
enum DoorState {
    /// It does.
    Open {
        /// Its place in the queue: the lower, the longer it has answered without fault.
        since: u64,
    },
    /// It does not.
    Closed(Silence),
}

impl Door {
    fn open_since(&self) -> Option<u64> {
        match self.state {
            DoorState::Open { since } => Some(since),
            DoorState::Closed(_) => None,
        }
    }
}

impl Gateways {
    /// Reads the members of the last run and begins to look after every gateway.
    pub fn start(config: Config, tasks: &Tasks) -> Result<Gateways, IdentityError> {
        for address in &config.gateways {
            service::channel(&config.identity, address, "controller")?;
        }
        let kept = Members::kept(&config.folder);
        let shared = Shared {
            config,
            doors: Mutex::default(),
            addresses: watch::Sender::default(),
            members: watch::Sender::new(kept),
        };
        let gateways = Gateways(Arc::new(shared));
        gateways.open_doors();
        tasks.spawn("members", follow::keep(gateways.clone(), tasks.stop().clone()));
        tasks.spawn("gateways", follow::follow(gateways.clone(), tasks.stop().clone()));
        Ok(gateways)
    }

    /// The way to a gateway that answers now; when none does, to one that may.
    pub fn best(&self) -> Way {
        let doors = self.doors();
        let longest_open = doors.iter().filter(|(_, door)| door.open_since().is_some());
        let best = longest_open.min_by_key(|(_, door)| door.open_since()).or(doors.iter().next());
        let (address, door) = best.expect("there is a gateway: the settings name one");
        Way { address: address.clone(), channel: door.channel.clone() }
    }

    /// Prefers all others to a gateway that answers, but could not do what it was asked: its store is not there, or it is
    /// of a node that was removed.
    pub fn pass_over(&self, way: &Way) {
        let mut doors = self.doors();
        let last = last_place(&doors);
        if let Some(Door { state: DoorState::Open { since }, .. }) = doors.get_mut(&way.address) {
            *since = last + 1;
        }
    }

    /// How many gateways are known.
    pub fn count(&self) -> usize {
        self.doors().len()
    }

    /// The nodes of the cluster, as last told; wakes on each change.
    pub fn members(&self) -> watch::Receiver<Members> {
        self.0.members.subscribe()
    }

    /// Whether a gateway answers; if not, why they do not let us in, where they say so.
    pub fn check(&self) -> Result<(), String> {
        let doors = self.doors();
        if doors.values().any(|door| door.open_since().is_some()) {
            return Ok(());
        }
        let refusal = doors.values().find_map(|door| match &door.state {
            DoorState::Closed(Silence::Refused(why)) => Some(why.clone()),
            DoorState::Closed(Silence::Silent) | DoorState::Open { .. } => None,
        });
        Err(refusal.unwrap_or_else(|| "no gateway answers".to_owned()))
    }

    /// Runs `work` for every gateway at once, for as long as it is one, until `stop`. Work that ends is not begun anew.
    pub async fn with_each<W, F>(&self, stop: Stop, work: W)
    where
        W: Fn((String, Channel)) -> F,
        F: Future<Output = ()>,
    {
        let mut addresses = self.0.addresses.subscribe();
        addresses.mark_changed();
        let mut handles: BTreeMap<String, AbortHandle> = BTreeMap::new();
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = stop.wait() => return,
                Some(_) = running.next() => {}
                changed = addresses.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = addresses.borrow_and_update().clone();
                    handles.retain(|address, handle| {
                        let stays = now.contains(address);
                        if !stays {
                            handle.abort();
                        }
                        stays
                    });
                    for (address, channel) in self.channels_of(&now) {
                        if let Entry::Vacant(entry) = handles.entry(address.clone()) {
                            let (work, handle) = abortable(work((address, channel)));
                            entry.insert(handle);
                            running.push(work);
                        }
                    }
                }
            }
        }
    }

    fn channels_of(&self, addresses: &[String]) -> Vec<(String, Channel)> {
        let doors = self.doors();
        let known = addresses.iter().filter_map(|address| doors.get_key_value(address));
        known.map(|(address, door)| (address.clone(), door.channel.clone())).collect()
    }

    /// Makes the doors those of the settings and the members.
    fn open_doors(&self) {
        let mut wanted = self.0.config.gateways.clone();
        wanted.extend(self.0.members.borrow().gateways());
        wanted.sort();
        wanted.dedup();
        {
            let mut doors = self.doors();
            doors.retain(|address, _| wanted.contains(address));
            wanted.retain(|address| {
                doors.contains_key(address) || self.open_door(&mut doors, address)
            });
        }
        self.0.addresses.send_if_modified(|addresses| {
            let is_new = *addresses != wanted;
            *addresses = wanted;
            is_new
        });
    }

    /// False: a member gave an address that is none. The others are reached all the same.
    fn open_door(&self, doors: &mut BTreeMap<String, Door>, address: &str) -> bool {
        match service::channel(&self.0.config.identity, address, "controller") {
            Ok(channel) => {
                doors.insert(
                    address.to_owned(),
                    Door { channel, state: DoorState::Closed(Silence::Silent) },
                );
                true
            }
            Err(error) => {
                tracing::error!(address, %error, "a gateway's address cannot be used");
                false
            }
        }
    }

    fn doors(&self) -> MutexGuard<'_, BTreeMap<String, Door>> {
        self.0.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the queue of gateways that answer.
fn last_place(doors: &BTreeMap<String, Door>) -> u64 {
    doors.values().filter_map(Door::open_since).max().unwrap_or(0)
}
