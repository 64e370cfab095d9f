//! One batch as it comes along, and what each look at it costs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::call::{self, load as load_call};
use super::super::fixture::{NOW, World, attempt, call_at};
use super::super::list::{Filter, list as list_calls, list_batches};
use super::call::find_call;
use super::fixture::{Made, batch_at, row, rows};
use super::*;
use crate::error::Code;
use crate::layout::Key;
use crate::layout::batch::Cancelled;
use crate::layout::part::RowResult;
use crate::model::{Digest, State};
use crate::seam::store::PutObject;

fn requests(world: &World) -> u64 {
    world.counts.snapshot().store_requests()
}

/// What this costs.
async fn spent<T>(world: &World, work: impl Future<Output = T>) -> (T, u64) {
    let before = requests(world);
    let done = work.await;
    (done, requests(world) - before)
}

#[tokio::test]
async fn a_batch_goes_from_its_submission_to_its_end() {
    let world = World::new();
    let missing = load(&world.deps, batch_at(NOW, 1)).await.expect_err("no such batch");
    assert_eq!(missing.code(), Code::NotFound);

    let made = Made::begun(&world, batch_at(NOW, 1)).await;
    let mut progress = BatchMonitor::open(&world.deps, made.id).await.expect("the batch");
    let look = progress.look().await.expect("a look");
    assert_eq!((look.view.status, look.view.stored, look.view.calls), (BatchStatus::Submitting, 0, None));
    assert_eq!((look.rate_per_s, look.left_ms), (None, None));

    made.chunk(1, 64).await;
    made.chunk(65, 128).await;
    made.part(64, &rows(1..=20)).await;
    world.deps.clock.sleep(Duration::from_secs(2)).await;
    let look = progress.look().await.expect("a look");
    assert_eq!((look.view.status, look.view.stored, look.view.decided), (BatchStatus::Submitting, 128, 20));
    assert_eq!((look.rate_per_s, look.left_ms), (Some(10.0), Some(10_800)));
    assert_eq!(look.view.workers.iter().collect::<Vec<_>>(), ["worker-1"]);

    made.chunk(129, 150).await;
    made.sealed(150, &[]).await;
    made.part(64, &[row(21, State::Error), row(22, State::Timeout)]).await;
    let view = progress.look().await.expect("a look").view;
    assert_eq!((view.status, view.calls, view.stored), (BatchStatus::Running, Some(150), 150));
    let counts = BTreeMap::from([(State::Success, 20), (State::Error, 1), (State::Timeout, 1)]);
    assert_eq!((view.counts.clone(), view.failed(), view.open()), (counts, 2, 128));
    assert_eq!((view.chunks, view.parts, view.requests["put"], view.run_ms), (3, 2, 2, 220));
    assert_eq!(load(&world.deps, made.id).await.expect("the batch"), view);

    made.part(64, &rows(23..=64)).await;
    made.part(128, &rows(65..=128)).await;
    made.part(150, &rows(129..=150)).await;
    let view = progress.look().await.expect("a look").view;
    assert_eq!((view.status, view.decided, view.open()), (BatchStatus::Failed, 150, 0));

    made.summary(&[(State::Success, 148), (State::Error, 1), (State::Timeout, 1)], None).await;
    let (view, spent) = spent(&world, load(&world.deps, made.id)).await;
    let view = view.expect("the batch");
    assert_eq!((view.status, view.parts, view.decided), (BatchStatus::Failed, 3, 150));
    assert_eq!(spent, 5, "pointer, list, definition, seal, summary: no footer");
}

#[tokio::test]
async fn a_look_costs_a_list_and_the_footers_of_what_has_grown() {
    let world = World::new();
    let made = Made::begun(&world, batch_at(NOW, 1)).await;
    for chunk in 0..20 {
        made.chunk(chunk * 10 + 1, chunk * 10 + 10).await;
    }
    made.sealed(200, &[]).await;
    for chunk in 0..15 {
        made.part(chunk * 10 + 10, &rows(chunk * 10 + 1..=chunk * 10 + 10)).await;
    }
    let mut progress = BatchMonitor::open(&world.deps, made.id).await.expect("the batch");
    let (look, cost) = spent(&world, progress.look()).await;
    assert_eq!((look.expect("a look").view.decided, cost), (150, 1 + 2 + 15 + 1));
    let (_, cost) = spent(&world, progress.look()).await;
    assert_eq!(cost, 2, "nothing has grown: the list, and what was asked of the batch");
    made.part(160, &rows(151..=155)).await;
    made.part(160, &rows(156..=158)).await;
    let (look, cost) = spent(&world, progress.look()).await;
    assert_eq!((look.expect("a look").view.decided, cost), (158, 3), "the last footer alone tells");
}

