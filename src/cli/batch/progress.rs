//! The progress of a batch in numbers: counts, rate, time left. Formats them as a line, as an event for programs, and as a
//! bar on a terminal.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::format::plural;
use crate::model::{BatchId, State};
use crate::results::cost;
use crate::results::reasons::Group;

/// Of a reason in a line.
const REASON_CHARS: usize = 80;
/// Of a reason in a bar: fewer say nothing.
const REASON_CHARS_MIN: usize = 16;

/// The rate is measured over this time.
const WINDOW: Duration = Duration::from_secs(15);

/// The numbers of a batch at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Calls that are stored; all of them once `is_whole`.
    pub calls: u64,
    pub is_whole: bool,
    /// Of the calls that are decided.
    pub counts: BTreeMap<State, u64>,
    pub workers: usize,
    /// Why most of the calls failed that did.
    pub most_frequent: Option<Group>,
    /// What the requests so far would cost on AWS.
    pub dollars: f64,
}

impl Snapshot {
    pub fn decided(&self) -> u64 {
        self.counts.values().sum()
    }

    /// From 0 to 1; `None` while the number of calls is not known.
    pub fn done_share(&self) -> Option<f64> {
        (self.is_whole && self.calls > 0).then(|| self.decided() as f64 / self.calls as f64)
    }
}

/// Computes rate and time left from the snapshots of the last seconds.
#[derive(Debug, Default)]
pub struct Meter {
    begun: Option<Duration>,
    recent: VecDeque<(Duration, u64)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    pub elapsed: Duration,
    /// Calls in a second; `None` while no call ended between two snapshots.
    pub rate: Option<f64>,
    pub left: Option<Duration>,
}

impl Meter {
    pub fn add(&mut self, now: Duration, snapshot: &Snapshot) -> Pace {
        let decided = snapshot.decided();
        let begun = *self.begun.get_or_insert(now);
        self.recent.push_back((now, decided));
        // Keep the last snapshot before the window: the rate is over at least its length.
        while self.recent.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= WINDOW) {
            self.recent.pop_front();
        }
        let rate = self.recent.front().and_then(|(at, before)| {
            let seconds = now.saturating_sub(*at).as_secs_f64();
            (seconds > 0.0 && decided > *before).then(|| (decided - before) as f64 / seconds)
        });
        let left = match (snapshot.is_whole, rate) {
            (true, Some(rate)) => {
                Some(Duration::from_secs_f64((snapshot.calls.saturating_sub(decided) as f64 / rate).min(1e9)))
            }
            _ => None,
        };
        Pace { elapsed: now.saturating_sub(begun), rate, left }
    }
}

/// `1204 of 2000 calls, 1196 success, 8 error, 96/s, 8s left, 1 worker, $0.00021`
pub fn line(snapshot: &Snapshot, pace: &Pace) -> String {
    let calls = match snapshot.is_whole {
        true => format!("{} of {} calls", snapshot.decided(), snapshot.calls),
        false => {
            format!("{} of at least {} calls", snapshot.decided(), snapshot.calls.max(snapshot.decided()))
        }
    };
    let mut parts = vec![calls];
    parts.extend(details(snapshot, pace));
    parts.extend(reason(snapshot, REASON_CHARS));
    parts.join(", ")
}

/// `10 for: exit code 3`: why most of the calls failed that did, in so many characters.
fn reason(snapshot: &Snapshot, chars: usize) -> Option<String> {
    let group = snapshot.most_frequent.as_ref()?;
    let text = format!("{} for: {}", group.calls, group.reason);
    Some(match text.char_indices().nth(chars) {
        Some(_) => format!("{}…", text.chars().take(chars.saturating_sub(1)).collect::<String>()),
        None => text,
    })
}

/// `7 success`, `2 error`: the states that some calls are in.
pub fn counted(counts: &BTreeMap<State, u64>) -> Vec<String> {
    let counts = State::ALL.iter().filter_map(|state| Some((state, *counts.get(state)?)));
    counts.filter(|(_, count)| *count > 0).map(|(state, count)| format!("{count} {state}")).collect()
}

/// Counts, rate, time left, workers and cost.
fn details(snapshot: &Snapshot, pace: &Pace) -> Vec<String> {
    let mut parts = counted(&snapshot.counts);
    if let Some(rate) = pace.rate {
        parts.push(if rate >= 10.0 { format!("{rate:.0}/s") } else { format!("{rate:.1}/s") });
    }
    if let Some(left) = pace.left.filter(|_| snapshot.decided() < snapshot.calls) {
        let seconds = Duration::from_secs(left.as_secs().max(1));
        parts.push(format!("{} left", humantime::format_duration(seconds)));
    }
    if snapshot.workers > 0 {
        parts.push(plural(snapshot.workers as u64, "worker"));
    }
    if snapshot.dollars > 0.0 {
        parts.push(cost::shown(snapshot.dollars));
    }
    parts
}

