//! Walks an app's single calls in the order of their ids, each with all its objects.

use std::collections::VecDeque;

use crate::error::Result;
use crate::layout::{Key, key};
use crate::model::{AppName, CallId};
use crate::seam::store::{Entry, List};
use crate::seam::{Seams, StoreExt as _};

/// Every app that has objects, also one whose definition was deleted: its calls live on.
pub async fn apps(seams: &Seams) -> Result<Vec<AppName>> {
    let listed = seams.store.list_all(List::grouped(key::apps())).await?;
    let names = listed
        .prefixes
        .iter()
        .filter_map(|prefix| prefix.strip_prefix(&key::apps())?.strip_suffix('/')?.parse().ok());
    Ok(names.collect())
}

/// One call and what lies under it.
pub struct Seen {
    pub call: CallId,
    pub objects: Vec<(Key, Entry)>,
}

pub struct Walk<'a> {
    seams: &'a Seams,
    /// `None`: the last page is in.
    request: Option<List>,
    page: VecDeque<Entry>,
    /// The call whose objects are being gathered.
    open: Option<Seen>,
}

impl<'a> Walk<'a> {
    /// Begins after `after`, or with the oldest call.
    pub fn new(seams: &'a Seams, app: &AppName, after: Option<CallId>) -> Walk<'a> {
        let mut request = List::all(key::calls(app));
        request.start_after = after.map(|call| key::call(app, call));
        Walk { seams, request: Some(request), page: VecDeque::new(), open: None }
    }

    pub async fn next(&mut self) -> Result<Option<Seen>> {
        loop {
            let Some(entry) = self.page.pop_front() else {
                let Some(request) = self.request.take() else { return Ok(self.open.take()) };
                let listed = self.seams.store.list(&request).await?;
                self.page = listed.entries.into();
                self.request = listed.next.map(|next| request.start_after(next));
                continue;
            };
            let Some((call, key)) = entry.key.parse().ok().and_then(of_call) else { continue };
            match &mut self.open {
                Some(open) if open.call == call => open.objects.push((key, entry)),
                open => {
                    if let Some(whole) = open.replace(Seen { call, objects: vec![(key, entry)] }) {
                        return Ok(Some(whole));
                    }
                }
            }
        }
    }
}

fn of_call(key: Key) -> Option<(CallId, Key)> {
    match key {
        Key::Payload(_, call)
        | Key::Started(_, call, _)
        | Key::Void(_, call, _)
        | Key::Unsuited(_, call, _)
        | Key::Result(_, call, _)
        | Key::Log(_, call, _)
        | Key::Status(_, call) => Some((call, key)),
        _ => None,
    }
}
