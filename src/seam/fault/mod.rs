//! Store and queue as they are on a bad day. What befalls a request is drawn from an injected plan, so that the same
//! seed gives the same bad day; the decorators only carry it out.

mod queue;
mod seeded;
mod store;

use std::sync::Mutex;
use std::time::Duration;

use super::unreached::Unreached;

pub use queue::FaultQueue;
pub use seeded::{Rates, SeededFaults};
pub use store::FaultStore;

/// Decides what befalls each request. Asked once a request, in the order in which requests are made.
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

/// What befalls one request.
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

/// One that makes no sense for the operation at hand is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// It is not done, and the answer says so: 503.
    Busy,
    /// It is not done: nobody is there.
    Unreached,
    /// A put is not done, and the answer says so: 409.
    Conflict,
    /// It is never done; no answer comes.
    LoseRequest,
    /// It is done; no answer comes. A receive hides its messages from everybody.
    LoseReply,
    /// No answer comes, and it is done this much later, when nobody expects it any more. A request that writes nothing
    /// is lost.
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

const LOST: &str = "injected: no answer";
const BUSY: &str = "injected: 503 SlowDown";
const CONFLICT: &str = "injected: 409 ConditionalRequestConflict";

fn nobody() -> Unreached {
    let [what, why, way_out] = ["injected", "connection refused", "wait"].map(str::to_owned);
    Unreached { what, why, way_out, may_come: true }
}

/// Requests on a long way round. They arrive with the first request after their time.
struct LateRequests<T>(Mutex<Vec<(Duration, T)>>);

impl<T> LateRequests<T> {
    fn new() -> LateRequests<T> {
        LateRequests(Mutex::new(Vec::new()))
    }

    fn put_off(&self, due: Duration, request: T) {
        let mut waiting = self.0.lock().expect("no holder of this lock panics");
        let at = waiting.partition_point(|(earlier, _)| *earlier <= due);
        waiting.insert(at, (due, request));
    }

    fn arrived(&self, now: Duration) -> Option<T> {
        let mut waiting = self.0.lock().expect("no holder of this lock panics");
        let due = waiting.first().is_some_and(|(due, _)| *due <= now);
        due.then(|| waiting.remove(0).1)
    }
}
