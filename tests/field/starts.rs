//! Functions that cannot be started: a batch ends soon if no worker can start them, and goes on where one can.

use std::time::Duration;

use afn::event::Event;
use afn::executor::scripted::Act;
use afn::layout::Key;
use afn::layout::batch::Cancelled;
use afn::layout::object;
use afn::limits;
use afn::model::{BatchId, State};
use afn::seam::executor::Fault;
use afn::seam::{Store as _, StoreExt as _};

use super::script::{Execution, Script, answers, fails, h, ms, s};
use super::world::{World, count};

fn no_pull(execution: &Execution) -> Act {
    Act::fault(Fault::Function(format!("cannot pull layer {}: not found", execution.number))).takes(ms(100))
}

async fn world() -> World {
    let world = World::new();
    world.publish(1, s(1), h(2)).await;
    world
}

async fn cancelled(world: &World, batch: BatchId) -> Option<Cancelled> {
    let key = Key::Cancelled(world.app.clone(), batch);
    let found = world.store.find(&key, u64::MAX).await.expect("the store never fails")?;
    Some(object::decode(&key, &found.body).expect("a cancellation"))
}

/// All workers fail: how many calls were executed, and how long it took.
async fn all_fail(workers: usize, slots: usize) {
    let world = world().await;
    let script = Script::new(no_pull);
    let _fleet: Vec<_> = (0..workers).map(|n| world.start(&format!("w{n}"), slots, &script)).collect();
    let batch = world.batch(2_000, 0).await;
    let over = world.over(batch, h(1)).await.expect("over");
    let why = cancelled(&world, batch).await.expect("stopped").reason;
    let executions = world.executions().len();
    println!("{workers} × {slots} cannot start: over after {over:?}, {executions} executions: {why}");
    assert!(why.contains(": cannot pull layer "), "{why}");
    assert!(over < s(40), "{over:?}");
    assert!(executions < 30 * workers + 4 * slots, "{executions}");
    let rows = world.rows(batch).await;
    assert!(count(&rows, State::Cancelled) >= 1_990, "{}", count(&rows, State::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_no_worker_can_start_is_stopped() {
    for (workers, slots) in [(1, 1), (1, 4), (2, 1), (2, 4), (10, 2)] {
        all_fail(workers, slots).await;
    }
}

/// Another batch has messages in flight all the time.
#[tokio::test(start_paused = true)]
async fn a_batch_that_no_worker_can_start_is_stopped_beside_another() {
    let world = world().await;
    world.publish_for("busy", None, 1, s(1), h(2)).await;
    let script = Script::new(|execution: &Execution| match execution.payload.as_str() {
        "no" => no_pull(execution),
        _ => answers(s(20)),
    });
    let _fleet: Vec<_> = (0..3).map(|n| world.start(&format!("w{n}"), 4, &script)).collect();
    let busy = world.batch_of("busy", 3_000, 0, Default::default()).await;
    tokio::time::sleep(s(100)).await;
    let batch = world.batch_of_lines("f", "no\n".repeat(300), 0, Default::default()).await;
    let over = world.over(batch, h(1)).await.expect("over");
    println!("beside another batch it is over after {over:?}");
    // A worker looks at other batches when it has begun a range of 40 s: then they fail, and then they are cancelled.
    assert!(over <= s(130), "{over:?}");
    assert!(cancelled(&world, batch).await.is_some());
    assert!(cancelled(&world, busy).await.is_none());
}

/// A call whose payload is gone is decided without an execution: the function was not started.
#[tokio::test(start_paused = true)]
async fn a_payload_that_is_gone_is_no_start() {
    let world = world().await;
    let large = "x".repeat(limits::RECORD_INLINE_BYTES_MAX as usize + 1);
    let lines = format!("{large}\n{}", "no\n".repeat(300));
    let batch = world.batch_of_lines("f", lines, 0, Default::default()).await;
    world.store.delete(&[Key::Input(world.app.clone(), batch, 1)]).await.expect("deleted");
    let _fleet: Vec<_> = (0..2).map(|n| world.start(&format!("w{n}"), 4, &Script::new(no_pull))).collect();
    world.over(batch, h(1)).await.expect("over");
    assert!(cancelled(&world, batch).await.is_some(), "{} executions", world.executions().len());
    let reason = world.rows(batch).await.swap_remove(0).error.expect("a reason");
    assert!(reason.ends_with("is missing"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_alone_cannot_start_a_version_takes_no_more_of_it() {
    for (each, slots) in [(ms(500), 1), (s(1), 4), (h(1), 4)] {
        let world = world().await;
        let script = Script::new(move |execution: &Execution| match execution.worker.as_str() {
            "broken" => no_pull(execution),
            _ => answers(each),
        });
        let _broken = world.start("broken", slots, &script);
        let calls = if each == h(1) { 8 * slots as u64 } else { 400 };
        let batch = world.batch(calls, 0).await;
        tokio::time::sleep(ms(50)).await;
        let _sound = world.start("sound", slots, &script);
        world.over(batch, h(20)).await.expect("over");
        assert!(cancelled(&world, batch).await.is_none(), "{each:?}");
        let rows = world.rows(batch).await;
        let failed = rows.len() - count(&rows, State::Success);
        let broken = world.executions().iter().filter(|execution| execution.worker == "broken").count();
        println!(
            "one of two cannot start calls of {each:?}: {failed} of {calls} failed, {broken} starts there"
        );
        assert!(failed <= 3 && broken <= 50, "{each:?}: {failed} failed, {broken} starts");
        let refused =
            |event: &Event| matches!(event, Event::VersionRefused { worker, .. } if worker == "broken");
        if each < h(1) {
            assert_eq!(world.said(refused), 1, "{each:?}");
        }
        // Nor of another batch of the version.
        let before = world.executions().len();
        let second = world.batch(slots as u64 * 2, 0).await;
        world.over(second, h(20)).await.expect("over");
        let later = world.executions().split_off(before);
        assert!(later.iter().filter(|execution| execution.worker == "broken").count() <= 30);
    }
}

/// Calls that run for long leave nothing in the store for a while.
#[tokio::test(start_paused = true)]
async fn a_batch_whose_long_calls_run_is_not_stopped_by_workers_that_come_late() {
    let world = world().await;
    let script = Script::new(|execution: &Execution| match execution.worker.as_str() {
        "sound" => answers(h(1)),
        _ => no_pull(execution),
    });
    let _sound = world.start("sound", 2, &script);
    let batch = world.batch(8, 0).await;
    tokio::time::sleep(s(600)).await;
    let _late: Vec<_> = (0..2).map(|n| world.start(&format!("late{n}"), 4, &script)).collect();
    world.over(batch, h(20)).await.expect("over");
    assert!(cancelled(&world, batch).await.is_none());
    let rows = world.rows(batch).await;
    println!(
        "{} of 8 long calls succeed beside two workers that cannot start them",
        count(&rows, State::Success)
    );
    assert!(count(&rows, State::Success) >= 6);
}

/// Starts that fail for several reasons, and functions that start and fail, are errors of their calls.
#[tokio::test(start_paused = true)]
async fn mixed_reasons_and_failures_stop_nothing() {
    let mixed = Script::new(|execution: &Execution| match execution.worker.as_str() {
        "w0" => no_pull(execution),
        _ => Act::fault(Fault::Function("`f` is not executable".to_owned())).takes(ms(100)),
    });
    let turns = Script::new(|execution: &Execution| match execution.number % 2 {
        0 => no_pull(execution),
        _ => Act::fault(Fault::Function("`f` is not executable".to_owned())).takes(ms(100)),
    });
    for script in [mixed, turns, Script::always(fails())] {
        let world = world().await;
        let _fleet: Vec<_> = (0..2).map(|n| world.start(&format!("w{n}"), 2, &script)).collect();
        let batch = world.batch(100, 0).await;
        let over = world.over(batch, h(1)).await.expect("over");
        assert!(cancelled(&world, batch).await.is_none());
        assert_eq!(count(&world.rows(batch).await, State::Error), 100);
        assert!(over < Duration::from_secs(200), "{over:?}");
    }
}
