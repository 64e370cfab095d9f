//! What failed or was cancelled in a finished batch, as the source of the batch that retries them.

use std::collections::{BTreeMap, VecDeque};

use async_trait::async_trait;

use super::snapshot::BatchSnapshot;
use super::source::{Format, Kind, Origin, Pass, Source, SourceRecord};
use crate::error::Result;
use crate::layout::{Key, chunk};
use crate::limits;
use crate::model::{BatchRef, State};
use crate::outcomes::chunks;
use crate::seam::store::ByteRange;
use crate::seam::{Deps, StoreExt as _};

/// The calls of a finished batch that failed or were cancelled, in the order of their numbers, chunk by chunk.
pub(super) struct Failures {
    deps: Deps,
    parent: BatchSnapshot,
    /// The last number of each chunk and the number of its parts.
    chunks: VecDeque<(u64, u64)>,
}

impl Failures {
    pub fn origin_of(parent: &BatchSnapshot) -> Origin {
        let origin = Origin::new(parent.of.batch.to_string(), Format::plain(Kind::Failures), Pass::Record);
        Origin { fetch: parent.body.fetch.clone(), ..origin }
    }

    pub(super) async fn of(deps: &Deps, parent: BatchSnapshot) -> Result<Failures> {
        let last = parent.sealed(deps).await?.map_or(0, |sealed| sealed.last);
        let parts = parent.parts(deps).await?;
        let entries = chunks::entries(deps, &parent.of).await?;
        let lasts = entries.into_iter().map(|entry| entry.last).filter(|chunk| *chunk <= last);
        let chunks = lasts.map(|last| (last, parts.get(&last).copied().unwrap_or(0))).collect();
        Ok(Failures { deps: deps.clone(), parent, chunks })
    }

    async fn of_chunk(&self, last: u64, parts: u64) -> Result<Vec<SourceRecord>> {
        let BatchRef { app, batch } = &self.parent.of;
        let store = &self.deps.store;
        let log = self.parent.log(&self.deps, last, parts).await?;
        if !log.counts().iter().any(|(status, count)| is_retried(*status) && *count > 0) {
            return Ok(Vec::new());
        }
        // The first part that names a call decides it (R2).
        let mut decided = BTreeMap::new();
        for part in 0..parts {
            let part = self.parent.part(&self.deps, last, part).await?;
            for group in 0..part.groups() {
                for row in part.rows_without_logs(group, &part.budget())? {
                    decided.entry(row.number).or_insert(row.status);
                }
            }
        }
        let key = Key::Chunk(app.clone(), *batch, last);
        let records = chunk::decode(
            &key,
            store.get(&key, ByteRange::Whole(limits::CHUNK_OBJECT_BYTES_MAX)).await?.body,
        )?;
        let mut items = Vec::new();
        for record in records {
            if record.refused.is_some()
                || !decided.get(&record.number).is_some_and(|status| is_retried(*status))
            {
                continue;
            }
            let payload = match record.input {
                Some(_) => {
                    let key = Key::Input(app.clone(), *batch, record.number);
                    store.stream(&key, limits::BODY_BYTES_MAX).await?.0
                }
                None => record.payload.into(),
            };
            items.push(SourceRecord {
                payload,
                content_type: record.content_type.map(Into::into),
                headers: record.headers,
                line: Some(record.number),
                bad: None,
                key: record.key,
                object: record.object,
            });
        }
        Ok(items)
    }
}

fn is_retried(status: State) -> bool {
    matches!(status, State::Error | State::Timeout | State::Killed | State::Cancelled)
}

#[async_trait]
impl Source for Failures {
    fn origin(&self) -> Origin {
        Failures::origin_of(&self.parent)
    }

    async fn next(&mut self) -> Result<Vec<SourceRecord>> {
        while let Some((last, parts)) = self.chunks.pop_front() {
            let items = self.of_chunk(last, parts).await?;
            if !items.is_empty() {
                return Ok(items);
            }
        }
        Ok(Vec::new())
    }
}
