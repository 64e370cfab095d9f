//! The stored chunks of a batch, and the seal computed from them alone, for a batch whose submitter is gone.

use std::time::Duration;

use futures_util::future::try_join_all;

use crate::error::{Error, Result};
use crate::layout::batch::{Batch, Sealed};
use crate::layout::chunk::ChunkFacts;
use crate::layout::{Fact as _, Key, key};
use crate::limits;
use crate::model::{BatchRef, Time};
use crate::planted::planted;
use crate::seam::store::List;
use crate::seam::{Deps, StoreExt as _};

/// A chunk that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub last: u64,
    /// By the store's clock.
    pub stored_at: Time,
}

/// In the order of their numbers.
pub async fn entries(deps: &Deps, of: &BatchRef) -> Result<Vec<Entry>> {
    let listed = deps.store.list_all(List::all(key::chunks(&of.app, of.batch))).await?;
    let entries = listed.entries.iter().map(|entry| match entry.key.parse()? {
        Key::Chunk(_, _, last) => Ok(Entry { last, stored_at: entry.modified_at }),
        _ => Err(Error::internal(format!("`{}` lies among the chunks of a batch", entry.key))),
    });
    entries.collect()
}

/// What a chunk says of itself. An error if it says that it ends elsewhere than its key does.
pub async fn read_facts(deps: &Deps, key: &Key) -> Result<ChunkFacts> {
    let facts: ChunkFacts = deps.store.read_metadata(key).await?.0;
    match key.to_string().parse() {
        Ok(Key::Chunk(_, _, last)) if last == facts.last => Ok(facts),
        _ => Err(Error::internal(format!("chunk `{key}` says that it ends with number {}", facts.last))),
    }
}

/// What chunks say of themselves.
pub async fn facts(deps: &Deps, of: &BatchRef, entries: &[Entry]) -> Result<Vec<ChunkFacts>> {
    let mut facts: Vec<ChunkFacts> = Vec::with_capacity(entries.len());
    for some in entries.chunks(limits::READ_AHEAD_MAX) {
        let looks = some
            .iter()
            .map(|entry| async { read_facts(deps, &Key::Chunk(of.app.clone(), of.batch, entry.last)).await });
        facts.extend(try_join_all(looks).await?);
    }
    let mut before = 0;
    for facts in &facts {
        if facts.first <= before {
            return Err(Error::internal(format!(
                "the chunks of batch {} overlap at number {}: two sources were submitted under one id",
                of.batch, facts.first
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
/// list made here could miss. `quiet`: how old the youngest chunk has to be.
pub async fn seal(deps: &Deps, of: &BatchRef, now: Time, by: &str, quiet: Duration) -> Result<Sealing> {
    let entries = entries(deps, of).await?;
    let youngest = match entries.iter().map(|entry| entry.stored_at).max() {
        Some(youngest) => youngest,
        None => deps.store.head(&Batch::key(of)).await?.modified_at,
    };
    let age_ms = now.since_ms(youngest);
    if age_ms < limits::ms(quiet) {
        return Ok(Sealing::TooYoung { age_ms });
    }
    let mut sealed = Sealed { last: 0, missing: Vec::new(), at: deps.now(), by: by.to_owned() };
    for facts in facts(deps, of, &entries).await? {
        if facts.first > sealed.last + 1 {
            planted!((), SealsPrefix => break);
            sealed.missing.push((sealed.last + 1, facts.first - 1));
        }
        sealed.last = facts.last;
    }
    Ok(Sealing::Can(sealed))
}
