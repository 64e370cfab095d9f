//! Repeats requests that were not done, or of which nobody knows whether they were, with full jitter, bounded by count
//! and by time. It settles nothing: `Exists` after a lost answer may be one's own write, and only the caller can tell
//! by the identity in what stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::clock::Clock;
use super::queue::{Depth, Outgoing, Queue, QueueError, Receipt, Received};
use super::rng::{Rng, RngExt as _};
use super::store::{ETag, List, Listed, Object, ObjectInfo, PutObject, Range, Store, StoreError};
use super::unreached::Unreached;
use crate::event::{Event, Listener, Silent};
use crate::limits;

/// When to give up. A try that hangs is ended by the backend, which answers `Lost`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Tries in all, the first included.
    pub tries_max: u32,
    /// Tries in all where nobody was ever found: what is not there, or is called by a wrong name, will not come within
    /// the time that an outage is given.
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
            elapsed_max: Duration::from_millis(limits::REQUEST_MS_MAX),
            backoff_min: Duration::from_millis(limits::REQUEST_BACKOFF_MS_MIN),
            backoff_max: Duration::from_millis(limits::REQUEST_BACKOFF_MS_MAX),
        }
    }
}

/// The errors that a repetition may heal.
trait Transient: Sized {
    fn transient(&self) -> Option<Trouble>;
    fn busy(why: String) -> Self;
    fn lost(why: String) -> Self;
    fn unreached(unreached: Unreached) -> Self;
}

enum Trouble {
    Busy(String),
    Lost(String),
    Unreached(Unreached),
}

impl Trouble {
    fn why(&self) -> String {
        match self {
            Trouble::Busy(why) | Trouble::Lost(why) => why.clone(),
            Trouble::Unreached(unreached) => unreached.to_string(),
        }
    }
}

macro_rules! transient {
    ($error:ident) => {
        impl Transient for $error {
            fn transient(&self) -> Option<Trouble> {
                match self {
                    $error::Busy(why) => Some(Trouble::Busy(why.clone())),
                    $error::Lost(why) => Some(Trouble::Lost(why.clone())),
                    $error::Unreached(unreached) if unreached.may_come => {
                        Some(Trouble::Unreached(unreached.clone()))
                    }
                    _ => None,
                }
            }

            fn busy(why: String) -> $error {
                $error::Busy(why)
            }

            fn lost(why: String) -> $error {
                $error::Lost(why)
            }

            fn unreached(unreached: Unreached) -> $error {
                $error::Unreached(unreached)
            }
        }
    };
}

transient!(StoreError);
transient!(QueueError);

struct Retry {
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    policy: Policy,
    events: Arc<dyn Listener>,
    /// Somebody has answered once, whatever it was.
    reached: AtomicBool,
}

/// The tries of one request so far.
struct Tries<'a> {
    retry: &'a Retry,
    started: Duration,
    count: u32,
    /// The last found nobody.
    unreached: Option<Unreached>,
    told: bool,
}

impl Retry {
    fn new(clock: Arc<dyn Clock>, rng: Arc<dyn Rng>, policy: Policy) -> Retry {
        Retry { clock, rng, policy, events: Arc::new(Silent), reached: AtomicBool::new(false) }
    }

    fn begin(&self) -> Tries<'_> {
        Tries { retry: self, started: self.clock.monotonic(), count: 0, unreached: None, told: false }
    }

    async fn run<T, E: Transient, F: Future<Output = Result<T, E>>>(
        &self,
        what: impl Fn() -> String,
        attempt: impl Fn() -> F,
    ) -> Result<T, E> {
        let mut tries = self.begin();
        // Once one was lost, it may have been done, whatever the later ones say.
        let mut maybe_done = false;
        loop {
            let answer = attempt().await;
            let trouble = answer.as_ref().err().and_then(Transient::transient);
            tries.heard(trouble.as_ref());
            let Some(trouble) = trouble else { return answer };
            maybe_done |= matches!(trouble, Trouble::Lost(_));
            if !tries.pause(&what, &trouble.why()).await {
                return Err(tries.give_up(&what(), &trouble.why(), maybe_done));
            }
        }
    }
}

