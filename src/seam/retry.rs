//! Repeats requests that were not done, or may not have been done, with full jitter, bounded by count and by time. It
//! resolves no doubt: `Exists` after a lost answer may mean the caller's own write, and only the caller can tell by the
//! identity in the object.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use super::clock::Clock;
use super::failure::{RequestError, RequestFailure, Unreached};
use super::queue::{Depth, EntryAnswers, Outgoing, Queue, QueueError, QueueResult, Receipt, Received};
use super::rng::{Rng, RngExt as _};
use super::secrets::{SecretError, Secrets};
use super::store::{
    ByteRange, ETag, List, ListPage, Object, ObjectInfo, ObjectVersion, PutObject, Store, StoreError,
};
use crate::event::{Event, Listener, Silent};
use crate::layout::Key;
use crate::limits;
use crate::model::AwsSecret;

/// When to give up. The backend ends a try that hangs, with `Lost`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Tries in all, the first included.
    pub tries_max: u32,
    /// Tries in all where no request was ever answered: a wrong address, or a service that is not started, does not
    /// recover within the time that an outage may take.
    pub unreached_tries_max: u32,
    /// No try begins later than this after the first.
    pub elapsed_max: Duration,
    /// The first wait lies between zero and this, each later one may be twice as long.
    pub backoff_min: Duration,
    pub backoff_max: Duration,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            tries_max: limits::REQUEST_TRIES_MAX,
            unreached_tries_max: limits::UNREACHED_TRIES_MAX,
            elapsed_max: limits::REQUEST_MAX,
            backoff_min: limits::REQUEST_BACKOFF_MIN,
            backoff_max: limits::REQUEST_BACKOFF_MAX,
        }
    }
}

struct Retry {
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    policy: Policy,
    events: Arc<dyn Listener>,
    /// Some request has been answered before, whatever the answer was.
    reached: AtomicBool,
}

/// The tries of one request so far.
struct Tries<'a> {
    retry: &'a Retry,
    started: Duration,
    count: u32,
    /// Why the last try was not sent.
    unreached: Option<Unreached>,
    reported: bool,
}

impl Retry {
    /// Repeats a request until it has an answer that another try would not change.
    async fn run<T: Send, E: RequestError, F: Future<Output = Result<T, E>>>(
        &self,
        what: impl Fn() -> String,
        request: impl Fn() -> F,
    ) -> Result<T, E> {
        let request = |_| async { request().await.map(|value| vec![Ok(value)]) };
        let answers = self.run_entries(what, &[()], request).await?;
        answers.into_iter().next().expect("one entry has one answer")
    }

    /// Repeats a request for those of its entries whose answer another try may change. An answer that an entry has got
    /// stays when the others are given up.
    async fn run_entries<I: Clone, T, E: RequestError, F>(
        &self,
        what: impl Fn() -> String,
        entries: &[I],
        request: impl Fn(Vec<I>) -> F,
    ) -> Result<Vec<Result<T, E>>, E>
    where
        F: Future<Output = Result<Vec<Result<T, E>>, E>>,
    {
        let started = self.clock.monotonic();
        let mut tries = Tries { retry: self, started, count: 0, unreached: None, reported: false };
        let mut answers: Vec<Option<Result<T, E>>> = entries.iter().map(|_| None).collect();
        // Once an answer was lost, the request may have been done, whatever later tries answer.
        let mut maybe_done = vec![false; entries.len()];
        loop {
            let open: Vec<usize> = (0..entries.len()).filter(|at| answers[*at].is_none()).collect();
            let answer = request(open.iter().map(|at| entries[*at].clone()).collect()).await;
            tries.record(answer.as_ref().err().and_then(RequestError::transient));
            let replies = match answer {
                Ok(replies) => replies,
                Err(error) if error.transient().is_none() && open.len() == entries.len() => {
                    return Err(error);
                }
                Err(error) => open.iter().map(|_| Err(error.clone())).collect(),
            };
            let mut why = String::new();
            for (at, reply) in open.into_iter().zip(replies) {
                match reply.as_ref().err().and_then(RequestError::transient) {
                    Some(failure) => {
                        maybe_done[at] |= matches!(failure, RequestFailure::Lost(_));
                        why = failure.why();
                    }
                    None => answers[at] = Some(reply),
                }
            }
            if answers.iter().any(Option::is_none) && !tries.pause(&what, &why).await {
                for (answer, maybe_done) in answers.iter_mut().zip(&maybe_done) {
                    answer.get_or_insert_with(|| Err(tries.give_up(&what(), &why, *maybe_done).into()));
                }
            }
            if answers.iter().all(Option::is_some) {
                return Ok(answers.into_iter().flatten().collect());
            }
        }
    }
}

