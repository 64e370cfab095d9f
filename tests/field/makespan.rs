//! How long batches take against the ideal, which is the total run time over the slots that live. Each test prints its
//! figure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use afn::executor::scripted::Act;
use afn::model::{BatchId, CallId, State};
use afn::submit::cancel_batch::cancel;

use super::script::{Execution, Script, answers, falls_sick, h, ms, s};
use super::world::{Running, World, count};

fn fleet(world: &World, workers: usize, slots: usize, script: &Script) -> Vec<Running> {
    (0..workers).map(|n| world.start(&format!("w{n}"), slots, script)).collect()
}

async fn world() -> World {
    let world = World::new();
    world.publish(1, s(1), h(5)).await;
    world
}

/// What a batch took against its ideal.
async fn ratio(world: &World, what: &str, batch: BatchId, ideal: Duration) -> f64 {
    let (begun, before) = (world.elapsed(), world.counts.snapshot());
    world.over(batch, 20 * ideal).await.expect("over");
    let took = world.elapsed() - begun;
    let ratio = took.as_secs_f64() / ideal.as_secs_f64();
    let (parts, spent) = (world.parts(batch).await, world.spent(before));
    let executions = world.executions().len();
    println!(
        "{what}: {ratio:.3} × the ideal of {ideal:?}; {parts} parts, {executions} executions, {spent:?}"
    );
    ratio
}

async fn makespan(workers: usize, slots: usize, calls: u64, each: Duration) -> f64 {
    let world = world().await;
    let _fleet = fleet(&world, workers, slots, &Script::always(answers(each)));
    // All of them poll.
    tokio::time::sleep(ms(10)).await;
    let batch = world.batch(calls, 0).await;
    let ideal = each * (calls as u32).div_ceil((workers * slots) as u32);
    let what = format!("{calls} calls of {each:?} on {workers} workers of {slots} slots");
    ratio(&world, &what, batch, ideal).await
}

