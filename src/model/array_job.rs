//! An array of calls: one for each index of a range, as schedulers have them. `0-9999`, `1-99:2`, `0,5,10-12`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::checked::checked;
use super::id::NUMBER_MAX;
use super::text::text_json;
use crate::error::{Error, Result};

/// What the functions of an array are told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct ArrayJob {
    pub range: IndexRange,
    /// The environment variable with the index of a call, besides what every array has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_env: Option<String>,
}

checked!(ArrayJob);

impl ArrayJob {
    fn check(&self) -> std::result::Result<(), String> {
        self.index_env.as_deref().map_or(Ok(()), check_env_name)
    }
}

/// The name of an environment variable that a user may choose: not one of those that functions get anyway.
pub fn check_env_name(name: &str) -> std::result::Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(is_plain) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!("`{name}` is no name of an environment variable: letters, digits and _"));
    }
    if name.starts_with("AFN_") || name.starts_with("FN_") {
        return Err(format!("`{name}` belongs to afn, like all names that begin with AFN_ or FN_"));
    }
    Ok(())
}

/// Indexes in ascending order, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexRange(Vec<Run>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first: u64,
    last: u64,
    step: u64,
}

text_json!(IndexRange);

/// Parts between commas.
const RUNS_MAX: usize = 1_000;
const INDEX_MAX: u64 = NUMBER_MAX;

impl Run {
    fn count(&self) -> u64 {
        (self.last - self.first) / self.step + 1
    }
}

impl IndexRange {
    pub fn count(&self) -> u64 {
        self.0.iter().map(Run::count).sum()
    }

    /// The index at a place, from 0.
    pub fn at(&self, mut place: u64) -> Option<u64> {
        for run in &self.0 {
            if place < run.count() {
                return Some(run.first + place * run.step);
            }
            place -= run.count();
        }
        None
    }

    /// The place of an index, from 0.
    pub fn place(&self, index: u64) -> Option<u64> {
        let mut before = 0;
        for run in &self.0 {
            if (run.first..=run.last).contains(&index) && (index - run.first).is_multiple_of(run.step) {
                return Some(before + (index - run.first) / run.step);
            }
            before += run.count();
        }
        None
    }
}

impl fmt::Display for IndexRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Run { first, last, step }) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match (first == last, step) {
                (true, _) => write!(f, "{comma}{first}")?,
                (false, 1) => write!(f, "{comma}{first}-{last}")?,
                (false, step) => write!(f, "{comma}{first}-{last}:{step}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for IndexRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<IndexRange> {
        let bad = |why: &str| {
            Error::invalid(format!("`{text}` is no range of indexes: {why}"))
                .with_hint("write it like 0-9999, 1-99:2 (every second) or 0,5,10-12")
        };
        if let Some((range, at_once)) = text.split_once('%') {
            return Err(Error::invalid(format!("`{text}` says how many run at once"))
                .with_hint(format!("write `--array {range} --max-concurrency {at_once}`")));
        }
        let mut runs: Vec<Run> = Vec::new();
        for part in text.split(',') {
            let run = Run::parse(part).ok_or_else(|| bad(&format!("`{part}` is no index and no range")))?;
            if run.last < run.first || run.step == 0 {
                return Err(bad(&format!("`{part}` is empty")));
            }
            if run.last > INDEX_MAX {
                return Err(bad(&format!("the largest index is {INDEX_MAX}")));
            }
            if runs.last().is_some_and(|before| before.last >= run.first) {
                return Err(bad(&format!("`{part}` does not lie behind what is before it")));
            }
            if runs.len() == RUNS_MAX {
                return Err(bad(&format!("it has more than {RUNS_MAX} parts")));
            }
            runs.push(run);
        }
        let range = IndexRange(runs);
        match range.count() {
            count if count > NUMBER_MAX => Err(bad(&format!("it has more than {NUMBER_MAX} indexes"))),
            _ => Ok(range),
        }
    }
}

impl Run {
    fn parse(part: &str) -> Option<Run> {
        // `parse` takes a sign too.
        let number =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let (range, step) = match part.split_once(':') {
            Some((range, step)) => (range, number(step)?),
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(range)?, number(range)?),
        };
        // The last index is one that a step comes to.
        let is_ascending = first <= last && step > 0;
        let last = if is_ascending { last - (last - first) % step } else { last };
        let step = if first == last { step.min(1) } else { step };
        Some(Run { first, last, step })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(range: &IndexRange) -> Vec<u64> {
        (0..range.count()).map(|place| range.at(place).unwrap()).collect()
    }

    #[test]
    fn ranges_as_schedulers_have_them() {
        for (text, indexes, shown) in [
            ("0-3", vec![0, 1, 2, 3], "0-3"),
            ("7", vec![7], "7"),
            ("1-6:2", vec![1, 3, 5], "1-5:2"),
            ("0,5,10-12", vec![0, 5, 10, 11, 12], "0,5,10-12"),
        ] {
            let range: IndexRange = text.parse().unwrap();
            assert_eq!((all(&range), range.to_string().as_str()), (indexes, shown));
        }
        for text in [
            "",
            "-",
            "3-1",
            "1-",
            "a",
            "1,1",
            "5,1-3",
            "1-5:0",
            "+1",
            "0-9%2",
            "0-9999999999999",
            "1,,2",
            " 1",
        ] {
            assert!(text.parse::<IndexRange>().is_err(), "{text}");
        }
        let limited = "0-9%2".parse::<IndexRange>().unwrap_err();
        assert_eq!(limited.hint_text(), Some("write `--array 0-9 --max-concurrency 2`"));
    }

    #[test]
    fn a_variable_has_a_plain_name_that_is_not_ours() {
        assert!(check_env_name("SLURM_ARRAY_TASK_ID").is_ok());
        for name in ["", "1A", "A=B", "A B", "AFN_NUMBER", "FN_CALL_ID"] {
            assert!(check_env_name(name).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn places_and_indexes_are_each_others(gaps in proptest::collection::vec((1u64..50, 0u64..40, 1u64..9), 1..6)) {
            let mut next = 0;
            let parts: Vec<String> = gaps.iter().map(|(gap, width, step)| {
                let first = next + gap;
                next = first + width;
                format!("{first}-{next}:{step}")
            }).collect();
            let range: IndexRange = parts.join(",").parse().unwrap();
            let indexes = all(&range);
            prop_assert!(indexes.windows(2).all(|two| two[0] < two[1]));
            for index in 0..=next + 1 {
                prop_assert_eq!(range.place(index), indexes.iter().position(|other| *other == index).map(|at| at as u64));
            }
            prop_assert_eq!(range.at(range.count()), None);
            prop_assert_eq!(range.to_string().parse::<IndexRange>().unwrap(), range);
        }
    }
}
