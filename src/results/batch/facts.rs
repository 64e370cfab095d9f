//! The facts of a batch: each is written once, so each is read once.

use serde::de::DeserializeOwned;

use super::super::call::reading;
use crate::error::Result;
use crate::layout::batch::{Batch, Cancelled, Fired, Retry, Sealed, Summary};
use crate::layout::{Key, object};
use crate::model::{AppName, BatchId};
use crate::outcomes::Listing;
use crate::seam::{Seams, StoreExt as _};

/// What is known of a batch beside its chunks and logs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub batch: Option<Batch>,
    pub sealed: Option<Sealed>,
    pub cancelled: Option<Cancelled>,
    pub summary: Option<Summary>,
    pub fired: Option<Fired>,
    pub retries: Vec<BatchId>,
}

impl Facts {
    /// Reads what a list shows and is not known yet.
    pub async fn read(&mut self, seams: &Seams, app: &AppName, id: BatchId, listing: &Listing) -> Result<()> {
        let (batch, sealed, cancelled, summary, fired) = tokio::try_join!(
            missing(seams, &self.batch, listing.defined, Key::Batch(app.clone(), id)),
            missing(seams, &self.sealed, listing.sealed, Key::Sealed(app.clone(), id)),
            missing(seams, &self.cancelled, listing.cancelled, Key::Cancelled(app.clone(), id)),
            missing(seams, &self.summary, listing.summary, Key::Summary(app.clone(), id)),
            missing(seams, &self.fired, listing.fired, Key::Fired(app.clone(), id)),
        )?;
        self.batch = self.batch.take().or(batch);
        self.sealed = self.sealed.take().or(sealed);
        self.cancelled = self.cancelled.take().or(cancelled);
        self.summary = self.summary.take().or(summary);
        self.fired = self.fired.take().or(fired);
        for number in listing.retries.iter().skip(self.retries.len()) {
            let retry: Option<Retry> = find(seams, Key::Retry(app.clone(), id, *number)).await?;
            self.retries.extend(retry.map(|retry| retry.batch));
        }
        Ok(())
    }
}

async fn missing<T: DeserializeOwned>(
    seams: &Seams,
    known: &Option<T>,
    there: bool,
    key: Key,
) -> Result<Option<T>> {
    if known.is_some() || !there { Ok(None) } else { find(seams, key).await }
}

pub async fn find<T: DeserializeOwned>(seams: &Seams, key: Key) -> Result<Option<T>> {
    let key = key.to_string();
    let object = seams.store.find(&key).await.map_err(reading(&key))?;
    object.map(|object| object::decode(&key, &object.body)).transpose()
}
