//! Messages that point to objects which cannot be read: broken, too large, or of a newer program. Another version may be able
//! to, or somebody mends them, so the message is put back, longer each time. After its put-backs it goes to the dead letters with
//! the reason, unless an outcome can say it.

use std::time::Duration;

use super::done::{Done, PutAside};
use super::lease::HeldReceipt;
use super::{Abandoned, Shared};
use crate::error::{Code, Error};
use crate::event::Event;
use crate::layout::Message;
use crate::limits;
use crate::model::{BatchId, MessageId, QueueName};
use crate::seam::queue::{Outgoing, Receipt, Received};

/// How long a message that nobody may be able to read is put back, by its delivery.
pub fn put_back_wait(delivery: u32, longest: Duration) -> Duration {
    (limits::PUT_ASIDE_MIN * (1 << delivery.saturating_sub(1).min(16))).min(longest)
}

/// What an error says of the objects of a message. Past its put-backs a message is given up.
pub enum ReadFailure {
    /// The store did not answer, or something else that is no matter of the objects.
    Other(Error),
    Unreadable(Error),
    GivenUp(Error),
}

impl ReadFailure {
    pub fn of(error: Error, delivery: u32) -> ReadFailure {
        match error.code() {
            Code::Internal if delivery > limits::PUT_BACK_COUNT_MAX => ReadFailure::GivenUp(error),
            Code::Internal => ReadFailure::Unreadable(error),
            _ => ReadFailure::Other(error),
        }
    }
}

/// What was read, or the reason with which a message is given up because `what` cannot be read.
pub fn read_or_reason<T>(
    read: Result<T, Error>,
    what: &str,
    delivery: u32,
) -> Result<Result<T, String>, Abandoned> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(error) => match ReadFailure::of(error, delivery) {
            ReadFailure::GivenUp(error) => Ok(Err(format!("its {what} could not be read: {error}"))),
            ReadFailure::Other(error) | ReadFailure::Unreadable(error) => Err(Abandoned(error)),
        },
    }
}

/// A message whose work failed before anything ran.
pub struct Failed {
    pub queue: QueueName,
    pub held: HeldReceipt,
    pub delivery: u32,
    pub id: MessageId,
    pub batch: Option<BatchId>,
    /// For events.
    pub what: String,
}

impl Failed {
    /// Puts the message back, or moves it to the dead letters, if it is for its objects that the work failed.
    pub async fn settle(
        self,
        shared: &Shared,
        error: Error,
        message: impl FnOnce() -> Message,
    ) -> Result<Done, Abandoned> {
        match ReadFailure::of(error, self.delivery) {
            ReadFailure::Other(error) => Err(Abandoned(error)),
            ReadFailure::Unreadable(error) => {
                let (id, batch, why) = (self.id, self.batch, error.to_string());
                let wait = put_back_wait(self.delivery, limits::DELAY_MAX);
                shared.emit(Event::RequestFailed { what: self.what, why: why.clone() });
                self.held.give_back(wait).await?;
                Ok(Done::SetAside(PutAside { lease: None, id, new_id: id, batch, wait, why }))
            }
            ReadFailure::GivenUp(error) => {
                let why = format!("{}: {error}", self.what);
                move_to_dead_letters(shared, self.queue, message().encode(), self.held.receipt(), why).await;
                Ok(Done::Left)
            }
        }
    }
}

pub async fn dead_letter(shared: &Shared, queue: QueueName, message: &Received, why: String) {
    move_to_dead_letters(shared, queue, message.body.clone(), &message.receipt, why).await;
}

/// Deleted only once the dead-letter queue has it.
async fn move_to_dead_letters(
    shared: &Shared,
    queue: QueueName,
    body: String,
    receipt: &Receipt,
    why: String,
) {
    let queues = shared.deps.queues.get(queue);
    let letter = Outgoing { metadata: Some(ascii(&why)), ..Outgoing::new(body) };
    if matches!(queues.dead.send(vec![letter]).await.as_deref(), Ok([Ok(())])) {
        let _ = queues.live.delete(std::slice::from_ref(receipt)).await;
        shared.emit(Event::DeadLettered { queue, why });
    } else {
        let what = format!("move a message of queue `{queue}` to the dead letters");
        shared.emit(Event::RequestFailed { what, why });
    }
}

/// Metadata beside a message is printable ASCII.
fn ascii(text: &str) -> String {
    text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).take(500).collect()
}
