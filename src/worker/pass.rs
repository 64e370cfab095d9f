//! One pass over the calls or batches of an app, in the order of their ids. It begins where the pass before has ended: at a
//! watermark, below which only the ids left open are looked at again.

use std::collections::VecDeque;

use super::walk::{CallWalk, StoredCall};
use crate::error::Result;
use crate::layout::key;
use crate::layout::watermarks::{Reach, Watermark};
use crate::limits;
use crate::model::{AppName, BatchId, CallId, Time};
use crate::seam::store::{List, past_prefix};
use crate::seam::{Deps, StoreExt as _};

/// What is left to do with what was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    /// It is to be looked at again then, by the store's clock.
    LookAt(Time),
}

/// Which ids a pass is to walk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub now: Time,
    /// Ids that are so old, by the time in the id.
    pub age_ms: u64,
    /// Without a watermark, ids past this.
    pub from: Option<Time>,
    /// Look a second time at ids that are so old.
    pub second_ms: Option<u64>,
    /// Look at ids from the future too: a machine's clock was ahead when it minted them.
    pub ahead: bool,
}

/// Ids under which objects are stored.
pub(super) trait PassId: Ord + Copy {
    fn time(&self) -> Time;
    /// The first id of a millisecond.
    fn first_at(time: Time) -> Self;
}

impl PassId for CallId {
    fn time(&self) -> Time {
        CallId::time(self)
    }

    fn first_at(time: Time) -> CallId {
        CallId::single(time, 0)
    }
}

impl PassId for BatchId {
    fn time(&self) -> Time {
        BatchId::time(self)
    }

    fn first_at(time: Time) -> BatchId {
        BatchId::new(time, 0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    First,
    Second,
    Ahead,
}

/// Which id comes next, and what is known when it was looked at.
struct Cursor<'a, Id: PassId> {
    mark: &'a mut Watermark<Id>,
    now: Time,
    due: VecDeque<Id>,
    /// Parts still to be walked, each up to a time.
    parts: VecDeque<(Part, Time)>,
    /// The part that is walked.
    at: Option<(Part, Time)>,
    /// An id of this part could not be left open: the watermark stays below it.
    is_stuck: bool,
}

impl<'a, Id: PassId> Cursor<'a, Id> {
    fn new(mark: &'a mut Watermark<Id>, span: &Span) -> Cursor<'a, Id> {
        let Span { now, age_ms, from, second_ms, ahead } = *span;
        let up_to = now.minus_ms(age_ms);
        let from = from.map(Id::first_at);
        mark.first.upto = mark.first.upto.max(from);
        let mut parts = VecDeque::from([(Part::First, up_to)]);
        if let Some(second_ms) = second_ms {
            let up_to = now.minus_ms(second_ms);
            // What the first look finds now needs no second one.
            mark.second.upto.get_or_insert_with(|| Id::first_at(up_to));
            parts.push_back((Part::Second, up_to));
        }
        parts.retain(|(part, up_to)| {
            let reach = if *part == Part::First { &mark.first } else { &mark.second };
            reach.clear_until <= *up_to
        });
        if ahead && parts.iter().any(|(part, _)| *part == Part::First) {
            parts.push_back((Part::Ahead, Time::MAX));
        }
        let due = mark.open.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        Cursor { mark, now, due, parts, at: None, is_stuck: false }
    }

    fn reach(&mut self) -> Option<&mut Reach<Id>> {
        match self.at {
            Some((Part::First, _)) => Some(&mut self.mark.first),
            Some((Part::Second, _)) => Some(&mut self.mark.second),
            Some((Part::Ahead, _)) | None => None,
        }
    }

    /// Begins the next part. Returns the id past which it begins; `None` for the first id of all.
    fn begin_part(&mut self) -> Option<Option<Id>> {
        let (part, up_to) = self.parts.pop_front()?;
        self.at = Some((part, up_to));
        self.is_stuck = false;
        Some(match part {
            Part::Ahead => Some(Id::first_at(self.now.plus_ms(limits::ms(limits::RESEND_AFTER)))),
            _ => self.reach().and_then(|reach| reach.upto),
        })
    }

    /// Whether an id belongs to the part that is walked. If not, the part is at its end.
    fn belongs(&mut self, id: Option<Id>) -> bool {
        let Some((part, up_to)) = self.at else { return false };
        if id.is_some_and(|id| id.time() <= up_to) {
            return true;
        }
        let (is_stuck, clear_until) = (self.is_stuck, id.map_or(self.now, |id| id.time().min(self.now)));
        if let Some(reach) = self.reach().filter(|_| !is_stuck) {
            reach.clear_until = clear_until;
        }
        if part == Part::First && id.is_none() {
            self.parts.retain(|(part, _)| *part != Part::Ahead);
        }
        self.at = None;
        false
    }

    /// Whether an id that the walk has come to is left open until later.
    fn is_open(&self, id: &Id) -> bool {
        self.mark.open.get(id).is_some_and(|at| *at > self.now)
    }

    fn settle(&mut self, id: Id, next: Next) {
        match next {
            Next::Nothing => drop(self.mark.open.remove(&id)),
            Next::LookAt(at) => self.is_stuck |= !self.mark.leave_open(id, at),
        }
        self.pass(id);
    }

    fn pass(&mut self, id: Id) {
        let is_stuck = self.is_stuck;
        if let Some(reach) = self.reach().filter(|_| !is_stuck) {
            reach.upto = Some(id);
        }
    }
}

/// A pass over single calls. One list for each thousand objects past the watermark, and for each group of open calls that
/// lie closer together.
pub(super) struct CallPass<'a> {
    cursor: Cursor<'a, CallId>,
    walk: CallWalk<'a>,
}

impl<'a> CallPass<'a> {
    pub fn new(deps: &'a Deps, app: &AppName, mark: &'a mut Watermark<CallId>, span: &Span) -> CallPass<'a> {
        CallPass { cursor: Cursor::new(mark, span), walk: CallWalk::new(deps, app) }
    }

