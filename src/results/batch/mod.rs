//! Reads batches: the progress of one, a row of one, a call of one.

mod by_key;
pub mod call;
#[cfg(test)]
pub(super) mod fixture;
pub mod progress;
pub mod row;
#[cfg(test)]
mod tests;
pub mod view;

use std::time::Duration;

pub use crate::outcomes::{BatchStatus, app_of};
pub use by_key::find_by_key;
pub use progress::{BatchMonitor, ProgressReport, wait};
pub use row::BatchRow;
pub use view::BatchView;

use crate::error::Result;
use crate::model::BatchId;
use crate::seam::Deps;

/// The current view of a batch.
pub async fn load(deps: &Deps, batch: BatchId) -> Result<BatchView> {
    Ok(BatchMonitor::open(deps, batch).await?.look().await?.view)
}

/// The time between two polls of a batch that was watched for a while and is expected to end in `left`.
fn pause(watched: Duration, left: Option<Duration>) -> Duration {
    use crate::limits::{WATCH_LOOK_MAX, WATCH_LOOK_MIN};
    let (soonest, latest) = (WATCH_LOOK_MIN, WATCH_LOOK_MAX);
    let pause = (watched / 20).clamp(soonest, latest);
    // A pause does not reach past the expected end. A batch that is always about to end is still not polled all the time.
    left.map_or(pause, |left| pause.min(left.max(watched / 40).max(soonest)))
}
