//! Rows in order, whatever lies in which part.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::error::Code;
use crate::layout::batch::Retry;
use crate::layout::footer::Footer;
use crate::layout::part::{self, RowResult};
use crate::layout::{Key, Runs, key};
use crate::model::BatchRef;
use crate::outcomes::{Chunk, Log};
use crate::results::batch::fixture::{Made, batch_at, row, rows};
use crate::results::fixture::{NOW, World};
use crate::seam::StoreExt as _;
use crate::seam::store::{List, PutObject};

async fn all(mut rows: Rows) -> Result<Vec<ResultRow>> {
    let mut all = Vec::new();
    while let Some(block) = rows.next().await? {
        assert!(!block.is_empty());
        all.extend(block);
    }
    Ok(all)
}

async fn read(made: &Made<'_>, options: Options) -> Result<Vec<ResultRow>> {
    all(Rows::open(&made.world.deps, made.id, options).await?).await
}

fn numbers(rows: &[ResultRow]) -> Vec<u64> {
    rows.iter().map(|row| row.number).collect()
}

fn unfinished() -> Options {
    Options { finished: Finished::NeedNot, ..Options::default() }
}

#[tokio::test]
async fn rows_come_by_number_whichever_parts_hold_them() {
    let world = World::new();
    let made = Made::begun(&world, batch_at(NOW, 1)).await;
    made.chunk(1, 6).await;
    made.chunk(7, 10).await;
    made.part(10, &rows([8, 10])).await;
    made.part(6, &rows([5, 2, 4])).await;
    made.part(6, &[row(1, State::Error), row(6, State::Timeout)]).await;
    made.part(10, &rows([7, 9])).await;
    made.part(6, &rows([3])).await;
    made.sealed(10, &[]).await;

    let before = world.counts.snapshot();
    let rows = read(&made, Options { finished: Finished::Is, ..Options::default() }).await.expect("rows");
    let gets = world.counts.snapshot().get.requests - before.get.requests;
    assert_eq!(numbers(&rows), (1..=10).collect::<Vec<u64>>());
    assert_eq!(gets, 2 + 5, "pointer, seal, a read of each part");
    assert_eq!((rows[0].status, rows[5].status), (State::Error, State::Timeout));
    let third = rows[2].outcome.as_ref().expect("decided");
    assert_eq!((third.result.clone(), third.log.as_deref()), (RowResult::Inline("{\"n\":3}".into()), None));
    assert_eq!(rows[2].call, made.id.call(3));
    assert!(rows.iter().all(|row| row.input.is_none()));

    let failed = Options { statuses: vec![State::Error, State::Timeout], input: true, ..Options::default() };
    let failed = read(&made, failed).await.expect("rows");
    assert_eq!(numbers(&failed), [1, 6]);
    let input = failed[1].input.as_ref().expect("asked for");
    assert_eq!((input.payload.as_ref(), input.content_type.as_deref()), (&b"line 6"[..], Some("text/plain")));
}

#[tokio::test]
async fn a_batch_that_has_not_finished_is_an_error_unless_what_there_is_will_do() {
    let world = World::new();
    let made = Made::begun(&world, batch_at(NOW, 1)).await;
    made.chunk(1, 4).await;
    made.chunk(5, 8).await;
    made.part(4, &rows([2, 3])).await;
    let error = read(&made, Options::default()).await.expect_err("not sealed");
    assert_eq!(error.code(), Code::Conflict);
    assert!(error.message().ends_with("has not finished: 2 calls are decided"), "{error}");
    made.sealed(8, &[]).await;
    let error = read(&made, Options::default()).await.expect_err("not decided");
    assert!(error.message().ends_with("has not finished: 2 of 8 calls are decided"), "{error}");
    let error = read(&made, Options { finished: Finished::Is, ..Options::default() }).await;
    assert!(error.expect_err("it is not").message().contains("call 1 of batch"));

    let there = Rows::open(&world.deps, made.id, unfinished()).await.expect("rows");
    let again = there.again();
    made.part(8, &rows([5])).await;
    let there = all(there).await.expect("rows");
    let states: Vec<State> = there.iter().map(|row| row.status).collect();
    let (run, wait, done) = (State::Running, State::Queued, State::Success);
    assert_eq!(states, [run, done, done, run, wait, wait, wait, wait]);
    assert_eq!(all(again).await.expect("rows"), there, "decided meanwhile");
}

