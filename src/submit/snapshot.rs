//! A batch as its facts describe it at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::try_join_all;

use crate::error::{Error, Result};
use crate::layout::batch::{Batch, Sealed};
use crate::layout::part::Part;
use crate::layout::{Key, key};
use crate::limits;
use crate::model::{BatchId, BatchRef};
use crate::outcomes::chunks::Entry;
use crate::outcomes::{BatchFacts, Chunk, Log, app_of};
use crate::planted::planted;
use crate::seam::store::{ByteRange, List};
use crate::seam::{Deps, StoreExt as _};

/// A batch that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSnapshot {
    pub of: BatchRef,
    pub body: Arc<Batch>,
    pub facts: BatchFacts,
}

impl BatchSnapshot {
    pub async fn of(deps: &Deps, batch: BatchId) -> Result<BatchSnapshot> {
        let of = BatchRef { app: app_of(deps, batch).await?, batch };
        let mut facts = BatchFacts::default();
        facts.look(&*deps.store, &of).await?;
        facts.refuse_deleted(&*deps.store, &of).await?;
        match facts.definition.read(&*deps.store, &of).await? {
            Some(body) => Ok(BatchSnapshot { of, body, facts }),
            None if facts.summary.is_there() => {
                Err(Error::not_found(format!("batch {batch} has finished and was deleted")))
            }
            None => {
                Err(Error::not_found(format!("batch {batch} was never begun: its submitter stopped before"))
                    .with_hint("submit the source again, nothing was run"))
            }
        }
    }

    /// Every call that belongs is decided.
    pub fn is_over(&self) -> bool {
        self.facts.summary.is_there()
    }

    pub(super) async fn sealed(&self, deps: &Deps) -> Result<Option<Sealed>> {
        deps.store.find_fact(&self.of).await
    }

    /// How many parts the log of each chunk has, by the chunk's last number.
    pub(super) async fn parts(&self, deps: &Deps) -> Result<BTreeMap<u64, u64>> {
        let mut parts = BTreeMap::new();
        let prefix = key::outcomes(&self.of.app, self.of.batch);
        for entry in deps.store.list_all(List::all(prefix)).await?.entries {
            if let Key::Part(_, _, last, _) = entry.key.parse()? {
                *parts.entry(last).or_default() += 1;
            }
        }
        Ok(parts)
    }

    /// One part of the log of the chunk that ends with `last`.
    pub(super) async fn part(&self, deps: &Deps, last: u64, part: u64) -> Result<Part> {
        let key = Key::Part(self.of.app.clone(), self.of.batch, last, part);
        Part::open(&key, deps.store.get(&key, ByteRange::Whole(limits::PART_OBJECT_BYTES_MAX)).await?.body)
    }

    /// The log of a chunk as the last of its parts describes it.
    pub(super) async fn log(&self, deps: &Deps, last: u64, parts: u64) -> Result<Log> {
        let mut log = Log::fresh(self.chunk(last));
        log.take_in_last(&*deps.store, parts).await?;
        Ok(log)
    }

    pub(super) fn chunk(&self, last: u64) -> Chunk {
        Chunk::of(&self.of.app, self.of.batch, &self.body, last)
    }

    /// Those of these chunks, first number and last, of which not every call is decided. `is_wanted`: of a chunk's last number
    /// and the number of its log's parts.
    pub(super) async fn undecided(
        &self,
        deps: &Deps,
        chunks: &[(u64, u64)],
        is_wanted: impl Fn(u64, u64) -> bool,
    ) -> Result<Vec<(u64, u64)>> {
        let parts = self.parts(deps).await?;
        let is_wanted = |last| is_wanted(last, parts.get(&last).copied().unwrap_or(0));
        let chunks: Vec<_> = chunks.iter().copied().filter(|(_, last)| is_wanted(*last)).collect();
        let mut undecided = Vec::new();
        for some in chunks.chunks(limits::READ_AHEAD_MAX) {
            let looks = some.iter().map(|(first, last)| async {
                let log = self.log(deps, *last, parts.get(last).copied().unwrap_or(0)).await?;
                let is_open = planted!(
                    !log.decided().covers(*first..=*last),
                    ResumeSkipsHalfDecided => log.parts() == 0
                );
                Ok::<_, Error>(is_open.then_some((*first, *last)))
            });
            undecided.extend(try_join_all(looks).await?.into_iter().flatten());
        }
        Ok(undecided)
    }
}

/// The first and last number of each chunk of a sealed batch. The seal names the numbers that are missing between them;
/// chunks beyond it do not belong to the batch.
pub(super) fn ranges(sealed: &Sealed, entries: &[Entry]) -> Vec<(u64, u64)> {
    let mut missing = sealed.missing.iter().peekable();
    let mut next = 1;
    let mut ranges = Vec::new();
    for entry in entries.iter().filter(|entry| entry.last <= sealed.last) {
        while let Some((_, last)) = missing.next_if(|(first, _)| *first == next) {
            next = last + 1;
        }
        ranges.push((next, entry.last));
        next = entry.last + 1;
    }
    ranges
}
