//! Commits the outcome of a single call; those of a batch are appended to logs (`outcomes::log`). Result and log come first,
//! under the attempt's own keys. Then comes `status`, which alone decides the call and names them (H6). If an outcome is stored
//! already, it is adopted.

use std::time::Duration;

use bytes::Bytes;

use super::failed_attempt::LOG_TYPE;
use super::lease::Lease;
use super::phase::Phase;
use super::{Abandoned, Shared};
use crate::error::{Code, Error};
use crate::event::Event;
use crate::layout::{Fact as _, Key, object};
use crate::limits;
use crate::model::{AppName, AttemptId, CallId, Digest, Outcome, Stored};
use crate::planted::planted;
use crate::seam::store::{ByteRange, PutObject};
use crate::seam::{Body, StoreError};

/// The pause between two rounds of a commit that found the store unreachable past all its retries.
const AGAIN: Duration = Duration::from_secs(1);

/// What an attempt leaves besides its outcome.
#[derive(Default)]
pub struct AttemptOutput {
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
    output: AttemptOutput,
) -> Result<Recorded, Abandoned> {
    loop {
        if !lease.may_commit(shared) {
            return Err(Abandoned(Error::conflict(format!(
                "the lease on call {call} is too old to commit under"
            ))));
        }
        match commit(shared, app, call, &mut outcome, &output).await {
            Ok(recorded) => return Ok(recorded),
            Err(Abandoned(error)) => {
                retry_or_abandon(shared, &format!("record the outcome of call {call}"), error).await?
            }
        }
    }
}

/// Whether a commit that failed is to be repeated: waits, and returns; or gives up, when the error is no matter of
/// reaching the store, or the grace is over.
pub async fn retry_or_abandon(shared: &Shared, what: &str, error: Error) -> Result<(), Abandoned> {
    if error.code() != Code::Unreachable || shared.phases.now() >= Phase::HandBack {
        return Err(Abandoned(error));
    }
    shared.emit(Event::RequestFailed { what: what.to_owned(), why: error.to_string() });
    shared.deps.clock.sleep(AGAIN).await;
    Ok(())
}

/// The first request for a message waits for a store that is away: the lease is kept meanwhile, and a message that is left alone
/// counts as that of a lost worker.
pub async fn until_answered<T, F: Future<Output = Result<T, Error>>>(
    shared: &Shared,
    what: &str,
    request: impl Fn() -> F,
) -> Result<T, Abandoned> {
    loop {
        match request().await {
            Ok(answer) => return Ok(answer),
            Err(error) => retry_or_abandon(shared, what, error).await?,
        }
    }
}

/// Repeats a write until it is known to be done.
pub async fn retry_until_known<F: Future<Output = Result<(), Error>>>(
    shared: &Shared,
    what: &str,
    write: impl Fn() -> F,
) -> Result<(), Error> {
    until_answered(shared, what, write).await.map_err(|Abandoned(error)| error)
}

async fn commit(
    shared: &Shared,
    app: &AppName,
    call: CallId,
    outcome: &mut Outcome,
    output: &AttemptOutput,
) -> Result<Recorded, Abandoned> {
    if outcome.attempt.is_some() {
        let result = output.result.as_ref();
        outcome.result = result.map(|(body, kind)| stored(body, kind.as_deref())).transpose()?.flatten();
        outcome.log = stored(&Body::Bytes(output.log.clone()), Some(LOG_TYPE))?;
    }
    let store = &*shared.deps.store;
    let key = Key::Status(app.clone(), call);
    let object = PutObject::create(object::encode(&*outcome)).content_type("application/json");
    planted!((), StatusAndResultSplit => drop(store.put(&key, object.clone()).await));
    put_bodies(shared, app, call, outcome, output).await?;
    let put = planted!(store.put(&key, object).await, OutcomeOverwritten => crate::planted::overwrite(store, &key, object).await);
    match put {
        Ok(_) => return Ok(Recorded { outcome: outcome.clone(), adopted: false }),
        Err(StoreError::Exists) => {}
        Err(error) => return Err(error.into()),
    }
    let stands = store.get(&key, ByteRange::Whole(Outcome::BYTES_MAX)).await?;
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
    output: &AttemptOutput,
) -> Result<(), Abandoned> {
    let Some(attempt) = outcome.attempt else { return Ok(()) };
    let (result, log) = tokio::join!(
        async {
            let (Some((body, _)), Some(stored)) = (&output.result, &outcome.result) else { return Ok(()) };
            put_body(shared, &Key::Result(app.clone(), call, attempt), body, stored, attempt).await
        },
        async {
            let Some(stored) = &outcome.log else { return Ok(()) };
            let log = Body::Bytes(output.log.clone());
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
    let mut object = PutObject::create(body.clone());
    object.content_type = stored.content_type.clone();
    put_own(shared, key, object, &stored.sha256, attempt).await.map_err(Abandoned)
}

/// Writes what an attempt leaves under a key of its own (N8). What stands there already is this write, whose answer was lost. It is
/// a stranger's only where two executions share a name: a queue that counts deliveries wrongly, or a send whose lost answer
/// made two messages of one id. Then nothing is to be committed that names it.
pub async fn put_own(
    shared: &Shared,
    key: &Key,
    object: PutObject,
    sha256: &Digest,
    attempt: AttemptId,
) -> Result<(), Error> {
    match shared.deps.store.put(key, object).await {
        Ok(_) => return Ok(()),
        Err(StoreError::Exists) => {}
        Err(error) => return Err(error.into()),
    }
    let stands = shared.deps.store.get(key, ByteRange::Whole(limits::RESULT_BYTES_MAX)).await?;
    let is_strangers = Digest::of(&stands.body) != *sha256;
    match planted!(is_strangers, AttemptKeyWithoutMessage => false) {
        true => Err(Error::internal(format!("another execution wrote under attempt {attempt}"))),
        false => Ok(()),
    }
}
