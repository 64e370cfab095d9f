//! How fast a file becomes a batch in the embedded context, and how much memory that takes:
//!
//! ```sh
//! cargo bench --bench submit -- 1000000 100        # lines, bytes of each
//! ```

mod world;

use std::io::{BufWriter, Write as _};

use afn::model::{AppName, Digest, Format, Source};
use afn::submit::batch::{BatchOptions, BatchRequest, submit};
use afn::submit::source;

use self::world::World;

fn main() {
    afn::embedded::memory::give_back();
    let mut numbers = world::numbers();
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
    let World { deps, counts } = world::open(folder);
    let app: AppName = "bench".parse().expect("a name");
    let nothing = Source::Archive { sha256: Digest::of(b""), bytes: 0 };
    world::publish(&deps, &app, nothing, Format::Default, &["true"]).await;
    let before = counts.snapshot().requests();
    let started = deps.clock.monotonic();
    let location = file.to_str().expect("a path");
    let source = source::open(location, source::OpenOptions::default(), None).await.expect("a source");
    let options = BatchOptions::default();
    let request = BatchRequest { app, route: "/f".parse().expect("a route"), source, options };
    let submitted = submit(&deps, request, &|_| {}).await.expect("submitted");
    let took = (deps.clock.monotonic() - started).as_secs_f64();
    assert_eq!(submitted.calls, lines);
    println!(
        "{} lines, {} MB, {} chunks in {took:.2} s: {:.0} lines/s, {:.1} MB/s, {} requests, peak memory {} MiB",
        submitted.calls,
        submitted.bytes / 1_000_000,
        submitted.chunks,
        lines as f64 / took,
        submitted.bytes as f64 / 1e6 / took,
        counts.snapshot().requests() - before,
        world::peak_mib(),
    );
}
