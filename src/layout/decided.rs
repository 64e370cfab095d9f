//! The map of what is decided: runs of numbers, each with the part of the log that decides them. What a lease remembers
//! of every part below its position (H1), what a footer says, what a lookup asks. Persisted as `[[first,last,part],…]`,
//! keep stable.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::runs::{Run, Runs};

/// Runs do not overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Runs<u64>", into = "Runs<u64>")]
pub struct Decided {
    /// By first number: last number, part.
    runs: BTreeMap<u64, (u64, u64)>,
}

impl From<Runs<u64>> for Decided {
    fn from(runs: Runs<u64>) -> Decided {
        Decided { runs: runs.iter().map(|run| (run.first, (run.last, run.value))).collect() }
    }
}

impl From<Decided> for Runs<u64> {
    fn from(decided: Decided) -> Runs<u64> {
        Runs::new(decided.runs().map(|(first, last, value)| Run { first, last, value }))
    }
}

impl Decided {
    /// The part that decides a number.
    pub fn part(&self, number: u64) -> Option<u64> {
        let (_, (last, part)) = self.runs.range(..=number).next_back()?;
        (number <= *last).then_some(*part)
    }

    pub fn contains(&self, number: u64) -> bool {
        self.part(number).is_some()
    }

    /// A number is decided once: one that is there already keeps its part.
    pub fn insert(&mut self, number: u64, part: u64) {
        if self.contains(number) {
            return;
        }
        let (mut first, mut last) = (number, number);
        if let Some((&before, &(end, its))) = self.runs.range(..number).next_back()
            && end + 1 == number
            && its == part
        {
            first = before;
        }
        if let Some(&(end, its)) = self.runs.get(&(number + 1))
            && its == part
        {
            self.runs.remove(&(number + 1));
            last = end;
        }
        self.runs.insert(first, (last, part));
    }

    /// How many numbers are decided.
    pub fn len(&self) -> u64 {
        self.runs.iter().map(|(first, (last, _))| last - first + 1).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The least number that is decided, and the greatest.
    pub fn ends(&self) -> Option<(u64, u64)> {
        let (first, _) = self.runs.first_key_value()?;
        let (_, (last, _)) = self.runs.last_key_value()?;
        Some((*first, *last))
    }

    /// The numbers of a range that are not decided, in order.
    pub fn open(&self, range: RangeInclusive<u64>) -> impl Iterator<Item = u64> + '_ {
        range.filter(|number| !self.contains(*number))
    }

    pub fn covers(&self, range: RangeInclusive<u64>) -> bool {
        let mut next = *range.start();
        while next <= *range.end() {
            match self.runs.range(..=next).next_back() {
                Some((_, (last, _))) if *last >= next => next = last + 1,
                _ => return false,
            }
        }
        true
    }

    /// Runs as they are: first number, last number, part.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.runs.iter().map(|(first, (last, part))| (*first, *last, *part))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_map_from_number_to_first_part(entries in proptest::collection::vec((1u64..60, 0u64..4), 0..80)) {
            let mut decided = Decided::default();
            let mut model = BTreeMap::new();
            for (number, part) in entries {
                decided.insert(number, part);
                model.entry(number).or_insert(part);
            }
            for number in 0..62 {
                prop_assert_eq!(decided.part(number), model.get(&number).copied());
            }
            prop_assert_eq!(decided.len(), model.len() as u64);
            let open: Vec<u64> = decided.open(1..=59).collect();
            prop_assert!(open.iter().all(|number| !model.contains_key(number)));
            prop_assert_eq!(open.len() + model.len(), 59);
            prop_assert_eq!(decided.covers(1..=59), open.is_empty());
            let again: Decided = serde_json::from_str(&serde_json::to_string(&decided).unwrap()).unwrap();
            prop_assert_eq!(again, decided);
        }
    }

    /// The first of these was an endless loop in every reader.
    #[test]
    fn what_is_out_of_order_or_range_is_refused() {
        for text in [
            "[[0,18446744073709551615,0]]",
            "[[0,1,0]]",
            "[[2,1,0]]",
            "[[1,3,0],[3,4,1]]",
            "[[5,6,0],[1,2,0]]",
            "[[1,1099511627776,0]]",
        ] {
            assert!(serde_json::from_str::<Decided>(text).is_err(), "{text}");
        }
    }
}
