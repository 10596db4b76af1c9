//! The agents, loggers and registries of all nodes, as this controller reaches them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::node::Member;
use model::snapshot::Snapshot;
use proto::agent::agent_client::AgentClient;
use proto::logger::logger_client::LoggerClient;
use proto::registry::registry_client::RegistryClient;
use service::Identity;
use service::identity::IdentityError;
use tonic::transport::Channel;

/// Keeps one channel per address. Cheap to clone.
#[derive(Clone)]
pub struct Reach(Arc<Shared>);

struct Shared {
    identity: Identity,
    /// This node, for the time before any node was heard.
    own: Member,
    channels: Mutex<BTreeMap<(&'static str, String), Channel>>,
}

impl Reach {
    /// From a controller on the node `own`.
    pub fn new(identity: Identity, own: Member) -> Reach {
        Reach(Arc::new(Shared { identity, own, channels: Mutex::default() }))
    }

    /// This node.
    pub fn own(&self) -> &Member {
        &self.0.own
    }

    /// All nodes of the cluster.
    pub fn members(&self, snapshot: &Snapshot) -> Vec<Member> {
        let specs = snapshot.specs.values().map(|spec| &spec.value);
        let members: Vec<Member> = specs
            .filter(|spec| spec.is_member())
            .map(|spec| Member { name: spec.name.clone(), addresses: spec.addresses.clone() })
            .collect();
        if members.is_empty() { vec![self.0.own.clone()] } else { members }
    }

    /// A node's agent.
    pub fn agent(&self, member: &Member) -> Result<AgentClient<Channel>, IdentityError> {
        Ok(AgentClient::new(self.channel("agent", &member.addresses.agent)?))
    }

    /// A node's logger.
    pub fn logger(&self, member: &Member) -> Result<LoggerClient<Channel>, IdentityError> {
        Ok(LoggerClient::new(self.channel("logger", &member.addresses.logger)?))
    }

    /// A node's registry.
    pub fn registry(&self, member: &Member) -> Result<RegistryClient<Channel>, IdentityError> {
        Ok(RegistryClient::new(self.channel("registry-proxy", &member.addresses.registry)?))
    }

    fn channel(&self, role: &'static str, address: &str) -> Result<Channel, IdentityError> {
        let mut channels = self.0.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (role, address.to_owned());
        if let Some(channel) = channels.get(&key) {
            return Ok(channel.clone());
        }
        let channel = service::channel(&self.0.identity, address, role)?;
        channels.insert(key, channel.clone());
        Ok(channel)
    }
}
