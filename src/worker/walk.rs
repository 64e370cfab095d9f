//! Lists the single calls of an app in the order of their ids, each with all its objects.

use std::collections::VecDeque;

use crate::error::Result;
use crate::layout::{Key, key};
use crate::model::{AppName, CallId};
use crate::seam::store::{List, ListEntry, past_prefix};
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
    app: AppName,
    /// Not yet listed.
    left: Option<List>,
    page: VecDeque<ListEntry>,
    /// The call whose objects are being gathered.
    open: Option<StoredCall>,
    /// The call after one that was sought and is not there.
    ahead: Option<StoredCall>,
}

impl<'a> CallWalk<'a> {
    /// Has no place until [`CallWalk::restart`] or [`CallWalk::seek`].
    pub fn new(deps: &'a Deps, app: &AppName) -> CallWalk<'a> {
        let (left, page) = (None, VecDeque::new());
        CallWalk { deps, app: app.clone(), left, page, open: None, ahead: None }
    }

    /// Goes on past a call, or with the first one.
    pub fn restart(&mut self, past: Option<CallId>) {
        self.list_from(past.map(|call| past_prefix(&key::call(&self.app, call))));
    }

    fn list_from(&mut self, start_after: Option<String>) {
        let list = List { start_after, ..List::all(key::calls(&self.app)) };
        (self.left, self.page, self.open, self.ahead) = (Some(list), VecDeque::new(), None, None);
    }

    /// A call, which is after those that came before; the walk goes on behind it. Costs a list unless it is on the page that
    /// was listed last.
    pub async fn seek(&mut self, call: CallId) -> Result<Option<StoredCall>> {
        let prefix = key::call(&self.app, call);
        let is_on_page = self.page.back().is_some_and(|last| last.key > prefix);
        let is_gathered =
            [&self.ahead, &self.open].iter().any(|of| of.as_ref().is_some_and(|of| of.call >= call));
        if !is_on_page && !is_gathered {
            self.list_from(Some(prefix));
        }
        while let Some(seen) = self.next().await? {
            if seen.call >= call {
                return match seen.call == call {
                    true => Ok(Some(seen)),
                    false => {
                        self.ahead = Some(seen);
                        Ok(None)
                    }
                };
            }
        }
        Ok(None)
    }

    pub async fn next(&mut self) -> Result<Option<StoredCall>> {
        if let Some(seen) = self.ahead.take() {
            return Ok(Some(seen));
        }
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
