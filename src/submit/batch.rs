//! Submits a batch: its pointer, `batch`, the supervisor's message, then the source as a stream of chunks, `sealed` last.
//! Workers begin with the first chunk; memory does not grow with the source.

use super::chunker::Chunker;
use super::source::{Origin, Source, SourceRecord};
use super::stream::Stream;
use super::submission::resume_hint;
pub use super::submission::{End, OnBadRecord, OnProgress, Progress, Submitted};
use super::supervisor::supervise;
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::layout::batch::{Batch, BatchSource, Chunking, MaxFailures, Pointer, Then};
use crate::model::array_job::check_env_name;
use crate::model::webhook::check_webhook_url;
use crate::model::{AppName, ArrayJob, BatchId, BatchLimits, BatchRef, Function, Retention, Route};
use crate::seam::{Deps, RngExt as _, StoreExt as _};

pub struct BatchRequest {
    pub app: AppName,
    pub route: Route,
    pub source: Box<dyn Source>,
    pub options: BatchOptions,
}

#[derive(Debug, Clone, Default)]
pub struct BatchOptions {
    pub on_bad_record: OnBadRecord,
    /// A source without records is an error, instead of a batch of 0 calls.
    pub fail_if_empty: bool,
    pub then: Option<Then>,
    pub on_complete: Option<String>,
    pub max_failures: Option<MaxFailures>,
    /// Attempts at a call that fails, instead of the function's own.
    pub attempts_max: Option<u32>,
    pub retry_backoff_ms: Option<u64>,
    pub limits: BatchLimits,
    /// Of an array: the environment variable with the index of a call.
    pub index_env: Option<String>,
    /// How long its content is kept, instead of what the app says.
    pub retention: Option<Retention>,
    pub chunking: Chunking,
}

impl BatchOptions {
    /// Refuses what no batch may be stored with.
    pub(super) fn check(&self) -> Result<()> {
        if let Some(name) = &self.index_env {
            check_env_name(name).map_err(Error::invalid)?;
        }
        self.on_complete.as_deref().map_or(Ok(()), check_webhook_url)
    }
}

pub async fn submit(deps: &Deps, request: BatchRequest, progress: OnProgress<'_>) -> Result<Submitted> {
    submit_noted(deps, request, &|_| {}, progress).await
}

/// As [`submit`]. Calls `note` with the id before the batch can be resumed, so that the caller can keep what a resume needs.
pub async fn submit_noted(
    deps: &Deps,
    request: BatchRequest,
    note: &(dyn Fn(BatchId) + Send + Sync),
    progress: OnProgress<'_>,
) -> Result<Submitted> {
    let BatchRequest { app, route, mut source, options } = request;
    options.check()?;
    if options.index_env.is_some() && source.origin().array().is_none() {
        return Err(Error::invalid("`--index-env` is for arrays: the calls of other sources have no index")
            .with_hint("`--array 0-99` makes a call of each index"));
    }
    let function = Catalog::new(deps.clone()).resolve(&app, &route).await?;
    let first = first_items(&mut *source, &options).await?;
    tell_notice(deps, &*source);
    let of = BatchRef { batch: claim(deps, &app).await?, app };
    note(of.batch);
    let (on_bad_record, chunking) = (options.on_bad_record, options.chunking);
    deps.store.put_fact(&of, &definition(deps, function, source.origin(), options, None)).await?;
    supervise(deps, &of).await.map_err(|error| {
        let batch = of.batch;
        error
            .context(format!("batch {batch} is stored but could not be queued"))
            .with_hint(resume_hint(batch))
    })?;
    let first_calls = chunking.first_calls;
    let stream = Stream { deps, of: &of, first_calls, on_bad_record, progress };
    stream.run(Chunker::new(chunking)?, None, first, source).await
}

/// Reads the first records before anything is written, so that a source which cannot be read leaves no objects behind.
async fn first_items(source: &mut dyn Source, options: &BatchOptions) -> Result<Vec<SourceRecord>> {
    let items = source.next().await?;
    if items.is_empty() && options.fail_if_empty {
        return Err(Error::invalid(format!("the source `{}` has no records", source.origin().location))
            .with_hint("nothing was submitted; without `--fail-if-empty` it is a batch of 0 calls"));
    }
    match items.first().and_then(|first| first.bad.as_deref()) {
        Some(bad) if options.on_bad_record == OnBadRecord::Stop => {
            Err(Error::invalid(bad.to_string()).with_hint("nothing was submitted: it is the first record"))
        }
        _ => Ok(items),
    }
}

/// Tells what was found out of a source when its first items were read.
pub(super) fn tell_notice(deps: &Deps, source: &dyn Source) {
    if let Some(what) = source.notice() {
        let event = Event::SourceFormatFound { source: source.origin().location, what: what.to_owned() };
        deps.events.on(event);
    }
}

/// The definition of a batch: the object `batch`.
pub(super) fn definition(
    deps: &Deps,
    function: Function,
    origin: Origin,
    options: BatchOptions,
    retry_of: Option<BatchId>,
) -> Batch {
    let index_env = options.index_env;
    Batch {
        array: origin.array().map(|range| ArrayJob { range, index_env }),
        function: function.name,
        version: function.version,
        route: function.route,
        source: BatchSource {
            location: origin.location,
            format: origin.format,
            delimiter: origin.delimiter.map(|delimiter| delimiter.to_string()),
            key: origin.key,
            pass: origin.pass.to_string(),
            on_bad_record: options.on_bad_record.to_string(),
        },
        chunking: options.chunking,
        then: options.then,
        on_complete: options.on_complete,
        max_failures: options.max_failures,
        limits: options.limits,
        attempts_max: options.attempts_max,
        retry_backoff_ms: options.retry_backoff_ms,
        retention: options.retention,
        retry_of,
        fetch: origin.fetch,
        created_at: deps.now(),
        nonce: deps.nonce(),
    }
}

/// Takes a batch id by writing its first object.
pub(super) async fn claim(deps: &Deps, app: &AppName) -> Result<BatchId> {
    let pointer = Pointer { app: app.clone(), nonce: deps.nonce() };
    loop {
        let batch = BatchId::new(deps.now(), deps.rng.u128());
        if deps.store.create_fact(&batch, &pointer).await?.is_new() {
            return Ok(batch);
        }
    }
}
