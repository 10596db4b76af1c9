//! Typed documents over the store: which key holds what, read and written whole.
//!
//! A document is stored as `{"v":1,"data":{..}}`. Reading gives the revision it was last modified
//! at; writing it back compares that revision, so a lost race is a [`CommitError::Conflict`] and
//! never a lost update.

use std::sync::Arc;

use crate::admission::{Authorities, JoinToken};
use crate::doubt::{Doubt, note_stale};
use crate::incarnation::Life;
use model::account::{SshKey, Token, User};
use model::app::App;
use model::name::{AppName, Hostname, ReleaseNumber, UnitId, Username};
use model::node::NodeSpec;
use model::release::Release;
use model::route::{Certificate, Domain};
use model::snapshot::Versioned;
use model::unit::Unit;
use model::volume::Doomed;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use store::{Entry, Outcome, Revision, Store, StoreError, Txn};

/// The version of the stored form. A newer one is refused, an older one is read by its own rules.
const FORMAT: u32 = 1;

/// A document that has a place of its own in the store.
pub trait Document: Serialize + DeserializeOwned {
    /// What all documents of the kind have in common.
    const PREFIX: &'static str;
    /// Where this one stands.
    fn key(&self) -> String;
}

macro_rules! document {
    ($type:ty, $prefix:literal, |$document:ident| $name:expr) => {
        impl Document for $type {
            const PREFIX: &'static str = $prefix;
            fn key(&self) -> String {
                let $document = self;
                format!("{}{}", Self::PREFIX, $name)
            }
        }
    };
}

document!(App, "apps/", |app| app.name);
document!(Release, "releases/", |release| format!("{}/{:08}", release.app, release.number.0));
document!(Unit, "units/", |unit| unit.id);
document!(NodeSpec, "nodes/", |node| node.name);
document!(Doomed, "doomed/", |volume| volume.id);
document!(Domain, "domains/", |domain| domain.host);
document!(Certificate, "certs/", |certificate| certificate.name);
document!(User, "users/", |user| user.name);
document!(SshKey, "keys/", |key| key.fingerprint);
document!(Token, "tokens/", |token| token.secret_hash);
document!(RegistrationDoor, "settings/registration", |_door| "");
document!(Life, "cluster/incarnation", |_life| "");
document!(Authorities, "cluster/authorities", |_authorities| "");
document!(JoinToken, "joins/", |token| token.secret_hash);

/// Whether anybody may register. Absent as long as there is no user: then anybody may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationDoor {
    /// Open or closed.
    pub open: bool,
}

/// Where an app's document stands.
pub fn app_key(app: &AppName) -> String {
    format!("{}{app}", App::PREFIX)
}

/// Where a release's document stands.
pub fn release_key(app: &AppName, number: ReleaseNumber) -> String {
    format!("{}{app}/{:08}", Release::PREFIX, number.0)
}

/// What all releases of an app have in common.
pub fn releases_prefix(app: &AppName) -> String {
    format!("{}{app}/", Release::PREFIX)
}

/// Where a unit's document stands.
pub fn unit_key(unit: &UnitId) -> String {
    format!("{}{unit}", Unit::PREFIX)
}

/// Where a domain's document stands.
pub fn domain_key(host: &Hostname) -> String {
    format!("{}{host}", Domain::PREFIX)
}

/// Where a user's document stands.
pub fn user_key(user: &Username) -> String {
    format!("{}{user}", User::PREFIX)
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    v: u32,
    data: T,
}

/// Why a document could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store failed.
    #[error("read from the store")]
    Store(#[from] StoreError),
    /// What stands there is not such a document.
    #[error("understand the stored document `{key}`")]
    Document {
        /// Where it stands.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A newer program wrote it.
    #[error(
        "understand the stored document `{key}`: its version {found} is newer than this program's"
    )]
    Newer {
        /// Where it stands.
        key: String,
        /// Its version.
        found: u32,
    },
}

/// Why a write did not happen, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Something it depended on changed meanwhile. Nothing was written.
    #[error("commit the change: something it depends on changed meanwhile")]
    Conflict,
    /// The store has no quorum. Nothing was written.
    #[error("commit the change: the store has no quorum")]
    NoQuorum,
    /// The store failed.
    #[error("commit the change")]
    Store(#[from] StoreError),
}

/// Reads one stored entry as a document.
pub fn decode<T: Document>(entry: &Entry) -> Result<Versioned<T>, ReadError> {
    let failed = |source| ReadError::Document { key: entry.key.clone(), source };
    let envelope: Envelope<serde_json::Value> =
        serde_json::from_slice(&entry.value).map_err(failed)?;
    if envelope.v > FORMAT {
        return Err(ReadError::Newer { key: entry.key.clone(), found: envelope.v });
    }
    let value = serde_json::from_value(envelope.data).map_err(failed)?;
    Ok(Versioned { value, revision: entry.modified.0 })
}

/// A document in its stored form.
pub fn encode<T: Document>(document: &T) -> Vec<u8> {
    let envelope = Envelope { v: FORMAT, data: document };
    serde_json::to_vec(&envelope).expect("documents hold only text, numbers and text-keyed maps")
}

/// Typed access to the store.
#[derive(Clone)]
pub struct Records {
    store: Arc<dyn Store>,
    doubt: Doubt,
}

impl Records {
    /// Records of a store.
    pub fn new(store: Arc<dyn Store>) -> Records {
        Records { store, doubt: Doubt::default() }
    }

    /// The same, by another way to the same store.
    pub fn by(&self, store: Arc<dyn Store>) -> Records {
        Records { store, doubt: self.doubt.clone() }
    }

    /// The store itself, for watches.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Whether the store can be asked now.
    pub fn doubt(&self) -> &Doubt {
        &self.doubt
    }

