//! The store of several machines: an etcd cluster (the API common to 3.4, 3.5 and 3.6).
//!
//! Every call has a deadline, only reads are tried again, and watches demand a member that sees a leader.

mod errors;
mod listing;
mod members;
mod watching;

pub use members::{EtcdMember, EtcdMembers, MemberError};

use std::fmt;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Certificate, Client, ClusterClient, Compare, CompareOp, ConnectOptions, Identity, KeyValue,
    KvClient, MaintenanceClient, TlsOptions, TxnOp, WatchClient,
};

use crate::{Entry, Guard, Listing, Op, Outcome, Revision, Store, StoreError, Txn, Watch, limits};
use errors::{corrupt, read_error, write_error};

/// How long one attempt of a read may take; an election takes one to two seconds.
const READ_DEADLINE: Duration = Duration::from_secs(2);
/// The pauses between attempts of a read.
const READ_PAUSES: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(500)];
/// How long a transaction may take before its outcome counts as unknown.
const TRANSACT_DEADLINE: Duration = Duration::from_secs(5);
/// How long the opening of a connection may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// A connection is asked for life this often, and given up after as long without an answer.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Room for one page of a listing.
const PAGE_BYTES: usize = 16 * 1024 * 1024;
/// The longest [`EtcdOptions::key_prefix`]; [`limits::MAX_TXN_BYTES`] leaves room for it before each key.
const MAX_KEY_PREFIX_BYTES: usize = 128;

/// Where the cluster is and who we are to it.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// `http://host:port` or, with `tls`, `https://host:port`. The first is the nearest: it is asked what it remembers
    /// when the members cannot agree.
    pub endpoints: Vec<String>,
    /// Our side of mutual TLS.
    pub tls: Option<EtcdTls>,
    /// Put before every key, so that several stores share a cluster; at most 128 bytes.
    pub key_prefix: String,
}

/// Certificates, all as PEM.
#[derive(Clone)]
pub struct EtcdTls {
    /// Who signs the members' certificates.
    pub ca_pem: Vec<u8>,
    /// Our certificate.
    pub certificate_pem: Vec<u8>,
    /// Its key.
    pub key_pem: Vec<u8>,
    /// The name in the members' certificates, where it is not the endpoint's host.
    pub server_name: Option<String>,
}

