//! Everything that reads a store, one reader after the other.

use std::pin::Pin;
use std::time::Duration;

use afn::archive;
use afn::catalog::Catalog;
use afn::layout::{Key, Message, key};
use afn::model::{App, BatchLimits, BatchRef, CallId, Function, Retention, Source};
use afn::outcomes::app_of;
use afn::results::BatchView;
use afn::results::list::Filter;
use afn::results::rows::{Finished, Options, Rows, SortColumn};
use afn::results::{
    attempts, batch, call as result, list, open, panics, report, unsuited, wait, wanted, why,
};
use afn::seam::StoreExt as _;
use afn::seam::queue::Outgoing;
use afn::seam::store::{ByteRange, List};
use afn::submit::{
    batch::BatchOptions, call as submit, cancel, cancel_batch, control, dead_letters, resume, retry, seal,
};
use afn::worker::{delete, upkeep};

use crate::exports;
use crate::world::World;

type Reader<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Of each, its name in errors.
pub type Readers<'a> = Vec<(&'static str, Reader<'a>)>;

/// The turn that everybody is in.
pub const ALL: u64 = u64::MAX;

/// Whether those are in it who take each turn number `own` of so many.
pub fn is_in(turn: u64, of: u64, own: u64) -> bool {
    turn == ALL || turn % of == own
}

/// `turn`: which of the readers that take turns are in it.
pub fn all(world: &World, turn: u64) -> Readers<'_> {
    let mut readers: Readers<'_> = vec![
        ("the catalog", Box::pin(catalog(world))),
        ("lists", Box::pin(lists(world))),
        ("batches", Box::pin(batches(world))),
        ("open batches", Box::pin(open_batches(world))),
        ("rows", Box::pin(rows(world, turn))),
        ("an export", Box::pin(exports::all(world, turn))),
    ];
    let of_batches = world.batches.iter().flat_map(|batch| [1, 3, 64, 70].map(|number| batch.call(number)));
    for id in world.calls.iter().copied().chain(of_batches) {
        readers.push(("a call", Box::pin(call(world, id))));
    }
    // These change what is there, so that the worker that comes after has more to do.
    if is_in(turn, 2, 0) {
        readers.push(("waits", Box::pin(waits(world))));
        readers.push(("an archive", Box::pin(unpacked(world))));
        readers.push(("the reconciler", Box::pin(reconciler(world))));
    }
    if is_in(turn, 2, 1) {
        readers.push(("submitters", Box::pin(submitters(world))));
        readers.push(("dead letters", Box::pin(dead(world))));
    }
    if is_in(turn, 3, 0) {
        readers.push(("controls", Box::pin(controls(world))));
        readers.push(("deploys", Box::pin(deploys(world))));
    }
    readers
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
    assert!(panics.panics.len() + panics.unreadable.len() >= 1, "{panics:?}");
    let open = unsuited::open_batches(&world.deps).await.expect("one object hides no others");
    assert!(open.looked_at >= 2, "{open:?}");
}

async fn call(world: &World, id: CallId) {
    let _ = result::find(&world.deps, id).await;
    if let Ok(view) = result::load(&world.deps, &world.app, id).await {
        let _ = attempts::earlier(&world.deps, &view).await;
        let _ = why::why(&world.deps, &view).await;
        let mut sink = tokio::io::sink();
        let _ = result::result(&world.deps, &view, &mut sink).await;
        let _ = result::log(&world.deps, &view, &mut sink).await;
    }
}

async fn batches(world: &World) {
    for id in &world.batches {
        let _ = app_of(&world.deps, *id).await;
        let _ = batch::find_by_key(&world.deps, &BatchRef::new(&world.app, *id), "2").await;
        if let Ok(view) = batch::load(&world.deps, *id).await {
            let _ = why::why_batch(&world.deps, &view).await;
            report(world, &view).await;
        }
        let _ = retry::can_retry(&world.deps, *id).await;
    }
}

/// What `afn slots` and `afn batch` say of what is under way.
async fn open_batches(world: &World) {
    wanted::slots_wanted(&world.deps).await.expect("one object hides no others");
    let _ = open::others(&world.deps, world.batches[0], 100).await;
}

async fn report(world: &World, view: &BatchView) {
    if let Ok(data) = report::gather(&world.deps, view).await {
        let _ = report::write(view, &data, None, &mut std::io::sink());
    }
}

async fn rows(world: &World, turn: u64) {
    let sort = SortColumn::ALL[turn as usize % SortColumn::ALL.len()];
    let all =
        Options { input: true, names: true, latest: true, finished: Finished::NeedNot, ..Options::default() };
    for id in &world.batches {
        for options in [
            all.clone(),
            Options::default(),
            Options { sort: Some(sort), count: Some(3), ..all.clone() },
            Options { number: Some(3), latest: turn.is_multiple_of(2), ..all.clone() },
        ] {
            if let Ok(mut rows) = Rows::open(&world.deps, *id, options).await {
                while let Ok(Some(_)) = rows.next().await {}
            }
        }
    }
}

