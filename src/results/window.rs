//! Walking an app's calls, or its batches, from the newest back. A store lists in ascending order only, and ids begin with their time:
//! so windows of time are listed, from now backwards, a minute first, doubled when one is short. A window that has
//! more than a page is halved, and its pieces walked newest first; since ids are halved and not hours, it ends however
//! many calls fall into one millisecond.
//!
//! When the first window does not suffice, one page is read from the far end: it tells where the past ends, so that the
//! years before it are not walked, and for an app of no more calls than a page it is all there is to read.

use std::ops::Range;
use std::str::FromStr;

use ulid::Ulid;

use crate::error::Result;
use crate::limits;
use crate::model::{BatchId, CallId, Time};
use crate::results::call::reading;
use crate::seam::Seams;
use crate::seam::store::List;

/// Where an instant's ids begin.
pub(super) fn bits(time: Time) -> u128 {
    span(time.0.min((1 << 48) - 1))
}

/// How many ids a stretch of time has.
fn span(ms: u64) -> u128 {
    u128::from(ms) << 80
}

/// What a walk goes over.
pub(super) trait Id: Copy + Into<u128> + FromStr {}

impl Id for CallId {}
impl Id for BatchId {}

pub(super) struct Walk<'a, I> {
    seams: &'a Seams,
    /// Under which each has a folder.
    folder: String,
    /// What is known and what is to be listed of the windows so far, the newest last.
    todo: Vec<Todo<I>>,
    /// Below here no window has been opened yet.
    above: u128,
    /// Below here nothing is to be found but the `oldest` page.
    floor: u128,
    oldest: Option<Vec<I>>,
    progress: Progress,
    width: u128,
    now: u128,
}

#[derive(PartialEq)]
enum Progress {
    Fresh,
    FirstWindow,
    FloorKnown,
}

enum Todo<I> {
    Page(Vec<I>),
    Gap(Range<u128>),
}

struct Page<I> {
    /// Ascending.
    ids: Vec<I>,
    /// There are no others in the range that was asked for.
    complete: bool,
}

impl<'a, I: Id> Walk<'a, I> {
    /// Over the ids in a range.
    pub(super) fn new(seams: &'a Seams, folder: String, ids: Range<u128>) -> Walk<'a, I> {
        Walk {
            seams,
            folder,
            todo: Vec::new(),
            above: ids.end,
            floor: ids.start,
            oldest: None,
            progress: Progress::Fresh,
            width: span(limits::LIST_WINDOW_MS_MIN),
            now: bits(seams.now()),
        }
    }

    /// The next ones, newest first; never empty. `None` when the past has ended.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<I>>> {
        loop {
            match self.todo.pop() {
                Some(Todo::Page(mut ids)) => {
                    ids.reverse();
                    if !ids.is_empty() {
                        return Ok(Some(ids));
                    }
                }
                Some(Todo::Gap(gap)) => {
                    self.look_into(gap).await?;
                }
                None if self.above > self.floor => match self.progress {
                    // Clocks that are ahead have minted ids past now: the first window has no end.
                    Progress::Fresh => {
                        self.progress = Progress::FirstWindow;
                        self.open_window(self.above.min(self.now)).await?;
                    }
                    Progress::FirstWindow => {
                        self.progress = Progress::FloorKnown;
                        self.find_floor().await?;
                    }
                    Progress::FloorKnown => self.open_window(self.above).await?,
                },
                None => match self.oldest.take() {
                    Some(ids) => self.todo.push(Todo::Page(ids)),
                    None => return Ok(None),
                },
            }
        }
    }

    /// Takes back what was answered and not used, newest first.
    pub(super) fn put_back(&mut self, ids: &[I]) {
        self.todo.push(Todo::Page(ids.iter().rev().copied().collect()));
    }

    /// Whether it is known, without asking, that nothing is left.
    pub(super) fn is_done(&self) -> bool {
        self.todo.is_empty() && self.above <= self.floor && self.oldest.is_none()
    }

    async fn open_window(&mut self, newest: u128) -> Result<()> {
        let start = newest.saturating_sub(self.width).max(self.floor);
        let window = start..std::mem::replace(&mut self.above, start);
        let complete = self.look_into(window).await?;
        self.width = if complete { self.width.saturating_mul(2) } else { (self.width / 2).max(1) };
        Ok(())
    }

    /// Whether one page told all.
    async fn look_into(&mut self, gap: Range<u128>) -> Result<bool> {
        let page = self.list(&gap).await?;
        let last = page.ids.last().copied().map(Into::into);
        self.todo.push(Todo::Page(page.ids));
        let Some(last) = last.filter(|_| !page.complete) else { return Ok(true) };
        // The page is the oldest part of the gap: what lies after it comes first, and of that the newer half. A gap
        // that reaches into the future is cut a little past now, its middle would be thousands of years away.
        let future = self.now + span(limits::LIST_WINDOW_MS_MIN);
        let middle = if gap.contains(&future) { future } else { gap.start + (gap.end - gap.start) / 2 };
        if middle > last + 1 {
            self.todo.push(Todo::Gap(last + 1..middle));
            self.todo.push(Todo::Gap(middle..gap.end));
        } else {
            self.todo.push(Todo::Gap(last + 1..gap.end));
        }
        Ok(false)
    }

    async fn find_floor(&mut self) -> Result<()> {
        let page = self.list(&(self.floor..self.above)).await?;
        self.floor = match page.ids.last() {
            Some(last) if !page.complete => (*last).into() + 1,
            _ => self.above,
        };
        self.oldest = Some(page.ids).filter(|ids| !ids.is_empty());
        Ok(())
    }

    /// One page from the beginning of a range.
    async fn list(&self, range: &Range<u128>) -> Result<Page<I>> {
        let boundary = |bits: u128| format!("{}{}", self.folder, text(bits));
        let end = boundary(range.end);
        let mut request = List::grouped(&self.folder).start_after(boundary(range.start));
        loop {
            let listed = self.seams.store.list(&request).await.map_err(reading(&self.folder))?;
            let past_end = listed.prefixes.last().is_some_and(|last| *last >= end);
            let complete = past_end || listed.next.is_none();
            let within = listed.prefixes.iter().filter(|prefix| **prefix < end);
            let ids: Vec<I> = within.filter_map(|prefix| id_of(&self.folder, prefix)).collect();
            match listed.next {
                // A page full of what is no call of ours tells nothing.
                Some(next) if ids.is_empty() && !complete => request = request.start_after(next),
                _ => return Ok(Page { ids, complete }),
            }
        }
    }
}

fn id_of<I: Id>(folder: &str, prefix: &str) -> Option<I> {
    prefix.strip_prefix(folder)?.strip_suffix('/')?.parse().ok()
}

fn text(bits: u128) -> String {
    let mut buffer = [0; ulid::ULID_LEN];
    Ulid(bits).array_to_str(&mut buffer).to_owned()
}
