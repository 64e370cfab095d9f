//! Injects faults into store and queue. What happens to a request is drawn from an injected plan, so that the same seed
//! gives the same faults; the decorators only carry them out.

mod queue;
mod seeded;
mod store;

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::clock::Clock;
use super::failure::{RequestFailure, Unreached};

pub use queue::FaultQueue;
pub use seeded::{Rates, SeededFaults};
pub use store::FaultStore;

/// Decides what happens to each request. Asked once for each, in the order in which requests are made.
pub trait Faults: Send + Sync {
    fn fate(&self, request: &Request<'_>) -> Fate;
}

/// A request that is about to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    pub operation: Operation,
    /// The key, the prefix of a list, the first of the keys to delete, or the name of the queue.
    pub target: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Put,
    Get,
    Head,
    List,
    Delete,
    Send,
    Receive,
    Extend,
    DeleteMessage,
    Depth,
}

/// What happens to one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fate {
    /// Passes before the request arrives.
    pub before: Duration,
    pub fault: Fault,
    /// Passes before the answer arrives.
    pub after: Duration,
}

impl Fate {
    pub fn of(fault: Fault) -> Fate {
        Fate { fault, ..Fate::default() }
    }
}

/// One that makes no sense for the operation has no effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// Not done, and the answer says so: 503.
    Busy,
    /// The request is not sent: connection refused.
    Unreached,
    /// A put is not done, and the answer says so: 409.
    Conflict,
    /// It is never done; no answer comes.
    LoseRequest,
    /// It is done; no answer comes. A receive hides its messages from everybody.
    LoseReply,
    /// No answer comes, and the request is done this much later. A request that writes nothing is lost.
    Late(Duration),
    /// A list misses the keys that were written this short a time ago.
    Lag(Duration),
    /// Messages are sent twice; received ones can be received by others at once.
    Duplicate,
    /// Messages can be received only this much later than they should.
    Delay(Duration),
    /// A receive gives its messages in another order.
    Reorder,
    /// Of the entries of a send or delete those fail whose bit is set, the others succeed.
    Partial(u16),
}

const BUSY: &str = "injected: 503 SlowDown";

fn unreached() -> RequestFailure {
    let [what, why, hint] = ["injected", "connection refused", "wait"].map(str::to_owned);
    RequestFailure::Unreached(Unreached { what, why, hint, may_recover: true })
}

/// A write that may arrive late. Its caller has given up by then, so that nobody waits for the answer.
type LateWrite = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Carries out faults around the requests of one store or queue.
struct Injector {
    clock: Arc<dyn Clock>,
    faults: Arc<dyn Faults>,
    /// Late writes by when they arrive: with the first request after that time.
    late: Mutex<Vec<(Duration, LateWrite)>>,
}

impl Injector {
    fn new(clock: Arc<dyn Clock>, faults: Arc<dyn Faults>) -> Injector {
        Injector { clock, faults, late: Mutex::default() }
    }

    fn late(&self) -> MutexGuard<'_, Vec<(Duration, LateWrite)>> {
        self.late.lock().expect("no holder of this lock panics")
    }

    fn next_late(&self) -> Option<LateWrite> {
        let mut late = self.late();
        let is_due = late.first().is_some_and(|(due, _)| *due <= self.clock.monotonic());
        is_due.then(|| late.remove(0).1)
    }

    /// Makes a request, or not, as the plan has it. `perform` makes it under the faults that are particular to it;
    /// `write` is what it writes, if it may arrive late.
    async fn inject<T, E: From<RequestFailure>, F: Future<Output = Result<T, E>>>(
        &self,
        operation: Operation,
        target: &str,
        write: impl FnOnce() -> Option<LateWrite>,
        perform: impl FnOnce(Fault) -> F,
    ) -> Result<T, E> {
        while let Some(write) = self.next_late() {
            write.await;
        }
        let fate = self.faults.fate(&Request { operation, target });
        if !fate.before.is_zero() {
            self.clock.sleep(fate.before).await;
        }
        let busy = |why: &str| Err(RequestFailure::Busy(why.to_owned()).into());
        let lost = || Err(RequestFailure::Lost("injected: no answer".to_owned()).into());
        let answer = match fate.fault {
            Fault::Busy => busy(BUSY),
            Fault::Unreached => Err(unreached().into()),
            Fault::Conflict if operation == Operation::Put => {
                busy("injected: 409 ConditionalRequestConflict")
            }
            Fault::LoseRequest => lost(),
            Fault::Late(by) => {
                if let Some(write) = write() {
                    let due = self.clock.monotonic() + by;
                    let mut late = self.late();
                    let at = late.partition_point(|(earlier, _)| *earlier <= due);
                    late.insert(at, (due, write));
                }
                lost()
            }
            Fault::LoseReply => {
                let _ = perform(fate.fault).await;
                lost()
            }
            fault => perform(fault).await,
        };
        if !fate.after.is_zero() {
            self.clock.sleep(fate.after).await;
        }
        answer
    }
}
