//! How chunks of a batch come to the queue.

use std::time::Duration;

use super::{CHUNK_CALLS_MAX, CHUNK_CALLS_MIN, CHUNKS_PER_DOUBLING, minutes};

/// The submitter puts chunks up to this number of a batch on the queue: the first sixteen, if none is cut short by its bytes. So
/// what small batches cost and how soon they begin does not hang on a supervisor.
pub const FIRST_CALLS: u64 = CHUNKS_PER_DOUBLING * 3 * CHUNK_CALLS_MIN;
/// While chunks wait in the store, their supervisor looks at the queue every clamp(elapsed / 2, MIN, AT_FIRST), later every
/// elapsed / 20, at most MAX; and after AT_FIRST if the queue was empty.
pub const DISPATCH_LOOK_MIN: Duration = Duration::from_millis(100);
pub const DISPATCH_LOOK_AT_FIRST: Duration = Duration::from_millis(500);
pub const DISPATCH_LOOK_MAX: Duration = Duration::from_secs(4);
/// An open batch whose known chunks are all on the queue is looked at after a quarter of the age of its youngest one.
pub const DISPATCH_NEW_CHUNK_MAX: Duration = Duration::from_secs(10);
/// A queue's counts lag: they are believed so long after a send, or once they show it.
pub const DISPATCH_BELIEF: Duration = Duration::from_secs(5);
/// What is sent at once is to last longer than the one and not longer than the other; otherwise it is doubled, or halved.
pub const DISPATCH_LASTS_MIN: Duration = Duration::from_secs(10);
pub const DISPATCH_LASTS_MAX: Duration = Duration::from_secs(40);
/// The most calls that are sent at once, unless the batch is faster: 64 full chunks.
pub const DISPATCH_CALLS_MAX: u64 = 64 * CHUNK_CALLS_MAX;
/// It is no more than this by the rate at which calls are decided; of a batch with limits so much waits.
pub const DISPATCH_AHEAD_MAX: Duration = minutes(5);
/// By that rate, so much work is kept waiting. It bridges the lease of a lost supervisor.
pub const DISPATCH_AHEAD: Duration = Duration::from_secs(30);
/// Where nothing is decided and nothing was sent for so long, some calls are sent whatever seems to be out: it may be lost, or wait
/// for workers that there are not.
pub const DISPATCH_STANDSTILL: Duration = minutes(10);
/// The rate is measured over this time. Outcomes are recorded a third of the batch's age late, at most so long.
pub const DISPATCH_RATE_OVER: Duration = minutes(1);
/// One entry in `dispatched/` allows work for so long; of a batch of which much was sent an eighth of that, but for no longer than
/// MAX.
pub const DISPATCH_RESERVED: Duration = minutes(2);
pub const DISPATCH_RESERVED_MAX: Duration = minutes(10);
pub const DISPATCH_RESERVED_SHARE: u64 = 8;
/// A supervisor in whose place another one sends looks after so long whether that one still does.
pub const DISPATCH_SUPERSEDED: Duration = minutes(2);
/// A paused batch is looked at so often.
pub const DISPATCH_PAUSED: Duration = Duration::from_secs(15);
