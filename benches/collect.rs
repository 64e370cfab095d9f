//! How fast the results of a batch become JSON Lines in the embedded context, and how much memory that takes:
//!
//! ```sh
//! cargo bench --bench collect -- 1000000           # rows
//! ```

mod world;

use afn::layout::batch::{Batch, BatchSource, Chunking, Pointer, SEALED_BY_SUBMITTER, Sealed};
use afn::layout::part::{Row, RowResult};
use afn::layout::{Key, object};
use afn::model::{BatchId, Nonce, State, Time};
use afn::outcomes::log::Addition;
use afn::outcomes::{Chunk, Log};
use afn::results::export::{Format, Options as ExportOptions, to_path};
use afn::results::rows::{Options, Rows};
use afn::seam::Deps;
use afn::seam::store::PutObject;

use self::world::World;

fn main() {
    afn::embedded::memory::give_back();
    let rows = world::numbers().next().unwrap_or(1_000_000);
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(folder.path(), rows));
}

async fn run(folder: &std::path::Path, rows: u64) {
    let World { deps, .. } = world::open(folder);
    let batch = fill(&deps, rows).await;
    for format in [Format::JsonLines, Format::Csv, Format::Parquet] {
        let path = folder.join(format!("out.{format}"));
        let begun = deps.clock.monotonic();
        let reading = Rows::open(&deps, batch, Options::default()).await.expect("rows");
        let exported = to_path(&deps, reading, &path, format, ExportOptions::default()).await;
        assert_eq!(exported.expect("written").rows, rows);
        let seconds = (deps.clock.monotonic() - begun).as_secs_f64();
        let bytes = std::fs::metadata(&path).expect("there").len();
        println!(
            "{format}: {rows} rows, {} MiB in {seconds:.2} s: {:.0} rows/s, peak memory {} MiB so far",
            bytes >> 20,
            rows as f64 / seconds,
            world::peak_mib()
        );
    }
}

/// A batch with an outcome for every call, in two parts a chunk whose numbers interleave.
async fn fill(deps: &Deps, rows: u64) -> BatchId {
    let id = BatchId::new(deps.now(), 1);
    let app: afn::model::AppName = "bench".parse().expect("a name");
    let body = Batch {
        function: "price".parse().expect("a name"),
        version: "0.0.1-000000000000".parse().expect("a version"),
        route: "/price".parse().expect("a route"),
        source: BatchSource {
            location: "lines.jsonl".to_owned(),
            format: "jsonl".to_owned(),
            pass: "record".to_owned(),
            on_bad_record: "record".to_owned(),
            ..BatchSource::default()
        },
        chunking: Chunking::default(),
        then: None,
        on_complete: None,
        max_failures: None,
        attempts_max: None,
        retry_backoff_ms: None,
        limits: Default::default(),
        retention: None,
        array: None,
        retry_of: None,
        fetch: None,
        created_at: deps.now(),
        nonce: Nonce::new(1),
    };
    let pointer = Pointer { app: app.clone(), nonce: Nonce::new(2) };
    let sealed =
        Sealed { last: rows, missing: Vec::new(), at: deps.now(), by: SEALED_BY_SUBMITTER.to_owned() };
    put(deps, Key::Pointer(id), object::encode(&pointer)).await;
    put(deps, Key::Batch(app.clone(), id), object::encode(&body)).await;
    put(deps, Key::Sealed(app.clone(), id), object::encode(&sealed)).await;
    let (mut first, mut index) = (1, 0);
    while first <= rows {
        let last = rows.min(first + body.chunking.calls(index) - 1);
        // Its payloads are not read.
        put(deps, Key::Chunk(app.clone(), id, last), bytes::Bytes::new()).await;
        let mut log = Log::fresh(Chunk::of(&app, id, &body, last));
        for odd in [0, 1] {
            let numbers = (first..=last).filter(|number| number % 2 == odd);
            let part: Vec<Row> = numbers.map(row).collect();
            let addition = Addition { rows: part, worker: "bench".to_owned(), ..Addition::default() };
            log.append(&*deps.store, &addition).await.expect("appended");
        }
        first = last + 1;
        index += 1;
    }
    id
}

fn row(number: u64) -> Row {
    let started = Time(1_790_000_000_000).plus_ms(number / 10);
    Row {
        number,
        status: State::Success,
        attempts: 1,
        created_at: started,
        queued_ms: number / 10,
        start_ms: number % 3,
        run_ms: number % 97,
        started_at: Some(started),
        completed_at: started.plus_ms(number % 97),
        content_type: Some("application/json".to_owned()),
        result: RowResult::Inline(
            format!(
                "{{\"id\":{number},\"price\":{}.{:04}}}",
                number % 83,
                number.wrapping_mul(7_919) % 10_000
            )
            .into(),
        ),
        error: None,
        log: None,
        worker: format!("worker-{}", number / 1_000 % 4).into(),
        worker_version: "0.1.0".into(),
    }
}

async fn put(deps: &Deps, key: Key, body: bytes::Bytes) {
    deps.store.put(&key, PutObject::create(body)).await.expect("written");
}