#[tokio::test]
async fn a_part_that_cannot_be_read_is_an_error_after_the_other_rows() {
    let world = World::new();
    let made = Made::begun(&world, batch_at(NOW, 1)).await;
    made.chunk(1, 4).await;
    made.chunk(5, 6).await;
    made.part(4, &rows(1..=2)).await;
    made.part(6, &rows(5..=6)).await;
    made.sealed(6, &[]).await;
    let damaged = Key::Part(world.app.clone(), made.id, 4, 1);
    world.put(damaged.clone(), PutObject::create("damaged")).await;
    for options in [unfinished(), Options { finished: Finished::Is, ..Options::default() }] {
        let mut rows = Rows::open(&world.deps, made.id, options).await.expect("rows");
        let mut read = Vec::new();
        let error = loop {
            match rows.next().await {
                Ok(block) => read.extend(block.expect("an error comes last")),
                Err(error) => break error,
            }
        };
        assert_eq!(numbers(&read), [1, 2, 5, 6]);
        assert!(error.message().contains(&damaged.to_string()), "{error}");
    }
}

#[tokio::test]
async fn missing_numbers_and_chunks_that_came_too_late_have_no_rows() {
    let world = World::new();
    let made = Made::begun(&world, batch_at(NOW, 1)).await;
    made.chunk(1, 3).await;
    made.chunk(6, 8).await;
    made.chunk(9, 12).await;
    made.part(3, &rows(1..=3)).await;
    made.part(8, &rows(6..=8)).await;
    made.sealed(8, &[(4, 5)]).await;
    let rows = Rows::open(&world.deps, made.id, Options::default()).await.expect("rows");
    assert_eq!(numbers(&all(rows).await.expect("rows")), [1, 2, 3, 6, 7, 8]);
}

#[tokio::test]
async fn what_lies_behind_a_gap_is_not_read_and_the_lowest_part_wins() {
    let world = World::new();
    let made = Made::begun(&world, batch_at(NOW, 1)).await;
    made.chunk(1, 4).await;
    made.sealed(4, &[]).await;
    made.part(4, &rows([1, 2])).await;
    // Parts that break the rules: one names a number again, one lies behind a gap.
    let chunk = Chunk::of(&world.app, made.id, &made.body, 4);
    let log = Log::open(&*world.deps.store, chunk).await.expect("a log");
    let footer = Footer {
        v: 1,
        app: world.app.clone(),
        function: made.body.function.clone(),
        route: made.body.route.clone(),
        version: made.body.version.clone(),
        batch: made.id,
        last: 4,
        decided: log.decided().clone(),
        counts: BTreeMap::new(),
        requests: BTreeMap::new(),
        run_ms: 0,
        pending: Runs::default(),
        executions: 0,
        executions_ms: 0,
        started: false,
        writer: None,
    };
    let put = async |part: u64, rows: &[Row]| {
        let file = part::encode(made.id, rows, &footer).expect("a part");
        world.put(Key::Part(world.app.clone(), made.id, 4, part), PutObject::create(file)).await;
    };
    put(1, &[row(2, State::Error), row(3, State::Success)]).await;
    put(3, &[row(4, State::Success)]).await;
    let there = read(&made, unfinished()).await.expect("rows");
    let states: Vec<State> = there.iter().map(|row| row.status).collect();
    assert_eq!(states, [State::Success, State::Success, State::Success, State::Running]);
}

