//! One call of a batch: its id names batch and number, so it is found without an index. A decided one in four requests
//! (its chunk, its chunk's log, the last footer, the part that decides it), an undecided one in five.

use bytes::Bytes;

use super::super::body::Pages;
use super::super::call::{CallView, Signs, reading};
use super::facts::find;
use crate::error::{Error, Result};
use crate::layout::batch::{Batch, Sealed};
use crate::layout::chunk::{self, ChunkFacts};
use crate::layout::footer::{END_BYTES, Footer};
use crate::layout::part::{Part, Row, RowResult};
use crate::layout::table::end_of;
use crate::layout::{Key, key, note};
use crate::model::{AppName, BatchId, CallId, Digest, FunctionName, Route, State, Stored, VersionId};
use crate::seam::store::{Entry, List, Range, StoreError};
use crate::seam::{Seams, StoreExt as _};

/// What there is of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Call(Box<CallView>),
    /// The batch is still being submitted, and has not come to this number (R1).
    NotSubmitted {
        stored: Option<u64>,
    },
    /// The batch has no such number.
    NoNumber {
        calls: u64,
    },
    NoBatch,
}

/// Bodies of a call that lie in its row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inline {
    pub result: Option<Bytes>,
    pub log: Option<Bytes>,
}

pub async fn find_call(seams: &Seams, app: &AppName, call: CallId) -> Result<Found> {
    let (Some(batch), Some(number)) = (call.batch(), call.number()) else { return Ok(Found::NoBatch) };
    let lookup = Lookup { seams, app, batch, number };
    let Some(last) = lookup.chunk().await? else { return lookup.without_chunk().await };
    let parts = lookup.parts(last).await?;
    let Some(newest) = parts.last() else { return lookup.undecided(last, None).await };
    let footer = lookup.footer(newest).await?;
    let Some(part) = footer.decided.part(number) else { return lookup.undecided(last, Some(footer)).await };
    let row = lookup.row(last, part).await?;
    Ok(Found::Call(Box::new(decided(app, call, footer, row))))
}

/// What a call was sent with, from its chunk or from an object of its own.
pub(in crate::results) async fn payload(seams: &Seams, view: &CallView) -> Result<Pages> {
    let (Some(batch), Some(number)) = (view.id.batch(), view.id.number()) else {
        return Err(Error::internal(format!("call `{}` is not of a batch", view.id)));
    };
    let lookup = Lookup { seams, app: &view.app, batch, number };
    let gone =
        || Error::not_found(format!("the payload of call `{}` is gone: its batch was deleted", view.id));
    let last = lookup.chunk().await?.ok_or_else(gone)?;
    let key = Key::Chunk(view.app.clone(), batch, last).to_string();
    let object = seams.store.find(&key).await.map_err(reading(&key))?.ok_or_else(gone)?;
    let records = chunk::decode(&key, object.body)?;
    let record = records.into_iter().find(|record| record.number == number).ok_or_else(gone)?;
    let Some(sha256) = record.input else { return Ok(Pages::inline(seams, record.payload)) };
    let key = Key::Input(view.app.clone(), batch, number).to_string();
    Ok(Pages::of_object(seams, key, sha256))
}

struct Lookup<'a> {
    seams: &'a Seams,
    app: &'a AppName,
    batch: BatchId,
    number: u64,
}

