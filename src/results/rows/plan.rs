//! The objects to read for the rows of a batch. They are listed once, so that two readings give the same rows.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::{Finished, Options};
use crate::error::{Error, Result};
use crate::layout::Key;
use crate::layout::batch::{Batch, BatchSource, Sealed};
use crate::limits;
use crate::model::{AppName, BatchId, BatchRef};
use crate::outcomes::listing::{self, Listing};
use crate::outcomes::{BatchFacts, Logs, app_of};
use crate::seam::{Deps, StoreExt as _};

pub struct ReadPlan {
    pub(super) deps: Deps,
    pub(super) app: AppName,
    pub(super) batch: BatchId,
    pub(super) options: Options,
    pub(super) chunks: Vec<ChunkPlan>,
    facts: BatchFacts,
    pub(super) rows: u64,
    /// The retry of this batch, with `latest`.
    pub(super) overlay: Option<Arc<ReadPlan>>,
    /// Rows get the names of their files or objects: the source has names, and they are requested.
    pub(super) names: bool,
    /// Where the records came from first, if names were asked for.
    pub(super) source: Option<BatchSource>,
    /// The same of keys.
    pub(super) keys: bool,
    /// Rows need the line of their source: for a retry it is the number in the retried batch.
    pub(super) lines: bool,
}

/// One chunk and the parts of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChunkPlan {
    /// One more than the last number of the chunk before it.
    pub(super) first: u64,
    pub(super) last: u64,
    /// The bytes of each part.
    pub(super) parts: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ChunkObject {
    Payloads(Key),
    Part { key: Key, bytes: u64 },
}

impl ReadPlan {
    pub async fn make(deps: &Deps, batch: BatchId, options: Options) -> Result<ReadPlan> {
        let app = app_of(deps, batch).await?;
        ReadPlan::of(deps.clone(), BatchRef { app, batch }, options, 0).await
    }

    /// Boxed, because the plan of a batch contains the plan of its retry. `depth`: it is the retry of so many retries, and of the
    /// batch that was asked for.
    fn of(
        deps: Deps,
        of: BatchRef,
        options: Options,
        depth: usize,
    ) -> Pin<Box<dyn Future<Output = Result<ReadPlan>> + Send>> {
        Box::pin(async move {
            let store = &*deps.store;
            let batch = of.batch;
            let listing = listing::list(store, &of, &Default::default()).await?;
            let mut facts = BatchFacts::default();
            facts.take_in(&listing);
            facts.refuse_deleted(store, &of).await?;
            let is_over = facts.summary.is_there();
            if !facts.definition.is_there() {
                return Err(absent(batch, is_over));
            }
            let is_judged = options.finished == Finished::Must && !is_over;
            let definition = match is_judged || options.names {
                true => facts.definition.read(store, &of).await?,
                false => None,
            };
            let sealed = facts.sealed.read(store, &of).await?;
            if let Some(definition) = definition.as_ref().filter(|_| is_judged) {
                let mut logs = Logs::new(&of, definition);
                logs.take_in(store, &listing).await?;
                if !sealed.as_ref().is_some_and(|sealed| logs.is_decided(sealed)) {
                    let count: u64 = logs.counts(sealed.as_deref()).values().sum();
                    return Err(unfinished(batch, count, sealed.as_deref().map(Sealed::calls)));
                }
            }
            let source = match &definition {
                Some(definition) if options.names => Some(first_source(&deps, &of.app, definition).await?),
                _ => None,
            };
            let names = source.as_ref().is_some_and(BatchSource::has_names);
            let keys = source.as_ref().is_some_and(|source| source.key_field().is_some());
            let end = sealed.as_ref().map_or(u64::MAX, |sealed| sealed.last);
            let mut chunks = chunk_plans(&listing, end);
            let stored = chunks.last().map_or(0, |chunk| chunk.last);
            chunks.retain(|chunk| options.number.is_none_or(|n| (chunk.first..=chunk.last).contains(&n)));
            let mut overlay = None;
            if let Some(mut retry) = facts.retries.first_entry().filter(|_| options.latest) {
                let id = (of.clone(), *retry.key());
                if let Some(retry) = retry.get_mut().read(store, &id).await? {
                    // Every row of the retry is needed.
                    let options = Options { latest: true, finished: options.finished, ..Options::default() };
                    check_depth(batch, depth)?;
                    let retry = BatchRef::new(&of.app, retry.batch);
                    let plan = ReadPlan::of(deps.clone(), retry, options, depth + 1).await?;
                    overlay = Some(Arc::new(plan));
                }
            }
            let rows = sealed.as_deref().map_or(stored, Sealed::calls);
            Ok(ReadPlan {
                deps,
                app: of.app,
                batch,
                options,
                chunks,
                facts,
                rows,
                overlay,
                names,
                source,
                keys,
                lines: depth > 0,
            })
        })
    }

