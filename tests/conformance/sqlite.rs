//! One SQLite file, within one process.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use afn::backend::sqlite::Sqlite;
use afn::layout::Key;
use afn::model::Time;
use afn::seam::clock::SystemClock;
use afn::seam::count::{CountQueue, CountStore, Counts};
use afn::seam::fault::{FaultQueue, FaultStore, Rates, SeededFaults};
use afn::seam::queue::Outgoing;
use afn::seam::retry::{Policy, RetryQueue, RetryStore};
use afn::seam::rng::SeededRng;
use afn::seam::store::{ByteRange, List, PutObject};
use afn::seam::{Clock, Queue, Rng, Store, StoreError, StoreExt as _};
use async_trait::async_trait;
use futures_util::future::join_all;

use super::suite::queue::{BUSY, QueueStand};
use super::suite::store::StoreStand;

const LONG: Duration = Duration::from_secs(60);

fn open(path: &Path) -> Sqlite {
    Sqlite::open(path, Arc::new(SystemClock)).expect("open")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn store(wrap: fn(Arc<dyn Store>) -> Arc<dyn Store>) -> StoreStand {
    let folder = folder();
    let store = wrap(open(&folder.path().join("afn.db")).store());
    StoreStand { keep: Box::new(folder), ..StoreStand::new(store) }
}

fn queue(wrap: fn(Arc<dyn Queue>) -> Arc<dyn Queue>) -> QueueStand {
    let folder = folder();
    let sqlite = open(&folder.path().join("afn.db"));
    QueueStand {
        queue: wrap(sqlite.queue("calls")),
        clock: Arc::new(SystemClock),
        tick: Duration::from_millis(500),
        slack: Duration::from_secs(1),
        busy: BUSY,
        old_receipts_act: false,
        lapsed_leases_come_back: true,
        keep: Box::new(folder),
    }
}

/// The same handle hears of a write at once; another open of the file, as another process has it, looks for it.
#[tokio::test]
async fn who_waits_for_an_object_hears_that_it_was_written() {
    let folder = folder();
    let path = folder.path().join("afn.db");
    let (writes, other) = (open(&path).store(), open(&path).store());
    let counts = Arc::new(Counts::default());
    let counted = CountStore::new(writes.clone(), counts);
    let key = Key::text("outcome");
    let waits = [counted.created(&key), other.created(&key)];
    let not_yet = other.created(&Key::text("another"));
    writes.put(&key, PutObject::create("{}")).await.expect("a put");
    tokio::time::timeout(LONG, join_all(waits)).await.expect("both hear of it");
    let silence = tokio::time::timeout(Duration::from_millis(200), not_yet).await;
    assert!(silence.is_err(), "nobody wrote that one");
    let late = other.created(&key);
    tokio::time::timeout(LONG, late).await.expect("what is there already is found");
}

mod bare {
    use super::*;

    store_suite!([tokio::test], store(|store| store));
    queue_suite!([tokio::test], queue(|queue| queue));
}

/// As a context builds it, and a fault injector beneath that injects nothing.
mod decorated {
    use super::*;

    fn rng() -> Arc<dyn Rng> {
        Arc::new(SeededRng::new(1))
    }

    fn clock() -> Arc<dyn Clock> {
        Arc::new(SystemClock)
    }

    fn no_faults() -> Arc<SeededFaults> {
        Arc::new(SeededFaults::new(rng(), Rates::default()))
    }

    store_suite!(
        [tokio::test],
        store(|store| {
            let store = Arc::new(FaultStore::new(store, clock(), no_faults()));
            let store = Arc::new(CountStore::new(store, Arc::<Counts>::default()));
            Arc::new(RetryStore::new(store, clock(), rng(), Policy::default()))
        })
    );
    queue_suite!(
        [tokio::test],
        queue(|queue| {
            let queue = Arc::new(FaultQueue::new("calls", queue, clock(), no_faults()));
            let queue = Arc::new(CountQueue::new(queue, Arc::<Counts>::default()));
            Arc::new(RetryQueue::new(queue, clock(), rng(), Policy::default()))
        })
    );
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let folder = folder();
    let path = folder.path().join("afn.db");
    let body = vec![7; 3_000_000];
    {
        let sqlite = open(&path);
        let object = PutObject::create(body.clone()).content_type("text/plain").metadata("{}".to_owned());
        sqlite.store().put(&Key::text("a"), object).await.unwrap();
        sqlite.queue("calls").send(vec![Outgoing::new("m".to_owned())]).await.unwrap()[0].clone().unwrap();
    }
    let sqlite = open(&path);
    let object = sqlite.store().get(&Key::text("a"), ByteRange::Whole(u64::MAX)).await.unwrap();
    assert!(object.body == body);
    assert_eq!(object.info.content_type.as_deref(), Some("text/plain"));
    let messages = sqlite.queue("calls").receive(10, Duration::ZERO, LONG).await.unwrap();
    assert_eq!(messages.len(), 1);
    assert_eq!(sqlite.queue("chunks").receive(10, Duration::ZERO, LONG).await.unwrap(), vec![]);
}

#[tokio::test]
async fn an_etag_never_comes_back() {
    let folder = folder();
    let store = open(&folder.path().join("afn.db")).store();
    let mut etags = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let etag = store.put(&Key::text("a"), PutObject::create("same")).await.unwrap();
        let again = store.put(&Key::text("a"), PutObject::replace("same", etag.clone())).await.unwrap();
        assert!(etags.insert(etag.0) && etags.insert(again.0));
        store.delete(&[Key::text("a")]).await.unwrap();
    }
}

