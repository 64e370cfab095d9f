//! A queue: at-least-once delivery under leases, as SQS has it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::failure::{RequestError, RequestFailure, Unreached, explain, request_error};
use crate::error::{Code, Error};
use crate::limits;
use crate::model::{QueueName, Time};

/// Messages under leases. Order is not promised; a message may be delivered more than once, also after it was deleted.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Sends up to [`crate::limits::QUEUE_BATCH_MAX`] messages in one request; answers entry by entry, in order. Only
    /// an entry's own `Ok` means that it is on the queue; [`QueueError::Lost`] means that it may be.
    async fn send(&self, messages: Vec<Outgoing>) -> QueueResult<EntryAnswers>;

    /// Takes up to `max` messages (at most [`crate::limits::QUEUE_BATCH_MAX`]) under a lease of `visibility`, waiting
    /// up to `wait`, or as long as one request may, while there is none. A receive whose answer is lost still hides its
    /// messages and counts as a delivery. Queues on this machine serve groups fairly: of the visible messages the one goes first
    /// whose group has the fewest in flight, the oldest among equals. SQS's fair queues do it in their own way.
    async fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> QueueResult<Vec<Received>>;

    /// Makes the lease end `visibility` from now; zero gives the message back at once. [`QueueError::Gone`] when the
    /// message was deleted or, where the queue can tell, received by somebody else since; a receipt that is merely
    /// old may also be accepted (SQS does). An accepted one whose lease had lapsed may hide the message again or not.
    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> QueueResult<()>;

    /// Deletes up to [`crate::limits::QUEUE_BATCH_MAX`] messages, entry by entry. One that is gone already is no
    /// error. An old receipt may delete the message under its new holder (SQS does), or is [`QueueError::Gone`] where
    /// the queue can tell: never delete by a receipt unless all that the message points to is decided or handed on.
    async fn delete(&self, receipts: &[Receipt]) -> QueueResult<EntryAnswers>;

    /// How many messages there are, approximately.
    async fn depth(&self) -> QueueResult<Depth>;

    /// Receives made here bring messages of this group first from now on, where the queue can.
    fn prefer(&self, _group: &str) {}
}

pub type QueueResult<T> = Result<T, QueueError>;

/// What became of each message of one request, in the order of the request.
pub type EntryAnswers = Vec<QueueResult<()>>;

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub body: String,
    /// At most [`crate::limits::DELAY_MAX`].
    pub delay: Duration,
    /// Whose work it is: the batch of a range, otherwise the app.
    pub group: Option<String>,
    /// Beside the body, for users: why a letter is dead. Printable ASCII.
    pub metadata: Option<String>,
}

impl Outgoing {
    pub fn new(body: String) -> Outgoing {
        Outgoing { body, delay: Duration::ZERO, group: None, metadata: None }
    }

    /// What every queue refuses, entry by entry.
    pub fn check(&self) -> QueueResult<()> {
        if self.body.is_empty() || self.body.len() > limits::MESSAGE_BYTES_MAX {
            let (bytes, most) = (self.body.len(), limits::MESSAGE_BYTES_MAX);
            return Err(QueueError::Refused(format!("a message of {bytes} bytes, it must have 1 to {most}")));
        }
        if self.delay > limits::DELAY_MAX {
            let [delay, most] = [self.delay, limits::DELAY_MAX].map(|time| time.as_secs());
            return Err(QueueError::Refused(format!("a delay of {delay} s, the most is {most} s")));
        }
        Ok(())
    }
}

/// How many messages one request may send, receive or delete.
pub fn check_batch(count: usize) -> QueueResult<()> {
    let most = limits::QUEUE_BATCH_MAX;
    match (1..=most).contains(&count) {
        true => Ok(()),
        false => Err(QueueError::Refused(format!("{count} messages in one request, it must be 1 to {most}"))),
    }
}

/// What names a delivery to the queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Receipt(pub String);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The queue's own name of the message, the same in every delivery.
    pub id: String,
    pub receipt: Receipt,
    pub body: String,
    pub metadata: Option<String>,
    /// Which delivery this is, from 1. Deliveries whose answer was lost count too.
    pub delivery: u32,
    pub sent_at: Time,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    pub visible: u64,
    pub in_flight: u64,
    pub delayed: u64,
}

impl Depth {
    pub fn is_dry(&self) -> bool {
        self.visible + self.in_flight + self.delayed == 0
    }
}

/// What a queue answers when it does not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueError {
    /// The message was deleted, or somebody else holds it by now.
    Gone,
    /// The queue turned the request away for now. Nothing was done. It is safe to repeat.
    Busy(String),
    /// The request was not sent (connection refused). It is safe to repeat.
    Unreached(Unreached),
    /// No answer came. The request may or may not have been done.
    Lost(String),
    /// The queue will not do it: access denied, wrong request.
    Refused(String),
}

request_error!(QueueError: Busy, Unreached, Lost, Refused);

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.failure() {
            None => f.write_str("the message is gone"),
            Some(failure) => f.write_str(&failure.describe("queue")),
        }
    }
}

impl From<QueueError> for Error {
    fn from(error: QueueError) -> Error {
        explain(error, Code::NotFound)
    }
}

/// The three queues, each with its dead letters.
#[derive(Clone)]
pub struct Queues {
    pub calls: QueuePair,
    pub chunks: QueuePair,
    pub batches: QueuePair,
}

/// A queue and where its dead letters go.
#[derive(Clone)]
pub struct QueuePair {
    pub live: Arc<dyn Queue>,
    pub dead: Arc<dyn Queue>,
}

impl Queues {
    pub fn get(&self, name: QueueName) -> &QueuePair {
        match name {
            QueueName::Calls => &self.calls,
            QueueName::Chunks => &self.chunks,
            QueueName::Batches => &self.batches,
        }
    }

    pub fn all(&self) -> [(QueueName, &QueuePair); 3] {
        QueueName::ALL.map(|name| (name, self.get(name)))
    }
}
