//! Deletes old objects when no late message or lease can need them any more (H14): whole calls, `status` last; whole
//! batches, payloads first; idempotency keys; the reconciler's own marks; panics of workers. Ages are measured by the store's clock. No
//! lifecycle rule deletes these objects.

use serde::Serialize;

use super::sweep::Sweep;
use super::walk::{self, CallWalk, StoredCall};
use crate::error::Result;
use crate::layout::{Key, key};
use crate::limits;
use crate::model::checked::is_default;
use crate::model::{AppName, BatchId, Time};
use crate::planted::planted;
use crate::seam::Deps;
use crate::seam::StoreExt as _;
use crate::seam::store::{List, ListEntry};
use crate::store_clock;

/// What was deleted, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub calls: u64,
    pub batches: u64,
    pub idempotency_keys: u64,
    pub objects: u64,
    pub bytes: u64,
    /// Calls, batches and apps that could not be looked at or deleted; each was told of.
    #[serde(skip_serializing_if = "is_default")]
    pub failed: u64,
}

/// Deletes, or with `dry_run` only counts.
pub async fn gc(deps: &Deps, dry_run: bool) -> Result<Report> {
    let now = store_clock::now(deps).await?;
    let sweep = Sweep::new(deps, "delete what is old of");
    let mut gc = Gc { deps, now, dry_run, report: Report::default(), sweep };
    for app in walk::apps(deps).await? {
        // Keys first: a key must never name a call that is gone, or its next use would run it again.
        let mut calls = gc.idempotency_keys(&app).await;
        if calls.is_ok() {
            calls = gc.calls(&app).await;
        }
        gc.sweep.take(format_args!("the calls of app {app}"), calls)?;
        let batches = gc.batches(&app).await;
        gc.sweep.take(format_args!("the batches of app {app}"), batches)?;
    }
    gc.reconciled().await?;
    gc.panics().await?;
    Ok(Report { failed: gc.sweep.failed, ..gc.report })
}

/// Deletes old panics of workers. One LIST, if there are none.
pub(super) async fn old_panics(deps: &Deps, now: Time) -> Result<()> {
    let sweep = Sweep::new(deps, "delete what is old of");
    Gc { deps, now, dry_run: false, report: Report::default(), sweep }.panics().await
}

struct Gc<'a> {
    deps: &'a Deps,
    now: Time,
    dry_run: bool,
    report: Report,
    sweep: Sweep<'a>,
}

