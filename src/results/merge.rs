//! An app's calls and its batches as one row of ids, newest first. A batch's id begins with its time as a call's does.

use std::ops::Range;

use super::window::{Id, Walk};
use crate::error::Result;
use crate::layout::key;
use crate::model::{AppName, BatchId, CallId};
use crate::seam::Seams;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    Call(CallId),
    Batch(BatchId),
}

impl Item {
    pub(super) fn bits(self) -> u128 {
        match self {
            Item::Call(id) => id.into(),
            Item::Batch(id) => id.into(),
        }
    }
}

pub(super) struct Merge<'a> {
    calls: Side<'a, CallId>,
    batches: Option<Side<'a, BatchId>>,
    put_back: Vec<Item>,
}

/// One of the two, and what of it is at hand: the newest last.
struct Side<'a, I> {
    walk: Walk<'a, I>,
    ids: Vec<I>,
    ended: bool,
}

impl<'a> Merge<'a> {
    /// Over the ids in a range; `batches`: those too.
    pub(super) fn new(seams: &'a Seams, app: &AppName, ids: Range<u128>, batches: bool) -> Merge<'a> {
        let calls = Side::new(Walk::new(seams, key::calls(app), ids.clone()));
        let batches = batches.then(|| Side::new(Walk::new(seams, key::batches(app), ids)));
        Merge { calls, batches, put_back: Vec::new() }
    }

    /// The next ones, newest first; never empty. `None` when the past has ended.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Item>>> {
        if !self.put_back.is_empty() {
            return Ok(Some(std::mem::take(&mut self.put_back)));
        }
        self.calls.fill().await?;
        if let Some(batches) = &mut self.batches {
            batches.fill().await?;
        }
        let mut items = Vec::new();
        while self.is_known() {
            let call = self.calls.ids.last().map(|id| Item::Call(*id));
            let batches = self.batches.as_ref();
            let batch = batches.and_then(|side| side.ids.last()).map(|id| Item::Batch(*id));
            let Some(newer) = call.into_iter().chain(batch).max_by_key(|item| item.bits()) else { break };
            match (newer, &mut self.batches) {
                (Item::Batch(_), Some(batches)) => drop(batches.ids.pop()),
                _ => drop(self.calls.ids.pop()),
            }
            items.push(newer);
        }
        Ok(Some(items).filter(|items| !items.is_empty()))
    }

    /// Whether what is at hand tells which is the next.
    fn is_known(&self) -> bool {
        self.calls.is_known() && self.batches.as_ref().is_none_or(Side::is_known)
    }

    /// Takes back what was answered and not used, newest first.
    pub(super) fn put_back(&mut self, items: &[Item]) {
        self.put_back = items.to_vec();
    }

    /// Whether it is known, without asking, that nothing is left.
    pub(super) fn is_done(&self) -> bool {
        self.put_back.is_empty() && self.calls.is_done() && self.batches.as_ref().is_none_or(Side::is_done)
    }
}

impl<'a, I: Id> Side<'a, I> {
    fn new(walk: Walk<'a, I>) -> Side<'a, I> {
        Side { walk, ids: Vec::new(), ended: false }
    }

    async fn fill(&mut self) -> Result<()> {
        if self.ids.is_empty() && !self.ended {
            match self.walk.next().await? {
                Some(mut ids) => {
                    ids.reverse();
                    self.ids = ids;
                }
                None => self.ended = true,
            }
        }
        Ok(())
    }

    fn is_known(&self) -> bool {
        self.ended || !self.ids.is_empty()
    }

    fn is_done(&self) -> bool {
        self.ids.is_empty() && (self.ended || self.walk.is_done())
    }
}
