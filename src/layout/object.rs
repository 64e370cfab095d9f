//! Small persisted bodies that are not domain types: routes, marks, idempotency keys. Persisted, keep stable.

use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::envelope::{self, Envelope};
use crate::error::Result;
use crate::limits;
use crate::model::checked::{checked, within};
use crate::model::{AttemptHistory, CallId, Digest, FunctionName, Nonce, StoreId, Time};

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
    /// Reading is over, or a first execution has run for a while. No evidence of a loss.
    #[default]
    Running,
    /// The worker was about to read the objects that the message points to.
    Reading,
    /// Among other calls of the worker.
    Among,
    /// The only suspect on its worker, beside other calls.
    Sole,
    /// Nothing else ran on the worker.
    Alone,
    /// These calls left the message: others have them.
    Given,
}

impl MarkKind {
    /// Whether a call that this mark names was lost when its worker was.
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
pub struct Unsuited {
    pub why: String,
    pub worker: String,
    pub at: Time,
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

/// `reconciled/{interval}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciled {
    pub worker: String,
    pub at: Time,
}

/// Pretty JSON, since people read these with `aws s3 cp`.
pub fn encode<T: Serialize>(body: &T) -> bytes::Bytes {
    let mut json = serde_json::to_vec_pretty(&Envelope::of(body)).expect("persisted types have string keys");
    json.push(b'\n');
    json.into()
}

pub fn decode<T: DeserializeOwned>(key: impl Display, body: &[u8]) -> Result<T> {
    envelope::open(format_args!("object `{key}`"), body)
}
