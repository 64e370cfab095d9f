//! Makes messages and puts them on their queues. Only an acknowledged send counts (H12).

use std::time::Duration;

use crate::error::Result;
use crate::layout::{CallMessage, Message, RangeMessage, Runs, SuperviseMessage};
use crate::limits;
use crate::model::{AppName, AttemptHistory, BatchRef, CallId, MessageId};
use crate::seam::queue::{Outgoing, QueuePair};
use crate::seam::{Deps, RngExt as _};

/// A message to a call, under a fresh id.
pub fn call_message(deps: &Deps, app: &AppName, call: CallId) -> CallMessage {
    CallMessage::new(message_id(deps), app.clone(), call)
}

/// A message to the calls of a chunk from `first` to `last`, which names the chunk. `again`: they may run already, or be
/// decided.
pub fn range_message(deps: &Deps, of: &BatchRef, chunk: u64, calls: Runs<AttemptHistory>) -> RangeMessage {
    RangeMessage::new(message_id(deps), of.app.clone(), of.batch, chunk, calls)
}

/// A message to all calls of a chunk. `again`: they may run already, or be decided.
pub fn chunk_message(deps: &Deps, of: &BatchRef, first: u64, last: u64, again: bool) -> Message {
    let calls = Runs::one(first, last, AttemptHistory::default());
    Message::Range(RangeMessage { again, ..range_message(deps, of, last, calls) })
}

pub fn supervise_message(deps: &Deps, of: &BatchRef) -> SuperviseMessage {
    SuperviseMessage::new(message_id(deps), of.app.clone(), of.batch)
}

pub fn message_id(deps: &Deps) -> MessageId {
    MessageId::new(deps.now(), deps.rng.u128())
}

/// Returns once the queue has acknowledged the message; an error means that it may or may not be there.
pub async fn send(lane: &QueuePair, message: &Message, delay: Duration) -> Result<()> {
    send_some(lane, std::slice::from_ref(message), delay).await
}

/// The same for many, ten a request. An error means that each may or may not be there.
pub async fn send_all(lane: &QueuePair, messages: &[Message], delay: Duration) -> Result<()> {
    for some in messages.chunks(limits::QUEUE_BATCH_MAX) {
        send_some(lane, some, delay).await?;
    }
    Ok(())
}

/// As many as fit into a request. Returns of each whether the queue has acknowledged it.
pub async fn send_each(lane: &QueuePair, messages: &[Message]) -> Vec<bool> {
    match lane.live.send(outgoing(messages, Duration::ZERO)).await {
        Ok(answers) => answers.iter().map(Result::is_ok).collect(),
        Err(_) => vec![false; messages.len()],
    }
}

async fn send_some(lane: &QueuePair, messages: &[Message], delay: Duration) -> Result<()> {
    for answer in lane.live.send(outgoing(messages, delay)).await? {
        answer?;
    }
    Ok(())
}

fn outgoing(messages: &[Message], delay: Duration) -> Vec<Outgoing> {
    let outgoing = messages.iter().map(|message| {
        let group = Some(message.group());
        Outgoing { delay, group, ..Outgoing::new(message.encode()) }
    });
    outgoing.collect()
}
