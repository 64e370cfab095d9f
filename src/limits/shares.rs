//! Shares of a batch's limits, and messages of batches that may begin nothing.

use std::time::Duration;

/// Workers that share the limits of one batch: each renews its share in one object, by compare-and-swap. Others wait.
pub const SHARES_MAX: usize = 200;
/// A share that stands still for so long is over.
pub const SHARE_TERM: Duration = Duration::from_secs(60);
/// Its holder begins nothing any more, and stops what runs, so long before.
pub const SHARE_MARGIN: Duration = Duration::from_secs(10);
/// It is renewed so long after it was last, at most.
pub const SHARE_RENEWAL: Duration = Duration::from_secs(20);
/// The first renewal comes within this time: by then it is known how fast the worker is. Others come up to this much sooner than
/// they need, at random.
pub const SHARE_RENEWAL_FIRST: Duration = Duration::from_secs(5);
/// From a renewal that failed to the next.
pub const SHARE_FAILED_PAUSE: Duration = Duration::from_secs(2);
/// From a look that found no share left to the next.
pub const SHARE_NOTHING_LEFT_PAUSE: Duration = Duration::from_secs(3);
/// A worker whose version of the function turned out not to run here leaves the limits of a batch to others for so long, twice as
/// long each time, up to so many doublings.
pub const SHARE_ABSTENTION: Duration = Duration::from_secs(30);
pub const SHARE_ABSTENTION_DOUBLINGS: u32 = 5;
/// How long a message of a paused batch is hidden before a worker looks again, by how long the batch was paused.
pub const PAUSED_PUT_BACK: Duration = Duration::from_secs(30);
pub const PAUSED_PUT_BACK_MAX: Duration = Duration::from_secs(120);
/// The same of a batch of whose limits nothing is left for this worker.
pub const NO_SHARE_PUT_BACK: Duration = Duration::from_secs(5);

const _: () = assert!(
    2 * SHARE_RENEWAL.as_secs() < SHARE_TERM.as_secs() - SHARE_MARGIN.as_secs(),
    "a renewal that fails can be made up for"
);
