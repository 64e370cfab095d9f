//! One call as its objects tell it. Nothing records that a call is queued or running: the state is derived, and the
//! outcome is asked for first, so that an answer that lies is never given, only one that was true a moment ago.

use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use super::attempts::{self, Attempt};
use super::batch::call::{Found, Inline, find_call};
pub use super::body::{log, payload, result};
pub use super::wait::wait;
use crate::error::{Code, Error, Result};
use crate::layout::object::{self, Started};
use crate::layout::{Key, key, note};
use crate::limits;
use crate::model::{
    AppName, AttemptId, BatchId, CallFacts, CallId, FunctionName, Outcome, Route, State, Stored, Time,
    VersionId,
};
use crate::seam::store::List;
use crate::seam::{Seams, StoreError, StoreExt as _};

/// What is known of a call. The field names are those of `--output json`: keep stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallView {
    #[serde(rename = "call_id")]
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
    /// `None`: the call is being deleted, and its payload is gone already; or it is a batch's, and lies in its chunk.
    pub payload_bytes: Option<u64>,
    pub content_type: Option<String>,
    pub result: Option<Stored>,
    pub log: Option<Stored>,
    /// The execution that the outcome is of.
    pub attempt: Option<AttemptId>,
    pub worker: Option<String>,
    /// Bodies of a batch's call that were read with it.
    #[serde(skip)]
    pub inline: Inline,
    #[serde(skip)]
    pub signs: Signs,
}

impl CallView {
    /// The attempt that failed, as long as nothing tells that another has begun.
    pub fn failed_last(&self) -> Option<&Attempt> {
        self.signs.failed.as_ref().filter(|failed| failed.number == self.attempts)
    }
}

/// What more the objects of a call without an outcome tell: why it does not move is read off them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signs {
    /// The attempt that failed last.
    pub failed: Option<Attempt>,
    /// How long its message stays hidden when the worker that runs it is lost.
    pub lease_ms: Option<u64>,
}

/// A call of an app.
pub async fn load(seams: &Seams, app: &AppName, id: CallId) -> Result<CallView> {
    if let Some(batch) = id.batch() {
        return of_batch(find_call(seams, app, id).await?, id, batch);
    }
    look(seams, app, id, |_, _| true).await?.ok_or_else(|| {
        Error::not_found(format!("app `{app}` has no call `{id}`")).hint(format!(
            "`afn list calls {app}` lists them; calls are deleted some two weeks after they end"
        ))
    })
}

fn of_batch(found: Found, id: CallId, batch: BatchId) -> Result<CallView> {
    match found {
        Found::Call(view) => Ok(*view),
        Found::NotSubmitted { .. } => {
            Err(Error::not_found(format!("call `{id}` is not submitted yet: its batch is still read in"))
                .hint(format!("`afn batch status {batch}` tells how far it is")))
        }
        Found::NoNumber { calls } => {
            Err(Error::not_found(format!("batch `{batch}` has no call `{id}`: it has {calls} calls")))
        }
        Found::NoBatch => Err(Error::not_found(format!("there is no call `{id}`, and no batch `{batch}`"))
            .hint(
                "`afn batch list APP` lists an app's batches; they are deleted some two weeks after they end",
            )),
    }
}

/// A call by its id alone: a batch's id says which app it is of, for a single call each app is looked into.
pub async fn find(seams: &Seams, id: CallId) -> Result<CallView> {
    if let Some(batch) = id.batch() {
        return load(seams, &crate::outcomes::app_of(seams, batch).await?, id).await;
    }
    let listed = seams.store.list_all(List::grouped(key::apps())).await?;
    // Whatever has the form of an app's name is looked into, its definition may be gone and its calls still there.
    let apps: Vec<AppName> = listed.prefixes.iter().filter_map(|prefix| app_of(prefix)).collect();
    let count = apps.len();
    let mut looks = stream::iter(apps)
        .map(|app| async move { look(seams, &app, id, |_, _| true).await })
        .buffered(limits::READ_AHEAD_MAX);
    while let Some(look) = looks.next().await {
        if let Some(view) = look? {
            return Ok(view);
        }
    }
    Err(Error::not_found(format!("no app has a call `{id}` ({count} looked into)"))
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
        if view.state == State::Cancelled && view.attempt.is_none() {
            add_what_ran(&mut view, traces_of(seams, app, id).await?);
        }
        return Ok(Some(view));
    }
    if !wants(None, None) {
        return Ok(None);
    }
    let (payload, traces) = tokio::join!(payload_of(seams, app, id), traces_of(seams, app, id));
    let Some(payload) = payload? else { return Ok(None) };
    let view = unfinished(seams.now(), app, id, payload, traces?);
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
        inline: Inline::default(),
        signs: Signs::default(),
    }
}

