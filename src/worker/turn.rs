//! A turn of upkeep: its time and the watermarks that it begins with and leaves.

use super::sweep::Sweep;
use super::walk;
use crate::error::Result;
use crate::event::Event;
use crate::layout::watermarks::Watermarks;
use crate::layout::{Key, key};
use crate::limits;
use crate::model::{AppName, Time, WatermarksId};
use crate::seam::store::{List, ListEntry};
use crate::seam::{Deps, RngExt as _, StoreExt as _};
use crate::store_clock;

/// The time of a turn, by the store's clock, and its watermarks.
pub(super) struct Turn {
    pub now: Time,
    /// Every app that has objects.
    pub apps: Vec<AppName>,
    pub marks: Watermarks,
    /// Those of the turns before.
    stored: Vec<ListEntry>,
}

impl Turn {
    pub async fn begin(deps: &Deps, by: &str, uses_watermarks: bool) -> Result<Turn> {
        let now = store_clock::now(deps).await?;
        let stored = deps.store.list_all(List::all(key::watermarks())).await?.entries;
        let latest = stored.iter().max_by_key(|entry| entry.modified_at).filter(|_| uses_watermarks);
        let mut marks = match latest {
            Some(entry) => read(deps, entry, now).await?,
            None => Watermarks::default(),
        };
        let apps = walk::apps(deps).await?;
        marks.apps.retain(|app, _| apps.contains(app));
        Ok(Turn { now, apps, marks: Watermarks { worker: by.to_owned(), ..marks }, stored })
    }

    /// Keeps the watermarks for the next turn. They are only a hint, so a failure is told of and is no error.
    pub async fn end(&self, deps: &Deps) {
        if let Err(error) = self.store(deps).await {
            let what = "keep the watermarks of upkeep".to_owned();
            deps.events.on(Event::RequestFailed { what, why: error.to_string() });
        }
    }

    async fn store(&self, deps: &Deps) -> Result<()> {
        deps.store.put_fact(&WatermarksId::new(deps.now(), deps.rng.u128()), &self.marks).await?;
        let old: Vec<Key> = self.stored.iter().map(ListEntry::to_key).collect();
        for page in old.chunks(limits::LIST_PAGE_MAX) {
            deps.store.delete(page).await?;
        }
        Ok(())
    }
}

/// Watermarks from the store. None are used where they cannot be true: of a damaged object, or of a clock that was set back.
async fn read(deps: &Deps, entry: &ListEntry, now: Time) -> Result<Watermarks> {
    let Ok(Key::Watermarks(id)) = entry.key.parse() else { return Ok(Watermarks::default()) };
    let found = Sweep::new(deps, "read").take(&entry.key, deps.store.find_fact::<Watermarks>(&id).await)?;
    let true_ones =
        found.flatten().filter(|marks| entry.modified_at <= now && marks.are_of(entry.modified_at));
    Ok(true_ones.unwrap_or_default())
}
