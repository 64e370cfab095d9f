//! Gives half of a slow range away when others have nothing to do, so that nobody has to guess a chunk size.

use std::time::Duration;

use super::range::Range;
use crate::layout::{Message, RangeMessage};
use crate::limits;
use crate::planted::planted;
use crate::submit::send;

/// Sends half of the calls not begun, if what is left takes long and nothing else waits for whoever is idle; gives them up
/// only once the send is acknowledged (H12, H19).
pub async fn offer(range: &mut Range) {
    if !is_worth_it(range) || !is_queue_empty(range).await {
        return;
    }
    // Taken off the desk first, or it would be begun while the message is on its way.
    let half_todo = range.desk.split_off_half();
    let (Some(&first), Some(&last)) = (half_todo.keys().next(), half_todo.keys().next_back()) else {
        return;
    };
    let shares = range.message.shares / 2;
    let half = RangeMessage {
        id: send::message_id(&range.shared.seams),
        first,
        last,
        shares,
        // Parts may have been written meanwhile that decide some of it.
        again: true,
        ..range.message.clone()
    };
    let sent = send::send(&range.shared.seams.queues.chunks, &Message::Range(half), Duration::ZERO).await;
    if sent.is_ok() || planted!(AmbiguousSplitBelieved) {
        range.message.shares = shares;
    } else {
        half_todo.into_values().for_each(|open| range.desk.give_back(open));
    }
}

/// Whether what is left takes so long that half of it should be somebody else's, as far as can be told.
pub fn is_worth_it(range: &Range) -> bool {
    let slots = range.shared.config.slots as u64;
    if range.message.shares < 2 || (range.desk.todo() as u64) < 2 * slots {
        return false;
    }
    if range.finished == 0 {
        return true;
    }
    let each_ms = range.busy.as_millis() as u64 / range.finished;
    each_ms * range.desk.todo() as u64 / slots >= limits::SPLIT_REST_MS
}

/// As its last receive found it, or as the queue says: who has work in hand receives nothing.
async fn is_queue_empty(range: &Range) -> bool {
    let seams = &range.shared.seams;
    range.shared.demand.saw_empty_queue(seams.clock.monotonic())
        || matches!(seams.queues.chunks.live.depth().await, Ok(depth) if depth.visible == 0)
}

/// For the planted bug `KeepsAndHalves`.
pub async fn halve(range: &mut Range) {
    let numbers: Vec<u64> = range.desk.numbers().into_iter().collect();
    let (Some(&first), Some(&last)) = (numbers.get(numbers.len() / 2), numbers.last()) else { return };
    if numbers.len() < 2 {
        if range.lease.delivery > limits::ALONE_MARKS_MAX {
            range.suspects.insert(first, limits::ALONE_MARKS_MAX);
        }
        return;
    }
    let id = send::message_id(&range.shared.seams);
    let half = RangeMessage { id, first, last, again: true, ..range.message.clone() };
    if send::send(&range.shared.seams.queues.chunks, &Message::Range(half), Duration::ZERO).await.is_ok() {
        range.desk.retain(|number| number < first);
    }
}
