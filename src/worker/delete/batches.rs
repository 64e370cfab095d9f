//! Deletes batches: first their content, much later what says that they were.

use super::{Extent, Gc};
use crate::error::{Error, Result};
use crate::layout::batch::{Batch, Deleted};
use crate::layout::watermarks::{AppWatermarks, Watermark};
use crate::layout::{Key, key};
use crate::limits;
use crate::model::{AppName, BatchId, BatchRef, Retention, Time};
use crate::planted::planted;
use crate::seam::StoreExt as _;
use crate::seam::store::{List, ListEntry};
use crate::worker::pass::{BatchPass, Next};

/// What one list says of a batch.
#[derive(Default)]
struct Sight {
    has_definition: bool,
    summary: Option<Time>,
    fired: Option<Time>,
    deleted: Option<Time>,
    /// Something beside these and the definition.
    has_more: bool,
}

impl Sight {
    fn of(listed: &[ListEntry], has_folders: bool) -> Sight {
        let mut sight = Sight { has_more: has_folders, ..Sight::default() };
        for entry in listed {
            let at = Some(entry.modified_at);
            match entry.key.parse() {
                Ok(Key::Batch(..)) => sight.has_definition = true,
                Ok(Key::Summary(..)) => sight.summary = at,
                Ok(Key::Fired(..)) => sight.fired = at,
                Ok(Key::Deleted(..)) => sight.deleted = at,
                _ => sight.has_more = true,
            }
        }
        sight
    }

    fn has_content(&self) -> bool {
        self.has_definition || self.has_more
    }
}

/// These stay when the content goes: without them a late message would run the batch again, and its follow-ups (N12).
fn stays(key: &str) -> bool {
    let key = key.parse();
    let is_summary = planted!(matches!(key, Ok(Key::Summary(..))), LifecycleWithoutTombstone => false);
    is_summary || matches!(key, Ok(Key::Fired(..) | Key::Deleted(..)))
}

