//! Shares of a batch's limits, and messages of batches that may begin nothing.

use std::time::Duration;

/// Workers that share the limits of one batch.
pub const SHARES_MAX: usize = 1_000;
/// A share that stands still for so long is over.
pub const SHARE_TERM: Duration = Duration::from_secs(60);
/// Its holder begins nothing any more, and stops what runs, so long before.
pub const SHARE_MARGIN: Duration = Duration::from_secs(10);
/// It is renewed so long after it was last.
pub const SHARE_RENEWAL: Duration = Duration::from_secs(20);
/// The first renewal comes sooner: by then it is known how fast the worker is.
pub const SHARE_RENEWAL_FIRST: Duration = Duration::from_secs(5);
/// From a renewal that failed to the next.
pub const SHARE_FAILED_PAUSE: Duration = Duration::from_secs(2);
/// From a look that found no share left to the next.
pub const SHARE_NOTHING_LEFT_PAUSE: Duration = Duration::from_secs(3);
/// How long a message of a paused batch is hidden before a worker looks again.
pub const PAUSED_PUT_BACK: Duration = Duration::from_secs(30);
/// The same of a batch of whose limits nothing is left for this worker.
pub const NO_SHARE_PUT_BACK: Duration = Duration::from_secs(5);

const _: () = assert!(
    2 * SHARE_RENEWAL.as_secs() < SHARE_TERM.as_secs() - SHARE_MARGIN.as_secs(),
    "a renewal that fails can be made up for"
);
