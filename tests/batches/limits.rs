//! Batches that are paused, and batches with limits, on several workers.

use std::collections::BTreeMap;
use std::time::Duration;

use afn::layout::part::Row;
use afn::results::batch::BatchStatus;

use super::facts::one_outcome_each;
use super::ground::lines;
use super::world::World;

everywhere!(paused_midway, bounded_on_all_workers);

const WORKERS: usize = 4;

async fn paused_midway(world: World) {
    const CALLS: u64 = 400;
    world.deploy("slow", "read -r line; sleep 0.1; printf '%s' \"$line\"").await;
    world.write("in.txt", lines(CALLS));
    let batch = world.submit_batch("slow", "in.txt", "").await;
    let _worker = world.worker("-j 4").await;
    world.until_batch(batch, "begun", |view| view.decided > 0).await;
    let said = world.afn(&format!("batch pause {batch}")).await.ok();
    assert!(said.contains("is paused"), "{said}");
    // What runs ends; then it stands still.
    let mut decided = None;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let view = world.until_batch(batch, "read", |_| true).await;
        assert_eq!(view.status, BatchStatus::Paused);
        if decided.replace(view.decided) == Some(view.decided) {
            break;
        }
    }
    assert!(decided.is_some_and(|decided| decided < CALLS), "{decided:?}");
    let status = world.afn(&format!("batch status {batch}")).await.ok();
    assert!(status.contains("paused by") && status.contains("batch unpause"), "{status}");
    world.afn(&format!("batch unpause {batch}")).await.ok();
    world.over(batch).await;
    one_outcome_each(&world, batch, CALLS).await;
    let late = world.afn(&format!("batch pause {batch}")).await.failed(2);
    assert!(late.contains("has finished already"), "{late}");
}

/// From when to when each ran, in milliseconds.
fn spans(rows: &BTreeMap<u64, Row>) -> Vec<(u64, u64)> {
    let span = |row: &Row| {
        let started = row.started_at.expect("it ran").0;
        (started.saturating_sub(row.start_ms), started + row.run_ms)
    };
    rows.values().map(span).collect()
}

async fn bounded_on_all_workers(world: World) {
    world.deploy("f", "read -r line; sleep 0.3; printf '%s' \"$line\"").await;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(world.worker("-j 2").await);
    }
    world.write("in.txt", lines(60));
    let batch = world.submit_batch("f", "in.txt", "--max-concurrency 3").await;
    world.over(batch).await;
    let spans_of_three = spans(&one_outcome_each(&world, batch, 60).await);
    // What ends in the millisecond in which another begins does not run beside it.
    let at_once = |(from, _): &(u64, u64)| {
        spans_of_three.iter().filter(|(begun, ended)| begun <= from && from + 1 < *ended).count()
    };
    let most = spans_of_three.iter().map(at_once).max();
    println!("at most 3 at once: {most:?}");
    assert!(most <= Some(3), "{most:?} at once");

    world.write("in.txt", lines(300));
    let batch = world.submit_batch("f", "in.txt", "--max-rate 20/s").await;
    world.over(batch).await;
    let starts = spans(&one_outcome_each(&world, batch, 300).await);
    let within = |(from, _): &(u64, u64)| {
        starts.iter().filter(|(begun, _)| (*from..from + 10_000).contains(begun)).count()
    };
    let most = starts.iter().map(within).max();
    println!("at most 20/s: {most:?} within 10 s");
    // 1.2 × 20/s × 0.3 s more: what a start may come early on each worker.
    assert!(most <= Some(208), "{most:?} within 10 s");
}
