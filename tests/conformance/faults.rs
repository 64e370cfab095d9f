//! Faults and what repeating makes of them, in time that does not pass by itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use afn::backend::memory::{MemoryQueue, MemoryStore};
use afn::event::{Event, Listener};
use afn::layout::Key;
use afn::limits;
use afn::seam::clock::PausedClock;
use afn::seam::count::{CountQueue, CountStore, Counts};
use afn::seam::fault::{Fate, Fault, FaultQueue, FaultStore, Faults, Request};
use afn::seam::queue::{Outgoing, QueueError};
use afn::seam::retry::{Policy, RetryQueue, RetryStore};
use afn::seam::rng::SeededRng;
use afn::seam::store::{ByteRange, List, PutObject};
use afn::seam::{Clock, Queue, Store, StoreError, StoreExt as _};

const LONG: Duration = Duration::from_secs(60);

/// Befalls requests one after another with what it was given; after that nothing happens.
#[derive(Default)]
pub struct Script(Mutex<VecDeque<Fault>>);

impl Script {
    pub fn of(faults: &[Fault]) -> Arc<Script> {
        Arc::new(Script(Mutex::new(faults.iter().copied().collect())))
    }
}

impl Faults for Script {
    fn fate(&self, _: &Request<'_>) -> Fate {
        Fate::of(self.0.lock().unwrap().pop_front().unwrap_or_default())
    }
}

/// Every request is turned away, or lost.
struct Always(Fault);

impl Faults for Always {
    fn fate(&self, _: &Request<'_>) -> Fate {
        Fate::of(self.0)
    }
}

/// A store under faults, counted between them and what repeats.
pub struct Bench {
    pub clock: Arc<dyn Clock>,
    pub counts: Arc<Counts>,
    pub bare: Arc<dyn Store>,
    pub broken: Arc<dyn Store>,
    pub repeated: Arc<dyn Store>,
    pub bare_queue: Arc<dyn Queue>,
    pub broken_queue: Arc<dyn Queue>,
    pub repeated_queue: Arc<dyn Queue>,
}

pub fn bench(seed: u64, faults: Arc<dyn Faults>) -> Bench {
    let clock = PausedClock::start();
    let counts = Arc::<Counts>::default();
    let rng = Arc::new(SeededRng::new(seed ^ 0xabcd));
    let bare: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let broken: Arc<dyn Store> = Arc::new(FaultStore::new(bare.clone(), clock.clone(), faults.clone()));
    let counted = Arc::new(CountStore::new(broken.clone(), counts.clone()));
    let repeated = RetryStore::new(counted, clock.clone(), rng.clone(), Policy::default());
    let bare_queue: Arc<dyn Queue> = Arc::new(MemoryQueue::new(clock.clone()));
    let broken_queue: Arc<dyn Queue> =
        Arc::new(FaultQueue::new("calls", bare_queue.clone(), clock.clone(), faults));
    let counted = Arc::new(CountQueue::new(broken_queue.clone(), counts.clone()));
    let repeated_queue = RetryQueue::new(counted, clock.clone(), rng, Policy::default());
    Bench {
        clock,
        counts,
        bare,
        broken,
        repeated: Arc::new(repeated),
        bare_queue,
        broken_queue,
        repeated_queue: Arc::new(repeated_queue),
    }
}

pub fn message(body: &str) -> Outgoing {
    Outgoing::new(body.to_owned())
}

