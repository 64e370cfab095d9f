//! Commits an outcome: result and log first, under keys of their own, then `status`, which alone decides and names them
//! (H6). Whoever comes second adopts what stands.

use std::time::Duration;

use bytes::Bytes;

use super::kept::LOG_TYPE;
use super::lease::Lease;
use super::phase::Phase;
use super::{Abandoned, Shared};
use crate::error::{Code, Error};
use crate::event::Event;
use crate::layout::{Key, object};
use crate::model::{AppName, AttemptId, CallId, Digest, Outcome, Stored};
use crate::planted::planted;
use crate::seam::store::{PutObject, Range};
use crate::seam::{Body, StoreError};

/// The pause between two rounds of a commit that found the store unreachable past all its retries.
const AGAIN: Duration = Duration::from_secs(1);

/// What an attempt leaves besides its outcome.
#[derive(Default)]
pub struct Left {
    pub result: Option<(Body, Option<String>)>,
    pub log: Bytes,
}

pub struct Recorded {
    /// What stands now.
    pub outcome: Outcome,
    /// Somebody else had recorded it.
    pub adopted: bool,
}

/// Writes `outcome`, completed by what it leaves, and repeats until it is known what stands; gives up only with the
/// lease or the worker.
pub async fn record(
    shared: &Shared,
    lease: &Lease,
    app: &AppName,
    call: CallId,
    mut outcome: Outcome,
    left: Left,
) -> Result<Recorded, Abandoned> {
    loop {
        if !lease.may_commit(shared) {
            return Err(Abandoned(Error::internal(format!(
                "the lease on call {call} is too old to commit under"
            ))));
        }
        match commit(shared, app, call, &mut outcome, &left).await {
            Ok(recorded) => return Ok(recorded),
            Err(Abandoned(error)) => {
                again(shared, &format!("record the outcome of call {call}"), error).await?
            }
        }
    }
}

/// Whether a commit that failed is to be repeated: waits, and returns; or gives up, when the error is no matter of
/// reaching the store, or the grace is over.
pub async fn again(shared: &Shared, what: &str, error: Error) -> Result<(), Abandoned> {
    if error.code() != Code::Unreachable || shared.phases.now() >= Phase::HandBack {
        return Err(Abandoned(error));
    }
    shared.say(Event::RequestFailed { what: what.to_owned(), why: error.to_string() });
    shared.seams.clock.sleep(AGAIN).await;
    Ok(())
}

/// Repeats a write until it is known to be done.
pub async fn until_known<F: Future<Output = Result<(), Error>>>(
    shared: &Shared,
    what: &str,
    write: impl Fn() -> F,
) -> Result<(), Error> {
    loop {
        match write().await {
            Ok(()) => return Ok(()),
            Err(error) => again(shared, what, error).await.map_err(|Abandoned(error)| error)?,
        }
    }
}

async fn commit(
    shared: &Shared,
    app: &AppName,
    call: CallId,
    outcome: &mut Outcome,
    left: &Left,
) -> Result<Recorded, Abandoned> {
    if outcome.attempt.is_some() {
        let result = left.result.as_ref();
        outcome.result = result.map(|(body, kind)| stored(body, kind.as_deref())).transpose()?.flatten();
        outcome.log = stored(&Body::Bytes(left.log.clone()), Some(LOG_TYPE))?;
    }
    if !planted!(StatusAndResultSplit) {
        put_bodies(shared, app, call, outcome, left).await?;
    }
    let key = Key::Status(app.clone(), call).to_string();
    let object = PutObject::create(object::encode(&*outcome)).content_type("application/json");
    match shared.seams.store.put(&key, object).await {
        Ok(_) => {
            if planted!(StatusAndResultSplit) {
                put_bodies(shared, app, call, outcome, left).await?;
            }
            return Ok(Recorded { outcome: outcome.clone(), adopted: false });
        }
        Err(StoreError::Exists) => {}
        Err(error) => return Err(error.into()),
    }
    let stands = shared.seams.store.get(&key, Range::All).await?;
    if planted!(OutcomeOverwritten) {
        let object = PutObject::replace(object::encode(&*outcome), stands.info.etag.clone());
        shared.seams.store.put(&key, object).await?;
    }
    let stands: Outcome = object::decode(&key, &stands.body)?;
    // Our own, of which the answer was lost, reads the same as it was written.
    let adopted = stands != *outcome;
    Ok(Recorded { outcome: stands, adopted })
}

/// How an outcome names a body. An empty one needs no object.
fn stored(body: &Body, content_type: Option<&str>) -> Result<Option<Stored>, Abandoned> {
    if body.is_empty() {
        return Ok(None);
    }
    let unreadable =
        |error: std::io::Error| Abandoned(Error::internal(format!("cannot read a spooled body: {error}")));
    let sha256 = body.sha256().map_err(unreadable)?;
    Ok(Some(Stored { bytes: body.len(), sha256, content_type: content_type.map(str::to_owned) }))
}

/// Writes what the outcome names, under the attempt's own keys.
async fn put_bodies(
    shared: &Shared,
    app: &AppName,
    call: CallId,
    outcome: &Outcome,
    left: &Left,
) -> Result<(), Abandoned> {
    let Some(attempt) = outcome.attempt else { return Ok(()) };
    let (result, log) = tokio::join!(
        async {
            let (Some((body, _)), Some(stored)) = (&left.result, &outcome.result) else { return Ok(()) };
            put_body(shared, &Key::Result(app.clone(), call, attempt), body, stored, attempt).await
        },
        async {
            let Some(stored) = &outcome.log else { return Ok(()) };
            let log = Body::Bytes(left.log.clone());
            put_body(shared, &Key::Log(app.clone(), call, attempt), &log, stored, attempt).await
        }
    );
    result.and(log)
}

async fn put_body(
    shared: &Shared,
    key: &Key,
    body: &Body,
    stored: &Stored,
    attempt: AttemptId,
) -> Result<(), Abandoned> {
    let key = key.to_string();
    let mut object = PutObject::create(body.clone());
    object.content_type = stored.content_type.clone();
    match shared.seams.store.put(&key, object).await {
        Ok(_) => Ok(()),
        // No two executions share a key (N8), so this is our own. A queue that counts deliveries wrongly is the one
        // way to a stranger's: look, and commit nothing that is not ours.
        Err(StoreError::Exists) => {
            let stands = shared.seams.store.get(&key, Range::All).await?;
            if Digest::of(&stands.body) != stored.sha256 && !planted!(AttemptKeyWithoutMessage) {
                let error = format!("another execution wrote under attempt {attempt}");
                return Err(Abandoned(Error::internal(error)));
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
