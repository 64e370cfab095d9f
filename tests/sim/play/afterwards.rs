//! Weeks later: what has had its time is deleted, whole; nothing is deleted early, and nothing that comes late brings
//! anything back (H14, N12).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use afn::catalog::Catalog;
use afn::layout::{Key, key};
use afn::limits;
use afn::model::{App, BatchId, Retention};
use afn::seam::queue::{Outgoing, Queue as _};
use afn::seam::rng::RngExt as _;
use afn::seam::store::{ByteRange, ETag, List, ListPage, Object, ObjectInfo, PutObject, Store};
use afn::seam::{Deps, StoreError, StoreExt as _};
use afn::submit::resume::{ResumeRequest, resume};
use afn::worker::{Phase, upkeep};
use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::Seen;
use super::check::{Invariant, Verdict};
use super::stage::Stage;

const HOUR: Duration = Duration::from_secs(3600);
const A_YEAR_MS: i64 = 365 * 24 * 3600 * 1000;
/// How long a worker lives then: its supervisors and reconciler look.
const A_WHILE: Duration = Duration::from_secs(300);

pub async fn weeks_later(stage: &Stage, seen: &mut Seen) -> Verdict {
    // Nothing is old enough yet, whatever the clock of this machine says.
    let hasty = stage.world.process("hasty deleter");
    hasty.clock.step(A_YEAR_MS);
    let _ = gc(&hasty.deps).await;
    seen.look(stage).await?;

    let kept = [HOUR, limits::CONTENT_KEPT, 2 * limits::CONTENT_KEPT][stage.world.rng.below(3) as usize];
    keep(stage, kept).await;
    let over: BTreeSet<BatchId> = seen.batches.fired().into_keys().collect();
    tokio::time::sleep(kept + HOUR).await;
    delete(stage).await?;
    content_is_gone(stage, seen, &over).await?;
    nothing_comes_back(stage, &over).await?;

    // No message is left that could find it, but only just.
    tokio::time::sleep(limits::DELETE_AFTER - 2 * HOUR).await;
    delete(stage).await?;
    content_is_gone(stage, seen, &over).await?;
    tokio::time::sleep(4 * HOUR).await;
    delete(stage).await?;
    for call in seen.calls.decided() {
        if !list(stage, key::call(&stage.app, call)).await.is_empty() {
            return Err(
                Invariant::Liveness.broken(format!("{call} was decided weeks ago and is still there"))
            );
        }
    }
    // Tombstones of batches are looked at when the batch, by its id, is old enough for both.
    tokio::time::sleep(kept).await;
    delete(stage).await?;
    for batch in &over {
        let mut left = list(stage, key::batch(&stage.app, *batch)).await;
        left.extend(list(stage, Key::Pointer(*batch).to_string()).await);
        if !left.is_empty() {
            return Err(Invariant::Liveness.broken(format!("of {batch} are left {left:?}")));
        }
    }
    Ok(())
}

/// From now on content is kept for so long.
async fn keep(stage: &Stage, kept: Duration) {
    stage.world.guard.keep(kept);
    let process = stage.world.process("somebody");
    let change = |app: &mut App| {
        app.retention = Some(Retention::For(kept));
        Ok(())
    };
    let changed = Catalog::new(process.deps.clone()).update_app(&stage.app, change).await;
    changed.expect("the day is over, and nothing fails");
}

/// One deleter dies midway, then two work at the same time.
async fn delete(stage: &Stage) -> Verdict {
    let dying = stage.world.process("dying deleter");
    let left = stage.world.rng.below(40);
    let store = Arc::new(Dying { inner: dying.deps.store.clone(), left: left.into() });
    let _ = tokio::time::timeout(A_WHILE, gc(&Deps { store, ..dying.deps.clone() })).await;
    stage.world.guard.verdict()?;
    let [one, other] = ["one deleter", "other deleter"].map(|name| stage.world.process(name));
    let (one, other) = tokio::join!(gc(&one.deps), gc(&other.deps));
    for deleted in [one, other] {
        if let Err(error) = deleted {
            return Err(Invariant::Liveness.broken(format!("deletion fails: {error}")));
        }
    }
    stage.world.guard.verdict()
}

