//! Lists the objects of a batch with as few requests as possible: one per thousand keys. In a large batch it skips keys
//! that are known already, and large inputs, large results and marks (H28).

use std::collections::BTreeMap;

use crate::layout::{Key, key};
use crate::model::{BatchRef, Time};
use crate::seam::Store;
use crate::seam::store::{List, ListEntry, StoreError, past_prefix};

/// What one look at a batch finds. Of chunks and logs that are known as done some may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// By last number: when it was stored, by the store's clock.
    pub chunks: BTreeMap<u64, Time>,
    /// By the last number of the chunk.
    pub logs: BTreeMap<u64, Parts>,
    /// When the youngest of the listed parts was written, by the store's clock.
    pub heard_at: Option<Time>,
    /// The facts beside them.
    pub facts: Vec<ListEntry>,
    /// What workers report that could not run its calls.
    pub unsuited: Vec<ListEntry>,
}

/// Parts of a log, from the first to the last before a gap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// The bytes of each.
    pub sizes: Vec<u64>,
}

impl Parts {
    pub fn count(&self) -> u64 {
        self.sizes.len() as u64
    }
}

/// Chunks that need not be listed again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Every chunk that was seen, by last number: whether all of it is decided.
    chunks: BTreeMap<u64, bool>,
    /// Every number up to here is decided.
    done_to: u64,
}

impl Known {
    /// `chunks`: in the order of their numbers, whether everything after the chunk before it, up to its last number, is
    /// decided; so that no chunk can turn up in between.
    pub(super) fn new(chunks: impl Iterator<Item = (u64, bool)>) -> Known {
        let chunks: BTreeMap<u64, bool> = chunks.collect();
        let done = chunks.iter().take_while(|(_, done)| **done).last();
        let done_to = done.map_or(0, |(last, _)| *last);
        Known { chunks, done_to }
    }

    /// The last of the chunks, from this one on, that are done one after the other.
    fn done_from(&self, last: u64) -> Option<u64> {
        self.chunks.range(last..).take_while(|(_, done)| **done).last().map(|(last, _)| *last)
    }

    /// Where the page after `next` begins.
    fn skip(&self, of: &BatchRef, prefix: &str, next: String) -> String {
        let rest = next.strip_prefix(prefix).unwrap_or_default();
        if let Some(folder) =
            ["dispatched/", "inputs/", "marks/", "results/"].iter().find(|name| rest.starts_with(**name))
        {
            return past_prefix(&format!("{prefix}{folder}"));
        }
        match next.parse() {
            Ok(Key::Part(_, _, last, _)) => match self.done_from(last) {
                Some(done) => past_prefix(&key::log(&of.app, of.batch, done)),
                None => next,
            },
            Ok(Key::Chunk(_, _, last)) if last < self.done_to => {
                Key::Chunk(of.app.clone(), of.batch, self.done_to).to_string()
            }
            _ => next,
        }
    }
}

pub async fn list(store: &dyn Store, of: &BatchRef, known: &Known) -> Result<Listing, StoreError> {
    let prefix = key::batch(&of.app, of.batch);
    let mut request = List::all(prefix.clone());
    let mut listing = Listing::default();
    loop {
        let page = store.list(&request).await?;
        for entry in page.entries {
            match entry.key.parse() {
                Ok(Key::Chunk(_, _, last)) => drop(listing.chunks.insert(last, entry.modified_at)),
                Ok(Key::Part(_, _, last, part)) => {
                    let parts = listing.logs.entry(last).or_default();
                    // What lies behind a gap was not written by the rules, and is not read (R2).
                    if parts.count() == part {
                        parts.sizes.push(entry.bytes);
                        listing.heard_at = listing.heard_at.max(Some(entry.modified_at));
                    }
                }
                Ok(Key::Batch(..) | Key::Sealed(..) | Key::Cancelled(..) | Key::Summary(..))
                | Ok(Key::Fired(..) | Key::Deleted(..) | Key::Retry(..)) => listing.facts.push(entry),
                Ok(Key::BatchUnsuited(..)) => listing.unsuited.push(entry),
                _ => {}
            }
        }
        let Some(next) = page.next else { return Ok(listing) };
        request.start_after = Some(known.skip(of, &prefix, next));
    }
}