/// Whoever cancels a call does not know what runs: what its worker left tells.
fn add_what_ran(view: &mut CallView, Traces { started, left }: Traces) {
    if let Some(started) = started {
        view.attempts = started.attempt;
        view.started_at = Some(started.at);
        view.worker = Some(started.worker);
    }
    if let Some(left) = left.filter(|left| left.number >= view.attempts) {
        view.attempts = left.number;
        view.started_at = left.started_at;
        view.run_ms = Some(left.run_ms);
        view.worker = Some(left.worker);
        view.log = (left.log.bytes > 0).then_some(left.log);
        view.attempt = Some(left.attempt);
    }
}

fn unfinished(now: Time, app: &AppName, id: CallId, payload: Payload, traces: Traces) -> CallView {
    let facts = payload.facts;
    let Traces { started, left } = traces;
    let begun = [started.as_ref().map(|started| started.attempt), left.as_ref().map(|left| left.number)];
    let attempts = begun.into_iter().flatten().max().unwrap_or(0);
    let lease_ms = started.as_ref().and_then(|started| started.lease_ms);
    // The mark of an attempt that has ended says that the next one runs or is about to, not since when.
    let runs =
        started.as_ref().filter(|started| left.as_ref().is_none_or(|left| left.number < started.attempt));
    let started_at = runs.map(|started| started.at);
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
        attempts,
        created_at: facts.created_at,
        started_at,
        completed_at: None,
        run_ms: None,
        not_before: facts.not_before,
        payload_bytes: Some(payload.bytes),
        content_type: payload.content_type,
        result: None,
        log: None,
        attempt: None,
        worker: started.map(|started| started.worker),
        inline: Inline::default(),
        signs: Signs { failed: left, lease_ms },
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

/// What workers have left of a call.
struct Traces {
    /// The latest sign that it runs; one that was taken back because its worker was sick does not count.
    started: Option<Started>,
    /// The latest attempt that came to an end and was not the call's.
    left: Option<Attempt>,
}

async fn traces_of(seams: &Seams, app: &AppName, id: CallId) -> Result<Traces> {
    let listed = seams.store.list_all(List::all(key::call(app, id))).await?;
    let mut begun = Vec::new();
    let mut void = Vec::new();
    let mut logs = Vec::new();
    for entry in listed.entries {
        match entry.key.parse()? {
            Key::Started(_, _, delivery) => begun.push((entry.modified_at, delivery)),
            Key::Void(_, _, delivery) => void.push(delivery),
            Key::Log(_, _, attempt) => logs.push((entry.modified_at, attempt)),
            _ => {}
        }
    }
    let mut traces = Traces { started: None, left: None };
    if let Some((_, attempt)) = logs.into_iter().max() {
        traces.left = attempts::load(seams, app, id, attempt).await?;
    }
    let latest = begun.into_iter().filter(|(_, delivery)| !void.contains(delivery)).max();
    if let Some((_, delivery)) = latest {
        let key = Key::Started(app.clone(), id, delivery).to_string();
        let object = seams.store.find(&key).await.map_err(reading(&key))?;
        traces.started = object.map(|object| object::decode(&key, &object.body)).transpose()?;
    }
    Ok(traces)
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

#[cfg(test)]
mod tests {
    use super::super::fixture::{NOW, World, attempt, call_at, delivery};
    use super::*;
    use crate::seam::store::PutObject;

    async fn state(world: &World, id: CallId) -> State {
        load(&world.seams, &world.app, id).await.expect("the call").state
    }

    #[tokio::test]
    async fn a_call_goes_from_queued_over_running_to_its_outcome() {
        let world = World::new();
        let id = call_at(NOW, 1);
        let missing = load(&world.seams, &world.app, id).await.expect_err("no such call");
        assert_eq!(missing.code(), Code::NotFound);

        world.payload(id).await;
        let view = load(&world.seams, &world.app, id).await.expect("the call");
        assert_eq!(view.state, State::Queued);
        assert_eq!((view.payload_bytes, view.content_type.as_deref()), (Some(5), Some("text/plain")));
        assert_eq!((view.attempts, view.started_at, view.completed_at), (0, None, None));

        world.started(id, delivery(1), 1).await;
        let view = load(&world.seams, &world.app, id).await.expect("the call");
        assert_eq!((view.state, view.attempts, view.started_at), (State::Running, 1, Some(NOW)));
        assert_eq!(view.worker.as_deref(), Some("worker-1"));

        world.status(id, &world.outcome(id, State::Error, "/asyncfn")).await;
        let view = load(&world.seams, &world.app, id).await.expect("the call");
        assert_eq!((view.state, view.reason.as_deref()), (State::Error, Some("exit code 3")));
        assert_eq!((view.run_ms, view.attempt), (Some(250), Some(attempt(1))));
        assert_eq!(view.payload_bytes, Some(5));
    }

    #[tokio::test]
    async fn a_delayed_call_is_queued_once_its_time_has_come() {
        let world = World::new();
        let id = call_at(NOW, 1);
        let facts = CallFacts { not_before: Some(NOW.plus_ms(1_000)), ..world.facts(id, "/asyncfn") };
        world.payload_with(id, "hello", &facts).await;
        assert_eq!(state(&world, id).await, State::Delayed);
        world.seams.clock.sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(state(&world, id).await, State::Queued);
    }

    #[tokio::test]
    async fn the_latest_start_counts_and_one_taken_back_does_not() {
        let world = World::new();
        let id = call_at(NOW, 1);
        world.payload(id).await;
        world.started(id, delivery(10), 3).await;
        world.seams.clock.sleep(std::time::Duration::from_secs(60)).await;
        world.started(id, delivery(9), 2).await;
        let view = load(&world.seams, &world.app, id).await.expect("the call");
        assert_eq!((view.attempts, view.started_at), (2, Some(NOW.plus_ms(60_000))));

        for number in [9, 10] {
            world.put(Key::Void(world.app.clone(), id, delivery(number)), PutObject::create("")).await;
        }
        assert_eq!(state(&world, id).await, State::Queued);
    }

    #[tokio::test]
    async fn a_cancelled_call_tells_what_its_worker_left() {
        let world = World::new();
        let cancelled = async |id: CallId| {
            let outcome = Outcome {
                attempts: 0,
                attempt: None,
                started_at: None,
                run_ms: 0,
                worker: None,
                ..world.outcome(id, State::Cancelled, "/asyncfn")
            };
            world.payload(id).await;
            world.status(id, &outcome).await;
            load(&world.seams, &world.app, id).await.expect("the call")
        };
        let view = cancelled(call_at(NOW, 1)).await;
        assert_eq!((view.attempts, view.started_at, view.worker), (0, None, None));

        world.started(call_at(NOW, 2), delivery(1), 1).await;
        let view = cancelled(call_at(NOW, 2)).await;
        assert_eq!(
            (view.attempts, view.started_at, view.worker.as_deref()),
            (1, Some(NOW), Some("worker-1"))
        );
        assert_eq!(view.log, None);

        world.started(call_at(NOW, 3), delivery(1), 1).await;
        world.failed(call_at(NOW, 3), attempt(2), None).await;
        let view = cancelled(call_at(NOW, 3)).await;
        assert_eq!((view.attempts, view.run_ms, view.attempt), (2, Some(250), Some(attempt(2))));
        let mut said = Vec::new();
        log(&world.seams, &view, &mut said).await.expect("what was said until then");
        assert_eq!(said, b"oops");
    }

    #[tokio::test]
    async fn an_outcome_stands_while_its_call_is_being_deleted() {
        let world = World::new();
        let id = call_at(NOW, 1);
        world.status(id, &world.outcome(id, State::Success, "/asyncfn")).await;
        let view = load(&world.seams, &world.app, id).await.expect("the call");
        assert_eq!((view.state, view.payload_bytes), (State::Success, None));
    }

    #[tokio::test]
    async fn a_call_is_found_by_its_id_in_whichever_app_it_is() {
        let mut world = World::new();
        for app in ["a", "b-2", "zebra"] {
            world.app = app.parse().expect("a name");
            world.payload(call_at(NOW, 1)).await;
        }
        world.app = "other".parse().expect("a name");
        let id = call_at(NOW, 2);
        world.done(id, State::Success, "/asyncfn").await;
        assert_eq!(find(&world.seams, id).await.expect("the call").app, world.app);
        let missing = find(&world.seams, call_at(NOW, 3)).await.expect_err("no such call");
        assert_eq!(missing.code(), Code::NotFound);
        assert!(missing.message().contains("4 looked into"), "{missing}");
    }

    #[tokio::test]
    async fn a_payload_without_its_facts_is_an_error_and_no_state() {
        let world = World::new();
        let id = call_at(NOW, 1);
        world.put(Key::Payload(world.app.clone(), id), PutObject::create("hello")).await;
        let error = load(&world.seams, &world.app, id).await.expect_err("no facts");
        assert_eq!(error.code(), Code::Internal);
    }

    #[tokio::test]
    async fn the_json_fields_are_these() {
        let world = World::new();
        let id = call_at(NOW, 1);
        world.done(id, State::Success, "/asyncfn").await;
        let view = load(&world.seams, &world.app, id).await.expect("the call");
        let json = serde_json::to_string(&view).expect("JSON");
        assert_eq!(
            json,
            concat!(
                r#"{"call_id":"01M3250V000000000000000001","app":"asyncapp","function":"asyncfn","route":"/asyncfn","#,
                r#""version":"0.0.2-0123456789ab","status":"success","reason":null,"attempts":1,"#,
                r#""created_at":"2026-09-21T14:13:20.000Z","started_at":"2026-09-21T14:13:21.000Z","#,
                r#""completed_at":"2026-09-21T14:13:21.250Z","run_ms":250,"not_before":null,"payload_bytes":5,"#,
                r#""content_type":"text/plain","result":null,"log":null,"#,
                r#""attempt":"01M3250V000000000000000007.1.1","worker":"worker-1"}"#
            )
        );
    }
}