#[tokio::test]
async fn retries_lie_over_what_failed() {
    let world = World::new();
    let made = async |number: u64, over: Option<&Made<'_>>| {
        let made = Made::begun(&world, batch_at(NOW, number)).await;
        if let Some(over) = over {
            let retry = Retry { batch: made.id, nonce: world.deps.nonce() };
            world.put_fact(&(BatchRef::new(&world.app, over.id), 1), &retry).await;
        }
        made
    };
    let record = |number: u64, line: u64| Record {
        number,
        payload: format!("line {line}").into(),
        content_type: None,
        headers: BTreeMap::new(),
        refused: None,
        source_line: Some(line),
        input: None,
        key: None,
        object: None,
    };
    let first = made(1, None).await;
    first.chunk(1, 6).await;
    let failed = [2, 3, 6].map(|number| row(number, State::Error));
    first.part(6, &failed).await;
    first.part(6, &rows([1, 4, 5])).await;
    first.sealed(6, &[]).await;
    let latest = Options { latest: true, ..Options::default() };
    let plain = read(&first, Options::default()).await.expect("rows");
    assert_eq!(read(&first, latest.clone()).await.expect("rows"), plain, "there is no retry");

    let second = made(2, Some(&first)).await;
    second.records(&[record(1, 2), record(2, 3), record(3, 6)]).await;
    second.part(3, &[row(1, State::Success), row(2, State::Timeout)]).await;
    let error = read(&first, latest.clone()).await.expect_err("the retry has not finished");
    assert!(error.message().contains(&second.id.to_string()), "{error}");
    let there = Options { finished: Finished::NeedNot, ..latest.clone() };
    let states: Vec<State> = read(&first, there).await.expect("rows").iter().map(|row| row.status).collect();
    assert_eq!(states[1..3], [State::Success, State::Timeout]);
    assert_eq!(states[5], State::Running);
    second.part(3, &[row(3, State::Success)]).await;
    second.sealed(3, &[]).await;

    let third = made(3, Some(&second)).await;
    third.records(&[record(1, 2)]).await;
    third.part(1, &[row(1, State::Success)]).await;
    third.sealed(1, &[]).await;
    let rows = read(&first, latest).await.expect("rows");
    let found: Vec<(u64, CallId, State)> =
        rows.iter().map(|row| (row.number, row.call, row.status)).collect();
    let calls = [
        first.id.call(1),
        second.id.call(1),
        third.id.call(1),
        first.id.call(4),
        first.id.call(5),
        second.id.call(3),
    ];
    let expected: Vec<_> = (1..).zip(calls).map(|(number, call)| (number, call, State::Success)).collect();
    assert_eq!(found, expected);
    assert_eq!(read(&first, Options::default()).await.expect("rows"), plain, "the batch itself is as it was");
}

#[tokio::test]
async fn a_reading_that_nobody_ends_ends_itself() {
    let world = World::new();
    let made = Made::begun(&world, batch_at(NOW, 1)).await;
    for chunk in 0..100 {
        made.chunk(chunk + 1, chunk + 1).await;
        made.part(chunk + 1, &rows([chunk + 1])).await;
    }
    made.sealed(100, &[]).await;
    let before = world.counts.snapshot().get.requests;
    let options = Options { finished: Finished::Is, ..Options::default() };
    let mut rows = Rows::open(&world.deps, made.id, options).await.expect("rows");
    assert_eq!(numbers(&rows.next().await.expect("rows").expect("some")), [1]);
    drop(rows);
    let read = world.counts.snapshot().get.requests - before;
    assert!(read < 60, "{read} objects were read for one row");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any calls in any parts, in any order, some undecided.
    #[test]
    fn every_number_once_and_in_order(
        parts in prop::collection::vec(prop::collection::btree_set(1u64..=40, 1..12), 0..8),
        cuts in prop::collection::btree_set(1u64..40, 0..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let world = World::new();
            let made = Made::begun(&world, batch_at(NOW, 1)).await;
            let ends: Vec<u64> = cuts.into_iter().chain([40]).collect();
            let mut first = 1;
            for last in &ends {
                made.chunk(first, *last).await;
                first = last + 1;
            }
            made.sealed(40, &[]).await;
            let mut decided = std::collections::BTreeSet::new();
            for part in parts {
                let mut first = 1;
                for last in &ends {
                    let open: Vec<u64> = part.range(first..=*last).filter(|n| !decided.contains(*n)).copied().collect();
                    if !open.is_empty() {
                        made.part(*last, &rows(open.iter().rev().copied())).await;
                        decided.extend(open);
                    }
                    first = last + 1;
                }
            }
            let there = read(&made, unfinished()).await.expect("rows");
            prop_assert_eq!(numbers(&there), (1..=40).collect::<Vec<u64>>());
            for row in &there {
                prop_assert_eq!(row.outcome.is_some(), decided.contains(&row.number));
                prop_assert_eq!(row.outcome.as_ref().map_or(row.number, |row| row.number), row.number);
            }
            prop_assert_eq!(read(&made, Options::default()).await.is_ok(), decided.len() == 40);
            let logs = world.deps.store.list_all(List::all(key::outcomes(&world.app, made.id))).await.expect("logs");
            prop_assert!(logs.entries.len() <= 48);
            Ok(())
        })?;
    }
}
