//! One call, derived from its objects. No object records that a call is queued or running. The outcome is read first, so
//! that the derived state was true a moment ago.

use futures_util::{StreamExt as _, stream};

use super::attempts;
use super::batch::call::find_call;
pub use super::body::{log, result};
pub use super::view::CallView;
use super::view::{Attempt, UnfinishedDetails};
pub use super::wait::wait;
use crate::error::{Error, Result};
use crate::layout::object::Started;
use crate::layout::{Key, key};
use crate::limits;
use crate::model::{AppName, CallFacts, CallId, CallRef, Outcome, Route, State, Time};
use crate::seam::store::{List, ObjectInfo};
use crate::seam::{Deps, StoreExt as _};

pub async fn load(deps: &Deps, app: &AppName, id: CallId) -> Result<CallView> {
    if id.batch().is_some() {
        return find_call(deps, app, id).await;
    }
    load_if(deps, app, id, |_, _| true).await?.ok_or_else(|| {
        Error::not_found(format!("app `{app}` has no call `{id}`")).with_hint(format!(
            "`afn list calls {app}` lists them; calls are deleted when their retention is over, but not before two weeks have gone by"
        ))
    })
}

/// A call by its id alone: the id of a batch's call leads to the app, for a single call every app is searched.
pub async fn find(deps: &Deps, id: CallId) -> Result<CallView> {
    if let Some(batch) = id.batch() {
        return load(deps, &crate::outcomes::app_of(deps, batch).await?, id).await;
    }
    let listed = deps.store.list_all(List::grouped(key::apps())).await?;
    // Deleted apps are searched too: their calls may still be there.
    let apps: Vec<AppName> = listed.folders(&key::apps()).collect();
    let count = apps.len();
    let mut reads = stream::iter(apps)
        .map(|app| async move { load_if(deps, &app, id, |_, _| true).await })
        .buffered(limits::READ_AHEAD_MAX);
    while let Some(read) = reads.next().await {
        if let Some(view) = read? {
            return Ok(view);
        }
    }
    Err(Error::not_found(format!("no app has a call `{id}` ({count} apps searched)"))
        .with_hint("`afn list calls APP` lists an app's calls; is this the right context?"))
}

/// `None` when there is no such call, or when `wants` rejects its state and route. Then the rest of it is not read.
pub(super) async fn load_if(
    deps: &Deps,
    app: &AppName,
    id: CallId,
    wants: impl Fn(Option<State>, Option<&Route>) -> bool,
) -> Result<Option<CallView>> {
    let payload = Key::Payload(app.clone(), id);
    if let Some(outcome) = deps.store.find_fact::<Outcome>(&CallRef::new(app, id)).await? {
        if !wants(Some(outcome.status), Some(&outcome.route)) {
            return Ok(None);
        }
        let mut view = finished(app, id, outcome);
        if let Some((facts, info)) = deps.store.find_metadata::<CallFacts>(&payload).await? {
            view.not_before = facts.not_before;
            view.payload_bytes = Some(info.bytes);
            view.content_type = info.content_type;
        }
        if view.state == State::Cancelled && view.attempt.is_none() {
            add_execution(&mut view, executions_of(deps, app, id).await?);
        }
        return Ok(Some(view));
    }
    if !wants(None, None) {
        return Ok(None);
    }
    let (payload, executions) =
        tokio::join!(deps.store.find_metadata(&payload), executions_of(deps, app, id));
    let Some(payload) = payload? else { return Ok(None) };
    let view = unfinished(deps.now(), app, id, payload, executions?);
    Ok(wants(Some(view.state), Some(&view.route)).then_some(view))
}

fn finished(app: &AppName, id: CallId, outcome: Outcome) -> CallView {
    let names = (outcome.function, outcome.route, outcome.version);
    CallView {
        reason: outcome.reason,
        attempts: outcome.attempts,
        created_at: outcome.created_at,
        started_at: outcome.started_at,
        completed_at: Some(outcome.completed_at),
        run_ms: Some(outcome.run_ms),
        result: outcome.result,
        log: outcome.log,
        attempt: outcome.attempt,
        worker: outcome.worker,
        ..CallView::new(app, id, names, outcome.status)
    }
}

/// Adds the last execution to a cancelled call: the outcome was written by a client, which does not know it.
fn add_execution(view: &mut CallView, Executions { started, ended }: Executions) {
    if let Some(started) = started {
        view.attempts = started.attempt;
        view.started_at = Some(started.at);
        view.worker = Some(started.worker);
    }
    if let Some(ended) = ended.filter(|ended| ended.number >= view.attempts) {
        view.attempts = ended.number;
        view.started_at = ended.started_at;
        view.run_ms = Some(ended.run_ms);
        view.worker = Some(ended.worker);
        view.log = (ended.log.bytes > 0).then_some(ended.log);
        view.attempt = Some(ended.attempt);
    }
}

