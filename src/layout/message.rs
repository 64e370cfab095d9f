//! What travels on the queues. Persisted, keep stable: a field may be added when older workers may ignore it, anything
//! else raises `VERSION`, and a worker that meets a newer version puts it back.

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::model::{AppName, BatchId, CallId, MessageId, Time};

pub const VERSION: u32 = 1;

/// A pointer to work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Message {
    Call(CallMessage),
    Range(RangeMessage),
    Supervise(SuperviseMessage),
}

/// Points to one single call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallMessage {
    /// Minted by the sender; names the executions that this message leads to.
    pub id: MessageId,
    pub app: AppName,
    pub call: CallId,
    /// Attempts that were begun under earlier messages.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// Attempts among them that failed by themselves; only these are counted against the function's `max_attempts`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// Attempts among them at which the function could not be started; they have a budget of their own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub function_failures: u32,
    /// Marks that said `alone` under earlier messages; any switches careful mode on (N13).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub alone_marks: u32,
    /// The call was a suspect under an earlier message.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspect: bool,
    /// Since when no worker was found that can run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mismatch_since: Option<Time>,
    /// Sent by whoever looks after the lost: it may run already.
    #[serde(default, skip_serializing_if = "is_false")]
    pub again: bool,
}

/// Points to a range of a chunk. What of it is decided already is told by the chunk's log (H11, H13).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeMessage {
    pub id: MessageId,
    pub app: AppName,
    pub batch: BatchId,
    /// The last number of the chunk: names its objects.
    pub chunk: u64,
    /// The range, both ends included.
    pub first: u64,
    pub last: u64,
    /// A split halves them; with 1 the range is not split (H18).
    pub shares: u32,
    /// Some of it may be decided or may run: the log is to be read first. A submitter's own first messages have it not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub again: bool,
    /// Suspects of earlier messages, each with its marks that said `alone` (N13). Not empty: careful mode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspects: Vec<(u64, u32)>,
    /// Calls that were tried already and wait for their next attempt: number, attempts begun, failures, function failures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<(u64, u32, u32, u32)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mismatch_since: Option<Time>,
}

/// Points to a batch that wants supervising.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuperviseMessage {
    pub id: MessageId,
    pub app: AppName,
    pub batch: BatchId,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl CallMessage {
    pub fn new(id: MessageId, app: AppName, call: CallId) -> CallMessage {
        CallMessage {
            id,
            app,
            call,
            attempts: 0,
            failures: 0,
            function_failures: 0,
            alone_marks: 0,
            suspect: false,
            mismatch_since: None,
            again: false,
        }
    }
}

/// Why a message's body cannot be worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// Written by a newer program: to be put back.
    Newer(u32),
    /// Not a message of ours: to be moved to the dead letters.
    Malformed(String),
}

#[derive(Serialize)]
struct Out<'a> {
    v: u32,
    #[serde(flatten)]
    message: &'a Message,
}

impl Message {
    pub fn encode(&self) -> String {
        let body =
            serde_json::to_string(&Out { v: VERSION, message: self }).expect("messages have string keys");
        assert!(body.len() <= limits::MESSAGE_BYTES_MAX);
        body
    }

    pub fn decode(body: &str) -> Result<Message, Unreadable> {
        let malformed = |error: serde_json::Error| Unreadable::Malformed(format!("not a message: {error}"));
        let mut value: serde_json::Value = serde_json::from_str(body).map_err(malformed)?;
        let object =
            value.as_object_mut().ok_or_else(|| Unreadable::Malformed("not a JSON object".to_owned()))?;
        match object.remove("v").as_ref().and_then(serde_json::Value::as_u64) {
            Some(v) if v == u64::from(VERSION) => {}
            Some(v) if v > u64::from(VERSION) => {
                return Err(Unreadable::Newer(v.min(u32::MAX.into()) as u32));
            }
            _ => return Err(Unreadable::Malformed("no version `v` of a message".to_owned())),
        }
        serde_json::from_value(value).map_err(malformed)
    }

    /// The same under another id: nothing was begun under its own.
    pub fn under(mut self, id: MessageId) -> Message {
        match &mut self {
            Message::Call(call) => call.id = id,
            Message::Range(range) => range.id = id,
            Message::Supervise(supervise) => supervise.id = id,
        }
        self
    }

    /// Which queue it travels on.
    pub fn queue(&self) -> &'static str {
        match self {
            Message::Call(_) => "calls",
            Message::Range(_) => "chunks",
            Message::Supervise(_) => "batches",
        }
    }

    /// Whose work it is, for fairness between apps.
    pub fn app(&self) -> &AppName {
        match self {
            Message::Call(call) => &call.app,
            Message::Range(range) => &range.app,
            Message::Supervise(supervise) => &supervise.app,
        }
    }
}
