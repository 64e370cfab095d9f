//! Fleets in which not every worker suits: a mismatch never decides a call. It stays queued, and those that suit meet it
//! soon; only after 14 days without a start it ends, and says so.

use std::collections::BTreeMap;
use std::time::Duration;

use afn::layout::part::Row;
use afn::model::State;
use afn::submit::batch::BatchOptions;

use super::script::{Execution, Script, answers, h, mismatches, ms, s};
use super::world::{End, Of, Running, World, count};

single_and_batch!(
    a_call_that_no_worker_suits_is_queued_for_14_days,
    a_call_waits_for_the_worker_that_suits,
    an_image_that_turns_out_not_to_suit_is_run_elsewhere,
);

const TOO_LATE: &str = "not started within 14 days: linux/arm64, this worker runs linux/amd64";

/// How many calls of a batch were not answered, by the reason that their rows give.
fn not_answered(rows: &[Row]) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for row in rows.iter().filter(|row| row.status != State::Success) {
        *reasons.entry(row.error.clone().unwrap_or_default()).or_default() += 1;
    }
    reasons
}

async fn a_call_that_no_worker_suits_is_queued_for_14_days(of: Of) {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let _worker = world.start_unsuited("unsuited", 1);
    let call = world.one(of).await;
    let mut waited = Duration::ZERO;
    for until in [h(2), h(24), h(14 * 24 - 12)] {
        tokio::time::sleep(until - waited).await;
        waited = until;
        assert_eq!(world.end(call).await, None, "decided within {until:?}");
    }
    tokio::time::sleep(h(24)).await;
    let end = End { status: State::Error, attempts: 0, reason: Some(TOO_LATE.to_owned()) };
    assert_eq!(world.end(call).await, Some(end));
    assert!(world.executions().is_empty());
}

/// For days it meets workers that do not suit; the first one that suits runs it at once.
async fn a_call_waits_for_the_worker_that_suits(of: Of) {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let _unsuited: Vec<Running> = (0..3).map(|n| world.start_unsuited(&format!("unsuited-{n}"), 4)).collect();
    let call = world.one(of).await;
    tokio::time::sleep(h(30)).await;
    let _suited = world.start("suited", 1, &Script::always(answers(s(1))));
    let end = world.end_within(call, s(60)).await.expect("it is run within a minute");
    assert_eq!((end.status, end.attempts), (State::Success, 1), "{end:?}");
}

/// What a version says of itself suits this worker; the image does not, and that is found out at the start.
async fn an_image_that_turns_out_not_to_suit_is_run_elsewhere(of: Of) {
    let world = World::new();
    world.publish(2, s(1), s(300)).await;
    let script = Script::new(|execution: &Execution| match execution.worker.as_str() {
        "suited" => answers(s(1)),
        _ => mismatches(),
    });
    let _unsuited: Vec<Running> = (0..3).map(|n| world.start(&format!("unsuited-{n}"), 1, &script)).collect();
    let call = world.one(of).await;
    tokio::time::sleep(h(2)).await;
    assert_eq!(world.end(call).await, None);
    let _suited = world.start("suited", 1, &script);
    let end = world.end_within(call, s(600)).await.expect("it is run");
    assert_eq!((end.status, end.attempts), (State::Success, 1), "{end:?}");
}

/// One worker that suits has two hours to do, beside workers that do not suit and have nothing else.
#[tokio::test(start_paused = true)]
async fn a_batch_that_a_worker_works_on_is_not_given_up_by_others() {
    for unsuited in [1, 3] {
        let world = World::new();
        world.publish(1, s(1), s(300)).await;
        let _suited = world.start("suited", 1, &Script::always(answers(s(120))));
        let _unsuited: Vec<Running> =
            (0..unsuited).map(|n| world.start_unsuited(&format!("unsuited-{n}"), 1)).collect();
        let batch = world.batch(64, 0).await;
        assert!(world.over(batch, h(6)).await.is_some(), "not over, beside {unsuited} that do not suit");
        let rows = world.rows(batch).await;
        assert_eq!((rows.len(), not_answered(&rows)), (64, BTreeMap::new()));
    }
}

/// A range that was handed over after more than an hour of work, and then meets a worker that does not suit.
#[tokio::test(start_paused = true)]
async fn a_range_that_ran_is_not_given_up_by_the_next_worker() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let unsuited = world.start_unsuited("unsuited-1", 1);
    let batch = world.batch(64, 0).await;
    tokio::time::sleep(s(1)).await;
    unsuited.drain().await;
    let script = Script::always(answers(s(120)));
    let suited = world.start("suited-1", 1, &script);
    tokio::time::sleep(s(4_000)).await;
    suited.stop().await;
    let _unsuited = world.start_unsuited("unsuited-2", 1);
    tokio::time::sleep(s(60)).await;
    let _suited = world.start("suited-2", 1, &script);
    assert!(world.over(batch, h(6)).await.is_some());
    let rows = world.rows(batch).await;
    assert_eq!((rows.len(), not_answered(&rows)), (64, BTreeMap::new()));
}

