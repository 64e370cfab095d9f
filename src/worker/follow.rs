//! What follows a batch: a call under an id derived from the batch's, so that it has one outcome however often it is sent;
//! a webhook, at least once, under one delivery id.

use std::time::Duration;

use serde::Serialize;

use super::{Abandoned, Shared};
use crate::catalog::Catalog;
use crate::error::Code;
use crate::layout::batch::{Batch, Fired, Summary, Then, Webhook};
use crate::layout::{Key, Message, key, note};
use crate::limits;
use crate::model::{AppName, BatchId, CallFacts, CallId, Nonce};
use crate::planted::planted;
use crate::seam::store::PutObject;
use crate::seam::{RngExt as _, StoreError};
use crate::submit::send;

/// The tries of a webhook: 1 s, 2 s, 4 s, … 512 s; under twenty minutes in all.
const WEBHOOK_WAIT: Duration = Duration::from_secs(1);

/// What follow-ups are told. A pure function of the summary.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(rename = "batch_id")]
    batch: BatchId,
    app: &'a AppName,
    summary: &'a Summary,
    /// Where the outcomes lie, as a Parquet dataset.
    outcomes: String,
}

pub async fn up(
    shared: &Shared,
    app: &AppName,
    id: BatchId,
    batch: &Batch,
    summary: &Summary,
) -> Result<Fired, Abandoned> {
    let told = Told { batch: id, app, summary, outcomes: key::outcomes(app, id) };
    let told = serde_json::to_string(&told).expect("text keys");
    let then = match &batch.then {
        Some(then) => call(shared, id, batch, then, &told).await?,
        None => None,
    };
    let webhook = match &batch.on_complete {
        Some(url) => Some(post(shared, url, id, &told).await),
        None => None,
    };
    Ok(Fired { v: 1, then, webhook, at: shared.seams.now() })
}

/// `None`: its function is gone.
async fn call(
    shared: &Shared,
    id: BatchId,
    batch: &Batch,
    then: &Then,
    told: &str,
) -> Result<Option<CallId>, Abandoned> {
    let function = match Catalog::new(shared.seams.clone()).resolve(&then.app, &then.route).await {
        Ok(function) => function,
        Err(error) if error.code() == Code::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let call = match planted!(FiredByEveryone) {
        true => CallId::single(shared.seams.now(), shared.seams.rng.u128()),
        false => CallId::following(id),
    };
    let facts = CallFacts {
        v: 1,
        function: function.name,
        version: function.version,
        route: then.route.clone(),
        created_at: shared.seams.now(),
        not_before: None,
        headers: Default::default(),
        nonce: Nonce::new(0),
    };
    assert_ne!(batch.nonce, facts.nonce);
    let payload = PutObject::create(told.to_owned().into_bytes())
        .content_type("application/json")
        .note(note::encode(&facts)?);
    match shared.seams.store.put(&Key::Payload(then.app.clone(), call).to_string(), payload).await {
        // Whoever came first may have died before its send.
        Ok(_) | Err(StoreError::Exists) => {}
        Err(error) => return Err(error.into()),
    }
    let message = Message::Call(send::call_message(&shared.seams, &then.app, call));
    send::send(&shared.seams.queues.calls, &message, Duration::ZERO).await?;
    Ok(Some(call))
}

async fn post(shared: &Shared, url: &str, id: BatchId, told: &str) -> Webhook {
    let Some(webhook) = &shared.config.webhook else {
        let answer = "the worker that finished the batch delivers no webhooks".to_owned();
        return Webhook { delivered: false, tries: 0, answer };
    };
    let mut wait = WEBHOOK_WAIT;
    let mut tries = 1;
    loop {
        match webhook.post(url, &id.to_string(), told).await {
            Ok(answer) => return Webhook { delivered: true, tries, answer },
            Err(answer) if tries >= limits::WEBHOOK_TRIES_MAX => {
                return Webhook { delivered: false, tries, answer };
            }
            Err(_) => {}
        }
        shared.seams.clock.sleep(wait).await;
        wait *= 2;
        tries += 1;
    }
}