#[tokio::test]
async fn what_is_done_is_not_listed_again() {
    let world = World::with_pages(20);
    let made = Made::begun(&world, batch_at(NOW, 1)).await;
    let attempt = attempt(1);
    for number in 1..=100 {
        let key = Key::BatchResult(world.app.clone(), made.id, number, attempt);
        world.put(key, PutObject::create("large")).await;
        world.put(Key::Input(world.app.clone(), made.id, number), PutObject::create("large")).await;
    }
    for chunk in 0..100 {
        made.chunk(chunk * 2 + 1, chunk * 2 + 2).await;
        if chunk < 90 {
            made.part(chunk * 2 + 2, &rows([chunk * 2 + 1])).await;
            made.part(chunk * 2 + 2, &rows([chunk * 2 + 2])).await;
        }
    }
    let mut progress = BatchMonitor::open(&world.deps, made.id).await.expect("the batch");
    let before = world.counts.snapshot().list.requests;
    assert_eq!(progress.look().await.expect("a look").view.decided, 180);
    let first = world.counts.snapshot().list.requests - before;
    assert!((15..20).contains(&first), "{first} lists");
    let before = world.counts.snapshot().list.requests;
    made.part(182, &rows([181])).await;
    let appended = world.counts.snapshot().list.requests - before;
    let view = progress.look().await.expect("a look").view;
    let again = world.counts.snapshot().list.requests - before - appended;
    assert_eq!((view.decided, view.stored, view.chunks, view.parts), (181, 200, 100, 181));
    assert!(again <= 5, "{again} lists");
}

#[tokio::test]
async fn the_summary_decides_whether_a_batch_was_cancelled() {
    let world = World::new();
    let cancelled = Cancelled { by: "me".to_owned(), reason: "enough".to_owned(), at: NOW };
    let batch = async |number: u64, seal: bool| {
        let made = Made::begun(&world, batch_at(NOW, number)).await;
        made.chunk(1, 2).await;
        made.put(&cancelled).await;
        if seal {
            made.sealed(2, &[]).await;
        }
        made
    };
    let status = async |made: &Made<'_>| {
        let view = load(&world.deps, made.id).await.expect("the batch");
        assert_eq!(view.reason.as_deref(), Some("enough"));
        let row = list_batches(&world.deps, &world.app, 1, None).await.expect("a list").batches.remove(0);
        assert_eq!((row.batch, row.status), (made.id, view.status));
        view.status
    };
    let made = batch(1, false).await;
    assert_eq!(status(&made).await, BatchStatus::Cancelling);
    made.part(2, &[row(1, State::Success), row(2, State::Cancelled)]).await;
    made.sealed(2, &[]).await;
    made.summary(&[(State::Success, 1), (State::Cancelled, 1)], Some("enough")).await;
    assert_eq!(status(&made).await, BatchStatus::Cancelled);

    // It had come to its end already.
    let made = batch(2, true).await;
    made.part(2, &rows(1..=2)).await;
    made.summary(&[(State::Success, 2)], Some("enough")).await;
    assert_eq!(status(&made).await, BatchStatus::Success);
}

#[tokio::test]
async fn a_deleted_batch_leaves_its_summary() {
    let world = World::new();
    let made = Made::begun(&world, batch_at(NOW, 1)).await;
    made.summary(&[(State::Success, 2)], None).await;
    let gone = Key::Batch(world.app.clone(), made.id);
    world.deps.store.delete(&[gone]).await.expect("deleted");
    let view = load(&world.deps, made.id).await.expect("the batch");
    assert_eq!((view.status, view.calls, view.function), (BatchStatus::Success, Some(2), None));
}

#[tokio::test]
async fn a_wait_ends_with_the_last_call_or_on_time() {
    let world = World::new();
    let made = Made::begun(&world, batch_at(NOW, 1)).await;
    made.chunk(1, 2).await;
    made.sealed(2, &[]).await;
    let limit = Some(Duration::from_secs(60));
    let mut looks = 0;
    let error = wait(&world.deps, made.id, limit, |_| looks += 1).await.expect_err("nobody works");
    assert_eq!(error.code(), Code::WaitTimedOut);
    assert!(error.message().ends_with("after 1m: it is queued, 0 calls decided"), "{error}");
    assert!((30..50).contains(&looks), "{looks} looks in a minute");
    made.part(2, &rows(1..=2)).await;
    let view = wait(&world.deps, made.id, None, |_| {}).await.expect("its end");
    assert_eq!(view.status, BatchStatus::Success);
}

