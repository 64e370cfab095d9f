//! Deletes what is old. The content of calls and batches goes when its retention is over; what says that they have ended goes
//! when no late message or lease can need it any more (H14). So do idempotency keys, the reconciler's own marks and panics of
//! workers. Ages are measured by the store's clock. No lifecycle rule deletes these objects.

mod batches;
mod calls;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::pass::Span;
use super::sweep::Sweep;
use super::turn::Turn;
use crate::error::Result;
use crate::layout::watermarks::AppWatermarks;
use crate::layout::{Key, key};
use crate::limits;
use crate::model::checked::is_default;
use crate::model::{AppName, BatchRef, Retention, Time};
use crate::retention;
use crate::seam::count::{CountStore, Counts};
use crate::seam::store::{List, ListEntry};
use crate::seam::{Deps, StoreExt as _};
use crate::store_clock;

/// What was deleted, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Calls and batches whose content was deleted.
    pub calls: u64,
    pub batches: u64,
    /// Calls and batches of which the last objects were deleted.
    #[serde(skip_serializing_if = "is_default")]
    pub tombstones: u64,
    pub idempotency_keys: u64,
    pub objects: u64,
    pub bytes: u64,
    /// Calls, batches and apps that could not be looked at or deleted; each was told of.
    #[serde(skip_serializing_if = "is_default")]
    pub failed: u64,
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Report) {
        self.calls += other.calls;
        self.batches += other.batches;
        self.tombstones += other.tombstones;
        self.idempotency_keys += other.idempotency_keys;
        self.objects += other.objects;
        self.bytes += other.bytes;
        self.failed += other.failed;
    }
}

/// How much is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Nothing: it is only counted.
    DryRun,
    /// What so many requests can delete; the rest is for the next turn.
    Requests(u64),
    All,
}

/// Deletes what is old.
pub(super) async fn delete_old(deps: &Deps, turn: &mut Turn, by: &str, extent: Extent) -> Result<Report> {
    let counts = Arc::new(Counts::default());
    let store = Arc::new(CountStore::new(deps.store.clone(), counts.clone()));
    let deps = &Deps { store, ..deps.clone() };
    let Turn { now, apps, marks, .. } = turn;
    let mut gc = Gc::new(deps, *now, by, extent, counts);
    let of_context = retention::of_context(&*deps.store).await;
    // Where it cannot be read, what has no retention of its own stays.
    let of_context = gc.sweep.take("the context's retention", of_context)?.unwrap_or(Retention::Never);
    // Keys first: a key must never name a call that is gone, or its next use would run it again.
    let with_keys = gc.old_keys(apps, &mut marks.keys_listed_at).await?;
    gc.begin_budget();
    // Each turn begins with another app, so that none takes all requests for ever.
    let first = now.0 / limits::ms(limits::RECONCILE_EVERY) % (apps.len() as u64).max(1);
    for app in apps.iter().cycle().skip(first as usize).take(apps.len()) {
        if gc.is_spent() {
            break;
        }
        if with_keys.contains(app) {
            continue;
        }
        let deleted = gc.app(app, marks.apps.entry(app.clone()).or_default(), of_context).await;
        gc.sweep.take(format_args!("app {app}"), deleted)?;
    }
    gc.reconciled().await?;
    gc.panics().await?;
    Ok(Report { failed: gc.sweep.failed, ..gc.report })
}

/// Deletes the content of a batch that is over, whatever its age. What says that it is over stays.
pub async fn delete_batch(deps: &Deps, of: &BatchRef, by: &str, reason: &str) -> Result<Report> {
    let now = store_clock::now(deps).await?;
    let mut gc = Gc::new(deps, now, by, Extent::All, Arc::default());
    gc.delete_content(of, reason).await?;
    Ok(gc.report)
}

/// Deletes the content of all calls of an app that have ended, and its idempotency keys, whatever their age. What says that
/// calls have ended stays.
pub async fn delete_calls(deps: &Deps, app: &AppName, by: &str) -> Result<Report> {
    let now = store_clock::now(deps).await?;
    let mut gc = Gc::new(deps, now, by, Extent::All, Arc::default());
    gc.sweep(List::all(key::keys(app)), None, |report| report.idempotency_keys += 1).await?;
    gc.content_of_calls(app, &mut Default::default(), None).await?;
    Ok(Report { failed: gc.sweep.failed, ..gc.report })
}

