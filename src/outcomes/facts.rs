//! The facts of a batch. One list finds which facts exist. Each is read at most once, because a fact never changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::listing::Listing;
use super::status::BatchStatus;
use crate::error::{Code, Error, Result};
use crate::layout::batch::{Batch, Cancelled, Deleted, Fired, Retry, SEALED_BY_SUBMITTER, Sealed, Summary};
use crate::layout::control::Control;
use crate::layout::{Fact, Key, key};
use crate::model::{BatchId, BatchLimits, BatchRef, State, Time};
use crate::seam::store::{List, ListEntry};
use crate::seam::{Store, StoreExt as _};

/// What is known of one fact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum FactEntry<T> {
    #[default]
    Absent,
    /// It is there and was not read.
    Listed,
    Read(Arc<T>),
}

impl<T> FactEntry<T> {
    pub fn is_there(&self) -> bool {
        !matches!(self, FactEntry::Absent)
    }

    /// What it says, if it was read.
    pub fn get(&self) -> Option<&T> {
        match self {
            FactEntry::Read(fact) => Some(fact),
            FactEntry::Absent | FactEntry::Listed => None,
        }
    }

    fn mark_listed(&mut self) {
        if let FactEntry::Absent = self {
            *self = FactEntry::Listed;
        }
    }
}

impl<T: Fact> FactEntry<T> {
    /// What it says, if it is there: one request at most, and none the second time.
    pub async fn read(&mut self, store: &dyn Store, id: &T::Id) -> Result<Option<Arc<T>>> {
        if let FactEntry::Listed = self {
            *self =
                store.find_fact(id).await?.map_or(FactEntry::Absent, |fact| FactEntry::Read(Arc::new(fact)));
        }
        Ok(match self {
            FactEntry::Read(fact) => Some(fact.clone()),
            FactEntry::Absent | FactEntry::Listed => None,
        })
    }
}

/// Why nothing can be read or done with a batch any more.
pub fn deleted_error(of: &BatchRef, deleted: &Deleted) -> Error {
    let (batch, Deleted { reason, at, .. }) = (of.batch, deleted);
    Error::not_found(format!("the calls of batch `{batch}` were deleted on {at}: {reason}"))
        .with_hint(format!("`afn batch status {batch}` shows its summary"))
}

/// A batch as far as it is known beside its chunks and logs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchFacts {
    pub definition: FactEntry<Batch>,
    pub sealed: FactEntry<Sealed>,
    pub cancelled: FactEntry<Cancelled>,
    /// As it was read last; unlike the others it changes.
    pub control: Option<Arc<Control>>,
    pub summary: FactEntry<Summary>,
    pub fired: FactEntry<Fired>,
    pub deleted: FactEntry<Deleted>,
    /// By their number, from 1.
    pub retries: BTreeMap<u32, FactEntry<Retry>>,
    /// When the definition was written, by the store's clock.
    pub begun_at: Option<Time>,
    /// Something of it is decided.
    pub has_parts: bool,
    /// A worker has reported that it cannot run its calls.
    pub has_unsuited: bool,
}

impl BatchFacts {
    /// Finds out which facts there are: one request.
    pub async fn look(&mut self, store: &dyn Store, of: &BatchRef) -> Result<()> {
        let listed = store.list_all(List::grouped(key::batch(&of.app, of.batch))).await?;
        let has_parts = listed.prefixes.contains(&key::outcomes(&of.app, of.batch));
        self.has_unsuited |= listed.prefixes.contains(&key::batch_unsuited(&of.app, of.batch));
        self.note(&listed.entries, has_parts);
        Ok(())
    }

    /// Notes which facts a list shows.
    pub fn take_in(&mut self, listing: &Listing) {
        self.note(&listing.facts, !listing.logs.is_empty());
    }

    fn note(&mut self, listed: &[ListEntry], has_parts: bool) {
        self.has_parts |= has_parts;
        for entry in listed {
            match entry.key.parse() {
                Ok(Key::Batch(..)) => {
                    self.begun_at = Some(entry.modified_at);
                    self.definition.mark_listed();
                }
                Ok(Key::Sealed(..)) => self.sealed.mark_listed(),
                Ok(Key::Cancelled(..)) => self.cancelled.mark_listed(),
                Ok(Key::Summary(..)) => self.summary.mark_listed(),
                Ok(Key::Deleted(..)) => self.deleted.mark_listed(),
                Ok(Key::Fired(..)) => self.fired.mark_listed(),
                Ok(Key::Retry(_, _, retry)) => self.retries.entry(retry).or_default().mark_listed(),
                _ => {}
            }
        }
    }

