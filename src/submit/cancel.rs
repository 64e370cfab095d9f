//! Cancels a call: the client itself records the outcome; a worker that runs the call finds it and stops.

use crate::error::{Error, Result};
use crate::layout::Key;
use crate::model::{AppName, CallFacts, CallId, CallRef, Outcome, State};
use crate::seam::{Deps, StoreExt as _};

/// Records `cancelled` for a call without an outcome. A call that is cancelled already is no error; any other outcome
/// is a conflict, because the first outcome counts.
pub async fn cancel(deps: &Deps, app: &AppName, call: CallId, by: &str) -> Result<Outcome> {
    let payload = Key::Payload(app.clone(), call);
    let Some((facts, _)) = deps.store.find_metadata::<CallFacts>(&payload).await? else {
        return Err(Error::not_found(format!("there is no call {call} in app `{app}`"))
            .with_hint(format!("`afn list calls {app}` lists its calls")));
    };
    let outcome = Outcome {
        status: State::Cancelled,
        reason: Some(format!("cancelled by {by}")),
        function: facts.function,
        version: facts.version,
        route: facts.route,
        attempts: 0,
        attempt: None,
        created_at: facts.created_at,
        started_at: None,
        completed_at: deps.now(),
        run_ms: 0,
        result: None,
        log: None,
        worker: None,
        worker_version: None,
    };
    let recorded = deps.store.create_fact(&CallRef::new(app, call), &outcome).await?.or(outcome);
    if recorded.status == State::Cancelled {
        return Ok(recorded);
    }
    Err(Error::conflict(format!("call {call} has finished already: {}", recorded.status)))
}
