//! Injects faults into the requests of a queue.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{BUSY, Fault, Faults, Injector, LateWrite, Operation};
use crate::limits;
use crate::seam::clock::Clock;
use crate::seam::queue::{Depth, EntryAnswers, Outgoing, Queue, QueueError, QueueResult, Receipt, Received};

pub struct FaultQueue {
    inner: Arc<dyn Queue>,
    name: String,
    injector: Injector,
}

impl FaultQueue {
    pub fn new(
        name: impl Into<String>,
        inner: Arc<dyn Queue>,
        clock: Arc<dyn Clock>,
        faults: Arc<dyn Faults>,
    ) -> FaultQueue {
        FaultQueue { inner, name: name.into(), injector: Injector::new(clock, faults) }
    }

    async fn send_under(&self, mut messages: Vec<Outgoing>, fault: Fault) -> QueueResult<EntryAnswers> {
        match fault {
            Fault::Duplicate => {
                self.inner.send(messages.clone()).await?;
                self.inner.send(messages).await
            }
            Fault::Delay(by) => {
                for message in &mut messages {
                    let delay = message.delay + by;
                    message.delay = delay.min(limits::DELAY_MAX).max(message.delay);
                }
                self.inner.send(messages).await
            }
            Fault::Partial(failing) => {
                partial(&messages, failing, |messages| self.inner.send(messages)).await
            }
            _ => self.inner.send(messages).await,
        }
    }

    async fn receive_under(
        &self,
        max: usize,
        wait: Duration,
        visibility: Duration,
        fault: Fault,
    ) -> QueueResult<Vec<Received>> {
        let mut messages = self.inner.receive(max, wait, visibility).await?;
        match fault {
            Fault::Duplicate => {
                for message in &messages {
                    let _ = self.inner.extend(&message.receipt, Duration::ZERO).await;
                }
            }
            Fault::Reorder => messages.reverse(),
            _ => {}
        }
        Ok(messages)
    }
}

/// Asks for the entries whose bit is not set; the others were turned away.
async fn partial<I: Clone, F: Future<Output = QueueResult<EntryAnswers>>>(
    entries: &[I],
    failing: u16,
    ask: impl FnOnce(Vec<I>) -> F,
) -> QueueResult<EntryAnswers> {
    let fails = |at: usize| failing >> (at % 16) & 1 == 1;
    let passing: Vec<I> =
        entries.iter().enumerate().filter(|(at, _)| !fails(*at)).map(|(_, entry)| entry.clone()).collect();
    let replies = if passing.is_empty() { Vec::new() } else { ask(passing).await? };
    let mut replies = replies.into_iter();
    let busy = || Err(QueueError::Busy(BUSY.to_owned()));
    Ok((0..entries.len())
        .map(|at| if fails(at) { busy() } else { replies.next().unwrap_or_else(busy) })
        .collect())
}

#[async_trait]
impl Queue for FaultQueue {
    async fn send(&self, messages: Vec<Outgoing>) -> QueueResult<EntryAnswers> {
        let late = || -> Option<LateWrite> {
            let (inner, messages) = (self.inner.clone(), messages.clone());
            Some(Box::pin(async move { drop(inner.send(messages).await) }))
        };
        let send = |fault| self.send_under(messages.clone(), fault);
        self.injector.inject(Operation::Send, &self.name, late, send).await
    }

    async fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> QueueResult<Vec<Received>> {
        let receive = |fault| self.receive_under(max, wait, visibility, fault);
        self.injector.inject(Operation::Receive, &self.name, || None, receive).await
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> QueueResult<()> {
        let late = || -> Option<LateWrite> {
            let (inner, receipt) = (self.inner.clone(), receipt.clone());
            Some(Box::pin(async move { drop(inner.extend(&receipt, visibility).await) }))
        };
        let extend = |_| self.inner.extend(receipt, visibility);
        self.injector.inject(Operation::Extend, &self.name, late, extend).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> QueueResult<EntryAnswers> {
        let late = || -> Option<LateWrite> {
            let (inner, receipts) = (self.inner.clone(), receipts.to_vec());
            Some(Box::pin(async move { drop(inner.delete(&receipts).await) }))
        };
        let delete = |fault| async move {
            let failing = if let Fault::Partial(failing) = fault { failing } else { 0 };
            let delete = |receipts: Vec<Receipt>| async move { self.inner.delete(&receipts).await };
            partial(receipts, failing, delete).await
        };
        self.injector.inject(Operation::DeleteMessage, &self.name, late, delete).await
    }

    async fn depth(&self) -> QueueResult<Depth> {
        self.injector.inject(Operation::Depth, &self.name, || None, |_| self.inner.depth()).await
    }

    fn prefer(&self, group: &str) {
        self.inner.prefer(group);
    }
}