/// An event for programs. Keep its keys stable.
pub fn event(batch: BatchId, snapshot: &Snapshot, pace: &Pace) -> Value {
    json!({
        "event": "progress",
        "batch_id": batch,
        "calls": snapshot.calls,
        "submitted": snapshot.is_whole,
        "decided": snapshot.decided(),
        "counts": snapshot.counts,
        "calls_per_second": pace.rate,
        "seconds": pace.elapsed.as_secs_f64(),
        "seconds_left": pace.left.map(|left| left.as_secs_f64()),
        "workers": snapshot.workers,
        "dollars": snapshot.dollars,
        "most_frequent_failure": snapshot.most_frequent,
    })
}

const BAR_MAX: usize = 30;
/// Columns where the terminal does not report them.
const WIDTH: usize = 80;

/// Drops the last details where the terminal is too narrow.
pub fn bar(snapshot: &Snapshot, pace: &Pace, width: usize) -> String {
    let mut text = match snapshot.done_share() {
        Some(share) => {
            let columns = (width / 4).clamp(5, BAR_MAX);
            let full = ((share * columns as f64) as usize).min(columns);
            let bar = "█".repeat(full) + &"░".repeat(columns - full);
            format!("{bar} {:>3}% {}/{}", (share * 100.0) as u64, snapshot.decided(), snapshot.calls)
        }
        None => format!("{} of {} and more", snapshot.decided(), snapshot.calls.max(snapshot.decided())),
    };
    for part in details(snapshot, pace) {
        let longer = text.chars().count() + 3 + part.chars().count();
        if longer < width {
            text.push_str(" · ");
            text.push_str(&part);
        }
    }
    let room = width.saturating_sub(text.chars().count() + 4);
    if let Some(reason) = reason(snapshot, room).filter(|_| room >= REASON_CHARS_MIN) {
        text.push_str(" · ");
        text.push_str(&reason);
    }
    text.chars().take(width.saturating_sub(1)).collect()
}

/// Columns of the terminal that stderr is.
pub fn width() -> usize {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => WIDTH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Time;

    fn snapshot(decided: u64, is_whole: bool) -> Snapshot {
        Snapshot {
            calls: 2_000,
            is_whole,
            counts: BTreeMap::from([(State::Success, decided - decided / 10), (State::Error, decided / 10)]),
            workers: 1,
            most_frequent: None,
            dollars: 0.00021,
        }
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut meter = Meter::default();
        let second = Duration::from_secs;
        assert_eq!(meter.add(second(100), &snapshot(0, false)), Pace::default());
        let pace = meter.add(second(101), &snapshot(100, false));
        assert_eq!((pace.rate, pace.left), (Some(100.0), None));
        for at in 2..=40 {
            meter.add(second(100 + at), &snapshot(100 + 10 * (at - 1), true));
        }
        let pace = meter.add(second(141), &snapshot(500, true));
        assert_eq!((pace.rate, pace.left), (Some(10.0), Some(second(150))));
        assert_eq!(pace.elapsed, second(41));
    }

    #[test]
    fn a_line_tells_what_is_known() {
        let pace =
            Pace { elapsed: Duration::from_secs(5), rate: Some(9.96), left: Some(Duration::from_secs(125)) };
        assert_eq!(
            line(&snapshot(1_000, true), &pace),
            "1000 of 2000 calls, 900 success, 100 error, 10.0/s, 2m 5s left, 1 worker, $0.00021"
        );
        assert_eq!(line(&Snapshot::default(), &Pace::default()), "0 of at least 0 calls");
    }

    #[test]
    fn it_fits_whatever_the_width() {
        let snapshot = Snapshot {
            calls: 2_000,
            is_whole: true,
            counts: BTreeMap::from([(State::Success, 990), (State::Error, 10)]),
            workers: 2,
            most_frequent: None,
            dollars: 0.01,
        };
        let pace = Pace { elapsed: Duration::ZERO, rate: Some(100.0), left: Some(Duration::from_secs(10)) };
        let drawn = bar(&snapshot, &pace, 120);
        assert_eq!(
            drawn,
            "███████████████░░░░░░░░░░░░░░░  50% 1000/2000 · 990 success · 10 error · 100/s · 10s left · 2 workers · $0.010"
        );
        for width in [0, 1, 10, 40, 80] {
            assert!(bar(&snapshot, &pace, width).chars().count() <= width, "{width}");
        }
        let group = Group {
            status: State::Error,
            reason: "exit code 3: the disk is full".to_owned(),
            calls: 7,
            example: BatchId::new(Time(0), 1).call(1),
        };
        let failing = Snapshot { most_frequent: Some(group), ..snapshot.clone() };
        assert_eq!(bar(&failing, &pace, 200), format!("{drawn} · 7 for: exit code 3: the disk is full"));
        let narrow = bar(&failing, &pace, 132);
        assert!(narrow.ends_with(" · 7 for: exit code …") && narrow.chars().count() < 132, "{narrow}");
        assert!(line(&failing, &pace).ends_with(", $0.010, 7 for: exit code 3: the disk is full"));
        let open = Snapshot { is_whole: false, ..snapshot };
        assert!(bar(&open, &pace, 80).starts_with("1000 of 2000 and more · "));
    }
}