impl Gc<'_> {
    async fn idempotency_keys(&mut self, app: &AppName) -> Result<()> {
        self.sweep(key::keys(app), limits::ms(limits::IDEMPOTENCY_KEY), |report| report.idempotency_keys += 1)
            .await
    }

    async fn reconciled(&mut self) -> Result<()> {
        self.sweep(key::reconciled(), 2 * limits::ms(limits::RECONCILE_EVERY), |_| {}).await
    }

    async fn panics(&mut self) -> Result<()> {
        self.sweep(key::panics(), limits::ms(limits::PANIC_KEPT), |_| {}).await
    }

    /// Everything under a prefix that is older than `age_ms`.
    async fn sweep(&mut self, prefix: String, age_ms: u64, count: fn(&mut Report)) -> Result<()> {
        let mut left = Some(List::all(prefix));
        while let Some(page) = self.deps.store.next_page(&mut left).await? {
            let old: Vec<_> = page
                .entries
                .into_iter()
                .filter(|entry| self.now.since_ms(entry.modified_at) > age_ms)
                .collect();
            for entry in &old {
                count(&mut self.report);
                self.report.bytes += entry.bytes;
            }
            self.delete(old.iter().map(ListEntry::to_key).collect()).await?;
        }
        Ok(())
    }

    async fn calls(&mut self, app: &AppName) -> Result<()> {
        let mut walk = CallWalk::new(self.deps, app, None);
        while let Some(seen) = walk.next().await? {
            // An id is a time, and calls come in its order: nothing from here on can be old enough.
            if self.now.since_ms(seen.call.time()) < limits::ms(limits::DELETE_AFTER) {
                break;
            }
            let (call, deleted) = (seen.call, self.whole_call(seen).await);
            self.sweep.take(format_args!("call {call}"), deleted)?;
        }
        Ok(())
    }

    /// Deletes a call that was decided long enough ago; `status` last, since without it a late message would run the
    /// call again. One without outcome is never deleted.
    async fn whole_call(&mut self, seen: StoredCall) -> Result<()> {
        let (status, rest): (Vec<_>, Vec<_>) = seen
            .objects
            .into_iter()
            .map(|(key, entry)| (matches!(key, Key::Status(..)), entry))
            .partition(|of| of.0);
        let is_old = |at: Time| self.now.since_ms(at) > limits::ms(limits::DELETE_AFTER);
        if !status.iter().any(|(_, status)| is_old(status.modified_at)) {
            return Ok(());
        }
        self.report.calls += 1;
        self.report.bytes += status.iter().chain(&rest).map(|(_, entry)| entry.bytes).sum::<u64>();
        for entries in [rest, status] {
            self.delete(entries.iter().map(|(_, entry)| entry.to_key()).collect()).await?;
        }
        Ok(())
    }

    async fn batches(&mut self, app: &AppName) -> Result<()> {
        let prefix = key::batches(app);
        let mut left = Some(List::grouped(&prefix));
        while let Some(page) = self.deps.store.next_page(&mut left).await? {
            for batch in page.folders::<BatchId>(&prefix) {
                if self.now.since_ms(batch.time()) < limits::ms(limits::DELETE_AFTER) {
                    return Ok(());
                }
                let deleted = self.whole_batch(app, batch).await;
                self.sweep.take(format_args!("batch {batch}"), deleted)?;
            }
        }
        Ok(())
    }

    /// Deletes a batch that was over long enough ago; `summary` and `fired` stay: without them a late message would run it
    /// again, and its follow-ups. One without summary is never deleted.
    async fn whole_batch(&mut self, app: &AppName, batch: BatchId) -> Result<()> {
        let all = self.deps.store.list_all(List::grouped(key::batch(app, batch))).await?;
        let summary = Key::Summary(app.clone(), batch).to_string();
        let over = all.entries.iter().find(|entry| entry.key == summary);
        let fired = Key::Fired(app.clone(), batch).to_string();
        let tombstones = [fired, summary.clone()];
        let stays = planted!(&tombstones[..], LifecycleWithoutTombstone => &tombstones[..1]);
        let rest: Vec<Key> =
            all.entries.iter().filter(|entry| !stays.contains(&entry.key)).map(ListEntry::to_key).collect();
        let old =
            over.is_some_and(|over| self.now.since_ms(over.modified_at) > limits::ms(limits::DELETE_AFTER));
        if !old || (rest.is_empty() && all.prefixes.is_empty()) {
            return Ok(());
        }
        self.report.batches += 1;
        let payloads = key::chunks(app, batch);
        let others = all.prefixes.into_iter().filter(|folder| *folder != payloads);
        for folder in std::iter::once(payloads.clone()).chain(others) {
            self.sweep(folder, 0, |_| {}).await?;
        }
        self.delete(rest).await?;
        // Most batches have neither.
        let control = [Key::Control(app.clone(), batch), Key::Shares(app.clone(), batch)];
        if !self.dry_run {
            self.deps.store.delete(&control).await?;
        }
        Ok(())
    }

    async fn delete(&mut self, keys: Vec<Key>) -> Result<()> {
        self.report.objects += keys.len() as u64;
        if self.dry_run {
            return Ok(());
        }
        for page in keys.chunks(limits::LIST_PAGE_MAX) {
            self.deps.store.delete(page).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use async_trait::async_trait;

    use super::*;
    use crate::backend::memory::{MemoryQueue, MemoryStore};
    use crate::event::Silent;
    use crate::model::{Digest, MarkId, MessageId};
    use crate::seam::queue::QueuePair;
    use crate::seam::rng::SeededRng;
    use crate::seam::store::PutObject;
    use crate::seam::{Clock, Queues};

    struct Hand(AtomicU64);

    #[async_trait]
    impl Clock for Hand {
        fn now(&self) -> Time {
            Time(1_700_000_000_000 + self.0.load(Ordering::Relaxed))
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::Relaxed))
        }

        async fn sleep(&self, _duration: Duration) {}
    }

    async fn keys(deps: &Deps) -> Vec<String> {
        let listed = deps.store.list_all(List::all("")).await.unwrap();
        listed.entries.into_iter().map(|entry| entry.key).collect()
    }

    #[tokio::test]
    async fn what_is_decided_goes_after_its_time_and_what_is_not_stays() {
        let clock = Arc::new(Hand(AtomicU64::new(0)));
        let queue = Arc::new(MemoryQueue::new(clock.clone()));
        let lane = QueuePair { live: queue.clone(), dead: queue };
        let deps = Deps {
            store: Arc::new(MemoryStore::new(clock.clone())),
            queues: Queues { calls: lane.clone(), chunks: lane.clone(), batches: lane },
            clock: clock.clone(),
            rng: Arc::new(SeededRng::new(1)),
            events: Arc::new(Silent),
        };
        let app: AppName = "app".parse().unwrap();
        let [done, open] = [1, 2].map(|random| crate::model::CallId::single(clock.now(), random));
        let [over, running] = [1 << 50, 2 << 50].map(|random| BatchId::new(clock.now(), random));
        let delivery = crate::model::DeliveryId { message: MessageId::new(clock.now(), 3), delivery: 1 };
        let stays = [
            Key::Payload(app.clone(), open),
            Key::Started(app.clone(), open, delivery),
            Key::Batch(app.clone(), running),
            Key::Chunk(app.clone(), running, 64),
            Key::Summary(app.clone(), over),
            Key::Fired(app.clone(), over),
        ];
        let goes = [
            Key::Payload(app.clone(), done),
            Key::Status(app.clone(), done),
            Key::Batch(app.clone(), over),
            Key::Sealed(app.clone(), over),
            Key::Chunk(app.clone(), over, 64),
            Key::Part(app.clone(), over, 64, 0),
            Key::Mark(app.clone(), over, 64, MarkId { delivery, n: 1 }),
        ];
        let forgotten = Key::Idempotency(app.clone(), Digest::of(b"key"));
        let panic = Key::Panic(crate::model::PanicId::new(clock.now(), 4));
        for key in stays.iter().chain(&goes).chain([&forgotten, &panic]) {
            deps.store.put(key, PutObject::create("body")).await.unwrap();
        }

        clock.0.store(limits::ms(limits::PANIC_KEPT), Ordering::Relaxed);
        old_panics(&deps, clock.now()).await.unwrap();
        assert!(deps.store.exists(&panic).await.unwrap());
        clock.0.store(limits::ms(limits::DELETE_AFTER), Ordering::Relaxed);
        let report = gc(&deps, false).await.unwrap();
        assert_eq!((report.calls, report.batches, report.idempotency_keys), (0, 0, 1));
        assert!(!deps.store.exists(&panic).await.unwrap());
        clock.0.store(limits::ms(limits::DELETE_AFTER) + 1, Ordering::Relaxed);
        let report = gc(&deps, true).await.unwrap();
        assert_eq!((report.calls, report.batches, report.objects), (1, 1, goes.len() as u64));
        assert_eq!(keys(&deps).await.len(), stays.len() + goes.len(), "a dry run deletes nothing");
        assert_eq!(gc(&deps, false).await.unwrap().objects, goes.len() as u64);
        let mut left: Vec<String> = stays.iter().map(Key::to_string).collect();
        left.sort();
        assert_eq!(keys(&deps).await, left);
        assert_eq!(gc(&deps, false).await.unwrap(), Report::default());
    }
}
