//! Lists an app's calls, or its batches, from the newest to the oldest. A store lists in ascending order only, and ids begin
//! with their time: so windows of time are listed, from now backwards. The first is a minute wide, and a window that one
//! page covers doubles the next. A window with more than a page is halved, and its halves are listed newest first. Ids are
//! halved and not hours, so that this ends however many calls have the same millisecond.
//!
//! When the first window does not suffice, one page is read from the far end. It shows where the oldest id is, so that the
//! years before it are not listed; an app with no more calls than a page needs no other request.

use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;

use ulid::Ulid;

use crate::error::Result;
use crate::limits;
use crate::model::{BatchId, CallId, PanicId, Time};
use crate::results::reading;
use crate::seam::Deps;
use crate::seam::store::{List, ListPage};

/// Where an instant's ids begin.
pub(super) fn bits(time: Time) -> u128 {
    span(time.0.min((1 << 48) - 1))
}

/// How many ids a stretch of time has.
fn span(ms: u64) -> u128 {
    u128::from(ms) << 80
}

/// The id of a call, or of a batch.
pub(super) trait ListedId: Copy + Display + FromStr + Into<u128> {}
impl ListedId for CallId {}
impl ListedId for BatchId {}
impl ListedId for PanicId {}

pub(super) struct NewestFirst<'a, Id> {
    deps: &'a Deps,
    /// Holds a folder or an object for each id.
    folder: String,
    names: Names,
    /// The parts of the opened windows, the newest last.
    segments: Vec<Segment<Id>>,
    /// No window below this id has been opened.
    above: u128,
    /// Below this id there is only the `oldest` page.
    floor: u128,
    oldest: Option<Vec<Id>>,
    stage: Stage,
    width: u128,
    now: u128,
}

/// What has an id as its name.
#[derive(Clone, Copy)]
enum Names {
    Folders,
    Objects,
}

impl Names {
    /// Their keys on a page, in order.
    fn on(self, page: &ListPage) -> Vec<&str> {
        match self {
            Names::Folders => page.prefixes.iter().map(String::as_str).collect(),
            Names::Objects => page.entries.iter().map(|entry| entry.key.as_str()).collect(),
        }
    }
}

enum Stage {
    Fresh,
    FirstWindow,
    FloorKnown,
}

enum Segment<Id> {
    Page(Vec<Id>),
    NotListed(Range<u128>),
}

struct Page<Id> {
    /// Ascending.
    ids: Vec<Id>,
    /// There are no others in the range of the request.
    complete: bool,
}

