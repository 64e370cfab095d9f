//! The simulator is tested itself: bugs are put back into the engine, one at a time, and every one must be found within
//! the seeds of one run of `tests/sim`, by the checkers that find nothing there without it.
//!
//! ```sh
//! cargo test --features planted --test sim planted:: -- --nocapture
//! AFN_PLANTED=FiredByEveryone AFN_SIM_SEED=1004 cargo test --features planted --test sim planted::one_day -- --nocapture
//! ```

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use afn::planted::{Bug, plant};
use afn::seam::rng::SeededRng;

use super::number;
use super::play::plan::{BatchPlan, Plan, Way, attempts_max};
use super::play::{Journal, Report, SEEDS, SEEDS_FROM, day};

/// What came of the search for one bug.
struct Search {
    bug: Bug,
    /// With a seed, whether things were sent again by themselves, and what was wrong then.
    found: Option<(u64, bool, Report)>,
    days: u64,
    took: Duration,
}

/// All bugs, or those of which `AFN_PLANTED` names a part.
fn bugs() -> Vec<Bug> {
    let wanted = std::env::var("AFN_PLANTED").unwrap_or_default();
    Bug::ALL.iter().copied().filter(|bug| format!("{bug:?}").contains(&wanted)).collect()
}

/// Whether there is on such a day what the bug needs. Other days are not played.
fn may_show(bug: Bug, plan: &Plan) -> bool {
    let retries = |batch: &BatchPlan| {
        let fails_first = batch.ways.iter().any(|way| matches!(way, Way::FailsFirst(_)));
        fails_first && attempts_max(batch.function) > 1
    };
    let is_dispatched = |batch: &BatchPlan| batch.chunking.first_calls < batch.ways.len() as u64;
    let is_limited = plan.workers > 1 && plan.batches.iter().any(|batch| batch.limit.is_some());
    match bug {
        Bug::KeyHitReturnsId | Bug::AttemptKeyWithoutMessage => !plan.calls.is_empty(),
        Bug::AmbiguousSplitBelieved => plan.rates.lose_reply > 0 && !plan.batches.is_empty(),
        Bug::PendingRunsFromAnyMessage | Bug::PendingOverDecided | Bug::HistoryReset => {
            plan.batches.iter().any(retries)
        }
        Bug::ShareIgnored | Bug::RefusedShareBelieved => is_limited,
        Bug::UnsuitedKeepsShare => {
            plan.batches.iter().any(|batch| batch.limit == Some(1) && batch.ways[0] == Way::Elsewhere)
        }
        Bug::SendsBeforeReserving
        | Bug::ReservedTakenForSent
        | Bug::UncertainTakenForUnsent
        | Bug::SupersededSendsOn
        | Bug::MissingChunkPassed => plan.batches.iter().any(is_dispatched),
        // Its worker was cut off when it sent.
        Bug::AmbiguousSendBelieved => plan.disturbances > 0 && plan.batches.iter().any(is_dispatched),
        Bug::LapsedShareUsed => is_limited && plan.disturbances > 2,
        Bug::LifecycleWithoutTombstone | Bug::StatusBeforeTheRest | Bug::TombstonesEarly => plan.weeks_later,
        Bug::TwoSuspectsAtOnce => plan.only_killers && plan.slots > 1,
        _ => true,
    }
}

fn search(bug: Bug, seeds: u64) -> Search {
    plant(Some(bug));
    let began = tokio::time::Instant::now();
    let mut days = 0;
    let mut found = None;
    'seeds: for seed in SEEDS_FROM..SEEDS_FROM + seeds {
        if !may_show(bug, &Plan::draw(&SeededRng::new(seed), true)) {
            continue;
        }
        for resend in [true, false] {
            days += 1;
            let report = day(seed, resend, Journal::default());
            if report.verdict.is_err() {
                found = Some((seed, resend, report));
                break 'seeds;
            }
        }
    }
    plant(None);
    Search { bug, found, days, took: began.elapsed() }
}

/// One line of the table.
fn row(search: &Search) -> String {
    let Search { bug, found, days, took } = search;
    let name = format!("{:<4} {}", bug.hole(), bug.name());
    let Some((seed, resend, report)) = found else {
        return format!("{name:<37} not found in {days} days {took:>6.1?}");
    };
    let checker = report.verdict.as_ref().expect_err("it was found").invariant.to_string();
    let by_itself = if *resend { "on" } else { "off" };
    format!("{name:<37} {checker:<24} {:>5}  {by_itself:<3} {took:>8.1?}", seed + 1 - SEEDS_FROM)
}

#[test]
fn every_planted_bug_is_found() {
    let bugs = bugs();
    assert!(!bugs.is_empty(), "AFN_PLANTED names no bug");
    let seeds = number("AFN_SIM_SEEDS", SEEDS);
    let next = AtomicUsize::new(0);
    let searches = Mutex::new(Vec::new());
    let lane = || {
        while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let search = search(*bug, seeds);
            println!("{}", row(&search));
            if let Some((_, _, report)) = &search.found {
                println!("     {:.300}", report.verdict.as_ref().expect_err("it was found").to_string());
            }
            searches.lock().expect("no holder panics").push(search);
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let lanes: Vec<_> = (0..threads).map(|_| scope.spawn(lane)).collect();
        for lane in lanes {
            lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    let mut searches = searches.into_inner().expect("no holder panics");
    searches.sort_by_key(|search| Bug::ALL.iter().position(|bug| *bug == search.bug));
    println!("\n{:<37} {:<24} {:>5}  by itself", "planted", "found by", "seeds");
    for search in &searches {
        println!("{}", row(search));
    }
    let missed: Vec<&str> =
        searches.iter().filter(|search| search.found.is_none()).map(|search| search.bug.name()).collect();
    assert!(missed.is_empty(), "not found within {seeds} seeds: {missed:?}");
}

/// With nothing planted this is the simulator of `tests/sim`, day by day.
#[test]
fn without_a_bug_nothing_is_found() {
    plant(None);
    for seed in SEEDS_FROM..SEEDS_FROM + 40 {
        for resend in [true, false] {
            let report = day(seed, resend, Journal::default());
            assert!(report.verdict.is_ok(), "seed {seed}: {}", report.verdict.expect_err("it is none"));
        }
    }
}

/// Shows the day of `AFN_SIM_SEED` with the bug that `AFN_PLANTED` names.
#[test]
fn one_day() {
    let Ok(seed) = std::env::var("AFN_SIM_SEED") else { return };
    let seed = seed.parse().expect("AFN_SIM_SEED is a number");
    plant(bugs().first().copied());
    for resend in [true, false] {
        let report = day(seed, resend, Journal::new(true));
        for line in &report.lines {
            println!("{line}");
        }
        let Report { injected, condemned, verdict, .. } = &report;
        println!(
            "seed {seed}, sending again by itself {resend}: {injected} faults, {condemned} calls condemned"
        );
        println!("{verdict:?}, {}", report.fingerprint());
    }
}
