//! Messages for a batch's supervisor: the first one, and an extra one when a batch changes while its supervisor may rest.

use std::time::Duration;

use super::send;
use crate::error::Result;
use crate::layout::{Message, SuperviseMessage};
use crate::model::BatchRef;
use crate::seam::Deps;

/// Sends the supervisor's message, before any chunk, so that every stored call has a supervisor.
pub(super) async fn supervise(deps: &Deps, of: &BatchRef) -> Result<()> {
    let message = Message::Supervise(send::supervise_message(deps, of));
    send::send(&deps.queues.batches, &message, Duration::ZERO).await
}

/// Makes a supervisor check a batch now: its own may be resting, because nothing changed.
pub(super) async fn call_supervisor(deps: &Deps, of: &BatchRef) -> Result<()> {
    let message = SuperviseMessage { extra: true, ..send::supervise_message(deps, of) };
    let sent = send::send(&deps.queues.batches, &Message::Supervise(message), Duration::ZERO).await;
    sent.map_err(|error| error.context(format!("call the supervisor of batch {}", of.batch)))
}
