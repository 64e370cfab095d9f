//! A batch from its source to its results, every part of it real but store, queues and functions.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use afn::executor::scripted::Act;
use afn::model::{BatchId, Kind, State};
use afn::results::batch::{self, BatchStatus, app_of};
use afn::results::cost::{Cost, together};
use afn::results::export::{Format, Options as ExportOptions, to_path, to_writer};
use afn::results::list::list_batches;
use afn::results::rows::{Finished, Options, Rows};
use afn::results::{call, report};
use afn::seam::count::{CountStore, Counts};
use afn::seam::executor::Invocation;
use afn::submit::batch::{BatchOptions, BatchRequest, submit};
use afn::submit::retry::retry;
use afn::submit::source::text;
use serde_json::{Value, json};

use super::world::World;

const CALLS: usize = 300;
const SOON: Option<Duration> = Some(crate::support::PATIENCE);

/// Doubles a number; every fiftieth is too much, and of those the first is mended by a retry.
fn double(work: &Invocation) -> Act {
    let number: u64 =
        serde_json::from_slice::<Value>(&work.payload.to_bytes().unwrap()).unwrap()["n"].as_u64().unwrap();
    let is_first_batch = work.call.number().is_some_and(|place| place == number);
    if number.is_multiple_of(50) && (is_first_batch || number != 50) {
        return Act::error(format!("exit code 3: {number} is too much"));
    }
    if number == 7 {
        // Too large for its row.
        return Act::answer(serde_json::to_vec(&json!({"twice": 14, "pad": "x".repeat(20_000)})).unwrap());
    }
    Act::answer(format!("{{\"twice\":{}}}", 2 * number).into_bytes())
}

async fn submitted(world: &World) -> BatchId {
    let lines: String = (1..=CALLS).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let request = BatchRequest {
        app: world.app.clone(),
        route: "/double".parse().unwrap(),
        source: text(lines, "jsonl".parse().unwrap(), "numbers.jsonl"),
        options: BatchOptions::default(),
    };
    submit(&world.deps, request, &|_| {}).await.unwrap().batch
}

