//! An app's calls and its batches as one sequence of ids, newest first. The ids of both begin with their time.

use std::ops::Range;

use super::window::{ListedId, NewestFirst};
use crate::error::Result;
use crate::layout::key;
use crate::model::AppName;
use crate::seam::Deps;

pub(super) struct Merge<'a> {
    sides: Vec<Side<'a>>,
}

/// The ids of calls, or those of batches.
struct Side<'a> {
    listing: NewestFirst<'a>,
    /// Listed and not returned, the newest last.
    ids: Vec<ListedId>,
    ended: bool,
}

impl<'a> Merge<'a> {
    /// The ids in a range.
    pub(super) fn new(
        deps: &'a Deps,
        app: &AppName,
        ids: Range<u128>,
        calls: bool,
        batches: bool,
    ) -> Merge<'a> {
        let call = |text: &str| text.parse().ok().map(ListedId::Call);
        let batch = |text: &str| text.parse().ok().map(ListedId::Batch);
        let calls = calls.then(|| NewestFirst::new(deps, key::calls(app), ids.clone(), call));
        let batches = batches.then(|| NewestFirst::new(deps, key::batches(app), ids, batch));
        let sides = calls.into_iter().chain(batches);
        Merge { sides: sides.map(|listing| Side { listing, ids: Vec::new(), ended: false }).collect() }
    }

    /// The next ids, newest first; never empty. `None` after the oldest.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<ListedId>>> {
        for side in self.sides.iter_mut().filter(|side| side.ids.is_empty() && !side.ended) {
            match side.listing.next().await? {
                Some(ids) => side.ids = ids,
                None => side.ended = true,
            }
        }
        let mut ids = Vec::new();
        while self.sides.iter().all(|side| side.ended || !side.ids.is_empty())
            && let Some(side) =
                self.sides.iter_mut().max_by_key(|side| side.ids.last().copied().map(ListedId::bits))
            && let Some(id) = side.ids.pop()
        {
            ids.push(id);
        }
        Ok(Some(ids).filter(|ids| !ids.is_empty()))
    }

    /// Whether it is known, without a request, that no id is left.
    pub(super) fn is_done(&self) -> bool {
        self.sides.iter().all(|side| side.ids.is_empty() && (side.ended || side.listing.is_done()))
    }
}
