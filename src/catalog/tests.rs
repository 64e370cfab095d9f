//! The catalog on a store in memory: alone, beside rivals, and on a bad day.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::join_all;

use super::*;
use crate::backend::memory::{MemoryQueue, MemoryStore};
use crate::error::{Code, Error};
use crate::event::Silent;
use crate::layout::envelope::Envelope;
use crate::layout::object::{self, RouteTarget};
use crate::layout::{Fact as _, Key};
use crate::model::{
    App, AppName, Config, Digest, Format, Function, FunctionName, Kind, Limits, Route, Source, Time, Version,
};
use crate::seam::clock::PausedClock;
use crate::seam::fault::{Fate, Fault, FaultStore, Faults, Operation, Rates, Request, SeededFaults};
use crate::seam::queue::{QueuePair, Queues};
use crate::seam::retry::{Policy, RetryStore};
use crate::seam::rng::SeededRng;
use crate::seam::store::PutObject;
use crate::seam::{Clock, Store};

fn deps(store: Arc<dyn Store>, clock: Arc<dyn Clock>, seed: u64) -> Deps {
    let lane = || QueuePair {
        live: Arc::new(MemoryQueue::new(clock.clone())),
        dead: Arc::new(MemoryQueue::new(clock.clone())),
    };
    let queues = Queues { calls: lane(), chunks: lane(), batches: lane() };
    Deps { store, queues, rng: Arc::new(SeededRng::new(seed)), events: Arc::new(Silent), clock }
}

fn catalog() -> Catalog {
    let clock = PausedClock::start();
    Catalog::new(deps(Arc::new(MemoryStore::new(clock.clone())), clock, 1))
}

/// A catalog on a store that errs as `faults` say, with the retries that production has.
fn faulty(inner: Arc<dyn Store>, clock: &Arc<dyn Clock>, faults: Arc<dyn Faults>, seed: u64) -> Catalog {
    let store = Arc::new(FaultStore::new(inner, clock.clone(), faults));
    let rng = Arc::new(SeededRng::new(seed));
    let policy = Policy { tries_max: 100, elapsed_max: Duration::from_secs(3600), ..Policy::default() };
    Catalog::new(deps(Arc::new(RetryStore::new(store, clock.clone(), rng, policy)), clock.clone(), seed))
}

fn app() -> AppName {
    "asyncapp".parse().unwrap()
}

fn name(text: &str) -> FunctionName {
    text.parse().unwrap()
}

fn route(text: &str) -> Route {
    text.parse().unwrap()
}

fn version(label: &str) -> Version {
    let source = Source::Image { reference: format!("asyncfn:{label}"), digest: None };
    Version {
        os: Some("linux".to_owned()),
        arch: Some("amd64".to_owned()),
        runtime: Some("go".to_owned()),
        format: Format::HttpStream,
        ..Version::new(label, source, Limits::default(), Time(0)).unwrap()
    }
}

fn publish(function: &str, at: &str) -> Publish {
    Publish {
        name: name(function),
        route: route(at),
        kind: Kind::Async,
        config: None,
        annotations: Default::default(),
        version: version("0.0.2"),
    }
}

