//! Reading back what a worker wrote.

use std::time::Duration;

use afn::executor::scripted::Act;
use afn::model::{Kind, State};
use afn::results::call::{find, load, log, result};
use afn::results::list::{Filter, list};
use afn::results::why::why;

use super::world::World;

#[tokio::test]
async fn result_and_log_come_back() {
    let mut world = World::start().await;
    world.deploy("upper", Kind::Async).await;
    world.work(|work| Act {
        log: "shouting\n".into(),
        ..Act::answer(work.payload.to_bytes().unwrap().to_ascii_uppercase())
    });
    let call = world.submit("upper", "hello").await.call;
    let view = world.outcome_is(call, State::Success).await;
    assert_eq!((view.attempts, view.payload_bytes, view.worker.as_deref()), (1, Some(5), Some("worker-1")));
    assert!(view.started_at <= view.completed_at);

    let mut bodies = [Vec::new(), Vec::new()];
    let [answered, printed] = &mut bodies;
    result(&world.deps, &view, answered).await.expect("the result");
    log(&world.deps, &view, printed).await.expect("the log");
    assert_eq!(bodies, [b"HELLO".to_vec(), b"shouting\n".to_vec()]);

    assert_eq!(find(&world.deps, call).await.expect("found by its id"), view);
    let listed = list(&world.deps, &world.app, &Filter::default()).await.expect("a list");
    assert_eq!(listed.calls, [view]);
    world.stop().await;
}

#[tokio::test]
async fn a_call_is_running_once_it_has_run_for_a_while() {
    let mut world = World::start().await;
    world.deploy("slow", Kind::Async).await;
    world.work(|_| Act::answer("done").takes(Duration::from_secs(8)));
    let call = world.submit("slow", "").await.call;
    let mut states = Vec::new();
    let view = afn::results::call::wait(&world.deps, &world.app, call, None, |view| {
        if states.last() != Some(&view.state) {
            states.push(view.state);
        }
        if view.state == State::Running {
            assert_eq!((view.attempts, view.worker.as_deref()), (1, Some("worker-1")));
            assert!(view.started_at.is_some());
        }
    });
    assert_eq!(view.await.expect("an outcome").state, State::Success);
    assert_eq!(states, [State::Queued, State::Running, State::Success]);
    world.stop().await;
}

#[tokio::test]
async fn a_call_that_nobody_works_on_wants_a_worker() {
    let mut world = World::start().await;
    world.deploy("lonely", Kind::Async).await;
    let call = world.submit("lonely", "").await.call;
    let view = load(&world.deps, &world.app, call).await.expect("the call");
    assert_eq!(view.state, State::Queued);
    let reason = why(&world.deps, &view).await.expect("an answer");
    assert_eq!(reason.as_deref(), Some("no worker seen: run `afn start` or `afn worker`"));
    world.work(|_| Act::answer(""));
    world.outcome_is(call, State::Success).await;
    world.stop().await;
}
