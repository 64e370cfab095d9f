//! Counts requests and bytes by operation, beneath retries: what a run costs is what was asked, not what succeeded.

use std::ops::{Add, AddAssign};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::queue::{Depth, Outgoing, Queue, QueueError, Receipt, Received};
use super::store::{ETag, List, Listed, Object, ObjectInfo, PutObject, Range, Store, StoreError};

/// Shared by every counting decorator of a context.
#[derive(Debug, Default)]
pub struct Counts {
    put: Counter,
    get: Counter,
    head: Counter,
    list: Counter,
    delete: Counter,
    send: Counter,
    receive: Counter,
    extend: Counter,
    delete_message: Counter,
    depth: Counter,
}

#[derive(Debug, Default)]
struct Counter {
    requests: AtomicU64,
    errors: AtomicU64,
    items: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    /// Counted when it is asked: a request whose future is dropped was asked all the same.
    fn asked(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    fn answered<T, E>(&self, answer: &Result<T, E>, weigh: impl FnOnce(&T) -> (usize, u64)) {
        match answer {
            Ok(value) => {
                let (items, bytes) = weigh(value);
                self.items.fetch_add(items as u64, Relaxed);
                self.bytes.fetch_add(bytes, Relaxed);
            }
            Err(_) => {
                self.errors.fetch_add(1, Relaxed);
            }
        }
    }

    fn tally(&self) -> Tally {
        Tally {
            requests: self.requests.load(Relaxed),
            errors: self.errors.load(Relaxed),
            items: self.items.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }
}

/// What one operation came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub requests: u64,
    /// Answered with an error of any kind, or not at all; a `NotFound` is one, and is paid for.
    pub errors: u64,
    /// Objects, keys or messages that successful requests were about.
    pub items: u64,
    /// Bodies that successful requests carried.
    pub bytes: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.items += other.items;
        self.bytes += other.bytes;
    }
}

/// The counts at one moment; those of several processes or stretches of time add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub put: Tally,
    pub get: Tally,
    pub head: Tally,
    pub list: Tally,
    pub delete: Tally,
    pub send: Tally,
    pub receive: Tally,
    pub extend: Tally,
    pub delete_message: Tally,
    pub depth: Tally,
}

impl AddAssign for Snapshot {
    fn add_assign(&mut self, other: Snapshot) {
        self.put += other.put;
        self.get += other.get;
        self.head += other.head;
        self.list += other.list;
        self.delete += other.delete;
        self.send += other.send;
        self.receive += other.receive;
        self.extend += other.extend;
        self.delete_message += other.delete_message;
        self.depth += other.depth;
    }
}

impl Add for Snapshot {
    type Output = Snapshot;

    fn add(mut self, other: Snapshot) -> Snapshot {
        self += other;
        self
    }
}

impl Snapshot {
    /// Requests by operation, always all of them in the same order.
    pub fn by_operation(&self) -> [(&'static str, u64); 10] {
        [
            ("put", self.put.requests),
            ("get", self.get.requests),
            ("head", self.head.requests),
            ("list", self.list.requests),
            ("delete", self.delete.requests),
            ("send", self.send.requests),
            ("receive", self.receive.requests),
            ("extend", self.extend.requests),
            ("delete_message", self.delete_message.requests),
            ("depth", self.depth.requests),
        ]
    }

    /// Requests of all kinds.
    pub fn requests(&self) -> u64 {
        self.store_requests() + self.queue_requests()
    }

    pub fn store_requests(&self) -> u64 {
        [self.put, self.get, self.head, self.list, self.delete].iter().map(|tally| tally.requests).sum()
    }

    pub fn queue_requests(&self) -> u64 {
        [self.send, self.receive, self.extend, self.delete_message, self.depth]
            .iter()
            .map(|tally| tally.requests)
            .sum()
    }
}

impl Counts {
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            put: self.put.tally(),
            get: self.get.tally(),
            head: self.head.tally(),
            list: self.list.tally(),
            delete: self.delete.tally(),
            send: self.send.tally(),
            receive: self.receive.tally(),
            extend: self.extend.tally(),
            delete_message: self.delete_message.tally(),
            depth: self.depth.tally(),
        }
    }
}

pub struct CountStore {
    inner: Arc<dyn Store>,
    counts: Arc<Counts>,
}

impl CountStore {
    pub fn new(inner: Arc<dyn Store>, counts: Arc<Counts>) -> CountStore {
        CountStore { inner, counts }
    }
}

#[async_trait]
impl Store for CountStore {
    async fn put(&self, key: &str, object: PutObject) -> Result<ETag, StoreError> {
        let bytes = object.body.len();
        self.counts.put.asked();
        let answer = self.inner.put(key, object).await;
        self.counts.put.answered(&answer, |_| (1, bytes));
        answer
    }

    async fn get(&self, key: &str, range: Range) -> Result<Object, StoreError> {
        self.counts.get.asked();
        let answer = self.inner.get(key, range).await;
        self.counts.get.answered(&answer, |object| (1, object.body.len() as u64));
        answer
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.counts.head.asked();
        let answer = self.inner.head(key).await;
        self.counts.head.answered(&answer, |_| (1, 0));
        answer
    }

    async fn list(&self, request: &List) -> Result<Listed, StoreError> {
        self.counts.list.asked();
        let answer = self.inner.list(request).await;
        self.counts.list.answered(&answer, |listed| (listed.entries.len() + listed.prefixes.len(), 0));
        answer
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        self.counts.delete.asked();
        let answer = self.inner.delete(keys).await;
        self.counts.delete.answered(&answer, |()| (keys.len(), 0));
        answer
    }
}

pub struct CountQueue {
    inner: Arc<dyn Queue>,
    counts: Arc<Counts>,
}

impl CountQueue {
    pub fn new(inner: Arc<dyn Queue>, counts: Arc<Counts>) -> CountQueue {
        CountQueue { inner, counts }
    }
}

#[async_trait]
impl Queue for CountQueue {
    async fn send(&self, messages: Vec<Outgoing>) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        let sizes: Vec<u64> = messages.iter().map(|message| message.body.len() as u64).collect();
        self.counts.send.asked();
        let answer = self.inner.send(messages).await;
        self.counts.send.answered(&answer, |entries| {
            let sent = entries.iter().zip(&sizes).filter(|(entry, _)| entry.is_ok());
            sent.fold((0, 0), |(items, bytes), (_, size)| (items + 1, bytes + size))
        });
        answer
    }

    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Received>, QueueError> {
        self.counts.receive.asked();
        let answer = self.inner.receive(max, wait, visibility).await;
        self.counts.receive.answered(&answer, |messages| {
            (messages.len(), messages.iter().map(|message| message.body.len() as u64).sum())
        });
        answer
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> Result<(), QueueError> {
        self.counts.extend.asked();
        let answer = self.inner.extend(receipt, visibility).await;
        self.counts.extend.answered(&answer, |()| (1, 0));
        answer
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        self.counts.delete_message.asked();
        let answer = self.inner.delete(receipts).await;
        self.counts
            .delete_message
            .answered(&answer, |entries| (entries.iter().filter(|entry| entry.is_ok()).count(), 0));
        answer
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        self.counts.depth.asked();
        let answer = self.inner.depth().await;
        self.counts.depth.answered(&answer, |_| (1, 0));
        answer
    }
}
