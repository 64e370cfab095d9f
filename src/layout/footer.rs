//! What a part's footer tells: all that is decided so far in its chunk's log, this part included. The last part's footer
//! alone tells progress. Persisted, keep stable.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::decided::Decided;
use crate::error::{Error, Result};
use crate::model::{AppName, BatchId, FunctionName, Route, State, VersionId};

/// How much of a part's end holds its footer, nearly always.
pub const END_BYTES: u64 = 32 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    pub v: u32,
    pub app: AppName,
    pub function: FunctionName,
    pub route: Route,
    pub version: VersionId,
    pub batch: BatchId,
    /// The last number of the chunk.
    pub last: u64,
    /// Which numbers are decided, and in which part.
    pub decided: Decided,
    /// Calls by status, up to here.
    pub counts: BTreeMap<State, u64>,
    /// Requests that workers have spent on this chunk, by operation, up to here.
    pub requests: BTreeMap<String, u64>,
    /// The function's own time of all calls up to here.
    pub run_ms: u64,
}

impl Footer {
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("text keys")
    }

    pub fn decode(name: &str, text: &str) -> Result<Footer> {
        serde_json::from_str(text)
            .map_err(|error| Error::internal(format!("object `{name}` cannot be read: its footer: {error}")))
    }
}
