//! The chunks that are stored of a batch, and the seal that they alone give: that of a batch whose submitter is gone.

use futures_util::future::try_join_all;

use crate::error::{Error, Result};
use crate::layout::batch::Sealed;
use crate::layout::chunk::ChunkFacts;
use crate::layout::{Key, key, note};
use crate::limits;
use crate::model::{AppName, BatchId, Time};
use crate::planted::planted;
use crate::seam::store::List;
use crate::seam::{Seams, StoreExt as _};

/// A chunk that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub last: u64,
    /// By the store's clock.
    pub stored_at: Time,
}

/// In the order of their numbers.
pub async fn entries(seams: &Seams, app: &AppName, batch: BatchId) -> Result<Vec<Entry>> {
    let listed = seams.store.list_all(List::all(key::chunks(app, batch))).await?;
    let entries = listed.entries.iter().map(|entry| match entry.key.parse()? {
        Key::Chunk(_, _, last) => Ok(Entry { last, stored_at: entry.modified_at }),
        _ => Err(Error::internal(format!("`{}` lies among the chunks of a batch", entry.key))),
    });
    entries.collect()
}

/// What a chunk says of itself.
pub async fn read_facts(seams: &Seams, key: &str) -> Result<ChunkFacts> {
    let info = seams.store.head(key).await?;
    note::decode(key, info.note.as_deref().unwrap_or_default())
}

/// What chunks say of themselves.
pub async fn facts(
    seams: &Seams,
    app: &AppName,
    batch: BatchId,
    entries: &[Entry],
) -> Result<Vec<ChunkFacts>> {
    let mut facts: Vec<ChunkFacts> = Vec::with_capacity(entries.len());
    for some in entries.chunks(limits::READ_AHEAD_MAX) {
        let looks = some.iter().map(|entry| async {
            read_facts(seams, &Key::Chunk(app.clone(), batch, entry.last).to_string()).await
        });
        facts.extend(try_join_all(looks).await?);
    }
    let mut before = 0;
    for facts in &facts {
        if facts.first <= before || facts.last < facts.first {
            return Err(Error::internal(format!(
                "the chunks of batch {batch} overlap at number {}: two sources were submitted under one id",
                facts.first
            )));
        }
        before = facts.last;
    }
    Ok(facts)
}

/// Whether a batch can be sealed without its submitter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealing {
    /// With what is stored: the last number, and the ranges that are missing below it.
    Can(Sealed),
    /// Its last chunk, or the batch itself, is so young that more may be on its way (N4).
    TooYoung { age_ms: u64 },
}

/// `now`: the store's time, asked for before: a chunk that is older than it by so much leaves nothing on its way that the
/// list made here could miss.
pub async fn seal(seams: &Seams, app: &AppName, batch: BatchId, now: Time, by: &str) -> Result<Sealing> {
    let entries = entries(seams, app, batch).await?;
    let youngest = match entries.iter().map(|entry| entry.stored_at).max() {
        Some(youngest) => youngest,
        None => seams.store.head(&Key::Batch(app.clone(), batch).to_string()).await?.modified_at,
    };
    let age_ms = now.since_ms(youngest);
    if age_ms < limits::SEAL_QUIET_MS {
        return Ok(Sealing::TooYoung { age_ms });
    }
    let mut sealed = Sealed { v: 1, last: 0, missing: Vec::new(), at: seams.now(), by: by.to_owned() };
    for facts in facts(seams, app, batch, &entries).await? {
        if facts.first > sealed.last + 1 {
            if planted!(SealsPrefix) {
                break;
            }
            sealed.missing.push((sealed.last + 1, facts.first - 1));
        }
        sealed.last = facts.last;
    }
    Ok(Sealing::Can(sealed))
}
