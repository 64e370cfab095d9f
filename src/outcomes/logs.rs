//! The logs of all chunks of a batch, as far as one reader has read them. A look costs a list, and one footer for every log
//! that has grown. Supervisors use it, and so do clients that watch a batch.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::listing::{self, Known, Listing};
use super::{Chunk, Log};
use crate::error::{Code, Error, Result};
use crate::layout::batch::{Batch, Sealed};
use crate::limits;
use crate::model::{BatchRef, State, Time};
use crate::seam::Store;

pub struct Logs {
    /// What every chunk has in common.
    chunk: Chunk,
    /// By the chunk's last number.
    logs: BTreeMap<u64, Log>,
    known: Known,
    /// By the chunk's last number: when it was stored, by the store's clock.
    stored_at: BTreeMap<u64, Time>,
    youngest_chunk: Option<Time>,
    heard_at: Option<Time>,
}

impl Logs {
    pub fn new(of: &BatchRef, batch: &Batch) -> Logs {
        let chunk = Chunk::of(&of.app, of.batch, batch, 0);
        let (logs, known, stored_at) = Default::default();
        Logs { chunk, logs, known, stored_at, youngest_chunk: None, heard_at: None }
    }

    /// One list of the batch per thousand keys that are not known.
    pub async fn list(&self, store: &dyn Store) -> Result<Listing> {
        let of = BatchRef::new(&self.chunk.app, self.chunk.batch);
        Ok(listing::list(store, &of, &self.known).await?)
    }

    /// Notes the chunks that there are, and reads no footer. Returns those that are new.
    pub fn found(&mut self, listing: &Listing) -> BTreeSet<u64> {
        self.heard_at = self.heard_at.max(listing.heard_at);
        let mut new = BTreeSet::new();
        for (last, stored_at) in &listing.chunks {
            self.youngest_chunk = self.youngest_chunk.max(Some(*stored_at));
            self.stored_at.insert(*last, *stored_at);
            if !self.logs.contains_key(last) {
                self.logs.insert(*last, Log::fresh(Chunk { last: *last, ..self.chunk.clone() }));
                new.insert(*last);
            }
        }
        new
    }

    /// Takes a log as its writer knows it: its last footer says the same. Returns its chunk, if it has grown by that.
    pub fn adopt(&mut self, log: Log) -> Option<u64> {
        let known = self.logs.get_mut(&log.last()).filter(|known| known.parts() < log.parts())?;
        *known = log;
        Some(known.last())
    }

    /// Reads the footer of every log that has grown, once. Returns the chunks that are new or have grown. A log that cannot
    /// be read is an error.
    pub async fn take_in(&mut self, store: &dyn Store, listing: &Listing) -> Result<BTreeSet<u64>> {
        let (moved, mut unreadable) = self.take_in_readable(store, listing).await?;
        match unreadable.pop_first() {
            Some((_, error)) => Err(error),
            None => Ok(moved),
        }
    }

    /// The same, but logs that cannot be read stay as they were known. They are returned with the errors, by the last
    /// numbers of their chunks.
    pub async fn take_in_readable(
        &mut self,
        store: &dyn Store,
        listing: &Listing,
    ) -> Result<(BTreeSet<u64>, BTreeMap<u64, Error>)> {
        let mut moved = self.found(listing);
        let mut reads = Vec::new();
        for (last, log) in &mut self.logs {
            let Some(parts) = listing.logs.get(last).filter(|parts| parts.count() > log.parts()) else {
                continue;
            };
            reads.push(async move {
                match log.take_in_last(store, parts.count()).await {
                    Err(error) if error.code() != Code::Internal => Err(error),
                    taken => Ok((*last, taken)),
                }
            });
        }
        let reads = stream::iter(reads).buffer_unordered(limits::READ_AHEAD_MAX);
        let reads: Vec<_> = reads.try_collect().await?;
        let mut unreadable = BTreeMap::new();
        for (last, taken) in reads {
            match taken {
                Ok(()) => drop(moved.insert(last)),
                Err(error) => drop(unreadable.insert(last, error)),
            }
        }
        self.known =
            Known::new(self.ranges().map(|(first, last, log)| (last, log.decided().covers(first..=last))));
        Ok((moved, unreadable))
    }

    /// The chunks: first number, last number, log. The first is one more than the last of the chunk before it; some of
    /// the numbers may be of a chunk that is not seen yet, or of none.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64, &Log)> + '_ {
        let mut next = 1;
        self.logs.iter().map(move |(last, log)| (std::mem::replace(&mut next, last + 1), *last, log))
    }

    /// When the last of the chunks was stored, by the store's clock.
    pub fn youngest_chunk(&self) -> Option<Time> {
        self.youngest_chunk
    }

    /// When the oldest chunk that has an undecided call was stored, by the store's clock.
    pub fn oldest_undecided(&self) -> Option<Time> {
        let open = self.ranges().filter(|(first, last, log)| !log.decided().covers(*first..=*last));
        open.filter_map(|(_, last, _)| self.stored_at.get(&last).copied()).min()
    }

    /// When a part was last written, by the store's clock.
    pub fn heard_at(&self) -> Option<Time> {
        self.heard_at
    }

    /// How long an execution takes; 0 while none has ended.
    pub fn mean_ms(&self) -> u64 {
        let all = self.logs.values().map(Log::executions);
        let (count, ms) = all.fold((0, 0), |(count, ms), (more, took)| (count + more, ms + took));
        u64::checked_div(ms, count).unwrap_or(0)
    }

    /// Executions that have ended.
    pub fn executions(&self) -> u64 {
        self.logs.values().map(|log| log.executions().0).sum()
    }

    /// Whether the function of any call is known to have been started.
    pub fn has_started(&self) -> bool {
        self.logs.values().any(Log::has_started)
    }

    /// Who wrote the last parts of the logs.
    pub fn workers(&self) -> BTreeSet<&str> {
        self.logs.values().filter_map(Log::worker).collect()
    }

    /// Logs of the chunks that belong to a batch, as far as is known.
    pub fn belonging(&self, sealed: Option<&Sealed>) -> impl Iterator<Item = &Log> + '_ {
        let last = sealed.map_or(u64::MAX, |sealed| sealed.last);
        self.logs.range(..=last).map(|(_, log)| log)
    }

    /// Calls by how they ended.
    pub fn counts(&self, sealed: Option<&Sealed>) -> BTreeMap<State, u64> {
        let mut counts = BTreeMap::new();
        for (state, count) in self.belonging(sealed).flat_map(Log::counts) {
            *counts.entry(*state).or_default() += count;
        }
        counts
    }

    /// Requests that workers have spent.
    pub fn requests(&self, sealed: Option<&Sealed>) -> BTreeMap<String, u64> {
        let mut requests = BTreeMap::new();
        for (operation, count) in self.belonging(sealed).flat_map(Log::requests) {
            *requests.entry(operation.clone()).or_default() += count;
        }
        requests
    }

    /// Whether every call that belongs is decided.
    pub fn is_decided(&self, sealed: &Sealed) -> bool {
        let mut next = 1;
        let mut missing = sealed.missing.iter().peekable();
        for (last, log) in self.logs.range(..=sealed.last) {
            while let Some((_, gap_end)) = missing.next_if(|(gap, _)| *gap == next) {
                next = gap_end + 1;
            }
            // A chunk may be unseen still (a list that lags): its numbers are covered by no log.
            if next > *last || !log.decided().covers(next..=*last) {
                return false;
            }
            next = last + 1;
        }
        next == sealed.last + 1
    }
}
