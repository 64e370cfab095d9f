//! Supervisors of idle batches: the source is broken, a pipe was interrupted, or the submitter died. Such a supervisor
//! ends, and its message comes back after a delay. So an idle batch takes no place on a worker and costs almost nothing.

use std::sync::Arc;
use std::time::Duration;

use super::done::Done;
use super::lease::Lease;
use super::{Abandoned, Shared};
use crate::layout::message::Idle;
use crate::layout::{Message, SuperviseMessage};
use crate::limits;
use crate::model::{BatchRef, QueueName, Time};
use crate::outcomes::listing::{self, Known, Parts};
use crate::outcomes::{BatchFacts, Logs};
use crate::planted::planted;
use crate::submit::send;

/// A start so little before its time looks all the same: clocks differ.
const EARLY: Duration = Duration::from_secs(60);

/// What is stored of a batch of which all is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    chunks: u64,
    parts: u64,
}

impl Progress {
    pub fn of(logs: &Logs) -> Progress {
        let (chunks, parts) =
            logs.ranges().fold((0, 0), |(chunks, parts), (_, _, log)| (chunks + 1, parts + log.parts()));
        Progress { chunks, parts }
    }

    pub fn since(self, since: Time) -> Idle {
        Idle { since, chunks: self.chunks, parts: self.parts, look_at: since }
    }
}

/// Whether the supervisor of a batch that has been idle for so long gives its place up.
pub(super) fn is_to_end(shared: &Shared, idle: Duration) -> bool {
    let crowded = shared.leases[QueueName::Batches].count() > limits::SUPERVISORS_MAX;
    let longest =
        if crowded { limits::ms(limits::SUPERVISOR_CROWDED) } else { limits::ms(limits::SUPERVISOR_IDLE) };
    idle >= Duration::from_millis(longest)
}

/// What was seen before, if it is still true or not to be looked at yet. Costs one list at the most.
pub(super) async fn unchanged(
    shared: &Shared,
    message: &SuperviseMessage,
    seen: Idle,
) -> Result<Option<Idle>, Abandoned> {
    let early_ms = seen.look_at.since_ms(shared.deps.now());
    // A clock that is wrong by years does not keep anybody from looking.
    if (EARLY.as_millis() as u64..=limits::ms(limits::SUPERVISOR_ABANDONED_AGAIN)).contains(&early_ms) {
        return Ok(Some(seen));
    }
    let store = &*shared.deps.store;
    let of = BatchRef::new(&message.app, message.batch);
    let listing = listing::list(store, &of, &Known::default()).await?;
    let mut facts = BatchFacts::default();
    facts.take_in(&listing);
    let ends = facts.sealed.is_there() || facts.cancelled.is_there() || facts.summary.is_there();
    let open = facts.definition.is_there() && !ends && !facts.fired.is_there();
    let parts: u64 = listing.logs.values().map(Parts::count).sum();
    let same = (listing.chunks.len() as u64, parts) == (seen.chunks, seen.parts);
    Ok((open && same).then_some(Idle { look_at: seen.since, ..seen }))
}

/// Ends a supervisor. A new message takes the place of the old one, as always before that is deleted (N1); an extra one
/// need not come back.
pub(super) async fn rest(
    shared: &Arc<Shared>,
    lease: Lease,
    message: SuperviseMessage,
    seen: Idle,
) -> Result<Done, Abandoned> {
    if planted!(message.extra, IdleSupervisorVanishes => true) {
        return Ok(Done::Replaced { lease, handed_back: false });
    }
    let now = shared.deps.now();
    // If the next look is still in the future, it keeps its time.
    let look_at = match seen.look_at > now {
        true => seen.look_at,
        false => now.plus_ms(limits::ms(pause(Duration::from_millis(now.since_ms(seen.since))))),
    };
    let delay = Duration::from_millis(look_at.since_ms(now)).min(limits::DELAY_MAX);
    let idle = Some(Idle { look_at, ..seen });
    let again = SuperviseMessage { id: send::message_id(&shared.deps), idle, ..message };
    send::send(&shared.deps.queues.batches, &Message::Supervise(again), delay).await?;
    Ok(Done::Replaced { lease, handed_back: false })
}

/// How long a batch that has been idle for so long is left alone.
fn pause(idle: Duration) -> Duration {
    if idle >= limits::SUPERVISOR_ABANDONED {
        limits::SUPERVISOR_ABANDONED_AGAIN
    } else if idle >= limits::SUPERVISOR_IDLE {
        limits::SUPERVISOR_AGAIN
    } else {
        idle.clamp(limits::SUPERVISOR_CROWDED, limits::SUPERVISOR_CROWDED_AGAIN_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_nothing_happens_the_rarer_the_looks() {
        let minute = 60_000;
        let pauses = [0, 10_000, minute, 9 * minute, 10 * minute, 71 * 60 * minute, 73 * 60 * minute];
        let expected = [5_000, 10_000, 30_000, 30_000, 15 * minute, 15 * minute, 60 * minute];
        assert_eq!(pauses.map(|idle_ms| limits::ms(pause(Duration::from_millis(idle_ms)))), expected);
    }
}
