//! Processes on one SQLite file, killed at random points by the hundred: nothing is lost, torn or doubled. Seeds are
//! printed and can be given again (`AFN_CRASH_SEED`); how many kills, `AFN_CRASH_KILLS` says.

use crate::support::{child, sound};

pub mod audit;
pub mod figures;

mod file;
mod storm;

/// Kills of one test, unless the environment says otherwise.
const KILLS: u64 = 120;

fn kills() -> u64 {
    figures::number("AFN_CRASH_KILLS").unwrap_or(KILLS)
}