impl Tries<'_> {
    /// Remembers whether the request was sent.
    fn record(&mut self, failure: Option<RequestFailure>) {
        self.unreached = match failure {
            Some(RequestFailure::Unreached(unreached)) => Some(unreached),
            _ => {
                self.retry.reached.store(true, Ordering::Relaxed);
                None
            }
        };
    }

    /// Waits before the next try; false when there is none.
    async fn pause(&mut self, what: &impl Fn() -> String, why: &str) -> bool {
        let Retry { clock, rng, policy, events, reached } = self.retry;
        let doublings = self.count.min(20);
        self.count += 1;
        let ceiling = policy.backoff_max.min(policy.backoff_min * (1 << doublings));
        let wait = Duration::from_micros(rng.below(ceiling.as_micros() as u64 + 1));
        let elapsed = clock.monotonic().saturating_sub(self.started);
        let tries_max = match self.unreached.is_some() && !reached.load(Ordering::Relaxed) {
            true => policy.unreached_tries_max,
            false => policy.tries_max,
        };
        if self.count >= tries_max || elapsed + wait > policy.elapsed_max {
            return false;
        }
        if !self.reported && elapsed + wait > limits::REQUEST_TOLD {
            self.reported = true;
            events.on(Event::RequestRepeated { what: what(), why: why.to_owned() });
        }
        clock.sleep(wait).await;
        true
    }

    fn give_up(&self, what: &str, why: &str, maybe_done: bool) -> RequestFailure {
        let elapsed = self.retry.clock.monotonic().saturating_sub(self.started);
        let tries = if self.count == 1 { "1 try" } else { &format!("{} tries", self.count) };
        let text = format!("{what}: gave up after {tries} in {:.1} s: {why}", elapsed.as_secs_f64());
        match &self.unreached {
            _ if maybe_done => RequestFailure::Lost(text),
            Some(unreached) => RequestFailure::Unreached(unreached.clone()),
            None => RequestFailure::Busy(text),
        }
    }
}

/// A store, queue or keeper of secrets whose requests are repeated.
pub struct Retrying<S: ?Sized> {
    inner: Arc<S>,
    retry: Retry,
}

pub type RetryStore = Retrying<dyn Store>;
pub type RetryQueue = Retrying<dyn Queue>;
pub type RetrySecrets = Retrying<dyn Secrets>;

impl<S: ?Sized> Retrying<S> {
    pub fn new(inner: Arc<S>, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>, policy: Policy) -> Retrying<S> {
        let (events, reached) = (Arc::new(Silent), AtomicBool::new(false));
        Retrying { inner, retry: Retry { clock, rng, policy, events, reached } }
    }

    /// Reports requests that take long.
    pub fn reporting_to(mut self, events: Arc<dyn Listener>) -> Retrying<S> {
        self.retry.events = events;
        self
    }
}

#[async_trait]
impl Store for RetryStore {
    async fn put(&self, key: &Key, object: PutObject) -> Result<ETag, StoreError> {
        self.retry.run(|| format!("put `{key}`"), || self.inner.put(key, object.clone())).await
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Object, StoreError> {
        self.retry.run(|| format!("get `{key}`"), || self.inner.get(key, range)).await
    }

    async fn get_version(
        &self,
        key: &Key,
        version: &ObjectVersion,
        range: ByteRange,
    ) -> Result<Object, StoreError> {
        self.retry.run(|| format!("get `{key}`"), || self.inner.get_version(key, version, range)).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        self.retry.run(|| format!("head `{key}`"), || self.inner.head(key)).await
    }

    async fn list(&self, request: &List) -> Result<ListPage, StoreError> {
        self.retry.run(|| format!("list `{}`", request.prefix), || self.inner.list(request)).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), StoreError> {
        let what = || match keys {
            [key] => format!("delete `{key}`"),
            _ => format!("delete {} objects", keys.len()),
        };
        self.retry.run(what, || self.inner.delete(keys)).await
    }

    fn created(&self, key: &Key) -> BoxFuture<'static, ()> {
        self.inner.created(key)
    }
}

#[async_trait]
impl Queue for RetryQueue {
    /// Sends again only what was not acknowledged; a message that was sent twice is harmless.
    async fn send(&self, messages: Vec<Outgoing>) -> QueueResult<EntryAnswers> {
        self.retry.run_entries(|| "send".to_owned(), &messages, |messages| self.inner.send(messages)).await
    }

    /// A receive whose answer was lost is not repeated: its messages are hidden, and come back by themselves.
    async fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> QueueResult<Vec<Received>> {
        let attempt = || async {
            match self.inner.receive(max, wait, visibility).await {
                Err(QueueError::Lost(why)) => Ok(Err(QueueError::Lost(why))),
                answer => answer.map(Ok),
            }
        };
        self.retry.run(|| "receive".to_owned(), attempt).await?
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> QueueResult<()> {
        self.retry.run(|| "extend a lease".to_owned(), || self.inner.extend(receipt, visibility)).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> QueueResult<EntryAnswers> {
        let delete = |receipts: Vec<Receipt>| async move { self.inner.delete(&receipts).await };
        self.retry.run_entries(|| "delete messages".to_owned(), receipts, delete).await
    }

    async fn depth(&self) -> QueueResult<Depth> {
        self.retry.run(|| "count messages".to_owned(), || self.inner.depth()).await
    }

    fn prefer(&self, group: &str) {
        self.inner.prefer(group);
    }
}

#[async_trait]
impl Secrets for RetrySecrets {
    async fn fetch(&self, secret: &AwsSecret) -> Result<String, SecretError> {
        self.retry.run(|| format!("read `{secret}`"), || self.inner.fetch(secret)).await
    }
}
