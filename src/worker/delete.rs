//! Deletes what has had its time: whole calls, `status` last, once nothing late can come for them (H14); idempotency keys;
//! the reconciler's own marks. By the store's clock, never by lifecycle rules.

use serde::Serialize;

use super::store_clock;
use super::walk::{self, Seen, Walk};
use crate::error::Result;
use crate::layout::{Key, key};
use crate::limits;
use crate::model::{AppName, Time};
use crate::seam::Seams;
use crate::seam::store::List;

/// What was deleted, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub calls: u64,
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
        if !status.iter().any(|(_, status)| self.now.since_ms(status.modified_at) > limits::DELETE_AFTER_MS) {
            return Ok(());
        }
        self.report.calls += 1;
        self.report.bytes += status.iter().chain(&rest).map(|(_, entry)| entry.bytes).sum::<u64>();
        for entries in [rest, status] {
            self.delete(entries.into_iter().map(|(_, entry)| entry.key).collect()).await?;
        }
        Ok(())
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
