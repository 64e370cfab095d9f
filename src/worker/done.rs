//! How the work on one message ended. The worker's main loop acts on it.

use std::time::Duration;

use super::lease::Lease;
use crate::model::{BatchId, MessageId};

/// How a message's work ended.
pub enum Done {
    /// Nothing is left to do under this message, which is to be deleted: each of its calls is decided, is recorded as waiting for a
    /// retry, or has left in another message.
    Finished(Lease),
    /// New messages took the place of this one, which is to be deleted.
    Replaced { lease: Lease, handed_back: bool },
    /// The message lies on the queue again, or a new one in its place, and this worker leaves it to others for a moment.
    LeftToOthers(Option<Lease>),
    /// The message lies on the queue again, or will.
    Left,
    /// What it points to does not suit this worker.
    Mismatched(PutAside),
    /// Nobody can work on it now: its batch is paused, or what it points to cannot be read.
    SetAside(PutAside),
}

/// What became of a message that this worker cannot work on now.
pub struct PutAside {
    /// A new message took the place of this one, which is to be deleted. None: it was put back.
    pub lease: Option<Lease>,
    pub id: MessageId,
    /// Of the message that lies on the queue now.
    pub new_id: MessageId,
    /// None: it points to a single call.
    pub batch: Option<BatchId>,
    /// How long it is hidden.
    pub wait: Duration,
    pub why: String,
}
