//! What a batch asks of store and queues, from its submission until its results are collected, counted by the decorator;
//! and what AWS would take for it, as so much a call and so much an hour of a worker:
//!
//! ```sh
//! cargo bench --bench requests -- 1000000 0 1 4            # calls, milliseconds of each, workers, slots of each
//! cargo bench --bench requests -- 1000000 1000 4 4 virtual # on a clock that jumps to whatever is next
//! ```
//!
//! The function is no process here: it only waits. On the machine's own clock the context is the embedded one; on a
//! virtual clock store and queues are in memory, and hours of workers take seconds.

mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use afn::backend::memory::{MemoryQueue, MemoryStore};
use afn::event::Silent;
use afn::layout::Key;
use afn::layout::batch::Batch;
use afn::layout::object;
use afn::model::{AppName, BatchId, BatchRef, Digest, Format as FunctionFormat, Source, Time, Version};
use afn::outcomes::Logs;
use afn::results;
use afn::results::cost::{Cost, together};
use afn::results::export::{Format, Options as ExportOptions, to_path};
use afn::results::rows::{Options, Rows};
use afn::seam::count::{CountQueue, CountStore, Counts, Snapshot};
use afn::seam::executor::{Execution, Executor, Fault, Invocation, Mismatch, Verdict};
use afn::seam::queue::{QueuePair, Queues};
use afn::seam::rng::SystemRng;
use afn::seam::store::ByteRange;
use afn::seam::{Clock, Deps, Queue};
use afn::submit::batch::{BatchOptions, BatchRequest, submit};
use afn::submit::source;
use afn::worker::{Config, Phase, Worker};
use async_trait::async_trait;
use tokio::sync::watch;

use self::world::World;

struct Case {
    calls: u64,
    ms: u64,
    workers: u64,
    slots: u64,
}

fn main() {
    afn::embedded::memory::give_back();
    let is_virtual = std::env::args().any(|argument| argument == "virtual");
    let mut numbers = world::numbers();
    let case = Case {
        calls: numbers.next().unwrap_or(10_000),
        ms: numbers.next().unwrap_or(0),
        workers: numbers.next().unwrap_or(1),
        slots: numbers.next().unwrap_or(4),
    };
    let folder = tempfile::tempdir().expect("a folder");
    if is_virtual {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(async { run(in_memory(), folder.path(), &case).await });
    } else {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async { run(world::open(folder.path()), folder.path(), &case).await });
    }
}

async fn run(World { deps, counts }: World, folder: &Path, case: &Case) {
    let app: AppName = "bench".parse().expect("a name");
    let nothing = Source::Archive { sha256: Digest::of(b""), bytes: 0 };
    world::publish(&deps, &app, nothing, FunctionFormat::Default, &["true"]).await;
    let lines = folder.join("lines.txt");
    std::fs::write(&lines, "you\n".repeat(case.calls as usize)).expect("written");
    let before = counts.snapshot();
    let begun = deps.clock.monotonic();

    let (stop, wanted) = watch::channel(Phase::Run);
    let waits: Arc<dyn Executor> =
        Arc::new(Waits { clock: deps.clock.clone(), time: Duration::from_millis(case.ms) });
    let mut working = tokio::task::JoinSet::new();
    for number in 0..case.workers {
        let config = Config::new(format!("bench-{number}"), case.slots as usize);
        working.spawn(Worker::new(deps.clone(), waits.clone(), config).run(wanted.clone()));
    }
    let source = source::open(lines.to_str().expect("a path"), source::OpenOptions::default(), None)
        .await
        .expect("a source");
    let options = BatchOptions::default();
    let request = BatchRequest { app: app.clone(), route: "/f".parse().expect("a route"), source, options };
    let batch = submit(&deps, request, &|_| {}).await.expect("submitted").batch;
    let ended = results::batch::wait(&deps, batch, None, |_| {}).await.expect("ended");
    assert_eq!((ended.decided, ended.failed()), (case.calls, 0));
    let worked = deps.clock.monotonic() - begun;
    let rows = Rows::open(&deps, batch, Options::default()).await.expect("rows");
    let out = folder.join("out.jsonl");
    let exported = to_path(&deps, rows, &out, Format::JsonLines, ExportOptions::default()).await;
    assert_eq!(exported.expect("written").rows, case.calls);
    let spent = since(counts.snapshot(), before);
    stop.send_replace(Phase::HandBack);
    while let Some(ended) = working.join_next().await {
        ended.expect("no panic").expect("worked");
    }
    tell(case, spent, worked);
    tell_parts(&deps, &app, batch, case).await;
}

