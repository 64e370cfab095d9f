//! The layers between a process and the world: pages of lists, the queue's own redrive, a connection that is cut, a
//! machine that stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use afn::backend::memory::{MemoryQueue, MemoryStore};
use afn::layout::Key;
use afn::limits;
use afn::seam::Clock;
use afn::seam::queue::{Depth, Outgoing, Queue, QueueError, Receipt, Received};
use afn::seam::store::{ByteRange, ETag, List, ListPage, Object, ObjectInfo, PutObject, Store, StoreError};
use async_trait::async_trait;
use tokio::sync::Notify;

use super::guard::Guard;
use super::world::{Journal, SimClock};

/// Notes every write that is done, whoever asked for it and whenever it arrives; gives lists in pages of its own size.
pub struct Recorded {
    pub inner: MemoryStore,
    pub journal: Journal,
    pub guard: Guard,
    pub clock: Arc<SimClock>,
    pub page: usize,
}

#[async_trait]
impl Store for Recorded {
    async fn put(&self, key: &Key, object: PutObject) -> Result<ETag, StoreError> {
        let mode = object.mode.clone();
        let answer = self.inner.put(key, object).await;
        let done = if answer.is_ok() { "done" } else { "refused" };
        if answer.is_ok() {
            self.guard.put(key, &mode);
            self.guard.written(&self.inner, key).await;
        }
        self.journal.note(|| format!("{} put {key}: {done}", self.clock.monotonic().as_millis()));
        answer
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Object, StoreError> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        self.inner.head(key).await
    }

    /// Page by page, each as it is when it is asked for: no snapshot.
    async fn list(&self, request: &List) -> Result<ListPage, StoreError> {
        let page = request.page().min(self.page);
        self.inner.list(&List { max: page, ..request.clone() }).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), StoreError> {
        self.journal.note(|| format!("delete {keys:?}"));
        self.guard.before_delete(&self.inner, keys, self.clock.now()).await;
        self.inner.delete(keys).await
    }
}

/// Notes what happens to messages, and does the queue's own redrive: what was received too often goes to the dead letters.
pub struct Redrive {
    pub name: &'static str,
    pub inner: MemoryQueue,
    pub dead: MemoryQueue,
    pub journal: Journal,
    pub guard: Guard,
    pub clock: Arc<SimClock>,
}

impl Redrive {
    fn note(&self, what: impl FnOnce() -> String) {
        self.journal.note(|| format!("{} {}: {}", self.clock.monotonic().as_millis(), self.name, what()));
    }
}

#[async_trait]
impl Queue for Redrive {
    async fn send(&self, messages: Vec<Outgoing>) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        for message in &messages {
            self.note(|| format!("sent {} for {:?}", message.body, message.delay));
            self.guard.arrived(&message.body);
        }
        self.inner.send(messages).await
    }

    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Received>, QueueError> {
        let received = self.inner.receive(max, wait, visibility).await?;
        for Received { id, delivery, body, .. } in &received {
            self.note(|| format!("delivery {delivery} of {id}: {body}"));
        }
        let (good, dead): (Vec<_>, Vec<_>) =
            received.into_iter().partition(|message| message.delivery <= limits::RECEIVE_COUNT_MAX);
        for message in dead {
            let _ = self.dead.send(vec![Outgoing::new(message.body)]).await?;
            let _ = self.inner.delete(&[message.receipt]).await?;
        }
        Ok(good)
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> Result<(), QueueError> {
        self.inner.extend(receipt, visibility).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        self.note(|| format!("deleted {receipts:?}"));
        self.inner.delete(receipts).await
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        self.inner.depth().await
    }
}

/// A process's connection: whole, or cut in one of several ways.
#[derive(Clone)]
pub struct Line {
    cut: Arc<AtomicU8>,
    /// Requests until nothing arrives any more, for ever.
    fuse: Arc<AtomicU64>,
}

