//! How much work a worker holds that waits for its slots: while there is enough, it takes no other chunk; and whether
//! others may be idle, which decides splits.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use crate::limits;

#[derive(Debug, Default)]
pub struct Demand {
    state: Mutex<State>,
    /// There is room again, where there was none when [`Demand::room`] was asked.
    roomy: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Calls of held ranges that were not begun.
    calls: u64,
    ranges: usize,
    /// The last receive on `chunks` came back empty then; `None`: it brought something.
    empty_at: Option<Duration>,
    last: Option<Last>,
    /// With how many ranges held and slots there was no room when it was asked.
    refused: Option<(usize, usize)>,
}

/// The last range that was finished.
#[derive(Debug, Clone, Copy)]
struct Last {
    at: Duration,
    /// Since it was begun, or since the one before it was finished.
    took: Duration,
    bytes: u64,
}

impl Demand {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// How many chunks more would keep slots busy: one call is wanted in hand for every slot that may become free at once.
    /// None while one of the `held` ranges has not told yet what it brings. One, unless they are worked off so quickly
    /// that nobody else could have had the others sooner, and are small.
    pub fn room(&self, held: usize, slots: usize) -> usize {
        let mut state = self.state();
        if !state.has_room(held, slots) {
            state.refused = Some((held, slots));
            return 0;
        }
        state.refused = None;
        let Some(Last { took, bytes, .. }) = state.last else { return 1 };
        let in_time = limits::RANGES_AHEAD_MS / (took.as_millis() as u64).max(1);
        let in_memory = limits::CHUNK_BYTES_MAX / bytes.max(1);
        in_time.min(in_memory).clamp(1, limits::QUEUE_BATCH_MAX as u64) as usize
    }

    /// Returns when there is room again: nobody else tells that the calls of a range are all begun.
    pub async fn has_room_again(&self) {
        self.roomy.notified().await;
    }

    /// A range is done with that was begun then and had so many bytes of payloads.
    pub fn finished(&self, begun: Duration, now: Duration, bytes: u64) {
        let mut state = self.state();
        let since = state.last.map_or(begun, |last| last.at.max(begun));
        state.last = Some(Last { at: now, took: now.saturating_sub(since), bytes });
    }

    pub fn received(&self, nothing: bool, now: Duration) {
        self.state().empty_at = nothing.then_some(now);
    }

    pub fn saw_empty_queue(&self, now: Duration) -> bool {
        let young = Duration::from_millis(limits::SPLIT_EMPTY_RECEIVE_MS);
        self.state().empty_at.is_some_and(|at| now.saturating_sub(at) < young)
    }
}

impl State {
    fn has_room(&self, held: usize, slots: usize) -> bool {
        self.ranges == held && self.calls < slots as u64 && held <= slots
    }
}

/// What one range asks for; nothing once it is dropped.
#[derive(Debug)]
pub struct Asking {
    demand: Arc<Demand>,
    calls: u64,
}

impl Asking {
    pub fn new(demand: Arc<Demand>) -> Asking {
        demand.state().ranges += 1;
        Asking { demand, calls: 0 }
    }

    pub fn set(&mut self, calls: u64) {
        let mut state = self.demand.state();
        state.calls = state.calls - self.calls + calls;
        self.calls = calls;
        if state.refused.is_some_and(|(held, slots)| state.has_room(held, slots)) {
            state.refused = None;
            self.demand.roomy.notify_one();
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut state = self.demand.state();
        state.ranges -= 1;
        state.calls -= self.calls;
    }
}
