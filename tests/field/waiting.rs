//! Who waits, and for how long: a call beside an idle worker begins at once, and a worker with nothing due sleeps.

use std::time::Duration;

use afn::model::State;

use super::script::{Execution, Script, answers, h, s};
use super::world::World;

/// One worker is busy with long calls, the other has nothing to do.
#[tokio::test(start_paused = true)]
async fn a_single_call_goes_to_the_idle_worker() {
    for (slots, long) in [(1, s(600)), (1, h(1)), (4, h(1))] {
        let world = World::new();
        world.publish(1, s(1), h(5)).await;
        let script = Script::new(move |execution: &Execution| match execution.payload.trim() {
            "long" => answers(long),
            _ => answers(s(1)),
        });
        let _busy = world.start("busy", slots, &script);
        for _ in 0..slots {
            world.call("long").await;
        }
        tokio::time::sleep(s(5)).await;
        let _idle = world.start("idle", 1, &script);
        tokio::time::sleep(s(100)).await;
        let mut calls = Vec::new();
        for n in 0..8 {
            calls.push((world.call(&n.to_string()).await, world.elapsed()));
            tokio::time::sleep(s(30)).await;
        }
        tokio::time::sleep(long + s(600)).await;
        for (call, submitted) in calls {
            let executions = world.executions();
            let execution = executions.iter().find(|execution| execution.call == call).expect("it ran");
            let waited = execution.at - submitted;
            assert!(waited <= s(5), "{slots} slots of {long:?}: {waited:?} for {}", execution.worker);
        }
    }
}

/// Nothing is due for an hour: neither for an idle worker, nor for one whose only call runs that long, beside others that
/// wait for its slot.
#[tokio::test(start_paused = true)]
async fn a_worker_with_nothing_due_sleeps() {
    for (calls, of_a_batch) in [(0, 0), (1, 0), (0, 1), (0, 4)] {
        let world = World::new();
        world.publish(1, s(1), h(5)).await;
        let _worker = world.start("w", 2, &Script::always(answers(h(2))));
        for n in 0..calls {
            world.call(&n.to_string()).await;
        }
        if of_a_batch > 0 {
            world.batch(of_a_batch, of_a_batch).await;
        }
        tokio::time::sleep(s(60)).await;
        let before = world.naps();
        tokio::time::sleep(h(1)).await;
        let naps = world.naps() - before;
        assert!(naps < 3_600, "{calls} and {of_a_batch} running: {naps} short sleeps in an hour");
    }
}

/// Also after it had work: an hour in which it sleeps only for long.
#[tokio::test(start_paused = true)]
async fn a_worker_that_has_finished_its_work_sleeps() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let _worker = world.start("w", 4, &Script::always(answers(Duration::ZERO)));
    let batch = world.batch(10, 0).await;
    assert!(world.over(batch, s(60)).await.is_some());
    tokio::time::sleep(s(60)).await;
    let before = world.naps();
    tokio::time::sleep(h(1)).await;
    assert_eq!(world.naps() - before, 0);
}

/// A call that waits for a long back-off costs its worker nothing meanwhile, and keeps no slot.
#[tokio::test(start_paused = true)]
async fn a_call_in_its_backoff_keeps_no_slot() {
    let world = World::new();
    world.publish(2, s(60), s(300)).await;
    let script = Script::new(|execution: &Execution| match (execution.payload.trim(), execution.attempt) {
        ("fails", 1) => super::script::fails(),
        _ => answers(s(1)),
    });
    let _worker = world.start("w", 1, &script);
    let failing = world.call("fails").await;
    tokio::time::sleep(s(5)).await;
    let next = world.call("next").await;
    let end = world.end_within(next, s(10)).await.expect("the slot is free");
    assert_eq!(end.status, State::Success);
    let end = world.end_within(failing, h(1)).await.expect("it is tried again");
    assert_eq!((end.status, end.attempts), (State::Success, 2));
    let at: Vec<Duration> = world
        .executions()
        .iter()
        .filter(|execution| execution.call == failing)
        .map(|execution| execution.at)
        .collect();
    assert!(at[1] - at[0] >= s(60), "{at:?}");
}
