//! Deletes what has had its time: whole calls, `status` last, and whole batches, payloads first, once nothing late can come
//! for them (H14); idempotency keys; the reconciler's own marks. By the store's clock, never by lifecycle rules.

use serde::Serialize;

use super::walk::{self, Seen, Walk};
use crate::error::Result;
use crate::layout::{Key, key};
use crate::limits;
use crate::model::{AppName, BatchId, Time};
use crate::planted::planted;
use crate::seam::Seams;
use crate::seam::StoreExt as _;
use crate::seam::store::List;
use crate::store_clock;

/// What was deleted, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub calls: u64,
    pub batches: u64,
    pub idempotency_keys: u64,
    pub objects: u64,
    pub bytes: u64,
}

/// Deletes, or with `dry_run` only counts.
pub async fn gc(seams: &Seams, dry_run: bool) -> Result<Report> {
    let now = store_clock::now(seams).await?;
    let mut gc = Gc { seams, now, dry_run, report: Report::default() };
    for app in walk::apps(seams).await? {
        // Keys first: a key must never name a call that is gone, or its next use would run it again.
        gc.idempotency_keys(&app).await?;
        gc.calls(&app).await?;
        gc.batches(&app).await?;
    }
    gc.reconciled().await?;
    Ok(gc.report)
}

struct Gc<'a> {
    seams: &'a Seams,
    now: Time,
    dry_run: bool,
    report: Report,
}

