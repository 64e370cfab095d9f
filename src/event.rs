//! What the engine says. It never prints: whoever starts it gives it a listener.

use crate::model::{AppName, BatchId, CallId, State};

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    WorkerStarted {
        worker: String,
        slots: usize,
    },
    WorkerStopped {
        worker: String,
        finished: u64,
        handed_back: u64,
    },
    /// The worker drains: it receives no more.
    Draining {
        worker: String,
        running: usize,
    },
    /// This machine cannot run functions now; nothing is received until a probe succeeds.
    WorkerSick {
        worker: String,
        why: String,
    },
    WorkerHealthy {
        worker: String,
    },
    CallStarted {
        app: AppName,
        call: CallId,
        function: String,
        attempt: u32,
    },
    /// An attempt ended and another will follow.
    CallRetried {
        app: AppName,
        call: CallId,
        attempt: u32,
        why: String,
        wait_ms: u64,
    },
    /// A call got its outcome elsewhere while it ran here, and was stopped: it was cancelled, or decided by somebody
    /// else.
    CallStopped {
        app: AppName,
        call: CallId,
        status: State,
        ran_ms: u64,
    },
    /// An outcome was recorded, or one that stood was adopted.
    CallFinished {
        app: AppName,
        call: CallId,
        status: State,
        reason: Option<String>,
        run_ms: u64,
        adopted: bool,
    },
    /// No worker like this one can run the call; its message goes back for a while.
    CallMismatched {
        app: AppName,
        call: CallId,
        why: String,
    },
    /// The message of a lost worker came back.
    CallRedelivered {
        app: AppName,
        call: CallId,
        delivery: u32,
        suspect: bool,
    },
    /// A range of a batch's calls came back with the message of a lost worker; suspects among them run alone.
    RangeRedelivered {
        app: AppName,
        batch: BatchId,
        first: u64,
        last: u64,
        delivery: u32,
        suspects: u64,
    },
    /// A call of a batch ended here; its outcome is recorded with others, and one that stands already counts instead.
    BatchCallEnded {
        batch: BatchId,
        status: State,
    },
    /// Outcomes of a batch were recorded; those adopted were decided by somebody else. So many parts stood already
    /// where this one was to be written.
    PartWritten {
        app: AppName,
        batch: BatchId,
        recorded: u64,
        adopted: u64,
        stood: u64,
    },
    /// A batch is over: everything of it is decided.
    BatchFinished {
        app: AppName,
        batch: BatchId,
        calls: u64,
        failed: u64,
    },
    /// A message that nobody can read was moved to the dead letters.
    DeadLettered {
        queue: &'static str,
        why: String,
    },
    /// A newer program wrote this message; it was put back, and this queue is no longer received.
    NewerMessage {
        queue: &'static str,
        version: u32,
    },
    /// Store or queue do not do what they are asked; it is asked again.
    RequestRepeated {
        what: String,
        why: String,
    },
    /// Store or queue failed past all retries.
    RequestFailed {
        what: String,
        why: String,
    },
    /// A call that had lost its message was sent again.
    CallResent {
        app: AppName,
        call: CallId,
    },
    /// A batch that had lost its supervisor has one again.
    SupervisorResent {
        app: AppName,
        batch: BatchId,
    },
}

/// Takes in events. Called from the engine's tasks: it must not block.
pub trait Listener: Send + Sync {
    fn on(&self, event: Event);
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Listener for Silent {
    fn on(&self, _event: Event) {}
}
