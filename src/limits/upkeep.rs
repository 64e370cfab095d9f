//! Limits of what workers do beside calls: sending again what was lost, deleting what is old.

use std::time::Duration;

use super::{LEASE_MAX, MIB, RETENTION, TIMEOUT_MS_MAX, days, hours, minutes, ms};

/// A call without outcome is sent again by the reconciler when it is older than max(this, 2 × timeout).
pub const RESEND_AFTER: Duration = hours(1);
/// How often the reconciler looks, by one worker of all.
pub const RECONCILE_EVERY: Duration = minutes(30);
/// A sweep goes on past so many apps, calls or batches in a row at which the store does not do what it is asked.
pub const SWEEP_FAILURES_MAX: u32 = 3;
/// Where a queue is never empty, the last messages received for the first time tell how long its backlog is: so many.
pub const BACKLOG_SAMPLES: usize = 4;
/// A call on such a queue is sent again when it is older than twice the backlog and this: a queue does not keep the order.
pub const BACKLOG_SLACK: Duration = minutes(15);
/// Content is kept for so long after the end, unless the batch, the app or the context says otherwise.
pub const CONTENT_KEPT: Duration = days(14);
pub const CONTENT_KEPT_MIN: Duration = hours(1);
pub const CONTENT_KEPT_MAX: Duration = days(36_500);
/// What says that a call or a batch has ended stays this long after the end: no message, lease or run can still be alive.
pub const DELETE_AFTER: Duration = Duration::from_millis(ms(RETENTION) + ms(LEASE_MAX) + TIMEOUT_MS_MAX);
/// The reconciler sends a supervisor again when its batch had no new chunk or part for this long.
pub const SUPERVISOR_LOST: Duration = hours(2);
/// It does so again whenever so much more time has passed, at first and after a day.
pub const SUPERVISOR_LOST_AGAIN: Duration = hours(2);
pub const SUPERVISOR_LOST_AGAIN_MAX: Duration = days(1);
/// How far back the reconciler looks for batches without `fired`.
pub const SUPERVISOR_LOST_WITHIN: Duration = days(15);
/// A call that is still without outcome is sent again after this, and when it is older than the second after that.
pub const RESEND_AGAIN: Duration = hours(1);
pub const RESEND_AGAIN_MAX: Duration = days(1);
/// How far back the reconciler looks for calls without outcome: the queue keeps no message longer.
pub const CALL_LOST_WITHIN: Duration = Duration::from_millis(ms(RETENTION) + ms(RESEND_AFTER));
/// Ids are looked at a second time when they are so old: idempotency keys and stopped machines store calls late.
pub const SECOND_LOOK: Duration = days(3);
/// Calls or batches of one app that are left open below a watermark. With more of them it does not rise.
pub const LEFT_OPEN_MAX: usize = 1_000;
/// Requests that a worker's turn spends on deletion; turns are half an hour apart. The rest is for the next turn.
pub const DELETE_REQUESTS_MAX: u64 = 1_000;
/// The stored watermarks of all apps.
pub const WATERMARKS_BYTES_MAX: u64 = 8 * MIB;
/// What had no outcome when it was looked at for deletion is looked at again after this.
pub const UNDECIDED_AGAIN: Duration = days(1);
