//! How workers share a batch: half of a slow range goes to whoever has nothing to do, and ranges that take no time are
//! received together.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use afn::executor::scripted::{Act, Scripted};
use afn::results::batch;
use afn::seam::count::{CountQueue, CountStore, Counts};
use afn::seam::executor::Invocation;
use afn::seam::queue::QueuePair;
use afn::seam::{Deps, Queues};
use afn::submit::batch::{BatchOptions, BatchRequest, submit};
use afn::submit::call;
use afn::submit::source;
use afn::worker::{Config, Phase, Worker};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::calm;

/// How long a batch takes, and what that asks for.
async fn shared(workers: usize, slots: usize, calls: usize, each: Duration) -> (Duration, Arc<Counts>) {
    shared_unevenly(workers, slots, calls, move |_| each).await
}

/// The same, when each takes what `takes` says of its number in the source, from 0.
async fn shared_unevenly(
    workers: usize,
    slots: usize,
    calls: usize,
    takes: impl Fn(u64) -> Duration + Copy + Send + Sync + 'static,
) -> (Duration, Arc<Counts>) {
    let stage = calm::stage().await;
    let counts = Arc::new(Counts::default());
    let (stop, stopped) = watch::channel(Phase::Run);
    let mut working = JoinSet::new();
    for number in 0..workers {
        let process = stage.world.process(&format!("worker {number}"));
        let executor = Arc::new(Scripted::new(process.clock.clone(), move |work: &Invocation| {
            let number = work.call.number().expect("a call of a batch");
            Act::answer("").takes(takes(number - 1))
        }));
        let mut config = Config::new(format!("worker-{number}"), slots);
        config.reconcile = false;
        working.spawn(Worker::new(counted(process.deps, &counts), executor, config).run(stopped.clone()));
    }
    let deps = stage.world.process("person").deps;
    let lines = (0..calls).map(|call| format!("{call}\n")).collect::<String>();
    let request = BatchRequest {
        app: stage.app.clone(),
        route: "/long".parse().expect("a route"),
        source: source::text(lines, "lines".parse().expect("a format"), "lines"),
        options: BatchOptions::default(),
    };
    let begun = stage.world.elapsed();
    let submitted = submit(&deps, request, &|_| {}).await.expect("submitted").batch;
    let ended = batch::wait(&deps, submitted, None, |_| {}).await.expect("ended");
    let took = stage.world.elapsed() - begun;
    assert_eq!((ended.decided, ended.failed()), (calls as u64, 0));
    stop.send_replace(Phase::HandBack);
    while let Some(worker) = working.join_next().await {
        worker.expect("no panic").expect("worked to the end");
    }
    (took, counts)
}

fn counted(deps: Deps, counts: &Arc<Counts>) -> Deps {
    let lane = |lane: &QueuePair| QueuePair {
        live: Arc::new(CountQueue::new(lane.live.clone(), counts.clone())),
        dead: lane.dead.clone(),
    };
    let Queues { calls, chunks, batches } = &deps.queues;
    let queues = Queues { calls: lane(calls), chunks: lane(chunks), batches: lane(batches) };
    Deps { store: Arc::new(CountStore::new(deps.store.clone(), counts.clone())), queues, ..deps }
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_is_given_half_of_a_slow_range() {
    // One chunk: alone a worker has 64 s with it.
    let (took, _) = shared(2, 1, 64, Duration::from_secs(1)).await;
    assert!(took < Duration::from_secs(45), "{took:?}");
    // Four workers have 62.5 s with these, if they share well.
    let (took, _) = shared(4, 4, 1_000, Duration::from_secs(1)).await;
    assert!(took < Duration::from_secs_f64(62.5 * 1.1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_keeps_its_own_slot_alone() {
    let takes = |number| if number == 5 { Duration::from_secs(30) } else { Duration::from_millis(100) };
    let (took, _) = shared_unevenly(1, 2, 500, takes).await;
    // Two slots share 79.9 s.
    assert!(took < Duration::from_secs(45), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_behind_a_batch_starts_within_one_call_of_it() {
    const EACH: Duration = Duration::from_secs(3);
    let stage = calm::stage().await;
    let process = stage.world.process("worker");
    let started = Arc::new(Mutex::new(Vec::new()));
    let executor = {
        let (world, started) = (stage.world.clone(), started.clone());
        Scripted::new(process.clock.clone(), move |work: &Invocation| {
            if work.call.number().is_none() {
                started.lock().expect("no panic").push(world.elapsed());
            }
            Act::answer("").takes(EACH)
        })
    };
    let mut config = Config::new("worker-1", 4);
    config.reconcile = false;
    let (stop, stopped) = watch::channel(Phase::Run);
    let mut working = JoinSet::new();
    working.spawn(Worker::new(process.deps, Arc::new(executor), config).run(stopped));
    let deps = stage.world.process("person").deps;
    let request = BatchRequest {
        app: stage.app.clone(),
        route: "/long".parse().expect("a route"),
        source: source::text("x\n".repeat(5_000), "lines".parse().expect("a format"), "lines"),
        options: BatchOptions::default(),
    };
    submit(&deps, request, &|_| {}).await.expect("submitted");
    let mut waits = Vec::new();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(100_700)).await;
        call::submit(&deps, calm::call(&stage)).await.expect("accepted");
        let submitted = stage.world.elapsed();
        tokio::time::sleep(2 * EACH).await;
        let began = started.lock().expect("no panic").pop().expect("it has begun");
        waits.push(began - submitted);
    }
    assert!(waits.iter().all(|wait| *wait < EACH), "{waits:?}");
    stop.send_replace(Phase::HandBack);
    working.join_next().await.expect("a worker").expect("no panic").expect("worked to the end");
}

#[tokio::test(start_paused = true)]
async fn ranges_that_take_no_time_share_their_receives() {
    const CHUNKS: u64 = 27;
    let (_, counts) = shared(1, 4, 5_000, Duration::ZERO).await;
    let counts = counts.snapshot();
    assert!(counts.receive.requests < CHUNKS / 2, "{counts:?}");
    // Its own footers are not among what is read: chunks, definitions, `sealed`; and before chunks are put on the queue, what
    // is asked of the batch, each time.
    let looks = counts.send.requests + 1;
    assert!(counts.get.requests < CHUNKS + 10 + looks, "{counts:?}");
}
