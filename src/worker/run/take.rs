//! What becomes of messages that were received: each begins its work, or goes back to the queue.

use std::pin::pin;
use std::time::Duration;

use super::{Work, WorkerLoop};
use crate::error::Error;
use crate::event::Event;
use crate::layout::Message;
use crate::limits;
use crate::model::QueueName;
use crate::planted::planted;
use crate::seam::queue::Received;
use crate::worker::panics::caught;
use crate::worker::phase::Phase;
use crate::worker::receive::Polled;
use crate::worker::slots::Class;
use crate::worker::{range, single, supervise};

impl WorkerLoop {
    pub(super) async fn take(&mut self, queue: QueueName, polled: Polled) {
        self.take_in(queue, polled).await;
        if queue == QueueName::Calls {
            self.shared.calls_first.answer();
        }
    }

    async fn take_in(&mut self, queue: QueueName, polled: Polled) {
        let messages = match polled.answer {
            Ok(messages) => messages,
            Err(error) => {
                let what = format!("receive from queue `{queue}`");
                if self.receivers[queue].is_lost(&error) {
                    self.lost_queue = Some(Error::from(error.clone()).context(&what));
                }
                return self.shared.emit(Event::RequestFailed { what, why: error.to_string() });
            }
        };
        if queue == QueueName::Chunks {
            self.shared.prefetch.received(messages.is_empty(), self.shared.deps.clock.monotonic());
        }
        if queue == QueueName::Calls {
            self.turns.received(&messages);
            self.reconcile();
        }
        if messages.is_empty() {
            return self.nothing_came(queue).await;
        }
        let too_long = self.shared.clone();
        let mut too_long = pin!(too_long.deps.clock.sleep(limits::TAKEN_IN_WITHIN));
        for message in messages {
            // A queue that does not answer must not keep the worker from its calls, nor from ending.
            let read = tokio::select! {
                biased;
                read = self.read(queue, &message) => read,
                () = &mut too_long => return,
            };
            if let Some(read) = read {
                self.begin(queue, &message, polled.at, read);
            }
        }
    }

    /// None if it is not for this worker, or not any more.
    async fn read(&mut self, queue: QueueName, message: &Received) -> Option<Message> {
        let receiver = &mut self.receivers[queue];
        if self.shared.phases.now() == Phase::Run {
            return receiver.read(&self.shared, message).await;
        }
        receiver.hand_on(&self.shared, message).await;
        None
    }

    fn begin(&mut self, queue: QueueName, received: &Received, at: Duration, message: Message) {
        let Some(lease) = self.shared.leases[queue].take(received, at) else {
            planted!((), DeletesOwnDuplicate => {
                let (live, receipt) = (self.shared.deps.queues.get(queue).live.clone(), received.receipt.clone());
                self.deletions.spawn(async move { drop(live.delete(&[receipt]).await) });
            });
            return;
        };
        let shared = self.shared.clone();
        self.held[queue] += 1;
        let work = Work { queue, supervises: None };
        match message {
            Message::Call(call) => {
                let ticket = shared.slots.line_up(Class::Call);
                let done = single::work(shared, ticket, lease, call);
                self.work.spawn(async move { (work, caught(done).await) });
            }
            Message::Range(range) => {
                let done = range::work(shared, lease, range);
                self.work.spawn(async move { (work, caught(done).await) });
            }
            Message::Supervise(supervise) => {
                let work = Work { supervises: Some(supervise.batch), ..work };
                self.supervised.push(supervise.batch);
                let done = supervise::work(shared, lease, supervise);
                self.work.spawn(async move { (work, caught(done).await) });
            }
        }
    }
}