impl fmt::Debug for EtcdTls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("EtcdTls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// A store in an etcd cluster.
pub struct EtcdStore {
    clients: Shared,
    key_prefix: String,
}

/// What is called now; other connections once certificates are renewed.
type Shared = Arc<RwLock<Clients>>;

/// The connections to the cluster. Cheap to clone.
#[derive(Clone)]
struct Clients {
    kv: KvClient,
    /// To the nearest member alone.
    nearest: KvClient,
    /// On a connection of its own, so that a burst of changes does not hold up transactions.
    watches: WatchClient,
    members: ClusterClient,
    maintenance: MaintenanceClient,
    /// To the nearest member alone, which need not see a leader.
    nearest_members: ClusterClient,
    /// What they were made of.
    options: EtcdOptions,
}

impl Clients {
    /// Of a cluster; each connects on first use.
    async fn of(options: &EtcdOptions) -> Result<Clients, StoreError> {
        // A member that sees no leader refuses these at once, instead of leaving them unanswered.
        let with_leader = || settings(options).with_require_leader(true);
        let calls = connect(&options.endpoints, with_leader()).await?;
        let watches = connect(&options.endpoints, with_leader()).await?;
        let first = &options.endpoints[..options.endpoints.len().min(1)];
        let nearest = connect(first, settings(options)).await?;
        Ok(Clients {
            kv: calls.kv_client().max_decoding_message_size(PAGE_BYTES),
            nearest: nearest.kv_client().max_decoding_message_size(PAGE_BYTES),
            watches: watching::client(&watches),
            members: calls.cluster_client(),
            maintenance: calls.maintenance_client(),
            nearest_members: nearest.cluster_client(),
            options: options.clone(),
        })
    }
}

impl EtcdStore {
    /// Connects and reads once, so that a wrong address or certificate is found here. Members without a quorum are
    /// enough, if the nearest remembers something.
    pub async fn connect(options: EtcdOptions) -> Result<Self, StoreError> {
        if options.key_prefix.len() > MAX_KEY_PREFIX_BYTES {
            return Err(StoreError::TooLarge {
                what: "the key prefix".into(),
                size: options.key_prefix.len(),
                limit: MAX_KEY_PREFIX_BYTES,
            });
        }
        let clients = Arc::new(RwLock::new(Clients::of(&options).await?));
        let store = Self { clients, key_prefix: options.key_prefix };
        match store.get("connected").await {
            Err(error) if error.is_retryable() => {
                store.recall("connected").await.map_err(|_| error)?;
            }
            answer => drop(answer?),
        }
        Ok(store)
    }

    /// The members of its cluster.
    pub fn members(&self) -> EtcdMembers {
        EtcdMembers::new(self.clients.clone())
    }

    fn clients(&self) -> Clients {
        now(&self.clients)
    }

    /// Reads, again if it may help.
    async fn read<T, Call>(
        &self,
        kv: &KvClient,
        call: impl Fn(KvClient) -> Call,
    ) -> Result<T, StoreError>
    where
        Call: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut pauses = READ_PAUSES.iter();
        loop {
            let error = match tokio::time::timeout(READ_DEADLINE, call(kv.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => read_error(error),
                Err(_) => StoreError::TimedOut(READ_DEADLINE),
            };
            match pauses.next() {
                Some(pause) if error.is_retryable() => tokio::time::sleep(*pause).await,
                Some(_) | None => return Err(error),
            }
        }
    }

    fn key(&self, key: &str) -> String {
        [self.key_prefix.as_str(), key].concat()
    }

    fn entry(&self, found: &KeyValue) -> Result<Entry, StoreError> {
        entry(&self.key_prefix, found)
    }

    fn compare(&self, guard: Guard) -> Compare {
        match guard {
            Guard::Absent(key) => Compare::create_revision(self.key(&key), CompareOp::Equal, 0),
            Guard::Unchanged { key, modified } => {
                Compare::mod_revision(self.key(&key), CompareOp::Equal, signed(modified))
            }
        }
    }

    fn op(&self, op: Op) -> TxnOp {
        match op {
            Op::Put { key, value } => TxnOp::put(self.key(&key), value, None),
            Op::Delete { key } => TxnOp::delete(self.key(&key), None),
        }
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        limits::check_key(key)?;
        let answer = self
            .read(&self.clients().kv, |mut kv| {
                let key = self.key(key);
                async move { kv.get(key, None).await }
            })
            .await?;
        answer.kvs().first().map(|found| self.entry(found)).transpose()
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        limits::check_prefix(prefix)?;
        listing::list(self, prefix).await
    }

    async fn recall(&self, prefix: &str) -> Result<Listing, StoreError> {
        limits::check_prefix(prefix)?;
        listing::recall(self, prefix).await
    }

    async fn transact(&self, txn: Txn) -> Result<Outcome, StoreError> {
        limits::check_txn(&txn)?;
        let guards: Vec<_> = txn.guards.into_iter().map(|it| self.compare(it)).collect();
        let ops: Vec<_> = txn.ops.into_iter().map(|it| self.op(it)).collect();
        let request = etcd_client::Txn::new().when(guards).and_then(ops);
        let mut kv = self.clients().kv;
        let answer = tokio::time::timeout(TRANSACT_DEADLINE, kv.txn(request))
            .await
            .map_err(|_| StoreError::TimedOut(TRANSACT_DEADLINE))?
            .map_err(write_error)?;
        if !answer.succeeded() {
            return Ok(Outcome::Conflict);
        }
        let revision = header_revision(answer.header().map(|it| it.revision()))?;
        Ok(Outcome::Committed(revision))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        limits::check_prefix(prefix)?;
        let prefixes =
            watching::Prefixes { store: self.key_prefix.clone(), watched: self.key(prefix) };
        watching::open(self.clients().watches, prefixes, after).await
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        // etcd keeps the newest version of each key at the revision it compacts to, but not the deletions of that
        // revision; so it is given the one before.
        let Some(last) = before.0.checked_sub(1).filter(|last| *last > 0) else {
            return Ok(());
        };
        let mut kv = self.clients().kv;
        let call = kv.compact(signed(Revision(last)), None);
        let done = tokio::time::timeout(TRANSACT_DEADLINE, call)
            .await
            .map_err(|_| StoreError::TimedOut(TRANSACT_DEADLINE))?
            .map_err(write_error);
        match done {
            Ok(_) | Err(StoreError::Compacted { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn now(clients: &Shared) -> Clients {
    clients.read().unwrap_or_else(PoisonError::into_inner).clone()
}

async fn connect(endpoints: &[String], settings: ConnectOptions) -> Result<Client, StoreError> {
    Client::connect(endpoints, Some(settings)).await.map_err(read_error)
}

fn settings(options: &EtcdOptions) -> ConnectOptions {
    let mut settings = ConnectOptions::new()
        .with_connect_timeout(CONNECT_DEADLINE)
        .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE)
        .with_keep_alive_while_idle(true);
    if let Some(tls) = &options.tls {
        settings = settings.with_tls(tls_options(tls));
    }
    settings
}

fn tls_options(tls: &EtcdTls) -> TlsOptions {
    let options = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(&tls.ca_pem))
        .identity(Identity::from_pem(&tls.certificate_pem, &tls.key_pem));
    match &tls.server_name {
        Some(name) => options.domain_name(name),
        None => options,
    }
}

/// From the first key under `prefix` to the first beyond it, as etcd writes ranges.
fn range_of(prefix: String) -> (Vec<u8>, Vec<u8>) {
    let mut end = prefix.clone().into_bytes();
    match end.last_mut() {
        // A byte of UTF-8 is never 255, so there is always a next one.
        Some(last) => *last += 1,
        None => return (b"\0".to_vec(), b"\0".to_vec()),
    }
    (prefix.into_bytes(), end)
}

fn entry(key_prefix: &str, found: &KeyValue) -> Result<Entry, StoreError> {
    Ok(Entry {
        key: own_key(key_prefix, found)?,
        value: Bytes::copy_from_slice(found.value()),
        created: unsigned(found.create_revision()),
        modified: unsigned(found.mod_revision()),
    })
}

fn own_key(key_prefix: &str, found: &KeyValue) -> Result<String, StoreError> {
    let key = found
        .key_str()
        .map_err(|_| corrupt("a key is not UTF-8"))?
        .strip_prefix(key_prefix)
        .ok_or_else(|| corrupt("a key outside of what was asked for"))?;
    Ok(key.into())
}

fn header_revision(revision: Option<i64>) -> Result<Revision, StoreError> {
    revision.map(unsigned).ok_or_else(|| corrupt("an answer without a revision"))
}

/// etcd counts in signed numbers; beyond them lies no revision that could ever be.
fn signed(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

fn unsigned(revision: i64) -> Revision {
    Revision(revision.unsigned_abs())
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("EtcdStore").field("key_prefix", &self.key_prefix).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_before_the_first_key_beyond_its_prefix() {
        assert_eq!(range_of("a/".into()), (b"a/".to_vec(), b"a0".to_vec()));
        assert_eq!(range_of(String::new()), (b"\0".to_vec(), b"\0".to_vec()));
    }

    #[test]
    fn certificates_are_not_printed() {
        let tls = EtcdTls {
            ca_pem: b"ca".to_vec(),
            certificate_pem: b"certificate".to_vec(),
            key_pem: b"hidden".to_vec(),
            server_name: None,
        };
        assert_eq!(format!("{tls:?}"), "EtcdTls { server_name: None, .. }");
    }
}