impl Gc<'_> {
    pub(super) async fn batches(
        &mut self,
        app: &AppName,
        marks: &mut AppWatermarks,
        retention: Retention,
    ) -> Result<()> {
        let gone_ms = limits::ms(limits::DELETE_AFTER);
        let AppWatermarks { kept_batches, old_batches, .. } = marks;
        // Without a retention only those batches are looked at that have one of their own: they are open.
        let span = self.span(retention.ms().unwrap_or(self.now.0));
        let mut pass = BatchPass::new(self.deps, app, kept_batches, &span);
        while !self.is_spent()
            && let Some(batch) = pass.next().await?
        {
            let of = BatchRef::new(app, batch);
            let looked = self.content_of_batch(&of, retention, old_batches).await;
            let next = self.sweep.take(format_args!("batch {batch}"), looked)?;
            pass.settle(batch, next.unwrap_or(Next::LookAt(self.now)));
        }
        let span = self.span(retention.ms().unwrap_or(gone_ms).saturating_add(gone_ms));
        let mut pass = BatchPass::new(self.deps, app, old_batches, &span);
        while !self.is_spent()
            && let Some(batch) = pass.next().await?
        {
            let looked = self.tombstones(&BatchRef::new(app, batch)).await;
            let next = self.sweep.take(format_args!("batch {batch}"), looked)?;
            pass.settle(batch, next.unwrap_or(Next::LookAt(self.now)));
        }
        Ok(())
    }

    async fn sight(&self, of: &BatchRef) -> Result<Sight> {
        let listed = self.deps.store.list_all(List::grouped(key::batch(&of.app, of.batch))).await?;
        Ok(Sight::of(&listed.entries, !listed.prefixes.is_empty()))
    }

    /// Deletes the content of a batch whose retention is over. A deletion that died midway goes on.
    async fn content_of_batch(
        &mut self,
        of: &BatchRef,
        of_app: Retention,
        old: &mut Watermark<BatchId>,
    ) -> Result<Next> {
        let sight = self.sight(of).await?;
        if !sight.has_content() {
            return Ok(Next::Nothing);
        }
        let gone_ms = limits::ms(limits::DELETE_AFTER);
        let reason = match (sight.deleted, sight.summary) {
            (Some(_), _) => String::new(),
            (None, None) => return Ok(if sight.has_definition { self.undecided() } else { Next::Nothing }),
            (None, Some(summary)) => {
                // Its follow-ups may need it.
                let Some(end) = sight.fired.or_else(|| self.is_older(summary, gone_ms).then_some(summary))
                else {
                    return Ok(Next::LookAt(summary.plus_ms(gone_ms + 1)));
                };
                let definition = self.deps.store.find_fact::<Batch>(of).await?;
                let own = definition.and_then(|batch| batch.retention);
                let retention = own.unwrap_or(of_app);
                let Some(kept_ms) = retention.ms() else {
                    // A new retention of the app makes it due again (`AppWatermarks::set_retention`).
                    return Ok(if own.is_some() { Next::Nothing } else { Next::LookAt(Time::MAX) });
                };
                if !self.is_older(end, kept_ms) {
                    return Ok(Next::LookAt(end.plus_ms(kept_ms + 1)));
                }
                format!("its retention of {retention} was over")
            }
        };
        self.content_goes(of, &sight, &reason).await?;
        if old.first.upto.is_some_and(|upto| of.batch <= upto) {
            old.leave_open(of.batch, self.now.plus_ms(gone_ms + 1));
        }
        Ok(Next::Nothing)
    }

    fn is_older(&self, at: Time, than_ms: u64) -> bool {
        self.now.since_ms(at) > than_ms
    }

    /// Deletes the content of a batch that is over, whatever its age.
    pub(super) async fn delete_content(&mut self, of: &BatchRef, reason: &str) -> Result<()> {
        let sight = self.sight(of).await?;
        match sight.summary.and(sight.fired) {
            Some(_) => self.content_goes(of, &sight, reason).await,
            None => Err(Error::conflict(format!("batch {} is not over", of.batch)).with_hint(format!(
                "`afn batch cancel {0}` ends it, `afn batch wait {0}` waits for that",
                of.batch
            ))),
        }
    }

    /// Deletes all but the tombstones. `deleted` comes first: no reader takes what is left meanwhile for the whole. Payloads
    /// come next, so that no call without its row can be taken for one that waits.
    async fn content_goes(&mut self, of: &BatchRef, sight: &Sight, reason: &str) -> Result<()> {
        if self.extent != Extent::DryRun {
            let by = self.by.to_owned();
            let deleted = Deleted { by, reason: reason.to_owned(), at: self.deps.now() };
            if sight.deleted.is_none() {
                self.deps.store.create_fact(of, &deleted).await?;
            }
        }
        self.report.batches += 1;
        let chunks = key::chunks(&of.app, of.batch);
        self.sweep(List::all(&chunks), None, |_| {}).await?;
        let all = List::all(key::batch(&of.app, of.batch));
        let goes = |entry: &ListEntry| !stays(&entry.key) && !entry.key.starts_with(&chunks);
        self.sweep_if(all, goes, |_| {}).await?;
        // Most batches have neither.
        let control = [Key::Control(of.app.clone(), of.batch), Key::Shares(of.app.clone(), of.batch)];
        if self.extent != Extent::DryRun {
            self.deps.store.delete(&control).await?;
        }
        Ok(())
    }

    /// Deletes the last objects of a batch, long after its content: no late message can find it any more.
    async fn tombstones(&mut self, of: &BatchRef) -> Result<Next> {
        let gone_ms = limits::ms(limits::DELETE_AFTER);
        // A batch whose content is still there is left open when that is deleted.
        let sight = self.sight(of).await?;
        let Some(deleted) = sight.deleted else { return Ok(Next::Nothing) };
        let gone_at = planted!(deleted, TombstonesEarly => Time(0));
        if !self.is_older(gone_at, gone_ms) {
            return Ok(Next::LookAt(deleted.plus_ms(gone_ms + 1)));
        }
        if sight.has_content() {
            let all = List::all(key::batch(&of.app, of.batch));
            self.sweep_if(all, |entry| !stays(&entry.key), |_| {}).await?;
        }
        let app = || of.app.clone();
        let first = [Key::Pointer(of.batch), Key::Summary(app(), of.batch), Key::Fired(app(), of.batch)];
        self.delete(first.into()).await?;
        // It finds a deletion that died midway.
        self.delete(vec![Key::Deleted(app(), of.batch)]).await?;
        self.report.tombstones += 1;
        Ok(Next::Nothing)
    }
}