#[tokio::test(start_paused = true)]
async fn calls_of_an_hour_use_every_slot() {
    for (workers, slots) in [(64, 1), (4, 16)] {
        let ratio = makespan(workers, slots, 64, h(1)).await;
        assert!(ratio <= 1.05, "{workers} × {slots}: {ratio}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_of_ten_minutes_use_every_slot() {
    for (workers, slots) in [(250, 1), (16, 4)] {
        let ratio = makespan(workers, slots, 1_000, s(600)).await;
        assert!(ratio <= 1.1, "{workers} × {slots}: {ratio}");
    }
}

#[tokio::test(start_paused = true)]
async fn short_calls_end_together() {
    for (calls, each, most) in [(1_000, ms(100), 1.2), (1_000, s(1), 1.06)] {
        let ratio = makespan(4, 4, calls, each).await;
        assert!(ratio <= most, "{each:?}: {ratio}");
    }
}

/// Workers that come late: how long until each begins its first call.
#[tokio::test(start_paused = true)]
async fn a_fleet_that_grows_is_used() {
    for (slots, each, chunk) in [(4, s(60), 2_000), (4, s(60), 500), (1, s(600), 64)] {
        let world = world().await;
        let script = Script::always(answers(each));
        let _first = world.start("first", slots, &script);
        world.batch(2_000, chunk).await;
        tokio::time::sleep(s(1_800)).await;
        let joined = world.elapsed();
        let _late = fleet(&world, 40, slots, &script);
        tokio::time::sleep(s(1_200)).await;
        let executions = world.executions();
        let first = |n: usize| {
            let name = format!("w{n}");
            executions
                .iter()
                .find(|execution| execution.worker == name)
                .map(|execution| execution.at - joined)
        };
        let waits: Vec<Option<Duration>> = (0..40).map(first).collect();
        let longest = waits.iter().flatten().max();
        println!("40 workers join a batch of 2000 × {each:?} in chunks of {chunk}: within {longest:?}");
        let all_soon = waits.iter().all(|wait| wait.is_some_and(|wait| wait <= s(16)));
        assert!(all_soon, "{each:?} in {chunk}: {waits:?}");
    }
}

/// One worker begins, three more come at once, and something befalls the first.
async fn one_chunk(calls: u64, each: Duration, killed: Option<Duration>, first: &Script) -> f64 {
    let world = world().await;
    let script = Script::always(answers(each));
    let mut workers = vec![world.start("first", 4, first)];
    let batch = world.batch(calls, calls).await;
    tokio::time::sleep(ms(50)).await;
    workers.extend(fleet(&world, 3, 4, &script));
    if let Some(after) = killed {
        tokio::time::sleep(after).await;
        workers.remove(0).kill().await;
        workers.push(world.start("again", 4, &script));
    }
    let gone = killed.unwrap_or_default();
    let ideal = each * calls as u32 / 16;
    let what = format!("one chunk of {calls} × {each:?} on 4 × 4, its worker killed after {killed:?}");
    let over = ratio(&world, &what, batch, ideal).await;
    over + gone.as_secs_f64() / ideal.as_secs_f64()
}

/// A visibility of a minute is what a lost lease costs, and its calls run twice.
#[tokio::test(start_paused = true)]
async fn a_chunk_whose_worker_was_lost_is_shared_too() {
    for (calls, each, killed) in [
        (2_000, s(10), None),
        (2_000, s(10), Some(s(2))),
        (2_000, s(10), Some(s(60))),
        (2_000, s(10), Some(s(300))),
        (500, s(60), Some(s(30))),
    ] {
        let ratio = one_chunk(calls, each, killed, &Script::always(answers(each))).await;
        assert!(ratio <= 1.15, "{calls} × {each:?}, {killed:?}: {ratio}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_chunk_of_a_sick_worker_is_shared_too() {
    let sick =
        Script::in_turn([answers(s(10)), answers(s(10)), answers(s(10)), falls_sick(), answers(s(10))]);
    let ratio = one_chunk(2_000, s(10), None, &sick).await;
    assert!(ratio <= 1.15, "{ratio}");
}

/// Lost twice with one range, its calls are suspects, and these do not wait for one another on one worker.
#[tokio::test(start_paused = true)]
async fn a_range_of_long_calls_lost_twice_is_over_soon() {
    let world = world().await;
    let script = Script::always(answers(h(1)));
    let first = world.start("first", 16, &script);
    let batch = world.batch(16, 16).await;
    tokio::time::sleep(s(10)).await;
    first.kill().await;
    let second = world.start("second", 16, &script);
    tokio::time::sleep(s(90)).await;
    second.kill().await;
    let _fleet = fleet(&world, 4, 16, &script);
    let ratio = ratio(&world, "16 × 1 h lost twice, then 4 × 16", batch, h(1)).await;
    assert!(ratio <= 4.3, "{ratio}");
}

/// A worker whose only slot runs an hour-long call keeps nothing of a batch for that hour.
#[tokio::test(start_paused = true)]
async fn a_busy_worker_keeps_no_calls_of_a_batch() {
    let world = world().await;
    let script = Script::new(|execution: &Execution| match execution.payload.trim() {
        "long" => answers(h(1)),
        _ => answers(s(1)),
    });
    let _busy = world.start("busy", 1, &script);
    world.call("long").await;
    tokio::time::sleep(s(1)).await;
    let _idle = fleet(&world, 3, 1, &script);
    tokio::time::sleep(s(60)).await;
    let batch = world.batch(64, 0).await;
    let over = world.over(batch, h(2)).await;
    println!("64 × 1 s on three idle workers beside a busy one: over after {over:?}, ideal 22 s");
    assert!(over.is_some_and(|over| over <= s(40)), "{over:?}");
}

/// A call among long ones waits for nobody: log-normal run times, one in a hundred takes a hundred seconds.
#[tokio::test(start_paused = true)]
async fn run_times_of_all_kinds_end_together() {
    let world = world().await;
    let takes = |number: u64| {
        // A stretched sum of uniform parts, a function of the number alone: median 1 s, sigma 0.8.
        let part = |salt: u64| {
            let mixed = (number ^ salt).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40) as f64 / (1u64 << 24) as f64
        };
        let normal: f64 = (0..12).map(|salt| part(salt * 0x1_0000_0001)).sum::<f64>() - 6.0;
        match number.is_multiple_of(100) {
            true => s(100),
            false => Duration::from_secs_f64((0.8 * normal).exp()),
        }
    };
    let calls = 20_000;
    let script = Script::new(move |execution: &Execution| answers(takes(execution.number)));
    let _fleet = fleet(&world, 10, 4, &script);
    tokio::time::sleep(ms(10)).await;
    let total: Duration = (1..=calls).map(takes).sum();
    let batch = world.batch(calls, 0).await;
    let ratio = ratio(&world, "20000 log-normal calls on 10 × 4", batch, total / 40).await;
    assert!(ratio <= 1.12, "{ratio}");
}

/// No call runs twice where no worker is lost, however often ranges are cut.
#[tokio::test(start_paused = true)]
async fn calls_of_pieces_run_once() {
    let world = world().await;
    let script = Script::new(|execution: &Execution| Act::answer("").takes(s(1 + execution.number % 7 * 9)));
    let _fleet = fleet(&world, 9, 2, &script);
    let batch = world.batch(700, 0).await;
    world.over(batch, h(4)).await.expect("over");
    let numbers: Vec<u64> = world.executions().iter().map(|execution| execution.number).collect();
    let each: BTreeSet<u64> = numbers.iter().copied().collect();
    assert_eq!((numbers.len(), each.len()), (700, 700));
}

/// What runs of a cancelled batch is stopped soon, however long it has run.
#[tokio::test(start_paused = true)]
async fn a_cancelled_batch_of_long_calls_stops_soon() {
    for at in [s(100), s(1_000), s(7_250)] {
        let world = world().await;
        let _worker = world.start("w", 2, &Script::always(answers(h(1))));
        let batch = world.batch(64, 0).await;
        tokio::time::sleep(at).await;
        let asked = world.elapsed();
        cancel(&world.deps, batch, "field", "cancelled").await.expect("asked");
        let stopped = loop {
            tokio::time::sleep(s(1)).await;
            let running = count(&world.rows(batch).await, State::Cancelled);
            if running > 0 || world.elapsed() - asked > h(1) {
                break world.elapsed() - asked;
            }
        };
        println!("cancelled after {at:?}: what runs is stopped {stopped:?} later ×");
        assert!(stopped <= s(75), "{at:?}: {stopped:?}");
    }
}

/// A suspect call of an hour leaves the other slots of its worker to others.
#[tokio::test(start_paused = true)]
async fn one_suspect_does_not_empty_a_worker() {
    let world = world().await;
    let script = Script::new(|execution: &Execution| match execution.payload.trim() {
        "suspect" => answers(h(1)),
        _ => answers(s(10)),
    });
    let first = world.start("first", 16, &script);
    world.call("suspect").await;
    tokio::time::sleep(s(10)).await;
    first.kill().await;
    let _second = world.start("second", 16, &script);
    // The message comes back after a minute. Then one short call every second for an hour and a half.
    let mut calls = Vec::new();
    for n in 0..5_400 {
        calls.push((world.call(&n.to_string()).await, world.elapsed()));
        tokio::time::sleep(s(1)).await;
    }
    tokio::time::sleep(h(2)).await;
    let begun: BTreeMap<CallId, Duration> = world.executions().iter().map(|one| (one.call, one.at)).collect();
    let longest = calls.iter().map(|(call, at)| begun[call] - *at).max();
    println!("a suspect of 1 h on 16 slots: other calls wait {longest:?} ×");
    assert!(longest.is_some_and(|longest| longest <= s(60)), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn sixteen_suspects_of_an_hour_each() {
    for workers in [1, 4] {
        let world = world().await;
        let script = Script::always(answers(h(1)));
        let first = world.start("first", 16, &script);
        let mut calls = Vec::new();
        for n in 0..16 {
            calls.push(world.call(&n.to_string()).await);
        }
        tokio::time::sleep(s(10)).await;
        first.kill().await;
        let killed = world.elapsed();
        let _others = fleet(&world, workers, 16, &script);
        for call in calls {
            world.end_within(call, h(30)).await.expect("decided");
        }
        let took = world.elapsed() - killed;
        println!("16 suspects of 1 h on {workers} × 16: {took:?} ×");
        assert!(took <= s(4_680), "{workers}: {took:?}");
    }
}

/// Calls that fail once and wait 15 s: few parts and few requests.
#[tokio::test(start_paused = true)]
async fn retries_cost_little() {
    for (what, fails, backoff) in [("none", false, s(5)), ("5 s", true, s(5)), ("15 s", true, s(15))] {
        let world = World::new();
        world.publish(2, backoff, s(300)).await;
        let script = Script::new(move |execution: &Execution| match execution.attempt {
            1 if fails => Act::error("429").takes(ms(100)),
            _ => answers(ms(100)),
        });
        let _fleet = fleet(&world, 4, 4, &script);
        tokio::time::sleep(ms(10)).await;
        let before = world.counts.snapshot();
        let batch = world.batch(2_000, 2_000).await;
        let over = world.over(batch, h(4)).await;
        let spent = world.spent(before);
        let parts = world.parts(batch).await;
        let requests = spent.iter().map(|(_, count)| count).sum::<u64>() as f64 / 2_000.0;
        println!(
            "2000 × 100 ms, back-off {what}: {over:?}, {parts} parts, {requests} requests a call × {spent:?}"
        );
        assert!(parts <= 40 && requests <= 0.6, "{what}: {parts} parts, {requests}");
        assert_eq!(count(&world.rows(batch).await, State::Success), 2_000);
    }
}

/// Workers live for half an hour on average.
#[tokio::test(start_paused = true)]
async fn workers_that_die_all_the_time_repeat_little() {
    let world = world().await;
    let script = Script::always(answers(s(60)));
    let mut workers = fleet(&world, 40, 4, &script);
    let batch = world.batch(8_000, 0).await;
    let begun = world.elapsed();
    let mut deaths = 0;
    while !world.is_over(batch).await && world.elapsed() - begun < h(8) {
        // One of forty dies every 45 seconds.
        tokio::time::sleep(s(45)).await;
        workers.remove(deaths * 7 % 40).kill().await;
        deaths += 1;
        workers.push(world.start(&format!("again{deaths}"), 4, &script));
    }
    let (took, ideal) = (world.elapsed() - begun, s(60) * 8_000 / 160);
    let ratio = took.as_secs_f64() / ideal.as_secs_f64();
    let repeated = world.executions().len() as f64 / 8_000.0 - 1.0;
    let parts = world.parts(batch).await;
    println!(
        "8000 × 60 s on 40 × 4, lives of 30 min: {ratio:.3} ×, {repeated:.3} repeated, {parts} parts, {deaths} deaths"
    );
    assert!(ratio <= 1.1 && repeated <= 0.04, "{ratio}, {repeated}");
}

/// One of fifty workers suits.
#[tokio::test(start_paused = true)]
async fn one_that_suits_is_as_fast_as_alone() {
    let world = world().await;
    let _suited = world.start("suited", 4, &Script::always(answers(s(1))));
    let _others: Vec<Running> = (0..49).map(|n| world.start_unsuited(&format!("u{n}"), 4)).collect();
    tokio::time::sleep(s(5)).await;
    let batch = world.batch(4_000, 0).await;
    let ratio = ratio(&world, "4000 × 1 s, one of 50 suits", batch, s(1_000)).await;
    assert!(ratio <= 1.05, "{ratio}");
}

/// A small batch that comes after a large one.
#[tokio::test(start_paused = true)]
async fn a_small_batch_behind_a_large_one() {
    for (workers, slots, first, each, small, most) in
        [(4, 4, 100_000, s(1), 100, s(30)), (1, 2, 20_000, ms(100), 200, s(50))]
    {
        let world = world().await;
        let _fleet = fleet(&world, workers, slots, &Script::always(answers(each)));
        world.batch(first, 0).await;
        tokio::time::sleep(s(20)).await;
        let batch = world.batch(small, 0).await;
        let over = world.over(batch, h(1)).await;
        println!("{small} × {each:?} behind {first} on {workers} × {slots}: over after {over:?} ×");
        assert!(over.is_some_and(|over| over <= most), "{over:?}");
    }
}

/// As `batch run` twice on one machine: the first process is killed, the second has a worker of its own, which prefers its
/// own batch. Alone it takes 10 s.
#[tokio::test(start_paused = true)]
async fn a_second_run_does_its_own_batch_first() {
    let world = world().await;
    let script = Script::always(answers(ms(10)));
    let first = world.start("first", 2, &script);
    world.batch(300_000, 0).await;
    tokio::time::sleep(s(20)).await;
    first.kill().await;
    let batch = world.batch(2_000, 0).await;
    world.deps.queues.chunks.live.prefer(&batch.to_string());
    let _second = world.start("second", 2, &script);
    let over = world.over(batch, h(1)).await;
    println!("2000 × 10 ms behind an abandoned batch: over after {over:?} ×");
    assert!(over.is_some_and(|over| over <= s(15)), "{over:?}");
}

/// A worker of short calls whose slots all run long ones takes no range that it cannot begin, however short calls were.
#[tokio::test(start_paused = true)]
async fn a_worker_full_of_long_calls_takes_nothing() {
    let world = world().await;
    let script = Script::new(|execution: &Execution| match execution.payload.trim() {
        "long" => answers(h(1)),
        _ => answers(ms(10)),
    });
    let _worker = world.start("w", 4, &script);
    let batch = world.batch(100, 0).await;
    world.over(batch, s(60)).await.expect("over");
    for _ in 0..4 {
        world.call("long").await;
    }
    tokio::time::sleep(s(5)).await;
    let before = world.counts.snapshot();
    let batch = world.batch(100, 0).await;
    tokio::time::sleep(s(1_800)).await;
    let reads: u64 =
        world.spent(before).iter().filter(|(name, _)| *name == "get").map(|(_, count)| count).sum();
    println!("{reads} objects read in half an hour in which nothing can begin ×");
    assert!(reads < 50, "{reads}");
    assert!(world.over(batch, h(1)).await.is_some());
}

/// A suspect that waits for another one leaves the free slots of its worker to others.
#[tokio::test(start_paused = true)]
async fn suspects_that_wait_keep_no_slot_empty() {
    let world = world().await;
    let long = Arc::new(OnceLock::new());
    let is_long = long.clone();
    let script = Script::new(move |execution: &Execution| {
        let suspect = is_long.get().is_none_or(|batch| execution.call.batch() == Some(*batch));
        answers(if suspect { h(1) } else { s(1) })
    });
    let first = world.start("first", 8, &script);
    let batch = world.batch(8, 8).await;
    long.set(batch).expect("once");
    tokio::time::sleep(s(10)).await;
    first.kill().await;
    let second = world.start("second", 8, &script);
    tokio::time::sleep(s(90)).await;
    second.kill().await;
    let _third = world.start("third", 8, &script);
    // Each is a suspect now, and one of them runs.
    tokio::time::sleep(s(120)).await;
    let other = world.batch(400, 0).await;
    let over = world.over(other, h(2)).await;
    println!("400 × 1 s beside eight suspects of an hour on 8 slots: over after {over:?} ×");
    assert!(over.is_some_and(|over| over <= s(80)), "{over:?}");
}
