//! What must be true of the world, by the numbered invariants of ARCHITECTURE.md; told apart from what is done to it.

pub mod attempts;
pub mod batches;
pub mod calls;
pub mod evidence;

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invariant {
    WrittenOnce,
    OneOutcome,
    NothingLost,
    Truthful,
    Bounded,
    NothingGoesEarly,
    /// Of a batch never more runs at once than its limit, and nothing begins while it is paused.
    Limited,
    Liveness,
}

impl Invariant {
    pub fn broken(self, what: impl Into<String>) -> Violation {
        Violation { invariant: self, what: what.into() }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Invariant::WrittenOnce => "1 facts are written once",
            Invariant::OneOutcome => "3 one outcome",
            Invariant::NothingLost => "4 nothing is lost",
            Invariant::Truthful => "5 outcomes are true",
            Invariant::Bounded => "6 sent within bounds",
            Invariant::NothingGoesEarly => "3 nothing goes early",
            Invariant::Limited => "8 limits hold",
            Invariant::Liveness => "all comes to an end",
        })
    }
}

#[derive(Debug, Clone)]
pub struct Violation {
    pub invariant: Invariant,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

pub type Verdict = Result<(), Violation>;
