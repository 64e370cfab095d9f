//! Panics of a worker's tasks: catches them, counts them, emits an event for each and leaves a fact for `afn doctor`.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::task::JoinSet;

use super::Shared;
use crate::event::Event;
use crate::layout::object::TaskPanic;
use crate::limits;
use crate::model::{PanicId, QueueName};
use crate::seam::{RngExt as _, StoreExt as _};

/// Runs a task. The error is the message of its panic.
pub(super) async fn caught<T>(task: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(task).catch_unwind().await.map_err(|panic| message(&*panic))
}

pub(super) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no panic message").to_owned()
}

/// What the task of a message is called in a warning.
pub(super) fn task_name(queue: QueueName) -> &'static str {
    match queue {
        QueueName::Calls => "run of a call",
        QueueName::Chunks => "run of a range",
        QueueName::Batches => "supervisor",
    }
}

/// The panics of one worker.
#[derive(Default)]
pub(super) struct Panics {
    count: u32,
    /// Facts that are being written.
    writes: JoinSet<()>,
}

impl Panics {
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether the worker is to end.
    pub fn are_too_many(&self) -> bool {
        self.count >= limits::PANICS_MAX
    }

    /// The fact is written beside the loop, which a slow store must not hold up.
    pub fn record(&mut self, shared: &Arc<Shared>, task: &'static str, why: String) {
        self.count += 1;
        let panic = TaskPanic::new(&shared.config.name, task, &why, shared.deps.now());
        shared.emit(Event::TaskPanicked { worker: shared.config.name.clone(), what: task, why });
        self.writes.spawn(write(shared.clone(), panic));
    }

    /// Waits until each fact was written, or was given up.
    pub async fn written(&mut self) {
        while self.writes.join_next().await.is_some() {}
    }
}

/// For people: tried once.
async fn write(shared: Arc<Shared>, panic: TaskPanic) {
    let id = PanicId::new(panic.at, shared.deps.rng.u128());
    let why = tokio::select! {
        biased;
        written = shared.deps.store.put_fact(&id, &panic) => match written {
            Ok(_) => return,
            Err(error) => error.to_string(),
        },
        () = shared.deps.clock.sleep(limits::PANIC_WRITE_MAX) => "the store did not answer in time".to_owned(),
    };
    shared.emit(Event::RequestFailed { what: "record a panic".to_owned(), why });
}
