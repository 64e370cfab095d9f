//! The store is the truth, the queue a hint: single calls that have lost their message (a submitter that died before its
//! send, a queue that was purged, retention that ran out) are found and sent again, and so are the supervisors of batches (H9). Sending again is always safe.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::definitions::Definitions;
use super::walk::{self, Seen, Walk};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::layout::batch::Pointer;
use crate::layout::object::{self, Reconciled};
use crate::layout::{Key, Message, SuperviseMessage, key, note};
use crate::limits;
use crate::model::{AppName, BatchId, CallFacts, CallId, Time};
use crate::seam::StoreExt as _;
use crate::seam::store::{List, PutObject, Range, StoreError};
use crate::seam::{RngExt as _, Seams};
use crate::store_clock;
use crate::submit::send;

/// Once an hour, by the one worker whose write of `reconciled/{hour}` succeeds.
pub(super) async fn hourly(shared: Arc<Shared>, hour: u64) {
    match claim(&shared, hour).await {
        Ok(false) => {}
        Ok(true) => {
            if let Err(error) = resend_lost(&shared.seams).await {
                failed(&shared, &error);
            }
        }
        Err(error) => failed(&shared, &error),
    }
}

fn failed(shared: &Shared, error: &Error) {
    shared.say(Event::RequestFailed { what: "look after lost calls".to_owned(), why: error.to_string() });
}

async fn claim(shared: &Shared, hour: u64) -> Result<bool> {
    let reconciled = Reconciled { v: 1, worker: shared.config.name.clone(), at: shared.seams.now() };
    let key = Key::Reconciled(hour).to_string();
    match shared.seams.store.put(&key, PutObject::create(object::encode(&reconciled))).await {
        Ok(_) => Ok(true),
        // Also when it is our own and the answer was lost: the next hour has another.
        Err(StoreError::Exists) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Sends again every single call of the last two weeks that has no outcome, is old enough that its message should have
/// been worked on, and has not begun lately. Returns how many.
pub async fn resend_lost(seams: &Seams) -> Result<u64> {
    let now = store_clock::now(seams).await?;
    let definitions = Definitions::new(seams.clone());
    let mut sent = 0;
    for app in walk::apps(seams).await? {
        sent += resend_app(seams, &definitions, &app, now).await?;
    }
    Ok(sent + resend_supervisors(seams, now).await?)
}

/// The supervisor of every batch of the last two weeks that is not over and has not moved for two hours (N5).
async fn resend_supervisors(seams: &Seams, now: Time) -> Result<u64> {
    let horizon = BatchId::new(now.minus_ms(limits::SUPERVISOR_LOST_WITHIN_MS), 0);
    let mut request = List::all(key::pointers()).start_after(Key::Pointer(horizon).to_string());
    let mut sent = 0;
    loop {
        let page = seams.store.list(&request).await?;
        for entry in page.entries {
            let Ok(Key::Pointer(batch)) = entry.key.parse() else { continue };
            let body = seams.store.get(&entry.key, Range::All).await?.body;
            let Pointer { app, .. } = object::decode(&entry.key, &body)?;
            sent += u64::from(resend_supervisor(seams, &app, batch, now).await?);
        }
        match page.next {
            Some(next) => request.start_after = Some(next),
            None => return Ok(sent),
        }
    }
}

async fn resend_supervisor(seams: &Seams, app: &AppName, batch: BatchId, now: Time) -> Result<bool> {
    let facts = seams.store.list_all(List::grouped(key::batch(app, batch))).await?;
    let mut moved_at = None;
    for entry in &facts.entries {
        match entry.key.parse() {
            Ok(Key::Fired(..)) => return Ok(false),
            Ok(Key::Batch(..)) => moved_at = moved_at.max(Some(entry.modified_at)),
            _ => {}
        }
    }
    // Without its definition it was never accepted, or was deleted.
    let Some(mut moved_at) = moved_at else { return Ok(false) };
    for prefix in [key::chunks(app, batch), key::outcomes(app, batch)] {
        let mut request = List::all(prefix);
        loop {
            let page = seams.store.list(&request).await?;
            moved_at = page.entries.iter().map(|entry| entry.modified_at).fold(moved_at, Time::max);
            match page.next {
                Some(next) => request.start_after = Some(next),
                None => break,
            }
        }
    }
    if now.since_ms(moved_at) < limits::SUPERVISOR_LOST_MS {
        return Ok(false);
    }
    let message = SuperviseMessage { id: send::message_id(seams), app: app.clone(), batch };
    send::send(&seams.queues.batches, &Message::Supervise(message), Duration::ZERO).await?;
    seams.events.on(Event::SupervisorResent { app: app.clone(), batch });
    Ok(true)
}

async fn resend_app(seams: &Seams, definitions: &Definitions, app: &AppName, now: Time) -> Result<u64> {
    // The oldest id there is of that millisecond.
    let horizon = CallId::single(now.minus_ms(limits::RETENTION_MS + limits::RESEND_AFTER_MS), 0);
    let mut walk = Walk::new(seams, app, Some(horizon));
    let mut sent = 0;
    while let Some(seen) = walk.next().await? {
        sent += u64::from(resend_call(seams, definitions, app, &seen, now).await?);
    }
    Ok(sent)
}

async fn resend_call(
    seams: &Seams,
    definitions: &Definitions,
    app: &AppName,
    seen: &Seen,
    now: Time,
) -> Result<bool> {
    let mut youngest = None;
    for (key, entry) in &seen.objects {
        match key {
            Key::Status(..) => return Ok(false),
            Key::Payload(..) | Key::Started(..) => youngest = youngest.max(Some(entry.modified_at)),
            _ => {}
        }
    }
    let Some(youngest) = youngest else { return Ok(false) };
    if now.since_ms(youngest) < limits::RESEND_AFTER_MS {
        return Ok(false);
    }
    let key = Key::Payload(app.clone(), seen.call).to_string();
    let info = match seams.store.head(&key).await {
        Ok(info) => info,
        Err(StoreError::NotFound) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let facts: CallFacts = note::decode(&key, info.note.as_deref().unwrap_or_default())?;
    // Without its version the call is sent all the same: the worker records why it cannot run.
    let version = definitions.version(app, &facts.function, &facts.version).await?;
    let timeout_ms = version.map_or(0, |version| version.limits.timeout_ms);
    if now.since_ms(youngest) < 2 * timeout_ms {
        return Ok(false);
    }
    let mut message = send::call_message(seams, app, seen.call);
    message.again = true;
    // A crowd of lost calls is not to come back in one burst.
    let delay = Duration::from_millis(seams.rng.below(limits::PUT_BACK_MS));
    send::send(&seams.queues.calls, &Message::Call(message), delay).await?;
    seams.events.on(Event::CallResent { app: app.clone(), call: seen.call });
    Ok(true)
}
