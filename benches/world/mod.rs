//! What the benchmarks share: the embedded context in a folder, with its requests counted.
#![allow(dead_code)]

use std::path::Path;
use std::sync::Arc;

use afn::backend::sqlite::Sqlite;
use afn::catalog::{Catalog, Publish};
use afn::event::{Listener, Silent};
use afn::model::{AppName, Format, Kind, Limits, Source, Version};
use afn::seam::clock::SystemClock;
use afn::seam::count::{CountQueue, CountStore, Counts};
use afn::seam::queue::{QueuePair, Queues};
use afn::seam::rng::SystemRng;
use afn::seam::{Clock, Deps};

pub struct World {
    pub deps: Deps,
    pub counts: Arc<Counts>,
}

pub fn open(folder: &Path) -> World {
    open_with(folder, Arc::new(Silent))
}

pub fn open_with(folder: &Path, events: Arc<dyn Listener>) -> World {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let sqlite = Sqlite::open(folder.join("afn.db"), clock.clone()).expect("a database");
    let counts = Arc::new(Counts::default());
    let lane = |name: &str| QueuePair {
        live: Arc::new(CountQueue::new(sqlite.queue(name), counts.clone())),
        dead: sqlite.queue(&format!("{name}-dead")),
    };
    let deps = Deps {
        store: Arc::new(CountStore::new(sqlite.store(), counts.clone())),
        queues: Queues { calls: lane("calls"), chunks: lane("chunks"), batches: lane("batches") },
        clock,
        rng: Arc::new(SystemRng),
        events,
    };
    World { deps, counts }
}

/// Publishes a function at `/f`.
pub async fn publish(deps: &Deps, app: &AppName, source: Source, format: Format, command: &[&str]) {
    let version = Version {
        format,
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        ..Version::new("0.0.1", source, Limits::default(), deps.now()).expect("a version")
    };
    let publish = Publish {
        name: "f".parse().expect("a name"),
        route: "/f".parse().expect("a route"),
        kind: Kind::Async,
        config: None,
        annotations: Default::default(),
        version,
    };
    Catalog::new(deps.clone()).publish(app, publish).await.expect("published");
}

/// The numbers among the arguments; Cargo's own are words.
pub fn numbers() -> impl Iterator<Item = u64> {
    std::env::args().skip(1).filter_map(|argument| argument.parse().ok())
}

/// The most that this process has held of memory, as the system tells.
pub fn peak_mib() -> u64 {
    memory_kib("VmHWM:") >> 10
}

/// What it holds now.
pub fn held_mib() -> u64 {
    memory_kib("VmRSS:") >> 10
}

fn memory_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
