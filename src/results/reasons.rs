//! Failures grouped by their reason, whose numbers are ignored. Memory is bounded, whatever a function writes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::BatchView;
use super::rows::{self, Finished, ResultRow, Rows};
use crate::error::Result;
use crate::limits;
use crate::model::{CallId, State, fold_digits, fold_numbers};
use crate::seam::Deps;

/// With more reasons than this, one group has all others.
const REASONS_MAX: usize = 1_000;
const REASON_CHARS_MAX: usize = 200;
const OTHERS: &str = "other reasons";

/// Calls that ended for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    pub status: State,
    /// The first line. `#` replaces numbers that not all calls have.
    pub reason: String,
    pub calls: u64,
    /// One of them: the first by number.
    pub example: CallId,
}

/// Reasons are told apart without their numbers: `row 7 is empty` and `row 8 is empty` are one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reasons {
    groups: BTreeMap<(State, String), Tally>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tally {
    calls: u64,
    example: (u64, CallId),
    /// The reason of the first call that came, with its numbers.
    first: String,
    /// Its numbers, as far as all calls have the same.
    numbers: Vec<Option<String>>,
}

impl Tally {
    fn add(&mut self, example: (u64, CallId), reason: &str) {
        self.calls += 1;
        self.example = self.example.min(example);
        let numbers = numbers(reason);
        for (index, known) in self.numbers.iter_mut().enumerate() {
            if *known != numbers.get(index).cloned().flatten() {
                *known = None;
            }
        }
    }

    /// With the numbers that all calls have.
    fn reason(&self) -> String {
        fold_numbers(&self.first, |index, _| self.numbers[index].is_some())
    }
}

fn numbers(reason: &str) -> Vec<Option<String>> {
    let mut numbers = Vec::new();
    fold_numbers(reason, |_, number| {
        numbers.push(Some(number.to_owned()));
        false
    });
    numbers
}

impl Reasons {
    pub fn add(&mut self, row: &ResultRow) {
        if let Some(outcome) = &row.outcome {
            self.add_call(row.call, row.number, row.status, outcome.error.as_deref());
        }
    }

    pub fn add_call(&mut self, call: CallId, number: u64, status: State, reason: Option<&str>) {
        if status == State::Success {
            return;
        }
        let reason = first_line(reason.unwrap_or_default());
        let mut key = (status, fold_digits(&reason));
        if self.groups.len() >= REASONS_MAX && !self.groups.contains_key(&key) {
            key.1 = OTHERS.to_owned();
        }
        let first = if key.1 == OTHERS { OTHERS.to_owned() } else { reason.clone() };
        let example = (number, call);
        let new = || Tally { calls: 0, example, numbers: numbers(&first), first };
        self.groups.entry(key).or_insert_with(new).add(example, &reason);
    }

    /// The most frequent first.
    pub fn groups(&self) -> Vec<Group> {
        let groups = self.groups.iter().map(|((status, _), tally)| Group {
            status: *status,
            reason: tally.reason(),
            calls: tally.calls,
            example: tally.example.1,
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

/// The same of the first calls of a batch, which may still run; so many are enough to show what most fail for.
pub async fn of_first_calls(deps: &Deps, view: &BatchView) -> Result<Vec<Group>> {
    if view.failed() == 0 || view.deleted.is_some() {
        return Ok(Vec::new());
    }
    let count = Some(limits::REASON_ROWS_MAX);
    let options = rows::Options { finished: Finished::NeedNot, count, ..rows::Options::default() };
    let mut rows = Rows::open(deps, view.batch, options).await?;
    let mut reasons = Reasons::default();
    while let Some(block) = rows.next_readable().await? {
        block.iter().filter(|row| FAILED.contains(&row.status)).for_each(|row| reasons.add(row));
    }
    Ok(reasons.groups())
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
    fn reasons_keep_the_numbers_that_all_calls_have() {
        let rows = [
            failed(9, State::Error, "exit code 3"),
            failed(2, State::Error, "exit code 4: busy\nand more"),
            failed(3, State::Timeout, "timed out after 30 s"),
            failed(4, State::Error, "exit code 3"),
            failed(5, State::Success, ""),
            failed(6, State::Killed, ""),
            failed(7, State::Error, "row 7 is empty"),
            failed(8, State::Error, "row 11 is empty"),
            failed(10, State::Error, "row 11 is empty"),
            failed(11, State::Error, "5 of # is 1"),
            failed(12, State::Error, "6 of 7 is 1"),
        ];
        let expected = [
            (State::Error, "row # is empty", 3, 7),
            (State::Error, "exit code 3", 2, 4),
            (State::Error, "# of # is #", 2, 11),
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
