//! How much work a worker holds that waits for its slots: while there is enough, it takes no other chunk; and whether
//! others may be idle, which decides splits.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::limits;

#[derive(Debug, Default)]
pub struct Demand(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Calls of held ranges that were not begun.
    calls: u64,
    ranges: usize,
    /// The last receive on `chunks` came back empty then; `None`: it brought something.
    empty_at: Option<Duration>,
}

impl Demand {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// Whether a chunk more would keep slots busy: one call is wanted in hand for every slot that may become free at once.
    /// Not while one of the `held` ranges has not told yet what it brings.
    pub fn wants_more(&self, held: usize, slots: usize) -> bool {
        let state = self.state();
        state.ranges == held && state.calls < slots as u64 && held <= slots
    }

    pub fn received(&self, nothing: bool, now: Duration) {
        self.state().empty_at = nothing.then_some(now);
    }

    pub fn saw_empty_queue(&self, now: Duration) -> bool {
        let young = Duration::from_millis(limits::SPLIT_EMPTY_RECEIVE_MS);
        self.state().empty_at.is_some_and(|at| now.saturating_sub(at) < young)
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
        drop(state);
        self.calls = calls;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut state = self.demand.state();
        state.ranges -= 1;
        state.calls -= self.calls;
    }
}
