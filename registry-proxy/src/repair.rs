//! Looks after second copies in the background: when the controller said what stays, when members come and go, and now and then.

use std::{sync::Arc, time::Duration};

use service::Stop;
use tokio::{sync::mpsc, time::interval};

use crate::{name::Repository, peers::Peers, registry::Registry, second::Second};

/// How often everything is looked at. Short outages of other nodes pass between two looks.
const PERIOD: Duration = Duration::from_secs(600);
/// Repositories that may wait to be looked at; the next look at everything covers the others.
const WAITING: usize = 256;

/// Says that a repository is to be looked at. A cheap handle.
#[derive(Clone)]
pub struct Asked(mpsc::Sender<Repository>);

/// What is to be done.
pub struct Repair {
    registry: Arc<Registry>,
    peers: Peers,
    second: Second,
    asked: mpsc::Receiver<Repository>,
}

impl Asked {
    /// Soon, if it fits.
    pub fn look_at(&self, repository: Repository) {
        if self.0.try_send(repository).is_err() {
            tracing::debug!("many repositories are being looked at");
        }
    }
}

impl Repair {
    /// Nothing was asked yet.
    pub fn new(registry: Arc<Registry>, peers: Peers, second: Second) -> (Asked, Repair) {
        let (sender, asked) = mpsc::channel(WAITING);
        (Asked(sender), Repair { registry, peers, second, asked })
    }

    /// Repairs until `stop`.
    pub async fn run(mut self, stop: Stop) {
        let mut members = self.peers.members();
        let mut ticks = interval(PERIOD);
        // Whoever just started knows neither what stays nor who is there; news of the members wake it.
        ticks.tick().await;
        loop {
            tokio::select! {
                () = stop.wait() => return,
                Some(repository) = self.asked.recv() => self.look_at(&repository).await,
                Ok(()) = members.changed() => self.look_at_all(&stop).await,
                _ = ticks.tick() => self.look_at_all(&stop).await,
            }
        }
    }

    async fn look_at_all(&self, stop: &Stop) {
        let all = self.registry.blocking(|registry| Ok(registry.repositories.list()?)).await;
        for repository in all.unwrap_or_default() {
            if stop.is_set() {
                return;
            }
            self.look_at(&repository).await;
        }
    }

    async fn look_at(&self, repository: &Repository) {
        if self.peers.others().is_empty() {
            return;
        }
        match self.second.repair(repository).await {
            Ok(0) => {}
            Ok(lacking) => {
                let repository = repository.as_str();
                tracing::warn!(repository, lacking, "images are on this node only");
            }
            Err(refusal) => {
                let repository = repository.as_str();
                tracing::warn!(repository, %refusal, "second copies could not be looked after");
            }
        }
    }
}
