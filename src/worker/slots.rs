//! Slots: the right to run one call at a time. A free slot goes to a single call first, so that one call behind a batch of
//! millions starts at once. Every eighth slot goes to a chunk, so that a stream of single calls does not starve a batch.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, oneshot};

/// Every so many slots given while both wait, one goes to a chunk.
const CHUNK_TURN: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Call,
    Chunk,
}

#[derive(Debug)]
pub struct Slots {
    state: Mutex<State>,
    /// How many wait, those included that gave up: what nobody waits for is known without the lock.
    calls_waiting: AtomicUsize,
    chunks_waiting: AtomicUsize,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    free: usize,
    calls: VecDeque<oneshot::Sender<Slot>>,
    chunks: VecDeque<oneshot::Sender<Slot>>,
    given_to_calls: u32,
}

/// One slot; free again when dropped.
#[derive(Debug)]
pub struct Slot(Option<Arc<Slots>>);

/// A place in the line for a slot; given up when dropped.
#[derive(Debug)]
pub enum SlotTicket {
    Served(Slot),
    Waiting(oneshot::Receiver<Slot>),
}

impl SlotTicket {
    pub async fn slot(self) -> Slot {
        match self {
            SlotTicket::Served(slot) => slot,
            SlotTicket::Waiting(slot) => slot.await.expect("a waiter is given a slot or is gone"),
        }
    }
}

impl Slots {
    pub fn new(count: usize) -> Arc<Slots> {
        let state = State { free: count, calls: VecDeque::new(), chunks: VecDeque::new(), given_to_calls: 0 };
        let (calls_waiting, chunks_waiting, freed) = Default::default();
        Arc::new(Slots { state: Mutex::new(state), calls_waiting, chunks_waiting, freed })
    }

    /// After every change of who waits.
    fn count(&self, state: &State) {
        self.calls_waiting.store(state.calls.len(), Relaxed);
        self.chunks_waiting.store(state.chunks.len(), Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    pub fn free(&self) -> usize {
        self.state().free
    }

    /// Returns when a slot has become free that nobody waited for.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Whether somebody waits for a slot.
    pub fn wanted(&self, by: Class) -> bool {
        let counted = match by {
            Class::Call => &self.calls_waiting,
            Class::Chunk => &self.chunks_waiting,
        };
        if counted.load(Relaxed) == 0 {
            return false;
        }
        let mut state = self.state();
        // Those who gave up waiting do not count.
        let waiting = match by {
            Class::Call => &mut state.calls,
            Class::Chunk => &mut state.chunks,
        };
        waiting.retain(|waiter| !waiter.is_closed());
        let wanted = !waiting.is_empty();
        self.count(&state);
        wanted
    }

    pub fn try_take(self: &Arc<Slots>) -> Option<Slot> {
        let mut state = self.state();
        state.free = state.free.checked_sub(1)?;
        Some(Slot(Some(self.clone())))
    }

    /// Gets in line at once, before anything is awaited.
    pub fn line_up(self: &Arc<Slots>, class: Class) -> SlotTicket {
        let mut state = self.state();
        if state.free > 0 {
            state.free -= 1;
            return SlotTicket::Served(Slot(Some(self.clone())));
        }
        let (give, taken) = oneshot::channel();
        match class {
            Class::Call => state.calls.push_back(give),
            Class::Chunk => state.chunks.push_back(give),
        }
        self.count(&state);
        SlotTicket::Waiting(taken)
    }

    pub async fn take(self: &Arc<Slots>, class: Class) -> Slot {
        self.line_up(class).slot().await
    }

    /// Hands a slot to whoever is next, or keeps it free.
    fn give(self: Arc<Slots>) {
        loop {
            let next = {
                let mut state = self.state();
                let chunk_turn = state.given_to_calls >= CHUNK_TURN - 1;
                let next = if chunk_turn {
                    let chunk = state.chunks.pop_front().map(|chunk| (Class::Chunk, chunk));
                    chunk.or_else(|| state.calls.pop_front().map(|call| (Class::Call, call)))
                } else {
                    let call = state.calls.pop_front().map(|call| (Class::Call, call));
                    call.or_else(|| state.chunks.pop_front().map(|chunk| (Class::Chunk, chunk)))
                };
                self.count(&state);
                match next {
                    None => {
                        state.free += 1;
                        self.freed.notify_one();
                        return;
                    }
                    Some((Class::Call, next)) => {
                        // Counted only while a chunk waits behind it.
                        state.given_to_calls =
                            if state.chunks.is_empty() { 0 } else { state.given_to_calls + 1 };
                        next
                    }
                    Some((Class::Chunk, next)) => {
                        state.given_to_calls = 0;
                        next
                    }
                }
            };
            match next.send(Slot(Some(self.clone()))) {
                Ok(()) => return,
                // It gave up waiting: the slot that comes back must not give itself.
                Err(mut slot) => drop(slot.0.take()),
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = self.0.take() {
            slots.give();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_go_first_and_chunks_every_eighth_time() {
        let slots = Slots::new(1);
        let mut held = slots.try_take().unwrap();
        assert!(slots.try_take().is_none());
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiters = tokio::task::JoinSet::new();
        for class in std::iter::repeat_n(Class::Chunk, 2).chain(std::iter::repeat_n(Class::Call, 20)) {
            let (slots, order) = (slots.clone(), order.clone());
            waiters.spawn(async move {
                let slot = slots.take(class).await;
                order.lock().unwrap().push(class);
                slot
            });
        }
        while !slots.wanted(Class::Call) || slots.state().calls.len() < 20 {
            tokio::task::yield_now().await;
        }
        for _ in 0..22 {
            drop(held);
            held = waiters.join_next().await.unwrap().unwrap();
        }
        drop(held);
        let order = order.lock().unwrap().clone();
        let chunks: Vec<usize> =
            order.iter().enumerate().filter(|(_, class)| **class == Class::Chunk).map(|(at, _)| at).collect();
        assert_eq!(chunks, [7, 15]);
        assert_eq!(slots.free(), 1);
    }

    #[tokio::test]
    async fn whoever_gave_up_waiting_is_passed_over() {
        let slots = Slots::new(1);
        let held = slots.try_take().unwrap();
        let mut gone = Box::pin(slots.take(Class::Call));
        assert!(futures_util::FutureExt::now_or_never(&mut gone).is_none());
        drop(gone);
        assert!(!slots.wanted(Class::Call));
        drop(held);
        assert_eq!(slots.free(), 1);
    }
}
