//! A range whose message was lost before: group by group, each marked before it runs and flushed after, suspects alone.

use tokio::sync::{RwLockReadGuard, RwLockWriteGuard};

use super::{Halt, Range};
use crate::limits;
use crate::model::State;
use crate::worker::phase::Phase;
use crate::worker::slots::Class;
use crate::worker::{Abandoned, Shared, marks};

impl Range {
    /// Group by group: each marked before it runs and flushed after. A suspect is a group of its own, and nothing else
    /// runs beside it; those come last, so that innocents are done with before the next death.
    pub(super) async fn carefully(&mut self) -> Result<Halt, Abandoned> {
        let mut group = 0;
        self.condemn();
        loop {
            self.flush().await?;
            self.look_whether_cancelled().await;
            if self.desk.todo() == 0 || !self.may_begin() {
                return Ok(Halt::HandBack);
            }
            let shared = self.shared.clone();
            // Slots before the lock, as everywhere: whoever holds the lock never waits for a slot.
            let mut slots = tokio::select! {
                biased;
                () = shared.phases.reached(Phase::Drain) => return Ok(Halt::HandBack),
                slot = shared.slots.take(Class::Chunk) => vec![slot],
            };
            let numbers = self.desk.numbers();
            let innocents = numbers.iter().filter(|number| !self.suspects.contains_key(number)).count();
            let alone = innocents == 0;
            while slots.len() < innocents {
                let Some(slot) = shared.slots.try_take() else { break };
                slots.push(slot);
            }
            let _lock = tokio::select! {
                biased;
                () = shared.phases.reached(Phase::Drain) => return Ok(Halt::HandBack),
                lock = Solitude::take(&shared, alone) => lock,
            };
            let fits = |number: &u64| alone || !self.suspects.contains_key(number);
            let numbers: Vec<u64> = numbers.into_iter().filter(fits).take(slots.len()).collect();
            group += 1;
            self.marked = true;
            let delivery = self.common.delivery;
            marks::mark(&shared, &self.message, delivery, group, &numbers, alone).await?;
            for (number, slot) in numbers.into_iter().zip(slots) {
                if let Some(open) = self.desk.take_number(number) {
                    self.start(open, slot);
                }
            }
            let mut stopped = None;
            while stopped.is_none() && !self.runners.is_empty() {
                tokio::select! {
                    biased;
                    () = shared.phases.reached(Phase::HandBack) => stopped = Some(Halt::HandBack),
                    Some(ended) = self.runners.join_next() => {
                        Range::joined(ended)?;
                        stopped = self.settle().await?;
                    }
                }
            }
            if let Some(halt) = stopped {
                return Ok(halt);
            }
        }
    }

    /// Three marks that said `alone` are enough.
    fn condemn(&mut self) {
        let enough =
            |number: &u64| self.suspects.get(number).is_some_and(|marks| *marks >= limits::ALONE_MARKS_MAX);
        let guilty: Vec<u64> = self.desk.numbers().into_iter().filter(enough).collect();
        for number in guilty {
            let tried = self.desk.withdraw(number);
            let reason = format!("its worker was lost {} times", self.suspects[&number]);
            let row = self.common.row(&self.shared, number, State::Killed, Some(reason), tried);
            self.push(row);
        }
    }
}

/// Beside nothing else, or among others.
enum Solitude<'a> {
    Alone(#[expect(dead_code, reason = "held, not read")] RwLockWriteGuard<'a, ()>),
    Among(#[expect(dead_code, reason = "held, not read")] RwLockReadGuard<'a, ()>),
}

impl Solitude<'_> {
    async fn take(shared: &Shared, alone: bool) -> Solitude<'_> {
        if alone {
            Solitude::Alone(shared.alone().await)
        } else {
            Solitude::Among(shared.solitude.read().await)
        }
    }
}
