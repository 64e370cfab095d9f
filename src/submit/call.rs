//! Submits one call: payload first, then the message, and only then is it accepted.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::send;
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::layout::object::{self, IdempotencyKey};
use crate::layout::{Key, Message, key, note};
use crate::limits;
use crate::model::{AppName, CallFacts, CallId, Digest, Function, Route, Time};
use crate::planted::planted;
use crate::seam::store::{List, PutObject};
use crate::seam::{RngExt as _, Seams, StoreError, StoreExt as _};
use crate::store_clock;

/// What a caller wants run.
#[derive(Debug, Clone)]
pub struct Request {
    pub app: AppName,
    pub route: Route,
    pub payload: Bytes,
    pub content_type: Option<String>,
    /// Request headers that the function gets to see.
    pub headers: BTreeMap<String, String>,
    /// At most [`limits::DELAY_MS_MAX`].
    pub delay: Duration,
    /// Two requests with the same key are one call, for at least [`limits::IDEMPOTENCY_KEY_MS`].
    pub idempotency_key: Option<String>,
}

/// A call that will run.
#[derive(Debug, Clone)]
pub struct Accepted {
    pub call: CallId,
    pub function: Function,
    /// The idempotency key was seen before: this is that call.
    pub repeated: bool,
    /// This submission has put a message on the queue. A repetition mostly need not.
    pub sent: bool,
}

pub async fn submit(seams: &Seams, request: Request) -> Result<Accepted> {
    check(&request)?;
    let function = Catalog::new(seams.clone()).resolve(&request.app, &request.route).await?;
    let (call, repeated) = match &request.idempotency_key {
        // The payload of a key's call may be there already, from whoever came first: it is the same request.
        Some(key) => claim_key(seams, &request, key).await?,
        None => (mint(seams), false),
    };
    if repeated && planted!(KeyHitReturnsId) {
        return Ok(Accepted { call, function, repeated, sent: false });
    }
    let (call, stands) = put_payload(seams, &request, &function, call).await?;
    // Whoever stored the payload sends. Anybody else repeats that only when it must have come to nothing (H7): sent
    // twice, the call runs twice.
    let mut delay = request.delay;
    if let Some(stands) = stands {
        if !is_unsent(seams, &request.app, call, &stands).await? {
            return Ok(Accepted { call, function, repeated, sent: false });
        }
        delay = Duration::ZERO;
    }
    let message = Message::Call(send::call_message(seams, &request.app, call));
    send::send(&seams.queues.calls, &message, delay).await.map_err(|error| {
        let span = |ms| humantime::format_duration(Duration::from_millis(ms));
        let worker = span(limits::RESEND_AFTER_MS + limits::RECONCILE_EVERY_MS);
        let again = match request.idempotency_key {
            Some(_) => format!("the same request sends it after {}, ", span(limits::UNSENT_AFTER_MS)),
            None => String::new(),
        };
        error.context(format!("call {call} is stored but could not be queued")).hint(format!(
            "{again}a worker finds it within about {worker}; `afn cancel {} {call}` gives it up",
            request.app
        ))
    })?;
    Ok(Accepted { call, function, repeated, sent: true })
}

fn mint(seams: &Seams) -> CallId {
    CallId::single(seams.now(), seams.rng.u128())
}

fn check(request: &Request) -> Result<()> {
    let bytes = request.payload.len() as u64;
    if bytes > limits::PAYLOAD_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the payload has {bytes} bytes, the most is {}",
            limits::PAYLOAD_BYTES_MAX
        ))
        .hint("put it into an object of your own and send its key"));
    }
    if request.delay > Duration::from_millis(limits::DELAY_MS_MAX) {
        return Err(Error::invalid(format!(
            "the delay is {}, the most is {}",
            humantime::format_duration(request.delay),
            humantime::format_duration(Duration::from_millis(limits::DELAY_MS_MAX))
        )));
    }
    let header_bytes: usize = request.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if header_bytes as u64 > limits::HEADERS_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the headers have {header_bytes} bytes, the most is {}",
            limits::HEADERS_BYTES_MAX
        ))
        .hint("put what is large into the payload"));
    }
    if let Some(key) = &request.idempotency_key
        && (key.is_empty() || key.len() > limits::IDEMPOTENCY_KEY_BYTES_MAX)
    {
        return Err(Error::invalid(format!(
            "the idempotency key has {} bytes, it must have 1 to {}",
            key.len(),
            limits::IDEMPOTENCY_KEY_BYTES_MAX
        )));
    }
    Ok(())
}

