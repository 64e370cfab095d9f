//! Ends a batch whose source has not come to its end: the standard input of a submitter that died, a file that is gone.

use std::time::Duration;

use super::snapshot::BatchSnapshot;
use super::supervisor::call_supervisor;
use crate::error::{Error, Result};
use crate::layout::batch::Sealed;
use crate::limits;
use crate::model::{BatchId, BatchRef};
use crate::outcomes::chunks::{self, Sealing};
use crate::seam::{Created, Deps, StoreExt as _};
use crate::store_clock;

/// What the caller knows of the batch's submitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitter {
    Unknown,
    /// It said that its source broke, and that nothing of it is in flight.
    Ended,
}

/// Seals a batch with the chunks that are stored. A batch that is sealed already stays as it is. Refused while its
/// submitter may still run (N4).
pub async fn seal(deps: &Deps, batch: BatchId, by: &str, submitter: Submitter) -> Result<Sealed> {
    let snapshot = BatchSnapshot::of(deps, batch).await?;
    if let Some(sealed) = snapshot.sealed(deps).await? {
        if !snapshot.facts.fired.is_there() {
            call_supervisor(deps, &snapshot.of).await?;
        }
        return Ok(sealed);
    }
    let now = store_clock::now(deps).await?;
    let quiet = match submitter {
        Submitter::Unknown => limits::SEAL_QUIET,
        Submitter::Ended => Duration::ZERO,
    };
    let sealed = match chunks::seal(deps, &snapshot.of, now, by, quiet).await? {
        Sealing::Can(sealed) => sealed,
        Sealing::TooYoung { age_ms } => {
            let age = Duration::from_secs(age_ms / 1_000);
            let wait = Duration::from_secs((limits::ms(limits::SEAL_QUIET) - age_ms).div_ceil(1_000));
            return Err(Error::conflict(format!(
                "batch {batch} may still be submitted: its last chunk was stored {} ago",
                humantime::format_duration(age)
            ))
            .with_hint(format!("try again in {}", humantime::format_duration(wait))));
        }
    };
    put_sealed(deps, &snapshot.of, &sealed).await?;
    call_supervisor(deps, &snapshot.of).await?;
    Ok(sealed)
}

/// Writes `sealed`, or checks that the existing one is the same.
pub(super) async fn put_sealed(deps: &Deps, of: &BatchRef, sealed: &Sealed) -> Result<()> {
    let Created::Existing(existing) = deps.store.create_fact(of, sealed).await? else { return Ok(()) };
    if (existing.last, &existing.missing) == (sealed.last, &sealed.missing) {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "the batch was sealed with {} calls by {} before its source ended; the records after them, of {} in all, do not belong to it",
        existing.calls(),
        existing.by,
        sealed.last
    ))
    .with_hint("submit the rest as a new batch"))
}
