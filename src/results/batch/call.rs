//! One call of a batch: its id names batch and number, so it is found without an index. A decided one in four requests
//! (its chunk, its chunk's log, the last footer, the part that decides it), an undecided one in five.

use bytes::Bytes;

use super::super::reading;
use super::super::view::CallView;
use crate::error::{Error, Result};
use crate::layout::batch::{Batch, Deleted, Sealed};
use crate::layout::chunk::ChunkFacts;
use crate::layout::footer::{END_BYTES, Footer};
use crate::layout::part::{Part, Row, RowResult};
use crate::layout::table::{TableEnd, end_of};
use crate::layout::{Key, key};
use crate::limits;
use crate::model::{AppName, BatchId, BatchRef, CallId, Digest, State, Stored};
use crate::outcomes::deleted_error;
use crate::seam::store::{ByteRange, List, ListEntry};
use crate::seam::{Deps, StoreExt as _};

pub async fn find_call(deps: &Deps, app: &AppName, call: CallId) -> Result<CallView> {
    let lookup = Lookup::new(deps, app, call)?;
    let error = match lookup.find().await {
        Ok(view) => return Ok(view),
        Err(error) => error,
    };
    // Only now: most calls are of batches that were not deleted.
    let of = BatchRef::new(app, lookup.batch);
    Err(match deps.store.find_fact::<Deleted>(&of).await? {
        Some(deleted) => deleted_error(&of, &deleted),
        None => error,
    })
}

struct Lookup<'a> {
    deps: &'a Deps,
    app: &'a AppName,
    call: CallId,
    batch: BatchId,
    number: u64,
}