/// Of calls `status` is left at the most, of batches what says that they are over.
async fn content_is_gone(stage: &Stage, seen: &Seen, over: &BTreeSet<BatchId>) -> Verdict {
    for call in seen.calls.decided() {
        let left = list(stage, key::call(&stage.app, call)).await;
        if left.iter().any(|name| *name != Key::Status(stage.app.clone(), call).to_string()) {
            return Err(Invariant::Liveness.broken(format!("of {call} are left {left:?}")));
        }
    }
    for batch in over {
        let app = || stage.app.clone();
        let stays = [Key::Deleted(app(), *batch), Key::Fired(app(), *batch), Key::Summary(app(), *batch)];
        let left = list(stage, key::batch(&stage.app, *batch)).await;
        if left != stays.map(|key| key.to_string()) {
            return Err(Invariant::Liveness.broken(format!("of {batch} are left {left:?}")));
        }
    }
    Ok(())
}

/// The store of a process that is gone after so many requests.
struct Dying {
    inner: Arc<dyn Store>,
    left: AtomicU64,
}

impl Dying {
    async fn lives(&self) {
        let lives = |left: u64| left.checked_sub(1);
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lives).is_err() {
            std::future::pending().await
        }
    }
}

#[async_trait]
impl Store for Dying {
    async fn put(&self, key: &Key, object: PutObject) -> Result<ETag, StoreError> {
        self.lives().await;
        self.inner.put(key, object).await
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Object, StoreError> {
        self.lives().await;
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        self.lives().await;
        self.inner.head(key).await
    }

    async fn list(&self, request: &List) -> Result<ListPage, StoreError> {
        self.lives().await;
        self.inner.list(request).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), StoreError> {
        self.lives().await;
        self.inner.delete(keys).await
    }
}

async fn gc(deps: &Deps) -> afn::Result<upkeep::Report> {
    upkeep::on_demand(deps, "somebody", upkeep::Options::default()).await
}

/// Old messages come again, and somebody tries to resume what is gone.
async fn nothing_comes_back(stage: &Stage, over: &BTreeSet<BatchId>) -> Verdict {
    let before = decided(stage, over).await;
    for (queue, body) in stage.world.guard.hoard() {
        let sent = stage.world.queues[queue].send(vec![Outgoing::new(body)]).await;
        sent.expect("the queue itself never fails");
    }
    for batch in over.iter().copied() {
        let late = stage.world.process("late resumer");
        let request = ResumeRequest { batch, source: None };
        if let Ok(resumed) = resume(&late.deps, request, &|_| {}).await {
            return Err(Invariant::NothingGoesEarly.broken(format!("what is gone was resumed: {resumed:?}")));
        }
    }
    let process = stage.world.process("late worker");
    let (deaths, _died) = mpsc::unbounded_channel();
    let (_stop, stopped) = watch::channel(Phase::Run);
    let mut running = JoinSet::new();
    running.spawn(stage.worker(1, &process, deaths).run(stopped));
    tokio::time::sleep(A_WHILE).await;
    running.shutdown().await;
    stage.world.guard.verdict()?;
    match decided(stage, over).await.difference(&before).next() {
        Some(new) => Err(Invariant::OneOutcome.broken(format!("{new} came back weeks later"))),
        None => Ok(()),
    }
}

/// What lies of calls and batches that were decided: what is still open may go on.
async fn decided(stage: &Stage, over: &BTreeSet<BatchId>) -> BTreeSet<String> {
    let calls = list(stage, key::calls(&stage.app)).await;
    let open: Vec<String> =
        calls.iter().filter_map(|name| name.strip_suffix("payload")).map(str::to_owned).collect();
    let mut left: BTreeSet<String> =
        calls.into_iter().filter(|name| !open.iter().any(|call| name.starts_with(call))).collect();
    for batch in over {
        left.extend(list(stage, key::batch(&stage.app, *batch)).await);
    }
    left
}

async fn list(stage: &Stage, prefix: String) -> Vec<String> {
    let listed = stage.world.store.list_all(List::all(prefix)).await.expect("the store never fails");
    listed.entries.into_iter().map(|entry| entry.key).collect()
}
