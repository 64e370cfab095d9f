//! Runs of call numbers that share something: exact lists of calls in few bytes. Persisted as `[[first,last,…],…]`, keep
//! stable.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::limits;
use crate::model::id::NUMBER_MAX;
use crate::model::{AttemptHistory, MarkId, Time};

/// Numbers in ascending runs, each with a value that all of its numbers share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runs<T>(Vec<Run<T>>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run<T> {
    pub first: u64,
    pub last: u64,
    pub value: T,
}

impl<T> Default for Runs<T> {
    fn default() -> Runs<T> {
        Runs(Vec::new())
    }
}

impl<T> Runs<T> {
    /// Runs that are in order.
    pub(super) fn new(runs: impl Iterator<Item = Run<T>>) -> Runs<T> {
        Runs(runs.collect())
    }

    pub fn one(first: u64, last: u64, value: T) -> Runs<T> {
        Runs(vec![Run { first, last, value }])
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn first(&self) -> Option<u64> {
        Some(self.0.first()?.first)
    }

    pub fn last(&self) -> Option<u64> {
        Some(self.0.last()?.last)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Run<T>> {
        self.0.iter()
    }

    /// Number by number.
    pub fn each(&self) -> impl Iterator<Item = (u64, &T)> {
        self.0.iter().flat_map(|run| (run.first..=run.last).map(|number| (number, &run.value)))
    }

    pub fn get(&self, number: u64) -> Option<&T> {
        let index = self.0.partition_point(|run| run.last < number);
        self.0.get(index).filter(|run| run.first <= number).map(|run| &run.value)
    }
}

/// A set of numbers.
impl Runs<()> {
    pub fn contains(&self, number: u64) -> bool {
        self.get(number).is_some()
    }

    /// Adds all numbers from `first` to `last`. Runs that touch become one.
    pub fn insert(&mut self, first: u64, last: u64) {
        let begin = self.0.partition_point(|run| run.last + 1 < first);
        let end = self.0.partition_point(|run| run.first <= last + 1);
        let touched = &self.0[begin..end];
        let first = touched.first().map_or(first, |run| run.first.min(first));
        let last = touched.last().map_or(last, |run| run.last.max(last));
        self.0.splice(begin..end, [Run { first, last, value: () }]);
    }

    /// Adds all numbers of another set.
    pub fn extend(&mut self, others: &Runs<()>) {
        for run in others.iter() {
            self.insert(run.first, run.last);
        }
    }
}

/// From single numbers, in ascending order; neighbours with equal values become one run.
impl<T: PartialEq> FromIterator<(u64, T)> for Runs<T> {
    fn from_iter<I: IntoIterator<Item = (u64, T)>>(numbers: I) -> Runs<T> {
        let mut runs: Vec<Run<T>> = Vec::new();
        for (number, value) in numbers {
            match runs.last_mut() {
                Some(run) if run.last + 1 == number && run.value == value => run.last = number,
                _ => runs.push(Run { first: number, last: number, value }),
            }
        }
        Runs(runs)
    }
}

impl<T> From<Runs<T>> for BTreeMap<u64, T>
where
    T: Clone,
{
    fn from(runs: Runs<T>) -> BTreeMap<u64, T> {
        runs.each().map(|(number, value)| (number, value.clone())).collect()
    }
}

/// How a run is written: one array of its first number, its last number, and the elements of its value.
pub trait RunValue: Sized {
    /// The array as it is read.
    type Array: DeserializeOwned;

    fn elements(&self) -> Vec<Value>;

    /// None if the value is out of range.
    fn run(array: Self::Array) -> Option<Run<Self>>;
}

#[derive(Deserialize)]
pub struct HistoryArray(u64, u64, #[serde(default)] u32, #[serde(default)] u32, #[serde(default)] u32);

/// `attempts, failures, start_failures`; trailing zeros are left out.
impl RunValue for AttemptHistory {
    type Array = HistoryArray;

    fn elements(&self) -> Vec<Value> {
        let counts = [self.attempts, self.failures, self.start_failures];
        let length = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        counts[..length].iter().map(|count| (*count).into()).collect()
    }

    fn run(array: HistoryArray) -> Option<Run<AttemptHistory>> {
        let HistoryArray(first, last, attempts, failures, start_failures) = array;
        let value = AttemptHistory { attempts, failures, start_failures };
        value.check().is_ok().then_some(Run { first, last, value })
    }
}

/// The names of loss marks.
impl RunValue for Vec<MarkId> {
    type Array = (u64, u64, Vec<MarkId>);

    fn elements(&self) -> Vec<Value> {
        vec![self.iter().map(MarkId::to_string).collect()]
    }

    fn run((first, last, value): Self::Array) -> Option<Run<Vec<MarkId>>> {
        (value.len() <= limits::LOSSES_MAX).then_some(Run { first, last, value })
    }
}

/// When a call is due (ms since the epoch), and its history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingCall {
    pub due: Time,
    pub history: AttemptHistory,
}

/// `due, attempts, failures, start_failures`.
impl RunValue for PendingCall {
    type Array = (u64, u64, u64, u32, u32, u32);

    fn elements(&self) -> Vec<Value> {
        let AttemptHistory { attempts, failures, start_failures } = self.history;
        vec![self.due.0.into(), attempts.into(), failures.into(), start_failures.into()]
    }

    fn run((first, last, due, attempts, failures, start_failures): Self::Array) -> Option<Run<PendingCall>> {
        let history = AttemptHistory { attempts, failures, start_failures };
        let value = PendingCall { due: Time(due), history };
        (value.due <= Time::MAX && history.check().is_ok()).then_some(Run { first, last, value })
    }
}

/// Nothing: the numbers alone.
impl RunValue for () {
    type Array = (u64, u64);

    fn elements(&self) -> Vec<Value> {
        Vec::new()
    }

    fn run((first, last): Self::Array) -> Option<Run<()>> {
        Some(Run { first, last, value: () })
    }
}

/// The number of a part.
impl RunValue for u64 {
    type Array = (u64, u64, u64);

    fn elements(&self) -> Vec<Value> {
        vec![(*self).into()]
    }

    fn run((first, last, value): Self::Array) -> Option<Run<u64>> {
        Some(Run { first, last, value })
    }
}

impl<T: RunValue> Serialize for Runs<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|run| {
            let numbers: [Value; 2] = [run.first.into(), run.last.into()];
            [&numbers[..], &run.value.elements()].concat()
        }))
    }
}