impl Lookup<'_> {
    /// The chunk that ends next, at the number or behind it.
    async fn chunk(&self) -> Result<Option<u64>> {
        let before = Key::Chunk(self.app.clone(), self.batch, self.number - 1).to_string();
        let request = List::all(key::chunks(self.app, self.batch)).start_after(before).max(1);
        let listed = self.seams.store.list(&request).await?;
        match listed.entries.first().map(|entry| entry.key.parse()).transpose()? {
            Some(Key::Chunk(_, _, last)) => Ok(Some(last)),
            _ => Ok(None),
        }
    }

    /// The log, up to a gap (R2).
    async fn parts(&self, last: u64) -> Result<Vec<Entry>> {
        let log = key::log(self.app, self.batch, last);
        let entries = self.seams.store.list_all(List::all(log)).await?.entries.into_iter().enumerate();
        let dense = entries.take_while(|(index, entry)| {
            let expected = Key::Part(self.app.clone(), self.batch, last, *index as u64);
            entry.key == expected.to_string()
        });
        Ok(dense.map(|(_, entry)| entry).collect())
    }

    async fn footer(&self, part: &Entry) -> Result<Footer> {
        let mut bytes = END_BYTES;
        loop {
            let end =
                self.seams.store.get(&part.key, Range::Last(bytes)).await.map_err(reading(&part.key))?;
            match end_of(&part.key, &end.body)? {
                Ok(end) => return Footer::decode(&part.key, &end.footer()?),
                Err(needed) if needed as u64 > bytes => bytes = needed as u64,
                Err(_) => return Err(Error::internal(format!("object `{}` is cut short", part.key))),
            }
        }
    }

    async fn row(&self, last: u64, part: u64) -> Result<Row> {
        let key = Key::Part(self.app.clone(), self.batch, last, part).to_string();
        let object = self.seams.store.get(&key, Range::All).await.map_err(reading(&key))?;
        let row = Part::open(&key, object.body)?.row(self.number)?;
        row.ok_or_else(|| {
            Error::internal(format!("object `{key}` has no row for number {}, a footer says so", self.number))
        })
    }

    async fn without_chunk(&self) -> Result<Found> {
        let (app, id) = (self.app.clone(), self.batch);
        let Some(_) = find::<Batch>(self.seams, Key::Batch(app.clone(), id)).await? else {
            return Ok(Found::NoBatch);
        };
        Ok(match find::<Sealed>(self.seams, Key::Sealed(app, id)).await? {
            Some(sealed) => Found::NoNumber { calls: sealed.calls() },
            None => Found::NotSubmitted { stored: None },
        })
    }

    async fn undecided(&self, last: u64, footer: Option<Footer>) -> Result<Found> {
        let (app, id) = (self.app.clone(), self.batch);
        let chunk_key = Key::Chunk(app.clone(), id, last).to_string();
        let definition = async {
            match &footer {
                Some(_) => Ok(None),
                None => find::<Batch>(self.seams, Key::Batch(app.clone(), id)).await,
            }
        };
        let chunk = async {
            match self.seams.store.head(&chunk_key).await {
                Ok(info) => Ok(Some(info)),
                Err(StoreError::NotFound) => Ok(None),
                Err(error) => Err(reading(&chunk_key)(error)),
            }
        };
        let sealed = find::<Sealed>(self.seams, Key::Sealed(app.clone(), id));
        let (definition, chunk, sealed) = tokio::try_join!(definition, chunk, sealed)?;
        let Some(chunk) = chunk else { return Ok(Found::NoBatch) };
        if let Some(sealed) = sealed.filter(|sealed| !sealed.belongs(self.number)) {
            return Ok(Found::NoNumber { calls: sealed.calls() });
        }
        let facts: ChunkFacts = note::decode(&chunk_key, chunk.note.as_deref().unwrap_or_default())?;
        if facts.first > self.number {
            return Ok(Found::NotSubmitted { stored: Some(last) });
        }
        // Nothing says that a call of a chunk runs but that its neighbours have ended (R6).
        let (state, names) = match (footer, definition) {
            (Some(footer), _) => (State::Running, (footer.function, footer.route, footer.version)),
            (None, Some(batch)) => (State::Queued, (batch.function, batch.route, batch.version)),
            (None, None) => return Ok(Found::NoBatch),
        };
        let call = self.batch.call(self.number);
        let mut view = empty(self.app, call, names, state);
        view.created_at = chunk.modified_at;
        Ok(Found::Call(Box::new(view)))
    }
}

fn empty(app: &AppName, id: CallId, names: (FunctionName, Route, VersionId), state: State) -> CallView {
    let (function, route, version) = names;
    CallView {
        id,
        app: app.clone(),
        function,
        route,
        version,
        state,
        reason: None,
        attempts: 0,
        created_at: id.time(),
        started_at: None,
        completed_at: None,
        run_ms: None,
        not_before: None,
        payload_bytes: None,
        content_type: None,
        result: None,
        log: None,
        attempt: None,
        worker: None,
        inline: Inline::default(),
        signs: Signs::default(),
    }
}

fn decided(app: &AppName, id: CallId, footer: Footer, row: Row) -> CallView {
    let mut view = empty(app, id, (footer.function, footer.route, footer.version), row.status);
    view.reason = row.error;
    view.attempts = row.attempts;
    view.created_at = row.created_at;
    view.started_at = row.started_at;
    view.completed_at = Some(row.completed_at);
    view.run_ms = Some(row.run_ms);
    view.worker = Some(row.worker.to_string());
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
