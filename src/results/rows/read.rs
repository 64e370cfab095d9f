//! Reads the objects of a plan in order and merges their rows: the first part of a log that names a call decides it (R2), and
//! the rows of a retry replace those of the calls that it retried.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::plan::{ChunkObject, ChunkPlan, ReadPlan};
use super::{Finished, Gaps, ResultRow, Rows};
use crate::error::{Error, Result};
use crate::layout::Key;
use crate::layout::chunk::{self, Record, chunk_first_min};
use crate::layout::part::{Part, Row};
use crate::limits;
use crate::model::State;
use crate::results::reading;
use crate::results::view::Unreadable;
use crate::seam::store::ByteRange;

/// Sends the rows, chunk by chunk. Returns the objects that cannot be read: calls that only they could decide are left out.
pub(super) async fn read(plan: Arc<ReadPlan>, sender: mpsc::Sender<Vec<ResultRow>>) -> Result<Gaps> {
    let memory = Arc::new(Semaphore::new(limits::ROWS_AHEAD_BYTES as usize));
    let objects: Vec<ChunkObject> = plan.chunks.iter().flat_map(|chunk| plan.objects(chunk)).collect();
    let mut objects = stream::iter(objects)
        .map(|object| fetch(plan.clone(), memory.clone(), object))
        .buffered(limits::READ_AHEAD_MAX);
    let mut overlay =
        plan.overlay.clone().map(|plan| Overlay { rows: Rows::start(plan), next: VecDeque::new() });
    let mut gaps = Gaps::default();
    let mut read = 0;
    for chunk in &plan.chunks {
        let mut contents = ChunkContents::default();
        for _ in 0..plan.objects(chunk).len() {
            let Some(fetched) = objects.next().await else { break };
            let id = fetched.key.to_string();
            contents.has_gap |= !Unreadable::note(&mut gaps.objects, id, contents.add(&plan, fetched))?;
        }
        // Rows are merged only when there is room: one chunk's rows are in the channel, one's in this task.
        let Ok(permit) = sender.reserve().await else { return Ok(gaps) };
        let mut block = merge(&plan, chunk, contents, &mut gaps.calls)?;
        read += block.len() as u64;
        if let Some(overlay) = &mut overlay {
            block = overlay.apply(block).await?;
        }
        let wanted = &plan.options.statuses;
        let number = plan.options.number;
        block.retain(|row| {
            (wanted.is_empty() || wanted.contains(&row.status))
                && number.is_none_or(|number| number == row.number)
        });
        if !block.is_empty() {
            permit.send(block);
        }
    }
    if let Some(mut overlay) = overlay {
        while overlay.rows.next_readable().await?.is_some() {}
        gaps.objects.extend(overlay.rows.gaps.objects);
    }
    if plan.options.finished != Finished::NeedNot && read < plan.rows && gaps.objects.is_empty() {
        return Err(missing(&plan, plan.rows));
    }
    Ok(gaps)
}

struct Fetched {
    key: Key,
    is_part: bool,
    body: Result<Bytes>,
    /// The memory of the body.
    _permit: OwnedSemaphorePermit,
}

async fn fetch(plan: Arc<ReadPlan>, memory: Arc<Semaphore>, object: ChunkObject) -> Fetched {
    let (key, is_part, bytes, bytes_max) = match object {
        ChunkObject::Payloads(key) => {
            (key, false, limits::CHUNK_BYTES_MAX / 4, limits::CHUNK_OBJECT_BYTES_MAX)
        }
        ChunkObject::Part { key, bytes } => (key, true, bytes, limits::PART_OBJECT_BYTES_MAX),
    };
    let permits = bytes.min(limits::ROWS_AHEAD_BYTES) as u32;
    let permit = memory.acquire_many_owned(permits).await.expect("the semaphore is never closed");
    let object = plan.deps.store.get(&key, ByteRange::Whole(bytes_max)).await.map_err(reading(&key));
    Fetched { body: object.map(|object| object.body), key, is_part, _permit: permit }
}