#[tokio::test]
async fn a_decided_call_is_found_in_four_requests_and_an_undecided_one_in_five() {
    let world = World::new();
    let made = Made::begun(&world, batch_at(NOW, 1)).await;
    for chunk in 0..4 {
        made.chunk(chunk * 64 + 1, chunk * 64 + 64).await;
    }
    made.sealed(256, &[]).await;
    made.part(128, &rows(70..=80)).await;
    made.part(128, &[row(65, State::Error)]).await;
    made.part(128, &rows(81..=90)).await;
    let find = async |number: u64, most: u64| {
        let (found, cost) = spent(&world, find_call(&world.deps, &world.app, made.id.call(number))).await;
        assert!(cost <= most, "call {number} took {cost} requests");
        found.expect("an answer")
    };
    for number in [70, 80, 81, 90] {
        let view = find(number, 4).await;
        assert_eq!(
            (view.state, view.run_ms, view.version.to_string()),
            (State::Success, Some(10), made.body.version.to_string())
        );
        assert_eq!(view.started_at, Some(NOW.plus_ms(number)));
    }
    let failed = find(65, 4).await;
    assert_eq!((failed.state, failed.reason.as_deref()), (State::Error, Some("exit code 3")));
    assert_eq!((find(66, 5).await.state, find(128, 5).await.state), (State::Running, State::Running));
    let queued = find(1, 5).await;
    assert_eq!((queued.state, queued.created_at, queued.function.as_str()), (State::Queued, NOW, "asyncfn"));
    assert_eq!(find(256, 5).await.state, State::Queued);
}

#[tokio::test]
async fn what_is_not_submitted_yet_is_told_from_what_there_is_not() {
    let world = World::new();
    let made = Made::begun(&world, batch_at(NOW, 1)).await;
    made.chunk(1, 64).await;
    // The chunk in between is still on its way (R1).
    made.chunk(129, 192).await;
    for number in [65, 128, 193] {
        let error = load_call(&world.deps, &world.app, made.id.call(number)).await.expect_err("not yet");
        assert!(error.message().contains("is not submitted yet"), "{number}: {error}");
    }
    assert_eq!(
        load_call(&world.deps, &world.app, made.id.call(129)).await.expect("a call").state,
        State::Queued
    );
    made.sealed(192, &[(65, 128)]).await;
    for number in [65, 128, 193] {
        let error = load_call(&world.deps, &world.app, made.id.call(number)).await.expect_err("no such call");
        assert!(error.message().ends_with("it has 128 calls"), "{number}: {error}");
    }
    let nobodys = batch_at(NOW, 2).call(1);
    let error = load_call(&world.deps, &world.app, nobodys).await.expect_err("no such batch");
    assert!(error.message().contains("no batch"), "{error}");
    let view = call::find(&world.deps, made.id.call(1)).await.expect("found by its id alone");
    assert_eq!((view.app.clone(), view.state), (world.app.clone(), State::Queued));
}

#[tokio::test]
async fn bodies_of_a_batchs_call_come_from_its_row_and_objects_of_their_own() {
    let world = World::new();
    let made = Made::begun(&world, batch_at(NOW, 1)).await;
    made.chunk(1, 3).await;
    made.sealed(3, &[]).await;
    let large = "a large result".repeat(3);
    let stored = RowResult::Stored {
        attempt: attempt(1),
        bytes: large.len() as u64,
        sha256: Digest::of(large.as_bytes()),
    };
    let key = Key::BatchResult(world.app.clone(), made.id, 2, attempt(1));
    world.put(key, PutObject::create(large.clone().into_bytes())).await;
    let mut second = row(2, State::Success);
    second.result = stored;
    made.part(3, &[row(1, State::Success), second, row(3, State::Error)]).await;

    let bodies = async |number: u64| {
        let view = load_call(&world.deps, &world.app, made.id.call(number)).await.expect("the call");
        let mut bodies = [Vec::new(), Vec::new()];
        let [printed, answered] = &mut bodies;
        call::log(&world.deps, &view, printed).await.expect("the log");
        let answer = call::result(&world.deps, &view, answered).await;
        (bodies.map(|body| String::from_utf8(body).expect("text")), answer)
    };
    let (first, _) = bodies(1).await;
    assert_eq!(first, ["", "{\"n\":1}"]);
    let (second, _) = bodies(2).await;
    assert_eq!(second, ["log of 2", &large]);
    let (_, answer) = bodies(3).await;
    assert!(answer.expect_err("it failed").message().ends_with("it ended in error: exit code 3"));
}

#[tokio::test]
async fn calls_and_batches_are_listed_apart_newest_first() {
    let world = World::new();
    let at = |ms: u64| NOW.minus_ms(1_000).plus_ms(ms);
    for n in 0..6 {
        match n % 3 {
            0 => drop(Made::begun(&world, batch_at(at(n), n)).await),
            _ => world.done(call_at(at(n), n), State::Success, "/asyncfn").await,
        }
    }
    let calls = list_calls(&world.deps, &world.app, &Filter::default()).await.expect("a list");
    let ids: Vec<_> = calls.calls.iter().map(|call| call.id).collect();
    assert_eq!(ids, [5, 4, 2, 1].map(|n| call_at(at(n), n)));
    let mut cursor = None;
    let mut batches = Vec::new();
    loop {
        let found = list_batches(&world.deps, &world.app, 1, cursor).await.expect("a list");
        batches.extend(found.batches.iter().map(|row| (row.batch, row.status)));
        cursor = found.cursor;
        if cursor.is_none() {
            break;
        }
    }
    let submitting = |n| (batch_at(at(n), n), BatchStatus::Submitting);
    assert_eq!(batches, [submitting(3), submitting(0)]);
}
