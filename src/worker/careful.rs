//! Careful mode: a message that comes again was lost with whoever held it. Before its call runs, a mark says so; a call
//! that such marks name is a suspect and runs alone; three that say `alone` condemn it. A receive count only switches
//! the mode on, it never condemns (H4).

use super::{Abandoned, Shared};
use crate::layout::object::{self, Started};
use crate::layout::{CallMessage, Key, key};
use crate::model::{AppName, CallId, DeliveryId};
use crate::planted::planted;
use crate::seam::store::{List, PutObject, StoreError};
use crate::seam::{Heard, StoreExt as _};

/// What is known of a call's executions before this delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Executions that were begun.
    pub attempts: u32,
    /// Those that failed by themselves.
    pub failures: u32,
    /// Those that could not be started.
    pub function_failures: u32,
    /// Marks that said `alone` and were lost with their worker.
    pub alone_marks: u32,
    /// A worker was lost that ran it: it runs alone.
    pub suspect: bool,
    /// A mark is to be written before it runs.
    pub careful: bool,
}

impl Past {
    fn of_message(message: &CallMessage) -> Past {
        Past {
            attempts: message.attempts,
            failures: message.failures,
            function_failures: message.function_failures,
            alone_marks: message.alone_marks,
            suspect: message.suspect,
            careful: message.suspect || message.alone_marks > 0,
        }
    }

    /// Writes it into a message that takes the place of the present one.
    pub fn onto(&self, message: &mut CallMessage) {
        message.attempts = self.attempts;
        message.failures = self.failures;
        message.function_failures = self.function_failures;
        message.alone_marks = self.alone_marks;
        message.suspect = self.suspect;
    }
}

/// Reads the marks of earlier deliveries of the same message; those of other messages do not count (N9).
pub async fn past(shared: &Shared, message: &CallMessage, delivery: u32) -> Result<Past, Abandoned> {
    let mut past = Past::of_message(message);
    if delivery <= 1 {
        return Ok(past);
    }
    past.careful = true;
    let listed = shared.seams.store.list_all(List::all(key::started(&message.app, message.call))).await?;
    let keys: Vec<Key> = listed.entries.iter().filter_map(|entry| entry.key.parse().ok()).collect();
    for key in &keys {
        let Key::Started(app, call, written) = key else { continue };
        let void = keys.contains(&Key::Void(app.clone(), *call, *written));
        let strange = written.message != message.id && !planted!(MarksOfOtherMessages);
        if strange || written.delivery >= delivery || void {
            continue;
        }
        let name = key.to_string();
        let Some(mark) = shared.seams.store.find(&name).await? else { continue };
        let mark: Started = object::decode(&name, &mark.body)?;
        past.suspect = true;
        if mark.alone && mark.careful || planted!(GroupMarksCondemn) {
            past.alone_marks += 1;
        }
        past.attempts = past.attempts.max(mark.attempt);
        past.failures = past.failures.max(mark.failures);
        past.function_failures = past.function_failures.max(mark.function_failures);
    }
    if planted!(ReceiveCountCondemns) {
        past.alone_marks = past.alone_marks.max(delivery - 1);
    }
    Ok(past)
}

/// Writes `started` for this delivery: before it runs (careful), or when it has run for a while. One that stands already is ours, of whose write the answer was lost.
pub async fn mark(
    shared: &Shared,
    app: &AppName,
    call: CallId,
    delivery: DeliveryId,
    past: &Past,
    running: Option<&Heard>,
) -> Result<(), StoreError> {
    let begun = running.and_then(Heard::started_at);
    let started = Started {
        v: 1,
        at: begun.unwrap_or_else(|| shared.seams.now()),
        alone: past.suspect,
        careful: running.is_none(),
        attempt: past.attempts,
        failures: past.failures,
        function_failures: past.function_failures,
        lease_ms: Some(shared.config.visibility.as_millis() as u64),
        worker: shared.config.name.clone(),
    };
    let key = Key::Started(app.clone(), call, delivery).to_string();
    create(shared, &key, PutObject::create(object::encode(&started))).await
}

/// Takes a delivery's mark back: the worker was sick, the call has nothing to do with it (N3).
pub async fn void(
    shared: &Shared,
    app: &AppName,
    call: CallId,
    delivery: DeliveryId,
) -> Result<(), StoreError> {
    create(shared, &Key::Void(app.clone(), call, delivery).to_string(), PutObject::create("")).await
}

/// The same for a delivery of which it is not known whether it has a mark. Done as well as the store allows: without
/// it a call runs alone that need not.
pub async fn void_if_marked(shared: &Shared, app: &AppName, call: CallId, delivery: DeliveryId) {
    let started = Key::Started(app.clone(), call, delivery).to_string();
    if !matches!(shared.seams.store.exists(&started).await, Ok(false)) {
        let _ = void(shared, app, call, delivery).await;
    }
}

async fn create(shared: &Shared, key: &str, object: PutObject) -> Result<(), StoreError> {
    match shared.seams.store.put(key, object).await {
        Ok(_) | Err(StoreError::Exists) => Ok(()),
        Err(error) => Err(error),
    }
}
