//! Retries what failed or was cancelled: a new batch from the calls of a finished one that ended `error`, `timeout`,
//! `killed` or `cancelled`, with its own ids. Records that were refused are not among them: they would be refused again. In the new batch a record's source
//! line is its number in the old one.

use super::batch::{BatchOptions, OnProgress, claim, definition};
use super::failures::Failures;
use super::resume::{ResumeRequest, Resumed, resume};
use super::snapshot::BatchSnapshot;
use super::source::{Origin, Source as _};
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::layout::batch::{Batch, Retry};
use crate::model::{BatchId, BatchRef};
use crate::outcomes::app_of;
use crate::seam::{Created, Deps, StoreExt as _};

/// A batch has one retry. Calls that fail again are retried by a retry of the retry.
const FIRST: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retried {
    /// The new batch.
    pub batch: BatchId,
    /// The batch was made by an earlier retry.
    pub repeated: bool,
    pub resumed: Resumed,
}

/// Makes the batch of a batch's failures, or finds the one that was made. It runs the version that is current now.
pub async fn retry(
    deps: &Deps,
    batch: BatchId,
    options: BatchOptions,
    progress: OnProgress<'_>,
) -> Result<Retried> {
    options.check()?;
    let parent = BatchSnapshot::of(deps, batch).await?;
    if !parent.is_over() {
        return Err(Error::conflict(format!("batch {batch} has not finished yet"))
            .with_hint(format!("`afn batch wait {batch}` waits for it")));
    }
    let function = Catalog::new(deps.clone()).resolve(&parent.of.app, &parent.body.route).await?;
    let options = BatchOptions {
        attempts_max: options.attempts_max.or(parent.body.attempts_max),
        retry_backoff_ms: options.retry_backoff_ms.or(parent.body.retry_backoff_ms),
        limits: if options.limits.is_none() { parent.body.limits } else { options.limits },
        retention: options.retention.or(parent.body.retention),
        ..options
    };
    let origin = Origin { key: parent.body.source.key_field(), ..Failures::origin_of(&parent) };
    let body = definition(deps, function, origin, options, Some(batch));
    let body = Batch { array: parent.body.array.clone(), ..body };
    let (made, repeated) = match deps.store.find_fact::<Retry>(&first_retry(&parent)).await? {
        Some(retry) => (retry.batch, true),
        None => {
            if Failures::of(deps, parent.clone()).await?.next().await?.is_empty() {
                return Err(Error::conflict(format!("no call of batch {batch} can be retried"))
                    .with_hint("none failed or was cancelled, or those that did were bad records"));
            }
            link(deps, &parent).await?
        }
    };
    let foreign = |whose: &str| {
        Error::conflict(format!("batch {batch} names batch {made} as its retry, which is {whose}")).with_hint(format!(
            "somebody else wrote that; `afn batch results {batch} --failed-inputs FILE` writes what failed, to be submitted again"
        ))
    };
    if app_of(deps, made).await? != parent.of.app {
        return Err(foreign("another app's"));
    }
    // The process that made the link may have died before it wrote the batch: the first `batch` under the id counts.
    let of = BatchRef::new(&parent.of.app, made);
    deps.store.put_fact(&of, &body).await?;
    let stored: Batch = deps.store.read_fact(&of).await?;
    if (stored.retry_of, &stored.source) != (Some(batch), &body.source) {
        return Err(foreign("another batch"));
    }
    let resumed = resume(deps, ResumeRequest { batch: made, source: None }, progress).await?;
    Ok(Retried { batch: made, repeated, resumed })
}

/// Whether a call of a finished batch failed or was cancelled that was not refused for its record.
pub async fn can_retry(deps: &Deps, batch: BatchId) -> Result<bool> {
    Ok(!Failures::of(deps, BatchSnapshot::of(deps, batch).await?).await?.next().await?.is_empty())
}

/// Takes an id and links it to the parent, or returns the id that another process linked first.
async fn link(deps: &Deps, parent: &BatchSnapshot) -> Result<(BatchId, bool)> {
    let batch = claim(deps, &parent.of.app).await?;
    let retry = Retry { batch, nonce: deps.nonce() };
    Ok(match deps.store.create_fact(&first_retry(parent), &retry).await? {
        Created::New => (batch, false),
        Created::Existing(first) => (first.batch, true),
    })
}

fn first_retry(parent: &BatchSnapshot) -> (BatchRef, u32) {
    (parent.of.clone(), FIRST)
}
