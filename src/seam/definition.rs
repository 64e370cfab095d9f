//! How a definition is changed: by compare-and-swap, with a fresh nonce in every body.

use std::time::Duration;

use super::{Deps, RngExt as _, StoreError, StoreExt as _};
use crate::error::{Error, Result};
use crate::layout::{Definition, object};
use crate::limits;
use crate::planted::planted;

/// What came of a change.
#[derive(Debug)]
pub enum Changed<T> {
    Written(T),
    /// It was to stay as it is.
    Unchanged,
    /// Other writers came between at every try.
    Contended,
}

impl Deps {
    /// Reads a definition and writes what `change` makes of it, again while other writers come between. `change` gets `None`
    /// where there is no definition, and returns `None` if nothing is to be written. Two requests without other writers.
    ///
    /// `change` may be applied more than once. When the answer to a write was lost *and* another writer wrote on top of it, it
    /// is applied again: so it must set values, not add to them.
    pub async fn change<T: Definition>(
        &self,
        id: &T::Id,
        mut change: impl FnMut(Option<T>) -> Result<Option<T>>,
    ) -> Result<Changed<T>> {
        let key = T::key(id);
        // Refused, perhaps by itself: the answer to it may have been lost.
        let mut refused: Option<T> = None;
        for tries in 1..=limits::DEFINITION_TRIES_MAX {
            let found = self.store.find(&key, T::BYTES_MAX).await;
            let found = found.map_err(|error| Error::from(error).context(format!("read `{key}`")))?;
            let etag = found.as_ref().map(|found| found.info.etag.clone());
            let current = match found.map(|found| object::decode::<T>(&key, &found.body)).transpose() {
                Err(_) if T::IS_REPLACED_UNREAD => None,
                current => current?,
            };
            let is_current = |own: &T| current.as_ref().is_some_and(|current| current.nonce() == own.nonce());
            if let Some(own) = refused.take().filter(is_current) {
                return Ok(Changed::Written(own));
            }
            let Some(mut next) = change(current)? else { return Ok(Changed::Unchanged) };
            next.set_nonce(self.nonce());
            let written = match etag {
                Some(etag) => self.store.replace_fact(id, &next, etag).await.map(|_| true),
                None => self.store.put_fact(id, &next).await,
            };
            match planted!(written, RefusedShareBelieved => match &key {
                crate::layout::Key::Shares(..) => Ok(true),
                _ => written,
            }) {
                Ok(true) => return Ok(Changed::Written(next)),
                Ok(false) | Err(StoreError::Changed | StoreError::NotFound) => refused = Some(next),
                Err(error) => return Err(error.into()),
            }
            let most_ms = limits::ms(limits::REQUEST_BACKOFF_MIN) * u64::from(tries);
            self.clock.sleep(Duration::from_millis(self.rng.below(most_ms))).await;
        }
        Ok(Changed::Contended)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;
    use crate::backend::memory::{MemoryQueue, MemoryStore};
    use crate::event::Silent;
    use crate::layout::object::Settings;
    use crate::model::{Nonce, Retention, Time};
    use crate::seam::clock::PausedClock;
    use crate::seam::fault::{Fate, Fault, FaultStore, Faults, Operation, Request};
    use crate::seam::queue::{QueuePair, Queues};
    use crate::seam::retry::{Policy, RetryStore};
    use crate::seam::rng::SeededRng;
    use crate::seam::{Clock, Store};

    /// The answers to so many writes are lost.
    struct LostAnswers(AtomicU32);

    impl Faults for LostAnswers {
        fn fate(&self, request: &Request<'_>) -> Fate {
            let is_lost = request.operation == Operation::Put
                && self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
            Fate::of(if is_lost { Fault::LoseReply } else { Fault::None })
        }
    }

    /// Two clients of one store. The first loses the answers to so many writes and repeats them, as in production.
    fn clients(lost: u32) -> [Deps; 2] {
        let clock = PausedClock::start();
        let queue = Arc::new(MemoryQueue::new(clock.clone()));
        let lane = QueuePair { live: queue.clone(), dead: queue };
        let queues = Queues { calls: lane.clone(), chunks: lane.clone(), batches: lane };
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        let faults = Arc::new(LostAnswers(AtomicU32::new(lost)));
        let faulty = Arc::new(FaultStore::new(store.clone(), clock.clone(), faults));
        let retried = RetryStore::new(faulty, clock.clone(), Arc::new(SeededRng::new(1)), Policy::default());
        let deps = |store: Arc<dyn Store>, seed: u64| Deps {
            store,
            queues: queues.clone(),
            clock: clock.clone() as Arc<dyn Clock>,
            rng: Arc::new(SeededRng::new(seed)),
            events: Arc::new(Silent),
        };
        [deps(Arc::new(retried), 2), deps(store, 3)]
    }

    fn settings(retention: Option<Retention>) -> Settings {
        Settings { retention, updated_at: Time(0), nonce: Nonce::new(0) }
    }

    #[tokio::test(start_paused = true)]
    async fn an_own_write_whose_answer_was_lost_is_not_repeated() {
        for is_there in [false, true] {
            let [client, other] = clients(1);
            if is_there {
                assert!(other.store.put_fact(&(), &settings(None)).await.unwrap());
            }
            let mut applied = 0;
            let changed = client.change(&(), |_: Option<Settings>| {
                applied += 1;
                Ok(Some(settings(Some(Retention::Never))))
            });
            let Changed::Written(written) = changed.await.unwrap() else { panic!("it was written") };
            assert_eq!((applied, other.store.read_fact::<Settings>(&()).await.unwrap()), (1, written));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_applied_to_what_others_have_written() {
        let [client, other] = clients(0);
        let (mut seen, mut rival) = (Vec::new(), Some(settings(Some(Retention::Never))));
        let changed = client.change(&(), |current: Option<Settings>| {
            if let Some(rival) = rival.take() {
                let write = other.store.put_fact(&(), &rival);
                assert!(futures_util::FutureExt::now_or_never(write).expect("at once").unwrap());
            }
            seen.push(current.map(|current| current.retention));
            Ok(Some(settings(None)))
        });
        assert!(matches!(changed.await.unwrap(), Changed::Written(_)));
        assert_eq!(seen, [None, Some(Some(Retention::Never))]);
    }
}