    /// The document at a key; the remembered one while there is doubt.
    pub async fn get<T: Document>(&self, key: &str) -> Result<Option<Versioned<T>>, ReadError> {
        if !self.doubt.is_set() {
            return self.get_now(key).await;
        }
        note_stale();
        let remembered = self.store.recall(key).await?;
        remembered.entries.iter().find(|entry| entry.key == key).map(decode).transpose()
    }

    /// The document at a key as it is now, or an error.
    pub async fn get_now<T: Document>(&self, key: &str) -> Result<Option<Versioned<T>>, ReadError> {
        self.store.get(key).await?.as_ref().map(decode).transpose()
    }

    /// One app.
    pub async fn app(&self, app: &AppName) -> Result<Option<Versioned<App>>, ReadError> {
        self.get(&app_key(app)).await
    }

    /// One release.
    pub async fn release(
        &self,
        app: &AppName,
        number: ReleaseNumber,
    ) -> Result<Option<Versioned<Release>>, ReadError> {
        self.get(&release_key(app, number)).await
    }

    /// All documents under a prefix, in key order; the remembered ones while there is doubt.
    pub async fn list<T: Document>(&self, prefix: &str) -> Result<Vec<Versioned<T>>, ReadError> {
        let listing = if self.doubt.is_set() {
            note_stale();
            self.store.recall(prefix).await?
        } else {
            self.store.list(prefix).await?
        };
        listing.entries.iter().map(decode).collect()
    }

    /// All documents of a kind.
    pub async fn all<T: Document>(&self) -> Result<Vec<Versioned<T>>, ReadError> {
        self.list(T::PREFIX).await
    }

    /// Applies a write whole, or not at all.
    pub async fn commit(&self, write: Write) -> Result<Revision, CommitError> {
        if self.doubt.is_set() {
            return Err(CommitError::NoQuorum);
        }
        match self.store.transact(write.txn).await? {
            Outcome::Committed(revision) => Ok(revision),
            Outcome::Conflict => Err(CommitError::Conflict),
        }
    }
}

/// A conditional write of several documents.
#[derive(Debug, Clone, Default)]
pub struct Write {
    txn: Txn,
}

impl Write {
    /// Nothing yet.
    pub fn new() -> Write {
        Write::default()
    }

    /// Makes a document that must not exist yet.
    pub fn create<T: Document>(mut self, document: &T) -> Write {
        let key = document.key();
        self.txn = self.txn.absent(key.clone()).put(key, encode(document));
        self
    }

    /// Makes a document, or replaces whatever was there.
    pub fn put<T: Document>(mut self, document: &T) -> Write {
        self.txn = self.txn.put(document.key(), encode(document));
        self
    }

    /// Replaces a document read at `revision`.
    pub fn replace<T: Document>(mut self, document: &T, revision: u64) -> Write {
        let key = document.key();
        self.txn = self.txn.unchanged(key.clone(), Revision(revision)).put(key, encode(document));
        self
    }

    /// Deletes a document read at `revision`.
    pub fn delete<T: Document>(mut self, document: &T, revision: u64) -> Write {
        let key = document.key();
        self.txn = self.txn.unchanged(key.clone(), Revision(revision)).delete(key);
        self
    }

    /// Deletes whatever is at a key; nothing is fine, too.
    pub fn remove(mut self, key: &str) -> Write {
        self.txn = self.txn.delete(key);
        self
    }

    /// Requires that a document read at `revision` is still the same.
    pub fn require<T: Document>(mut self, document: &T, revision: u64) -> Write {
        self.txn = self.txn.unchanged(document.key(), Revision(revision));
        self
    }

    /// Requires that a key was last put at `revision`.
    pub fn require_key(mut self, key: &str, revision: u64) -> Write {
        self.txn = self.txn.unchanged(key, Revision(revision));
        self
    }
}

#[cfg(test)]
mod tests {
    use model::time::Time;
    use store::MemoryStore;

    use super::*;

    fn app(name: &str) -> App {
        App::new(name.parse().unwrap(), "olga".parse().unwrap(), Time(1))
    }

    fn records() -> Records {
        Records::new(Arc::new(MemoryStore::new()))
    }

    #[tokio::test]
    async fn a_document_is_read_as_it_was_written() {
        let records = records();
        let shop = app("shop");
        records.commit(Write::new().create(&shop)).await.unwrap();
        let read = records.app(&shop.name).await.unwrap().unwrap();
        assert_eq!(read.value, shop);
        assert!(matches!(
            records.commit(Write::new().create(&shop)).await,
            Err(CommitError::Conflict)
        ));
    }

    #[tokio::test]
    async fn the_second_writer_of_one_revision_loses() {
        let records = records();
        records.commit(Write::new().create(&app("shop"))).await.unwrap();
        let read = records.app(&"shop".parse().unwrap()).await.unwrap().unwrap();
        let mut first = read.value.clone();
        first.maintenance = true;
        records.commit(Write::new().replace(&first, read.revision)).await.unwrap();
        let late = records.commit(Write::new().replace(&read.value, read.revision)).await;
        assert!(matches!(late, Err(CommitError::Conflict)));
        assert!(records.app(&first.name).await.unwrap().unwrap().value.maintenance);
    }

    #[tokio::test]
    async fn a_newer_programs_document_is_refused() {
        let records = records();
        let newer = br#"{"v":2,"data":{"anything":true}}"#.to_vec();
        records.store().transact(Txn::new().put("apps/shop", newer)).await.unwrap();
        let read = records.app(&"shop".parse().unwrap()).await;
        assert!(matches!(read, Err(ReadError::Newer { found: 2, .. })));
    }
}
