//! A second node for every image: asked for before a push is acknowledged, and made up for when one is lost.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use proto::registry::{CopyRequest, SurveyRequest};
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::{
    name::{Digest, Reference, Repository, Tag},
    peers::Peers,
    refusal::Refusal,
    registry::Registry,
};

/// How long a push waits for a second node.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long until it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Sees to second copies. A cheap handle.
#[derive(Clone)]
pub struct Second {
    registry: Arc<Registry>,
    peers: Peers,
}

/// Where an image is beside here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safe {
    /// On another node, whole and synced.
    Twice,
    /// Nowhere: there is no other node, or the only other one does not answer.
    Alone {
        /// There is one that does not answer.
        is_lacking: bool,
    },
}

/// Why nobody took a copy.
enum Lack {
    /// Nobody answers.
    Silence { others: usize },
    /// Those who answer have no room.
    Room,
    /// Those who answer failed.
    Failure,
}

impl Second {
    /// Of what this registry holds, at these peers.
    pub fn new(registry: Arc<Registry>, peers: Peers) -> Second {
        Second { registry, peers }
    }

    /// Returns when an image that is here is on a second node too, as far as there is one.
    ///
    /// A cluster of two whose other half is silent goes on with one copy, for it could do nothing else; a larger one
    /// refuses, because its silence means that this node is the one that is cut off.
    pub async fn require(
        &self,
        repository: &Repository,
        digest: &Digest,
        tag: Option<&Tag>,
    ) -> Result<Safe, Refusal> {
        let until = Instant::now() + PATIENCE;
        loop {
            let lack = match self.copy_once(repository, digest, tag).await? {
                Ok(()) => return Ok(Safe::Twice),
                Err(lack) => lack,
            };
            let refusal = match lack {
                Lack::Silence { others: 0 } => return Ok(Safe::Alone { is_lacking: false }),
                Lack::Silence { others: 1 } => {
                    let name = repository.as_str();
                    tracing::warn!(
                        repository = name,
                        "kept on this node only: the other one does not answer"
                    );
                    return Ok(Safe::Alone { is_lacking: true });
                }
                Lack::Silence { .. } => Refusal::no_second("no other node answers"),
                Lack::Room => Refusal::no_second("no other node has room for it"),
                Lack::Failure => Refusal::no_second("no other node took a copy"),
            };
            if Instant::now() >= until {
                return Err(refusal);
            }
            sleep(PAUSE).await;
        }
    }

    /// Makes up for what a repository lacks: each image that stays is on another node, too. Says how many are not.
    pub async fn repair(&self, repository: &Repository) -> Result<usize, Refusal> {
        let name = repository.clone();
        let staying =
            self.registry.blocking(move |registry| registry.repositories.staying(&name)).await?;
        let mut lacking = 0;
        for digest in staying {
            let (name, asked) = (repository.clone(), digest.clone());
            let tags = self.registry.blocking(move |registry| registry.tags_of(&name, &asked));
            let tag = tags.await?.into_iter().next();
            if self.is_elsewhere(repository, &digest).await? {
                continue;
            }
            match self.copy_once(repository, &digest, tag.as_ref()).await? {
                Ok(()) => tracing::info!(
                    repository = repository.as_str(),
                    digest = digest.as_str(),
                    "a second copy was made up"
                ),
                Err(_) => lacking += 1,
            }
        }
        Ok(lacking)
    }

    async fn is_elsewhere(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, Refusal> {
        let request = self.question(repository, digest).await?;
        let answers = self.peers.survey(&request).await;
        Ok(answers.iter().any(|(_, answer)| answer.complete))
    }

    /// Asks those who answer, the one that lacks least and has the most room first.
    async fn copy_once(
        &self,
        repository: &Repository,
        digest: &Digest,
        tag: Option<&Tag>,
    ) -> Result<Result<(), Lack>, Refusal> {
        let others = self.peers.others().len();
        if others == 0 {
            return Ok(Err(Lack::Silence { others }));
        }
        let question = self.question(repository, digest).await?;
        let mut answers = self.peers.survey(&question).await;
        answers.sort_by_key(|(_, answer)| (answer.missing, Reverse(answer.room_bytes)));
        let mut lack = Lack::Silence { others };
        for (mut peer, _) in answers {
            let request = CopyRequest {
                repository: repository.to_string(),
                manifest: digest.to_string(),
                tag: tag.map(|tag| tag.as_str().to_owned()).unwrap_or_default(),
            };
            match peer.copy(request).await {
                Ok(()) => return Ok(Ok(())),
                Err(status) => {
                    tracing::warn!(node = peer.node, %status, "a copy was not taken");
                    lack = match status.code() {
                        Code::ResourceExhausted => Lack::Room,
                        // It went while it was asked.
                        Code::Unavailable | Code::DeadlineExceeded => lack,
                        _ => Lack::Failure,
                    };
                }
            }
        }
        Ok(Err(lack))
    }

    async fn question(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<SurveyRequest, Refusal> {
        let (name, asked) = (repository.clone(), digest.clone());
        let entry = self
            .registry
            .blocking(move |registry| Ok(registry.repositories.peek(&name, &asked)?));
        let blobs = entry.await?.map(|entry| entry.blobs).unwrap_or_default();
        Ok(SurveyRequest {
            repository: repository.to_string(),
            manifest: digest.to_string(),
            blobs: blobs.iter().map(Digest::to_string).collect(),
        })
    }
}

/// The tag of a reference, if it is one.
pub fn tag(reference: &Reference) -> Option<&Tag> {
    match reference {
        Reference::Tag(tag) => Some(tag),
        Reference::Digest(_) => None,
    }
}