impl<'de, T: RunValue> Deserialize<'de> for Run<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Run<T>, D::Error> {
        let run = T::run(T::Array::deserialize(deserializer)?);
        run.ok_or_else(|| D::Error::custom("the value of a run is out of range"))
    }
}

impl<'de, T: RunValue> Deserialize<'de> for Runs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Runs<T>, D::Error> {
        let runs: Vec<Run<T>> = Vec::deserialize(deserializer)?;
        check_order(runs.iter().map(|run| (run.first, run.last)), NUMBER_MAX).map_err(D::Error::custom)?;
        Ok(Runs(runs))
    }
}

/// Whether runs ascend, do not overlap, and lie within 1 to `last_max`.
pub(super) fn check_order(runs: impl Iterator<Item = (u64, u64)>, last_max: u64) -> Result<(), String> {
    let mut before = 0;
    for (first, last) in runs {
        if first <= before || last < first || last > last_max {
            return Err(format!("run {first} to {last} is out of order or out of range"));
        }
        before = last;
    }
    Ok(())
}

/// Whether one of these runs, which are in order, has a number.
pub fn ordered_contain(runs: &[(u64, u64)], number: u64) -> bool {
    let index = runs.partition_point(|(_, last)| *last < number);
    runs.get(index).is_some_and(|(first, _)| *first <= number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn histories() -> impl Strategy<Value = AttemptHistory> {
        (0u32..3, 0u32..3, 0u32..3).prop_map(|(attempts, failures, start_failures)| AttemptHistory {
            attempts,
            failures,
            start_failures,
        })
    }

    proptest! {
        #[test]
        fn a_map_reads_back_as_written(map in proptest::collection::btree_map(1u64..200, histories(), 0..60)) {
            let runs: Runs<AttemptHistory> = map.clone().into_iter().collect();
            for number in 0..202 {
                prop_assert_eq!(runs.get(number), map.get(&number));
            }
            let text = serde_json::to_string(&runs).unwrap();
            let read: Runs<AttemptHistory> = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&read, &runs);
            prop_assert_eq!(BTreeMap::from(read), map);
        }
    }

    proptest! {
        #[test]
        fn a_set_is_what_was_inserted(ranges in proptest::collection::vec((1u64..100, 0u64..9), 0..30)) {
            let (mut set, mut model) = (Runs::<()>::default(), std::collections::BTreeSet::new());
            for (first, more) in ranges {
                set.insert(first, first + more);
                model.extend(first..=first + more);
            }
            prop_assert_eq!(&set, &model.iter().map(|number| (*number, ())).collect::<Runs<()>>());
            let text = serde_json::to_string(&set).unwrap();
            prop_assert_eq!(serde_json::from_str::<Runs<()>>(&text).unwrap(), set);
        }
    }

    #[test]
    fn few_bytes_and_no_more_than_is_true() {
        let history = AttemptHistory { attempts: 2, failures: 1, start_failures: 0 };
        let runs: Runs<AttemptHistory> =
            [(1, AttemptHistory::default()), (2, AttemptHistory::default()), (7, history)]
                .into_iter()
                .collect();
        assert_eq!(serde_json::to_string(&runs).unwrap(), "[[1,2],[7,7,2,1]]");
    }

    #[test]
    fn what_is_out_of_order_or_range_is_refused() {
        for text in [
            "[[0,1]]",
            "[[2,1]]",
            "[[1,3],[3,4]]",
            "[[5,6],[1,2]]",
            "[[1,1099511627776]]",
            "[[1]]",
            "[[1,2,1,1,1,1]]",
        ] {
            assert!(serde_json::from_str::<Runs<AttemptHistory>>(text).is_err(), "{text}");
        }
    }
}
