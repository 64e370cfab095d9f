//! Upkeep is done by one worker of all, once each half hour: whose write of `reconciled/{interval}` succeeds.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Shared, upkeep};
use crate::error::Result;
use crate::event::Event;
use crate::layout::object::Reconciled;
use crate::limits;
use crate::model::Time;
use crate::seam::StoreExt as _;
use crate::seam::queue::Received;

/// When a worker takes its turn as reconciler, by what it receives of `calls`.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// When the last messages were sent that came for the first time, since the queue was last seen empty.
    sent_at: VecDeque<Time>,
    /// The last receive brought nothing.
    saw_empty: bool,
    /// The interval in which this worker has tried to have its turn.
    tried: Option<u64>,
}

/// A turn in this interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    interval: u64,
    /// None if the queue was empty. Otherwise messages sent from then on may still wait on it.
    waits_since: Option<Time>,
}

impl Turns {
    /// After every receive.
    pub fn received(&mut self, messages: &[Received]) {
        self.saw_empty = messages.is_empty();
        if self.saw_empty {
            self.sent_at.clear();
        }
        // What was put back has waited for other reasons.
        let first = messages.iter().filter(|message| message.delivery == 1);
        self.sent_at.extend(first.map(|message| message.sent_at));
        let more = self.sent_at.len().saturating_sub(limits::BACKLOG_SAMPLES);
        self.sent_at.drain(..more);
    }

    /// At an empty queue at once. At one that is never empty later in the interval, so that a worker that sees it empty
    /// goes first: it knows better what is lost.
    pub fn next(&mut self, now: Time) -> Option<Turn> {
        let interval = now.0 / limits::ms(limits::RECONCILE_EVERY);
        let late = now.0 % limits::ms(limits::RECONCILE_EVERY) >= limits::ms(limits::RECONCILE_EVERY) / 2;
        let knows = self.saw_empty || late && self.sent_at.len() == limits::BACKLOG_SAMPLES;
        if self.tried == Some(interval) || !knows {
            return None;
        }
        self.tried = Some(interval);
        Some(Turn { interval, waits_since: self.sent_at.iter().min().copied() })
    }
}

/// One turn an interval, taken by the one worker whose write of `reconciled/{interval}` succeeds.
pub(super) async fn take_turn(shared: Arc<Shared>, turn: Turn) {
    let done = match claim(&shared, turn.interval).await {
        Ok(true) => upkeep::take_turn(&shared.deps, &shared.config.name, turn.waits_since).await,
        claimed => claimed.map(|_| ()),
    };
    if let Err(error) = done {
        shared
            .emit(Event::RequestFailed { what: "look after lost calls".to_owned(), why: error.to_string() });
    }
}

async fn claim(shared: &Shared, interval: u64) -> Result<bool> {
    let reconciled = Reconciled { worker: shared.config.name.clone(), at: shared.deps.now() };
    // False also when it is our own and the answer was lost: the next interval has another.
    Ok(shared.deps.store.put_fact(&interval, &reconciled).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::queue::Receipt;

    const HALF: u64 = limits::ms(limits::RECONCILE_EVERY) / 2;

    fn received(sent_ms: u64, delivery: u32) -> Received {
        let (id, receipt) = (sent_ms.to_string(), Receipt(String::new()));
        Received { id, receipt, body: String::new(), metadata: None, delivery, sent_at: Time(sent_ms) }
    }

    #[test]
    fn an_empty_queue_gives_a_turn_at_once_and_a_busy_one_later() {
        let mut turns = Turns::default();
        turns.received(&[]);
        assert_eq!(turns.next(Time(10)), Some(Turn { interval: 0, waits_since: None }));
        assert_eq!(turns.next(Time(HALF + 10)), None, "one turn an interval");
        let next = 2 * HALF;
        turns.received(&[received(100, 7)]);
        for sent in [next - 30, next - 20, next - 40] {
            turns.received(&[received(sent, 1)]);
        }
        assert_eq!(turns.next(Time(next + HALF)), None, "three say too little");
        turns.received(&[received(next - 10, 1)]);
        assert_eq!(turns.next(Time(next + HALF - 1)), None, "whoever sees it empty goes first");
        let turn = turns.next(Time(next + HALF)).unwrap();
        assert_eq!(turn, Turn { interval: 1, waits_since: Some(Time(next - 40)) });
    }
}
