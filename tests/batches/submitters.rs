//! Submitters that are killed or paused: no record is lost, none is doubled.

use std::time::Duration;

use afn::layout::Key;
use afn::model::{BatchId, State};
use afn::results;
use afn::seam::StoreExt as _;

use super::facts::one_outcome_each;
use super::ground::{ECHO, mostly_bad, random};
use super::world::{APP, PATIENCE, World};
use crate::support::Running;

everywhere!(
    killed_at_any_point,
    paused_while_another_goes_on,
    a_source_that_changed,
    killed_by_its_own_batch_run
);

/// Long enough that a submission can be met in the middle of it.
const CALLS: u64 = 20_000;
const GOOD_EVERY: u64 = 100;
/// Submitters of which one has to be met in the middle.
const TRIES: usize = 20;

/// The batch that somebody has begun to submit, as soon as its first chunk is stored; beside `before` others.
pub async fn begun(world: &World, before: usize) -> BatchId {
    let begun = tokio::time::Instant::now();
    let deps = world.open().await.deps;
    loop {
        let listed =
            results::list::list_batches(&deps, &world.app(), before + 1, None).await.expect("a list");
        if let Some(row) = listed.batches.first()
            && listed.batches.len() > before
            && results::batch::load(&deps, row.batch).await.expect("a batch").stored > 0
        {
            return row.batch;
        }
        assert!(begun.elapsed() < PATIENCE, "nothing is submitted");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until records 1 to 64 are stored: chunks are written side by side, and come to be in any order.
pub async fn first_chunk(world: &World, batch: BatchId) {
    let store = world.open().await.deps.store;
    let key = Key::Chunk(world.app(), batch, 64);
    let begun = tokio::time::Instant::now();
    while !store.exists(&key).await.expect("a head") {
        assert!(begun.elapsed() < PATIENCE, "{key} is not written");
    }
}

/// Stops a submitter where it is. If it is just writing into the file that others share it goes on a little: a stopped
/// process keeps its lock, and nobody could go on beside it.
async fn pause(world: &World, submitter: &Running) {
    loop {
        submitter.pause().await;
        if !world.is_embedded() {
            return;
        }
        let database = rusqlite::Connection::open(world.database()).expect("the file opens");
        database.busy_timeout(Duration::ZERO).expect("a number");
        if database.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok() {
            return;
        }
        submitter.go_on();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A submitter that is paused after its first chunk and before its last, and its batch. On a busy machine a submission may
/// be over before this process gets to stop it: then the next one is tried.
async fn paused_midway(world: &World, submit: impl Fn() -> Running) -> (Running, BatchId) {
    for _ in 0..TRIES {
        let before = world.batches().await.len();
        let submitter = submit();
        let batch = begun(world, before).await;
        first_chunk(world, batch).await;
        pause(world, &submitter).await;
        let view = results::batch::load(&world.open().await.deps, batch).await.expect("a batch");
        if view.sealed.is_none() {
            return (submitter, batch);
        }
        submitter.go_on();
        submitter.kill().await;
    }
    panic!("{TRIES} submitters were stopped too late to show anything");
}

/// The batch of a submitter that was killed after its first chunk and before its last.
pub async fn cut_off_midway(world: &World, submit: impl Fn() -> Running) -> BatchId {
    let (submitter, batch) = paused_midway(world, submit).await;
    submitter.kill().await;
    batch
}

fn submit(world: &World) -> Running {
    world.spawn(&format!("batch submit {APP} /echo in.jsonl"))
}

async fn all_is_well(world: &World, batch: BatchId) {
    let view = world.over(batch).await;
    assert_eq!(view.calls, Some(CALLS));
    let rows = one_outcome_each(world, batch, CALLS).await;
    for (number, row) in rows {
        let status = if number.is_multiple_of(GOOD_EVERY) { State::Success } else { State::Error };
        assert_eq!(row.status, status, "{row:?}");
    }
}

async fn killed_at_any_point(world: World) {
    world.deploy("echo", ECHO).await;
    world.write("in.jsonl", mostly_bad(CALLS, GOOD_EVERY));
    let _worker = world.worker("-j 2").await;
    let submitter = world.spawn(&format!("batch submit {APP} /echo in.jsonl"));
    let batch = begun(&world, 0).await;
    submitter.kill().await;
    for _ in 0..4 {
        let resumer = world.spawn(&format!("batch resume {batch}"));
        tokio::time::sleep(Duration::from_millis(random("killed after ms", 600))).await;
        resumer.kill().await;
    }
    world.afn(&format!("batch resume {batch}")).await.ok();
    all_is_well(&world, batch).await;
    assert_eq!(world.batches().await, [batch]);
}

async fn paused_while_another_goes_on(world: World) {
    world.deploy("echo", ECHO).await;
    world.write("in.jsonl", mostly_bad(CALLS, GOOD_EVERY));
    let (mut submitter, batch) = paused_midway(&world, || submit(&world)).await;
    let _worker = world.worker("-j 2").await;
    world.afn(&format!("batch resume {batch}")).await.ok();
    let view = results::batch::load(&world.open().await.deps, batch).await.expect("a batch");
    assert!(view.sealed.is_some(), "{view:#?}");
    submitter.go_on();
    assert_eq!(submitter.ended().await, 0, "{:#?}", submitter.lines());
    all_is_well(&world, batch).await;
}

async fn a_source_that_changed(world: World) {
    world.deploy("echo", ECHO).await;
    let text = mostly_bad(CALLS, GOOD_EVERY);
    world.write("in.jsonl", &text);
    let batch = cut_off_midway(&world, || submit(&world)).await;

    world.write("in.jsonl", text.replacen("bad 7\n", "bad seven\n", 1));
    let said = world.afn(&format!("batch resume {batch}")).await.failed(2);
    assert!(said.contains("the source has changed: records 1 to 64 were others"), "{said}");
    assert!(said.contains(&format!("`afn batch seal {batch}`")), "{said}");
    // Fewer records than are stored.
    world.write("in.jsonl", "bad 1\n");
    let said = world.afn(&format!("batch resume {batch}")).await.failed(2);
    assert!(said.contains("the source has changed"), "{said}");

    world.write("kept.jsonl", &text);
    world.afn(&format!("batch resume {batch} --input kept.jsonl")).await.ok();
    let _worker = world.worker("-j 2").await;
    all_is_well(&world, batch).await;
}

/// Submitter, worker, supervisor and collector in one process, all of them killed again and again.
async fn killed_by_its_own_batch_run(world: World) {
    world.write("in.txt", super::ground::lines(400));
    let line = format!("batch run --app {APP} --input in.txt --output out.jsonl -j 2 -- cat");
    let runner = world.spawn(&line);
    let batch: BatchId = runner.said("Batch ").await.trim_start_matches("Batch ").parse().expect("an id");
    tokio::time::sleep(Duration::from_millis(random("killed after ms", 1_500))).await;
    runner.kill().await;
    for _ in 0..2 {
        let runner = world.spawn("batch resume last");
        tokio::time::sleep(Duration::from_millis(random("killed after ms", 1_500))).await;
        runner.kill().await;
    }
    let ran = world.afn("batch resume last").await;
    assert_eq!(ran.code, 0, "{ran:#?}");
    let rows = super::world::rows(&world.read("out.jsonl"));
    assert_eq!(rows.len(), 400);
    for (number, row) in rows {
        assert_eq!(row["result"], super::ground::line(number), "{row}");
    }
    one_outcome_each(&world, batch, 400).await;
}
