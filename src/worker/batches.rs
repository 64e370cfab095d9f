//! What a worker knows of batches: the definition for good; whether it is sealed, cancelled or over as of a minute ago at
//! most. One list answers all of it, once per batch and worker, however many chunks it holds (H24).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::error::{Error, Result};
use crate::layout::batch::{Batch, Cancelled, Sealed};
use crate::layout::{Key, key, object};
use crate::model::{AppName, BatchId};
use crate::seam::store::List;
use crate::seam::{Seams, StoreExt as _};

/// How old a look may be.
const FRESH: Duration = Duration::from_secs(60);
/// A young batch is looked at more often, so that cancelling it soon stops it.
const FRESH_MIN: Duration = Duration::from_secs(2);
/// Past this many the oldest looks are forgotten.
const KEPT_MAX: usize = 1_000;

#[derive(Debug, Clone)]
pub struct Look {
    pub batch: Arc<Batch>,
    pub sealed: Option<Arc<Sealed>>,
    pub cancelled: Option<Arc<Cancelled>>,
    /// It has a `summary`: nothing of it is to be run or recorded any more.
    pub over: bool,
    at: Duration,
    first_at: Duration,
}

impl Look {
    /// Whether the chunk that ends with this number is part of the batch, as far as is known.
    pub fn belongs(&self, last: u64) -> bool {
        self.sealed.as_ref().is_none_or(|sealed| sealed.belongs(last))
    }
}

pub struct Batches {
    seams: Seams,
    known: Mutex<BTreeMap<(AppName, BatchId), Look>>,
}

impl Batches {
    pub fn new(seams: Seams) -> Batches {
        Batches { seams, known: Mutex::default() }
    }

    /// `None`: there is no such batch (its definition was deleted, and with it all that could run).
    pub async fn look(&self, app: &AppName, batch: BatchId) -> Result<Option<Look>> {
        // Held over the requests: many chunks that ask at once are answered by one look.
        let mut known = self.known.lock().await;
        let now = self.seams.clock.monotonic();
        let name = (app.clone(), batch);
        let before = known.get(&name).cloned();
        if let Some(look) = &before {
            let age = now.saturating_sub(look.at);
            let fresh = (now.saturating_sub(look.first_at) / 10).clamp(FRESH_MIN, FRESH);
            if look.over || age < fresh {
                return Ok(before);
            }
        }
        let Some(look) = self.ask(app, batch, before, now).await? else { return Ok(None) };
        if known.len() >= KEPT_MAX {
            known.retain(|_, look| !look.over && now.saturating_sub(look.at) < FRESH);
        }
        known.insert(name, look.clone());
        Ok(Some(look))
    }

    async fn ask(
        &self,
        app: &AppName,
        batch: BatchId,
        before: Option<Look>,
        now: Duration,
    ) -> Result<Option<Look>> {
        let store = &self.seams.store;
        let listed = store.list_all(List::grouped(key::batch(app, batch))).await?;
        let mut facts = listed.entries.iter().filter_map(|entry| entry.key.parse::<Key>().ok());
        let (mut defined, mut sealed, mut cancelled, mut over) = (false, false, false, false);
        for fact in &mut facts {
            match fact {
                Key::Batch(..) => defined = true,
                Key::Sealed(..) => sealed = true,
                Key::Cancelled(..) => cancelled = true,
                Key::Summary(..) => over = true,
                _ => {}
            }
        }
        let known = before.as_ref();
        let definition = match known {
            Some(look) if defined => Some(look.batch.clone()),
            // Asked for by name before it is said that there is none: what points to it is deleted then.
            _ => self.find(Key::Batch(app.clone(), batch)).await?,
        };
        let Some(definition) = definition else { return Ok(None) };
        let sealed = match known.and_then(|look| look.sealed.clone()) {
            None if sealed => Some(self.read(Key::Sealed(app.clone(), batch)).await?),
            known => known,
        };
        let cancelled = match known.and_then(|look| look.cancelled.clone()) {
            None if cancelled => Some(self.read(Key::Cancelled(app.clone(), batch)).await?),
            known => known,
        };
        let first_at = known.map_or(now, |look| look.first_at);
        Ok(Some(Look { batch: definition, sealed, cancelled, over, at: now, first_at }))
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, key: Key) -> Result<Arc<T>> {
        let name = key.to_string();
        let found = self.find(key).await?;
        found.ok_or_else(|| Error::internal(format!("`{name}` was listed and is gone")))
    }

    async fn find<T: serde::de::DeserializeOwned>(&self, key: Key) -> Result<Option<Arc<T>>> {
        let key = key.to_string();
        let found = self.seams.store.find(&key).await?;
        found.map(|object| Ok(Arc::new(object::decode(&key, &object.body)?))).transpose()
    }
}
