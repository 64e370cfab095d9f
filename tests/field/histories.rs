//! What failed before is not forgotten, and nothing is counted twice: an execution that is cut off (a drain, a hand-over, a
//! mismatch, a sick or lost worker) is not in a call's history, and its number is used again.

use std::time::Duration;

use afn::executor::scripted::Act;
use afn::model::State;
use afn::seam::executor::RetryAfter;

use super::script::{Script, answers, cannot_start, fails, falls_sick, h, mismatches, ms, s};
use super::world::{End, Of, Running, World};

single_and_batch!(
    a_drain_in_the_backoff,
    two_drains_in_the_backoff,
    a_drain_in_a_backoff_that_takes_long,
    a_mismatch_after_failures,
    two_mismatches_between_failures,
    a_sick_worker_after_failures,
    a_hand_over_of_a_running_attempt,
    two_hand_overs_of_a_running_attempt,
    a_lost_worker_after_failures,
    a_drain_between_tries_to_start,
    a_mismatch_between_tries_to_start,
    every_trouble_in_turn,
    an_answer_after_every_trouble,
    what_asks_to_be_tried_again_has_not_failed,
    what_asks_for_ever_to_be_tried_again_fails,
);

/// Three attempts, all of which fail.
const ALL: [u32; 3] = [1, 2, 3];
/// The same, and the third was cut off once.
const THIRD_AGAIN: [u32; 4] = [1, 2, 3, 3];

/// Waits until so many executions were begun and a second has gone by since.
async fn begun(world: &World, executions: usize) {
    let from = world.elapsed();
    while world.executions().len() < executions {
        assert!(world.elapsed() - from < h(2), "only {:?} were begun", world.executions());
        tokio::time::sleep(ms(50)).await;
    }
    tokio::time::sleep(s(1)).await;
}

/// The call ends as a failure after these executions, the last of which has number 3.
async fn fails_after(world: &World, call: afn::model::CallId, executed: &[u32], within: Duration) {
    let end = world.end_within(call, within).await.expect("it is decided");
    assert_eq!(world.attempts(call), executed);
    assert_eq!((end.status, end.attempts), (State::Error, 3), "{end:?}");
}

async fn a_drain_in_the_backoff(of: Of) {
    let world = World::new();
    world.publish(3, s(4), s(300)).await;
    let script = Script::always(fails());
    let first = world.start("w1", 1, &script);
    let call = world.one(of).await;
    begun(&world, 1).await;
    first.drain().await;
    let _second = world.start("w2", 1, &script);
    fails_after(&world, call, &ALL, s(600)).await;
}

async fn two_drains_in_the_backoff(of: Of) {
    let world = World::new();
    world.publish(3, s(4), s(300)).await;
    let script = Script::always(fails());
    let call = world.one(of).await;
    for failed in 1..=2 {
        let worker = world.start(&format!("w{failed}"), 1, &script);
        begun(&world, failed).await;
        worker.drain().await;
    }
    let _last = world.start("w3", 1, &script);
    fails_after(&world, call, &ALL, s(600)).await;
}

/// Such a call waits on no worker.
async fn a_drain_in_a_backoff_that_takes_long(of: Of) {
    let world = World::new();
    world.publish(3, s(120), s(300)).await;
    let script = Script::always(fails());
    let call = world.one(of).await;
    let mut workers: Vec<Running> = Vec::new();
    for failed in 1..=2 {
        workers.push(world.start(&format!("w{failed}"), 1, &script));
        begun(&world, failed).await;
        tokio::time::sleep(s(20)).await;
        workers.remove(0).drain().await;
    }
    workers.push(world.start("w3", 1, &script));
    fails_after(&world, call, &ALL, h(1)).await;
    let at: Vec<Duration> = world.executions().iter().map(|execution| execution.at).collect();
    assert!(at.windows(2).all(|two| two[1] - two[0] >= s(119)), "before its time: {at:?}");
}

async fn a_mismatch_after_failures(of: Of) {
    let world = World::new();
    world.publish(3, s(1), s(300)).await;
    let _worker = world.start("w1", 1, &Script::in_turn([fails(), fails(), mismatches(), fails()]));
    let call = world.one(of).await;
    fails_after(&world, call, &THIRD_AGAIN, h(1)).await;
}

async fn two_mismatches_between_failures(of: Of) {
    let world = World::new();
    world.publish(3, s(1), s(300)).await;
    let acts = [mismatches(), fails(), mismatches(), fails(), fails()];
    let _worker = world.start("w1", 1, &Script::in_turn(acts));
    let call = world.one(of).await;
    fails_after(&world, call, &[1, 1, 2, 2, 3], h(1)).await;
}

async fn a_sick_worker_after_failures(of: Of) {
    let world = World::new();
    world.publish(3, s(1), s(300)).await;
    let _worker = world.start("w1", 1, &Script::in_turn([fails(), fails(), falls_sick(), fails()]));
    let call = world.one(of).await;
    fails_after(&world, call, &THIRD_AGAIN, h(1)).await;
}

async fn a_hand_over_of_a_running_attempt(of: Of) {
    let world = World::new();
    world.publish(3, s(1), s(300)).await;
    let script = Script::in_turn([fails(), fails(), answers(s(200)), fails()]);
    let mut config = world.config("w1", 1);
    config.grace = s(1);
    let first = world.start_with(config, |_| true, &script);
    let call = world.one(of).await;
    begun(&world, 3).await;
    first.drain().await;
    let _second = world.start("w2", 1, &script);
    fails_after(&world, call, &THIRD_AGAIN, h(1)).await;
}