/// Deletes the versions and archives of an app that has no functions any more. A deploy at the same time finds them gone, or
/// its function keeps the app from being deleted.
pub async fn delete_code(deps: &Deps, app: &AppName, by: &str) -> Result<Report> {
    let now = store_clock::now(deps).await?;
    let mut gc = Gc::new(deps, now, by, Extent::All, Arc::default());
    let is_version = |entry: &ListEntry| matches!(entry.key.parse(), Ok(Key::Version(..)));
    gc.sweep_if(List::all(key::functions(app)), is_version, |_| {}).await?;
    gc.sweep(List::all(key::archives(app)), None, |_| {}).await?;
    Ok(gc.report)
}

struct Gc<'a> {
    deps: &'a Deps,
    now: Time,
    by: &'a str,
    extent: Extent,
    counts: Arc<Counts>,
    /// Requests that do not count.
    spent_before: u64,
    report: Report,
    sweep: Sweep<'a>,
}

impl<'a> Gc<'a> {
    fn new(deps: &'a Deps, now: Time, by: &'a str, extent: Extent, counts: Arc<Counts>) -> Gc<'a> {
        let (report, sweep) = (Report::default(), Sweep::new(deps, "delete what is old of"));
        Gc { deps, now, by, extent, counts, spent_before: 0, report, sweep }
    }

    fn begin_budget(&mut self) {
        self.spent_before = self.counts.snapshot().store_requests();
    }

    /// Whether the requests that it may make are spent.
    fn is_spent(&self) -> bool {
        let spent = self.counts.snapshot().store_requests() - self.spent_before;
        matches!(self.extent, Extent::Requests(most) if spent >= most)
    }

    /// Deletes old idempotency keys, of which all are listed once a day. Returns the apps where it failed.
    async fn old_keys(
        &mut self,
        apps: &[AppName],
        listed_at: &mut Option<Time>,
    ) -> Result<BTreeSet<AppName>> {
        let (mut failed, age_ms) = (BTreeSet::new(), limits::ms(limits::IDEMPOTENCY_KEY));
        if listed_at.is_some_and(|at| self.now.since_ms(at) < age_ms) {
            return Ok(failed);
        }
        for app in apps {
            let deleted = self.idempotency_keys(app).await;
            let done = self.sweep.take(format_args!("the idempotency keys of app {app}"), deleted)?;
            failed.extend(done.is_none().then(|| app.clone()));
        }
        if failed.is_empty() {
            *listed_at = Some(self.now);
        }
        Ok(failed)
    }

    async fn app(&mut self, app: &AppName, marks: &mut AppWatermarks, of_context: Retention) -> Result<()> {
        let retention = retention::of_app(&*self.deps.store, app, of_context).await?;
        marks.set_retention(retention);
        let kept_ms = retention.ms();
        let gone_ms = limits::ms(limits::DELETE_AFTER);
        if let Some(kept_ms) = kept_ms {
            if kept_ms < gone_ms {
                self.content_of_calls(app, &mut marks.kept_calls, Some(kept_ms)).await?;
            }
            self.whole_calls(app, &mut marks.old_calls, kept_ms.max(gone_ms)).await?;
        }
        self.batches(app, marks, retention).await
    }

    async fn idempotency_keys(&mut self, app: &AppName) -> Result<()> {
        let (keys, age_ms) = (List::all(key::keys(app)), limits::ms(limits::IDEMPOTENCY_KEY));
        self.sweep(keys, Some(age_ms), |report| report.idempotency_keys += 1).await
    }

    /// Not the watermarks, which lie in a folder below.
    async fn reconciled(&mut self) -> Result<()> {
        let age_ms = 2 * limits::ms(limits::RECONCILE_EVERY);
        self.sweep(List::grouped(key::reconciled()), Some(age_ms), |_| {}).await
    }

    async fn panics(&mut self) -> Result<()> {
        self.sweep(List::all(key::panics()), Some(limits::ms(limits::PANIC_KEPT)), |_| {}).await
    }

    /// Everything in a list that is older than `age_ms`.
    async fn sweep(&mut self, list: List, age_ms: Option<u64>, count: fn(&mut Report)) -> Result<()> {
        let now = self.now;
        let is_old = |entry: &ListEntry| age_ms.is_none_or(|age_ms| now.since_ms(entry.modified_at) > age_ms);
        self.sweep_if(list, is_old, count).await
    }

    async fn sweep_if(
        &mut self,
        list: List,
        goes: impl Fn(&ListEntry) -> bool,
        count: fn(&mut Report),
    ) -> Result<()> {
        let mut left = Some(list);
        while let Some(page) = self.deps.store.next_page(&mut left).await? {
            let old: Vec<_> = page.entries.into_iter().filter(&goes).collect();
            for entry in &old {
                count(&mut self.report);
                self.report.bytes += entry.bytes;
            }
            self.delete(old.iter().map(ListEntry::to_key).collect()).await?;
        }
        Ok(())
    }

    /// Ids that are so old.
    fn span(&self, age_ms: u64) -> Span {
        Span { now: self.now, age_ms, from: None, second_ms: None, ahead: false }
    }

    async fn delete(&mut self, keys: Vec<Key>) -> Result<()> {
        self.report.objects += keys.len() as u64;
        if self.extent == Extent::DryRun {
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

    use super::super::upkeep;
    use super::*;
    use crate::backend::memory::{MemoryQueue, MemoryStore};
    use crate::event::Silent;
    use crate::model::{BatchId, Digest, MarkId, MessageId};
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

    const BATCH: &str = r#"{"v": 1, "function": "f", "version": "0.0.1-0123456789ab", "route": "/f",
        "source": {"location": "x", "format": "lines", "pass": "record", "on_bad_record": "record"},
        "chunking": {"v": 1, "calls_min": 64, "calls_max": 64, "chunks_per_doubling": 8, "bytes_max": 65536},
        "created_at": "2026-09-21T14:13:20.000Z", "nonce": "0000000000000001"}"#;

    async fn keys(deps: &Deps) -> Vec<String> {
        let listed = deps.store.list_all(List::all("apps/")).await.unwrap();
        listed.entries.into_iter().map(|entry| entry.key).collect()
    }

    async fn gc(deps: &Deps, dry_run: bool) -> Report {
        let options = upkeep::Options { dry_run, all: false };
        upkeep::on_demand(deps, "test", options).await.unwrap().deleted
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
        let status = Key::Status(app.clone(), done);
        let goes = [
            Key::Payload(app.clone(), done),
            Key::Batch(app.clone(), over),
            Key::Sealed(app.clone(), over),
            Key::Chunk(app.clone(), over, 64),
            Key::Part(app.clone(), over, 64, 0),
            Key::Mark(app.clone(), over, 64, MarkId { delivery, n: 1 }),
        ];
        let forgotten = Key::Idempotency(app.clone(), Digest::of(b"key"));
        let panic = Key::Panic(crate::model::PanicId::new(clock.now(), 4));
        for key in stays.iter().chain(&goes).chain([&forgotten, &panic, &status]) {
            let body = if let Key::Batch(..) = key { BATCH } else { "body" };
            deps.store.put(key, PutObject::create(body)).await.unwrap();
        }

        let kept_ms = limits::ms(limits::CONTENT_KEPT);
        clock.0.store(kept_ms, Ordering::Relaxed);
        let report = gc(&deps, false).await;
        assert_eq!((report.calls, report.batches, report.idempotency_keys), (0, 0, 1));
        assert!(deps.store.exists(&panic).await.unwrap());
        clock.0.store(kept_ms + 1, Ordering::Relaxed);
        let report = gc(&deps, true).await;
        assert_eq!((report.calls, report.batches, report.objects), (1, 1, goes.len() as u64 + 1));
        assert_eq!(keys(&deps).await.len(), stays.len() + goes.len() + 1, "a dry run deletes nothing");
        assert_eq!(gc(&deps, false).await.objects, goes.len() as u64 + 1, "and the panic");
        assert!(!deps.store.exists(&panic).await.unwrap());
        let deleted = Key::Deleted(app.clone(), over);
        let left = |more: &[&Key]| {
            let mut left: Vec<String> =
                stays.iter().chain(more.iter().copied()).map(Key::to_string).collect();
            left.sort();
            left
        };
        assert_eq!(keys(&deps).await, left(&[&status, &deleted]));
        assert_eq!(gc(&deps, false).await, Report::default());

        clock.0.store(limits::ms(limits::DELETE_AFTER) + 1, Ordering::Relaxed);
        let report = gc(&deps, false).await;
        assert_eq!((report.tombstones, report.objects), (1, 1));
        assert_eq!(keys(&deps).await, left(&[&deleted]));
        clock.0.store(2 * limits::ms(limits::DELETE_AFTER), Ordering::Relaxed);
        let report = gc(&deps, false).await;
        assert_eq!((report.tombstones, report.objects), (1, 4));
        assert_eq!(keys(&deps).await, left(&[])[2..]);
    }
}