fn tell(case: &Case, spent: BTreeMap<String, u64>, worked: Duration) {
    let Case { calls, ms, workers, slots } = case;
    let worker_ms = worked.as_millis() as u64 * workers;
    let cost = Cost::of(spent, *calls, Some(worker_ms));
    println!(
        "{calls} calls of {ms} ms, {workers} workers × {slots} slots, worked for {:.1} s:",
        worked.as_secs_f64()
    );
    println!(
        "  {} requests, {:.5} a call; $ {:.5} in all = $ {:.5} a million calls + $ {:.5} an hour of a worker × {:.2} h",
        cost.requests_total,
        cost.requests_per_call.unwrap_or_default(),
        cost.dollars.total,
        cost.dollars_per_call.unwrap_or_default() * 1e6,
        cost.dollars_per_worker_hour.unwrap_or_default(),
        cost.worker_hours.unwrap_or_default(),
    );
    let each: Vec<String> = cost.requests.iter().map(|(name, count)| format!("{name} {count}")).collect();
    println!("  {}", each.join(", "));
}

/// Parts per chunk, against what they are to be: 8, and one for every 30 s that a worker has with the chunk's calls.
async fn tell_parts(deps: &Deps, app: &AppName, batch: BatchId, case: &Case) {
    let key = Key::Batch(app.clone(), batch);
    let body = deps.store.get(&key, ByteRange::Whole(u64::MAX)).await.expect("there").body;
    let definition: Batch = object::decode(&key, &body).expect("a batch");
    let mut logs = Logs::new(&BatchRef::new(app, batch), &definition);
    let listing = logs.list(&*deps.store).await.expect("listed");
    logs.take_in(&*deps.store, &listing).await.expect("read");
    let most = |log: &afn::outcomes::Log| 8 + log.run_ms() / case.slots / 30_000;
    let (chunks, parts) =
        logs.ranges().fold((0, 0), |(chunks, parts), (_, _, log)| (chunks + 1, parts + log.parts()));
    let worst = logs.ranges().max_by_key(|(_, _, log)| log.parts() * 1_000 / most(log));
    let Some((_, _, worst)) = worst else { return };
    println!(
        "  {parts} parts of {chunks} chunks; the worst has {}, where {} are allowed",
        worst.parts(),
        most(worst)
    );
}

fn since(now: Snapshot, before: Snapshot) -> BTreeMap<String, u64> {
    let before = together(&BTreeMap::new(), &before);
    let mut spent = together(&BTreeMap::new(), &now);
    for (operation, count) in &mut spent {
        *count -= before.get(operation).copied().unwrap_or_default();
    }
    spent.retain(|_, count| *count > 0);
    spent
}

/// A function that waits and answers `ok`.
struct Waits {
    clock: Arc<dyn Clock>,
    time: Duration,
}

#[async_trait]
impl Executor for Waits {
    fn suits(&self, _: &Version) -> Result<(), Mismatch> {
        Ok(())
    }

    async fn run(&self, _: Invocation) -> Result<Execution, Fault> {
        let started_at = self.clock.now();
        if !self.time.is_zero() {
            self.clock.sleep(self.time).await;
        }
        let verdict = Verdict::Success { content_type: None, body: "ok".into() };
        Ok(Execution { verdict, log: Default::default(), started_at, took: self.time })
    }

    async fn probe(&self) -> Result<(), String> {
        Ok(())
    }

    async fn close(&self) {}
}

/// Tokio's, which jumps when nothing is left to do.
struct VirtualClock(tokio::time::Instant);

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Time {
        Time(1_790_000_000_000).plus_ms(self.monotonic().as_millis() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

fn in_memory() -> World {
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock(tokio::time::Instant::now()));
    let counts = Arc::new(Counts::default());
    let queue = || -> Arc<dyn Queue> {
        Arc::new(CountQueue::new(Arc::new(MemoryQueue::new(clock.clone())), counts.clone()))
    };
    let lane = || QueuePair { live: queue(), dead: queue() };
    let deps = Deps {
        store: Arc::new(CountStore::new(Arc::new(MemoryStore::new(clock.clone())), counts.clone())),
        queues: Queues { calls: lane(), chunks: lane(), batches: lane() },
        clock,
        rng: Arc::new(SystemRng),
        events: Arc::new(Silent),
    };
    World { deps, counts }
}
