//! What tests of batches do in their world: submit one, wait for it, read its rows.

use std::collections::BTreeMap;
use std::time::Duration;

use afn::model::{BatchId, State};
use afn::results::batch::{self, BatchView};
use serde_json::Value;

pub use crate::support::PATIENCE;
pub use crate::support::world::{APP, World};

/// A lost worker's messages come back after this: long enough that a busy machine keeps its leases.
const VISIBILITY: &str = "4s";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

impl World {
    /// Workers have short leases, so that those of a lost one come back soon.
    pub fn with_short_leases(mut self) -> World {
        self.visibility = Some(VISIBILITY);
        self
    }

    /// Submits a source whole.
    pub async fn submit_batch(&self, name: &str, source: &str, options: &str) -> BatchId {
        let ran = self.afn(&format!("batch submit {APP} /{name} {source} {options}")).await;
        let told = ran.json();
        told["batch_id"].as_str().expect("an id").parse().expect("a batch's id")
    }

    /// Looks until the batch satisfies. A batch may take many times as long as one command: it waits for progress.
    pub async fn until_batch(
        &self,
        id: BatchId,
        what: &str,
        is_enough: impl Fn(&BatchView) -> bool,
    ) -> BatchView {
        let deps = self.open().await.deps;
        let mut decided = 0;
        let mut moved = tokio::time::Instant::now();
        loop {
            let view = batch::load(&deps, id).await.expect("the batch can be read");
            if is_enough(&view) {
                return view;
            }
            if std::mem::replace(&mut decided, view.decided) != view.decided {
                moved = tokio::time::Instant::now();
            }
            assert!(moved.elapsed() < PATIENCE, "not {what}: {view:#?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Until everything is decided, and its supervisor has seen that.
    pub async fn over(&self, id: BatchId) -> BatchView {
        self.until_batch(id, "over", |view| view.summary.is_some()).await
    }

    /// The rows of a batch as `batch results` tells them, by number; each number once.
    pub async fn rows(&self, id: BatchId, options: &str) -> BTreeMap<u64, Value> {
        rows(&self.afn(&format!("batch results {id} {options}")).await.ok())
    }

    /// The batches of the app, newest first.
    pub async fn batches(&self) -> Vec<BatchId> {
        let listed = self.afn(&format!("batch list {APP} --output json")).await;
        if listed.code == 3 {
            return Vec::new();
        }
        let listed = listed.json();
        let ids = listed["batches"].as_array().expect("a list").iter();
        ids.map(|row| row["batch_id"].as_str().expect("an id").parse().expect("a batch's id")).collect()
    }
}

/// Rows in JSON Lines, by number; each number once.
#[track_caller]
pub fn rows(text: &str) -> BTreeMap<u64, Value> {
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let number = row["number"].as_u64().expect("a number");
        assert!(rows.insert(number, row).is_none(), "twice: {line}");
    }
    rows
}

/// The id in `Batch ID`.
#[track_caller]
pub fn batch_of(stderr: &str) -> BatchId {
    let line = stderr.lines().find_map(|line| line.strip_prefix("Batch "));
    line.and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("no batch: {stderr}"))
}

pub fn count(view: &BatchView, state: State) -> u64 {
    view.counts.get(&state).copied().unwrap_or_default()
}
