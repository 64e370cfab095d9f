//! Carries out faults around a queue.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{BUSY, Fault, Faults, LOST, LateRequests, Operation, Request, nobody};
use crate::limits;
use crate::seam::clock::Clock;
use crate::seam::queue::{Depth, Outgoing, Queue, QueueError, Receipt, Received};

pub struct FaultQueue {
    inner: Arc<dyn Queue>,
    name: String,
    clock: Arc<dyn Clock>,
    faults: Arc<dyn Faults>,
    late: LateRequests<Write>,
}

/// What may arrive late.
enum Write {
    Send(Vec<Outgoing>),
    Extend(Receipt, Duration),
    Delete(Vec<Receipt>),
}

type Entries = Result<Vec<Result<(), QueueError>>, QueueError>;

impl FaultQueue {
    pub fn new(
        name: impl Into<String>,
        inner: Arc<dyn Queue>,
        clock: Arc<dyn Clock>,
        faults: Arc<dyn Faults>,
    ) -> FaultQueue {
        FaultQueue { inner, name: name.into(), clock, faults, late: LateRequests::new() }
    }

    async fn suffer<T, F: Future<Output = Result<T, QueueError>>>(
        &self,
        operation: Operation,
        write: impl FnOnce() -> Option<Write>,
        request: impl FnOnce(Fault) -> F,
    ) -> Result<T, QueueError> {
        while let Some(write) = self.late.arrived(self.clock.monotonic()) {
            // Whoever asked for it has given up: nobody hears how it ends.
            let _ = match write {
                Write::Send(messages) => self.inner.send(messages).await.map(drop),
                Write::Extend(receipt, visibility) => self.inner.extend(&receipt, visibility).await,
                Write::Delete(receipts) => self.inner.delete(&receipts).await.map(drop),
            };
        }
        let fate = self.faults.fate(&Request { operation, target: &self.name });
        if !fate.before.is_zero() {
            self.clock.sleep(fate.before).await;
        }
        let answer = match fate.fault {
            Fault::Busy => Err(QueueError::Busy(BUSY.to_owned())),
            Fault::Unreached => Err(QueueError::Unreached(nobody())),
            Fault::LoseRequest => Err(QueueError::Lost(LOST.to_owned())),
            Fault::Late(by) => {
                if let Some(write) = write() {
                    self.late.put_off(self.clock.monotonic() + by, write);
                }
                Err(QueueError::Lost(LOST.to_owned()))
            }
            Fault::LoseReply => {
                let _ = request(fate.fault).await;
                Err(QueueError::Lost(LOST.to_owned()))
            }
            fault => request(fault).await,
        };
        if !fate.after.is_zero() {
            self.clock.sleep(fate.after).await;
        }
        answer
    }

    async fn send_under(&self, mut messages: Vec<Outgoing>, fault: Fault) -> Entries {
        match fault {
            Fault::Duplicate => {
                self.inner.send(messages.clone()).await?;
                self.inner.send(messages).await
            }
            Fault::Delay(by) => {
                for message in &mut messages {
                    let delay = message.delay + by;
                    message.delay = delay.min(Duration::from_millis(limits::DELAY_MS_MAX)).max(message.delay);
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
    ) -> Result<Vec<Received>, QueueError> {
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
async fn partial<I: Clone, F: Future<Output = Entries>>(
    entries: &[I],
    failing: u16,
    ask: impl FnOnce(Vec<I>) -> F,
) -> Entries {
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
    async fn send(&self, messages: Vec<Outgoing>) -> Entries {
        let write = || Some(Write::Send(messages.clone()));
        self.suffer(Operation::Send, write, |fault| self.send_under(messages.clone(), fault)).await
    }

    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Received>, QueueError> {
        let ask = |fault| self.receive_under(max, wait, visibility, fault);
        self.suffer(Operation::Receive, || None, ask).await
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> Result<(), QueueError> {
        let write = || Some(Write::Extend(receipt.clone(), visibility));
        self.suffer(Operation::Extend, write, |_| self.inner.extend(receipt, visibility)).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> Entries {
        let ask = |fault| async move {
            match fault {
                Fault::Partial(failing) => {
                    let ask = |receipts: Vec<Receipt>| async move { self.inner.delete(&receipts).await };
                    partial(receipts, failing, ask).await
                }
                _ => self.inner.delete(receipts).await,
            }
        };
        self.suffer(Operation::DeleteMessage, || Some(Write::Delete(receipts.to_vec())), ask).await
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        self.suffer(Operation::Depth, || None, |_| self.inner.depth()).await
    }
}
