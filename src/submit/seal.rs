//! Ends a batch whose source has not come to its end: the standard input of a submitter that died, a file that is gone.

use std::time::Duration;

use super::batch::put_sealed;
use super::standing::Standing;
use crate::error::{Error, Result};
use crate::layout::batch::Sealed;
use crate::limits;
use crate::model::BatchId;
use crate::outcomes::chunks::{self, Sealing};
use crate::seam::Seams;
use crate::store_clock;

/// Seals with what is stored. A batch that is sealed already
/// stays as it is. Refused while its submitter may still be at work (N4).
pub async fn seal(seams: &Seams, batch: BatchId, by: &str) -> Result<Sealed> {
    let standing = Standing::of(seams, batch).await?;
    if let Some(sealed) = standing.sealed(seams).await? {
        return Ok(sealed);
    }
    let now = store_clock::now(seams).await?;
    let sealed = match chunks::seal(seams, &standing.app, batch, now, by).await? {
        Sealing::Can(sealed) => sealed,
        Sealing::TooYoung { age_ms } => {
            let age = Duration::from_secs(age_ms / 1_000);
            let wait = Duration::from_secs((limits::SEAL_QUIET_MS - age_ms).div_ceil(1_000));
            return Err(Error::conflict(format!(
                "batch {batch} may still be submitted: its last chunk was stored {} ago",
                humantime::format_duration(age)
            ))
            .hint(format!("try again in {}", humantime::format_duration(wait))));
        }
    };
    put_sealed(seams, &standing.app, batch, &sealed).await?;
    Ok(sealed)
}