    /// The definition, asked for by name if a list did not show it: a list may lag.
    pub async fn read_definition(&mut self, store: &dyn Store, of: &BatchRef) -> Result<Option<Arc<Batch>>> {
        self.definition.mark_listed();
        self.definition.read(store, of).await
    }

    /// What was last asked of the batch, read anew. What cannot be read asks for nothing: the batch goes on.
    pub async fn read_control(&mut self, store: &dyn Store, of: &BatchRef) -> Result<()> {
        self.control = match store.find_fact(of).await {
            Err(error) if error.code() == Code::Internal => None,
            found => found?.map(Arc::new),
        };
        Ok(())
    }

    /// Nothing of it begins, as far as was read.
    pub fn is_paused(&self) -> bool {
        self.control.as_ref().is_some_and(|control| control.paused)
    }

    /// The limits that hold now, as far as was read.
    pub fn limits(&self) -> BatchLimits {
        match (&self.control, self.definition.get()) {
            (Some(control), _) => control.limits,
            (None, Some(batch)) => batch.limits,
            (None, None) => BatchLimits::default(),
        }
    }

    /// An error where its content was deleted. What is left of it is not to be read. Costs a request only then.
    pub async fn refuse_deleted(&mut self, store: &dyn Store, of: &BatchRef) -> Result<()> {
        match self.deleted.read(store, of).await? {
            Some(deleted) => Err(deleted_error(of, &deleted)),
            None => Ok(()),
        }
    }

    /// Reads all that is there.
    pub async fn read(&mut self, store: &dyn Store, of: &BatchRef) -> Result<()> {
        tokio::try_join!(
            self.definition.read(store, of),
            self.sealed.read(store, of),
            self.cancelled.read(store, of),
            self.summary.read(store, of),
            self.fired.read(store, of),
            self.deleted.read(store, of),
        )?;
        // Of a batch that is over nothing can be asked.
        if !self.summary.is_there() {
            self.read_control(store, of).await?;
        }
        for (number, retry) in &mut self.retries {
            retry.read(store, &(of.clone(), *number)).await?;
        }
        Ok(())
    }

    /// The batches that were made of its failures, as far as they were read.
    pub fn retried_as(&self) -> impl Iterator<Item = BatchId> + '_ {
        self.retries.values().filter_map(|retry| Some(retry.get()?.batch))
    }

    /// Whether a number is of this batch, as far as is known.
    pub fn belongs(&self, number: u64) -> bool {
        self.sealed.get().is_none_or(|sealed| sealed.belongs(number))
    }

    /// How it stands, when its calls are decided like this. One that was cancelled when it had come to its end already
    /// shows how it ended (R3).
    pub fn status(&self, counts: &BTreeMap<State, u64>, is_decided: bool) -> BatchStatus {
        let was_cancelled = match self.summary.get() {
            Some(summary) => summary.cancelled.is_some(),
            None => self.cancelled.is_there(),
        };
        if is_decided {
            let cancelled = counts.get(&State::Cancelled).is_some_and(|count| *count > 0);
            let in_part = self.sealed.get().is_none_or(|sealed| sealed.by != SEALED_BY_SUBMITTER);
            return match (was_cancelled && (cancelled || in_part), super::failed(counts), cancelled) {
                (true, ..) | (false, 0, true) => BatchStatus::Cancelled,
                (false, 0, false) => BatchStatus::Success,
                (false, ..) => BatchStatus::Failed,
            };
        }
        match (was_cancelled, self.sealed.is_there(), self.has_parts) {
            (true, ..) => BatchStatus::Cancelling,
            _ if self.is_paused() => BatchStatus::Paused,
            (false, false, _) => BatchStatus::Submitting,
            (false, true, false) => BatchStatus::Queued,
            (false, true, true) => BatchStatus::Running,
        }
    }
}
