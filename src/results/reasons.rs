//! Failures grouped by their reason. When there are too many reasons, numbers in them are ignored. Memory is bounded,
//! whatever a function writes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::BatchView;
use super::rows::{self, Finished, ResultRow, Rows};
use crate::error::Result;
use crate::model::{CallId, State, fold_digits};
use crate::seam::Deps;

/// With more reasons than this, numbers in reasons are ignored.
const EXACT_MAX: usize = 64;
/// With more reasons than this, one group has all others.
const REASONS_MAX: usize = 1_000;
const REASON_CHARS_MAX: usize = 200;
const OTHERS: &str = "other reasons";

/// Calls that ended for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    pub status: State,
    /// The first line. `#` replaces numbers when there are too many reasons.
    pub reason: String,
    pub calls: u64,
    /// One of them: the first by number.
    pub example: CallId,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reasons {
    groups: BTreeMap<(State, String), (u64, CallIdOrder)>,
    without_numbers: bool,
}

/// The number in its batch, and the call.
type CallIdOrder = (u64, CallId);

impl Reasons {
    pub fn add(&mut self, row: &ResultRow) {
        let Some(outcome) = &row.outcome else { return };
        if row.status == State::Success {
            return;
        }
        let reason = first_line(outcome.error.as_deref().unwrap_or_default());
        let reason = if self.without_numbers { fold_digits(&reason) } else { reason };
        self.add_to_group(row.status, reason, 1, (row.number, row.call));
        if !self.without_numbers && self.groups.len() > EXACT_MAX {
            self.without_numbers = true;
            for ((status, reason), (calls, example)) in std::mem::take(&mut self.groups) {
                self.add_to_group(status, fold_digits(&reason), calls, example);
            }
        }
    }

    fn add_to_group(&mut self, status: State, reason: String, calls: u64, example: CallIdOrder) {
        let mut key = (status, reason);
        if self.groups.len() >= REASONS_MAX && !self.groups.contains_key(&key) {
            key.1 = OTHERS.to_owned();
        }
        let group = self.groups.entry(key).or_insert((0, example));
        group.0 += calls;
        group.1 = group.1.min(example);
    }

    /// The most frequent first.
    pub fn groups(&self) -> Vec<Group> {
        let groups = self.groups.iter().map(|((status, reason), (calls, (_, example)))| Group {
            status: *status,
            reason: reason.clone(),
            calls: *calls,
            example: *example,
        });
        let mut groups: Vec<Group> = groups.collect();
        groups.sort_by_key(|group| (std::cmp::Reverse(group.calls), group.example));
        groups
    }
}

fn first_line(reason: &str) -> String {
    let line = reason.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason was given");
    match line.char_indices().nth(REASON_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// Why calls failed, the most frequent reason first; and whether any of them was executed at all.
pub async fn of_failures(deps: &Deps, view: &BatchView) -> Result<(Vec<Group>, bool)> {
    if view.failed() == 0 {
        return Ok((Vec::new(), false));
    }
    let options =
        rows::Options { statuses: FAILED.to_vec(), finished: Finished::Is, ..rows::Options::default() };
    let mut rows = Rows::open(deps, view.batch, options).await?;
    let (mut reasons, mut tried) = (Reasons::default(), false);
    while let Some(block) = rows.next().await? {
        for row in &block {
            reasons.add(row);
            tried |= row.outcome.as_ref().is_some_and(|outcome| outcome.attempts > 0);
        }
    }
    Ok((reasons.groups(), tried))
}

pub const FAILED: [State; 3] = [State::Error, State::Timeout, State::Killed];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::batch::fixture::{batch_at, row};
    use crate::results::fixture::NOW;

    fn failed(number: u64, status: State, error: &str) -> ResultRow {
        let mut outcome = row(number, status);
        outcome.error = (!error.is_empty()).then(|| error.to_owned());
        ResultRow {
            number,
            call: batch_at(NOW, 1).call(number),
            status,
            outcome: Some(outcome),
            source: None,
            key: None,
            input: None,
        }
    }

    fn of(rows: impl IntoIterator<Item = ResultRow>) -> Vec<(State, String, u64, u64)> {
        let mut reasons = Reasons::default();
        rows.into_iter().for_each(|row| reasons.add(&row));
        let groups = reasons.groups().into_iter();
        let number = |call: CallId| call.number().expect("of a batch");
        groups.map(|group| (group.status, group.reason, group.calls, number(group.example))).collect()
    }

    #[test]
    fn few_reasons_are_told_as_they_are() {
        let rows = [
            failed(9, State::Error, "exit code 3"),
            failed(2, State::Error, "exit code 4: busy\nand more"),
            failed(3, State::Timeout, "timed out after 30 s"),
            failed(4, State::Error, "exit code 3"),
            failed(5, State::Success, ""),
            failed(6, State::Killed, ""),
        ];
        let expected = [
            (State::Error, "exit code 3", 2, 4),
            (State::Error, "exit code 4: busy", 1, 2),
            (State::Timeout, "timed out after 30 s", 1, 3),
            (State::Killed, "no reason was given", 1, 6),
        ];
        assert_eq!(
            of(rows),
            expected.map(|(status, reason, calls, example)| (status, reason.to_owned(), calls, example))
        );
    }

    #[test]
    fn reasons_that_differ_in_their_numbers_become_one() {
        let rows =
            (1..=500).map(|n| failed(n, State::Error, &format!("line {n}: volatility -0.{n} is negative")));
        assert_eq!(of(rows), [(State::Error, "line #: volatility -# is negative".to_owned(), 500, 1)]);
        let word = |n: u64| (0..12).map(|bit| if n >> bit & 1 == 1 { 'a' } else { 'b' }).collect::<String>();
        let rows = (1..=3_000).map(|n| failed(n, State::Error, &word(n)));
        let groups = of(rows);
        assert_eq!((groups.len(), groups[0].1.as_str(), groups[0].2), (1_001, OTHERS, 2_000));
        let long = of([failed(1, State::Error, &"é".repeat(500))]);
        assert_eq!(long[0].1.chars().count(), 201);
    }
}
