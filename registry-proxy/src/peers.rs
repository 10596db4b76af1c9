//! The registries of the other nodes, as the cluster's members name them, and what is asked of each.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, join_all, select_ok},
};
use link::Members;
use proto::registry::{
    BlobPiece, BlobRequest, CopyRequest, ManifestAnswer, ManifestRequest, SurveyAnswer,
    SurveyRequest, registry_client::RegistryClient,
};
use service::Identity;
use tokio::{sync::watch, time::timeout};
use tonic::{Status, Streaming, transport::Channel};

use crate::{
    manifest,
    name::{Digest, Reference, Repository},
};

/// How long a peer may take to say what it has.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// How long a peer may take to copy an image. One that dies is noticed within seconds.
const COPY_LIMIT: Duration = Duration::from_secs(15 * 60);
/// A manifest and its frame.
const MAX_MESSAGE: usize = manifest::MAX_BYTES + (64 << 10);

/// All other members' registries. A cheap handle.
#[derive(Clone)]
pub struct Peers(Arc<Shared>);

struct Shared {
    identity: Identity,
    members: watch::Receiver<Members>,
    channels: Mutex<BTreeMap<String, Channel>>,
}

/// One of them.
#[derive(Clone)]
pub struct Peer {
    /// Its node.
    pub node: String,
    client: RegistryClient<Channel>,
}

impl Peers {
    /// Those of these members that `identity` is not.
    pub fn new(identity: Identity, members: watch::Receiver<Members>) -> Peers {
        Peers(Arc::new(Shared { identity, members, channels: Mutex::default() }))
    }

    /// Wakes when the members change.
    pub fn members(&self) -> watch::Receiver<Members> {
        self.0.members.clone()
    }

    /// Whether a node is in the cluster.
    pub fn is_member(&self, node: &str) -> bool {
        self.0.members.borrow().nodes.iter().any(|member| member.name.as_str() == node)
    }

    /// The others.
    pub fn others(&self) -> Vec<Peer> {
        let own = &self.0.identity.own().node;
        let members = self.0.members.borrow();
        let others = members.nodes.iter().filter(|member| member.name.as_str() != own);
        let mut channels = self.0.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|address, _| {
            members.nodes.iter().any(|member| member.addresses.registry == *address)
        });
        let peer = |member: &model::node::Member| {
            let address = &member.addresses.registry;
            let channel = match channels.get(address) {
                Some(channel) => channel.clone(),
                None => {
                    let opened = service::channel(&self.0.identity, address, "registry-proxy");
                    let channel = opened.inspect_err(|error| {
                        tracing::error!(node = %member.name, %error, "a registry's address cannot be used");
                    });
                    let channel = channel.ok()?;
                    channels.insert(address.clone(), channel.clone());
                    channel
                }
            };
            let client = RegistryClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE);
            Some(Peer { node: member.name.to_string(), client })
        };
        others.filter_map(peer).collect()
    }

    /// A manifest, from whoever has it and answers first.
    pub async fn find(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Option<ManifestAnswer> {
        let request = ManifestRequest {
            repository: repository.to_string(),
            reference: reference.to_string(),
        };
        self.first(|mut peer| {
            let request = request.clone();
            async move {
                let found = peer.client.find_manifest(request);
                Ok(timeout(ANSWER_LIMIT, found).await.map_err(late)??.into_inner())
            }
            .boxed()
        })
        .await
    }

    /// A blob from an offset on, from whoever has it and answers first.
    pub async fn read(&self, digest: &Digest, offset: u64) -> Option<Streaming<BlobPiece>> {
        let request = BlobRequest { digest: digest.to_string(), offset };
        self.first(|mut peer| {
            let request = request.clone();
            async move {
                let opened = peer.client.read_blob(request);
                Ok(timeout(ANSWER_LIMIT, opened).await.map_err(late)??.into_inner())
            }
            .boxed()
        })
        .await
    }

    /// Asks all at once, so that a dead one delays nothing.
    async fn first<T>(
        &self,
        ask: impl Fn(Peer) -> BoxFuture<'static, Result<T, Status>>,
    ) -> Option<T> {
        let asked: Vec<_> = self.others().into_iter().map(ask).collect();
        if asked.is_empty() {
            return None;
        }
        match select_ok(asked).await {
            Ok((answer, _)) => Some(answer),
            Err(status) => {
                tracing::debug!(%status, "no other node has it");
                None
            }
        }
    }

    /// What each of the others that answer has of an image.
    pub async fn survey(&self, request: &SurveyRequest) -> Vec<(Peer, SurveyAnswer)> {
        let asked = self.others().into_iter().map(|mut peer| async move {
            let answer = timeout(ANSWER_LIMIT, peer.client.survey(request.clone())).await;
            Some((peer, answer.ok()?.ok()?.into_inner()))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }
}

impl Peer {
    /// Asks it to take a copy; when this returns it has all of it on its disk.
    pub async fn copy(&mut self, request: CopyRequest) -> Result<(), Status> {
        timeout(COPY_LIMIT, self.client.copy(request)).await.map_err(late)??;
        Ok(())
    }
}

fn late(_: tokio::time::error::Elapsed) -> Status {
    Status::deadline_exceeded("no answer in time")
}
