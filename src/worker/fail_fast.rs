//! Stops a batch whose function cannot be started anywhere. Workers report failed starts (`starts`). The supervisor adds
//! their reports up; a batch without failed starts costs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Abandoned, Shared};
use crate::layout::batch::Cancelled;
use crate::layout::object::{self, Unsuited};
use crate::limits;
use crate::model::fold_digits;
use crate::outcomes::{Listing, Logs};
use crate::planted::planted;
use crate::seam::StoreExt as _;
use crate::seam::store::ListEntry;

/// What workers have reported of a batch.
#[derive(Debug, Default)]
pub struct StartReports {
    /// Keys of the reports that were read.
    read: BTreeSet<String>,
    /// By worker: its highest number of failed starts.
    failed: BTreeMap<String, u32>,
    /// By reason, with digits folded: the reason of one report.
    reasons: BTreeMap<String, String>,
    /// Workers that the version does not suit.
    unsuited: BTreeSet<String>,
    /// When the last report of a failed start was read.
    reported_at: Duration,
    /// The function was started somewhere.
    is_over: bool,
}

impl StartReports {
    /// Reads what was reported since the last look. Returns the cancellation of the batch if its function cannot be started.
    pub async fn look(
        &mut self,
        shared: &Shared,
        logs: &Logs,
        listing: &Listing,
        is_own_heard: bool,
    ) -> Result<Option<Cancelled>, Abandoned> {
        if self.is_over || listing.unsuited.is_empty() {
            return Ok(None);
        }
        let now = shared.deps.clock.monotonic();
        for entry in &listing.unsuited {
            self.read(shared, entry, now).await?;
        }
        if planted!(logs.has_started(), StartedElsewhereIgnored => false) {
            self.is_over = true;
            return Ok(None);
        }
        let mut heard: BTreeSet<&str> = logs.workers();
        heard.extend(is_own_heard.then_some(shared.config.name.as_str()));
        let Some(reason) = self.verdict(heard) else { return Ok(None) };
        let quiet = now.saturating_sub(self.reported_at);
        if quiet < limits::STARTS_QUIET {
            return Ok(None);
        }
        // Who holds a message may be about to start the function. A worker that runs calls for long tells of it before the
        // longer time is over.
        let in_flight = shared.deps.queues.chunks.live.depth().await?.in_flight;
        if in_flight > 0 && quiet < limits::STARTS_WAIT {
            return Ok(None);
        }
        Ok(Some(Cancelled { by: "starts".to_owned(), reason, at: shared.deps.now() }))
    }

    async fn read(&mut self, shared: &Shared, entry: &ListEntry, now: Duration) -> Result<(), Abandoned> {
        if self.read.contains(&entry.key) || self.read.len() >= limits::START_REPORTS_MAX {
            return Ok(());
        }
        let key = entry.to_key();
        let found = shared.deps.store.find(&key, limits::FACT_BYTES_MAX).await?;
        self.read.insert(entry.key.clone());
        // One that cannot be read is for people: `status` shows it.
        let Some(Ok(report)) = found.map(|found| object::decode::<Unsuited>(&key, &found.body)) else {
            return Ok(());
        };
        let Some(count) = report.failed_starts else {
            self.unsuited.insert(report.worker);
            return Ok(());
        };
        self.reported_at = now;
        self.reasons.entry(fold_digits(&report.why)).or_insert(report.why);
        let known = self.failed.entry(report.worker).or_default();
        *known = count.max(*known);
        Ok(())
    }

    /// Why the batch is stopped, if its first starts failed for one reason on every worker of these that can run it, and on
    /// two at least if there are two.
    fn verdict<'a>(&'a self, mut heard: BTreeSet<&'a str>) -> Option<String> {
        let count: u32 = self.failed.values().sum();
        let [why] = self.reasons.values().collect::<Vec<_>>()[..] else { return None };
        heard.retain(|worker| !self.unsuited.contains(*worker));
        heard.extend(self.failed.keys().map(String::as_str));
        if count < limits::FAILED_STARTS_MAX || (heard.len() > 1 && self.failed.len() < 2) {
            return None;
        }
        let workers = match self.failed.len() {
            1 => "1 worker".to_owned(),
            workers => format!("{workers} workers"),
        };
        Some(format!("stopped: the first {count} starts failed on {workers}: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reports<'a>(failed: impl IntoIterator<Item = (&'a str, u32)>, reasons: &[&str]) -> StartReports {
        StartReports {
            failed: failed.into_iter().map(|(worker, count)| (worker.to_owned(), count)).collect(),
            reasons: reasons.iter().map(|why| (fold_digits(why), (*why).to_owned())).collect(),
            unsuited: ["arm".to_owned()].into(),
            ..StartReports::default()
        }
    }

    #[test]
    fn ten_failed_starts_for_one_reason_stop_a_batch_on_two_workers_if_there_are_two() {
        for (failed, reasons, heard, stops) in [
            (vec![("a", 5), ("b", 5)], &["no pull 1"][..], &["a"][..], true),
            (vec![("a", 5), ("b", 2)], &["no pull 1"], &["a"], false),
            (vec![("a", 10)], &["no pull 1"], &["a", "arm"], true),
            (vec![("a", 10)], &["no pull 1"], &["a", "b"], false),
            (vec![("a", 10), ("b", 1)], &["no pull 1"], &["a", "b", "c"], true),
            (vec![("a", 10), ("b", 10)], &["no pull 1", "no pull 2"], &[], true),
            (vec![("a", 10), ("b", 10)], &["no pull 1", "no such file"], &[], false),
        ] {
            let reports = reports(failed.clone(), reasons);
            let verdict = reports.verdict(heard.iter().copied().collect());
            assert_eq!(verdict.is_some(), stops, "{failed:?} {reasons:?} {heard:?}: {verdict:?}");
        }
    }
}
