//! Submits a batch: its pointer, `batch`, the supervisor's message, then the source as a stream of chunks, `sealed` last.
//! Workers begin with the first chunk; memory does not grow with the source.

use std::time::Duration;

use super::chunker::Chunker;
use super::send;
use super::source::{Bad, Item, Origin, Source};
use super::stream::Stream;
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::layout::batch::{Batch, BatchSource, Chunking, MaxFailures, Pointer, Sealed, Then};
use crate::layout::{Key, Message, SuperviseMessage, object};
use crate::model::{AppName, BatchId, Function, Route};
use crate::seam::store::{PutObject, Range};
use crate::seam::{RngExt as _, Seams, StoreError};

/// What a person wants run.
pub struct BatchRequest {
    pub app: AppName,
    pub route: Route,
    pub source: Box<dyn Source>,
    pub options: BatchOptions,
}

#[derive(Debug, Clone, Default)]
pub struct BatchOptions {
    pub on_bad_record: OnBadRecord,
    pub then: Option<Then>,
    pub on_complete: Option<String>,
    pub max_failures: Option<MaxFailures>,
    /// Attempts at a call that fails, instead of the function's own.
    pub attempts_max: Option<u32>,
    pub retry_backoff_ms: Option<u64>,
    pub chunking: Chunking,
}

/// What becomes of a record that cannot be a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnBadRecord {
    /// It takes its number and is decided `error` with the reason, without running.
    #[default]
    Record,
    /// The batch ends before it.
    Stop,
}

impl OnBadRecord {
    pub fn as_str(self) -> &'static str {
        match self {
            OnBadRecord::Record => "record",
            OnBadRecord::Stop => "stop",
        }
    }
}

impl std::str::FromStr for OnBadRecord {
    type Err = Error;

    fn from_str(text: &str) -> Result<OnBadRecord> {
        match text {
            "record" => Ok(OnBadRecord::Record),
            "stop" => Ok(OnBadRecord::Stop),
            _ => Err(Error::invalid(format!("`{text}` is not what can become of a bad record"))
                .hint("known: record, stop")),
        }
    }
}

/// How far a submission has come. Told first when the batch can be resumed, then as messages are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub batch: BatchId,
    pub calls: u64,
    pub chunks: u64,
    /// Of the records.
    pub bytes: u64,
    /// Bad records among the calls.
    pub refused: u64,
}

/// Takes in progress. Must not block.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Send + Sync);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    pub batch: BatchId,
    /// That belong to the batch.
    pub calls: u64,
    pub chunks: u64,
    pub bytes: u64,
    pub refused: u64,
    pub end: End,
}

/// Why a submission ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The source did; the batch is sealed.
    Source,
    /// A bad record did; the batch is sealed before it.
    BadRecord(Bad),
    /// The batch was cancelled; its supervisor seals it.
    Cancelled,
}

pub async fn submit(seams: &Seams, request: BatchRequest, progress: OnProgress<'_>) -> Result<Submitted> {
    let BatchRequest { app, route, mut source, options } = request;
    let function = Catalog::new(seams.clone()).resolve(&app, &route).await?;
    let first = first_items(&mut *source, options.on_bad_record).await?;
    let begun = begin(seams, &app, &route, &function, source.origin(), &options).await?;
    supervise(seams, &app, begun).await.map_err(|error| {
        error.context(format!("batch {begun} is begun but could not be queued")).hint(resume_hint(begun))
    })?;
    let stream = Stream { seams, app: &app, batch: begun, on_bad_record: options.on_bad_record, progress };
    stream.run(Chunker::new(options.chunking)?, None, first, source).await
}

/// Read before anything is written, so that a source with nothing to run leaves nothing behind.
async fn first_items(source: &mut dyn Source, on_bad_record: OnBadRecord) -> Result<Vec<Item>> {
    let items = source.next().await?;
    let Some(first) = items.first() else {
        return Err(Error::invalid(format!("the source `{}` has no records", source.origin().location))
            .hint("nothing was submitted"));
    };
    match &first.bad {
        Some(bad) if on_bad_record == OnBadRecord::Stop => {
            Err(Error::invalid(bad.to_string()).hint("nothing was submitted: it is the first record"))
        }
        _ => Ok(items),
    }
}