    /// The next call to be looked at; [`CallPass::settle`] is to follow.
    pub async fn next(&mut self) -> Result<Option<StoredCall>> {
        while let Some(call) = self.cursor.due.pop_front() {
            match self.walk.seek(call).await? {
                Some(seen) => return Ok(Some(seen)),
                None => self.cursor.settle(call, Next::Nothing),
            }
        }
        loop {
            if self.cursor.at.is_none() {
                let Some(past) = self.cursor.begin_part() else { return Ok(None) };
                self.walk.restart(past);
            }
            let seen = self.walk.next().await?;
            if !self.cursor.belongs(seen.as_ref().map(|seen| seen.call)) {
                continue;
            }
            match seen {
                Some(seen) if self.cursor.is_open(&seen.call) => self.cursor.pass(seen.call),
                seen => return Ok(seen),
            }
        }
    }

    pub fn settle(&mut self, call: CallId, next: Next) {
        self.cursor.settle(call, next);
    }
}

/// A pass over batches. One list for each thousand of them past the watermark.
pub(super) struct BatchPass<'a> {
    cursor: Cursor<'a, BatchId>,
    deps: &'a Deps,
    prefix: String,
    left: Option<List>,
    page: VecDeque<BatchId>,
}

impl<'a> BatchPass<'a> {
    pub fn new(
        deps: &'a Deps,
        app: &AppName,
        mark: &'a mut Watermark<BatchId>,
        span: &Span,
    ) -> BatchPass<'a> {
        let (prefix, page) = (key::batches(app), VecDeque::new());
        BatchPass { cursor: Cursor::new(mark, span), deps, prefix, left: None, page }
    }

    /// The next batch to be looked at; [`BatchPass::settle`] is to follow.
    pub async fn next(&mut self) -> Result<Option<BatchId>> {
        if let Some(batch) = self.cursor.due.pop_front() {
            return Ok(Some(batch));
        }
        loop {
            if self.cursor.at.is_none() {
                let Some(past) = self.cursor.begin_part() else { return Ok(None) };
                let mut list = List::grouped(&self.prefix);
                list.start_after = past.map(|batch| past_prefix(&format!("{}{batch}/", self.prefix)));
                (self.left, self.page) = (Some(list), VecDeque::new());
            }
            let batch = self.next_listed().await?;
            if !self.cursor.belongs(batch) {
                continue;
            }
            match batch {
                Some(batch) if self.cursor.is_open(&batch) => self.cursor.pass(batch),
                batch => return Ok(batch),
            }
        }
    }

    /// Whether the batch that came last was looked at before.
    pub fn is_second_look(&self) -> bool {
        matches!(self.cursor.at, Some((Part::Second, _)))
    }

    async fn next_listed(&mut self) -> Result<Option<BatchId>> {
        while self.page.is_empty() {
            let Some(page) = self.deps.store.next_page(&mut self.left).await? else { return Ok(None) };
            self.page = page.folders::<BatchId>(&self.prefix).collect();
        }
        Ok(self.page.pop_front())
    }

    pub fn settle(&mut self, batch: BatchId, next: Next) {
        self.cursor.settle(batch, next);
    }
}
