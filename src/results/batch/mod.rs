//! Reading batches back: how far one has come, which there are, one call of one.

pub mod call;
pub(super) mod facts;
#[cfg(test)]
pub(super) mod fixture;
pub mod list;
pub mod progress;
#[cfg(test)]
mod tests;
pub mod view;

use std::time::Duration;

pub use crate::outcomes::app_of;
pub use list::{BatchList, BatchRow, list};
pub use progress::{Look, Progress, wait};
pub use view::{BatchStatus, BatchView};

use crate::error::Result;
use crate::model::BatchId;
use crate::seam::Seams;

/// How a batch stands now.
pub async fn load(seams: &Seams, batch: BatchId) -> Result<BatchView> {
    Ok(Progress::open(seams, batch).await?.look().await?.view)
}

/// The time between two looks at a batch that has been watched for so long, and is thought to end in `left`.
fn pause(watched: Duration, left: Option<Duration>) -> Duration {
    use crate::limits::{WATCH_LOOK_MS_MAX, WATCH_LOOK_MS_MIN};
    let (soonest, latest) =
        (Duration::from_millis(WATCH_LOOK_MS_MIN), Duration::from_millis(WATCH_LOOK_MS_MAX));
    let pause = (watched / 20).clamp(soonest, latest);
    // Who expects the end does not sleep past it; but what is always about to end is not looked at all the time.
    left.map_or(pause, |left| pause.min(left.max(watched / 40).max(soonest)))
}