impl<'a> Lookup<'a> {
    fn new(deps: &'a Deps, app: &'a AppName, call: CallId) -> Result<Lookup<'a>> {
        match (call.batch(), call.number()) {
            (Some(batch), Some(number)) => Ok(Lookup { deps, app, call, batch, number }),
            _ => Err(Error::internal(format!("call `{call}` is not of a batch"))),
        }
    }

    async fn find(&self) -> Result<CallView> {
        let Some(last) = self.chunk().await? else { return Err(self.without_chunk().await?) };
        let parts = self.parts(last).await?;
        let Some(newest) = parts.last() else { return self.undecided(last, None).await };
        let footer = self.footer(newest).await?;
        let Some(part) = footer.decided.part(self.number) else {
            return self.undecided(last, Some(footer)).await;
        };
        let row = self.row(last, part).await?;
        Ok(decided(self.app, self.call, footer, row))
    }

    /// The first chunk that ends at the number or after it.
    async fn chunk(&self) -> Result<Option<u64>> {
        let before = Key::Chunk(self.app.clone(), self.batch, self.number - 1);
        let request = List::all(key::chunks(self.app, self.batch)).start_after(before).max(1);
        let listed = self.deps.store.list(&request).await?;
        match listed.entries.first().map(|entry| entry.key.parse()).transpose()? {
            Some(Key::Chunk(_, _, last)) => Ok(Some(last)),
            _ => Ok(None),
        }
    }

    /// The log, up to a gap (R2).
    async fn parts(&self, last: u64) -> Result<Vec<ListEntry>> {
        let log = key::log(self.app, self.batch, last);
        let entries = self.deps.store.list_all(List::all(log)).await?.entries.into_iter().enumerate();
        let dense = entries.take_while(|(index, entry)| {
            let expected = Key::Part(self.app.clone(), self.batch, last, *index as u64);
            entry.key == expected.to_string()
        });
        Ok(dense.map(|(_, entry)| entry).collect())
    }

    async fn footer(&self, part: &ListEntry) -> Result<Footer> {
        let mut bytes = END_BYTES;
        loop {
            let end = self.deps.store.get(&part.to_key(), ByteRange::Last(bytes)).await;
            let end = end.map_err(reading(&part.key))?;
            match end_of(&part.key, &end.body)? {
                TableEnd::Complete(end) => return Footer::decode(&part.key, &end.footer()?),
                TableEnd::Needs(needed) if needed as u64 > bytes => bytes = needed as u64,
                TableEnd::Needs(_) => {
                    return Err(Error::internal(format!("object `{}` is cut short", part.key)));
                }
            }
        }
    }

    async fn row(&self, last: u64, part: u64) -> Result<Row> {
        let key = Key::Part(self.app.clone(), self.batch, last, part);
        let range = ByteRange::Whole(limits::PART_OBJECT_BYTES_MAX);
        let object = self.deps.store.get(&key, range).await.map_err(reading(&key))?;
        let row = Part::open(&key, object.body)?.row(self.number)?;
        row.ok_or_else(|| {
            Error::internal(format!("object `{key}` has no row for number {}, a footer says so", self.number))
        })
    }

    /// Why there is no chunk with this number.
    async fn without_chunk(&self) -> Result<Error> {
        let (store, of) = (&self.deps.store, BatchRef::new(self.app, self.batch));
        let Some(_) = store.find_fact::<Batch>(&of).await? else { return Ok(self.no_batch()) };
        Ok(match store.find_fact::<Sealed>(&of).await? {
            Some(sealed) => self.no_number(&sealed),
            None => self.not_submitted(),
        })
    }

    async fn undecided(&self, last: u64, footer: Option<Footer>) -> Result<CallView> {
        let (store, of) = (&self.deps.store, BatchRef::new(self.app, self.batch));
        let chunk_key = Key::Chunk(self.app.clone(), self.batch, last);
        let definition = async {
            match &footer {
                Some(_) => Ok(None),
                None => store.find_fact::<Batch>(&of).await,
            }
        };
        let chunk = store.find_metadata::<ChunkFacts>(&chunk_key);
        let sealed = store.find_fact::<Sealed>(&of);
        let (definition, chunk, sealed) = tokio::try_join!(definition, chunk, sealed)?;
        let Some((facts, chunk)) = chunk else { return Err(self.no_batch()) };
        if let Some(sealed) = sealed.filter(|sealed| !sealed.belongs(self.number)) {
            return Err(self.no_number(&sealed));
        }
        if facts.first > self.number {
            return Err(self.not_submitted());
        }
        // A call of a chunk counts as running when other calls of the chunk have ended (R6).
        let (state, names) = match (footer, definition) {
            (Some(footer), _) => (State::Running, (footer.function, footer.route, footer.version)),
            (None, Some(batch)) => (State::Queued, (batch.function, batch.route, batch.version)),
            (None, None) => return Err(self.no_batch()),
        };
        let view = CallView::new(self.app, self.call, names, state);
        Ok(CallView { created_at: chunk.modified_at, ..view })
    }

    /// The batch is being submitted, and has not come to this number (R1).
    fn not_submitted(&self) -> Error {
        Error::not_found(format!("call `{}` is not submitted yet: its batch is still read in", self.call))
            .with_hint(format!("`afn batch status {}` shows its progress", self.batch))
    }

    fn no_number(&self, sealed: &Sealed) -> Error {
        let (batch, call, calls) = (self.batch, self.call, sealed.calls());
        Error::not_found(format!("batch `{batch}` has no call `{call}`: it has {calls} calls"))
    }

    fn no_batch(&self) -> Error {
        Error::not_found(format!("there is no call `{}`, and no batch `{}`", self.call, self.batch))
            .with_hint(
                "`afn batch list APP` lists an app's batches; what is left of one goes two weeks after its content",
            )
    }
}

fn decided(app: &AppName, id: CallId, footer: Footer, row: Row) -> CallView {
    let mut view = CallView {
        reason: row.error,
        attempts: row.attempts,
        created_at: row.created_at,
        started_at: row.started_at,
        completed_at: Some(row.completed_at),
        run_ms: Some(row.run_ms),
        worker: Some(row.worker.to_string()),
        ..CallView::new(app, id, (footer.function, footer.route, footer.version), row.status)
    };
    match row.result {
        RowResult::None => {}
        RowResult::Inline(body) => {
            view.result = Some(stored(&body, row.content_type));
            view.inline.result = Some(body);
        }
        RowResult::Stored { attempt, bytes, sha256 } => {
            view.result = Some(Stored { bytes, sha256, content_type: row.content_type });
            view.attempt = Some(attempt);
        }
    }
    if let Some(log) = row.log.map(Bytes::from) {
        view.log = Some(stored(&log, None));
        view.inline.log = Some(log);
    }
    view
}

fn stored(body: &Bytes, content_type: Option<String>) -> Stored {
    Stored { bytes: body.len() as u64, sha256: Digest::of(body), content_type }
}
