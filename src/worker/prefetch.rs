//! Counts the calls that this worker holds and has not begun. It receives another range only when a slot is free for it, or
//! is likely to be by the time the range is here: what it held for longer, others could begin. It also remembers whether the
//! queue of ranges was empty.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use crate::limits;

#[derive(Debug, Default)]
pub struct Prefetch {
    state: Mutex<State>,
    /// There is room again, where there was none when [`Prefetch::room`] was asked.
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
    /// With what there was no room when it was asked.
    refused: Option<Capacity>,
}

/// What a worker has to run calls with.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Ranges that it holds.
    pub held: usize,
    pub slots: usize,
    pub free: usize,
    /// How long calls take on a slot; `None` while none has ended.
    pub mean: Option<Duration>,
}

/// The last range that was finished.
#[derive(Debug, Clone, Copy)]
struct Last {
    at: Duration,
    /// Since it was begun, or since the one before it was finished.
    took: Duration,
    bytes: u64,
}

impl Prefetch {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// How many ranges to receive now. 0 while a held range has not reported its calls, or while what was not begun keeps the
    /// slots busy for longer than a receive takes. Otherwise 1, or more if ranges are small and end quickly.
    pub fn room(&self, capacity: Capacity) -> usize {
        let mut state = self.state();
        if !state.has_room(capacity) {
            state.refused = Some(capacity);
            return 0;
        }
        state.refused = None;
        let Some(Last { took, bytes, .. }) = state.last else { return 1 };
        let in_time = limits::ms(limits::RANGES_AHEAD) / (took.as_millis() as u64).max(1);
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

    /// When the last receive came back, if it brought nothing.
    pub fn empty_receive(&self) -> Option<Duration> {
        self.state().empty_at
    }

    pub fn saw_empty_queue(&self, now: Duration) -> bool {
        let young = limits::EMPTY_RECEIVE;
        self.state().empty_at.is_some_and(|at| now.saturating_sub(at) < young)
    }
}

impl State {
    fn has_room(&self, Capacity { held, slots, free, mean }: Capacity) -> bool {
        let is_idle = free > 0 && self.calls == 0;
        let is_idle_soon = || {
            let busy = mean.map(|mean| mean * (self.calls as u32 + 1) / slots as u32);
            self.calls < slots as u64 && busy.is_some_and(|busy| busy < limits::RECEIVE_AHEAD)
        };
        self.ranges == held && held <= slots && (is_idle || is_idle_soon())
    }
}

/// What one range asks for; nothing once it is dropped.
#[derive(Debug)]
pub struct PrefetchClaim {
    prefetch: Arc<Prefetch>,
    calls: u64,
}

impl PrefetchClaim {
    pub fn new(prefetch: Arc<Prefetch>) -> PrefetchClaim {
        prefetch.state().ranges += 1;
        PrefetchClaim { prefetch, calls: 0 }
    }

    pub fn set(&mut self, calls: u64) {
        let mut state = self.prefetch.state();
        state.calls = state.calls - self.calls + calls;
        self.calls = calls;
        if state.refused.is_some_and(|capacity| state.has_room(capacity)) {
            state.refused = None;
            self.prefetch.roomy.notify_one();
        }
    }
}

impl Drop for PrefetchClaim {
    fn drop(&mut self) {
        let mut state = self.prefetch.state();
        state.ranges -= 1;
        state.calls -= self.calls;
    }
}
