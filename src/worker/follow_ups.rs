//! Fires the follow-ups of a finished batch: a call and a webhook. The id of the call is derived from the batch's id, so
//! the call has one outcome however often its message is sent. The webhook is delivered at least once, under one delivery
//! id.

use std::time::Duration;

use serde::Serialize;

use super::phase::Phase;
use super::{Abandoned, Shared};
use crate::catalog::Catalog;
use crate::error::Code;
use crate::event::Event;
use crate::layout::batch::{Batch, Fired, Summary, Then, Webhook};
use crate::layout::envelope::Envelope;
use crate::layout::{Key, Message, key, metadata};
use crate::limits;
use crate::model::{AppName, BatchId, CallFacts, CallId, Nonce};
use crate::planted::planted;
use crate::seam::StoreExt as _;
use crate::seam::store::PutObject;
use crate::submit::send;

/// Before the second try of a webhook; doubled for each one after, up to 256 s: under ten minutes in all.
const WEBHOOK_WAIT: Duration = Duration::from_secs(1);

/// What follow-ups are told. A pure function of the summary.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(rename = "batch_id")]
    batch: BatchId,
    app: &'a AppName,
    summary: Envelope<'a, Summary>,
    /// Where the outcomes lie, as a Parquet dataset.
    outcomes: String,
}

/// What one round came to.
pub enum FollowUps {
    Fired(Fired),
    /// The webhook was not delivered, and is to be tried again after this time.
    TryAgain(Duration),
    /// The worker began to drain during the try, which does not count.
    CutOff,
}

/// Tries the webhook once. No wait between two tries holds a worker: the supervisor's next message is delayed, and knows how many
/// tries failed before.
pub async fn fire_follow_ups(
    shared: &Shared,
    app: &AppName,
    id: BatchId,
    batch: &Batch,
    summary: &Summary,
    failed_tries: u32,
) -> Result<FollowUps, Abandoned> {
    let told = Told { batch: id, app, summary: Envelope::of(summary), outcomes: key::outcomes(app, id) };
    let told = serde_json::to_string(&told).expect("text keys");
    let then = match &batch.then {
        Some(then) => call(shared, id, then, &told, failed_tries > 0).await?,
        None => None,
    };
    let tries = failed_tries.saturating_add(1);
    let webhook = match &batch.on_complete {
        Some(url) => match post(shared, url, id, &told).await {
            None => return Ok(FollowUps::CutOff),
            Some(Ok(answer)) => Some(Webhook { delivered: true, tries, answer }),
            Some(Err(why)) if tries < limits::WEBHOOK_TRIES_MAX => {
                let what = format!("the webhook of batch {id} to {}", without_query(url));
                shared.emit(Event::RequestRepeated { what, why });
                return Ok(FollowUps::TryAgain(WEBHOOK_WAIT * 2u32.pow(failed_tries)));
            }
            Some(Err(answer)) => Some(Webhook { delivered: false, tries, answer }),
        },
        None => None,
    };
    Ok(FollowUps::Fired(Fired { then, webhook, at: shared.deps.now() }))
}

/// `None`: its function is gone. `was_sent`: in an earlier round, before the webhook failed.
async fn call(
    shared: &Shared,
    id: BatchId,
    then: &Then,
    told: &str,
    was_sent: bool,
) -> Result<Option<CallId>, Abandoned> {
    let function = match Catalog::new(shared.deps.clone()).resolve(&then.app, &then.route).await {
        Ok(function) => function,
        Err(error) if error.code() == Code::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let call = planted!(
        CallId::following(id),
        FiredByEveryone => CallId::single(shared.deps.now(), crate::seam::RngExt::u128(&*shared.deps.rng))
    );
    let facts = CallFacts {
        function: function.name,
        version: function.version,
        route: then.route.clone(),
        created_at: shared.deps.now(),
        not_before: None,
        headers: Default::default(),
        nonce: Nonce::new(0),
    };
    let payload = PutObject::create(told.to_owned().into_bytes())
        .content_type("application/json")
        .metadata(metadata::encode(&facts)?);
    let is_new = shared.deps.store.create(&Key::Payload(then.app.clone(), call), payload).await?;
    if was_sent && !is_new {
        return Ok(Some(call));
    }
    // Whoever came first may have died before its send.
    let message = Message::Call(send::call_message(&shared.deps, &then.app, call));
    send::send(&shared.deps.queues.calls, &message, Duration::ZERO).await?;
    Ok(Some(call))
}

/// The answer, or why there was none. `None`: the worker began to drain, whose end no receiver is to hold up.
async fn post(shared: &Shared, url: &str, id: BatchId, told: &str) -> Option<Result<String, String>> {
    let Some(webhook) = &shared.config.webhook else {
        return Some(Err("the worker that finished the batch delivers no webhooks".to_owned()));
    };
    let delivery = id.to_string();
    tokio::select! {
        biased;
        () = shared.phases.reached(Phase::Drain) => None,
        answer = webhook.post(url, &delivery, told) => Some(answer),
    }
}

/// A query may hold a token, which is not for logs.
fn without_query(url: &str) -> String {
    match url.split_once(['?', '#']) {
        Some((url, _)) => format!("{url}?…"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_query;

    #[test]
    fn a_query_is_not_told() {
        assert_eq!(without_query("https://x/done?token=secret#y"), "https://x/done?…");
        assert_eq!(without_query("https://x/done"), "https://x/done");
    }
}