#[tokio::test(start_paused = true)]
async fn each_fault_does_to_a_put_what_it_says() {
    let cases = [
        (Fault::None, true, "none"),
        (Fault::Busy, false, "busy"),
        (Fault::Unreached, false, "unreached"),
        (Fault::Conflict, false, "busy"),
        (Fault::LoseRequest, false, "lost"),
        (Fault::LoseReply, true, "lost"),
        (Fault::Late(LONG), false, "lost"),
        (Fault::Duplicate, true, "none"),
    ];
    for (fault, done, answer) in cases {
        let bench = bench(0, Script::of(&[fault]));
        let put = bench.broken.put(&Key::text("k"), PutObject::create("x")).await;
        let said = match put {
            Ok(_) => "none",
            Err(StoreError::Busy(_)) => "busy",
            Err(StoreError::Unreached(_)) => "unreached",
            Err(StoreError::Lost(_)) => "lost",
            Err(error) => panic!("{fault:?}: {error}"),
        };
        assert_eq!(said, answer, "{fault:?}");
        assert_eq!(bench.bare.exists(&Key::text("k")).await, Ok(done), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_write_arrives_when_nobody_expects_it() {
    let bench = bench(0, Script::of(&[Fault::Late(LONG), Fault::None, Fault::None, Fault::None]));
    bench.broken.put(&Key::text("k"), PutObject::create("late")).await.unwrap_err();
    bench.clock.sleep(LONG / 2).await;
    assert_eq!(bench.broken.exists(&Key::text("k")).await, Ok(false));
    bench.clock.sleep(LONG / 2).await;
    assert_eq!(bench.broken.exists(&Key::text("k")).await, Ok(true));
    // And one that comes too late changes nothing: it is as conditional as it was.
    assert_eq!(bench.broken.put(&Key::text("k"), PutObject::create("again")).await, Err(StoreError::Exists));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_lags_misses_what_is_young() {
    let lag = Fault::Lag(Duration::from_secs(5));
    let bench = bench(0, Script::of(&[lag, lag]));
    bench.bare.put(&Key::text("a/old/x"), PutObject::create("x")).await.unwrap();
    bench.clock.sleep(LONG).await;
    bench.bare.put(&Key::text("a/new/x"), PutObject::create("x")).await.unwrap();
    bench.bare.put(&Key::text("a/young"), PutObject::create("x")).await.unwrap();
    let listed = bench.broken.list(&List::grouped("a/")).await.unwrap();
    assert_eq!((listed.prefixes, listed.entries), (vec!["a/old/".to_owned()], vec![]));
    bench.clock.sleep(Duration::from_secs(5)).await;
    let listed = bench.broken.list(&List::grouped("a/")).await.unwrap();
    assert_eq!((listed.prefixes.len(), listed.entries.len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn each_fault_does_to_messages_what_it_says() {
    let receive = |bench: &Bench| {
        let queue = bench.bare_queue.clone();
        async move { queue.receive(10, Duration::ZERO, LONG).await.unwrap() }
    };
    // Sent twice.
    let sent = bench(0, Script::of(&[Fault::Duplicate]));
    sent.broken_queue.send(vec![message("m")]).await.unwrap();
    assert_eq!(receive(&sent).await.len(), 2);
    // Received, and visible to others.
    let received = bench(0, Script::of(&[Fault::None, Fault::Duplicate]));
    received.broken_queue.send(vec![message("m")]).await.unwrap();
    assert_eq!(received.broken_queue.receive(10, Duration::ZERO, LONG).await.unwrap()[0].delivery, 1);
    assert_eq!(receive(&received).await[0].delivery, 2);
    // Received by nobody, and hidden.
    let vanished = bench(0, Script::of(&[Fault::None, Fault::LoseReply]));
    vanished.broken_queue.send(vec![message("m")]).await.unwrap();
    let lost = vanished.broken_queue.receive(10, Duration::ZERO, LONG).await;
    assert!(matches!(lost, Err(QueueError::Lost(_))));
    assert_eq!(receive(&vanished).await, vec![]);
    vanished.clock.sleep(LONG).await;
    assert_eq!(receive(&vanished).await[0].delivery, 2, "the delivery that nobody got counts");
    // Later than it should.
    let delayed = bench(0, Script::of(&[Fault::Delay(LONG)]));
    delayed.broken_queue.send(vec![message("m")]).await.unwrap();
    assert_eq!(receive(&delayed).await, vec![]);
    delayed.clock.sleep(LONG).await;
    assert_eq!(receive(&delayed).await.len(), 1);
    // In another order.
    let reordered = bench(0, Script::of(&[Fault::None, Fault::Reorder]));
    reordered.broken_queue.send(vec![message("1"), message("2")]).await.unwrap();
    let bodies = reordered.broken_queue.receive(10, Duration::ZERO, LONG).await.unwrap();
    assert_eq!(bodies.iter().map(|message| message.body.as_str()).collect::<Vec<_>>(), ["2", "1"]);
    // Some of them.
    let some = bench(0, Script::of(&[Fault::Partial(0b010)]));
    let answers = some.broken_queue.send(vec![message("1"), message("2"), message("3")]).await.unwrap();
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(receive(&some).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_busy_or_lost_is_repeated_and_nothing_else() {
    let transient = [Fault::Busy, Fault::Conflict, Fault::LoseRequest, Fault::Busy];
    let bench = bench(1, Script::of(&transient));
    bench.repeated.put(&Key::text("k"), PutObject::create("x")).await.unwrap();
    assert_eq!(bench.counts.snapshot().put.requests, 5);
    assert_eq!(bench.repeated.put(&Key::text("k"), PutObject::create("x")).await, Err(StoreError::Exists));
    let stale = bench
        .repeated
        .put(&Key::text("k"), PutObject::replace("x", afn::seam::store::ETag("old".into())))
        .await;
    assert_eq!(stale, Err(StoreError::Changed));
    assert_eq!(
        bench.repeated.get(&Key::text("missing"), ByteRange::Whole(u64::MAX)).await.unwrap_err(),
        StoreError::NotFound
    );
    let snapshot = bench.counts.snapshot();
    assert_eq!((snapshot.put.requests, snapshot.get.requests), (7, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_ones_own_create_reads_as_exists() {
    let bench = bench(1, Script::of(&[Fault::LoseReply]));
    assert_eq!(bench.repeated.put(&Key::text("k"), PutObject::create("mine")).await, Err(StoreError::Exists));
    assert_eq!(bench.bare.get(&Key::text("k"), ByteRange::Whole(u64::MAX)).await.unwrap().body, "mine");
}

#[tokio::test(start_paused = true)]
async fn giving_up_says_what_how_often_and_how_long() {
    for seed in 0..20 {
        let busy = bench(seed, Arc::new(Always(Fault::Busy)));
        let before = busy.clock.monotonic();
        let Err(StoreError::Busy(text)) =
            busy.repeated.get(&Key::text("apps/a/app"), ByteRange::Whole(u64::MAX)).await
        else {
            panic!("every try was turned away, so it was not done");
        };
        let took = busy.clock.monotonic() - before;
        let tries = busy.counts.snapshot().get.requests;
        assert!(tries > 3 && tries <= u64::from(limits::REQUEST_TRIES_MAX), "{tries} tries");
        assert!(took <= limits::REQUEST_MAX, "{took:?}");
        let expected =
            format!("get `apps/a/app`: gave up after {tries} tries in {:.1} s: ", took.as_secs_f64());
        assert!(text.starts_with(&expected), "{text}");
        assert!(text.ends_with("503 SlowDown"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_never_there_is_given_up_sooner_than_who_is_away() {
    let never = bench(1, Arc::new(Always(Fault::Unreached)));
    let answer = never.repeated.get(&Key::text("k"), ByteRange::Whole(u64::MAX)).await;
    assert!(matches!(answer, Err(StoreError::Unreached(_))), "{answer:?}");
    let answer = never.repeated_queue.depth().await;
    assert!(matches!(answer, Err(QueueError::Unreached(_))), "{answer:?}");
    let few = u64::from(limits::UNREACHED_TRIES_MAX);
    let counts = never.counts.snapshot();
    assert_eq!((counts.store_requests(), counts.queue_requests()), (few, few));

    // Once it has answered, whatever it was, an outage is waited for.
    let faults: Vec<Fault> = [Fault::Busy].into_iter().chain([Fault::Unreached; 8]).collect();
    let away = bench(1, Script::of(&faults));
    let listener = Arc::new(Heard::default());
    let store =
        RetryStore::new(away.broken, away.clock.clone(), Arc::new(SeededRng::new(7)), Policy::default())
            .reporting_to(listener.clone());
    assert_eq!(store.exists(&Key::text("k")).await, Ok(false));
    assert_eq!(listener.0.lock().unwrap().as_slice(), ["head `k`"], "a wait that long is told, and once");
}

/// What was told to be repeated.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Listener for Heard {
    fn on(&self, event: Event) {
        if let Event::RequestRepeated { what, .. } = event {
            self.0.lock().unwrap().push(what);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn once_lost_it_may_have_been_done_whatever_comes_after() {
    let mut faults = vec![Fault::Busy; 20];
    faults[1] = Fault::LoseRequest;
    let bench = bench(1, Script::of(&faults));
    let answer = bench.repeated.put(&Key::text("k"), PutObject::create("x")).await;
    assert!(matches!(answer, Err(StoreError::Lost(_))), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_ends_repetition_by_time() {
    struct Slow;
    impl Faults for Slow {
        fn fate(&self, _: &Request<'_>) -> Fate {
            Fate { before: Duration::from_secs(25), fault: Fault::LoseRequest, after: Duration::ZERO }
        }
    }
    let bench = bench(1, Arc::new(Slow));
    let answer = bench.repeated.head(&Key::text("k")).await;
    assert!(
        matches!(&answer, Err(StoreError::Lost(text)) if text.contains("gave up after 3 tries in 75.")),
        "{answer:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_send_repeats_what_was_not_acknowledged() {
    let bench = bench(1, Script::of(&[Fault::Partial(0b0110), Fault::Busy, Fault::Partial(0b01)]));
    let messages: Vec<Outgoing> = ["1", "2", "3", "4"].map(message).to_vec();
    assert_eq!(bench.repeated_queue.send(messages).await, Ok(vec![Ok(()); 4]));
    let received = bench.bare_queue.receive(10, Duration::ZERO, LONG).await.unwrap();
    assert_eq!(
        received.iter().map(|message| message.body.as_str()).collect::<Vec<_>>(),
        ["1", "4", "3", "2"]
    );
    assert_eq!(bench.counts.snapshot().send.requests, 4);

    let receipts: Vec<_> = received.into_iter().map(|message| message.receipt).collect();
    assert_eq!(bench.repeated_queue.delete(&receipts).await, Ok(vec![Ok(()); 4]));
    assert!(bench.bare_queue.depth().await.unwrap().is_dry());
}

#[tokio::test(start_paused = true)]
async fn entries_that_cannot_be_sent_are_given_up_one_by_one() {
    let faults = Arc::new(Always(Fault::Partial(0b10)));
    let bench = bench(1, faults);
    let messages = vec![message("1"), message("2"), message("")];
    // The second one is turned away until only it is asked for, and its bit is the first.
    let answers = bench.repeated_queue.send(messages).await.unwrap();
    assert_eq!(answers[..2], [Ok(()), Ok(())]);
    assert!(matches!(answers[2], Err(QueueError::Refused(_))), "{answers:?}");

    let bench = self::bench(1, Arc::new(Always(Fault::LoseRequest)));
    let answers = bench.repeated_queue.send(vec![message("1")]).await.unwrap();
    let [Err(QueueError::Lost(text))] = &answers[..] else { panic!("{answers:?}") };
    assert!(text.starts_with("send: gave up after ") && text.contains(" tries in "), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_receive_is_repeated_when_busy_and_not_when_lost() {
    let bench = bench(1, Script::of(&[Fault::None, Fault::Busy, Fault::Busy, Fault::LoseReply]));
    bench.broken_queue.send(vec![message("m")]).await.unwrap();
    let lost = bench.repeated_queue.receive(10, Duration::ZERO, LONG).await;
    assert!(matches!(lost, Err(QueueError::Lost(_))), "{lost:?}");
    assert_eq!(bench.counts.snapshot().receive.requests, 3);
}

#[tokio::test(start_paused = true)]
async fn counts_are_of_requests_and_of_bytes_that_arrived() {
    let one = bench(0, Arc::new(Script::default()));
    one.repeated.put(&Key::text("a/k"), PutObject::create("12345")).await.unwrap();
    one.repeated.get(&Key::text("a/k"), ByteRange::Last(2)).await.unwrap();
    one.repeated.head(&Key::text("a/k")).await.unwrap();
    one.repeated.list(&List::all("a/")).await.unwrap();
    one.repeated.delete(&["a/k", "a/l"].map(Key::text)).await.unwrap();
    one.repeated_queue.send(vec![message("123"), message("")]).await.unwrap();
    let received = one.repeated_queue.receive(1, Duration::ZERO, LONG).await.unwrap();
    one.repeated_queue.extend(&received[0].receipt, LONG).await.unwrap();
    one.repeated_queue.delete(&[received[0].receipt.clone()]).await.unwrap();
    one.repeated_queue.depth().await.unwrap();
    let snapshot = one.counts.snapshot();
    let bytes = |tally: afn::seam::count::Tally| {
        assert_eq!(tally.requests, 1);
        tally.bytes
    };
    let store = [snapshot.put, snapshot.get, snapshot.head, snapshot.list, snapshot.delete];
    assert_eq!(store.map(bytes), [5, 2, 0, 0, 0]);
    let queue = [snapshot.send, snapshot.receive, snapshot.extend, snapshot.delete_message, snapshot.depth];
    assert_eq!(queue.map(bytes), [3, 3, 0, 0, 0]);
    assert_eq!((snapshot.store_requests(), snapshot.queue_requests()), (5, 5));
    assert_eq!(snapshot.requests(), 10);
}