impl Gc<'_> {
    async fn idempotency_keys(&mut self, app: &AppName) -> Result<()> {
        self.sweep(key::keys(app), limits::IDEMPOTENCY_KEY_MS, |report| report.idempotency_keys += 1).await
    }

    async fn reconciled(&mut self) -> Result<()> {
        self.sweep(key::reconciled(), 2 * limits::RECONCILE_EVERY_MS, |_| {}).await
    }

    /// Everything under a prefix that is older than `age_ms`.
    async fn sweep(&mut self, prefix: String, age_ms: u64, count: fn(&mut Report)) -> Result<()> {
        let mut request = List::all(prefix);
        loop {
            let page = self.seams.store.list(&request).await?;
            let old: Vec<_> = page
                .entries
                .into_iter()
                .filter(|entry| self.now.since_ms(entry.modified_at) > age_ms)
                .collect();
            for entry in &old {
                count(&mut self.report);
                self.report.bytes += entry.bytes;
            }
            self.delete(old.into_iter().map(|entry| entry.key).collect()).await?;
            match page.next {
                Some(next) => request.start_after = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn calls(&mut self, app: &AppName) -> Result<()> {
        let mut walk = Walk::new(self.seams, app, None);
        while let Some(seen) = walk.next().await? {
            // An id is a time, and calls come in its order: nothing from here on can be old enough.
            if self.now.since_ms(seen.call.time()) < limits::DELETE_AFTER_MS {
                break;
            }
            self.whole_call(seen).await?;
        }
        Ok(())
    }

    /// Deletes a call that was decided long enough ago; `status` last, since without it a late message would run the
    /// call again. One without outcome is never deleted.
    async fn whole_call(&mut self, seen: Seen) -> Result<()> {
        let (status, rest): (Vec<_>, Vec<_>) = seen
            .objects
            .into_iter()
            .map(|(key, entry)| (matches!(key, Key::Status(..)), entry))
            .partition(|of| of.0);
        let by_itself = planted!(LifecycleWithoutTombstone);
        if !by_itself
            && !status
                .iter()
                .any(|(_, status)| self.now.since_ms(status.modified_at) > limits::DELETE_AFTER_MS)
        {
            return Ok(());
        }
        self.report.calls += 1;
        self.report.bytes += status.iter().chain(&rest).map(|(_, entry)| entry.bytes).sum::<u64>();
        for entries in [rest, status] {
            self.delete(entries.into_iter().map(|(_, entry)| entry.key).collect()).await?;
        }
        Ok(())
    }

    async fn batches(&mut self, app: &AppName) -> Result<()> {
        let prefix = key::batches(app);
        let mut request = List::grouped(prefix.clone());
        loop {
            let page = self.seams.store.list(&request).await?;
            for folder in &page.prefixes {
                let id = folder.strip_prefix(&prefix).and_then(|id| id.strip_suffix('/')?.parse().ok());
                let Some(batch): Option<BatchId> = id else { continue };
                if self.now.since_ms(batch.time()) < limits::DELETE_AFTER_MS {
                    return Ok(());
                }
                self.whole_batch(app, batch).await?;
            }
            match page.next {
                Some(next) => request.start_after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Deletes a batch that was over long enough ago; `summary` and `fired` stay: without them a late message would run it
    /// again, and its follow-ups. One without summary is never deleted.
    async fn whole_batch(&mut self, app: &AppName, batch: BatchId) -> Result<()> {
        let all = self.seams.store.list_all(List::grouped(key::batch(app, batch))).await?;
        let summary = Key::Summary(app.clone(), batch).to_string();
        let over = all.entries.iter().find(|entry| entry.key == summary);
        let mut stays = vec![summary.clone(), Key::Fired(app.clone(), batch).to_string()];
        if planted!(LifecycleWithoutTombstone) {
            stays.clear();
        }
        let rest: Vec<String> =
            all.entries.iter().map(|entry| entry.key.clone()).filter(|key| !stays.contains(key)).collect();
        let old = over.is_some_and(|over| self.now.since_ms(over.modified_at) > limits::DELETE_AFTER_MS);
        if !old || (rest.is_empty() && all.prefixes.is_empty()) {
            return Ok(());
        }
        self.report.batches += 1;
        let payloads = key::chunks(app, batch);
        let others = all.prefixes.into_iter().filter(|folder| *folder != payloads);
        for folder in std::iter::once(payloads.clone()).chain(others) {
            self.sweep(folder, 0, |_| {}).await?;
        }
        self.delete(rest).await
    }

    async fn delete(&mut self, keys: Vec<String>) -> Result<()> {
        self.report.objects += keys.len() as u64;
        if self.dry_run {
            return Ok(());
        }
        for page in keys.chunks(limits::LIST_PAGE_MAX) {
            self.seams.store.delete(page).await?;
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
    use crate::model::{Digest, MessageId};
    use crate::seam::queue::Lane;
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

    async fn keys(seams: &Seams) -> Vec<String> {
        let listed = seams.store.list_all(List::all("")).await.unwrap();
        listed.entries.into_iter().map(|entry| entry.key).collect()
    }

    #[tokio::test]
    async fn what_is_decided_goes_after_its_time_and_what_is_not_stays() {
        let clock = Arc::new(Hand(AtomicU64::new(0)));
        let queue = Arc::new(MemoryQueue::new(clock.clone()));
        let lane = Lane { live: queue.clone(), dead: queue };
        let seams = Seams {
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
            Key::Mark(app.clone(), over, 64, delivery, 1),
        ];
        let forgotten = Key::Idempotency(app.clone(), Digest::of(b"key"));
        for key in stays.iter().chain(&goes).chain([&forgotten]) {
            seams.store.put(&key.to_string(), PutObject::create("body")).await.unwrap();
        }

        clock.0.store(limits::DELETE_AFTER_MS, Ordering::Relaxed);
        let report = gc(&seams, false).await.unwrap();
        assert_eq!((report.calls, report.batches, report.idempotency_keys), (0, 0, 1));
        clock.0.store(limits::DELETE_AFTER_MS + 1, Ordering::Relaxed);
        let report = gc(&seams, true).await.unwrap();
        assert_eq!((report.calls, report.batches, report.objects), (1, 1, goes.len() as u64));
        assert_eq!(keys(&seams).await.len(), stays.len() + goes.len(), "a dry run deletes nothing");
        assert_eq!(gc(&seams, false).await.unwrap().objects, goes.len() as u64);
        let mut left: Vec<String> = stays.iter().map(Key::to_string).collect();
        left.sort();
        assert_eq!(keys(&seams).await, left);
        assert_eq!(gc(&seams, false).await.unwrap(), Report::default());
    }
}