impl Tries<'_> {
    /// Whether a try has found anybody.
    fn heard(&mut self, trouble: Option<&Trouble>) {
        self.unreached = match trouble {
            Some(Trouble::Unreached(unreached)) => Some(unreached.clone()),
            Some(Trouble::Busy(_) | Trouble::Lost(_)) | None => {
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
        if !self.told && elapsed + wait > Duration::from_millis(limits::REQUEST_TOLD_MS) {
            self.told = true;
            events.on(Event::RequestRepeated { what: what(), why: why.to_owned() });
        }
        clock.sleep(wait).await;
        true
    }

    fn give_up<E: Transient>(&self, what: &str, why: &str, maybe_done: bool) -> E {
        let elapsed = self.retry.clock.monotonic().saturating_sub(self.started);
        let tries = if self.count == 1 { "1 try" } else { &format!("{} tries", self.count) };
        let text = format!("{what}: gave up after {tries} in {:.1} s: {why}", elapsed.as_secs_f64());
        match &self.unreached {
            _ if maybe_done => E::lost(text),
            Some(unreached) => E::unreached(unreached.clone()),
            None => E::busy(text),
        }
    }
}

pub struct RetryStore {
    inner: Arc<dyn Store>,
    retry: Retry,
}

impl RetryStore {
    pub fn new(
        inner: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        policy: Policy,
    ) -> RetryStore {
        RetryStore { inner, retry: Retry::new(clock, rng, policy) }
    }

    /// Who hears of requests that take long.
    pub fn telling(mut self, events: Arc<dyn Listener>) -> RetryStore {
        self.retry.events = events;
        self
    }
}

#[async_trait]
impl Store for RetryStore {
    async fn put(&self, key: &str, object: PutObject) -> Result<ETag, StoreError> {
        self.retry.run(|| format!("put `{key}`"), || self.inner.put(key, object.clone())).await
    }

    async fn get(&self, key: &str, range: Range) -> Result<Object, StoreError> {
        self.retry.run(|| format!("get `{key}`"), || self.inner.get(key, range)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.retry.run(|| format!("head `{key}`"), || self.inner.head(key)).await
    }

    async fn list(&self, request: &List) -> Result<Listed, StoreError> {
        self.retry.run(|| format!("list `{}`", request.prefix), || self.inner.list(request)).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        let what = || match keys {
            [key] => format!("delete `{key}`"),
            _ => format!("delete {} objects", keys.len()),
        };
        self.retry.run(what, || self.inner.delete(keys)).await
    }
}

pub struct RetryQueue {
    inner: Arc<dyn Queue>,
    retry: Retry,
}

impl RetryQueue {
    pub fn new(
        inner: Arc<dyn Queue>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        policy: Policy,
    ) -> RetryQueue {
        RetryQueue { inner, retry: Retry::new(clock, rng, policy) }
    }

    /// Who hears of requests that take long.
    pub fn telling(mut self, events: Arc<dyn Listener>) -> RetryQueue {
        self.retry.events = events;
        self
    }

    /// Asks for entries until each is settled; what was settled before the rest was given up stays so.
    async fn settle<I, F>(
        &self,
        what: &str,
        entries: &[I],
        ask: impl Fn(Vec<I>) -> F,
    ) -> Result<Vec<Result<(), QueueError>>, QueueError>
    where
        I: Clone,
        F: Future<Output = Result<Vec<Result<(), QueueError>>, QueueError>>,
    {
        let mut tries = self.retry.begin();
        let mut answers: Vec<Option<Result<(), QueueError>>> = vec![None; entries.len()];
        let mut maybe_done = vec![false; entries.len()];
        loop {
            let open: Vec<usize> = (0..entries.len()).filter(|at| answers[*at].is_none()).collect();
            let asked = open.iter().map(|at| entries[*at].clone()).collect();
            let answer = ask(asked).await;
            tries.heard(answer.as_ref().err().and_then(Transient::transient).as_ref());
            let replies = match answer {
                Ok(replies) => replies,
                Err(error) if error.transient().is_none() && open.len() == entries.len() => {
                    return Err(error);
                }
                Err(error) => vec![Err(error); open.len()],
            };
            let mut why = String::new();
            for (at, reply) in open.into_iter().zip(replies) {
                match reply.as_ref().err().and_then(Transient::transient) {
                    Some(trouble) => {
                        maybe_done[at] |= matches!(trouble, Trouble::Lost(_));
                        why = trouble.why();
                    }
                    None => answers[at] = Some(reply),
                }
            }
            if answers.iter().all(Option::is_some) {
                break;
            }
            if !tries.pause(&|| what.to_owned(), &why).await {
                for (answer, maybe_done) in answers.iter_mut().zip(maybe_done) {
                    answer.get_or_insert_with(|| Err(tries.give_up(what, &why, maybe_done)));
                }
                break;
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }
}

#[async_trait]
impl Queue for RetryQueue {
    /// Sends again only what was not acknowledged; a message that was sent twice is harmless.
    async fn send(&self, messages: Vec<Outgoing>) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        self.settle("send", &messages, |messages| self.inner.send(messages)).await
    }

    /// A lost answer is not asked for again: its messages are hidden, and come back by themselves.
    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Received>, QueueError> {
        let attempt = || async {
            match self.inner.receive(max, wait, visibility).await {
                Err(QueueError::Lost(why)) => Ok(Err(QueueError::Lost(why))),
                answer => answer.map(Ok),
            }
        };
        self.retry.run(|| "receive".to_owned(), attempt).await?
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> Result<(), QueueError> {
        self.retry.run(|| "extend a lease".to_owned(), || self.inner.extend(receipt, visibility)).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        let ask = |receipts: Vec<Receipt>| async move { self.inner.delete(&receipts).await };
        self.settle("delete messages", receipts, ask).await
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        self.retry.run(|| "count messages".to_owned(), || self.inner.depth()).await
    }
}
