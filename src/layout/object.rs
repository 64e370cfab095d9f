//! Small persisted bodies that are not domain types: routes, marks, idempotency keys. Persisted, keep stable.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::{CallId, Digest, FunctionName, Nonce, Time};

/// `routes/{route}`: which function a route leads to, as long as that function says the same of its route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTarget {
    pub v: u32,
    pub function: FunctionName,
    pub nonce: Nonce,
}

/// `started/{delivery}`: the call has run for a while, or is about to run after a message that was lost before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub v: u32,
    /// When the function began to run, where that is known as the mark is written; else when it is written.
    pub at: Time,
    /// Nothing else ran on that worker: if this delivery is lost too, it is the call that counts.
    pub alone: bool,
    /// Written because an earlier delivery was lost; one that was written because the call has run for a while
    /// makes a suspect, but is not one of the marks that condemn.
    pub careful: bool,
    /// The attempt that was about to begin, so that the next delivery goes on counting.
    pub attempt: u32,
    /// Attempts before it that failed by themselves, and that could not be started.
    #[serde(default)]
    pub failures: u32,
    #[serde(default)]
    pub function_failures: u32,
    /// How long the message stays hidden from others when this worker is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
    pub worker: String,
}

/// `unsuited/{message}`: the first worker that could not run the call, and why; so that `status` can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsuited {
    pub v: u32,
    pub why: String,
    pub worker: String,
    pub at: Time,
}

/// `keys/{sha256}`: which call an idempotency key stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey {
    pub v: u32,
    pub call: CallId,
    /// Of function and payload: the same key with another request is a conflict.
    pub request: Digest,
    pub created_at: Time,
    pub nonce: Nonce,
}

/// `reconciled/{hour}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciled {
    pub v: u32,
    pub worker: String,
    pub at: Time,
}

/// Pretty JSON, since people read these with `aws s3 cp`.
pub fn encode<T: Serialize>(body: &T) -> bytes::Bytes {
    let mut json = serde_json::to_vec_pretty(body).expect("persisted types have string keys");
    json.push(b'\n');
    json.into()
}

pub fn decode<T: DeserializeOwned>(key: &str, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        Error::internal(format!("object `{key}` cannot be read: {error}"))
            .hint("it was not written by this program, or by a newer one")
    })
}
