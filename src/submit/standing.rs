//! How far a batch has come, as its facts tell.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;

use crate::error::{Error, Result};
use crate::layout::batch::{Batch, Sealed};
use crate::layout::chunk::ChunkFacts;
use crate::layout::{Key, key, object};
use crate::limits;
use crate::model::{AppName, BatchId, Time};
pub(super) use crate::outcomes::chunks::Entry;
use crate::outcomes::{Chunk, Log, app_of, chunks};
use crate::planted::planted;
use crate::seam::store::{List, Range};
use crate::seam::{Seams, StoreExt as _};

/// A batch that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub app: AppName,
    pub batch: BatchId,
    pub body: Batch,
    /// When `batch` was written, by the store's clock.
    pub begun_at: Time,
    pub is_sealed: bool,
    pub is_cancelled: bool,
    /// It has its summary: every call that belongs is decided.
    pub is_over: bool,
    /// Its follow-ups are done.
    pub is_fired: bool,
}

impl Standing {
    pub async fn of(seams: &Seams, batch: BatchId) -> Result<Standing> {
        let app = app_of(seams, batch).await?;
        let listed = seams.store.list_all(List::grouped(key::batch(&app, batch))).await?;
        let mut begun_at = None;
        let (mut is_sealed, mut is_cancelled, mut is_over, mut is_fired) = (false, false, false, false);
        for entry in listed.entries {
            match entry.key.parse::<Key>() {
                Ok(Key::Batch(..)) => begun_at = Some(entry.modified_at),
                Ok(Key::Sealed(..)) => is_sealed = true,
                Ok(Key::Cancelled(..)) => is_cancelled = true,
                Ok(Key::Summary(..)) => is_over = true,
                Ok(Key::Fired(..)) => is_fired = true,
                _ => {}
            }
        }
        let Some(begun_at) = begun_at else {
            return Err(if is_over {
                Error::not_found(format!("batch {batch} has finished and was deleted"))
            } else {
                Error::not_found(format!("batch {batch} was never begun: its submitter stopped before"))
                    .hint("submit the source again, nothing was run")
            });
        };
        let key = Key::Batch(app.clone(), batch).to_string();
        let body: Batch = object::decode(&key, &seams.store.get(&key, Range::All).await?.body)?;
        Ok(Standing { app, batch, body, begun_at, is_sealed, is_cancelled, is_over, is_fired })
    }

    pub(super) async fn sealed(&self, seams: &Seams) -> Result<Option<Sealed>> {
        let key = Key::Sealed(self.app.clone(), self.batch).to_string();
        match seams.store.find(&key).await? {
            Some(sealed) => object::decode(&key, &sealed.body).map(Some),
            None => Ok(None),
        }
    }

    /// The chunks that are stored, in the order of their numbers.
    pub(super) async fn entries(&self, seams: &Seams) -> Result<Vec<Entry>> {
        chunks::entries(seams, &self.app, self.batch).await
    }

    /// What the chunks say of themselves.
    pub(super) async fn facts(&self, seams: &Seams, entries: &[Entry]) -> Result<Vec<ChunkFacts>> {
        chunks::facts(seams, &self.app, self.batch, entries).await
    }

    /// How many parts the log of each chunk has, by the chunk's last number.
    pub(super) async fn parts(&self, seams: &Seams) -> Result<BTreeMap<u64, u64>> {
        let mut parts = BTreeMap::new();
        let listed = seams.store.list_all(List::all(key::outcomes(&self.app, self.batch))).await?;
        for entry in listed.entries {
            if let Key::Part(_, _, last, _) = entry.key.parse()? {
                *parts.entry(last).or_default() += 1;
            }
        }
        Ok(parts)
    }

    pub(super) fn log(&self, last: u64) -> Log {
        Log::fresh(self.chunk(last))
    }

    pub(super) fn chunk(&self, last: u64) -> Chunk {
        Chunk {
            app: self.app.clone(),
            function: self.body.function.clone(),
            route: self.body.route.clone(),
            version: self.body.version.clone(),
            batch: self.batch,
            last,
        }
    }

    /// Those of these chunks, first number and last, of which not every call is decided.
    pub(super) async fn undecided(&self, seams: &Seams, chunks: &[(u64, u64)]) -> Result<Vec<(u64, u64)>> {
        let parts = self.parts(seams).await?;
        let mut undecided = Vec::new();
        for some in chunks.chunks(limits::READ_AHEAD_MAX) {
            let looks = some.iter().map(|(first, last)| async {
                let mut log = self.log(*last);
                log.take_in_last(&*seams.store, parts.get(last).copied().unwrap_or(0)).await?;
                let begun = planted!(ResumeSkipsHalfDecided) && log.parts() > 0;
                Ok::<_, Error>((!begun && !log.decided().covers(*first..=*last)).then_some((*first, *last)))
            });
            undecided.extend(try_join_all(looks).await?.into_iter().flatten());
        }
        Ok(undecided)
    }
}

/// Chunks as ranges, where it is known which numbers are missing between them; those beyond do not belong.
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
