//! Looks at each execution as it begins: whether its batch may run that many at once, and whether it is paused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use afn::model::BatchId;
use afn::seam::executor::Invocation;

use super::check::Invariant;
use super::stage::{Stage, planned};

/// A worker that stands still for longer may lose its share of a limit while its functions go on.
const STANDSTILL: Duration = Duration::from_secs(25);
/// On a calm day a pause is seen by then.
const PAUSE_SEEN: Duration = Duration::from_secs(90);

#[derive(Clone, Default)]
pub struct RunningCalls(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    next: u64,
    /// The batch of each, its worker, and whether it counts.
    running: BTreeMap<u64, (BatchId, String, bool)>,
    paused_at: BTreeMap<BatchId, Duration>,
}

/// One that runs; ends when dropped.
pub struct RunningCall(RunningCalls, u64);

impl RunningCalls {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder panics")
    }

    /// A worker stands still: what it runs by then counts no more, if it is for long.
    pub fn freeze(&self, worker: &str, time: Duration) {
        let mut state = self.state();
        let its = state.running.values_mut().filter(|(_, name, _)| time > STANDSTILL && name == worker);
        its.for_each(|(_, _, counts)| *counts = false);
    }

    pub fn pause(&self, batch: BatchId, at: Duration) {
        self.state().paused_at.insert(batch, at);
    }

    pub fn unpause(&self, batch: BatchId) {
        self.state().paused_at.remove(&batch);
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.0.state().running.remove(&self.1);
    }
}

impl Stage {
    /// An execution begins.
    pub fn begins(&self, worker: &str, work: &Invocation) -> Option<RunningCall> {
        let batch = work.call.batch()?;
        let (index, _) = planned(&work.payload.to_bytes().expect("it is in memory"))?;
        let mut state = self.running.state();
        let id = state.next;
        state.next += 1;
        state.running.insert(id, (batch, worker.to_owned(), true));
        let running = state.running.values().filter(|(its, _, counts)| *its == batch && *counts).count();
        if self.plan.batches[index].limit.is_some_and(|limit| running > limit as usize) {
            let what = format!("{running} calls of {batch} run at once: {:?}", state.running);
            self.world.guard.broken(Invariant::Limited.broken(what));
        }
        let paused_at = state.paused_at.get(&batch);
        let late = paused_at.is_some_and(|at| self.world.elapsed() > *at + PAUSE_SEEN);
        if self.plan.calm && late {
            let what = format!("{} begins while its batch is paused", work.call);
            self.world.guard.broken(Invariant::Limited.broken(what));
        }
        drop(state);
        Some(RunningCall(self.running.clone(), id))
    }
}
