//! Cancels a call: the client itself records the outcome; a worker that runs the call finds it and stops.

use crate::error::{Error, Result};
use crate::layout::{Key, note, object};
use crate::model::{AppName, CallFacts, CallId, Outcome, State};
use crate::seam::store::{PutObject, StoreError};
use crate::seam::{Seams, StoreExt as _};

/// Records `cancelled` for a call without an outcome. A call that is cancelled already is no error; any other outcome
/// is a conflict, since what finished first, stands.
pub async fn cancel(seams: &Seams, app: &AppName, call: CallId, by: &str) -> Result<Outcome> {
    let payload = Key::Payload(app.clone(), call).to_string();
    let info = match seams.store.head(&payload).await {
        Ok(info) => info,
        Err(StoreError::NotFound) => {
            return Err(Error::not_found(format!("there is no call {call} in app `{app}`"))
                .hint(format!("`afn list calls {app}` lists its calls")));
        }
        Err(error) => return Err(error.into()),
    };
    let facts: CallFacts = note::decode(&payload, info.note.as_deref().unwrap_or_default())?;
    let outcome = Outcome {
        v: 1,
        status: State::Cancelled,
        reason: Some(format!("cancelled by {by}")),
        function: facts.function,
        version: facts.version,
        route: facts.route,
        attempts: 0,
        attempt: None,
        created_at: facts.created_at,
        started_at: None,
        completed_at: seams.now(),
        run_ms: 0,
        result: None,
        log: None,
        worker: None,
        worker_version: None,
    };
    let key = Key::Status(app.clone(), call).to_string();
    match seams
        .store
        .put(&key, PutObject::create(object::encode(&outcome)).content_type("application/json"))
        .await
    {
        Ok(_) => return Ok(outcome),
        Err(StoreError::Exists) => {}
        Err(error) => return Err(error.into()),
    }
    let stands = seams
        .store
        .find(&key)
        .await?
        .ok_or_else(|| Error::internal(format!("`{key}` was there and is gone")))?;
    let stands: Outcome = object::decode(&key, &stands.body)?;
    if stands.status == State::Cancelled {
        return Ok(stands);
    }
    Err(Error::conflict(format!("call {call} has finished already: {}", stands.status)))
}
