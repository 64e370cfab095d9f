//! Over a launcher whose sandboxes do what the payload says, on paused time.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures_util::FutureExt as _;
use tokio::time::{advance, sleep};

use super::*;
use crate::contract::testing;
use crate::model::{Format, Time};
use crate::seam::clock::PausedClock;
use crate::seam::executor::Verdict;

#[derive(Default)]
struct Counts {
    started: AtomicUsize,
    stopped: AtomicUsize,
    dropped: AtomicUsize,
}

struct Scripted(Arc<Counts>);

struct ScriptedSandbox {
    id: usize,
    counts: Arc<Counts>,
    reusable: bool,
    /// As a container when Docker hangs.
    never_stops: bool,
    calls: usize,
}

impl Drop for ScriptedSandbox {
    fn drop(&mut self) {
        self.counts.dropped.fetch_add(1, SeqCst);
    }
}

#[async_trait]
impl Launcher for Scripted {
    fn suits(&self, _version: &Version) -> Result<(), Mismatch> {
        Ok(())
    }

    async fn start(&self, _work: &Invocation) -> Result<Box<dyn Sandbox>, Fault> {
        let id = self.0.started.fetch_add(1, SeqCst);
        Ok(Box::new(ScriptedSandbox {
            id,
            counts: self.0.clone(),
            reusable: true,
            never_stops: false,
            calls: 0,
        }))
    }

    async fn probe(&self) -> Result<(), String> {
        Ok(())
    }
}

#[async_trait]
impl Sandbox for ScriptedSandbox {
    async fn invoke(&mut self, invocation: &Invocation) -> Result<Execution, Fault> {
        self.calls += 1;
        match &invocation.payload.to_bytes().unwrap()[..] {
            b"hang" => std::future::pending().await,
            b"break" => self.reusable = false,
            b"never stop" => self.never_stops = true,
            b"gone when hot" if self.calls > 1 => return Err(Fault::Function("gone".to_owned())),
            b"sick" => return Err(Fault::Worker("sick".to_owned())),
            b"slow" => sleep(Duration::from_secs(2)).await,
            _ => {}
        }
        let verdict = Verdict::Success { content_type: None, body: self.id.to_string().into_bytes().into() };
        Ok(Execution { verdict, log: Default::default(), started_at: Time(0), took: Duration::ZERO })
    }

    fn is_reusable(&self) -> bool {
        self.reusable
    }

    async fn stop(self: Box<Self>) {
        sleep(if self.never_stops { Duration::MAX } else { Duration::from_millis(1) }).await;
        self.counts.stopped.fetch_add(1, SeqCst);
    }
}

fn pool(hot_max: usize) -> (Pool, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let clock = PausedClock::start();
    (Pool::new(Arc::new(Scripted(counts.clone())), clock, hot_max), counts)
}

fn invocation(payload: &'static [u8]) -> Invocation {
    testing::invocation(Format::HttpStream, payload)
}

/// Which sandbox ran it.
async fn run(pool: &Pool, invocation: Invocation) -> String {
    let Verdict::Success { body, .. } = pool.run(invocation).await.unwrap().verdict else {
        panic!("no success")
    };
    String::from_utf8(body.to_bytes().unwrap().to_vec()).unwrap()
}