/// Writes the pointer and `batch`.
async fn begin(
    seams: &Seams,
    app: &AppName,
    route: &Route,
    function: &Function,
    origin: Origin,
    options: &BatchOptions,
) -> Result<BatchId> {
    let batch = claim(seams, app).await?;
    let body = Batch {
        v: 1,
        function: function.name.clone(),
        version: function.version.clone(),
        route: route.clone(),
        source: BatchSource {
            location: origin.location,
            format: origin.format,
            pass: origin.pass.to_string(),
            on_bad_record: options.on_bad_record.as_str().to_owned(),
        },
        chunking: options.chunking,
        then: options.then.clone(),
        on_complete: options.on_complete.clone(),
        max_failures: options.max_failures,
        attempts_max: options.attempts_max,
        retry_backoff_ms: options.retry_backoff_ms,
        retry_of: None,
        created_at: seams.now(),
        nonce: seams.nonce(),
    };
    put_batch(seams, app, batch, &body).await?;
    Ok(batch)
}

/// The first object of a batch: whoever writes it has the id.
pub(super) async fn claim(seams: &Seams, app: &AppName) -> Result<BatchId> {
    let pointer = Pointer { v: 1, app: app.clone(), nonce: seams.nonce() };
    loop {
        let batch = BatchId::new(seams.now(), seams.rng.u128());
        let key = Key::Pointer(batch).to_string();
        match seams.store.put(&key, PutObject::create(object::encode(&pointer))).await {
            Ok(_) => return Ok(batch),
            Err(StoreError::Exists) => {}
            Err(error) => return Err(error.into()),
        }
        let stands = seams.store.get(&key, Range::All).await?;
        let stands: Pointer = object::decode(&key, &stands.body)?;
        if stands.nonce == pointer.nonce {
            return Ok(batch);
        }
    }
}

/// What stands under `batch`: the given one, unless somebody who had the id before wrote another.
pub(super) async fn put_batch(seams: &Seams, app: &AppName, batch: BatchId, body: &Batch) -> Result<Batch> {
    let key = Key::Batch(app.clone(), batch).to_string();
    match seams
        .store
        .put(&key, PutObject::create(object::encode(body)).content_type("application/json"))
        .await
    {
        Ok(_) => Ok(body.clone()),
        Err(StoreError::Exists) => {
            let stands = seams.store.get(&key, Range::All).await?;
            object::decode(&key, &stands.body)
        }
        Err(error) => Err(error.into()),
    }
}

/// Sends the supervisor's message: before any chunk, so that no stored call is without somebody who looks after it.
pub(super) async fn supervise(seams: &Seams, app: &AppName, batch: BatchId) -> Result<()> {
    let message = SuperviseMessage { id: send::message_id(seams), app: app.clone(), batch };
    send::send(&seams.queues.batches, &Message::Supervise(message), Duration::ZERO).await
}

pub(super) fn resume_hint(batch: BatchId) -> String {
    format!("`afn batch resume {batch}` goes on where it stopped")
}

/// Writes `sealed`, or finds that it stands as it was to be.
pub(super) async fn put_sealed(seams: &Seams, app: &AppName, batch: BatchId, sealed: &Sealed) -> Result<()> {
    let key = Key::Sealed(app.clone(), batch).to_string();
    match seams
        .store
        .put(&key, PutObject::create(object::encode(sealed)).content_type("application/json"))
        .await
    {
        Ok(_) => return Ok(()),
        Err(StoreError::Exists) => {}
        Err(error) => return Err(error.into()),
    }
    let stands = seams.store.get(&key, Range::All).await?;
    let stands: Sealed = object::decode(&key, &stands.body)?;
    if (stands.last, &stands.missing) == (sealed.last, &sealed.missing) {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "the batch was sealed with {} calls by {} before its source ended; of {} records those beyond do not belong to it",
        stands.calls(),
        stands.by,
        sealed.last
    ))
    .hint("submit the rest as a new batch"))
}
