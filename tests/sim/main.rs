//! Deterministic simulation: the production submitter, workers, canceller and reconciler against a store and queues on
//! bad days, under virtual time. A failing seed prints how to run it again:
//!
//! ```sh
//! AFN_SIM_SEED=17 cargo test --test sim -- one_seed --nocapture
//! ```

mod batches;
mod checkers;
mod draining;
mod keys;
mod sharing;
mod workload;
mod world;

use std::sync::Arc;
use std::time::Duration;

use afn::model::Digest;
use afn::seam::rng::SeededRng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use workload::{Plan, Stage};
use world::World;

/// How long the bad day lasts.
const TROUBLE: Duration = Duration::from_secs(300);
/// Within this after it everything that is owed must be done: two hours until the reconciler may send again, and what
/// a call that kills its worker needs to be condemned.
const HEALED: Duration = Duration::from_secs(6 * 3600);
/// Within this after that the queue must be dry.
const DRY: Duration = Duration::from_secs(2 * 3600);

struct Report {
    fingerprint: Digest,
    lines: Vec<String>,
    verdict: Result<(), String>,
    injected: u64,
    killed: u64,
}

fn run(seed: u64, reconcile: bool) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime can be built").block_on(async {
        let plan = Plan::draw(&SeededRng::new(seed), reconcile);
        let world = Arc::new(World::new(seed, plan.rates));
        let stage = Stage::set(world.clone(), plan).await;
        let mut killed = 0;
        let verdict = play(&stage, &mut killed).await;
        Report {
            fingerprint: world.journal.fingerprint(),
            lines: world.journal.lines(),
            verdict,
            injected: world.injected().values().sum(),
            killed,
        }
    })
}

async fn play(stage: &Stage, killed: &mut u64) -> Result<(), String> {
    let mut machines = JoinSet::new();
    let mut orders = Vec::new();
    for index in 0..stage.plan.workers {
        let (order, taken) = mpsc::unbounded_channel();
        machines.spawn(stage.clone().machine(index, taken));
        orders.push(order);
    }
    let mut people = JoinSet::new();
    for index in 0..stage.plan.calls.len() {
        people.spawn(stage.clone().caller(index));
    }
    for index in 0..stage.plan.batches.len() {
        people.spawn(stage.clone().batcher(index));
    }
    people.spawn(stage.clone().trouble(orders.clone()));

    // Safety, while everything goes wrong.
    let mut seen = checkers::look(stage).await;
    let mut read = batches::Read::default();
    while stage.world.clock_elapsed() < TROUBLE || !people.is_empty() {
        tokio::time::sleep(Duration::from_secs(7)).await;
        while let Some(ended) = people.try_join_next() {
            ended.map_err(|error| format!("a caller panicked: {error}"))?;
        }
        let now = checkers::look(stage).await;
        checkers::unchanged(&seen, &now)?;
        seen = now;
        batches::look(stage, &mut read).await?;
        if stage.world.clock_elapsed() > 2 * HEALED {
            return Err("callers do not come to an end".to_owned());
        }
    }

    // Liveness, once it is over.
    stage.world.heal();
    let healed = stage.world.clock_elapsed();
    loop {
        let now = checkers::look(stage).await;
        checkers::unchanged(&seen, &now)?;
        seen = now;
        batches::look(stage, &mut read).await?;
        let owed = checkers::owed(stage, &seen);
        let owed_batches = batches::owed(stage, &read);
        if owed.is_empty() && owed_batches.is_empty() {
            break;
        }
        if stage.world.clock_elapsed() > healed + HEALED {
            return Err(format!("no outcome, long after everything was healed: {owed:?} {owed_batches:?}"));
        }
        tokio::time::sleep(Duration::from_secs(61)).await;
    }
    checkers::truthful(stage, &seen).await?;
    batches::truthful(stage, &read)?;
    let done = stage.world.clock_elapsed();
    while !stage.world.is_dry().await {
        if stage.world.clock_elapsed() > done + DRY {
            return Err("messages without work stay on the queues".to_owned());
        }
        tokio::time::sleep(Duration::from_secs(61)).await;
    }
    if stage.world.dead().await.visible > 0 {
        return Err("a good message was dead-lettered".to_owned());
    }
    let end = checkers::look(stage).await;
    checkers::unchanged(&seen, &end)?;
    checkers::truthful(stage, &end).await?;
    batches::look(stage, &mut read).await?;
    batches::truthful(stage, &read)?;
    *killed =
        end.outcomes.values().filter(|outcome| outcome.status == afn::model::State::Killed).count() as u64;
    Ok(())
}

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
        Err(_) => default,
    }
}

fn fail(seed: u64, reconcile: bool, report: &Report) -> ! {
    let why = report.verdict.as_ref().expect_err("only failures are printed");
    panic!(
        "seed {seed}, reconciler {}: {why}\nagain: AFN_SIM_SEED={seed} cargo test --test sim -- one_seed --nocapture",
        if reconcile { "on" } else { "off" }
    );
}

/// Before any verdict counts: the same seed is the same run.
#[test]
fn a_seed_is_one_run() {
    for seed in 0..20 {
        let (first, second) = (run(seed, true), run(seed, true));
        if first.fingerprint != second.fingerprint {
            let at = first.lines.iter().zip(&second.lines).position(|(one, other)| one != other);
            let at = at.unwrap_or(first.lines.len().min(second.lines.len()));
            panic!(
                "seed {seed} ran differently from line {at}: {:?} / {:?}",
                first.lines.get(at),
                second.lines.get(at)
            );
        }
    }
}

/// `AFN_SIM_FROM` and `AFN_SIM_SEEDS` choose others, or more of them for a night.
#[test]
fn no_call_is_lost_and_none_has_two_outcomes() {
    let (from, seeds) = (number("AFN_SIM_FROM", 1_000), number("AFN_SIM_SEEDS", 400));
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let totals: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..threads)
            .map(|lane| {
                scope.spawn(move || {
                    let (mut injected, mut killed) = (0, 0);
                    for seed in (from..from + seeds).filter(|seed| seed % threads == lane) {
                        for reconcile in [true, false] {
                            let report = run(seed, reconcile);
                            if report.verdict.is_err() {
                                fail(seed, reconcile, &report);
                            }
                            injected += report.injected;
                            killed += report.killed;
                        }
                    }
                    (injected, killed)
                })
            })
            .collect();
        lanes
            .into_iter()
            .map(|lane| lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let injected: u64 = totals.iter().map(|total| total.0).sum();
    let killed: u64 = totals.iter().map(|total| total.1).sum();
    println!(
        "{seeds} seeds, each with the reconciler on and off: {injected} faults, {killed} calls condemned"
    );
    // Runs that meet no fault prove nothing.
    assert!(injected > seeds, "only {injected} faults in {seeds} seeds");
    assert!(killed > 0, "no call that kills its worker was ever condemned");
}

/// Runs `AFN_SIM_SEED` (0 unless set) and shows all that happened if it fails.
#[test]
fn one_seed() {
    let seed = number("AFN_SIM_SEED", 0);
    for reconcile in [true, false] {
        let report = run(seed, reconcile);
        if report.verdict.is_err() {
            for line in &report.lines {
                println!("{line}");
            }
            fail(seed, reconcile, &report);
        }
    }
}
