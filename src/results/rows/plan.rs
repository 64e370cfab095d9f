//! What is to be read for the rows of a batch: found out once, so that two readings give the same.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::{Finished, Options};
use crate::error::{Error, Result};
use crate::layout::Key;
use crate::layout::batch::{Batch, Sealed};
use crate::model::{AppName, BatchId};
use crate::outcomes::{Listing, Logs, app_of, listing};
use crate::results::batch::facts::{Facts, find};
use crate::seam::Seams;

pub struct Plan {
    pub(super) seams: Seams,
    pub(super) app: AppName,
    pub(super) batch: BatchId,
    pub(super) options: Options,
    pub(super) chunks: Vec<ChunkPlan>,
    sealed: Option<Sealed>,
    pub(super) rows: u64,
    /// Rows of the batch that retries this one's failures, by `latest`.
    pub(super) overlay: Option<Arc<Plan>>,
    /// The source has names, and they are wanted.
    pub(super) names: bool,
    /// Rows are to carry the line of their source, which for a retry is the number in the batch before.
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

/// One object to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Payloads,
    Part {
        bytes: u64,
    },
    /// Everything of this chunk is there.
    End,
}

impl Plan {
    pub async fn make(seams: &Seams, batch: BatchId, options: Options) -> Result<Plan> {
        let app = app_of(seams, batch).await?;
        Plan::of(seams.clone(), app, batch, options, false).await
    }

    /// Boxed: a batch's plan holds that of its retry.
    fn of(
        seams: Seams,
        app: AppName,
        batch: BatchId,
        options: Options,
        lines: bool,
    ) -> Pin<Box<dyn Future<Output = Result<Plan>> + Send>> {
        Box::pin(async move {
            let store = &*seams.store;
            let listing = listing::list(store, &app, batch, &Default::default()).await?;
            let is_over = listing.summary;
            if !listing.defined {
                return Err(match is_over {
                    true => {
                        Error::not_found(format!("batch `{batch}` was deleted, its summary alone is left"))
                            .hint(format!("`afn batch status {batch}` shows it"))
                    }
                    false => Error::not_found(format!(
                        "batch `{batch}` was never begun: its submitter stopped before"
                    )),
                });
            }
            let is_judged = options.finished == Finished::Must && !is_over;
            let needed = Listing {
                defined: is_judged || options.names,
                sealed: listing.sealed,
                retries: if options.latest { listing.retries.clone() } else { Vec::new() },
                ..Listing::default()
            };
            let mut facts = Facts::default();
            facts.read(&seams, &app, batch, &needed).await?;
            if let Some(definition) = facts.batch.as_ref().filter(|_| is_judged) {
                let mut logs = Logs::new(&app, batch, definition);
                logs.take_in(store, &listing).await?;
                let decided = facts.sealed.as_ref().is_some_and(|sealed| logs.is_decided(sealed));
                if !decided {
                    let count: u64 = logs.counts(facts.sealed.as_ref()).values().sum();
                    return Err(unfinished(batch, count, facts.sealed.as_ref().map(Sealed::calls)));
                }
            }
            let names = match &facts.batch {
                Some(definition) if options.names => has_names(&seams, &app, definition).await?,
                _ => false,
            };
            let end = facts.sealed.as_ref().map_or(u64::MAX, |sealed| sealed.last);
            let mut first = 1;
            let chunks: Vec<ChunkPlan> = listing
                .chunks
                .range(..=end)
                .map(|(last, _)| {
                    let parts = listing.logs.get(last).map(|parts| parts.sizes.clone()).unwrap_or_default();
                    ChunkPlan { first: std::mem::replace(&mut first, last + 1), last: *last, parts }
                })
                .collect();
            let overlay = match facts.retries.first().filter(|_| options.latest) {
                Some(retry) => {
                    // Of a retry every row is needed, and none twice.
                    let options =
                        Options { input: false, names: false, statuses: Vec::new(), ..options.clone() };
                    Some(Arc::new(Plan::of(seams.clone(), app.clone(), *retry, options, true).await?))
                }
                None => None,
            };
            let rows = facts.sealed.as_ref().map_or(first - 1, Sealed::calls);
            Ok(Plan { seams, app, batch, options, chunks, sealed: facts.sealed, rows, overlay, names, lines })
        })
    }

    pub(super) fn belongs(&self, number: u64) -> bool {
        self.sealed.as_ref().is_none_or(|sealed| sealed.belongs(number))
    }

    /// Rows are to carry records, not their names alone.
    pub(super) fn keeps_records(&self) -> bool {
        self.options.input || self.lines
    }

    /// Everything to be read, in order: chunk by its place, key.
    pub(super) fn steps(&self) -> VecDeque<(usize, Step, Key)> {
        let mut steps = VecDeque::new();
        for (place, chunk) in self.chunks.iter().enumerate() {
            let payloads = Key::Chunk(self.app.clone(), self.batch, chunk.last);
            if self.keeps_records() || self.names {
                steps.push_back((place, Step::Payloads, payloads.clone()));
            }
            for (part, bytes) in chunk.parts.iter().enumerate() {
                let key = Key::Part(self.app.clone(), self.batch, chunk.last, part as u64);
                steps.push_back((place, Step::Part { bytes: *bytes }, key));
            }
            steps.push_back((place, Step::End, payloads));
        }
        steps
    }
}

/// A retry's records have the names of the batch that it retries.
async fn has_names(seams: &Seams, app: &AppName, definition: &Batch) -> Result<bool> {
    let (mut source, mut parent) = (definition.source.clone(), definition.retry_of);
    while let Some(batch) = parent {
        let Some(before) = find::<Batch>(seams, Key::Batch(app.clone(), batch)).await? else { break };
        (source, parent) = (before.source, before.retry_of);
    }
    Ok(source.has_names())
}

fn unfinished(batch: BatchId, decided: u64, calls: Option<u64>) -> Error {
    let of = calls.map(|calls| format!(" of {calls}")).unwrap_or_default();
    Error::conflict(format!("batch `{batch}` has not finished: {decided}{of} calls are decided")).hint(
        format!(
            "`afn batch wait {batch}` waits for it; `afn batch results {batch}` takes what there is, the others as queued"
        ),
    )
}