impl Default for Line {
    fn default() -> Line {
        Line { cut: Arc::default(), fuse: Arc::new(AtomicU64::new(u64::MAX)) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nothing arrives.
    Requests = 1,
    /// Everything arrives, and no answer comes.
    Replies = 2,
    /// Queues take nothing; all else is well.
    Sends = 3,
    /// What is written arrives, and no answer comes; all else is well.
    Writes = 4,
}

impl Line {
    pub fn cut(&self, cut: Option<Cut>) {
        self.cut.store(cut.map_or(0, |cut| cut as u8), Ordering::Relaxed);
    }

    /// So many requests go through, and then none.
    pub fn fuse(&self, requests: u64) {
        self.fuse.store(requests, Ordering::Relaxed);
    }

    fn burn(&self) {
        match self.fuse.load(Ordering::Relaxed) {
            u64::MAX => {}
            0 => self.cut(Some(Cut::Requests)),
            left => self.fuse(left - 1),
        }
    }

    fn is(&self, cut: Cut) -> bool {
        self.cut.load(Ordering::Relaxed) == cut as u8
    }
}

const LOST: &str = "simulated: the connection is cut";
/// How long an answer is waited for that does not come.
const GIVEN_UP: Duration = Duration::from_secs(2);

/// Holds a process up wherever it touches the world: a pause of the whole machine. Those held go on in the order in
/// which they came.
#[derive(Clone, Default)]
pub struct Gate(Arc<GateState>);

#[derive(Default)]
struct GateState {
    closed: AtomicBool,
    opened: Notify,
}

impl Gate {
    pub fn set_open(&self, open: bool) {
        self.0.closed.store(!open, Ordering::Relaxed);
        if open {
            self.0.opened.notify_waiters();
        }
    }

    pub async fn pass(&self) {
        while self.0.closed.load(Ordering::Relaxed) {
            self.0.opened.notified().await;
        }
    }
}

/// One process's way to a store or a queue.
pub struct Way<T: ?Sized> {
    pub inner: Arc<T>,
    pub over: Over,
}

pub enum Over {
    Line(Line, Arc<SimClock>),
    /// There and back; the guard is told what passes.
    Gate(Gate, Option<Sends>),
}

/// What a process sends, and to which queue.
pub struct Sends {
    pub process: String,
    pub queue: usize,
    pub guard: Guard,
    pub clock: Arc<SimClock>,
}

impl Over {
    async fn pass<A, E>(&self, lost: E, request: impl Future<Output = Result<A, E>>) -> Result<A, E> {
        match self {
            Over::Gate(gate, _) => {
                gate.pass().await;
                let answer = request.await;
                gate.pass().await;
                answer
            }
            Over::Line(line, clock) => {
                line.burn();
                if line.is(Cut::Requests) {
                    clock.sleep(GIVEN_UP).await;
                    return Err(lost);
                }
                let answer = request.await;
                if !line.is(Cut::Replies) {
                    return answer;
                }
                clock.sleep(GIVEN_UP).await;
                Err(lost)
            }
        }
    }
}

impl<T: ?Sized> Way<T> {
    async fn store<A>(&self, request: impl Future<Output = Result<A, StoreError>>) -> Result<A, StoreError> {
        self.over.pass(StoreError::Lost(LOST.to_owned()), request).await
    }

    async fn queue<A>(&self, request: impl Future<Output = Result<A, QueueError>>) -> Result<A, QueueError> {
        self.over.pass(QueueError::Lost(LOST.to_owned()), request).await
    }
}

#[async_trait]
impl Store for Way<dyn Store> {
    async fn put(&self, key: &Key, object: PutObject) -> Result<ETag, StoreError> {
        let answer = self.store(self.inner.put(key, object)).await;
        if let Over::Line(line, clock) = &self.over
            && line.is(Cut::Writes)
        {
            clock.sleep(GIVEN_UP).await;
            return Err(StoreError::Lost(LOST.to_owned()));
        }
        answer
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Object, StoreError> {
        self.store(self.inner.get(key, range)).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        self.store(self.inner.head(key)).await
    }

    async fn list(&self, request: &List) -> Result<ListPage, StoreError> {
        self.store(self.inner.list(request)).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), StoreError> {
        self.store(self.inner.delete(keys)).await
    }
}

#[async_trait]
impl Queue for Way<dyn Queue> {
    async fn send(&self, messages: Vec<Outgoing>) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        if let Over::Gate(_, Some(Sends { process, queue, guard, clock })) = &self.over {
            for message in &messages {
                guard.sent(process, *queue, &message.body, clock.monotonic());
            }
        }
        if let Over::Line(line, clock) = &self.over
            && line.is(Cut::Sends)
        {
            clock.sleep(GIVEN_UP).await;
            return Err(QueueError::Lost(LOST.to_owned()));
        }
        self.queue(self.inner.send(messages)).await
    }

    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Received>, QueueError> {
        let received = self.queue(self.inner.receive(max, wait, visibility)).await?;
        if let Over::Gate(_, Some(Sends { process, guard, clock, .. })) = &self.over {
            for message in &received {
                guard.received(process, &message.body, clock.monotonic());
            }
        }
        Ok(received)
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> Result<(), QueueError> {
        self.queue(self.inner.extend(receipt, visibility)).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        self.queue(self.inner.delete(receipts)).await
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        self.queue(self.inner.depth()).await
    }
}
