//! Deterministic simulation: the production submitters, workers, supervisors, reconciler and deletion against a store and
//! queues on bad days, under virtual time. A failing seed prints how to run it again:
//!
//! ```sh
//! AFN_SIM_SEED=17 cargo test --test sim -- one_seed --nocapture
//! ```

mod calm;
mod draining;
mod keys;
#[cfg(feature = "planted")]
mod planted;
mod play;
mod sharing;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use play::{Journal, Report, SEEDS, SEEDS_FROM, day};

/// So many are told of before a run stops.
const COMPLAINTS_MAX: usize = 10;

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
        Err(_) => default,
    }
}

/// What is wrong with a day, and how to see it again.
fn complaint(seed: u64, resend: bool, report: &Report) -> Option<String> {
    let why = report.verdict.as_ref().err()?;
    let by_itself = if resend { "on" } else { "off" };
    let again = format!("AFN_SIM_SEED={seed} cargo test --test sim -- one_seed --nocapture");
    Some(format!("seed {seed}, sending again by itself {by_itself}: {why}\nagain: {again}\n"))
}

/// Before any verdict counts: the same seed is the same day.
#[test]
fn a_seed_is_one_day() {
    for seed in 0..20 {
        let [first, second] = [(); 2].map(|()| day(seed, seed % 2 == 0, Journal::new(true)));
        if first.fingerprint() != second.fingerprint() {
            let at = first.lines.iter().zip(&second.lines).position(|(one, other)| one != other);
            let at = at.unwrap_or(first.lines.len().min(second.lines.len()));
            let (first, second) = (first.lines.get(at), second.lines.get(at));
            panic!("seed {seed} went another way from line {at} on: {first:?} / {second:?}");
        }
        println!("seed {seed}: {}", first.fingerprint());
    }
}

/// `AFN_SIM_FROM` and `AFN_SIM_SEEDS` choose others, or more of them for a night.
#[test]
fn no_call_is_lost_and_none_has_two_outcomes() {
    let (from, seeds) = (number("AFN_SIM_FROM", SEEDS_FROM), number("AFN_SIM_SEEDS", SEEDS));
    let (next, injected, condemned) = (AtomicU64::new(from), AtomicU64::new(0), AtomicU64::new(0));
    let complaints = Mutex::new(Vec::new());
    let slowest = Mutex::new((Duration::ZERO, from));
    let began = tokio::time::Instant::now();
    let lane = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + seeds || complaints.lock().expect("no holder panics").len() >= COMPLAINTS_MAX {
                return;
            }
            for resend in [true, false] {
                let began = tokio::time::Instant::now();
                let report = day(seed, resend, Journal::default());
                if let Some(complaint) = complaint(seed, resend, &report) {
                    println!("{complaint}");
                    complaints.lock().expect("no holder panics").push(complaint);
                }
                injected.fetch_add(report.injected, Ordering::Relaxed);
                condemned.fetch_add(report.condemned, Ordering::Relaxed);
                let mut slowest = slowest.lock().expect("no holder panics");
                *slowest = (*slowest).max((began.elapsed(), seed));
            }
            if (seed + 1 - from).is_multiple_of(1_000) {
                println!("{} seeds", seed + 1 - from);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let lanes: Vec<_> = (0..threads).map(|_| scope.spawn(lane)).collect();
        for lane in lanes {
            lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    let (injected, condemned) = (injected.into_inner(), condemned.into_inner());
    println!(
        "{seeds} seeds, each with and without sending again by itself: {injected} faults, {condemned} calls condemned, {:.1} s",
        began.elapsed().as_secs_f64()
    );
    let (took, seed) = slowest.into_inner().expect("no holder panics");
    println!("the slowest day, of seed {seed}, took {:.1} s", took.as_secs_f64());
    let complaints = complaints.into_inner().expect("no holder panics");
    assert!(complaints.is_empty(), "{}", complaints.concat());
    // Days on which nothing happens prove nothing.
    assert!(injected > seeds, "only {injected} faults in {seeds} seeds");
    assert!(condemned > 0, "no call that kills its worker was ever condemned");
}

/// Runs `AFN_SIM_SEED` (0 unless set) and shows all that happened if it fails.
#[test]
fn one_seed() {
    let seed = number("AFN_SIM_SEED", 0);
    for resend in [true, false] {
        let report = day(seed, resend, Journal::new(true));
        if report.verdict.is_err() {
            for line in &report.lines {
                println!("{line}");
            }
        }
        if let Some(complaint) = complaint(seed, resend, &report) {
            panic!("{complaint}");
        }
    }
}
