//! What becomes of a range whose function cannot be started here. While no start has succeeded, the worker reports those that
//! failed, pauses after ten of them, and looks whether others can start the function (`worker::starts`).

use std::time::Duration;

use super::admission::SentBack;
use super::prepare::{Preparation, StartIntake};
use super::{Range, Stopped};
use crate::error::Result;
use crate::event::Event;
use crate::layout::Key;
use crate::layout::batch::Batch;
use crate::layout::object::{self, Unsuited};
use crate::limits;
use crate::model::{BatchRef, Digest, fold_digits};
use crate::outcomes::Logs;
use crate::seam::store::PutObject;
use crate::worker::done::Done;
use crate::worker::starts::Intake;
use crate::worker::{Abandoned, Shared};

/// The function starts elsewhere and not here. Returns why its version is refused from now on. Asked only after failed starts: it
/// reads the last footers of the batch's logs.
async fn refuse(shared: &Shared, of: &BatchRef, batch: &Batch, timeout_ms: u64) -> Result<Option<String>> {
    let mut logs = Logs::new(of, batch);
    let listing = logs.list(&*shared.deps.store).await?;
    logs.take_in_readable(&*shared.deps.store, &listing).await?;
    if !logs.has_started() {
        return Ok(None);
    }
    let version = (of.app.clone(), batch.function.clone(), batch.version.clone());
    let time = limits::STARTS_REFUSED.max(Duration::from_millis(2 * timeout_ms));
    let now = shared.deps.clock.monotonic();
    let refused = shared.starts.refuse(of.batch, version, logs.executions(), time, now);
    if let Some(why) = refused.clone() {
        let (worker, app) = (shared.config.name.clone(), of.app.clone());
        shared.emit(Event::VersionRefused { worker, app, function: batch.function.to_string(), why });
    }
    Ok(refused)
}

impl Preparation {
    pub(super) async fn start_intake(&self, timeout_ms: u64) -> Result<StartIntake, Abandoned> {
        let (of, batch) = (BatchRef::new(&self.message.app, self.message.batch), self.definition());
        let version = (of.app.clone(), batch.function.clone(), batch.version.clone());
        let (starts, now) = (&self.shared.starts, self.shared.deps.clock.monotonic());
        if let Some(why) = starts.refusal(&version, now) {
            return Ok(StartIntake::Refused(why));
        }
        if starts.intake(of.batch, now) == Intake::Look {
            if let Some(why) = refuse(&self.shared, &of, batch, timeout_ms).await? {
                return Ok(StartIntake::Refused(why));
            }
            starts.looked_in_vain(of.batch, now);
        }
        Ok(match starts.intake(of.batch, now) {
            Intake::Open => StartIntake::Open,
            Intake::Paused | Intake::Look => StartIntake::Paused,
        })
    }

    /// This worker begins no calls of the batch for a while, others may.
    pub(super) async fn put_back_paused(mut self) -> Result<Done, Abandoned> {
        self.message.lost_before |= self.lease.delivery > 1;
        Ok(match self.send_back(limits::STARTS_PUT_BACK).await? {
            SentBack::Sent { lease, .. } => Done::LeftToOthers(lease),
            SentBack::Nothing(lease) => Done::Finished(lease),
        })
    }
}

impl Range {
    /// Takes in how many of the executions that have ended were started, and why the others were not.
    pub(super) fn note_starts(&mut self, executions: u64, not_started: Vec<String>) {
        let (starts, batch) = (&self.shared.starts, self.message.batch);
        let now = self.shared.deps.clock.monotonic();
        if executions > not_started.len() as u64 {
            starts.succeeded(batch);
            self.calls.stop_watching();
            self.addition.started = true;
        }
        for why in not_started {
            if let Some(count) = starts.failed(batch, &why, now) {
                self.start_reports.push((count, why));
            }
        }
        if starts.intake(batch, now) != Intake::Open {
            self.stopped.get_or_insert(Stopped::NotStarted);
        }
    }

    /// Tells the supervisor, and `status`, that starts failed here: one small object each. Tried once.
    pub(super) async fn report_starts(&mut self) {
        for (count, why) in std::mem::take(&mut self.start_reports) {
            let worker = self.shared.config.name.clone();
            let name = format!("{worker} {count} {}", fold_digits(&why));
            let (app, batch) = (self.message.app.clone(), self.message.batch);
            let key = Key::BatchUnsuited(app, batch, Digest::of(name.as_bytes()));
            let report = Unsuited { why, worker, at: self.shared.deps.now(), failed_starts: Some(count) };
            let _ = self.shared.deps.store.put(&key, PutObject::create(object::encode(&report))).await;
            let of = BatchRef::new(&self.message.app, self.message.batch);
            let timeout_ms = self.context.version.limits.timeout_ms;
            if count >= limits::FAILED_STARTS_REFUSED_MIN
                && let Ok(Some(_)) = refuse(&self.shared, &of, &self.context.batch, timeout_ms).await
            {
                self.stopped.get_or_insert(Stopped::NotStarted);
            }
        }
    }

    /// Writes a part that says that calls of the chunk run here, if none of the range has ended for a while and no part of the
    /// chunk says so. A batch's first such part tells that its function can be started; every one tells a new supervisor that the
    /// chunk's message was sent.
    pub(super) async fn tell_that_it_runs(&mut self) -> Result<(), Abandoned> {
        if self.elapsed() < self.tell_after || !self.calls.has_started() {
            return Ok(());
        }
        self.shared.starts.succeeded(self.message.batch);
        self.calls.stop_watching();
        // One worker is enough, and its part is found by a HEAD.
        if self.is_piece {
            self.log.probe(&*self.shared.deps.store).await?;
        }
        if self.log.has_started() {
            return Ok(());
        }
        (self.addition.started, self.addition.tells) = (true, true);
        // The outcomes that end next are not recorded later for that.
        let flushed = self.flushed;
        let told = self.flush().await;
        self.flushed = flushed;
        told
    }

    /// When to look whether to tell, since the range was begun. `None` if there is nothing to tell.
    pub(super) fn next_tell(&self) -> Option<Duration> {
        let soonest = self.elapsed() + Duration::from_secs(1);
        self.calls.is_watching().then(|| self.tell_after.max(soonest))
    }
}