/// A small share of a fleet suits; every call is short, and that share has slots enough.
#[tokio::test(start_paused = true)]
async fn short_calls_in_a_mixed_fleet_are_all_answered() {
    const CALLS: usize = 200;
    let mut wrong = Vec::new();
    for workers in [50, 10, 4] {
        let world = World::new().shuffled();
        world.publish(1, s(1), s(300)).await;
        let script = Script::always(answers(s(1)));
        let mut running: Vec<Running> =
            (1..workers).map(|n| world.start_unsuited(&format!("w{n}"), 4)).collect();
        running.push(world.start("suited", 16, &script));
        let mut calls = Vec::new();
        for n in 0..CALLS {
            calls.push(world.call(&n.to_string()).await);
            tokio::time::sleep(ms(300)).await;
        }
        tokio::time::sleep(s(4_500)).await;
        let mut answered = 0;
        for call in calls {
            let end = world.end(call).await;
            answered += usize::from(end.is_some_and(|end| end.status == State::Success));
        }
        wrong.push((workers, CALLS - answered));
    }
    assert!(wrong.iter().all(|(_, wrong)| *wrong == 0), "(workers, calls without an answer): {wrong:?}");
}

/// More than two hours of work for the worker that suits, beside one that does not.
#[tokio::test(start_paused = true)]
async fn a_backlog_in_a_mixed_fleet_is_worked_off() {
    let world = World::new();
    world.publish(1, s(1), s(1_000)).await;
    let _unsuited = world.start_unsuited("unsuited", 4);
    let _suited = world.start("suited", 4, &Script::always(answers(s(300))));
    let mut calls = Vec::new();
    for n in 0..100 {
        calls.push(world.call(&n.to_string()).await);
    }
    tokio::time::sleep(h(6)).await;
    for call in calls {
        let end = world.end(call).await.expect("it is decided");
        assert_eq!((end.status, end.attempts), (State::Success, 1), "{end:?}");
    }
}

/// Three versions for three kinds of machines, two workers of each kind: each call runs where it can.
#[tokio::test(start_paused = true)]
async fn three_kinds_of_machines_share_a_queue() {
    const KINDS: [&str; 3] = ["amd64", "arm64", "riscv64"];
    let world = World::new().shuffled();
    for kind in KINDS {
        world.publish_for(kind, Some(kind), 2, s(1), s(300)).await;
    }
    let script = Script::always(answers(s(20)));
    let mut workers: Vec<Running> = Vec::new();
    for n in 0..6 {
        let kind = KINDS[n % 3];
        let config = world.config(&format!("{kind}-{n}"), 2);
        workers.push(world.start_with(config, move |version| version.arch.as_deref() == Some(kind), &script));
    }
    let mut batches = Vec::new();
    for kind in KINDS {
        batches.push(world.batch_of(kind, 60, 0, BatchOptions::default()).await);
    }
    let mut calls = Vec::new();
    for n in 0..60 {
        calls.push(world.call_of(KINDS[n % 3], &n.to_string()).await);
        tokio::time::sleep(s(10)).await;
    }
    for batch in batches {
        assert!(world.over(batch, h(3)).await.is_some(), "a batch is not over");
        let rows = world.rows(batch).await;
        assert_eq!((count(&rows, State::Success), not_answered(&rows)), (60, BTreeMap::new()));
    }
    for call in calls {
        let end = world.end_within(call, h(1)).await.expect("it is decided");
        assert_eq!((end.status, end.attempts), (State::Success, 1), "{end:?}");
    }
}

/// The only worker that suits comes and goes; those that do not suit are there all the time.
#[tokio::test(start_paused = true)]
async fn a_suited_worker_that_comes_and_goes_finishes_the_batch() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let _unsuited: Vec<Running> = (0..2).map(|n| world.start_unsuited(&format!("unsuited-{n}"), 2)).collect();
    let batch = world.batch(64, 0).await;
    let script = Script::always(answers(s(120)));
    for life in 0..4 {
        let suited = world.start(&format!("suited-{life}"), 4, &script);
        tokio::time::sleep(s(900)).await;
        suited.drain().await;
        tokio::time::sleep(h(2)).await;
    }
    let _last = world.start("suited-last", 4, &script);
    assert!(world.over(batch, h(6)).await.is_some());
    let rows = world.rows(batch).await;
    assert_eq!((rows.len(), not_answered(&rows)), (64, BTreeMap::new()));
}