/// Which call the key stands for: a new one, or that of whoever came first.
async fn claim_key(seams: &Seams, request: &Request, key: &str) -> Result<(CallId, bool)> {
    let name = Key::Idempotency(request.app.clone(), Digest::of(key.as_bytes())).to_string();
    let digest = request_digest(request);
    let claim = IdempotencyKey {
        v: 1,
        call: mint(seams),
        request: digest.clone(),
        created_at: seams.now(),
        nonce: seams.nonce(),
    };
    let stands = loop {
        match seams.store.put(&name, PutObject::create(object::encode(&claim))).await {
            Ok(_) => return Ok((claim.call, false)),
            Err(StoreError::Exists) => {}
            Err(error) => return Err(error.into()),
        }
        // It may be so old that it was deleted in between.
        if let Some(stands) = seams.store.find(&name).await? {
            break stands;
        }
    };
    let stands: IdempotencyKey = object::decode(&name, &stands.body)?;
    if stands.nonce == claim.nonce {
        return Ok((claim.call, false));
    }
    if stands.request != digest {
        return Err(Error::conflict(format!(
            "the idempotency key `{key}` was used for another request, call {}",
            stands.call
        ))
        .hint("use a fresh key for each different request"));
    }
    Ok((stands.call, true))
}

/// Of all that makes two requests the same, each part with its length so that none runs into the next.
fn request_digest(request: &Request) -> Digest {
    let mut hasher = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(request.route.as_str().as_bytes());
    part(request.content_type.as_deref().unwrap_or_default().as_bytes());
    part(&request.payload);
    Digest::from_bytes(hasher.finalize().into())
}

/// A payload that somebody else stored under the same key.
struct Stands {
    stored_at: Time,
    delay_ms: u64,
}

/// Stores the payload and returns the id it lies under: the given one, or for a call without a key another if some
/// stranger's call has it. For a call with a key it may stand already.
async fn put_payload(
    seams: &Seams,
    request: &Request,
    function: &Function,
    call: CallId,
) -> Result<(CallId, Option<Stands>)> {
    let nonce = seams.nonce();
    let mut call = call;
    loop {
        let created_at = seams.now();
        let delay_ms = request.delay.as_millis() as u64;
        let facts = CallFacts {
            v: 1,
            function: function.name.clone(),
            version: function.version.clone(),
            route: request.route.clone(),
            created_at,
            not_before: (delay_ms > 0).then(|| created_at.plus_ms(delay_ms)),
            headers: request.headers.clone(),
            nonce,
        };
        let key = Key::Payload(request.app.clone(), call).to_string();
        let mut object = PutObject::create(request.payload.clone()).note(note::encode(&facts)?);
        object.content_type = request.content_type.clone();
        match seams.store.put(&key, object).await {
            Ok(_) => return Ok((call, None)),
            Err(StoreError::Exists) => {}
            Err(error) => return Err(error.into()),
        }
        let info = seams.store.head(&key).await?;
        let facts: CallFacts = note::decode(&key, info.note.as_deref().unwrap_or_default())?;
        if facts.nonce == nonce {
            // Our own, of whose write the answer was lost.
            return Ok((call, None));
        }
        if request.idempotency_key.is_some() {
            let delay_ms = facts.not_before.map_or(0, |at| at.since_ms(facts.created_at));
            return Ok((call, Some(Stands { stored_at: info.modified_at, delay_ms })));
        }
        call = mint(seams);
    }
}

/// Whether a stored call may never have been sent: it is old enough, by the store's clock, that whoever stored it has
/// sent it or is gone, and no worker has left anything of it. A call that merely waits looks the same, and is sent
/// once more.
async fn is_unsent(seams: &Seams, app: &AppName, call: CallId, stands: &Stands) -> Result<bool> {
    let listed = seams.store.list_all(List::all(key::call(app, call))).await?;
    if listed.entries.len() > 1 {
        return Ok(false);
    }
    let age_ms = store_clock::now(seams).await?.since_ms(stands.stored_at);
    Ok(age_ms >= limits::UNSENT_AFTER_MS + stands.delay_ms)
}
