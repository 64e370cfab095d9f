//! Small persisted bodies that are not domain types: routes, marks, idempotency keys. Persisted, keep stable.

use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::envelope::{self, Envelope};
use crate::error::Result;
use crate::limits;
use crate::model::checked::{checked, within};
use crate::model::{AttemptHistory, CallId, Digest, FunctionName, Nonce, Retention, StoreId, Time};

/// `routes/{route}`: which function a route leads to, as long as that function says the same of its route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTarget {
    pub function: FunctionName,
    pub nonce: Nonce,
}

/// Why a mark was written, and how what it names ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarkKind {
    /// Reading is over, or a first execution has run for a while. Counts against no call.
    #[default]
    Running,
    /// The worker was about to read the objects that the message points to.
    Reading,
    /// About to run among other calls of the worker. Of a range it names all that is not begun, however few run at once.
    Among,
    /// The only suspect on its worker, beside other calls.
    Sole,
    /// Nothing else ran on the worker.
    Alone,
    /// These calls left the message: others have them.
    Given,
}

impl MarkKind {
    /// Whether it is a loss mark of the calls that it names, once its worker was lost.
    pub fn names_losses(self) -> bool {
        matches!(self, MarkKind::Among | MarkKind::Sole | MarkKind::Alone)
    }

    /// Whether nothing else ran on the worker.
    pub fn is_lone(self) -> bool {
        matches!(self, MarkKind::Alone)
    }
}

/// `started/{delivery}`: the call has run for a while, or is about to run after a message that was lost before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Started {
    /// When the function began to run, where that is known as the mark is written; else when it is written.
    pub at: Time,
    #[serde(default)]
    pub kind: MarkKind,
    /// The attempt that was about to begin.
    pub attempt: u32,
    /// Attempts before it that failed by themselves, and that could not be started.
    #[serde(default)]
    pub failures: u32,
    #[serde(default, alias = "function_failures")]
    pub start_failures: u32,
    /// How long the message stays hidden from others when this worker is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
    pub worker: String,
}

checked!(Started);

impl Started {
    fn check(&self) -> Result<(), String> {
        within("attempt", self.attempt.into(), 0..=limits::ATTEMPTS_ENDED_MAX.into())?;
        within("lease_ms", self.lease_ms.unwrap_or(0), 0..=limits::ms(limits::LEASE_MAX))?;
        self.history().check()
    }

    /// What had ended when the mark was written.
    pub fn history(&self) -> AttemptHistory {
        let Started { attempt, failures, start_failures, .. } = *self;
        AttemptHistory { attempts: attempt.saturating_sub(1), failures, start_failures }
    }
}

/// `unsuited/{message}`: the first worker that could not run the call, and why; so that `status` can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Unsuited {
    pub why: String,
    pub worker: String,
    pub at: Time,
    /// The version suits the worker, but its function could not be started there so many times, and never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_starts: Option<u32>,
}

checked!(Unsuited);

impl Unsuited {
    fn check(&self) -> Result<(), String> {
        let failed = self.failed_starts.unwrap_or(1);
        within("failed_starts", failed.into(), 1..=limits::FAILED_STARTS_MAX.into())
    }
}

/// Says what is missing, or that a start failed.
impl std::fmt::Display for Unsuited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.failed_starts {
            None => f.write_str(&self.why),
            Some(1) => write!(f, "the function could not be started: {}", self.why),
            Some(count) => write!(f, "the function could not be started {count} times: {}", self.why),
        }
    }
}

/// `keys/{sha256}`: which call an idempotency key stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey {
    pub call: CallId,
    /// Of function and payload: the same key with another request is a conflict.
    pub request: Digest,
    pub created_at: Time,
    pub nonce: Nonce,
}

/// `store`: the id that every message of this store carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreIdentity {
    pub id: StoreId,
    pub created_at: Time,
}

/// `settings`: what holds for the whole store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Of apps and batches that have none of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    pub updated_at: Time,
    pub nonce: Nonce,
}

/// `reconciled/{interval}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciled {
    pub worker: String,
    pub at: Time,
}

/// `panics/{id}`: a task of a worker panicked. For people: nothing is decided by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct TaskPanic {
    pub worker: String,
    /// What the task did, as the event names it.
    pub task: String,
    pub message: String,
    /// By the worker's clock.
    pub at: Time,
}

checked!(TaskPanic);

impl TaskPanic {
    /// Texts that are too long are cut.
    pub fn new(worker: &str, task: &str, message: &str, at: Time) -> TaskPanic {
        let cut = |text: &str, bytes_max| text[..text.floor_char_boundary(bytes_max)].to_owned();
        TaskPanic {
            worker: cut(worker, limits::PANIC_NAME_BYTES_MAX),
            task: cut(task, limits::PANIC_NAME_BYTES_MAX),
            message: cut(message, limits::PANIC_MESSAGE_BYTES_MAX),
            at,
        }
    }

    fn check(&self) -> Result<(), String> {
        for (what, text, bytes_max) in [
            ("bytes of worker", &self.worker, limits::PANIC_NAME_BYTES_MAX),
            ("bytes of task", &self.task, limits::PANIC_NAME_BYTES_MAX),
            ("bytes of message", &self.message, limits::PANIC_MESSAGE_BYTES_MAX),
        ] {
            within(what, text.len() as u64, 0..=bytes_max as u64)?;
        }
        Ok(())
    }
}

/// Pretty JSON, since people read these with `aws s3 cp`.
pub fn encode<T: Serialize>(body: &T) -> bytes::Bytes {
    encode_as(envelope::VERSION, body)
}

pub(super) fn encode_as<T: Serialize>(v: u32, body: &T) -> bytes::Bytes {
    let envelope = Envelope { v, body };
    let mut json = serde_json::to_vec_pretty(&envelope).expect("persisted types have string keys");
    json.push(b'\n');
    json.into()
}

pub fn decode<T: DeserializeOwned>(key: impl Display, body: &[u8]) -> Result<T> {
    decode_up_to(envelope::VERSION, key, body)
}

pub(super) fn decode_up_to<T: DeserializeOwned>(
    version_max: u32,
    key: impl Display,
    body: &[u8],
) -> Result<T> {
    envelope::open(format_args!("object `{key}`"), body, version_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_cut_to_what_is_read_again() {
        let long = "\u{1}\u{e9}".repeat(10_000);
        let panic = TaskPanic::new(&long, &long, &long, Time(7));
        assert_eq!(panic.message.len(), limits::PANIC_MESSAGE_BYTES_MAX - 1, "not within a character");
        let body = encode(&panic);
        assert!(body.len() as u64 <= limits::PANIC_BYTES_MAX, "{} bytes", body.len());
        assert_eq!(decode::<TaskPanic>("panics/x", &body).unwrap(), panic);
    }

    #[test]
    fn a_panic_with_more_than_a_worker_writes_is_refused() {
        let panic = TaskPanic { message: "x".repeat(600), ..TaskPanic::new("w", "t", "m", Time(7)) };
        let error = decode::<TaskPanic>("panics/x", &encode(&panic)).unwrap_err();
        assert!(error.message().contains("bytes of message 600 lies outside 0 to 512"), "{error}");
    }
}