/// What the objects of a chunk hold, as far as it is needed.
#[derive(Default)]
struct ChunkContents {
    names: BTreeMap<u64, String>,
    keys: BTreeMap<u64, String>,
    records: BTreeMap<u64, Record>,
    /// In the order of the log.
    rows: Vec<Row>,
    /// An object could not be read.
    has_gap: bool,
}

impl ChunkContents {
    fn add(&mut self, plan: &ReadPlan, fetched: Fetched) -> Result<()> {
        let Fetched { key, is_part, body, .. } = fetched;
        if is_part {
            let part = Part::open(&key, body?)?;
            let budget = part.budget();
            for group in 0..part.groups() {
                self.rows.extend(part.rows_without_logs(group, &budget)?);
            }
            return Ok(());
        }
        for record in chunk::decode(&key, body?)? {
            if plan.names {
                self.names.extend(record.name().map(|name| (record.number, name.into_owned())));
            }
            if plan.keys {
                self.keys.extend(record.key.clone().map(|key| (record.number, key)));
            }
            if plan.keeps_records() {
                self.records.insert(record.number, record);
            }
        }
        Ok(())
    }
}

fn missing(plan: &ReadPlan, number: u64) -> Error {
    Error::conflict(format!(
        "call {number} of batch `{}` has no outcome, though the batch was reported as finished",
        plan.batch
    ))
    .with_hint(format!(
        "`afn batch results {}` takes what there is; if the batch has its summary, its objects were tampered with",
        plan.batch
    ))
}

/// Every number of a chunk that belongs to the batch, once, in order. Calls whose outcome may lie in an object that cannot be
/// read are left out, and added to `missing_calls`.
fn merge(
    plan: &ReadPlan,
    chunk: &ChunkPlan,
    mut contents: ChunkContents,
    missing_calls: &mut u64,
) -> Result<Vec<ResultRow>> {
    let mut rows = contents.rows;
    // The sort is stable: the first row of a number is the one of the first part that names it.
    rows.sort_by_key(|row| row.number);
    rows.dedup_by_key(|row| row.number);
    let mut rows = rows.into_iter().peekable();
    let undecided = if chunk.parts.is_empty() { State::Queued } else { State::Running };
    let mut merged = Vec::with_capacity(rows.len());
    let first = chunk.first.max(chunk_first_min(chunk.last));
    for number in (first..=chunk.last).filter(|number| plan.belongs(*number)) {
        while rows.next_if(|row| row.number < number).is_some() {}
        let outcome = rows.next_if(|row| row.number == number);
        if outcome.is_none() && contents.has_gap {
            *missing_calls += 1;
            continue;
        }
        if outcome.is_none() && plan.options.finished != Finished::NeedNot {
            return Err(missing(plan, number));
        }
        merged.push(ResultRow {
            number,
            call: plan.batch.call(number),
            status: outcome.as_ref().map_or(undecided, |row| row.status),
            outcome,
            source: contents.names.remove(&number),
            key: contents.keys.remove(&number),
            input: contents.records.remove(&number),
        });
    }
    Ok(merged)
}

/// The rows of a retry, by their numbers in the batch that it retries.
struct Overlay {
    rows: Rows,
    next: VecDeque<ResultRow>,
}

impl Overlay {
    /// Replaces rows of retried calls.
    async fn apply(&mut self, mut rows: Vec<ResultRow>) -> Result<Vec<ResultRow>> {
        for row in &mut rows {
            if let Some(retried) = self.find(row.number).await? {
                (row.call, row.status, row.outcome) = (retried.call, retried.status, retried.outcome);
            }
        }
        Ok(rows)
    }

    /// Numbers must be given in ascending order, in which the rows come too.
    async fn find(&mut self, number: u64) -> Result<Option<ResultRow>> {
        loop {
            while let Some(row) = self.next.front() {
                let line = row.input.as_ref().and_then(|record| record.source_line).unwrap_or_default();
                if line > number {
                    return Ok(None);
                }
                let row = self.next.pop_front();
                if line == number {
                    return Ok(row);
                }
            }
            match self.rows.next_readable().await? {
                Some(rows) => self.next = rows.into(),
                None => return Ok(None),
            }
        }
    }
}
