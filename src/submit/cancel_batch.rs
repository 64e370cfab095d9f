//! Cancels a batch, or one call of it.

use super::snapshot::BatchSnapshot;
use super::supervisor::call_supervisor;
use crate::error::{Error, Result};
use crate::layout::batch::Cancelled;
use crate::layout::part::Row;
use crate::layout::{Key, key};
use crate::model::{BatchId, CallId, State};
use crate::outcomes::Log;
use crate::outcomes::chunks::read_facts;
use crate::outcomes::log::Addition;
use crate::seam::store::List;
use crate::seam::{Deps, StoreExt as _};

/// Requests the cancellation of a batch: workers record `cancelled` for calls without an outcome, its submitter stops, its
/// supervisor ends it. A second request changes nothing; a batch that has finished is a conflict (R3).
pub async fn cancel(deps: &Deps, batch: BatchId, by: &str, reason: &str) -> Result<Cancelled> {
    let snapshot = BatchSnapshot::of(deps, batch).await?;
    if snapshot.is_over() {
        return Err(Error::conflict(format!("batch {batch} has finished already")));
    }
    let cancelled = Cancelled { by: by.to_owned(), reason: reason.to_owned(), at: deps.now() };
    let cancelled = deps.store.create_fact(&snapshot.of, &cancelled).await?.or(cancelled);
    call_supervisor(deps, &snapshot.of).await?;
    Ok(cancelled)
}

/// Records `cancelled` for one call of a batch, as any writer of its chunk's log would. A call that is cancelled already
/// is no error; any other outcome is a conflict, because the first outcome counts.
pub async fn cancel_call(deps: &Deps, call: CallId, by: &str) -> Result<Row> {
    let (Some(batch), Some(number)) = (call.batch(), call.number()) else {
        return Err(Error::internal(format!("call {call} is not of a batch")));
    };
    let snapshot = BatchSnapshot::of(deps, batch).await?;
    let sealed = snapshot.sealed(deps).await?;
    let beyond = || Error::not_found(format!("there is no call {call}: its batch has no record {number}"));
    if sealed.as_ref().is_some_and(|sealed| !sealed.belongs(number)) {
        return Err(beyond());
    }
    // One list: a chunk is named by its last number.
    let chunks = key::chunks(&snapshot.of.app, batch);
    let mut list = List::all(chunks).max(1);
    if let Some(before) = number.checked_sub(1).filter(|before| *before > 0) {
        list = list.start_after(Key::Chunk(snapshot.of.app.clone(), batch, before));
    }
    let listed = deps.store.list(&list).await?;
    let not_yet = || match sealed {
        Some(_) => beyond(),
        None => Error::conflict(format!("call {call} is not submitted yet"))
            .with_hint(format!("`afn batch cancel {batch}` cancels the batch")),
    };
    let entry = listed.entries.first().ok_or_else(not_yet)?;
    let facts = read_facts(deps, &entry.to_key()).await?;
    // A later chunk may be stored before the one that the call lies in (R1).
    if facts.first > number {
        return Err(not_yet());
    }
    let reason = Some(format!("cancelled by {by}"));
    let row = Row::without_run(number, State::Cancelled, reason, entry.modified_at, deps.now(), by.into());
    let mut log = Log::open(&*deps.store, snapshot.chunk(facts.last)).await?;
    let addition = Addition { rows: vec![row.clone()], worker: by.to_owned(), ..Addition::default() };
    if log.append(&*deps.store, &addition).await?.recorded == 1 {
        return Ok(row);
    }
    let part = log.decided().part(number);
    let decided = match part {
        Some(part) => snapshot.part(deps, facts.last, part).await?.row(number)?,
        None => None,
    };
    match decided {
        Some(row) if row.status == State::Cancelled => Ok(row),
        Some(row) => Err(Error::conflict(format!("call {call} has finished already: {}", row.status))),
        None => Err(Error::internal(format!("no part of the log of batch {batch} has call {number}"))),
    }
}
