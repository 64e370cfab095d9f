//! Everything that reads a store, one reader after the other.

use std::pin::Pin;

use afn::catalog::Catalog;
use afn::layout::Message;
use afn::model::BatchRef;
use afn::outcomes::app_of;
use afn::results::list::Filter;
use afn::results::rows::{Finished, Options, Rows};
use afn::results::{attempts, batch, call, list, panics, report, unsuited, why};
use afn::submit::{batch::BatchOptions, cancel, cancel_batch, dead_letters, resume, retry, seal};
use afn::worker::upkeep;

use crate::world::World;

type Reader<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

pub fn all(world: &World) -> Vec<(&'static str, Reader<'_>)> {
    vec![
        ("the catalog", Box::pin(catalog(world))),
        ("lists", Box::pin(lists(world))),
        ("calls", Box::pin(calls(world))),
        ("batches", Box::pin(batches(world))),
        ("rows", Box::pin(rows(world))),
        ("the reconciler", Box::pin(reconciler(world))),
        ("submitters", Box::pin(submitters(world))),
    ]
}

async fn catalog(world: &World) {
    let (catalog, app) = (Catalog::new(world.deps.clone()), &world.app);
    let _ = catalog.list_apps().await;
    let _ = catalog.app(app).await;
    let _ = catalog.list_functions(app).await;
    let route = "/f".parse().expect("a route");
    if let Ok(function) = catalog.resolve(app, &route).await {
        let _ = catalog.version(app, &function.name, &function.version).await;
    }
    let _ = catalog.get_archive(app, &afn::model::Digest::of(b"archive")).await;
}

async fn lists(world: &World) {
    let filter = Filter { max: 100, ..Filter::default() };
    let calls = list::list(&world.deps, &world.app, &filter).await.expect("one object hides no others");
    assert!(calls.calls.len() + calls.unreadable.len() >= 2, "{calls:?}");
    let batches =
        list::list_batches(&world.deps, &world.app, 100, None).await.expect("one object hides no others");
    assert!(batches.batches.len() + batches.unreadable.len() >= 2, "{batches:?}");
    let panics = panics::recent(&world.deps).await.expect("one object hides no others");
    assert_eq!(panics.panics.len() + panics.unreadable.len(), 1, "{panics:?}");
    let open = unsuited::open_batches(&world.deps).await.expect("one object hides no others");
    assert!(open.looked_at >= 2, "{open:?}");
}

async fn calls(world: &World) {
    let of_batches = world.batches.iter().flat_map(|batch| [1, 3, 64, 70].map(|number| batch.call(number)));
    for id in world.calls.iter().copied().chain(of_batches) {
        let _ = call::find(&world.deps, id).await;
        if let Ok(view) = call::load(&world.deps, &world.app, id).await {
            let _ = attempts::earlier(&world.deps, &view).await;
            let _ = why::why(&world.deps, &view).await;
            let mut sink = tokio::io::sink();
            let _ = call::result(&world.deps, &view, &mut sink).await;
            let _ = call::log(&world.deps, &view, &mut sink).await;
        }
    }
}

async fn batches(world: &World) {
    for id in &world.batches {
        let _ = app_of(&world.deps, *id).await;
        let _ = batch::find_by_key(&world.deps, &BatchRef::new(&world.app, *id), "2").await;
        if let Ok(view) = batch::load(&world.deps, *id).await {
            let _ = why::why_batch(&world.deps, &view).await;
            let _ = report::gather(&world.deps, &view).await;
        }
        let _ = retry::can_retry(&world.deps, *id).await;
    }
}

async fn rows(world: &World) {
    for id in &world.batches {
        for (input, latest, finished) in [(true, true, Finished::NeedNot), (false, false, Finished::Must)] {
            let options = Options { input, latest, names: input, finished, ..Options::default() };
            if let Ok(mut rows) = Rows::open(&world.deps, *id, options).await {
                while let Ok(Some(_)) = rows.next().await {}
            }
        }
    }
}

/// None of these ends because of one object.
async fn reconciler(world: &World) {
    world.pass(30);
    let sent = upkeep::resend_lost(&world.deps).await.expect("it goes on past what it cannot read");
    assert!(sent >= 1, "the call of the last app is lost");
    let options = upkeep::Options { dry_run: true, all: true };
    upkeep::on_demand(&world.deps, "w", options).await.expect("it goes on past what it cannot read");
    for letter in dead_letters::list(&world.deps.queues, 100).await.expect("the queue never fails") {
        let _ = dead_letters::show(&world.deps.queues, &letter.id).await;
    }
    let lanes = [&world.deps.queues.calls, &world.deps.queues.chunks];
    for lane in lanes {
        let received = lane.live.receive(10, Default::default(), Default::default()).await;
        for message in received.expect("the queue never fails") {
            let _ = Message::decode(&message.body);
        }
    }
}

async fn submitters(world: &World) {
    for id in &world.batches {
        let _ =
            resume::resume(&world.deps, resume::ResumeRequest { batch: *id, source: None }, &|_| {}).await;
        let _ = seal::seal(&world.deps, *id, "somebody", seal::Submitter::Unknown).await;
        let _ = retry::retry(&world.deps, *id, BatchOptions::default(), &|_| {}).await;
        let _ = cancel_batch::cancel_call(&world.deps, id.call(2), "somebody").await;
        let _ = cancel_batch::cancel(&world.deps, *id, "somebody", "enough").await;
    }
    for id in &world.calls {
        let _ = cancel::cancel(&world.deps, &world.app, *id, "somebody").await;
    }
}