async fn waits(world: &World) {
    let limit = Some(Duration::from_secs(3));
    for id in &world.calls {
        let _ = wait::wait(&world.deps, &world.app, *id, limit, |_| {}).await;
    }
    for id in &world.batches {
        let _ = batch::wait(&world.deps, *id, limit, |_| {}).await;
    }
}

/// What a worker unpacks.
async fn unpacked(world: &World) {
    let archives = List::all(key::archives(&world.app));
    let Ok(archives) = world.deps.store.list_all(archives).await else { return };
    for entry in archives.entries {
        let Key::Archive(app, digest) = entry.to_key() else { continue };
        let _ = Catalog::new(world.deps.clone()).get_archive(&app, &digest).await;
        // Also one that has not this digest: a deployer may write what it likes.
        let key = Key::Archive(app, digest);
        let found = world.deps.store.get(&key, ByteRange::Whole(u64::MAX)).await.expect("it is listed");
        let folder = tempfile::tempdir().expect("a folder");
        let _ = archive::unpack(&found.body[..], &folder.path().join("code"));
    }
}

/// None of these ends because of one object.
async fn reconciler(world: &World) {
    world.pass(30);
    let sent = upkeep::resend_lost(&world.deps).await.expect("it goes on past what it cannot read");
    assert!(sent >= 1, "the call of the last app is lost");
    let options = upkeep::Options { dry_run: true, all: true };
    upkeep::on_demand(&world.deps, "w", options).await.expect("it goes on past what it cannot read");
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

/// Everything that is on the queues, as dead letters.
async fn dead(world: &World) {
    let (deps, queues) = (&world.deps, &world.deps.queues);
    for lane in world.lanes() {
        let received = lane.live.receive(10, Default::default(), Default::default()).await;
        for message in received.expect("the queue never fails") {
            lane.dead.send(vec![Outgoing::new(message.body)]).await.expect("sent");
        }
    }
    for letter in dead_letters::list(queues, 100).await.expect("the queue never fails") {
        let _ = dead_letters::show(queues, &letter.id).await;
    }
    let _ = dead_letters::redrive(deps, &dead_letters::Selection::All).await;
    let _ = dead_letters::purge(queues, &dead_letters::Selection::All).await;
}

async fn controls(world: &World) {
    for id in &world.batches {
        let limits = Some(BatchLimits { concurrency_max: Some(3), rate_max: None });
        for paused in [true, false] {
            let change = control::Change { paused: Some(paused), limits };
            let _ = control::change(&world.deps, *id, "somebody", change).await;
        }
    }
}

async fn deploys(world: &World) {
    let (catalog, app) = (Catalog::new(world.deps.clone()), &world.app);
    for key in ["key", "another"] {
        for payload in ["payload", "other"] {
            let request = world.request(app, "/f", Some(key));
            let _ = world.submit(submit::Request { payload: payload.into(), ..request }).await;
        }
    }
    let image = Source::Image { reference: "f:2".to_owned(), digest: None };
    let _ = catalog.publish(app, world.deploy("f", image)).await;
    let function = "g".parse().expect("a name");
    let change = |function: &mut Function| {
        function.config.insert("LEVEL".to_owned(), "4".to_owned());
        Ok(())
    };
    let _ = catalog.update_function(app, &function, change).await;
    let clear = |app: &mut App| {
        app.config.clear();
        Ok(())
    };
    let _ = catalog.update_app(app, clear).await;
    let _ = catalog.set_retention(Retention::For(Duration::from_secs(86_400))).await;
}

/// People and workers who delete, after everything else.
pub fn deleters(world: &World) -> Readers<'_> {
    vec![("old things", Box::pin(old(world))), ("deletes", Box::pin(deletes(world)))]
}

/// Also what is past all retention.
async fn old(world: &World) {
    for days in [2, 400] {
        world.pass(24 * days);
        let options = upkeep::Options { dry_run: false, all: days == 400 };
        upkeep::on_demand(&world.deps, "w", options).await.expect("it goes on past what it cannot read");
    }
}

async fn deletes(world: &World) {
    let (deps, catalog, app) = (&world.deps, Catalog::new(world.deps.clone()), &world.app);
    for id in &world.batches {
        let _ = delete::delete_batch(deps, &BatchRef::new(app, *id), "somebody", "enough").await;
    }
    let _ = delete::delete_calls(deps, app, "somebody").await;
    for function in ["f", "g"] {
        let _ = catalog.delete_function(app, &function.parse().expect("a name")).await;
    }
    let _ = catalog.delete_app(app).await;
    let _ = delete::delete_code(deps, app, "somebody").await;
}
