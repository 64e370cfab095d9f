//! Cancels a batch, or one call of it.

use std::collections::BTreeMap;

use super::standing::Standing;
use crate::error::{Error, Result};
use crate::layout::batch::Cancelled;
use crate::layout::part::{Part, Row};
use crate::layout::{Key, key, object};
use crate::model::{BatchId, CallId, State};
use crate::outcomes::Log;
use crate::outcomes::chunks::read_facts;
use crate::seam::Seams;
use crate::seam::store::{List, PutObject, Range, StoreError};

/// Asks for a batch to be cancelled: workers record `cancelled` for what has no outcome, its submitter stops, its
/// supervisor ends it. A batch that is being cancelled already stays so; one that has finished is a conflict (R3).
pub async fn cancel(seams: &Seams, batch: BatchId, by: &str, reason: &str) -> Result<Cancelled> {
    let standing = Standing::of(seams, batch).await?;
    if standing.is_over {
        return Err(Error::conflict(format!("batch {batch} has finished already")));
    }
    let cancelled = Cancelled { v: 1, by: by.to_owned(), reason: reason.to_owned(), at: seams.now() };
    let key = Key::Cancelled(standing.app, batch).to_string();
    match seams
        .store
        .put(&key, PutObject::create(object::encode(&cancelled)).content_type("application/json"))
        .await
    {
        Ok(_) => Ok(cancelled),
        Err(StoreError::Exists) => object::decode(&key, &seams.store.get(&key, Range::All).await?.body),
        Err(error) => Err(error.into()),
    }
}

/// Records `cancelled` for one call of a batch, as any writer of its chunk's log would. A call that is cancelled already
/// is no error; any other outcome is a conflict, since what finished first, stands.
pub async fn cancel_call(seams: &Seams, call: CallId, by: &str) -> Result<Row> {
    let (Some(batch), Some(number)) = (call.batch(), call.number()) else {
        return Err(Error::internal(format!("call {call} is not of a batch")));
    };
    let standing = Standing::of(seams, batch).await?;
    let sealed = standing.sealed(seams).await?;
    let beyond = || Error::not_found(format!("there is no call {call}: its batch has no record {number}"));
    if sealed.as_ref().is_some_and(|sealed| !sealed.belongs(number)) {
        return Err(beyond());
    }
    // One list: a chunk is named by its last number.
    let chunks = key::chunks(&standing.app, batch);
    let mut list = List::all(chunks).max(1);
    if let Some(before) = number.checked_sub(1).filter(|before| *before > 0) {
        list = list.start_after(Key::Chunk(standing.app.clone(), batch, before).to_string());
    }
    let listed = seams.store.list(&list).await?;
    let not_yet = || match sealed {
        Some(_) => beyond(),
        None => Error::conflict(format!("call {call} is not submitted yet"))
            .hint(format!("`afn batch cancel {batch}` cancels the batch")),
    };
    let entry = listed.entries.first().ok_or_else(not_yet)?;
    let facts = read_facts(seams, &entry.key).await?;
    // A later chunk may be stored before the one that the call lies in (R1).
    if facts.first > number {
        return Err(not_yet());
    }
    let reason = Some(format!("cancelled by {by}"));
    let row = Row::without_run(number, State::Cancelled, reason, entry.modified_at, seams.now(), by.into());
    let mut log = Log::open(&*seams.store, standing.chunk(facts.last)).await?;
    if log.append(&*seams.store, std::slice::from_ref(&row), &BTreeMap::new()).await?.recorded == 1 {
        return Ok(row);
    }
    let stands = row_of(seams, &standing, &log, facts.last, number).await?;
    if stands.status == State::Cancelled {
        return Ok(stands);
    }
    Err(Error::conflict(format!("call {call} has finished already: {}", stands.status)))
}

async fn row_of(seams: &Seams, standing: &Standing, log: &Log, last: u64, number: u64) -> Result<Row> {
    let gone = || Error::internal(format!("call {number} of batch {} is decided nowhere", standing.batch));
    let part = log.decided().part(number).ok_or_else(gone)?;
    let key = Key::Part(standing.app.clone(), standing.batch, last, part).to_string();
    let part = Part::open(&key, seams.store.get(&key, Range::All).await?.body)?;
    for group in 0..part.groups() {
        if let Some(row) = part.rows(group)?.into_iter().find(|row| row.number == number) {
            return Ok(row);
        }
    }
    Err(gone())
}
