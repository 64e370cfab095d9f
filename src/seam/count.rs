//! Counts requests and bytes by operation, beneath retries: a run costs what was requested, not what succeeded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use super::queue::{Depth, EntryAnswers, Outgoing, Queue, QueueResult, Receipt, Received};
use super::store::{
    ByteRange, ETag, List, ListPage, Object, ObjectInfo, ObjectVersion, PutObject, Store, StoreError,
};
use crate::layout::Key;

macro_rules! operations {
    ($($operation:ident),+) => {
        /// One value for each operation of store and queue.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct PerOperation<T> {
            $(pub $operation: T),+
        }

        impl Counts {
            pub fn snapshot(&self) -> Snapshot {
                PerOperation { $($operation: self.$operation.tally()),+ }
            }
        }

        impl Snapshot {
            /// Requests by operation, always all of them in the same order.
            pub fn by_operation(&self) -> [(&'static str, u64); 10] {
                [$((stringify!($operation), self.$operation.requests)),+]
            }
        }
    };
}

operations!(put, get, head, list, delete, send, receive, extend, delete_message, depth);

/// Shared by every counting decorator of a context.
pub type Counts = PerOperation<Counter>;

/// The counts at one moment.
pub type Snapshot = PerOperation<Tally>;

/// Counts the requests of one operation.
#[derive(Debug, Default)]
pub struct Counter {
    requests: AtomicU64,
    bytes: AtomicU64,
}

/// The requests of one operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// All that were made, whatever the answer: a `NotFound` is paid for too.
    pub requests: u64,
    /// The bodies that successful requests carried.
    pub bytes: u64,
}

impl Counter {
    /// Counts a request before it is made: one whose future is dropped counts all the same.
    async fn count<T, E>(
        &self,
        request: impl Future<Output = Result<T, E>>,
        bytes: impl FnOnce(&T) -> u64,
    ) -> Result<T, E> {
        self.requests.fetch_add(1, Relaxed);
        let answer = request.await;
        self.bytes.fetch_add(answer.as_ref().map_or(0, bytes), Relaxed);
        answer
    }

    fn tally(&self) -> Tally {
        Tally { requests: self.requests.load(Relaxed), bytes: self.bytes.load(Relaxed) }
    }
}

impl Snapshot {
    /// Requests of all kinds.
    pub fn requests(&self) -> u64 {
        self.store_requests() + self.queue_requests()
    }

    pub fn store_requests(&self) -> u64 {
        self.by_operation()[..5].iter().map(|(_, requests)| requests).sum()
    }

    pub fn queue_requests(&self) -> u64 {
        self.by_operation()[5..].iter().map(|(_, requests)| requests).sum()
    }
}

/// A store or queue whose requests are counted.
pub struct Counting<S: ?Sized> {
    inner: Arc<S>,
    counts: Arc<Counts>,
}

pub type CountStore = Counting<dyn Store>;
pub type CountQueue = Counting<dyn Queue>;

impl<S: ?Sized> Counting<S> {
    pub fn new(inner: Arc<S>, counts: Arc<Counts>) -> Counting<S> {
        Counting { inner, counts }
    }
}

#[async_trait]
impl Store for CountStore {
    async fn put(&self, key: &Key, object: PutObject) -> Result<ETag, StoreError> {
        let bytes = object.body.len();
        self.counts.put.count(self.inner.put(key, object), |_| bytes).await
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Object, StoreError> {
        self.counts.get.count(self.inner.get(key, range), |object| object.body.len() as u64).await
    }

    async fn get_version(
        &self,
        key: &Key,
        version: &ObjectVersion,
        range: ByteRange,
    ) -> Result<Object, StoreError> {
        let get = self.inner.get_version(key, version, range);
        self.counts.get.count(get, |object| object.body.len() as u64).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        self.counts.head.count(self.inner.head(key), |_| 0).await
    }

    async fn list(&self, request: &List) -> Result<ListPage, StoreError> {
        self.counts.list.count(self.inner.list(request), |_| 0).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), StoreError> {
        self.counts.delete.count(self.inner.delete(keys), |()| 0).await
    }

    fn created(&self, key: &Key) -> BoxFuture<'static, ()> {
        self.inner.created(key)
    }
}

#[async_trait]
impl Queue for CountQueue {
    async fn send(&self, messages: Vec<Outgoing>) -> QueueResult<EntryAnswers> {
        let sizes: Vec<u64> = messages.iter().map(|message| message.body.len() as u64).collect();
        let sent = |answers: &EntryAnswers| {
            answers.iter().zip(sizes).filter(|(answer, _)| answer.is_ok()).map(|(_, size)| size).sum()
        };
        self.counts.send.count(self.inner.send(messages), sent).await
    }

    async fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> QueueResult<Vec<Received>> {
        let bytes = |messages: &Vec<Received>| messages.iter().map(|message| message.body.len() as u64).sum();
        self.counts.receive.count(self.inner.receive(max, wait, visibility), bytes).await
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> QueueResult<()> {
        self.counts.extend.count(self.inner.extend(receipt, visibility), |()| 0).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> QueueResult<EntryAnswers> {
        self.counts.delete_message.count(self.inner.delete(receipts), |_| 0).await
    }

    async fn depth(&self) -> QueueResult<Depth> {
        self.counts.depth.count(self.inner.depth(), |_| 0).await
    }

    fn prefer(&self, group: &str) {
        self.inner.prefer(group);
    }
}
