//! Listings of etcd: read in pages, all at the revision of the first.

use etcd_client::{GetOptions, GetResponse};

use super::{EtcdStore, header_revision, range_of, signed};
use crate::{Listing, Revision, StoreError};

/// What a page aims for, so that uneven values still fit.
const PAGE_AIM_BYTES: usize = 4 * 1024 * 1024;
/// The first page is small because the size of its entries is unknown.
const FIRST_PAGE_ENTRIES: usize = 500;
/// The most entries in a page.
const MAX_PAGE_ENTRIES: usize = 5_000;
/// How often a listing begins anew because its revision was compacted under it.
const LIST_ATTEMPTS: usize = 3;

/// Who is asked, and how.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// Any member, which asks the others whether it is up to date.
    All,
    /// The nearest, for what it remembers.
    Nearest,
}

/// What the nearest member remembers under `prefix`.
pub async fn recall(store: &EtcdStore, prefix: &str) -> Result<Listing, StoreError> {
    list_once(store, prefix, Ask::Nearest).await
}

/// Every entry under `prefix`, begun anew when its revision is compacted under it.
pub async fn list(store: &EtcdStore, prefix: &str) -> Result<Listing, StoreError> {
    for _ in 1..LIST_ATTEMPTS {
        match list_once(store, prefix, Ask::All).await {
            Err(StoreError::Compacted { .. }) => {}
            listing => return listing,
        }
    }
    list_once(store, prefix, Ask::All).await
}

async fn list_once(store: &EtcdStore, prefix: &str, ask: Ask) -> Result<Listing, StoreError> {
    let (mut start, end) = range_of(store.key(prefix));
    let mut limit = FIRST_PAGE_ENTRIES;
    let mut revision = None;
    let mut entries = Vec::new();
    loop {
        let page = match page(store, ask, (&start, &end), limit, revision).await {
            Err(StoreError::TooLarge { .. }) if limit > 1 => {
                limit = (limit / 8).max(1);
                continue;
            }
            page => page?,
        };
        let at = revision.unwrap_or(header_revision(page.header().map(|it| it.revision()))?);
        revision = Some(at);
        for found in page.kvs() {
            entries.push(store.entry(found)?);
        }
        let Some(last) = page.kvs().last().filter(|_| page.more()) else {
            return Ok(Listing { entries, revision: at });
        };
        start = [last.key(), b"\0"].concat();
        limit = next_limit(&page);
    }
}

async fn page(
    store: &EtcdStore,
    ask: Ask,
    (start, end): (&[u8], &[u8]),
    limit: usize,
    at: Option<Revision>,
) -> Result<GetResponse, StoreError> {
    let mut options = GetOptions::new()
        .with_range(end)
        .with_limit(limit as i64)
        .with_revision(at.map_or(0, signed));
    let clients = store.clients();
    let kv = match ask {
        Ask::All => &clients.kv,
        Ask::Nearest => {
            options = options.with_serializable();
            &clients.nearest
        }
    };
    store
        .read(kv, |mut kv| {
            let (start, options) = (start.to_vec(), options.clone());
            async move { kv.get(start, Some(options)).await }
        })
        .await
}

/// How many entries like those of `page` make a good next page.
fn next_limit(page: &GetResponse) -> usize {
    let sizes = page.kvs().iter().map(|found| found.key().len() + found.value().len());
    let mean = (sizes.sum::<usize>() / page.kvs().len().max(1)).max(1);
    (PAGE_AIM_BYTES / mean).clamp(1, MAX_PAGE_ENTRIES)
}
