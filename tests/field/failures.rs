//! `--max-failures`: how soon no call begins any more.

use std::time::Duration;

use afn::executor::scripted::Act;
use afn::layout::batch::MaxFailures;
use afn::model::{BatchId, State};
use afn::submit::batch::BatchOptions;

use super::script::{Execution, Script, answers, h, ms, s};
use super::world::{World, count};

/// Every so manieth call fails.
fn some_fail(every: u64, each: Duration) -> Script {
    Script::new(move |execution: &Execution| match execution.number % every {
        0 => Act::error("exit code 3").takes(each),
        _ => answers(each),
    })
}

async fn batch_that_stops(world: &World, calls: u64, chunk: u64, failures: u64) -> BatchId {
    let max_failures = Some(MaxFailures::Count(failures));
    world.batch_of("f", calls, chunk, BatchOptions { max_failures, ..BatchOptions::default() }).await
}

#[tokio::test(start_paused = true)]
async fn no_call_begins_five_seconds_after_the_last_failure_that_is_allowed() {
    for (workers, slots, every, each, begun) in [
        (4, 4, 10, ms(500), s(0)),
        (4, 4, 50, ms(500), s(0)),
        (4, 1, 7, s(2), s(0)),
        (4, 4, 20, s(20), s(0)),
        (4, 4, 10, ms(500), s(400)),
    ] {
        let world = World::new();
        world.publish(1, s(1), h(1)).await;
        let failures = 20;
        let first = (begun.as_millis() / each.as_millis()) as u64 * workers as u64 * slots as u64;
        let script = Script::new(move |execution: &Execution| {
            match execution.number > first && execution.number.is_multiple_of(every) {
                true => Act::error("exit code 3").takes(each),
                false => answers(each),
            }
        });
        let _fleet: Vec<_> = (0..workers).map(|n| world.start(&format!("w{n}"), slots, &script)).collect();
        let batch = batch_that_stops(&world, first + 20_000, 0, failures).await;
        world.over(batch, h(3)).await.expect("over");
        let executions = world.executions();
        let failed = executions
            .iter()
            .filter(|execution| execution.number > first && execution.number.is_multiple_of(every));
        let mut ended: Vec<Duration> = failed.map(|execution| execution.at + each).collect();
        ended.sort_unstable();
        let reached = ended[failures as usize - 1];
        let last = executions.iter().map(|execution| execution.at).max().expect("executions");
        let late = last.saturating_sub(reached);
        println!(
            "1 of {every} calls of {each:?} fails on {workers} × {slots}: the last begins {late:?} after failure {failures}"
        );
        assert!(late < s(5), "{late:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_has_seen_all_failures_begins_nothing_more() {
    let world = World::new();
    world.publish(1, s(1), h(1)).await;
    let _worker = world.start("w", 4, &some_fail(3, ms(500)));
    let batch = batch_that_stops(&world, 2_000, 0, 10).await;
    let over = world.over(batch, h(1)).await.expect("over");
    let rows = world.rows(batch).await;
    let (failed, cancelled) = (count(&rows, State::Error), count(&rows, State::Cancelled));
    println!("one worker: {failed} failed, {cancelled} cancelled, over after {over:?}");
    // Those that ran beside the last.
    assert!((10..=12).contains(&failed), "{failed}");
    assert!(world.executions().len() <= 36, "{}", world.executions().len());
    assert!(over < s(15), "{over:?}");
    let reason = rows.iter().find(|row| row.status == State::Cancelled).and_then(|row| row.error.clone());
    let reason = reason.expect("a reason");
    assert_eq!(reason, "stopped: 10 calls failed on worker w, --max-failures is 10");
}