async fn lines(world: &World, batch: BatchId, options: Options) -> Vec<Value> {
    let rows = Rows::open(&world.deps, batch, options).await.unwrap();
    let mut out = Vec::new();
    to_writer(&world.deps, rows, &mut out, Format::JsonLines, ExportOptions::default()).await.unwrap();
    String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_followed_to_its_end_and_its_results_come_in_order() {
    let mut world = World::start().await;
    world.deploy("double", Kind::Async).await;
    let batch = submitted(&world).await;
    let view = batch::load(&world.deps, batch).await.unwrap();
    assert_eq!((view.status, view.calls, view.decided), (BatchStatus::Queued, Some(300), 0));
    assert!(Rows::open(&world.deps, batch, Options::default()).await.is_err(), "it has not finished");
    let unfinished = Options { finished: Finished::NeedNot, ..Options::default() };
    let queued = lines(&world, batch, unfinished).await;
    assert_eq!(queued.len(), CALLS);
    assert!(queued.iter().all(|line| line["status"] == "queued"));

    world.work(double);
    let mut looks = 0;
    let view = batch::wait(&world.deps, batch, SOON, |_| looks += 1).await.unwrap();
    assert_eq!((view.status, view.decided, view.failed()), (BatchStatus::Failed, 300, 6));
    assert!(looks > 1);

    let input = Options { input: true, ..Options::default() };
    let results = lines(&world, batch, input).await;
    for (number, line) in (1..).zip(&results) {
        assert_eq!((&line["number"], &line["input"]), (&json!(number), &json!({"n": number})));
        assert_eq!(line["call_id"], batch.call(number).to_string());
        match number % 50 {
            0 => assert_eq!(line["error"], format!("exit code 3: {number} is too much")),
            _ => assert_eq!(line["result"]["twice"], json!(2 * number)),
        }
    }
    assert_eq!(results.len(), CALLS);

    // One call of it, as any call.
    let (seventh, fiftieth) = (batch.call(7), batch.call(50));
    let view = call::find(&world.deps, seventh).await.unwrap();
    let mut answered = Vec::new();
    call::result(&world.deps, &view, &mut answered).await.unwrap();
    assert_eq!(answered.len() as u64, view.result.unwrap().bytes);
    let view = call::load(&world.deps, &world.app, fiftieth).await.unwrap();
    assert_eq!((view.state, view.reason.as_deref()), (State::Error, Some("exit code 3: 50 is too much")));

    let listed = list_batches(&world.deps, &world.app, 100, None).await.unwrap();
    assert!(matches!(&listed.batches[..], [row] if row.batch == batch));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_lies_over_what_failed() {
    let mut world = World::start().await;
    world.deploy("double", Kind::Async).await;
    world.work(double);
    let batch = submitted(&world).await;
    batch::wait(&world.deps, batch, SOON, |_| {}).await.unwrap();
    // A batch is retried once it has its summary.
    let retried = loop {
        match retry(&world.deps, batch, BatchOptions::default(), &|_| {}).await {
            Ok(retried) => break retried.batch,
            Err(error) => assert!(error.message().contains("has not finished"), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let ended = batch::wait(&world.deps, retried, SOON, |_| {}).await.unwrap();
    assert_eq!((ended.calls, ended.failed(), ended.retry_of), (Some(6), 5, Some(batch)));
    assert_eq!(batch::load(&world.deps, batch).await.unwrap().retries, [retried]);

    let latest = lines(&world, batch, Options { latest: true, ..Options::default() }).await;
    assert_eq!(latest.len(), CALLS);
    assert_eq!((&latest[49]["number"], &latest[49]["result"]), (&json!(50), &json!({"twice": 100})));
    assert_eq!(latest[49]["call_id"], retried.call(1).to_string());
    let failed: Vec<&Value> = latest.iter().filter(|line| line["status"] == "error").collect();
    assert_eq!(
        failed.iter().map(|line| line["number"].as_u64().unwrap()).collect::<Vec<_>>(),
        [100, 150, 200, 250, 300]
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_report_and_cost_of_a_batch() {
    let mut world = World::start().await;
    let counts = Arc::new(Counts::default());
    world.deps.store = Arc::new(CountStore::new(world.deps.store.clone(), counts.clone()));
    world.deploy("double", Kind::Async).await;
    world.work(double);
    let batch = submitted(&world).await;
    let view = batch::wait(&world.deps, batch, SOON, |_| {}).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let export = async |name: &str| {
        let path = folder.path().join(name);
        let rows = Rows::open(&world.deps, batch, Options::default()).await.unwrap();
        let format = Format::of(Path::new(name)).unwrap();
        let options = ExportOptions { flatten: true, ..ExportOptions::default() };
        let exported = to_path(&world.deps, rows, &path, format, options).await.unwrap();
        assert_eq!(exported.rows, 300);
        assert_eq!(exported.counts, BTreeMap::from([(State::Success, 294), (State::Error, 6)]));
        path
    };
    let csv = std::fs::read_to_string(export("out.csv").await).unwrap();
    assert_eq!(csv.split("\r\n").filter(|line| line.contains(",success,")).count(), 294);
    assert!(csv.starts_with("number,call_id,status,"));
    assert!(std::fs::read(export("out.parquet").await).unwrap().starts_with(b"PAR1"));
    let results = export("out/").await;
    assert_eq!(std::fs::read_dir(results).unwrap().count(), 295, "a file each, and the failures");

    let gathered = report::gather(&world.deps, &view).await.unwrap();
    let requests = together(&view.requests, &counts.snapshot());
    let cost = Cost::of(requests, view.decided, gathered.worker_ms());
    assert!(cost.dollars.total > 0.0 && cost.requests_per_call.unwrap() < 1.0, "{cost:?}");
    let mut page = Vec::new();
    report::write(&view, &gathered, Some(cost), &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("exit code 3: # is too much") && page.ends_with("</html>\n"));
    assert_eq!(app_of(&world.deps, batch).await.unwrap(), world.app);
    world.stop().await;
}
