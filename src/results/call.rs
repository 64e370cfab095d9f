//! One call as its objects tell it. Nothing records that a call is queued or running: the state is derived, and the
//! outcome is asked for first, so that an answer that lies is never given, only one that was true a moment ago.

use futures_util::{StreamExt as _, stream};
use serde::Serialize;

pub use super::body::{log, payload, result};
pub use super::wait::wait;
use crate::error::{Code, Error, Result};
use crate::layout::object::{self, Started};
use crate::layout::{Key, key, note};
use crate::limits;
use crate::model::{
    AppName, AttemptId, CallFacts, CallId, FunctionName, Outcome, Route, State, Stored, Time, VersionId,
};
use crate::seam::store::List;
use crate::seam::{Seams, StoreError, StoreExt as _};

/// What is known of a call. The field names are those of `--output json`: keep stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallView {
    pub id: CallId,
    pub app: AppName,
    pub function: FunctionName,
    pub route: Route,
    pub version: VersionId,
    #[serde(rename = "status")]
    pub state: State,
    /// Why, unless the call succeeded or has no outcome yet.
    pub reason: Option<String>,
    /// Executions begun, as far as the store tells.
    pub attempts: u32,
    pub created_at: Time,
    pub started_at: Option<Time>,
    pub completed_at: Option<Time>,
    /// The function's own time.
    pub run_ms: Option<u64>,
    pub not_before: Option<Time>,
    /// `None`: the call is being deleted, and its payload is gone already.
    pub payload_bytes: Option<u64>,
    pub content_type: Option<String>,
    pub result: Option<Stored>,
    pub log: Option<Stored>,
    /// The execution that the outcome is of.
    pub attempt: Option<AttemptId>,
    pub worker: Option<String>,
}

/// A call of an app.
pub async fn load(seams: &Seams, app: &AppName, id: CallId) -> Result<CallView> {
    look(seams, app, id, |_, _| true).await?.ok_or_else(|| {
        Error::not_found(format!("app `{app}` has no call `{id}`")).hint(format!(
            "`afn list calls {app}` lists them; calls are deleted some two weeks after they end"
        ))
    })
}

/// A call by its id alone: looks into each app.
pub async fn find(seams: &Seams, id: CallId) -> Result<CallView> {
    let listed = seams.store.list_all(List::grouped(key::apps())).await?;
    // Whatever has the form of an app's name is looked into, its definition may be gone and its calls still there.
    let apps: Vec<AppName> = listed.prefixes.iter().filter_map(|prefix| app_of(prefix)).collect();
    let mut looks = stream::iter(&apps)
        .map(|app| async move { look(seams, app, id, |_, _| true).await })
        .buffered(limits::READ_AHEAD_MAX);
    while let Some(look) = looks.next().await {
        if let Some(view) = look? {
            return Ok(view);
        }
    }
    Err(Error::not_found(format!("no app has a call `{id}` ({} looked into)", apps.len()))
        .hint("`afn list calls APP` lists an app's calls; is this the right context?"))
}

fn app_of(prefix: &str) -> Option<AppName> {
    prefix.strip_prefix(&key::apps())?.strip_suffix('/')?.parse().ok()
}

/// `None` when there is no such call, or when `wants` says no to its state and route; what is not wanted is not read
/// to the end.
pub(super) async fn look(
    seams: &Seams,
    app: &AppName,
    id: CallId,
    wants: impl Fn(Option<State>, Option<&Route>) -> bool,
) -> Result<Option<CallView>> {
    let status = Key::Status(app.clone(), id).to_string();
    if let Some(object) = seams.store.find(&status).await.map_err(reading(&status))? {
        let outcome: Outcome = object::decode(&status, &object.body)?;
        if !wants(Some(outcome.status), Some(&outcome.route)) {
            return Ok(None);
        }
        let mut view = finished(app, id, outcome);
        if let Some(payload) = payload_of(seams, app, id).await? {
            view.not_before = payload.facts.not_before;
            view.payload_bytes = Some(payload.bytes);
            view.content_type = payload.content_type;
        }
        return Ok(Some(view));
    }
    if !wants(None, None) {
        return Ok(None);
    }
    let (payload, started) = tokio::join!(payload_of(seams, app, id), started_of(seams, app, id));
    let Some(payload) = payload? else { return Ok(None) };
    let view = unfinished(seams.now(), app, id, payload, started?);
    Ok(wants(Some(view.state), Some(&view.route)).then_some(view))
}

