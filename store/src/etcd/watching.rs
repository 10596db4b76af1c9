//! Watches on etcd: the stream's answers become one batch per revision, and its ends become errors.

use std::collections::VecDeque;
use std::time::Duration;

use etcd_client::{
    Client, Event, EventType, WatchClient, WatchOptions, WatchResponse, WatchStream,
};
use futures_util::stream;

use super::errors::{corrupt, read_error};
use super::{entry, own_key, range_of, signed, unsigned};
use crate::{Change, Revision, StoreError, Watch};

/// How long a member may take to accept a watch.
const OPEN_DEADLINE: Duration = Duration::from_secs(5);
/// Room for one answer. A member that has to catch up sends up to a thousand revisions at once.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// What stands before the keys of a watch.
pub struct Prefixes {
    /// The store's own prefix, which readers do not see.
    pub store: String,
    /// The whole prefix watched.
    pub watched: String,
}

/// The client whose answers may be as large as [`ANSWER_BYTES`].
pub fn client(client: &Client) -> WatchClient {
    client.watch_client().max_decoding_message_size(ANSWER_BYTES)
}

/// Opens a watch and waits until a member has accepted it.
pub async fn open(
    client: WatchClient,
    prefixes: Prefixes,
    after: Revision,
) -> Result<Watch, StoreError> {
    let stream = tokio::time::timeout(OPEN_DEADLINE, accepted(client, &prefixes, after))
        .await
        .map_err(|_| StoreError::TimedOut(OPEN_DEADLINE))??;
    let reader = Reader { stream, key_prefix: prefixes.store, after, ready: VecDeque::new() };
    Ok(Watch::new(stream::unfold(Some(reader), |reader| async {
        let mut reader = reader?;
        match reader.next().await {
            Ok(changes) => Some((Ok(changes), Some(reader))),
            Err(error) => Some((Err(error), None)),
        }
    })))
}

async fn accepted(
    mut client: WatchClient,
    prefixes: &Prefixes,
    after: Revision,
) -> Result<WatchStream, StoreError> {
    let (start, end) = range_of(prefixes.watched.clone());
    // From `after` itself, whose changes are then left out: etcd accepts a start at the revision it compacted to,
    // though that one's deletions may be gone. 0 would mean "from now on".
    let options =
        WatchOptions::new().with_range(end).with_start_revision(signed(after.max(Revision(1))));
    let mut stream = client.watch(start, Some(options)).await.map_err(read_error)?;
    let first = stream.message().await.map_err(read_error)?;
    match first {
        Some(answer) if answer.created() && !answer.canceled() => Ok(stream),
        Some(answer) => Err(ended(&answer)),
        None => Err(lost()),
    }
}

struct Reader {
    stream: WatchStream,
    key_prefix: String,
    after: Revision,
    ready: VecDeque<Vec<Change>>,
}

impl Reader {
    async fn next(&mut self) -> Result<Vec<Change>, StoreError> {
        loop {
            if let Some(changes) = self.ready.pop_front() {
                return Ok(changes);
            }
            let answer = self.stream.message().await.map_err(read_error)?;
            let answer = answer.ok_or_else(lost)?;
            if answer.canceled() {
                return Err(ended(&answer));
            }
            for event in answer.events() {
                self.take(event)?;
            }
        }
    }

    /// Adds one event to the batch of its revision; etcd never splits a revision over two answers.
    fn take(&mut self, event: &Event) -> Result<(), StoreError> {
        let change = change(&self.key_prefix, event)?;
        let modified = change.modified();
        match self.ready.back_mut() {
            Some(batch) if batch[0].modified() == modified => batch.push(change),
            // Before the asked revision, or delivered twice, which etcd 3.4 may do after a reconnect of its own.
            _ if modified <= self.after => {}
            _ => {
                self.after = modified;
                self.ready.push_back(vec![change]);
            }
        }
        Ok(())
    }
}

fn change(key_prefix: &str, event: &Event) -> Result<Change, StoreError> {
    let found = event.kv().ok_or_else(|| corrupt("a change of no key"))?;
    match event.event_type() {
        EventType::Put => Ok(Change::Put(entry(key_prefix, found)?)),
        EventType::Delete => Ok(Change::Deleted {
            key: own_key(key_prefix, found)?,
            modified: unsigned(found.mod_revision()),
        }),
    }
}

fn ended(answer: &WatchResponse) -> StoreError {
    if answer.compact_revision() > 0 {
        return StoreError::Compacted { oldest: unsigned(answer.compact_revision()) };
    }
    StoreError::Unavailable {
        detail: format!("etcd ended the watch: `{}`", answer.cancel_reason()),
        source: None,
    }
}

fn lost() -> StoreError {
    StoreError::Unavailable { detail: "etcd ended the watch".into(), source: None }
}
