//! How far a batch has come, in numbers that people can use: counts, rate, time left. Draws nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use crate::model::{BatchId, State};
use crate::results::cost;

/// The rate is that of the last so long.
const WINDOW: Duration = Duration::from_secs(15);

/// A batch at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sight {
    /// Calls that are stored; all of them once `is_whole`.
    pub calls: u64,
    pub is_whole: bool,
    /// Of the calls that are decided.
    pub counts: BTreeMap<State, u64>,
    pub workers: usize,
    /// What the requests so far would cost on AWS.
    pub dollars: f64,
}

impl Sight {
    pub fn decided(&self) -> u64 {
        self.counts.values().sum()
    }

    /// From 0 to 1; nothing is known of the whole before the source has ended.
    pub fn share(&self) -> Option<f64> {
        (self.is_whole && self.calls > 0).then(|| self.decided() as f64 / self.calls as f64)
    }
}

/// Takes in sights, and tells rate and time left.
#[derive(Debug, Default)]
pub struct Meter {
    begun: Option<(Duration, u64)>,
    recent: VecDeque<(Duration, u64)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    pub elapsed: Duration,
    /// Calls in a second; `None` before the second look that saw one end.
    pub rate: Option<f64>,
    pub left: Option<Duration>,
}

impl Meter {
    pub fn take(&mut self, now: Duration, sight: &Sight) -> Pace {
        let decided = sight.decided();
        let (begun, _) = *self.begun.get_or_insert((now, decided));
        self.recent.push_back((now, decided));
        // The one before the window stays: the rate is over at least its length.
        while self.recent.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= WINDOW) {
            self.recent.pop_front();
        }
        let rate = self.recent.front().and_then(|(at, before)| {
            let seconds = now.saturating_sub(*at).as_secs_f64();
            (seconds > 0.0 && decided > *before).then(|| (decided - before) as f64 / seconds)
        });
        let left = match (sight.is_whole, rate) {
            (true, Some(rate)) => {
                Some(Duration::from_secs_f64((sight.calls.saturating_sub(decided) as f64 / rate).min(1e9)))
            }
            _ => None,
        };
        Pace { elapsed: now.saturating_sub(begun), rate, left }
    }
}

/// `1204 of 2000 calls, 1196 success, 8 error, 96/s, 8s left, 1 worker, $0.00021`
pub fn line(sight: &Sight, pace: &Pace) -> String {
    let calls = match sight.is_whole {
        true => format!("{} of {} calls", sight.decided(), sight.calls),
        false => format!("{} of at least {} calls", sight.decided(), sight.calls.max(sight.decided())),
    };
    let mut parts = vec![calls];
    parts.extend(details(sight, pace));
    parts.join(", ")
}

/// What is told of a batch beside how much of it is done.
pub fn details(sight: &Sight, pace: &Pace) -> Vec<String> {
    let counted = State::ALL.iter().filter_map(|state| Some((state, sight.counts.get(state)?)));
    let mut parts: Vec<String> =
        counted.filter(|(_, count)| **count > 0).map(|(state, count)| format!("{count} {state}")).collect();
    if let Some(rate) = pace.rate {
        parts.push(if rate >= 10.0 { format!("{rate:.0}/s") } else { format!("{rate:.1}/s") });
    }
    if let Some(left) = pace.left.filter(|_| sight.decided() < sight.calls) {
        parts
            .push(format!("{} left", humantime::format_duration(Duration::from_secs(left.as_secs().max(1)))));
    }
    if sight.workers > 0 {
        parts.push(crate::cli::lines::plural(sight.workers as u64, "worker"));
    }
    if sight.dollars > 0.0 {
        parts.push(cost::shown(sight.dollars));
    }
    parts
}

/// An event of the stream that programs read. Keep its keys stable.
pub fn event(batch: BatchId, sight: &Sight, pace: &Pace) -> Value {
    json!({
        "event": "progress",
        "batch_id": batch,
        "calls": sight.calls,
        "submitted": sight.is_whole,
        "decided": sight.decided(),
        "counts": sight.counts,
        "calls_per_second": pace.rate,
        "seconds": pace.elapsed.as_secs_f64(),
        "seconds_left": pace.left.map(|left| left.as_secs_f64()),
        "workers": sight.workers,
        "dollars": sight.dollars,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(decided: u64, is_whole: bool) -> Sight {
        Sight {
            calls: 2_000,
            is_whole,
            counts: BTreeMap::from([(State::Success, decided - decided / 10), (State::Error, decided / 10)]),
            workers: 1,
            dollars: 0.00021,
        }
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut meter = Meter::default();
        let second = Duration::from_secs;
        assert_eq!(meter.take(second(100), &sight(0, false)), Pace::default());
        let pace = meter.take(second(101), &sight(100, false));
        assert_eq!((pace.rate, pace.left), (Some(100.0), None));
        for at in 2..=40 {
            meter.take(second(100 + at), &sight(100 + 10 * (at - 1), true));
        }
        let pace = meter.take(second(141), &sight(500, true));
        assert_eq!((pace.rate, pace.left), (Some(10.0), Some(second(150))));
        assert_eq!(pace.elapsed, second(41));
    }

    #[test]
    fn a_line_tells_what_is_known() {
        let pace =
            Pace { elapsed: Duration::from_secs(5), rate: Some(9.96), left: Some(Duration::from_secs(125)) };
        assert_eq!(
            line(&sight(1_000, true), &pace),
            "1000 of 2000 calls, 900 success, 100 error, 10.0/s, 2m 5s left, 1 worker, $0.00021"
        );
        assert_eq!(line(&Sight::default(), &Pace::default()), "0 of at least 0 calls");
    }
}