#[tokio::test]
async fn only_the_owner_can_read_it() {
    let folder = folder();
    let path = folder.path().join("new/data/afn.db");
    let sqlite = open(&path);
    sqlite.store().put(&Key::text("a"), PutObject::create("x")).await.unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let files = std::fs::read_dir(path.parent().unwrap()).unwrap();
    let mut seen = 0;
    for file in files {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        seen += 1;
    }
    assert!(seen >= 2, "the log lies beside the file while it is open");
}

fn refusal(path: &Path) -> afn::Error {
    Sqlite::open(path, Arc::new(SystemClock)).err().expect("refused")
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_left_alone() {
    let folder = folder();
    let text = folder.path().join("notes.txt");
    let content = "no database at all, ".repeat(100);
    std::fs::write(&text, &content).unwrap();
    assert!(refusal(&text).message().ends_with("is not a SQLite file"), "{}", refusal(&text));
    assert_eq!(std::fs::read_to_string(&text).unwrap(), content);

    let foreign = folder.path().join("foreign.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = std::fs::read(&foreign).unwrap();
    assert!(refusal(&foreign).message().ends_with("is a SQLite file of another program"));
    assert_eq!(std::fs::read(&foreign).unwrap(), before);

    let missing = Path::new("/proc/none/afn.db");
    assert!(refusal(missing).message().starts_with("open `/proc/none`"), "{}", refusal(missing));
}

#[test]
fn a_newer_file_is_refused() {
    let folder = folder();
    let path = folder.path().join("afn.db");
    drop(open(&path));
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = refusal(&path);
    assert!(error.message().contains("has format 99, this program knows formats up to 2"), "{error}");
    assert_eq!(error.hint_text(), Some("it was written by a newer afn: use that one"));
}

/// What an older program has left on its queues is received.
#[tokio::test]
async fn a_file_of_format_1_is_brought_to_this_one() {
    let folder = folder();
    let path = folder.path().join("afn.db");
    open(&path).queue("calls").send(vec![Outgoing::new("left".to_owned())]).await.unwrap();
    let older = rusqlite::Connection::open(&path).unwrap();
    let undo = "DROP INDEX messages_by_group; DROP INDEX messages_in_flight;
        ALTER TABLE messages DROP COLUMN grp; PRAGMA user_version = 1";
    older.execute_batch(undo).unwrap();
    drop(older);
    let queue = open(&path).queue("calls");
    queue
        .send(vec![Outgoing { group: Some("app".to_owned()), ..Outgoing::new("new".to_owned()) }])
        .await
        .unwrap();
    let received = queue.receive(10, Duration::ZERO, LONG).await.unwrap();
    assert_eq!(received.iter().map(|message| &*message.body).collect::<Vec<_>>(), ["left", "new"]);
    drop(open(&path));
}

/// A clock whose wall time can be set, as people and NTP do.
struct SteppedClock {
    started: tokio::time::Instant,
    wall: Mutex<Time>,
}

#[async_trait]
impl Clock for SteppedClock {
    fn now(&self) -> Time {
        self.wall.lock().unwrap().plus_ms(self.monotonic().as_millis() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[tokio::test]
async fn a_clock_set_back_hides_nothing_for_longer_than_it_was_hidden() {
    let folder = folder();
    let path = folder.path().join("afn.db");
    let clock = Arc::new(SteppedClock {
        started: tokio::time::Instant::now(),
        wall: Mutex::new(Time(1_800_000_000_000)),
    });
    {
        let queue = Sqlite::open(&path, clock.clone()).unwrap().queue("calls");
        queue.send(vec![Outgoing::new("leased".to_owned())]).await.unwrap();
        let leased = queue.receive(1, Duration::ZERO, Duration::from_secs(2)).await.unwrap();
        assert_eq!(leased.len(), 1);
        let delayed = Outgoing { delay: Duration::from_secs(2), ..Outgoing::new("delayed".to_owned()) };
        queue.send(vec![Outgoing::new("visible".to_owned()), delayed]).await.unwrap();
    }
    *clock.wall.lock().unwrap() = Time(1_700_000_000_000);
    let queue = Sqlite::open(&path, clock.clone()).unwrap().queue("calls");
    let mut bodies = Vec::new();
    let before = clock.monotonic();
    while bodies.len() < 3 {
        let messages = queue.receive(1, Duration::from_secs(20), LONG).await.unwrap();
        assert!(!messages.is_empty(), "only {bodies:?} came back");
        bodies.extend(messages.into_iter().map(|message| message.body));
        let waited = clock.monotonic() - before;
        assert!(waited < LONG, "{bodies:?} took {waited:?}");
    }
    assert_eq!(bodies.remove(0), "visible", "what was not hidden comes at once");
    bodies.sort();
    assert_eq!(bodies, ["delayed", "leased"]);
}

/// Writes of which some are refused join one transaction: each stands for itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_join_a_transaction_stand_for_themselves() {
    let folder = folder();
    let store = open(&folder.path().join("afn.db")).store();
    let refused = AtomicU64::new(0);
    let writes = (0..400).map(|n| {
        let (store, refused) = (&store, &refused);
        async move {
            let key = Key::text(format!("k/{}", n / 2));
            match store.put(&key, PutObject::create(format!("{n}").into_bytes())).await {
                Ok(_) => {}
                Err(StoreError::Exists) => {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => panic!("{key}: {error}"),
            }
        }
    });
    join_all(writes).await;
    assert_eq!(refused.into_inner(), 200);
    assert_eq!(store.list_all(List::all("k/")).await.unwrap().entries.len(), 200);
}

/// Another process that holds the file for a while is waited for, by writers and by whoever opens it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_held_elsewhere_is_waited_for() {
    let folder = folder();
    let path = folder.path().join("afn.db");
    let store = open(&path).store();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let held = Duration::from_millis(400);
    let before = SystemClock.monotonic();
    let release = std::thread::spawn(move || {
        std::thread::sleep(held);
        other.execute_batch("ROLLBACK").unwrap();
    });
    let opened = path.clone();
    let key = Key::text("a");
    let (put, opened) = tokio::join!(
        store.put(&key, PutObject::create("x")),
        tokio::task::spawn_blocking(move || open(&opened).store()),
    );
    put.unwrap();
    assert!(SystemClock.monotonic() - before >= held, "nothing is written while another holds the lock");
    assert_eq!(opened.unwrap().get(&key, ByteRange::Whole(u64::MAX)).await.unwrap().body, "x");
    release.join().unwrap();
}

/// A put whose caller has gone is done all the same, or not at all.
#[tokio::test]
async fn a_write_that_nobody_waits_for_is_whole() {
    let folder = folder();
    let store = open(&folder.path().join("afn.db")).store();
    for n in 0..20 {
        let key = Key::text(format!("k/{n}"));
        let put = store.put(&key, PutObject::create(vec![n; 1_500_000]));
        let _ = tokio::time::timeout(Duration::from_micros(u64::from(n) * 50), put).await;
    }
    store.put(&Key::text("last"), PutObject::create("x")).await.unwrap();
    for entry in store.list_all(List::all("k/")).await.unwrap().entries {
        let body = store.get(&entry.to_key(), ByteRange::Whole(u64::MAX)).await.unwrap().body;
        let n: u8 = entry.key[2..].parse().unwrap();
        assert!(body.len() == 1_500_000 && body.iter().all(|byte| *byte == n), "{} is torn", entry.key);
    }
}
