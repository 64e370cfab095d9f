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
    let reason = format!("cancelled by {by}");
    let outcome = Outcome::without_run(&facts, State::Cancelled, Some(reason), deps.now());
    let recorded = deps.store.create_fact(&CallRef::new(app, call), &outcome).await?.or(outcome);
    if recorded.status == State::Cancelled {
        return Ok(recorded);
    }
    Err(Error::conflict(format!("call {call} has finished already: {}", recorded.status)))
}
