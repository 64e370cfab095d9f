//! Cuts a message into ranges before its chunk is read. A message to a whole chunk may be worth hours of a worker. Once it is known
//! how long calls of the batch take, it becomes ranges of half a minute: batches take turns, and a worker that is lost takes
//! little along. Ten ranges cost one request.

use std::time::Duration;

use super::prepare::Preparation;
use crate::layout::object::MarkKind;
use crate::layout::{Message, RangeMessage};
use crate::limits;
use crate::model::{AttemptHistory, MarkId};
use crate::planted::planted;
use crate::submit::send;
use crate::worker::{Abandoned, marks, pace};

impl Preparation {
    /// That the batch may have here.
    fn slots(&self) -> usize {
        self.shared.limiter.gate(self.message.batch).slots(self.shared.config.slots)
    }

    /// Puts ranges in the place of a message that is worth several. Returns whether nothing of it is left.
    pub(super) async fn cut(&mut self) -> Result<bool, Abandoned> {
        let message = &self.message;
        let mean = self.shared.pace.mean_of_batch(message.batch);
        let Some(mean) = mean.or(message.mean_ms.map(Duration::from_millis)) else { return Ok(false) };
        // The marks of calls whose worker was lost bear the name of this message.
        if self.lease.delivery > 1 || message.lost_before || !message.losses.is_empty() {
            return Ok(false);
        }
        let calls: Vec<(u64, AttemptHistory)> =
            message.calls.each().map(|(number, history)| (number, *history)).collect();
        let size = pace::calls_per_range(self.slots(), mean);
        if calls.len() < limits::RANGES_CUT_MIN * size {
            return Ok(false);
        }
        let most = (limits::QUEUE_BATCH_MAX - 1) * size;
        let (ranges, rest) = calls.split_at(most.min(calls.len()));
        let pieces: Vec<&[_]> =
            ranges.chunks(size).chain(Some(rest).filter(|rest| !rest.is_empty())).collect();
        let message_for = |piece: &&[(u64, AttemptHistory)]| {
            let id = send::message_id(&self.shared.deps);
            let (calls, mean_ms) = (piece.iter().copied().collect(), Some(limits::ms(mean)));
            Message::Range(RangeMessage { id, calls, mean_ms, again: true, ..message.clone() })
        };
        let messages: Vec<Message> = pieces.iter().map(message_for).collect();
        let acknowledged = send::send_each(&self.shared.deps.queues.chunks, &messages).await;
        let has_left = |acknowledged: bool| planted!(acknowledged, AmbiguousSplitBelieved => true);
        let (mut gone, mut stays) = (Vec::new(), Vec::new());
        for (piece, acknowledged) in pieces.into_iter().zip(acknowledged) {
            if has_left(acknowledged) { gone.extend(piece) } else { stays.extend(piece) }
        }
        if stays.is_empty() || gone.is_empty() {
            return Ok(stays.is_empty());
        }
        // Some have left: should this message come again, they do not run from it.
        let id = MarkId { delivery: self.delivery, n: 0 };
        let gone = marks::runs(gone.into_iter().map(|(number, _)| number));
        self.message.calls = stays.into_iter().collect();
        marks::put(&self.shared, &self.place, id, MarkKind::Given, gone).await?;
        Ok(false)
    }
}
