//! Ends a batch whose source has not come to its end: the standard input of a submitter that died, a file that is gone.

use std::time::Duration;

use super::batch::put_sealed;
use super::standing::Standing;
use crate::error::{Error, Result};
use crate::layout::batch::Sealed;
use crate::limits;
use crate::model::BatchId;
use crate::seam::Seams;
use crate::store_clock;

/// Seals with what is stored: the last number, and the ranges that are missing below it. A batch that is sealed already
/// stays as it is. Refused while its submitter may still be at work (N4).
pub async fn seal(seams: &Seams, batch: BatchId, by: &str) -> Result<Sealed> {
    let standing = Standing::of(seams, batch).await?;
    if let Some(sealed) = standing.sealed(seams).await? {
        return Ok(sealed);
    }
    // The time before the list: a chunk that is older than it by so much leaves nothing on its way that the list could
    // miss.
    let now = store_clock::now(seams).await?;
    let entries = standing.entries(seams).await?;
    let youngest = entries.iter().map(|entry| entry.stored_at).max().unwrap_or(standing.begun_at);
    let age = now.since_ms(youngest);
    if age < limits::SEAL_QUIET_MS {
        let wait = Duration::from_secs((limits::SEAL_QUIET_MS - age).div_ceil(1_000));
        return Err(Error::conflict(format!(
            "batch {batch} may still be submitted: its last chunk was stored {} ago",
            humantime::format_duration(Duration::from_secs(age / 1_000))
        ))
        .hint(format!("try again in {}", humantime::format_duration(wait))));
    }
    let mut sealed = Sealed { v: 1, last: 0, missing: Vec::new(), at: seams.now(), by: by.to_owned() };
    for facts in standing.facts(seams, &entries).await? {
        if facts.first > sealed.last + 1 {
            sealed.missing.push((sealed.last + 1, facts.first - 1));
        }
        sealed.last = facts.last;
    }
    put_sealed(seams, &standing.app, batch, &sealed).await?;
    Ok(sealed)
}