fn finished(app: &AppName, id: CallId, outcome: Outcome) -> CallView {
    CallView {
        id,
        app: app.clone(),
        function: outcome.function,
        route: outcome.route,
        version: outcome.version,
        state: outcome.status,
        reason: outcome.reason,
        attempts: outcome.attempts,
        created_at: outcome.created_at,
        started_at: outcome.started_at,
        completed_at: Some(outcome.completed_at),
        run_ms: Some(outcome.run_ms),
        not_before: None,
        payload_bytes: None,
        content_type: None,
        result: outcome.result,
        log: outcome.log,
        attempt: outcome.attempt,
        worker: outcome.worker,
    }
}

fn unfinished(now: Time, app: &AppName, id: CallId, payload: Payload, started: Option<Started>) -> CallView {
    let facts = payload.facts;
    let state = match (&started, facts.not_before) {
        (Some(_), _) => State::Running,
        (None, Some(not_before)) if now < not_before => State::Delayed,
        (None, _) => State::Queued,
    };
    CallView {
        id,
        app: app.clone(),
        function: facts.function,
        route: facts.route,
        version: facts.version,
        state,
        reason: None,
        attempts: started.as_ref().map_or(0, |started| started.attempt),
        created_at: facts.created_at,
        started_at: started.as_ref().map(|started| started.at),
        completed_at: None,
        run_ms: None,
        not_before: facts.not_before,
        payload_bytes: Some(payload.bytes),
        content_type: payload.content_type,
        result: None,
        log: None,
        attempt: None,
        worker: started.map(|started| started.worker),
    }
}

struct Payload {
    facts: CallFacts,
    bytes: u64,
    content_type: Option<String>,
}

async fn payload_of(seams: &Seams, app: &AppName, id: CallId) -> Result<Option<Payload>> {
    let key = Key::Payload(app.clone(), id).to_string();
    let info = match seams.store.head(&key).await {
        Ok(info) => info,
        Err(StoreError::NotFound) => return Ok(None),
        Err(error) => return Err(reading(&key)(error)),
    };
    let note = info.note.as_deref().ok_or_else(|| {
        Error::internal(format!("object `{key}` does not say what it is a payload for"))
            .hint("it was copied without its metadata, or not written by this program")
    })?;
    let facts = note::decode(&format!("`{key}`"), note)?;
    Ok(Some(Payload { facts, bytes: info.bytes, content_type: info.content_type }))
}

/// The latest sign that the call runs; one that was taken back because its worker was sick does not count.
async fn started_of(seams: &Seams, app: &AppName, id: CallId) -> Result<Option<Started>> {
    let listed = seams.store.list_all(List::all(key::started(app, id))).await?;
    let mut begun = Vec::new();
    let mut void = Vec::new();
    for entry in listed.entries {
        match entry.key.parse()? {
            Key::Started(_, _, delivery) => begun.push((entry.modified_at, delivery)),
            Key::Void(_, _, delivery) => void.push(delivery),
            _ => {}
        }
    }
    let latest = begun.into_iter().filter(|(_, delivery)| !void.contains(delivery)).max();
    let Some((_, delivery)) = latest else { return Ok(None) };
    let key = Key::Started(app.clone(), id, delivery).to_string();
    match seams.store.find(&key).await.map_err(reading(&key))? {
        Some(object) => Ok(Some(object::decode(&key, &object.body)?)),
        None => Ok(None),
    }
}

/// Says what could not be read.
pub(super) fn reading(key: &str) -> impl Fn(StoreError) -> Error {
    move |error| {
        let error = Error::from(error);
        match error.code() {
            Code::NotFound => Error::not_found(format!("there is no object `{key}`")),
            _ => error.context(format!("read `{key}`")),
        }
    }
}
