//! Lists the single calls of an app in the order of their ids, each with all its objects.

use std::collections::VecDeque;

use crate::error::Result;
use crate::layout::{Key, key};
use crate::model::{AppName, CallId};
use crate::seam::store::{List, ListEntry};
use crate::seam::{Deps, StoreExt as _};

/// Every app that has objects, also one whose definition was deleted: its calls live on.
pub async fn apps(deps: &Deps) -> Result<Vec<AppName>> {
    Ok(deps.store.list_all(List::grouped(key::apps())).await?.folders(&key::apps()).collect())
}

/// One call and what lies under it.
pub struct StoredCall {
    pub call: CallId,
    pub objects: Vec<(Key, ListEntry)>,
}

pub struct CallWalk<'a> {
    deps: &'a Deps,
    /// Not yet listed.
    left: Option<List>,
    page: VecDeque<ListEntry>,
    /// The call whose objects are being gathered.
    open: Option<StoredCall>,
}

impl<'a> CallWalk<'a> {
    /// Begins after `after`, or with the oldest call.
    pub fn new(deps: &'a Deps, app: &AppName, after: Option<CallId>) -> CallWalk<'a> {
        let mut request = List::all(key::calls(app));
        request.start_after = after.map(|call| key::call(app, call));
        CallWalk { deps, left: Some(request), page: VecDeque::new(), open: None }
    }

    pub async fn next(&mut self) -> Result<Option<StoredCall>> {
        loop {
            let Some(entry) = self.page.pop_front() else {
                let Some(listed) = self.deps.store.next_page(&mut self.left).await? else {
                    return Ok(self.open.take());
                };
                self.page = listed.entries.into();
                continue;
            };
            let Some((call, key)) = entry.key.parse().ok().and_then(of_call) else { continue };
            match &mut self.open {
                Some(open) if open.call == call => open.objects.push((key, entry)),
                open => {
                    if let Some(whole) = open.replace(StoredCall { call, objects: vec![(key, entry)] }) {
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
