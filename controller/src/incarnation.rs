//! The life of this store, as it is stored and as this controller obeys it; and how another one begins.
//!
//! A store that was recovered or restored goes on under a later incarnation. What a running controller remembers is of the
//! earlier one, so it ends and begins anew; and one that obeyed a later one never serves an earlier store again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use model::incarnation::{Heard, Incarnation};
use model::snapshot::Versioned;
use model::time::Time;
use serde::{Deserialize, Serialize};
use service::{Stop, durable};

use crate::observe::Observer;
use crate::records::{CommitError, Document, ReadError, Records, Write};

const FILE: &str = "incarnation.json";
const VERSION: u32 = 1;

/// What stands in the store of its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Random, made when it began.
    pub id: String,
    /// How many there were, this one included.
    #[serde(default = "first")]
    pub counter: u64,
    /// Who began it and why; none for the first.
    #[serde(default)]
    pub begun: Option<Begun>,
}

/// How a later life of a store began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The operator's command that did it, and no other one: asked again, it finds it done.
    pub operation: String,
    /// What was done, and by whom: for whoever reads it later.
    pub story: String,
    /// When.
    pub at: Time,
}

/// Why no other life began.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    /// The present one could not be read.
    #[error("read the life of the store")]
    Read(#[from] ReadError),
    /// The next one could not be written.
    #[error("begin another life of the store")]
    Commit(#[from] CommitError),
}

impl Life {
    /// What those who obey compare.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation { counter: self.counter, id: self.id.clone() }
    }
}

fn first() -> u64 {
    1
}

fn random_id() -> String {
    let mut random = [0; 16];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut random);
    format!("{:032x}", u128::from_le_bytes(random))
}

/// The incarnation of a store, made at its first start.
pub async fn of(records: &Records) -> anyhow::Result<Incarnation> {
    let read = async || records.get::<Life>(Life::PREFIX).await.context("read the store's life");
    if let Some(known) = read().await? {
        return Ok(known.value.incarnation());
    }
    let made = Life { id: random_id(), counter: first(), begun: None };
    match records.commit(Write::new().create(&made)).await {
        Ok(_) => Ok(made.incarnation()),
        // Another controller was first.
        Err(CommitError::Conflict) => {
            Ok(read().await?.context("the store's life vanished")?.value.incarnation())
        }
        Err(error) => Err(error).context("write the store's first life"),
    }
}

/// The life that comes after that of the store and after `above`, the latest one that anybody is known to obey. None: the
/// operation has begun it already.
pub fn next(known: Option<&Life>, above: &Incarnation, begun: Begun) -> Option<Life> {
    let is_done =
        |life: &Life| life.begun.as_ref().is_some_and(|before| before.operation == begun.operation);
    if known.is_some_and(is_done) {
        return None;
    }
    let counter = known.map_or(0, |life| life.counter).max(above.counter) + 1;
    Some(Life { id: random_id(), counter, begun: Some(begun) })
}

/// Begins another life of the store, in a write of its own. Asked again for the same operation it changes nothing.
pub async fn begin(
    records: &Records,
    above: &Incarnation,
    begun: Begun,
) -> Result<Incarnation, LifeError> {
    loop {
        let known = records.get_now::<Life>(Life::PREFIX).await?;
        let Some(life) = next(known.as_ref().map(|it| &it.value), above, begun.clone()) else {
            return Ok(known.map(|it| it.value.incarnation()).unwrap_or_default());
        };
        match records.commit(written(Write::new(), &life, known.as_ref())).await {
            Ok(_) => return Ok(life.incarnation()),
            Err(CommitError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Adds the next life to a write.
pub fn written(write: Write, life: &Life, known: Option<&Versioned<Life>>) -> Write {
    match known {
        Some(known) => write.replace(life, known.revision),
        None => write.create(life),
    }
}

/// The incarnation this machine's controller obeyed last. Blocks.
pub fn kept(folder: &Path) -> Result<Incarnation, durable::DurableError> {
    Ok(durable::read_json(&path(folder), VERSION)?.unwrap_or_default())
}

/// Obeys the store's incarnation from now on, or says why not. Blocks.
pub fn obey(folder: &Path, offered: &Incarnation) -> anyhow::Result<()> {
    let known = kept(folder).context("read the incarnation obeyed last")?;
    match known.hear(offered).context("serve this store")? {
        Heard::Same => Ok(()),
        Heard::Later => durable::write_json(&path(folder), VERSION, offered, durable::PRIVATE)
            .context("keep the store's incarnation"),
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Ends with an error when the store goes on as another: a controller that is started anew remembers nothing of this one.
pub async fn outlived(
    observer: Arc<Observer>,
    incarnation: Incarnation,
    stop: Stop,
) -> anyhow::Result<()> {
    tokio::select! {
        () = stop.wait() => Ok(()),
        now = observer.outlives(&incarnation) => Err(anyhow!(
            "go on: the store was recovered or restored, from incarnation `{incarnation}` to `{now}`; begin anew"
        )),
    }
}

#[cfg(test)]
mod tests {
    use store::MemoryStore;

    use super::*;

    fn records() -> Records {
        Records::new(Arc::new(MemoryStore::new()))
    }

    fn begun(operation: &str) -> Begun {
        Begun { operation: operation.to_owned(), story: "recovered".to_owned(), at: Time(5) }
    }

    #[tokio::test]
    async fn a_life_is_made_once_and_the_next_is_above_all_that_is_obeyed() {
        let records = records();
        let first = of(&records).await.unwrap();
        assert_eq!((first.counter, of(&records).await.unwrap()), (1, first.clone()));
        let second = begin(&records, &first, begun("a")).await.unwrap();
        assert_eq!(first.hear(&second), Ok(Heard::Later));
        // A restored store knows less than those who obeyed.
        let obeyed = Incarnation { counter: 7, id: "x".to_owned() };
        assert_eq!(begin(&records, &obeyed, begun("b")).await.unwrap().counter, 8);
    }

    #[tokio::test]
    async fn an_operation_that_is_run_again_begins_no_second_life() {
        let records = records();
        let once = begin(&records, &Incarnation::default(), begun("a")).await.unwrap();
        let twice = begin(&records, &Incarnation::default(), begun("a")).await.unwrap();
        assert_eq!(once, twice);
    }

    #[test]
    fn a_controller_serves_no_earlier_store_again() {
        let folder = tempfile::tempdir().unwrap();
        let of = |counter| Incarnation { counter, id: format!("life{counter}") };
        obey(folder.path(), &of(1)).unwrap();
        obey(folder.path(), &of(2)).unwrap();
        obey(folder.path(), &of(2)).unwrap();
        let refused = format!("{:#}", obey(folder.path(), &of(1)).unwrap_err());
        assert!(refused.contains("1.life1") && refused.contains("--wipe"), "{refused}");
        assert_eq!(kept(folder.path()).unwrap(), of(2));
    }

    #[test]
    fn a_life_written_before_there_were_counters_is_a_first() {
        let life: Life = serde_json::from_str(r#"{"id":"0af3"}"#).unwrap();
        assert_eq!(life.incarnation(), "0af3".to_owned().into());
    }
}
