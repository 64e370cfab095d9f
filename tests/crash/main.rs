//! Processes on one SQLite file, killed at random points by the hundred: nothing is lost, torn or doubled. Seeds are
//! printed and can be given again (`AFN_CRASH_SEED`); how many kills, `AFN_CRASH_KILLS` says.

mod audit;
#[expect(dead_code, reason = "shared with the conformance suite, which uses all of it")]
#[path = "../conformance/child.rs"]
mod child;
mod figures;
#[path = "../conformance/sound.rs"]
mod sound;
#[expect(dead_code, reason = "shared with the tests of the command line, which use all of it")]
#[path = "../cli/world.rs"]
mod world;

mod file;
mod storm;

/// Kills of one test, unless the environment says otherwise.
const KILLS: u64 = 120;

fn kills() -> u64 {
    figures::number("AFN_CRASH_KILLS").unwrap_or(KILLS)
}
