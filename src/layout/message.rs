//! What travels on the queues. Persisted, keep stable: a field may be added when older workers may ignore it, anything
//! else raises `VERSION`. A worker puts a message of a newer version back, and moves one of an older version to the dead
//! letters: the store knows all that it points to.

use serde::{Deserialize, Serialize};

use super::chunk::chunk_first_min;
use super::envelope::Envelope;
use super::runs::Runs;
use crate::limits;
use crate::model::checked::{checked, within};
use crate::model::id::NUMBER_MAX;
use crate::model::{
    AppName, AttemptHistory, BatchId, CallId, DeliveryId, MarkId, MessageId, QueueName, Time,
};

pub const VERSION: u32 = 2;

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
#[serde(remote = "Self")]
pub struct CallMessage {
    /// Minted by the sender; names the executions that this message leads to.
    pub id: MessageId,
    pub app: AppName,
    pub call: CallId,
    /// The executions that had ended when the message was sent.
    #[serde(flatten)]
    pub history: AttemptHistory,
    /// Names of loss marks under earlier messages (`worker/marks.rs`, N13). Names alone only make a suspect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<DeliveryId>,
    /// Since when the call waits to have a worker to itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone_since: Option<Time>,
    /// The call may run already, or may have run.
    #[serde(default, skip_serializing_if = "is_false")]
    pub again: bool,
}

checked!(CallMessage, RangeMessage, SuperviseMessage);

impl CallMessage {
    fn check(&self) -> Result<(), String> {
        within("the number of losses,", self.losses.len() as u64, 0..=limits::LOSSES_MAX as u64)
    }
}

/// Points to calls of a chunk. The chunk's log tells which of them are decided already (H11).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct RangeMessage {
    pub id: MessageId,
    pub app: AppName,
    pub batch: BatchId,
    /// The last number of the chunk: names its objects.
    pub chunk: u64,
    /// Exactly these calls (H13), each with the executions that had ended when the message was sent.
    pub calls: Runs<AttemptHistory>,
    /// How long one of these calls took on a slot, by those that had ended when the message was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_ms: Option<u64>,
    /// A worker was lost with an earlier message of these calls, or it looks so: they run under a mark though this is the first
    /// delivery.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lost_before: bool,
    /// Some of it may be decided or may run: the log is to be read first. A submitter's own first messages have it not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub again: bool,
    /// Names of loss marks under earlier messages (`worker/marks.rs`, N13). Names alone only make a suspect.
    #[serde(default, skip_serializing_if = "Runs::is_empty")]
    pub losses: Runs<Vec<MarkId>>,
    /// Since when the one call of this message waits to have a worker to itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone_since: Option<Time>,
}

impl RangeMessage {
    fn check(&self) -> Result<(), String> {
        let chunk = self.chunk;
        let is_within = |first, last| chunk <= NUMBER_MAX && chunk_first_min(chunk) <= first && last <= chunk;
        if !self.calls.first().zip(self.calls.last()).is_some_and(|(first, last)| is_within(first, last)) {
            return Err(format!("it has no calls, or calls outside chunk {chunk}"));
        }
        if !self.losses.first().zip(self.losses.last()).is_none_or(|(first, last)| is_within(first, last)) {
            return Err(format!("it has losses of calls outside chunk {chunk}"));
        }
        within("mean_ms", self.mean_ms.unwrap_or(0), 0..=limits::ms(limits::LEASE_MAX))
    }
}

/// Points to a batch that wants supervising.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct SuperviseMessage {
    pub id: MessageId,
    pub app: AppName,
    pub batch: BatchId,
    /// Sent beside the batch's own message. It is deleted where that one would be sent anew because nothing happens.
    #[serde(default, skip_serializing_if = "is_false")]
    pub extra: bool,
    /// What the last supervisor saw, when it ended because nothing happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
    /// Retries that the last supervisor has sent and that nothing had come of when it handed over.
    #[serde(default, skip_serializing_if = "Runs::is_empty")]
    pub retried: Runs<AttemptHistory>,
    /// Tries of the webhook that failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub webhook_tries: u32,
}

/// An open batch of which everything stored was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idle {
    /// Since when nothing has happened.
    pub since: Time,
    pub chunks: u64,
    pub parts: u64,
    /// A start before this time sends the message on without a look.
    pub look_at: Time,
}

impl SuperviseMessage {
    fn check(&self) -> Result<(), String> {
        let runs = self.retried.iter().len() as u64;
        within("the number of runs of retries,", runs, 0..=limits::RETRIED_RUNS_MAX as u64)
    }

    pub fn new(id: MessageId, app: AppName, batch: BatchId) -> SuperviseMessage {
        SuperviseMessage {
            id,
            app,
            batch,
            extra: false,
            idle: None,
            retried: Runs::default(),
            webhook_tries: 0,
        }
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl CallMessage {
    pub fn new(id: MessageId, app: AppName, call: CallId) -> CallMessage {
        let (history, losses) = (AttemptHistory::default(), Vec::new());
        CallMessage { id, app, call, history, losses, alone_since: None, again: false }
    }
}

impl RangeMessage {
    /// Calls of a chunk that nothing is known of yet.
    pub fn new(
        id: MessageId,
        app: AppName,
        batch: BatchId,
        chunk: u64,
        calls: Runs<AttemptHistory>,
    ) -> RangeMessage {
        RangeMessage {
            id,
            app,
            batch,
            chunk,
            calls,
            mean_ms: None,
            lost_before: false,
            again: false,
            losses: Runs::default(),
            alone_since: None,
        }
    }
}

/// Why a message's body cannot be worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// Written by a newer program: to be put back.
    Newer(u32),
    /// Written by an older program: its work is known to the store alone.
    Older(u32),
    /// Not a message of ours: to be moved to the dead letters.
    Malformed(String),
}

impl Message {
    pub fn encode(&self) -> String {
        let envelope = Envelope { v: VERSION, body: self };
        let body = serde_json::to_string(&envelope).expect("messages have string keys");
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
            Some(v @ 1..) => return Err(Unreadable::Older(v as u32)),
            _ => return Err(Unreadable::Malformed("no version `v` of a message".to_owned())),
        }
        serde_json::from_value(value).map_err(malformed)
    }

    /// The same message under another id, of which no execution has begun.
    pub fn under(mut self, id: MessageId) -> Message {
        match &mut self {
            Message::Call(call) => call.id = id,
            Message::Range(range) => range.id = id,
            Message::Supervise(supervise) => supervise.id = id,
        }
        self
    }

    /// Which queue it travels on.
    pub fn queue(&self) -> QueueName {
        match self {
            Message::Call(_) => QueueName::Calls,
            Message::Range(_) => QueueName::Chunks,
            Message::Supervise(_) => QueueName::Batches,
        }
    }

    /// Whose work it is, for queues that serve groups fairly.
    pub fn group(&self) -> String {
        match self {
            Message::Range(range) => range.batch.to_string(),
            Message::Call(_) | Message::Supervise(_) => self.app().to_string(),
        }
    }

    pub fn app(&self) -> &AppName {
        match self {
            Message::Call(call) => &call.app,
            Message::Range(range) => &range.app,
            Message::Supervise(supervise) => &supervise.app,
        }
    }
}
