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
    if let Some(attempt) = outcome.attempt {
        let (result, log) = tokio::join!(
            async {
                match &left.result {
                    Some((body, content_type)) => {
                        let key = Key::Result(app.clone(), call, attempt).to_string();
                        put_body(shared, &key, body, content_type.as_deref(), attempt).await
                    }
                    None => Ok(None),
                }
            },
            async {
                let key = Key::Log(app.clone(), call, attempt).to_string();
                put_body(shared, &key, &Body::Bytes(left.log.clone()), Some(LOG_TYPE), attempt).await
            }
        );
        outcome.result = result?;
        outcome.log = log?;
    }
    let key = Key::Status(app.clone(), call).to_string();
    let object = PutObject::create(object::encode(&*outcome)).content_type("application/json");
    match shared.seams.store.put(&key, object).await {
        Ok(_) => return Ok(Recorded { outcome: outcome.clone(), adopted: false }),
        Err(StoreError::Exists) => {}
        Err(error) => return Err(error.into()),
    }
    let stands = shared.seams.store.get(&key, Range::All).await?;
    let stands: Outcome = object::decode(&key, &stands.body)?;
    // Our own, of which the answer was lost, reads the same as it was written.
    let adopted = stands != *outcome;
    Ok(Recorded { outcome: stands, adopted })
}

/// An empty body needs no object.
async fn put_body(
    shared: &Shared,
    key: &str,
    body: &Body,
    content_type: Option<&str>,
    attempt: AttemptId,
) -> Result<Option<Stored>, Abandoned> {
    if body.is_empty() {
        return Ok(None);
    }
    let unreadable =
        |error: std::io::Error| Abandoned(Error::internal(format!("cannot read a spooled body: {error}")));
    let sha256 = body.sha256().map_err(unreadable)?;
    let mut object = PutObject::create(body.clone());
    object.content_type = content_type.map(str::to_owned);
    match shared.seams.store.put(key, object).await {
        Ok(_) => {}
        // No two executions share a key (N8), so this is our own. A queue that counts deliveries wrongly is the one
        // way to a stranger's: look, and commit nothing that is not ours.
        Err(StoreError::Exists) => {
            let stands = shared.seams.store.get(key, Range::All).await?;
            if Digest::of(&stands.body) != sha256 {
                return Err(Abandoned(Error::internal(format!(
                    "another execution wrote under attempt {attempt}"
                ))));
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Some(Stored { bytes: body.len(), sha256, content_type: content_type.map(str::to_owned) }))
}
