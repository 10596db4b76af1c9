//! The controller without its doors: it follows the store, competes for the lead, plans, and has orders and tables ready for
//! whoever asks. Programs put the API and the gateway before it, a simulation asks it directly.

use std::sync::Arc;

use futures_util::FutureExt;
use model::incarnation::Incarnation;
use model::name::NodeName;
use model::time::Time;
use rand::Rng;
use service::{Clock, Stop, Tasks, Wake, reconcile};
use tokio::sync::{Mutex, watch};

use crate::apply::Applier;
use crate::election::{self, Rivals};
use crate::gateway::nodes::{Nodes, Versions};
use crate::gateway::routers::{Routers, Tables};
use crate::heard::Heard;
use crate::leader::Leader;
use crate::observe::{ObserveError, Observer};
use crate::outside::Outside;
use crate::plan::{Ids, Rules};
use crate::planner::{self, Planner};
use crate::records::Records;
use crate::seal::Seal;
use crate::view::View;

/// What a mind is made of.
pub struct Parts {
    /// This controller's node.
    pub node: NodeName,
    /// Stored documents.
    pub records: Records,
    /// Their image.
    pub observer: Arc<Observer>,
    /// Where views go.
    pub view: watch::Sender<View>,
    /// The life of the store.
    pub incarnation: Incarnation,
    /// Whether others may lead.
    pub rivals: Rivals,
    /// The sealing key.
    pub seal: Arc<Seal>,
    /// Settings of the planners.
    pub rules: Rules,
    /// The platform's domain.
    pub domain: String,
    /// The time.
    pub clock: Clock,
    /// Names for new units.
    pub ids: Box<dyn Ids + Send>,
    /// The loggers and registries.
    pub outside: Arc<dyn Outside>,
    /// Wakes the planner.
    pub wake: Wake,
    /// Where its loops run.
    pub tasks: Tasks,
}

/// A running one.
pub struct Mind {
    /// Its place in the lead.
    pub leader: Leader,
    /// Its image of the store.
    pub observer: Arc<Observer>,
    /// The latest view.
    pub view: watch::Receiver<View>,
    /// What agents call.
    pub nodes: Nodes,
    /// What routers call.
    pub routers: Routers,
}

/// Reads the store: its image, and the first view of it.
pub async fn read(records: &Records) -> Result<(Arc<Observer>, watch::Sender<View>), ObserveError> {
    let observer = Arc::new(Observer::start(records.clone()).await?);
    let (snapshot, _) = observer.snapshot(|_| {});
    Ok((observer, watch::Sender::new(View { snapshot, ..View::default() })))
}

impl Mind {
    /// Starts the loops.
    pub fn start(parts: Parts) -> Mind {
        let Parts { records, observer, seal, clock, wake, tasks, .. } = parts;
        let (stop, view) = (tasks.stop().clone(), parts.view.subscribe());
        let leader = Leader::new(records.clone(), parts.node.as_str());
        let heard = Heard::since(Time(clock.now_ms()));
        let tables = Tables::new(seal.clone(), parts.incarnation.clone());
        let planner = Planner::new(planner::Parts {
            observer: observer.clone(),
            heard: heard.clone(),
            applier: Applier { records, leader: leader.clone() },
            tables: tables.clone(),
            view: parts.view,
            rules: parts.rules,
            node: parts.node,
            domain: parts.domain,
            clock: clock.clone(),
            ids: parts.ids,
            outside: parts.outside,
            tasks: tasks.clone(),
            wake: wake.clone(),
        });
        let nodes = Nodes {
            view: view.clone(),
            heard: heard.clone(),
            wake: wake.clone(),
            clock: clock.clone(),
            seal,
            incarnation: parts.incarnation,
            versions: Versions::default(),
        };
        let routers = Routers { tables, heard, wake: wake.clone(), clock: clock.clone() };
        tasks.spawn("observer", observer.clone().follow(wake.clone(), stop.clone()));
        tasks.spawn("lead", election::campaign(leader.clone(), parts.rivals, clock, stop.clone()));
        let news = wake_with_the_lead(leader.clone(), wake.clone(), stop.clone());
        tasks.spawn("news of the lead", news);
        tasks.spawn("planner", plan_until(planner, wake, stop));
        Mind { leader, observer, view, nodes, routers }
    }
}

async fn plan_until(planner: Planner, wake: Wake, stop: Stop) {
    // Never waited for, as there is one pass at a time: a future that borrows it from here could not move between threads.
    let planner = Arc::new(Mutex::new(planner));
    let pass = move || {
        let planner = planner.clone();
        async move { planner.lock().await.pass().await }.boxed()
    };
    reconcile::drive("planner", planner::OPTIONS, wake, stop, pass).await;
}

/// A lead that is taken or lost is a reason for a pass.
async fn wake_with_the_lead(leader: Leader, wake: Wake, stop: Stop) {
    let mut leading = leader.leading();
    loop {
        tokio::select! {
            biased;
            () = stop.wait() => return,
            changed = leading.changed() => match changed {
                Ok(()) => wake.kick(),
                Err(_) => return,
            },
        }
    }
}

/// Unit ids nobody can guess and that do not meet: 40 random bits.
pub struct RandomIds;

impl Ids for RandomIds {
    fn next(&mut self) -> String {
        const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut random = [0; 8];
        rand::rng().fill_bytes(&mut random);
        random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
    }
}
