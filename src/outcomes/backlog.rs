//! What is left to run of a batch, and how many slots that wants.

use serde::Serialize;

use super::{Log, Logs};
use crate::layout::batch::Sealed;
use crate::limits;
use crate::model::Time;

/// The field names are those of `--output json`: keep stable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Backlog {
    /// Calls that are stored and not decided.
    pub undecided: u64,
    /// Those of them that do not wait for a retry.
    pub due: u64,
    /// How long an execution takes; 0 while none has ended.
    pub mean_ms: u64,
    /// When the oldest chunk with such a call was stored, by the store's clock.
    pub oldest_at: Option<Time>,
}

impl Backlog {
    pub fn of(logs: &Logs, sealed: Option<&Sealed>, now: Time) -> Backlog {
        let last = logs.ranges().last().map_or(0, |(_, last, _)| last);
        let decided: u64 = logs.counts(sealed).values().sum();
        let undecided = sealed.map_or(last, Sealed::calls).saturating_sub(decided);
        let waiting = logs.belonging(sealed).flat_map(Log::pending).filter(|(_, call)| call.due > now);
        Backlog {
            undecided,
            due: undecided.saturating_sub(waiting.count() as u64),
            mean_ms: logs.mean_ms(),
            oldest_at: logs.oldest_undecided(),
        }
    }

    /// As many slots as end it within ten minutes, and no more than it has calls that are due; one at least, for what becomes
    /// due and to find out how long calls take.
    pub fn slots_wanted(&self) -> u64 {
        let within = u128::from(limits::ms(limits::WANTED_WITHIN));
        let in_time = (u128::from(self.undecided) * u128::from(self.mean_ms)).div_ceil(within);
        match self.undecided {
            0 => 0,
            _ => u128::from(self.due).min(in_time).max(1) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_wanted_for_ten_minutes_of_work() {
        for (undecided, due, mean_ms, wanted) in [
            (0, 0, 1_000, 0),
            (1, 1, 0, 1),
            (100_000, 100_000, 0, 1),
            (100_000, 100_000, 1_000, 167),
            (600, 600, 1_000, 1),
            (601, 601, 1_000, 2),
            (64, 64, 3_600_000, 64),
            // Retries that are not due want nothing but somebody who takes them up.
            (64, 3, 3_600_000, 3),
            (64, 0, 3_600_000, 1),
            (u64::MAX, u64::MAX, u64::MAX, u64::MAX),
        ] {
            let backlog = Backlog { undecided, due, mean_ms, oldest_at: None };
            assert_eq!(backlog.slots_wanted(), wanted, "{backlog:?}");
        }
    }
}
