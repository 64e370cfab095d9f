//! The events that the engine emits. It never prints: the program that starts it gives it a listener.

use serde::Serialize;

use crate::model::{AppName, BatchId, CallId, QueueName, State, StoreId};

/// Something happened. Names and fields are those of the JSON log: keep stable.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A source is read otherwise than its name says, or by a guess.
    SourceFormatFound { source: String, what: String },
    /// A worker has begun to receive messages.
    WorkerStarted { worker: String, slots: usize },
    /// A worker has ended. `handed_back`: messages that it returned to their queues.
    WorkerStopped { worker: String, finished: u64, handed_back: u64 },
    /// The worker drains: it receives no more.
    Draining { worker: String, running: usize },
    /// This machine cannot run functions now; nothing is received until a probe succeeds.
    WorkerSick { worker: String, why: String },
    /// A probe succeeded, and the worker receives messages again.
    WorkerHealthy { worker: String },
    /// An attempt at a call begins.
    CallStarted { app: AppName, call: CallId, function: String, attempt: u32 },
    /// An attempt ended and another will follow.
    CallRetried { app: AppName, call: CallId, attempt: u32, why: String, wait_ms: u64 },
    /// A call got its outcome elsewhere while it ran here (it was cancelled, or another worker decided it), and was
    /// stopped.
    CallStopped { app: AppName, call: CallId, status: State, ran_ms: u64 },
    /// An outcome was recorded, or an existing one was adopted.
    CallFinished {
        app: AppName,
        call: CallId,
        status: State,
        reason: Option<String>,
        run_ms: u64,
        adopted: bool,
    },
    /// No worker like this one can run the call; its message goes back for a while.
    CallMismatched { app: AppName, call: CallId, why: String },
    /// Calls of a batch cannot run on this worker; their message goes back for a moment.
    BatchMismatched { app: AppName, batch: BatchId, why: String },
    /// A batch is paused: its messages go back for a while.
    BatchPaused { app: AppName, batch: BatchId },
    /// A version starts on other workers and not on this one, which takes no more of its calls while others do.
    VersionRefused { worker: String, app: AppName, function: String, why: String },
    /// The message of a call came again: its worker was lost, or it was put back.
    CallRedelivered { app: AppName, call: CallId, delivery: u32, suspect: bool },
    /// The same of a range. `suspects`: calls with loss marks, which run in quarantine.
    RangeRedelivered { app: AppName, batch: BatchId, first: u64, last: u64, delivery: u32, suspects: u64 },
    /// A call of a batch ended here. Its outcome is recorded with others, unless the call has one already.
    BatchCallEnded { batch: BatchId, number: u64, status: State, reason: Option<String> },
    /// Outcomes of a batch were recorded. `adopted`: calls that other workers had decided. `stood`: parts that existed
    /// already where this one was to be written.
    PartWritten { app: AppName, batch: BatchId, recorded: u64, adopted: u64, stood: u64 },
    /// The supervisor of a batch puts a chunk on the queue. `again`: its message may be there already.
    ChunkDispatched { app: AppName, batch: BatchId, first: u64, last: u64, again: bool },
    /// A supervisor's look at its batch: how long an execution takes on a slot, once one has ended.
    SecondsPerCall { app: AppName, batch: BatchId, seconds: f64 },
    /// Calls that are stored and not decided.
    CallsLeft { app: AppName, batch: BatchId, calls: u64 },
    /// The age of the oldest chunk with such a call.
    OldestUndecidedSeconds { app: AppName, batch: BatchId, seconds: f64 },
    /// Slots that end the batch within ten minutes.
    WorkersWanted { app: AppName, batch: BatchId, slots: u64 },
    /// A batch is over: everything of it is decided.
    BatchFinished { app: AppName, batch: BatchId, calls: u64, failed: u64 },
    /// A message that no worker can read was moved to the dead letters.
    DeadLettered { queue: QueueName, why: String },
    /// A newer program wrote this message. It was put back for newer workers.
    NewerMessage { queue: QueueName, version: u32 },
    /// This message has the mark of this program and cannot be read. It was put back for other versions.
    UnreadableMessage { queue: QueueName, why: String },
    /// This message points into another store. It was put back for that store's workers.
    ForeignMessage { queue: QueueName, store: StoreId, own: StoreId },
    /// A task of the worker panicked. The worker stops after a few of these.
    TaskPanicked { worker: String, what: &'static str, why: String },
    /// A request to store or queue keeps failing and is repeated.
    RequestRepeated { what: String, why: String },
    /// Store or queue failed past all retries.
    RequestFailed { what: String, why: String },
    /// A call that had lost its message was sent again.
    CallResent { app: AppName, call: CallId },
    /// A batch that had lost its supervisor has one again.
    SupervisorResent { app: AppName, batch: BatchId },
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Debug,
    Info,
    /// A user may have to act.
    Warning,
    Error,
}

impl Event {
    pub fn level(&self) -> Level {
        match self {
            Event::SourceFormatFound { .. }
            | Event::WorkerSick { .. }
            | Event::CallMismatched { .. }
            | Event::BatchMismatched { .. }
            | Event::VersionRefused { .. }
            | Event::DeadLettered { .. }
            | Event::NewerMessage { .. }
            | Event::UnreadableMessage { .. }
            | Event::ForeignMessage { .. }
            | Event::TaskPanicked { .. }
            | Event::RequestRepeated { .. }
            | Event::RequestFailed { .. } => Level::Warning,
            _ => Level::Info,
        }
    }

    /// The call that it is about.
    pub fn call(&self) -> Option<CallId> {
        match self {
            Event::CallStarted { call, .. }
            | Event::CallRetried { call, .. }
            | Event::CallStopped { call, .. }
            | Event::CallFinished { call, .. }
            | Event::CallMismatched { call, .. }
            | Event::CallRedelivered { call, .. }
            | Event::CallResent { call, .. } => Some(*call),
            _ => None,
        }
    }

    /// Whether it has a field `worker`.
    pub fn names_worker(&self) -> bool {
        matches!(
            self,
            Event::WorkerStarted { .. }
                | Event::WorkerStopped { .. }
                | Event::Draining { .. }
                | Event::WorkerSick { .. }
                | Event::WorkerHealthy { .. }
                | Event::TaskPanicked { .. }
                | Event::VersionRefused { .. }
        )
    }
}

/// Receives events. Called from the engine's tasks: it must not block.
pub trait Listener: Send + Sync {
    fn on(&self, event: Event);
}

/// Ignores all events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Listener for Silent {
    fn on(&self, _event: Event) {}
}
