//! What ends one call of a range changes no other call of it: nothing new begins there, what runs goes on and is recorded.

use std::time::Duration;

use afn::executor::scripted::Act;
use afn::layout::part::Row;
use afn::model::{BatchId, State};

use super::script::{Execution, Script, answers, fails, falls_sick, h, mismatches, s};
use super::world::{World, count, numbers};

const CALLS: u64 = 4;
/// For four calls of five seconds on two slots, with one that is put back once.
const SOON: Duration = s(300);

/// The second call does this when it is begun first; every other execution takes five seconds and answers.
fn second_call_first(trouble: Act) -> Script {
    let first = std::sync::atomic::AtomicBool::new(true);
    Script::new(move |execution: &Execution| {
        let is_first = execution.number == 2 && first.swap(false, std::sync::atomic::Ordering::Relaxed);
        if is_first { trouble.clone() } else { answers(s(5)) }
    })
}

/// All calls are decided as successes soon, and of these each was executed once.
async fn all_are_answered(world: &World, batch: BatchId, calls: u64, once: &[u64]) {
    let over = world.over(batch, h(4)).await;
    let rows = world.rows(batch).await;
    assert_eq!(numbers(&rows), (1..=calls).collect::<Vec<_>>(), "a call was dropped");
    assert_eq!(count(&rows, State::Success) as u64, calls, "{rows:?}");
    for number in once {
        assert_eq!(world.attempts(batch.call(*number)), [1], "executions of call {number}");
    }
    assert!(over.is_some_and(|over| over < SOON), "a call waited to be sent again: over after {over:?}");
}

/// With the reconciler and without: what is lost must not be hidden by what sends it again.
async fn a_trouble_midway(trouble: fn() -> Act) {
    for reconcile in [false, true] {
        let world = World::new();
        world.publish(1, s(1), s(300)).await;
        let mut config = world.config("w1", 2);
        config.reconcile = reconcile;
        let _worker = world.start_with(config, |_| true, &second_call_first(trouble()));
        let batch = world.batch(CALLS, CALLS).await;
        all_are_answered(&world, batch, CALLS, &[1, 3, 4]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_mismatch_midway_leaves_its_neighbours_alone() {
    a_trouble_midway(mismatches).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_falls_sick_midway_records_what_runs() {
    a_trouble_midway(falls_sick).await;
}

/// Several calls run beside the one that ends, and all of them are in the midst of it.
#[tokio::test(start_paused = true)]
async fn all_running_neighbours_are_recorded() {
    for trouble in [mismatches, falls_sick] {
        let world = World::new();
        world.publish(1, s(1), s(300)).await;
        let _worker = world.start("w1", 8, &second_call_first(trouble()));
        let batch = world.batch(8, 8).await;
        all_are_answered(&world, batch, 8, &[1, 3, 4, 5, 6, 7, 8]).await;
    }
}

/// A call that only another worker can run: this one goes on with the others, and that one gets it.
#[tokio::test(start_paused = true)]
async fn a_call_that_suits_another_worker_is_run_there() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let script = Script::new(|execution: &Execution| match (execution.number, execution.worker.as_str()) {
        (2, "w1") => mismatches(),
        _ => answers(s(5)),
    });
    let _first = world.start("w1", 2, &script);
    let batch = world.batch(CALLS, CALLS).await;
    tokio::time::sleep(s(3)).await;
    let _second = world.start("w2", 2, &script);
    all_are_answered(&world, batch, CALLS, &[1]).await;
}

/// A mismatch that lasted long before: what runs when it is met again is recorded all the same.
#[tokio::test(start_paused = true)]
async fn a_mismatch_that_lasts_keeps_running_calls() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    // The fourth call never suits this worker; the others do after an hour.
    let script = Script::new(|execution: &Execution| match execution.number {
        4 => mismatches(),
        _ if execution.at < h(1) => mismatches(),
        _ => answers(s(5)),
    });
    let _worker = world.start("w1", 2, &script);
    let batch = world.batch(CALLS, CALLS).await;
    tokio::time::sleep(h(3)).await;
    let rows = world.rows(batch).await;
    let ends: Vec<(u64, State)> = rows.iter().map(|row: &Row| (row.number, row.status)).collect();
    assert_eq!(ends, [1, 2, 3].map(|number| (number, State::Success)), "{rows:?}");
    let _second = world.start("w2", 1, &Script::always(answers(s(1))));
    assert!(world.over(batch, h(1)).await.is_some(), "the fourth call is lost");
    assert_eq!(count(&world.rows(batch).await, State::Success), 4);
}

/// A neighbour's failures are its own: one call's trouble takes no attempt from another, and gives none back.
#[tokio::test(start_paused = true)]
async fn a_trouble_midway_keeps_the_failures_of_neighbours() {
    for trouble in [mismatches, falls_sick] {
        let world = World::new();
        world.publish(3, s(4), s(300)).await;
        // 1 always fails; 2 meets the trouble while 1 waits for its second attempt.
        let first = std::sync::atomic::AtomicBool::new(true);
        let script = Script::new(move |execution: &Execution| match execution.number {
            1 => fails(),
            2 if first.swap(false, std::sync::atomic::Ordering::Relaxed) => trouble(),
            _ => answers(s(5)),
        });
        let _worker = world.start("w1", 2, &script);
        let batch = world.batch(CALLS, CALLS).await;
        assert!(world.over(batch, h(4)).await.is_some_and(|over| over < SOON));
        let rows = world.rows(batch).await;
        assert_eq!(world.attempts(batch.call(1)), [1, 2, 3]);
        assert_eq!((rows[0].status, rows[0].attempts), (State::Error, 3));
        assert_eq!((numbers(&rows).len(), count(&rows, State::Success)), (4, 3), "{rows:?}");
    }
}

/// What finishes within the grace of a drain is recorded, and runs once.
#[tokio::test(start_paused = true)]
async fn a_drain_midway_records_what_finishes() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let script = Script::new(|execution: &Execution| match execution.number {
        1 => answers(s(200)),
        _ => answers(s(5)),
    });
    let mut config = world.config("w1", 2);
    config.grace = s(10);
    let first = world.start_with(config, |_| true, &script);
    let batch = world.batch(CALLS, CALLS).await;
    tokio::time::sleep(s(2)).await;
    first.drain().await;
    let recorded = numbers(&world.rows(batch).await);
    assert_eq!(recorded, [2], "call 2 finished within the grace, call 1 did not");
    let _second = world.start("w2", 2, &script);
    assert!(world.over(batch, h(4)).await.is_some_and(|over| over < s(600)));
    assert_eq!(world.attempts(batch.call(2)), [1]);
    assert_eq!(world.attempts(batch.call(1)), [1, 1], "an execution that was cut off is not counted");
    assert_eq!(count(&world.rows(batch).await, State::Success), 4);
}
