//! When a batch is stopped early, because of failures or because its function cannot be started.

use std::time::Duration;

use super::minutes;

/// A batch is stopped when so many starts failed for one reason and none succeeded. A worker on which so many failed pauses.
pub const FAILED_STARTS_MAX: u32 = 10;
/// A worker reports each of these numbers of failed starts, if none succeeded: a batch's workers add theirs up.
pub const FAILED_STARTS_TOLD: [u32; 4] = [1, FAILED_STARTS_REFUSED_MIN, 6, FAILED_STARTS_MAX];
/// A worker refuses a version if so many starts failed there, none succeeded, and others can start it.
pub const FAILED_STARTS_REFUSED_MIN: u32 = 3;
/// How long such a worker takes no calls of the batch. Its supervisor decides meanwhile.
pub const STARTS_PAUSE: Duration = Duration::from_secs(45);
/// Messages of the batch go back to the queue for this long.
pub const STARTS_PUT_BACK: Duration = Duration::from_secs(5);
/// How often a worker that pauses looks whether calls of the batch could be started elsewhere.
pub const STARTS_LOOK: Duration = Duration::from_secs(10);
/// A worker takes no calls of a version that it cannot start and others can, for max(this, 2 × timeout); and again as long as
/// others go on.
pub const STARTS_REFUSED: Duration = minutes(10);
/// A batch is stopped when no worker has reported a failed start for this long and none holds a message.
pub const STARTS_QUIET: Duration = Duration::from_secs(5);
/// The same while workers hold messages, which may be other batches'.
pub const STARTS_WAIT: Duration = Duration::from_secs(30);
/// A worker whose first calls of a batch run longer than this, times 0.8 to 1.2, writes a part that says so; or sooner, if it
/// knows of failed starts.
pub const RUN_TOLD: Duration = Duration::from_secs(20);
pub const RUN_TOLD_SOON: Duration = Duration::from_secs(2);
/// A batch with `--max-failures` that is younger than this is looked at, and its failures are recorded, within the second: so
/// no call starts later than 5 s after the last failure that is allowed.
pub const BRAKE_YOUNG: Duration = minutes(10);
pub const BRAKE_LOOK: Duration = Duration::from_secs(1);
/// A supervisor reads so many reports of workers that cannot run a batch.
pub const START_REPORTS_MAX: usize = 1_000;