fn config(pairs: &[(&str, &str)]) -> Config {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn says(error: &Error) -> String {
    match error.hint_text() {
        Some(hint) => format!("{error} / {hint}"),
        None => error.to_string(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_app_is_created_changed_listed_and_deleted() {
    let catalog = catalog();
    let created = catalog.create_app(&app(), config(&[("A", "1")]), Default::default()).await.unwrap();
    assert_eq!(catalog.app(&app()).await.unwrap(), created);
    let again = catalog.create_app(&app(), Config::new(), Default::default()).await.unwrap_err();
    assert_eq!(again.code(), Code::Conflict);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let changed = catalog
        .update_app(&app(), |app| {
            app.config.insert("B".to_owned(), "2".to_owned());
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(changed.config, config(&[("A", "1"), ("B", "2")]));
    assert_eq!(
        (changed.created_at, changed.updated_at),
        (created.created_at, created.created_at.plus_ms(1_000))
    );
    assert_ne!(changed.nonce, created.nonce);
    catalog.ensure_app(&"zoo".parse().unwrap()).await.unwrap();
    catalog.ensure_app(&app()).await.unwrap();
    assert_eq!(catalog.list_apps().await.unwrap(), [app(), "zoo".parse().unwrap()]);
    catalog.delete_app(&app()).await.unwrap();
    assert_eq!(catalog.app(&app()).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(catalog.list_apps().await.unwrap(), ["zoo".parse().unwrap()]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_found_comes_with_the_nearest_name() {
    let catalog = catalog();
    let missing = catalog.app(&app()).await.unwrap_err();
    assert_eq!(
        says(&missing),
        "app `asyncapp` not found / there are no apps here; `afn deploy --app asyncapp` creates it"
    );
    catalog.publish(&app(), publish("asyncfn", "/asyncfn")).await.unwrap();
    let missing = catalog.app(&"asynapp".parse().unwrap()).await.unwrap_err();
    assert_eq!(
        says(&missing),
        "app `asynapp` not found / did you mean `asyncapp`? `afn list apps` shows all"
    );
    let missing = catalog.function(&app(), &name("asyncfm")).await.unwrap_err();
    assert_eq!(
        says(&missing),
        "function `asyncfm` not found in app `asyncapp` / did you mean `asyncfn`? `afn list functions asyncapp` shows all"
    );
    let missing = catalog.resolve(&app(), &route("/zebra")).await.unwrap_err();
    assert_eq!(says(&missing), "route `/zebra` not found in app `asyncapp` / the app has `/asyncfn`");
    let missing = catalog.list_functions(&"zoo".parse().unwrap()).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert!(missing.message().starts_with("app `zoo`"));
}

#[tokio::test(start_paused = true)]
async fn a_function_is_published_and_found_by_its_route() {
    let catalog = catalog();
    let first = catalog.publish(&app(), publish("asyncfn", "/asyncfn")).await.unwrap();
    assert_eq!(catalog.resolve(&app(), &route("/asyncfn")).await.unwrap(), first);
    assert_eq!(catalog.list_functions(&app()).await.unwrap(), std::slice::from_ref(&first));
    let stored = catalog.version(&app(), &first.name, &first.version).await.unwrap();
    assert_eq!(stored.id, first.version);
    assert_eq!(version_id(&stored).unwrap(), first.version);
    assert!(first.version.as_str().starts_with("0.0.2-") && first.version.as_str().len() == 18);

    // The same again, later: the same version, made when it was made.
    let mut again = publish("asyncfn", "/asyncfn");
    again.version.created_at = Time(9);
    let second = catalog.publish(&app(), again).await.unwrap();
    assert_eq!(second.version, first.version);
    assert_eq!(catalog.version(&app(), &first.name, &first.version).await.unwrap().created_at, Time(0));

    let mut other = publish("asyncfn", "/asyncfn");
    other.version.limits.memory_mib = 256;
    let third = catalog.publish(&app(), other).await.unwrap();
    assert_ne!(third.version, first.version);
    assert_eq!(third.created_at, first.created_at);
    catalog.version(&app(), &first.name, &first.version).await.expect("versions stay");
}

#[tokio::test(start_paused = true)]
async fn config_set_by_hand_outlives_a_deploy() {
    let catalog = catalog();
    let with = |pairs| Publish { config: Some(config(pairs)), ..publish("asyncfn", "/asyncfn") };
    catalog.publish(&app(), with(&[("A", "1"), ("B", "1")])).await.unwrap();
    let set = |function: &mut Function| {
        function.config.insert("HAND".to_owned(), "1".to_owned());
        Ok(())
    };
    catalog.update_function(&app(), &name("asyncfn"), set).await.unwrap();
    let after = catalog.publish(&app(), with(&[("A", "2"), ("B", "")])).await.unwrap();
    assert_eq!(after.config, config(&[("A", "2"), ("HAND", "1")]));
}

#[tokio::test(start_paused = true)]
async fn a_route_leads_to_one_function() {
    let catalog = catalog();
    catalog.publish(&app(), publish("one", "/r")).await.unwrap();
    let taken = catalog.publish(&app(), publish("two", "/r")).await.unwrap_err();
    assert_eq!(taken.code(), Code::Conflict);
    assert_eq!(taken.message(), "route `/r` of app `asyncapp` leads to function `one`");
    assert!(catalog.function(&app(), &name("two")).await.is_err(), "it is refused before it is there");

    // A function that moves leaves its route to others.
    catalog.publish(&app(), publish("one", "/new")).await.unwrap();
    assert_eq!(catalog.resolve(&app(), &route("/r")).await.unwrap_err().code(), Code::NotFound);
    catalog.publish(&app(), publish("two", "/r")).await.unwrap();
    assert_eq!(catalog.resolve(&app(), &route("/r")).await.unwrap().name, name("two"));
    assert_eq!(catalog.resolve(&app(), &route("/new")).await.unwrap().name, name("one"));
}

#[tokio::test(start_paused = true)]
async fn a_deploy_that_was_cut_off_blocks_nobody() {
    let catalog = catalog();
    let key = Key::Route(app(), route("/r"));
    let left = RouteTarget { function: name("gone"), nonce: catalog.deps.nonce() };
    catalog.deps.store.put(&key, PutObject::create(object::encode(&left))).await.unwrap();
    catalog.ensure_app(&app()).await.unwrap();
    assert_eq!(catalog.resolve(&app(), &route("/r")).await.unwrap_err().code(), Code::NotFound);
    catalog.publish(&app(), publish("here", "/r")).await.unwrap();
    assert_eq!(catalog.resolve(&app(), &route("/r")).await.unwrap().name, name("here"));
}

#[tokio::test(start_paused = true)]
async fn who_took_a_claim_for_left_behind_cannot_take_it_after_all() {
    let catalog = catalog();
    // `slow` has read the claim of `quick` before the function of `quick` was there ...
    catalog.claim_route(&app(), &route("/r"), &name("quick")).await.unwrap();
    let seen: RouteTarget = catalog.deps.store.read_fact(&(app(), route("/r"))).await.unwrap();
    // ... and writes its own after the deploy of `quick` has ended.
    catalog.publish(&app(), publish("quick", "/r")).await.unwrap();
    let taken =
        catalog.take_over_route(&app(), &route("/r"), &name("slow"), &seen).await.expect_err("a conflict");
    assert_eq!(taken.message(), "route `/r` of app `asyncapp` leads to function `quick`");
    assert_eq!(catalog.resolve(&app(), &route("/r")).await.unwrap().name, name("quick"));
}

#[tokio::test(start_paused = true)]
async fn deleting_takes_the_definitions_and_leaves_the_facts() {
    let catalog = catalog();
    let function = catalog.publish(&app(), publish("asyncfn", "/asyncfn")).await.unwrap();
    let used = catalog.delete_app(&app()).await.unwrap_err();
    assert_eq!(
        says(&used),
        "app `asyncapp` still has function `asyncfn` / delete what it has first: `afn delete function asyncapp asyncfn`"
    );
    catalog.delete_function(&app(), &function.name).await.unwrap();
    assert_eq!(catalog.list_functions(&app()).await.unwrap(), []);
    assert_eq!(catalog.resolve(&app(), &function.route).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(catalog.delete_function(&app(), &function.name).await.unwrap_err().code(), Code::NotFound);
    catalog.version(&app(), &function.name, &function.version).await.expect("accepted calls still run on it");
    catalog.delete_app(&app()).await.unwrap();
    assert_eq!(catalog.list_apps().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_name_route_or_version_is_no_update() {
    let catalog = catalog();
    catalog.publish(&app(), publish("asyncfn", "/asyncfn")).await.unwrap();
    let move_it = |function: &mut Function| {
        function.route = route("/elsewhere");
        Ok(())
    };
    let moved = catalog.update_function(&app(), &name("asyncfn"), move_it).await.unwrap_err();
    assert_eq!(moved.code(), Code::Internal);
}

#[tokio::test(start_paused = true)]
async fn an_archive_is_what_its_digest_says() {
    let catalog = catalog();
    let digest = catalog.put_archive(&app(), "packed".into()).await.unwrap();
    assert_eq!(catalog.put_archive(&app(), "packed".into()).await.unwrap(), digest);
    assert_eq!(catalog.get_archive(&app(), &digest).await.unwrap(), "packed");
    let other = Digest::of(b"other");
    assert_eq!(catalog.get_archive(&app(), &other).await.unwrap_err().code(), Code::NotFound);
    let key = Key::Archive(app(), other.clone());
    catalog.deps.store.put(&key, PutObject::create("damaged")).await.unwrap();
    assert_eq!(catalog.get_archive(&app(), &other).await.unwrap_err().code(), Code::Internal);
    assert_eq!(catalog.put_archive(&app(), "other".into()).await.unwrap_err().code(), Code::Internal);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_not_what_its_name_says_is_found_out() {
    let catalog = catalog();
    let function = catalog.publish(&app(), publish("asyncfn", "/asyncfn")).await.unwrap();
    let key = Key::Version(app(), function.name.clone(), function.version.clone());
    catalog.deps.store.delete(std::slice::from_ref(&key)).await.unwrap();
    let forged = Version { id: function.version.clone(), label: "9.9.9".to_owned(), ..version("0.0.2") };
    catalog.deps.store.put(&key, PutObject::create(object::encode(&forged))).await.unwrap();
    let error = catalog.publish(&app(), publish("asyncfn", "/asyncfn")).await.unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    let error = catalog.version(&app(), &function.name, &function.version).await.unwrap_err();
    assert!(error.message().ends_with("holds another version than its name says"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_version_under_the_name_of_another_function_or_with_fields_of_a_newer_afn_is_read() {
    let catalog = catalog();
    let function = catalog.publish(&app(), publish("asyncfn", "/asyncfn")).await.unwrap();
    let of = |label: &str| (app(), function.name.clone(), label.parse().unwrap());
    // A version with its own id under the key of another one.
    let other = Version { id: version_id(&version("0.0.3")).unwrap(), ..version("0.0.3") };
    let key = Version::key(&of("0.0.3-000000000000"));
    catalog.deps.store.put(&key, PutObject::create(object::encode(&other))).await.unwrap();
    let (app, name, id) = of("0.0.3-000000000000");
    assert_eq!(catalog.version(&app, &name, &id).await.unwrap_err().code(), Code::Internal);

    let mut json = serde_json::to_value(Envelope::of(&other)).unwrap();
    json["newer"] = "field".into();
    let mut content = json.clone();
    content.as_object_mut().unwrap().retain(|field, _| field != "id" && field != "created_at");
    let id = format!("0.0.3-{}", &Digest::of(content.to_string().as_bytes()).as_str()[..12]);
    json["id"] = id.clone().into();
    let key = Version::key(&of(&id));
    catalog.deps.store.put(&key, PutObject::create(json.to_string())).await.unwrap();
    let found = catalog.version(&app, &name, &id.parse().unwrap()).await.unwrap();
    assert_eq!(found.label, "0.0.3");
}

/// Loses the answer to the first writes of one key.
struct LoseReplies {
    key: String,
    left: AtomicU32,
}

impl Faults for LoseReplies {
    fn fate(&self, request: &Request<'_>) -> Fate {
        let hit = request.operation == Operation::Put && request.target == self.key;
        let lose = hit && self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        Fate::of(if lose { Fault::LoseReply } else { Fault::None })
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_is_known_by_its_nonce() {
    let clock = PausedClock::start();
    let inner: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let faults = Arc::new(LoseReplies { key: Key::App(app()).to_string(), left: 3.into() });
    let catalog = faulty(inner, &clock, faults.clone(), 1);
    let created = catalog.create_app(&app(), Config::new(), Default::default()).await.unwrap();
    assert_eq!(catalog.app(&app()).await.unwrap(), created);
    faults.left.store(2, Relaxed);
    let runs = AtomicU32::new(0);
    let set = |app: &mut App| {
        runs.fetch_add(1, Relaxed);
        app.config.insert("N".to_owned(), "1".to_owned());
        Ok(())
    };
    let changed = catalog.update_app(&app(), set).await.unwrap();
    assert_eq!(runs.load(Relaxed), 1, "it was done, and is not done again");
    assert_eq!(catalog.app(&app()).await.unwrap(), changed);
    assert_eq!(faults.left.load(Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn on_a_bad_day_no_change_is_lost() {
    const RIVALS: u64 = 6;
    for seed in 0..30 {
        let clock = PausedClock::start();
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        // Late writes apart: nothing of S3's tells a late delete from a new one.
        let rates = Rates { late: 0, ..Rates::bad_day() };
        let faults = Arc::new(SeededFaults::new(Arc::new(SeededRng::new(seed)), rates));
        let rivals = (0..RIVALS).map(|rival| {
            let catalog = faulty(inner.clone(), &clock, faults.clone(), seed * 100 + rival + 1);
            async move {
                let function = format!("fn{rival}");
                catalog.publish(&app(), publish(&function, &format!("/{function}"))).await.expect(&function);
                let key = format!("K{rival}");
                let set = |app: &mut App| {
                    app.config.insert(key.clone(), "set".to_owned());
                    Ok(())
                };
                catalog.update_app(&app(), set).await.expect("all get their turn");
                catalog.publish(&app(), publish(&format!("rival{rival}"), "/one")).await
            }
        });
        let races = join_all(rivals).await;
        let catalog = Catalog::new(deps(inner, clock, 1));
        let keys: Vec<String> = catalog.app(&app()).await.unwrap().config.into_keys().collect();
        assert_eq!(keys, ["K0", "K1", "K2", "K3", "K4", "K5"], "seed {seed}");
        for rival in 0..RIVALS {
            let at = route(&format!("/fn{rival}"));
            assert_eq!(catalog.resolve(&app(), &at).await.unwrap().name, name(&format!("fn{rival}")));
        }
        let won: Vec<&Function> = races.iter().flatten().collect();
        assert!(won.len() <= 1, "seed {seed}: one route, won by {won:?}");
        for lost in races.iter().filter_map(|race| race.as_ref().err()) {
            assert_eq!(lost.code(), Code::Conflict, "seed {seed}: {lost}");
        }
        if let Some(winner) = won.first() {
            assert_eq!(
                catalog.resolve(&app(), &route("/one")).await.unwrap().name,
                winner.name,
                "seed {seed}"
            );
        }
        assert!(faults.injected().values().sum::<u64>() > 0, "seed {seed} met no fault");
    }
}

/// One of both is told, the deploy or the deletion.
#[tokio::test(start_paused = true)]
async fn no_deploy_beside_a_deletion_with_data_loses_its_version_unnoticed() {
    let mut told = 0;
    for seed in 0..100 {
        let clock = PausedClock::start();
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        let first = Catalog::new(deps(inner.clone(), clock.clone(), 1));
        first.ensure_app(&app()).await.unwrap();
        let function = publish("f", "/f");
        let stored = first.put_version(&app(), &function.name, function.version.clone()).await.unwrap();
        let slow = Rates { slow: 8_000, slow_max: Duration::from_millis(50), ..Rates::default() };
        let faults = Arc::new(SeededFaults::new(Arc::new(SeededRng::new(seed)), slow));
        let deployer = faulty(inner.clone(), &clock, faults.clone(), seed + 1);
        let deleter = faulty(inner.clone(), &clock, faults, seed + 1_000);
        let (app, version) = (app(), Key::Version(app(), name("f"), stored.id.clone()));
        let (published, deleted) = tokio::join!(deployer.publish(&app, function), async {
            tokio::time::sleep(Duration::from_millis(10 * (seed % 20))).await;
            deleter.deps.store.delete(std::slice::from_ref(&version)).await.unwrap();
            deleter.delete_app(&app).await
        });
        let is_lost =
            first.function(&app, &name("f")).await.is_ok() && !inner.exists(&version).await.unwrap();
        told += u32::from(is_lost && published.is_err());
        assert!(!is_lost || published.is_err() || deleted.is_err(), "seed {seed}");
    }
    assert!(told > 0, "no deploy met a deletion");
}

#[tokio::test(start_paused = true)]
async fn an_app_that_is_deleted_beside_a_deploy_is_there_or_has_no_function() {
    for seed in 0..60 {
        let clock = PausedClock::start();
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        Catalog::new(deps(inner.clone(), clock.clone(), 1)).ensure_app(&app()).await.unwrap();
        let slow = Rates { slow: 8_000, slow_max: Duration::from_millis(50), ..Rates::default() };
        let faults = Arc::new(SeededFaults::new(Arc::new(SeededRng::new(seed)), slow));
        let deployer = faulty(inner.clone(), &clock, faults.clone(), seed + 1);
        let deleter = faulty(inner.clone(), &clock, faults, seed + 1_000);
        let app = app();
        let (published, _) =
            tokio::join!(deployer.publish(&app, publish("f", "/f")), deleter.delete_app(&app));
        published.unwrap();
        let catalog = Catalog::new(deps(inner, clock, 1));
        assert_eq!(catalog.list_functions(&app).await.expect("the app is there").len(), 1, "seed {seed}");
    }
}
