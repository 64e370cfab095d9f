//! Submits one call: payload first, then the message, and only then is it accepted.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::send;
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::layout::object::IdempotencyKey;
use crate::layout::{Key, Message, key, metadata};
use crate::limits;
use crate::model::{AppName, CallFacts, CallId, Digest, Function, Route, Time};
use crate::planted::planted;
use crate::seam::store::{List, PutObject};
use crate::seam::{Created, Deps, RngExt as _, StoreExt as _};
use crate::store_clock;

#[derive(Debug, Clone)]
pub struct Request {
    pub app: AppName,
    pub route: Route,
    pub payload: Bytes,
    pub content_type: Option<String>,
    /// Request headers that the function gets to see.
    pub headers: BTreeMap<String, String>,
    /// At most [`limits::DELAY_MAX`].
    pub delay: Duration,
    /// Two requests with the same key are one call, for at least [`limits::IDEMPOTENCY_KEY`].
    pub idempotency_key: Option<String>,
}

/// A call that will run.
#[derive(Debug, Clone)]
pub struct Accepted {
    pub call: CallId,
    pub function: Function,
    /// An earlier request had the same idempotency key: this is its call.
    pub repeated: bool,
    /// This submission has sent a message. A repetition mostly need not.
    pub sent: bool,
}

pub async fn submit(deps: &Deps, request: Request) -> Result<Accepted> {
    check(&request)?;
    let function = Catalog::new(deps.clone()).resolve(&request.app, &request.route).await?;
    let (call, repeated) = match &request.idempotency_key {
        // An earlier request with this key may have stored the payload: it is the same request.
        Some(key) => claim_key(deps, &request, key).await?,
        None => (mint(deps), false),
    };
    planted!((), KeyHitReturnsId => if repeated {
        return Ok(Accepted { call, function, repeated, sent: false });
    });
    let (call, existing) = put_payload(deps, &request, &function, call).await?;
    // The submitter that stored the payload sends the message. Another one sends it only if the first must have failed
    // (H7), because a second message runs the call twice.
    let mut delay = request.delay;
    if let Some(existing) = existing {
        if !is_unsent(deps, &request.app, call, &existing).await? {
            return Ok(Accepted { call, function, repeated, sent: false });
        }
        delay = Duration::ZERO;
    }
    let message = Message::Call(send::call_message(deps, &request.app, call));
    send::send(&deps.queues.calls, &message, delay).await.map_err(|error| {
        let span = |ms| humantime::format_duration(Duration::from_millis(ms));
        let worker = span(limits::ms(limits::RESEND_AFTER) + limits::ms(limits::RECONCILE_EVERY));
        let again = match request.idempotency_key {
            Some(_) => {
                format!("the same request sends it after {}, ", span(limits::ms(limits::UNSENT_AFTER)))
            }
            None => String::new(),
        };
        error.context(format!("call {call} is stored but could not be queued")).with_hint(format!(
            "{again}a worker finds it within about {worker}; `afn cancel {} {call}` gives it up",
            request.app
        ))
    })?;
    Ok(Accepted { call, function, repeated, sent: true })
}

fn mint(deps: &Deps) -> CallId {
    CallId::single(deps.now(), deps.rng.u128())
}

fn check(request: &Request) -> Result<()> {
    let bytes = request.payload.len() as u64;
    if bytes > limits::PAYLOAD_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the payload has {bytes} bytes, the most is {}",
            limits::PAYLOAD_BYTES_MAX
        ))
        .with_hint("put it into an object of your own and send its key"));
    }
    if request.delay > limits::DELAY_MAX {
        return Err(Error::invalid(format!(
            "the delay is {}, the most is {}",
            humantime::format_duration(request.delay),
            humantime::format_duration(limits::DELAY_MAX)
        )));
    }
    let header_bytes: usize = request.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if header_bytes as u64 > limits::HEADERS_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the headers have {header_bytes} bytes, the most is {}",
            limits::HEADERS_BYTES_MAX
        ))
        .with_hint("put what is large into the payload"));
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

/// The call of a key: a new one, or that of an earlier request.
async fn claim_key(deps: &Deps, request: &Request, key: &str) -> Result<(CallId, bool)> {
    let id = (request.app.clone(), Digest::of(key.as_bytes()));
    let digest = request_digest(request);
    let claim = IdempotencyKey {
        call: mint(deps),
        request: digest.clone(),
        created_at: deps.now(),
        nonce: deps.nonce(),
    };
    let Created::Existing(earlier) = deps.store.create_fact(&id, &claim).await? else {
        return Ok((claim.call, false));
    };
    if earlier.request != digest {
        return Err(Error::conflict(format!(
            "the idempotency key `{key}` was used for another request, call {}",
            earlier.call
        ))
        .with_hint("use a fresh key for each different request"));
    }
    Ok((earlier.call, true))
}

/// The digest of everything that makes two requests the same. Each part has its length, so that the parts are unambiguous.
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

/// A payload that an earlier request with the same key stored.
struct ExistingPayload {
    stored_at: Time,
    delay_ms: u64,
}

/// Stores the payload and returns its call id: the given one, or for a call without a key a new one if the given one is
/// used. A call with a key may have a payload already.
async fn put_payload(
    deps: &Deps,
    request: &Request,
    function: &Function,
    call: CallId,
) -> Result<(CallId, Option<ExistingPayload>)> {
    let nonce = deps.nonce();
    let mut call = call;
    loop {
        let created_at = deps.now();
        let delay_ms = request.delay.as_millis() as u64;
        let facts = CallFacts {
            function: function.name.clone(),
            version: function.version.clone(),
            route: request.route.clone(),
            created_at,
            not_before: (delay_ms > 0).then(|| created_at.plus_ms(delay_ms)),
            headers: request.headers.clone(),
            nonce,
        };
        let key = Key::Payload(request.app.clone(), call);
        let mut object = PutObject::create(request.payload.clone()).metadata(metadata::encode(&facts)?);
        object.content_type = request.content_type.clone();
        if deps.store.create(&key, object).await? {
            return Ok((call, None));
        }
        let (facts, info): (CallFacts, _) = deps.store.read_metadata(&key).await?;
        if facts.nonce == nonce {
            // The answer to our own write was lost.
            return Ok((call, None));
        }
        if request.idempotency_key.is_some() {
            let delay_ms = facts.not_before.map_or(0, |at| at.since_ms(facts.created_at));
            return Ok((call, Some(ExistingPayload { stored_at: info.modified_at, delay_ms })));
        }
        call = mint(deps);
    }
}

/// Whether a stored call may have no message: by the store's clock it is so old that its submitter has sent the message or
/// has died, and no worker has written an object for it. A call that waits looks the same, and gets a second message.
async fn is_unsent(deps: &Deps, app: &AppName, call: CallId, payload: &ExistingPayload) -> Result<bool> {
    let listed = deps.store.list_all(List::all(key::call(app, call))).await?;
    if listed.entries.len() > 1 {
        return Ok(false);
    }
    let age_ms = store_clock::now(deps).await?.since_ms(payload.stored_at);
    Ok(age_ms >= limits::ms(limits::UNSENT_AFTER) + payload.delay_ms)
}
