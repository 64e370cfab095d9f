//! Cuts a message into ranges before its chunk is read. A message to a whole chunk may be worth hours of a worker. Once it is known
//! how long calls of the batch take, it becomes ranges of half a minute: batches take turns, and a worker that is lost takes
//! little along. Ten ranges cost one request.

use std::time::Duration;

use super::prepare::Preparation;
use crate::layout::{Message, RangeMessage};
use crate::limits;
use crate::planted::planted;
use crate::submit::send;
use crate::worker::pace;

impl Preparation {
    /// Puts ranges in the place of a message that is worth several. Returns whether it did.
    pub(super) async fn cut(&self) -> bool {
        let message = &self.message;
        let mean = self.shared.pace.mean_of_batch(message.batch);
        let Some(mean) = mean.or(message.mean_ms.map(Duration::from_millis)) else { return false };
        // What a worker was lost with runs under marks that name this message.
        if self.lease.delivery > 1 || message.lost_before || !message.losses.is_empty() {
            return false;
        }
        let calls: Vec<_> =
            message.calls.iter().flat_map(|run| (run.first..=run.last).map(|n| (n, run.value))).collect();
        let size = pace::calls_per_range(self.shared.config.slots, mean);
        if calls.len() < limits::RANGES_CUT_MIN * size {
            return false;
        }
        let most = (limits::QUEUE_BATCH_MAX - 1) * size;
        let (ranges, rest) = calls.split_at(most.min(calls.len()));
        let pieces = ranges.chunks(size).chain(Some(rest).filter(|rest| !rest.is_empty()));
        let messages: Vec<Message> = pieces
            .map(|piece| {
                let id = send::message_id(&self.shared.deps);
                let (calls, mean_ms) = (piece.iter().copied().collect(), Some(limits::ms(mean)));
                Message::Range(RangeMessage { id, calls, mean_ms, ..message.clone() })
            })
            .collect();
        let acknowledged = send::send_each(&self.shared.deps.queues.chunks, &messages).await;
        planted!(acknowledged.into_iter().all(|acknowledged| acknowledged), AmbiguousSplitBelieved => true)
    }
}
