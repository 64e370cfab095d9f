//! A queue: at-least-once delivery under leases, as SQS has it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::unreached::Unreached;
use crate::error::{Code, Error};
use crate::limits;
use crate::model::Time;

/// Messages under leases. Order is not promised; a message may be delivered more than once, also after it was deleted.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Sends up to [`crate::limits::QUEUE_BATCH_MAX`] messages in one request; answers entry by entry, in order. Only
    /// an entry's own `Ok` means that it is on the queue; [`QueueError::Lost`] means that it may be.
    async fn send(&self, messages: Vec<Outgoing>) -> Result<Vec<Result<(), QueueError>>, QueueError>;

    /// Takes up to `max` messages (at most [`crate::limits::QUEUE_BATCH_MAX`]) under a lease of `visibility`, waiting
    /// up to `wait`, or as long as one request may, while there is none. A receive whose answer is lost still hides its
    /// messages and counts as a delivery.
    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Received>, QueueError>;

    /// Makes the lease end `visibility` from now; zero gives the message back at once. [`QueueError::Gone`] when the
    /// message was deleted or, where the queue can tell, received by somebody else since; a receipt that is merely
    /// old may also be accepted (SQS does). An accepted one whose lease had lapsed may hide the message again or not.
    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> Result<(), QueueError>;

    /// Deletes up to [`crate::limits::QUEUE_BATCH_MAX`] messages, entry by entry. One that is gone already is no
    /// error. An old receipt may delete the message under its new holder (SQS does), or is [`QueueError::Gone`] where
    /// the queue can tell: never delete by a receipt unless all that the message points to is decided or handed on.
    async fn delete(&self, receipts: &[Receipt]) -> Result<Vec<Result<(), QueueError>>, QueueError>;

    /// How many messages there are, approximately.
    async fn depth(&self) -> Result<Depth, QueueError>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub body: String,
    /// At most [`crate::limits::DELAY_MS_MAX`].
    pub delay: Duration,
    /// Whose work it is; a queue that can serves groups fairly.
    pub group: Option<String>,
    /// Travels beside the body, for people: why a letter is dead. Printable ASCII.
    pub note: Option<String>,
}

impl Outgoing {
    pub fn new(body: String) -> Outgoing {
        Outgoing { body, delay: Duration::ZERO, group: None, note: None }
    }

    /// What every queue refuses, entry by entry.
    pub fn check(&self) -> Result<(), QueueError> {
        if self.body.is_empty() || self.body.len() > limits::MESSAGE_BYTES_MAX {
            return Err(QueueError::Refused(format!(
                "a message of {} bytes, it must have 1 to {}",
                self.body.len(),
                limits::MESSAGE_BYTES_MAX
            )));
        }
        if self.delay > Duration::from_millis(limits::DELAY_MS_MAX) {
            return Err(QueueError::Refused(format!(
                "a delay of {} s, the most is {} s",
                self.delay.as_secs(),
                limits::DELAY_MS_MAX / 1_000
            )));
        }
        Ok(())
    }
}

/// How many messages one request may send, receive or delete.
pub fn check_batch(count: usize) -> Result<(), QueueError> {
    if (1..=limits::QUEUE_BATCH_MAX).contains(&count) {
        return Ok(());
    }
    Err(QueueError::Refused(format!(
        "{count} messages in one request, it must be 1 to {}",
        limits::QUEUE_BATCH_MAX
    )))
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
    pub note: Option<String>,
    /// Which delivery this is, from 1. Counts deliveries that nobody got.
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
    /// The message is not there, or not ours any more.
    Gone,
    /// It was not done, and may be asked again.
    Busy(String),
    /// It was not done, and may be asked again: nobody is there.
    Unreached(Unreached),
    /// It may or may not have been done.
    Lost(String),
    /// It will not be done.
    Refused(String),
}

impl QueueError {
    pub fn is_retryable(&self) -> bool {
        match self {
            QueueError::Busy(_) | QueueError::Lost(_) => true,
            QueueError::Unreached(unreached) => unreached.may_come,
            QueueError::Gone | QueueError::Refused(_) => false,
        }
    }
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueueError::Gone => f.write_str("the message is gone"),
            QueueError::Busy(why) => write!(f, "the queue is busy: {why}"),
            QueueError::Unreached(unreached) => unreached.fmt(f),
            QueueError::Lost(why) => write!(f, "the queue did not answer: {why}"),
            QueueError::Refused(why) => write!(f, "the queue refused: {why}"),
        }
    }
}

impl std::error::Error for QueueError {}

impl From<QueueError> for Error {
    fn from(error: QueueError) -> Error {
        match error {
            QueueError::Unreached(unreached) => unreached.into(),
            QueueError::Gone => Error::new(Code::NotFound, error.to_string()),
            QueueError::Busy(_) | QueueError::Lost(_) | QueueError::Refused(_) => {
                Error::unreachable(error.to_string()).hint("`afn doctor` tells what is wrong")
            }
        }
    }
}

/// The three queues, each with its dead letters.
#[derive(Clone)]
pub struct Queues {
    pub calls: Lane,
    pub chunks: Lane,
    pub batches: Lane,
}

/// A queue and where its dead letters go.
#[derive(Clone)]
pub struct Lane {
    pub live: Arc<dyn Queue>,
    pub dead: Arc<dyn Queue>,
}

impl Queues {
    /// In a fixed order, by the names that the rest of the world knows them by.
    pub fn lanes(&self) -> [(&'static str, &Lane); 3] {
        [("calls", &self.calls), ("chunks", &self.chunks), ("batches", &self.batches)]
    }
}
