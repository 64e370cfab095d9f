//! Workers that are killed, calls that kill their worker, workers that cannot run anything.

use std::time::Duration;

use afn::layout::part::RowResult;
use afn::model::{BatchId, State};

use super::facts::one_outcome_each;
use super::ground::{line, lines, random};
use super::world::{World, count};
use crate::support::Running;

everywhere!(workers_killed_again_and_again, a_call_that_kills_its_worker, a_sick_worker_beside_a_healthy_one);

async fn every_line_is_answered(world: &World, batch: BatchId, calls: u64) {
    for (number, row) in one_outcome_each(world, batch, calls).await {
        let expected = RowResult::Inline(line(number).into());
        assert_eq!((row.status, &row.result), (State::Success, &expected), "{row:?}");
    }
}

async fn workers_killed_again_and_again(world: World) {
    const CALLS: u64 = 10_000;
    world.deploy("echo", "read -r line; printf '%s' \"$line\"").await;
    world.write("in.txt", lines(CALLS));
    let batch = world.submit_batch("echo", "in.txt", "").await;
    let mut workers = vec![world.worker("-j 4").await, world.worker("-j 4").await];
    let mut killed = 0;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(300 + random("killed after ms", 1_500))).await;
        let view = afn::results::batch::load(&world.open().await.deps, batch).await.expect("a batch");
        if view.status.is_final() {
            break;
        }
        workers.remove(0).kill().await;
        killed += 1;
        workers.push(world.worker("-j 4").await);
    }
    assert!(killed >= 2, "it was over too soon to show anything");
    world.over(batch).await;
    every_line_is_answered(&world, batch, CALLS).await;
}

/// Starts another worker whenever one is gone, until the batch is over. How many were lost.
async fn keep_two_workers(world: &World, batch: BatchId) -> usize {
    let mut lost = 0;
    let mut workers = [world.worker("-j 4").await, world.worker("-j 4").await];
    let over = world.over(batch);
    tokio::pin!(over);
    loop {
        let [one, two] = &mut workers;
        let gone = tokio::select! {
            biased;
            _ = &mut over => return lost,
            () = one.gone() => 0,
            () = two.gone() => 1,
        };
        lost += 1;
        workers[gone] = world.worker("-j 4").await;
    }
}

async fn a_call_that_kills_its_worker(world: World) {
    const CALLS: u64 = 1_001;
    const POISON: u64 = 500;
    world
        .deploy(
            "f",
            "read -r line; case $line in poison) kill -9 $PPID; sleep 60 ;; esac; printf '%s' \"$line\"",
        )
        .await;
    let poison = lines(CALLS).replacen(&format!("{}\n", line(POISON)), "poison\n", 1);
    world.write("in.txt", poison);
    let batch = world.submit_batch("f", "in.txt", "").await;
    let lost = keep_two_workers(&world, batch).await;
    let view = world.over(batch).await;
    assert_eq!((count(&view, State::Success), count(&view, State::Killed)), (CALLS - 1, 1), "{view:#?}");
    let rows = one_outcome_each(&world, batch, CALLS).await;
    assert_eq!(rows[&POISON].error.as_deref(), Some("its worker was lost 5 times"));
    // Once without a mark, once among others, four times as the only suspect.
    assert!((6..=8).contains(&lost), "{lost} workers were lost");
    for (number, row) in rows.into_iter().filter(|(number, _)| *number != POISON) {
        assert_eq!(row.result, RowResult::Inline(line(number).into()), "{row:?}");
    }
}

/// It cannot unpack what it is to run, and records nothing of that.
async fn a_sick_worker_beside_a_healthy_one(world: World) {
    const CALLS: u64 = 300;
    world.deploy("echo", "read -r line; sleep 0.02; printf '%s' \"$line\"").await;
    world.write("in.txt", lines(CALLS));
    let batch = world.submit_batch("echo", "in.txt", "").await;
    let own = world.path("sick");
    std::fs::create_dir(&own).expect("a folder");
    std::fs::write(own.join("work"), "no folder").expect("a file");
    let mut command = world.command();
    command.env("AFN_DATA_DIR", &own);
    if world.is_embedded() {
        let shared = world.database();
        std::os::unix::fs::symlink(shared, own.join("afn.db")).expect("a link");
    }
    let sick: Running = world.worker_of(command, "-j 4").await;
    sick.said("cannot keep archives in").await;
    let _healthy = world.worker("-j 2").await;
    world.over(batch).await;
    every_line_is_answered(&world, batch, CALLS).await;
    // Mended, it works.
    std::fs::remove_file(own.join("work")).expect("it is there");
    let again = world.submit_batch("echo", "in.txt", "").await;
    sick.said("can run functions again").await;
    world.over(again).await;
}