async fn two_hand_overs_of_a_running_attempt(of: Of) {
    let world = World::new();
    world.publish(3, s(1), s(300)).await;
    let script = Script::in_turn([fails(), fails(), answers(s(200)), answers(s(200)), fails()]);
    let call = world.one(of).await;
    for (worker, executions) in [("w1", 3), ("w2", 4)] {
        let mut config = world.config(worker, 1);
        config.grace = s(1);
        let worker = world.start_with(config, |_| true, &script);
        begun(&world, executions).await;
        worker.drain().await;
    }
    let _third = world.start("w3", 1, &script);
    fails_after(&world, call, &[1, 2, 3, 3, 3], h(1)).await;
}

/// Its failures lie so far apart that each was recorded before the next attempt.
async fn a_lost_worker_after_failures(of: Of) {
    let world = World::new();
    world.publish(3, s(60), s(300)).await;
    let script = Script::in_turn([fails(), fails(), answers(s(200)), fails()]);
    let first = world.start("w1", 1, &script);
    let call = world.one(of).await;
    begun(&world, 3).await;
    first.kill().await;
    let _second = world.start("w2", 1, &script);
    fails_after(&world, call, &THIRD_AGAIN, h(2)).await;
}

/// A call that cannot start has three tries in all, on whichever workers.
async fn a_drain_between_tries_to_start(of: Of) {
    let world = World::new();
    world.publish(3, s(4), s(300)).await;
    let script = Script::always(cannot_start());
    let first = world.start("w1", 1, &script);
    let call = world.one(of).await;
    begun(&world, 1).await;
    first.drain().await;
    let _second = world.start("w2", 1, &script);
    fails_after(&world, call, &ALL, h(1)).await;
}

async fn a_mismatch_between_tries_to_start(of: Of) {
    let world = World::new();
    world.publish(3, s(1), s(300)).await;
    let acts = [cannot_start(), mismatches(), cannot_start(), cannot_start()];
    let _worker = world.start("w1", 1, &Script::in_turn(acts));
    let call = world.one(of).await;
    fails_after(&world, call, &[1, 2, 2, 3], h(1)).await;
}

/// A drain, a mismatch, a sick worker and a hand-over between three failures.
async fn every_trouble_in_turn(of: Of) {
    let world = World::new();
    world.publish(3, s(4), s(300)).await;
    let acts = [fails(), mismatches(), fails(), falls_sick(), answers(s(200)), fails()];
    let script = Script::in_turn(acts);
    let call = world.one(of).await;
    for (worker, executions) in [("w1", 1), ("w2", 5)] {
        let mut config = world.config(worker, 1);
        config.grace = s(1);
        let worker = world.start_with(config, |_| true, &script);
        begun(&world, executions).await;
        worker.drain().await;
    }
    let _third = world.start("w3", 1, &script);
    fails_after(&world, call, &[1, 2, 2, 3, 3, 3], h(1)).await;
}

/// What it says of its attempts is true of a call that succeeds too.
async fn an_answer_after_every_trouble(of: Of) {
    let world = World::new();
    world.publish(3, s(4), s(300)).await;
    let acts = [fails(), mismatches(), fails(), falls_sick(), answers(s(1))];
    let script = Script::in_turn(acts);
    let first = world.start("w1", 1, &script);
    let call = world.one(of).await;
    begun(&world, 1).await;
    first.drain().await;
    let _second = world.start("w2", 1, &script);
    let end = world.end_within(call, h(1)).await.expect("it is decided");
    assert_eq!(world.attempts(call), [1, 2, 2, 3, 3]);
    assert_eq!((end.status, end.attempts), (State::Success, 3), "{end:?}");
}

/// Exit code 75: a temporary failure. Or an answer that says when to try again.
async fn what_asks_to_be_tried_again_has_not_failed(of: Of) {
    for (retry_after, waits) in
        [(None, s(1)), (Some(RetryAfter::Wait(s(7))), s(7)), (Some(RetryAfter::Wait(s(40))), s(40))]
    {
        let world = World::new();
        world.publish(1, s(1), s(60)).await;
        let busy = Act::busy("exit code 75", retry_after).takes(ms(100));
        let _worker = world.start("w", 2, &Script::in_turn([busy.clone(), busy, answers(ms(100))]));
        let call = world.one(of).await;
        let end = world.end_within(call, s(300)).await.expect("decided");
        assert_eq!((end.status, end.attempts), (State::Success, 3), "{retry_after:?}: {end:?}");
        assert_eq!(world.attempts(call), [1, 2, 3]);
        let executions = world.executions();
        let waited = executions[1].at - executions[0].at;
        assert!(waited >= waits && waited <= waits + s(10), "{retry_after:?}: {waited:?}");
    }
}

/// Ten times beyond its attempts; then it has failed.
async fn what_asks_for_ever_to_be_tried_again_fails(of: Of) {
    for attempts_max in [1, 2] {
        let world = World::new();
        world.publish(attempts_max, ms(10), s(60)).await;
        let busy = Act::busy("exit code 75", Some(RetryAfter::Wait(ms(500)))).takes(ms(100));
        let _worker = world.start("w", 2, &Script::always(busy));
        let call = world.one(of).await;
        let end = world.end_within(call, s(600)).await.expect("decided");
        let expected = End {
            status: State::Error,
            attempts: 10 + attempts_max,
            reason: Some("exit code 75".to_owned()),
        };
        assert_eq!(end, expected);
    }
}
