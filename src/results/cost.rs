//! What a batch cost: requests counted on every side, in dollars at published prices, as so much a call and so much an
//! hour of a worker.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::model::price::{self, Dollars, PUBLISHED, QUEUE_UNIT_BYTES};
use crate::seam::count::{Snapshot, Tally};

/// A batch of fewer calls costs what every batch does, whatever its calls: a rate of that would mislead people.
const RATE_CALLS_MIN: u64 = 1_000;

/// The field names are those of `--output json`: keep stable.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    /// By operation.
    pub requests: BTreeMap<String, u64>,
    pub requests_total: u64,
    pub calls: u64,
    pub requests_per_call: Option<f64>,
    pub dollars: Dollars,
    /// Of the requests that calls make.
    pub dollars_per_call: Option<f64>,
    /// Of the requests that time makes, where it is known how long workers were at it.
    pub dollars_per_worker_hour: Option<f64>,
    pub worker_hours: Option<f64>,
}

impl Cost {
    /// `worker_ms`: how long workers were at it, all together.
    pub fn of(requests: BTreeMap<String, u64>, calls: u64, worker_ms: Option<u64>) -> Cost {
        let total = requests.values().sum();
        let (by_time, by_call): (BTreeMap<String, u64>, BTreeMap<String, u64>) = requests
            .iter()
            .map(|(name, count)| (name.clone(), *count))
            .partition(|(name, _)| price::is_of_time(name));
        let worker_hours = worker_ms.map(|ms| ms as f64 / 3_600_000.0).filter(|hours| *hours > 0.0);
        // Where nothing is known of time, everything is the calls'.
        let calls_share = if worker_hours.is_some() { &by_call } else { &requests };
        let per_call = |value: f64| (calls > 0).then(|| value / calls as f64);
        Cost {
            requests_total: total,
            calls,
            requests_per_call: per_call(total as f64),
            dollars: PUBLISHED.dollars(&requests),
            dollars_per_call: per_call(PUBLISHED.dollars(calls_share).total),
            dollars_per_worker_hour: worker_hours.map(|hours| PUBLISHED.dollars(&by_time).total / hours),
            worker_hours,
            requests,
        }
    }

    /// For people: what a million such calls would cost, where there are enough to tell.
    pub fn dollars_a_million(&self) -> Option<f64> {
        self.dollars_per_call.filter(|_| self.calls >= RATE_CALLS_MIN).map(|each| each * 1e6)
    }
}

/// Requests by operation, as a part's footer has them: what workers spent, and what this process did.
pub fn together(workers: &BTreeMap<String, u64>, here: &Snapshot) -> BTreeMap<String, u64> {
    let mut requests = workers.clone();
    for (operation, count) in paid(here) {
        if count > 0 {
            *requests.entry(operation.to_owned()).or_default() += count;
        }
    }
    requests
}

/// As they are paid for: a request to a queue that carries more than 64 KiB counts more than once.
fn paid(counts: &Snapshot) -> [(&'static str, u64); 10] {
    let units = |tally: &Tally| tally.requests.max(tally.bytes.div_ceil(QUEUE_UNIT_BYTES));
    counts.by_operation().map(|(operation, count)| match operation {
        "send" => (operation, units(&counts.send)),
        "receive" => (operation, units(&counts.receive)),
        _ => (operation, count),
    })
}

/// `$0.0034`: as many digits as tell something.
pub fn shown(dollars: f64) -> String {
    if dollars <= 0.0 {
        return "$0".to_owned();
    }
    let digits = (1.0 - dollars.log10().floor()).clamp(2.0, 12.0) as usize;
    format!("${dollars:.digits$}")
}

/// What requests cost; what machines cost is theirs who run them.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = if self.requests_total == 1 { "request" } else { "requests" };
        write!(f, "{} for {} {requests}", shown(self.dollars.total), self.requests_total)?;
        if let Some(million) = self.dollars_a_million() {
            write!(f, ": {} a million calls", shown(million))?;
            if let Some(hour) = self.dollars_per_worker_hour {
                write!(f, " and {} an hour of a worker", shown(hour))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_costs_so_much_a_call_and_so_much_an_hour() {
        let here = Snapshot {
            put: Tally { requests: 10, ..Tally::default() },
            send: Tally { requests: 2, bytes: 300 * 1024 },
            ..Snapshot::default()
        };
        let workers =
            [("put", 20), ("receive", 180), ("get", 5)].map(|(name, count)| (name.to_owned(), count));
        let requests = together(&workers.into(), &here);
        assert_eq!((requests["put"], requests["send"], requests["receive"]), (30, 5, 180));
        let cost = Cost::of(requests.clone(), 1_000, Some(1_800_000));
        assert_eq!((cost.requests_total, cost.requests_per_call), (220, Some(0.22)));
        let close = |value: Option<f64>, to: f64| (value.expect("known") - to).abs() < 1e-12;
        assert!(close(cost.dollars_per_call, (30.0 * 5e-6 + 5.0 * 4e-7 + 5.0 * 4e-7) / 1_000.0));
        assert!(close(cost.dollars_per_worker_hour, 180.0 * 4e-7 / 0.5));
        let cost = Cost::of(requests, 0, None);
        assert_eq!((cost.dollars_per_call, cost.dollars_per_worker_hour), (None, None));
    }

    #[test]
    fn small_dollars_are_shown_with_the_digits_that_tell() {
        let all = [0.0, 12.3456, 0.5, 0.0034, 0.000_000_123].map(shown);
        assert_eq!(all, ["$0", "$12.35", "$0.50", "$0.0034", "$0.00000012"]);
    }

    #[test]
    fn a_rate_is_told_of_many_calls_alone() {
        let told = |calls| {
            let requests = BTreeMap::from([("put".to_owned(), 40), ("receive".to_owned(), 10)]);
            Cost::of(requests, calls, Some(3_600_000)).to_string()
        };
        assert_eq!(told(999), "$0.00020 for 50 requests");
        assert_eq!(
            told(1_000),
            "$0.00020 for 50 requests: $0.20 a million calls and $0.0000040 an hour of a worker"
        );
    }
}
