//! Puts one pointer on a queue. Only an acknowledged send counts (H12).

use std::time::Duration;

use crate::error::Result;
use crate::layout::{CallMessage, Message};
use crate::model::{AppName, CallId, MessageId};
use crate::seam::queue::{Lane, Outgoing};
use crate::seam::{RngExt as _, Seams};

/// A message to a call, under a fresh id.
pub fn call_message(seams: &Seams, app: &AppName, call: CallId) -> CallMessage {
    CallMessage::new(message_id(seams), app.clone(), call)
}

pub fn message_id(seams: &Seams) -> MessageId {
    MessageId::new(seams.now(), seams.rng.u128())
}

/// Returns once the queue has acknowledged the message; an error means that it may or may not be there.
pub async fn send(lane: &Lane, message: &Message, delay: Duration) -> Result<()> {
    let group = Some(message.app().to_string());
    let answers = lane.live.send(vec![Outgoing { delay, group, ..Outgoing::new(message.encode()) }]).await?;
    for answer in answers {
        answer?;
    }
    Ok(())
}