    pub(super) fn belongs(&self, number: u64) -> bool {
        self.facts.belongs(number)
    }

    /// Rows get their records, not only the names of them.
    pub(super) fn keeps_records(&self) -> bool {
        self.options.input || self.lines
    }

    /// The objects of one chunk, in the order in which they are read.
    pub(super) fn objects(&self, chunk: &ChunkPlan) -> Vec<ChunkObject> {
        let mut objects = Vec::new();
        if self.keeps_records() || self.names || self.keys {
            objects.push(ChunkObject::Payloads(Key::Chunk(self.app.clone(), self.batch, chunk.last)));
        }
        objects.extend(chunk.parts.iter().enumerate().map(|(part, bytes)| {
            let key = Key::Part(self.app.clone(), self.batch, chunk.last, part as u64);
            ChunkObject::Part { key, bytes: *bytes }
        }));
        objects
    }
}

/// The chunks up to a number, and the parts of their logs.
fn chunk_plans(listing: &Listing, end: u64) -> Vec<ChunkPlan> {
    let mut first = 1;
    let plan = |last: &u64| {
        let parts = listing.logs.get(last).map(|parts| parts.sizes.clone()).unwrap_or_default();
        ChunkPlan { first: std::mem::replace(&mut first, last + 1), last: *last, parts }
    };
    listing.chunks.range(..=end).map(|(last, _)| last).map(plan).collect()
}

/// Why there is no definition of a batch.
fn absent(batch: BatchId, is_over: bool) -> Error {
    match is_over {
        true => Error::not_found(format!("batch `{batch}` was deleted, its summary alone is left"))
            .with_hint(format!("`afn batch status {batch}` shows it")),
        false => Error::not_found(format!("batch `{batch}` was never begun: its submitter stopped before")),
    }
}

/// A retry's records have the names and keys of the batch that it retries.
async fn first_source(deps: &Deps, app: &AppName, definition: &Batch) -> Result<BatchSource> {
    let (mut source, mut parent) = (definition.source.clone(), definition.retry_of);
    let mut depth = 0;
    while let Some(batch) = parent {
        check_depth(batch, depth)?;
        depth += 1;
        let before: Option<Batch> = deps.store.find_fact(&BatchRef::new(app, batch)).await?;
        let Some(before) = before else { break };
        (source, parent) = (before.source, before.retry_of);
    }
    Ok(source)
}

/// What objects say of retries need not come to an end.
fn check_depth(batch: BatchId, depth: usize) -> Result<()> {
    if depth < limits::RETRIES_OF_RETRIES_MAX {
        return Ok(());
    }
    let most = limits::RETRIES_OF_RETRIES_MAX;
    Err(Error::conflict(format!("batch `{batch}` is one of more than {most} that retry one another"))
        .with_hint("their results can be read one by one, without names, keys and `--latest`"))
}

fn unfinished(batch: BatchId, decided: u64, calls: Option<u64>) -> Error {
    let of = calls.map(|calls| format!(" of {calls}")).unwrap_or_default();
    Error::conflict(format!("batch `{batch}` has not finished: {decided}{of} calls are decided")).with_hint(
        format!(
            "`afn batch wait {batch}` waits for it; `afn batch results {batch}` takes what there is, the others as queued"
        ),
    )
}