fn unfinished(
    now: Time,
    app: &AppName,
    id: CallId,
    (facts, payload): (CallFacts, ObjectInfo),
    executions: Executions,
) -> CallView {
    let Executions { started, ended } = executions;
    let (last_started, last_ended) =
        (started.as_ref().map(|started| started.attempt), ended.as_ref().map(|ended| ended.number));
    // The mark of an attempt that has ended shows that the next one runs or is about to, but not since when.
    let running = started.as_ref().filter(|started| last_ended.is_none_or(|ended| ended < started.attempt));
    let state = match (&started, facts.not_before) {
        (Some(_), _) => State::Running,
        (None, Some(not_before)) if now < not_before => State::Delayed,
        (None, _) => State::Queued,
    };
    CallView {
        attempts: last_started.max(last_ended).unwrap_or(0),
        created_at: facts.created_at,
        started_at: running.map(|started| started.at),
        not_before: facts.not_before,
        payload_bytes: Some(payload.bytes),
        content_type: payload.content_type,
        unfinished: UnfinishedDetails {
            failed: ended,
            lease_ms: started.as_ref().and_then(|started| started.lease_ms),
        },
        worker: started.map(|started| started.worker),
        ..CallView::new(app, id, (facts.function, facts.route, facts.version), state)
    }
}

/// What workers have recorded about the executions of a call.
struct Executions {
    /// The latest mark that is not void.
    started: Option<Started>,
    /// The latest attempt that ended without becoming the outcome.
    ended: Option<Attempt>,
}

async fn executions_of(deps: &Deps, app: &AppName, id: CallId) -> Result<Executions> {
    let listed = deps.store.list_all(List::all(key::call(app, id))).await?;
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
    let mut executions = Executions { started: None, ended: None };
    if let Some((_, attempt)) = logs.into_iter().max() {
        executions.ended = attempts::load(deps, app, id, attempt).await?;
    }
    let latest = begun.into_iter().filter(|(_, delivery)| !void.contains(delivery)).max();
    if let Some((_, delivery)) = latest {
        executions.started = deps.store.find_fact(&(CallRef::new(app, id), delivery)).await?;
    }
    Ok(executions)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{NOW, World, attempt, call_at, delivery};
    use super::*;
    use crate::Code;
    use crate::seam::store::PutObject;

    async fn state(world: &World, id: CallId) -> State {
        load(&world.deps, &world.app, id).await.expect("the call").state
    }

    #[tokio::test]
    async fn a_call_goes_from_queued_over_running_to_its_outcome() {
        let world = World::new();
        let id = call_at(NOW, 1);
        let missing = load(&world.deps, &world.app, id).await.expect_err("no such call");
        assert_eq!(missing.code(), Code::NotFound);

        world.payload(id).await;
        let view = load(&world.deps, &world.app, id).await.expect("the call");
        assert_eq!(view.state, State::Queued);
        assert_eq!((view.payload_bytes, view.content_type.as_deref()), (Some(5), Some("text/plain")));
        assert_eq!((view.attempts, view.started_at, view.completed_at), (0, None, None));

        world.started(id, delivery(1), 1).await;
        let view = load(&world.deps, &world.app, id).await.expect("the call");
        assert_eq!((view.state, view.attempts, view.started_at), (State::Running, 1, Some(NOW)));
        assert_eq!(view.worker.as_deref(), Some("worker-1"));

        world.status(id, &world.outcome(id, State::Error, "/asyncfn")).await;
        let view = load(&world.deps, &world.app, id).await.expect("the call");
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
        world.deps.clock.sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(state(&world, id).await, State::Queued);
    }

    #[tokio::test]
    async fn the_latest_start_counts_and_one_taken_back_does_not() {
        let world = World::new();
        let id = call_at(NOW, 1);
        world.payload(id).await;
        world.started(id, delivery(10), 3).await;
        world.deps.clock.sleep(std::time::Duration::from_secs(60)).await;
        world.started(id, delivery(9), 2).await;
        let view = load(&world.deps, &world.app, id).await.expect("the call");
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
            load(&world.deps, &world.app, id).await.expect("the call")
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
        log(&world.deps, &view, &mut said).await.expect("what was said until then");
        assert_eq!(said, b"oops");
    }

    #[tokio::test]
    async fn an_outcome_stands_while_its_call_is_being_deleted() {
        let world = World::new();
        let id = call_at(NOW, 1);
        world.status(id, &world.outcome(id, State::Success, "/asyncfn")).await;
        let view = load(&world.deps, &world.app, id).await.expect("the call");
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
        assert_eq!(find(&world.deps, id).await.expect("the call").app, world.app);
        let missing = find(&world.deps, call_at(NOW, 3)).await.expect_err("no such call");
        assert_eq!(missing.code(), Code::NotFound);
        assert!(missing.message().contains("4 apps searched"), "{missing}");
    }

    #[tokio::test]
    async fn a_payload_without_its_facts_is_an_error_and_no_state() {
        let world = World::new();
        let id = call_at(NOW, 1);
        world.put(Key::Payload(world.app.clone(), id), PutObject::create("hello")).await;
        let error = load(&world.deps, &world.app, id).await.expect_err("no facts");
        assert_eq!(error.code(), Code::Internal);
    }

    #[tokio::test]
    async fn the_json_fields_are_these() {
        let world = World::new();
        let id = call_at(NOW, 1);
        world.done(id, State::Success, "/asyncfn").await;
        let view = load(&world.deps, &world.app, id).await.expect("the call");
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
