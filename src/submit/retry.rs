//! Retries what failed: a new batch from the calls of a finished one that ended `error`, `timeout` or `killed`, with its
//! own ids. Records that were refused are not among them: they would be refused again. In the new batch a record's source
//! line is its number in the old one.

use std::collections::{BTreeSet, VecDeque};

use async_trait::async_trait;

use super::batch::{BatchOptions, OnProgress, claim, put_batch};
use super::resume::{ResumeRequest, Resumed, resume};
use super::source::{Format, Item, Kind, Origin, Pass, Source};
use super::standing::{Entry, Standing};
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::layout::batch::{Batch, BatchSource, Retry};
use crate::layout::part::Part;
use crate::layout::{Key, chunk, object};
use crate::limits;
use crate::model::{BatchId, State};
use crate::seam::store::{PutObject, Range};
use crate::seam::{Seams, StoreError, StoreExt as _};

/// The first and only: who wants what still fails retried, retries that batch.
const FIRST: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retried {
    /// The new batch.
    pub batch: BatchId,
    /// It was made before: this is that batch.
    pub repeated: bool,
    pub resumed: Resumed,
}

/// Makes the batch of a batch's failures, or finds the one that was made. It runs the version that is current now.
pub async fn retry(
    seams: &Seams,
    batch: BatchId,
    options: BatchOptions,
    progress: OnProgress<'_>,
) -> Result<Retried> {
    let parent = Standing::of(seams, batch).await?;
    if !parent.is_over {
        return Err(Error::conflict(format!("batch {batch} has not finished yet"))
            .hint(format!("`afn batch wait {batch}` waits for it")));
    }
    let function = Catalog::new(seams.clone()).resolve(&parent.app, &parent.body.route).await?;
    let body = Batch {
        v: 1,
        function: function.name,
        version: function.version,
        route: parent.body.route.clone(),
        source: BatchSource {
            location: batch.to_string(),
            format: Format::plain(Kind::Failures).to_string(),
            pass: Pass::Record.to_string(),
            on_bad_record: options.on_bad_record.as_str().to_owned(),
        },
        chunking: options.chunking,
        then: options.then,
        on_complete: options.on_complete,
        max_failures: options.max_failures,
        attempts_max: options.attempts_max.or(parent.body.attempts_max),
        retry_backoff_ms: options.retry_backoff_ms.or(parent.body.retry_backoff_ms),
        retry_of: Some(batch),
        created_at: seams.now(),
        nonce: seams.nonce(),
    };
    let (made, repeated) = match find(seams, &parent).await? {
        Some(made) => (made, true),
        None => {
            if Failures::of(seams, parent.clone()).await?.next().await?.is_empty() {
                return Err(Error::conflict(format!("no call of batch {batch} can be retried"))
                    .hint("none failed, or those that did were bad records"));
            }
            link(seams, &parent).await?
        }
    };
    // Whoever made the link may have died before it wrote the batch: the first `batch` under its id counts.
    put_batch(seams, &parent.app, made, &body).await?;
    let resumed = resume(seams, ResumeRequest { batch: made, source: None, bucket: None }, progress).await?;
    Ok(Retried { batch: made, repeated, resumed })
}

/// Whether a call of a finished batch failed that was not refused for its record.
pub async fn can_retry(seams: &Seams, batch: BatchId) -> Result<bool> {
    Ok(!Failures::of(seams, Standing::of(seams, batch).await?).await?.next().await?.is_empty())
}

async fn find(seams: &Seams, parent: &Standing) -> Result<Option<BatchId>> {
    let key = Key::Retry(parent.app.clone(), parent.batch, FIRST).to_string();
    match seams.store.find(&key).await? {
        Some(retry) => Ok(Some(object::decode::<Retry>(&key, &retry.body)?.batch)),
        None => Ok(None),
    }
}

/// Takes an id and links it; or the id that somebody else linked first.
async fn link(seams: &Seams, parent: &Standing) -> Result<(BatchId, bool)> {
    let batch = claim(seams, &parent.app).await?;
    let key = Key::Retry(parent.app.clone(), parent.batch, FIRST).to_string();
    let retry = Retry { v: 1, batch, nonce: seams.nonce() };
    match seams.store.put(&key, PutObject::create(object::encode(&retry))).await {
        Ok(_) => return Ok((batch, false)),
        Err(StoreError::Exists) => {}
        Err(error) => return Err(error.into()),
    }
    let stands: Retry = object::decode(&key, &seams.store.get(&key, Range::All).await?.body)?;
    Ok((stands.batch, stands.nonce != retry.nonce))
}

/// The calls of a finished batch that failed, in the order of their numbers, chunk by chunk.
pub(super) struct Failures {
    seams: Seams,
    parent: Standing,
    chunks: VecDeque<(Entry, u64)>,
}

impl Failures {
    pub(super) async fn of(seams: &Seams, parent: Standing) -> Result<Failures> {
        let last = parent.sealed(seams).await?.map_or(0, |sealed| sealed.last);
        let parts = parent.parts(seams).await?;
        let entries = parent.entries(seams).await?.into_iter().filter(|entry| entry.last <= last);
        let chunks = entries.map(|entry| (entry, parts.get(&entry.last).copied().unwrap_or(0))).collect();
        Ok(Failures { seams: seams.clone(), parent, chunks })
    }

    async fn of_chunk(&self, last: u64, parts: u64) -> Result<Vec<Item>> {
        let Standing { app, batch, .. } = &self.parent;
        let store = &self.seams.store;
        let mut log = self.parent.log(last);
        log.take_in_last(&**store, parts).await?;
        if !log.counts().iter().any(|(status, count)| has_failed(*status) && *count > 0) {
            return Ok(Vec::new());
        }
        let mut failed = BTreeSet::new();
        for part in 0..parts {
            let key = Key::Part(app.clone(), *batch, last, part).to_string();
            let part = Part::open(&key, store.get(&key, Range::All).await?.body)?;
            for group in 0..part.groups() {
                let rows = part.rows(group)?.into_iter();
                failed.extend(rows.filter(|row| has_failed(row.status)).map(|row| row.number));
            }
        }
        let key = Key::Chunk(app.clone(), *batch, last).to_string();
        let records = chunk::decode(&key, store.get(&key, Range::All).await?.body)?;
        let mut items = Vec::new();
        for record in records {
            if record.refused.is_some() || !failed.contains(&record.number) {
                continue;
            }
            let payload = match record.input {
                Some(_) => {
                    let key = Key::Input(app.clone(), *batch, record.number).to_string();
                    store.stream(&key, limits::BODY_BYTES_MAX).await?.0
                }
                None => record.payload.into(),
            };
            items.push(Item {
                payload,
                content_type: record.content_type.map(Into::into),
                headers: record.headers,
                line: Some(record.number),
                bad: None,
            });
        }
        Ok(items)
    }
}

fn has_failed(status: State) -> bool {
    match status {
        State::Error | State::Timeout | State::Killed => true,
        State::Success | State::Cancelled | State::Delayed | State::Queued | State::Running => false,
    }
}

#[async_trait]
impl Source for Failures {
    fn origin(&self) -> Origin {
        Origin {
            location: self.parent.batch.to_string(),
            format: Format::plain(Kind::Failures).to_string(),
            pass: Pass::Record,
        }
    }

    async fn next(&mut self) -> Result<Vec<Item>> {
        while let Some((entry, parts)) = self.chunks.pop_front() {
            let items = self.of_chunk(entry.last, parts).await?;
            if !items.is_empty() {
                return Ok(items);
            }
        }
        Ok(Vec::new())
    }
}
