//! How fast a file becomes a batch in the embedded context, and how much memory that takes:
//!
//! ```sh
//! cargo bench --bench submit -- 1000000 100        # lines, bytes of each
//! ```

use std::io::{BufWriter, Write as _};
use std::sync::Arc;

use afn::backend::sqlite::Sqlite;
use afn::catalog::{Catalog, Publish};
use afn::event::Silent;
use afn::model::{AppName, Digest, Format, Kind, Limits, Source, Version};
use afn::seam::clock::SystemClock;
use afn::seam::count::{CountQueue, CountStore, Counts};
use afn::seam::queue::{Lane, Queues};
use afn::seam::rng::SystemRng;
use afn::seam::{Clock, Seams};
use afn::submit::batch::{BatchOptions, BatchRequest, submit};
use afn::submit::source;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let (lines, bytes) = (numbers.next().unwrap_or(1_000_000), numbers.next().unwrap_or(100));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("lines.jsonl");
    write_lines(&file, lines, bytes).expect("written");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(folder.path(), &file, lines));
}

/// Lines of so many bytes with their ends, half of each a number that no other line has.
fn write_lines(file: &std::path::Path, lines: u64, bytes: u64) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::fs::File::create(file)?);
    let mut state = 1u64;
    for line in 0..lines {
        let mut text = format!("{{\"id\":{line},\"hex\":\"");
        while (text.len() as u64) < bytes.saturating_sub(3) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.push_str(&format!("{:08x}", state >> 32));
        }
        text.truncate(bytes.saturating_sub(3) as usize);
        text.push_str("\"}\n");
        out.write_all(text.as_bytes())?;
    }
    out.flush()
}

async fn run(folder: &std::path::Path, file: &std::path::Path, lines: u64) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let sqlite = Sqlite::open(folder.join("afn.db"), clock.clone()).expect("a database");
    let counts = Arc::new(Counts::default());
    let lane = |name: &str| Lane {
        live: Arc::new(CountQueue::new(sqlite.queue(name), counts.clone())),
        dead: sqlite.queue(&format!("{name}-dead")),
    };
    let seams = Seams {
        store: Arc::new(CountStore::new(sqlite.store(), counts.clone())),
        queues: Queues { calls: lane("calls"), chunks: lane("chunks"), batches: lane("batches") },
        clock: clock.clone(),
        rng: Arc::new(SystemRng),
        events: Arc::new(Silent),
    };
    let app: AppName = "bench".parse().expect("a name");
    publish(&seams, &app).await;
    let before = counts.snapshot().requests();
    let started = clock.monotonic();
    let location = file.to_str().expect("a path");
    let source = source::open(location, None, None, None).await.expect("a source");
    let options = BatchOptions::default();
    let request = BatchRequest { app, route: "/f".parse().expect("a route"), source, options };
    let submitted = submit(&seams, request, &|_| {}).await.expect("submitted");
    let took = (clock.monotonic() - started).as_secs_f64();
    assert_eq!(submitted.calls, lines);
    println!(
        "{} lines, {} MB, {} chunks in {took:.2} s: {:.0} lines/s, {:.1} MB/s, {} requests, peak memory {} MiB",
        submitted.calls,
        submitted.bytes / 1_000_000,
        submitted.chunks,
        lines as f64 / took,
        submitted.bytes as f64 / 1e6 / took,
        counts.snapshot().requests() - before,
        peak_mib(),
    );
}

async fn publish(seams: &Seams, app: &AppName) {
    let version = Version {
        v: 1,
        id: "0.0.1-000000000000".parse().expect("an id"),
        label: "0.0.1".to_owned(),
        source: Source::Archive { sha256: Digest::of(b""), bytes: 0 },
        os: None,
        arch: None,
        runtime: None,
        format: Format::Default,
        command: vec!["true".to_owned()],
        content_type: None,
        limits: Limits::default(),
        created_at: seams.now(),
    };
    let publish = Publish {
        name: "f".parse().expect("a name"),
        route: "/f".parse().expect("a route"),
        kind: Kind::Async,
        config: None,
        annotations: Default::default(),
        version,
    };
    Catalog::new(seams.clone()).publish(app, publish).await.expect("published");
}

/// The most that this process has held of memory, as the system tells.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1_024
}