impl<'a, Id: ListedId> NewestFirst<'a, Id> {
    /// The ids in a range, each of which is the name of a folder.
    pub(super) fn new(deps: &'a Deps, folder: String, ids: Range<u128>) -> NewestFirst<'a, Id> {
        NewestFirst::named(deps, Names::Folders, folder, ids)
    }

    /// The ids in a range, each of which is the name of an object.
    pub(super) fn of_objects(deps: &'a Deps, folder: String, ids: Range<u128>) -> NewestFirst<'a, Id> {
        NewestFirst::named(deps, Names::Objects, folder, ids)
    }

    fn named(deps: &'a Deps, names: Names, folder: String, ids: Range<u128>) -> NewestFirst<'a, Id> {
        NewestFirst {
            deps,
            folder,
            names,
            segments: Vec::new(),
            above: ids.end,
            floor: ids.start,
            oldest: None,
            stage: Stage::Fresh,
            width: span(limits::ms(limits::LIST_WINDOW_MIN)),
            now: bits(deps.now()),
        }
    }

    /// The next ids, the newest last; never empty. `None` after the oldest.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Id>>> {
        loop {
            match self.segments.pop() {
                Some(Segment::Page(ids)) if ids.is_empty() => {}
                Some(Segment::Page(ids)) => return Ok(Some(ids)),
                Some(Segment::NotListed(range)) => drop(self.list_newest(range).await?),
                None if self.above > self.floor => match self.stage {
                    // Clocks that are ahead create ids past now: the first window is open at its end.
                    Stage::Fresh => {
                        self.stage = Stage::FirstWindow;
                        self.open_window(self.above.min(self.now)).await?;
                    }
                    Stage::FirstWindow => {
                        self.stage = Stage::FloorKnown;
                        self.find_floor().await?;
                    }
                    Stage::FloorKnown => self.open_window(self.above).await?,
                },
                None => match self.oldest.take() {
                    Some(ids) => self.segments.push(Segment::Page(ids)),
                    None => return Ok(None),
                },
            }
        }
    }

    /// Up to `max` ids, the newest first, and whether there are more, as far as is known without a request.
    pub(super) async fn take(mut self, max: usize) -> Result<(Vec<Id>, bool)> {
        let mut newest = Vec::new();
        while newest.len() < max {
            let Some(page) = self.next().await? else { return Ok((newest, false)) };
            newest.extend(page.into_iter().rev());
        }
        let has_more = newest.len() > max || !self.is_done();
        newest.truncate(max);
        Ok((newest, has_more))
    }

    /// Whether it is known, without a request, that no id is left.
    pub(super) fn is_done(&self) -> bool {
        self.segments.is_empty() && self.above <= self.floor && self.oldest.is_none()
    }

    async fn open_window(&mut self, newest: u128) -> Result<()> {
        let start = newest.saturating_sub(self.width).max(self.floor);
        let window = start..std::mem::replace(&mut self.above, start);
        let complete = self.list_newest(window).await?;
        self.width = if complete { self.width.saturating_mul(2) } else { (self.width / 2).max(1) };
        Ok(())
    }

    /// Lists a page and splits the rest of the range. True if the page covers all of it.
    async fn list_newest(&mut self, range: Range<u128>) -> Result<bool> {
        let page = self.list(&range).await?;
        let last: Option<u128> = page.ids.last().copied().map(Into::into);
        self.segments.push(Segment::Page(page.ids));
        let Some(last) = last.filter(|_| !page.complete) else { return Ok(true) };
        // The page is the oldest part of the range. The rest is newer, and its newer half is listed first. A range that
        // reaches into the future is cut a little past now, because its middle would be thousands of years away.
        let future = self.now + span(limits::ms(limits::LIST_WINDOW_MIN));
        let middle =
            if range.contains(&future) { future } else { range.start + (range.end - range.start) / 2 };
        if middle > last + 1 {
            self.segments.push(Segment::NotListed(last + 1..middle));
            self.segments.push(Segment::NotListed(middle..range.end));
        } else {
            self.segments.push(Segment::NotListed(last + 1..range.end));
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
    async fn list(&self, range: &Range<u128>) -> Result<Page<Id>> {
        let boundary = |bits: u128| format!("{}{}", self.folder, text(bits));
        let end = boundary(range.end);
        let mut request = List::grouped(&self.folder).start_after(boundary(range.start));
        loop {
            let listed = self.deps.store.list(&request).await.map_err(reading(&self.folder))?;
            let keys = self.names.on(&listed);
            let past_end = keys.last().is_some_and(|last| *last >= end.as_str());
            let complete = past_end || listed.next.is_none();
            let within = keys.into_iter().filter(|key| *key < end.as_str());
            let names = within.filter_map(|key| key.strip_prefix(&self.folder));
            let ids: Vec<Id> =
                names.filter_map(|name| name.strip_suffix('/').unwrap_or(name).parse().ok()).collect();
            match listed.next {
                // A page without a single id, of foreign objects, says nothing about the range.
                Some(next) if ids.is_empty() && !complete => request = request.start_after(next),
                _ => return Ok(Page { ids, complete }),
            }
        }
    }
}

fn text(bits: u128) -> String {
    let mut buffer = [0; ulid::ULID_LEN];
    Ulid(bits).array_to_str(&mut buffer).to_owned()
}
