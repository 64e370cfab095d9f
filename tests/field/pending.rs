//! Calls of a batch that wait for their retry: each is run once more when its time has come, by one worker, whatever becomes
//! of the range that it was in.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use afn::executor::scripted::Act;
use afn::model::{BatchId, State};

use super::script::{Execution, Script, answers, fails, falls_sick, mismatches, ms, s};
use super::world::{Running, World, count};

/// Calls 2 to 9 fail at first, and wait a minute.
const WAITING: std::ops::Range<u64> = 2..10;
const CALLS: u64 = 10;
const BACKOFF: Duration = s(60);

/// The first and the last call take long; those between fail the first time.
fn script() -> Script {
    Script::new(|execution: &Execution| match execution.number {
        1 | CALLS => answers(s(100)),
        _ if execution.attempt == 1 => fails(),
        _ => answers(ms(100)),
    })
}

/// The same, but the last call meets a trouble when it is begun first.
fn script_with(trouble: fn() -> Act) -> Script {
    let (script, first) = (script(), AtomicBool::new(true));
    Script::new(move |execution: &Execution| match execution.number {
        CALLS if first.swap(false, Relaxed) => trouble(),
        _ => script.act(execution),
    })
}

/// Each waiting call ran twice in all, and not before its time; all calls succeeded.
async fn each_ran_twice(world: &World, batch: BatchId) {
    assert!(world.over(batch, s(3_600)).await.is_some(), "not over");
    let executions = world.executions();
    for number in WAITING {
        let its: Vec<(u32, Duration)> = executions
            .iter()
            .filter(|execution| execution.number == number)
            .map(|execution| (execution.attempt, execution.at))
            .collect();
        let attempts: Vec<u32> = its.iter().map(|(attempt, _)| *attempt).collect();
        assert_eq!(attempts, [1, 2], "call {number}: {its:?}");
        assert!(its[1].1 - its[0].1 >= BACKOFF, "call {number} ran before its time: {its:?}");
        // Some time to be noticed; not a lease, an hour or a reconciler.
        assert!(its[1].1 - its[0].1 < 4 * BACKOFF, "call {number} waited too long: {its:?}");
    }
    let rows = world.rows(batch).await;
    assert_eq!(count(&rows, State::Success) as u64, CALLS);
    assert!(rows.iter().all(|row| row.attempts == 1 + u32::from(WAITING.contains(&row.number))), "{rows:?}");
}

async fn begun() -> (World, BatchId, Running, Script) {
    let world = World::new();
    world.publish(5, BACKOFF, s(300)).await;
    let script = script();
    let mut config = world.config("w1", 2);
    config.grace = s(1);
    let first = world.start_with(config, |_| true, &script);
    let batch = world.batch(CALLS, CALLS).await;
    tokio::time::sleep(s(20)).await;
    (world, batch, first, script)
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_leaves_them_where_they_wait() {
    let (world, batch, first, script) = begun().await;
    first.drain().await;
    let _second = world.start("w2", 4, &script);
    each_ran_twice(&world, batch).await;
}

#[tokio::test(start_paused = true)]
async fn two_hand_overs_leave_them_where_they_wait() {
    let (world, batch, first, script) = begun().await;
    first.drain().await;
    let mut config = world.config("w2", 2);
    config.grace = s(1);
    let second = world.start_with(config, |_| true, &script);
    tokio::time::sleep(s(10)).await;
    second.drain().await;
    let _third = world.start("w3", 4, &script);
    each_ran_twice(&world, batch).await;
}

/// Nobody works when their time comes; whoever works next runs each once.
#[tokio::test(start_paused = true)]
async fn workers_that_come_late_run_each_once() {
    let (world, batch, first, script) = begun().await;
    first.drain().await;
    tokio::time::sleep(s(120)).await;
    let _workers = [world.start("w2", 2, &script), world.start("w3", 2, &script)];
    assert!(world.over(batch, s(3_600)).await.is_some(), "not over");
    for number in WAITING {
        assert_eq!(world.attempts(batch.call(number)), [1, 2], "call {number}");
    }
    assert_eq!(count(&world.rows(batch).await, State::Success) as u64, CALLS);
}

#[tokio::test(start_paused = true)]
async fn a_mismatch_midway_leaves_them_where_they_wait() {
    let world = World::new();
    world.publish(5, BACKOFF, s(300)).await;
    let _worker = world.start("w1", 2, &script_with(mismatches));
    let batch = world.batch(CALLS, CALLS).await;
    each_ran_twice(&world, batch).await;
}

#[tokio::test(start_paused = true)]
async fn a_sick_worker_leaves_them_where_they_wait() {
    let world = World::new();
    world.publish(5, BACKOFF, s(300)).await;
    let _worker = world.start("w1", 2, &script_with(falls_sick));
    let batch = world.batch(CALLS, CALLS).await;
    each_ran_twice(&world, batch).await;
}

/// The worker dies while they wait: its range comes back, and they stay where they wait.
#[tokio::test(start_paused = true)]
async fn a_lost_worker_leaves_them_where_they_wait() {
    let (world, batch, first, script) = begun().await;
    // Their failures were recorded in the last part of the log.
    tokio::time::sleep(s(15)).await;
    first.kill().await;
    let _second = world.start("w2", 4, &script);
    each_ran_twice(&world, batch).await;
}

/// Several workers look after one batch: each retry is the work of one.
#[tokio::test(start_paused = true)]
async fn a_fleet_runs_each_once() {
    let world = World::new();
    world.publish(5, BACKOFF, s(300)).await;
    let script = script();
    let _workers: Vec<Running> = (0..4).map(|n| world.start(&format!("w{n}"), 2, &script)).collect();
    let batch = world.batch(CALLS, CALLS).await;
    each_ran_twice(&world, batch).await;
}