/// Lets the pool's own tasks finish.
async fn settle() {
    sleep(Duration::from_millis(10)).await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_stop_keeps_nobody_from_closing() {
    let (pool, counts) = pool(8);
    let ran = tokio::join!(run(&pool, invocation(b"slow")), run(&pool, invocation(b"never stop")));
    assert_eq!(ran, ("0".to_owned(), "1".to_owned()));
    let begun = Instant::now();
    pool.close().await;
    assert!(begun.elapsed() <= STOP_MAX + Duration::from_secs(1), "{:?}", begun.elapsed());
    settle().await;
    assert_eq!((counts.stopped.load(SeqCst), counts.dropped.load(SeqCst)), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_hot_sandbox_is_used_again_and_only_for_the_same_version_and_config() {
    let (pool, counts) = pool(8);
    assert_eq!(run(&pool, invocation(b"")).await, "0");
    assert_eq!(run(&pool, invocation(b"")).await, "0");
    let mut other = invocation(b"");
    Arc::make_mut(&mut other.function).config.insert("KEY".to_owned(), "value".to_owned());
    assert_eq!(run(&pool, other.clone()).await, "1");
    let mut newer = invocation(b"");
    Arc::make_mut(&mut newer.version).id = "0.0.2-000000000000".parse().unwrap();
    assert_eq!(run(&pool, newer).await, "2");
    assert_eq!(run(&pool, other).await, "1");
    assert_eq!(run(&pool, invocation(b"")).await, "0");
    assert_eq!((counts.started.load(SeqCst), counts.stopped.load(SeqCst)), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn the_sandbox_used_last_is_used_first() {
    let (pool, _counts) = pool(8);
    let (first, second) = tokio::join!(run(&pool, invocation(b"slow")), async {
        sleep(Duration::from_secs(1)).await;
        run(&pool, invocation(b"slow")).await
    });
    assert_eq!((first.as_str(), second.as_str()), ("0", "1"));
    assert_eq!(run(&pool, invocation(b"")).await, "1");
}

#[tokio::test(start_paused = true)]
async fn idle_sandboxes_go_when_their_time_is_up() {
    let (pool, counts) = pool(8);
    run(&pool, invocation(b"")).await;
    let mut brief = invocation(b"");
    Arc::make_mut(&mut brief.version).id = "0.0.2-000000000000".parse().unwrap();
    Arc::make_mut(&mut brief.version).limits.idle_timeout_ms = 5_000;
    run(&pool, brief).await;

    sleep(Duration::from_millis(4_900)).await;
    assert_eq!(counts.stopped.load(SeqCst), 0);
    sleep(Duration::from_millis(200)).await;
    assert_eq!(counts.stopped.load(SeqCst), 1, "the one that asked for 5 s");
    advance(Duration::from_secs(20)).await;
    assert_eq!(run(&pool, invocation(b"")).await, "0", "use makes it young again");
    sleep(Duration::from_secs(29)).await;
    assert_eq!(counts.stopped.load(SeqCst), 1);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(counts.stopped.load(SeqCst), 2);
    assert_eq!(run(&pool, invocation(b"")).await, "2");
}

#[tokio::test(start_paused = true)]
async fn no_more_than_hot_max_are_kept_and_the_longest_unused_goes() {
    let (pool, counts) = pool(2);
    for version in ["a", "b", "a", "c"] {
        let mut invocation = invocation(b"");
        Arc::make_mut(&mut invocation.version).id = format!("{version}-000000000000").parse().unwrap();
        run(&pool, invocation).await;
    }
    settle().await;
    assert_eq!((counts.started.load(SeqCst), counts.stopped.load(SeqCst)), (3, 1));
    let mut a = invocation(b"");
    Arc::make_mut(&mut a.version).id = "a-000000000000".parse().unwrap();
    assert_eq!(run(&pool, a).await, "0");
}

#[tokio::test(start_paused = true)]
async fn what_broke_is_never_used_again() {
    let (pool, counts) = pool(8);
    assert_eq!(run(&pool, invocation(b"break")).await, "0");
    assert_eq!(pool.run(invocation(b"sick")).await.unwrap_err(), Fault::Worker("sick".to_owned()));
    assert_eq!(run(&pool, invocation(b"")).await, "2");
    settle().await;
    assert_eq!(counts.stopped.load(SeqCst), 2);

    let mut cold = invocation(b"");
    Arc::make_mut(&mut cold.version).limits.idle_timeout_ms = 0;
    Arc::make_mut(&mut cold.function).config.insert("KEY".to_owned(), "value".to_owned());
    run(&pool, cold).await;
    settle().await;
    assert_eq!(counts.stopped.load(SeqCst), 3, "an idle timeout of 0 keeps none");
}

#[tokio::test(start_paused = true)]
async fn a_hot_sandbox_that_had_gone_costs_no_call() {
    let (pool, counts) = pool(8);
    run(&pool, invocation(b"")).await;
    assert_eq!(run(&pool, invocation(b"gone when hot")).await, "1");
    settle().await;
    assert_eq!(counts.stopped.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_run_stops_its_sandbox() {
    let (pool, counts) = pool(8);
    timeout(Duration::from_secs(1), pool.run(invocation(b"hang"))).await.unwrap_err();
    settle().await;
    assert_eq!(counts.stopped.load(SeqCst), 1);
    assert_eq!(run(&pool, invocation(b"")).await, "1");
}

#[tokio::test(start_paused = true)]
async fn close_stops_what_idles_and_what_runs() {
    let (pool, counts) = pool(8);
    run(&pool, invocation(b"")).await;
    let mut other = invocation(b"hang");
    Arc::make_mut(&mut other.function).config.insert("KEY".to_owned(), "value".to_owned());
    let (done, ()) = tokio::join!(pool.run(other), async {
        sleep(Duration::from_secs(1)).await;
        pool.close().await;
    });
    assert_eq!(done.unwrap_err(), Fault::Worker("the executor is closed".to_owned()));
    assert_eq!(counts.stopped.load(SeqCst), 2);
    assert!(matches!(pool.run(invocation(b"")).await, Err(Fault::Worker(_))));
    pool.close().await;
    assert_eq!(counts.started.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_pool_leaves_no_sandbox() {
    let (pool, counts) = pool(8);
    run(&pool, invocation(b"")).await;
    drop(pool);
    settle().await;
    assert_eq!((counts.started.load(SeqCst), counts.dropped.load(SeqCst)), (1, 1));
}

/// Calls with these payloads, and which sandbox ran each.
struct Listed<'a> {
    payloads: std::slice::Iter<'a, &'static [u8]>,
    ended: Vec<Result<String, Fault>>,
}

impl Calls for Listed<'_> {
    fn next(&mut self) -> Option<Invocation> {
        self.payloads.next().map(|payload| invocation(payload))
    }

    fn ended(&mut self, run: Result<Execution, Fault>) {
        self.ended.push(run.map(|run| match run.verdict {
            Verdict::Success { body, .. } => String::from_utf8(body.to_bytes().unwrap().to_vec()).unwrap(),
            verdict => panic!("{verdict:?}"),
        }));
    }
}

async fn run_many(pool: &Pool, payloads: &[&'static [u8]]) -> Vec<Result<String, Fault>> {
    let mut calls = Listed { payloads: payloads.iter(), ended: Vec::new() };
    let first = calls.next().unwrap();
    pool.run_many(first, &mut calls).await;
    assert_eq!(calls.payloads.len(), 0);
    calls.ended
}

#[tokio::test(start_paused = true)]
async fn many_calls_run_in_one_sandbox_as_long_as_it_lasts() {
    let (pool, counts) = pool(8);
    let ran = |id: &str| Ok(id.to_owned());
    let calm = run_many(&pool, &[b"", b"slow", b""]).await;
    assert_eq!(calm, [ran("0"), ran("0"), ran("0")]);
    // One that is broken or gone is replaced, and the call that found it gone is run all the same.
    let broken = run_many(&pool, &[b"", b"break", b"", b"gone when hot", b""]).await;
    assert_eq!(broken, [ran("0"), ran("0"), ran("1"), ran("2"), ran("2")]);
    let sick = run_many(&pool, &[b"", b"sick", b""]).await;
    assert_eq!(sick[0], ran("2"));
    assert_eq!(sick[1], Err(Fault::Worker("sick".to_owned())));
    assert_eq!(run_many(&pool, &[b"hang"]).now_or_never(), None);
    settle().await;
    pool.close().await;
    assert_eq!(counts.started.load(SeqCst), counts.dropped.load(SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_close_ends_many_calls_in_the_middle_of_one() {
    let (pool, counts) = pool(8);
    let payloads: [&[u8]; 2] = [b"hang", b""];
    let mut calls = Listed { payloads: payloads.iter(), ended: Vec::new() };
    let closed = async {
        sleep(Duration::from_secs(1)).await;
        pool.close().await;
    };
    tokio::join!(pool.run_many(invocation(b""), &mut calls), closed);
    assert_eq!((calls.ended.len(), calls.payloads.len()), (1, 1));
    assert_eq!((counts.started.load(SeqCst), counts.dropped.load(SeqCst)), (1, 1));
}
