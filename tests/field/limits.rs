//! Batches that are paused, and batches with limits. Each test looks at every moment at which a call began.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use afn::layout::Key;
use afn::layout::control::Shares;
use afn::model::{BatchId, BatchLimits, BatchRef, Rate, State};
use afn::seam::fault::{Fate, Fault, FaultStore, Faults, Request};
use afn::seam::queue::Outgoing;
use afn::seam::store::PutObject;
use afn::seam::{Queue as _, Store as _, StoreExt as _};
use afn::submit::batch::BatchOptions;
use afn::submit::control::{Change, change};

use super::script::{Execution, Script, answers, fails, h, mismatches, ms, s};
use super::world::{Running, World, count, messages, numbers};

fn at_once(calls: u32) -> BatchLimits {
    BatchLimits { concurrency_max: Some(calls), rate_max: None }
}

fn at_rate(rate: &str) -> BatchLimits {
    BatchLimits { concurrency_max: None, rate_max: Some(rate.parse().expect("a rate")) }
}

fn fleet(world: &World, workers: usize, slots: usize, each: Duration) -> Vec<Running> {
    let script = Script::always(answers(each));
    (0..workers).map(|n| world.start(&format!("w{n}"), slots, &script)).collect()
}

async fn world() -> World {
    let world = World::new().shuffled();
    world.publish(1, s(1), h(5)).await;
    world
}

async fn batch(world: &World, calls: u64, limits: BatchLimits) -> BatchId {
    world.batch_of("f", calls, 0, BatchOptions { limits, ..BatchOptions::default() }).await
}

async fn ask(world: &World, batch: BatchId, paused: Option<bool>, limits: Option<BatchLimits>) {
    change(&world.deps, batch, "a test", Change { paused, limits }).await.expect("changed");
}

fn of(world: &World, batch: BatchId) -> Vec<Execution> {
    world.executions().into_iter().filter(|execution| execution.call.batch() == Some(batch)).collect()
}

/// The most that ran at one moment from then on, when each takes so long.
fn most_at_once(executions: &[Execution], each: Duration, from: Duration) -> usize {
    let runs_at = |at: Duration| executions.iter().filter(|one| one.at <= at && at < one.at + each).count();
    executions.iter().map(|one| one.at).filter(|at| *at >= from).map(runs_at).max().unwrap_or(0)
}

/// The most that began within a time.
fn most_within(executions: &[Execution], window: Duration) -> usize {
    let begun =
        |from: Duration| executions.iter().filter(|one| (from..from + window).contains(&one.at)).count();
    executions.iter().map(|one| begun(one.at)).max().unwrap_or(0)
}

async fn each_once(world: &World, batch: BatchId, calls: u64) {
    let rows = world.rows(batch).await;
    assert_eq!(numbers(&rows), (1..=calls).collect::<Vec<_>>());
    assert_eq!(count(&rows, State::Success), rows.len());
}

#[tokio::test(start_paused = true)]
async fn no_more_run_at_once_than_the_limit() {
    for (workers, slots, most, calls, each, longest) in [
        (4, 4, 6, 600, s(1), 1.3),
        (4, 4, 1, 60, s(5), 1.2),
        (10, 1, 4, 100, s(60), 1.15),
        (2, 16, 20, 4_000, s(1), 1.2),
        (1, 8, 3, 300, ms(500), 1.1),
    ] {
        let world = world().await;
        let _fleet = fleet(&world, workers, slots, each);
        let batch = batch(&world, calls, at_once(most)).await;
        let ideal = each * calls.div_ceil(most.into()) as u32;
        let before = world.counts.snapshot();
        let took = world.over(batch, 10 * ideal).await.expect("over");
        let ratio = took.as_secs_f64() / ideal.as_secs_f64();
        let at_once = most_at_once(&of(&world, batch), each, Duration::ZERO);
        println!(
            "{calls} × {each:?} on {workers} × {slots}, at most {most} at once: {at_once}, {ratio:.2} × the ideal, {:?}",
            world.spent(before)
        );
        assert!(at_once <= most as usize, "{at_once} at once, of {most}");
        assert!(ratio <= longest, "{ratio}");
        each_once(&world, batch, calls).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_begin_than_the_rate_allows() {
    for (workers, slots, rate, per_10_s, calls, each, longest) in [
        (4, 4, "20/s", 200, 4_000, ms(100), 1.1),
        (1, 4, "20/s", 200, 2_000, ms(10), 1.1),
        (6, 4, "10/s", 100, 3_000, s(2), 1.45),
        (4, 4, "30/m", 5, 60, s(1), 1.2),
        (2, 4, "60/h", 1, 30, s(1), 1.2),
    ] {
        let world = world().await;
        let _fleet = fleet(&world, workers, slots, each);
        let batch = batch(&world, calls, at_rate(rate)).await;
        let ideal = rate.parse::<Rate>().expect("a rate").interval() * calls as u32;
        let took = world.over(batch, 10 * ideal).await.expect("over");
        let ratio = took.as_secs_f64() / ideal.as_secs_f64();
        let within = most_within(&of(&world, batch), s(10));
        println!(
            "{calls} × {each:?} on {workers} × {slots}, at most {rate}: {within} in 10 s, {ratio:.2} × the ideal"
        );
        // What a holder's next start may come early, and what a share that moves allows twice.
        assert!(within <= per_10_s as usize + 2 * workers, "{within} in 10 s");
        assert!(ratio <= longest, "{ratio}");
        each_once(&world, batch, calls).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_batch_begins_nothing_and_goes_on_later() {
    let world = World::new();
    world.publish(1, s(1), h(5)).await;
    let _fleet = fleet(&world, 4, 4, s(1));
    let first = batch(&world, 2_000, BatchLimits::default()).await;
    tokio::time::sleep(s(20)).await;
    ask(&world, first, Some(true), None).await;
    let paused = world.elapsed();
    tokio::time::sleep(s(60)).await;
    let before = world.counts.snapshot();
    let begun = of(&world, first).len();
    // Others have the workers to themselves.
    let second = batch(&world, 320, BatchLimits::default()).await;
    let beside = world.over(second, s(200)).await.expect("over");
    assert!(beside <= s(26), "{beside:?}");
    tokio::time::sleep(h(1)).await;
    assert_eq!(of(&world, first).len(), begun, "calls began while it was paused");
    let last = of(&world, first).last().expect("some began").at;
    assert!(last <= paused + s(16), "one began {:?} after the pause", last - paused);
    println!("an hour of pause: {:?}", world.spent(before));
    ask(&world, first, Some(false), None).await;
    let unpaused = world.elapsed();
    let took = world.over(first, h(1)).await.expect("over");
    let next = of(&world, first)[begun].at - unpaused;
    println!("goes on after {next:?}, over after {took:?}");
    assert!(next <= s(130), "{next:?}");
    assert!(took <= s(280), "{took:?}");
    each_once(&world, first, 2_000).await;
}

#[tokio::test(start_paused = true)]
async fn limits_change_while_a_batch_runs() {
    let world = world().await;
    let _fleet = fleet(&world, 4, 4, s(1));
    let batch = batch(&world, 4_000, BatchLimits::default()).await;
    tokio::time::sleep(s(20)).await;
    for most in [3, 1, 9] {
        ask(&world, batch, None, Some(at_once(most))).await;
        tokio::time::sleep(s(70)).await;
        let from = world.elapsed();
        tokio::time::sleep(s(60)).await;
        let executions = of(&world, batch);
        let at_once = most_at_once(&executions, s(1), from);
        let begun = executions.iter().filter(|one| one.at >= from).count();
        println!("at most {most}: {at_once} at once, {begun} begun in 60 s");
        assert!(at_once <= most as usize, "{at_once} of {most}");
        assert!(begun >= 40 * most as usize, "{begun} begun in 60 s, at most {most} at once");
    }
    ask(&world, batch, None, Some(BatchLimits::default())).await;
    world.over(batch, h(1)).await.expect("over");
    each_once(&world, batch, 4_000).await;
}

/// What a low rate has put off begins as soon as a higher one allows.
#[tokio::test(start_paused = true)]
async fn a_raised_rate_counts_at_once() {
    let world = world().await;
    let _fleet = fleet(&world, 2, 4, s(1));
    let batch = batch(&world, 600, at_rate("1/h")).await;
    tokio::time::sleep(s(120)).await;
    assert_eq!(of(&world, batch).len(), 1);
    ask(&world, batch, None, Some(at_rate("4/s"))).await;
    let took = world.over(batch, h(1)).await.expect("over");
    assert!(took <= s(250), "{took:?}");
    each_once(&world, batch, 600).await;
}

/// A batch of which nothing moves for hours, by order, has no message more than it needs.
#[tokio::test(start_paused = true)]
async fn a_long_pause_multiplies_no_messages() {
    let world = World::new();
    world.publish(1, s(1), h(5)).await;
    let batch = batch(&world, 640, BatchLimits::default()).await;
    ask(&world, batch, Some(true), None).await;
    let script = Script::always(answers(s(1)));
    let mut config = world.config("w", 4);
    config.reconcile = true;
    let _worker = world.start_with(config, |_| true, &script);
    tokio::time::sleep(s(60)).await;
    let before = [messages(&world.queues[1]).await, messages(&world.queues[2]).await];
    tokio::time::sleep(h(10)).await;
    assert_eq!([messages(&world.queues[1]).await, messages(&world.queues[2]).await], before);
    ask(&world, batch, Some(false), None).await;
    world.over(batch, h(1)).await.expect("over");
    assert_eq!(of(&world, batch).len(), 640, "each ran once");
}

/// The worker that held a share of the limit is gone: another has it when its term is over, and not before.
#[tokio::test(start_paused = true)]
async fn the_share_of_a_lost_worker_is_free_after_its_term() {
    let world = world().await;
    let mut fleet = fleet(&world, 3, 4, s(10));
    let batch = batch(&world, 60, at_once(2)).await;
    tokio::time::sleep(s(35)).await;
    let holders: BTreeSet<String> = of(&world, batch).into_iter().map(|one| one.worker).collect();
    assert_eq!(holders.len(), 1, "{holders:?}");
    let place = (0..3).find(|n| holders.contains(&format!("w{n}"))).expect("a holder");
    fleet.remove(place).kill().await;
    let (killed, begun) = (world.elapsed(), of(&world, batch).len());
    world.over(batch, h(1)).await.expect("over");
    let executions = of(&world, batch);
    let next = executions[begun].at - killed;
    println!("another worker begins {next:?} after the loss");
    // The lease of its message, and then the term of its share, by the clock of whoever receives that message.
    assert!(next >= s(40) && next <= s(130), "{next:?}");
    assert!(most_at_once(&executions[begun..], s(10), Duration::ZERO) <= 2);
    each_once(&world, batch, 60).await;
}

/// What a worker says that has drained the queues, where something is left that it cannot run.
async fn drain(world: &World, slots: usize, script: &Script) -> String {
    let mut config = world.config("w", slots);
    config.until_dry = true;
    let run = tokio::time::timeout(h(1), world.run(config, script)).await;
    run.expect("it ended").expect_err("something is left").message().to_owned()
}

/// Requests for shares fail.
#[derive(Default)]
struct NoShares(AtomicBool);

impl Faults for NoShares {
    fn fate(&self, request: &Request<'_>) -> Fate {
        let fails = self.0.load(Relaxed) && request.target.contains("/shares/");
        Fate::of(if fails { Fault::Busy } else { Fault::None })
    }
}

/// The share of a worker lapses while a call that began before the limit runs beside others that began under it.
#[tokio::test(start_paused = true)]
async fn what_began_before_a_limit_goes_on_when_a_share_lapses() {
    let mut world = world().await;
    let faults = Arc::new(NoShares::default());
    let (store, clock) = (world.deps.store.clone(), world.deps.clock.clone());
    world.deps.store = Arc::new(FaultStore::new(store, clock, faults.clone()));
    let script =
        Script::new(|execution: &Execution| answers(if execution.number == 1 { s(400) } else { s(20) }));
    let _worker = world.start("w", 6, &script);
    let batch = batch(&world, 40, BatchLimits::default()).await;
    tokio::time::sleep(s(5)).await;
    ask(&world, batch, None, Some(at_once(2))).await;
    tokio::time::sleep(s(60)).await;
    faults.0.store(true, Relaxed);
    tokio::time::sleep(s(120)).await;
    faults.0.store(false, Relaxed);
    world.over(batch, h(1)).await.expect("over");
    assert!(of(&world, batch).len() > 40, "nothing was cut off: the share did not lapse");
    assert_eq!(world.attempts(batch.call(1)).len(), 1, "it went on");
    each_once(&world, batch, 40).await;
}

/// A worker that leaves a range before any call of it may begin leaves its share too.
#[tokio::test(start_paused = true)]
async fn a_range_that_is_left_early_holds_no_share() {
    for is_gone in [true, false] {
        let world = world().await;
        let batch = batch(&world, 10, at_once(1)).await;
        let chunk = Key::Chunk(world.app.clone(), batch, 10);
        world.store.delete(std::slice::from_ref(&chunk)).await.expect("deleted");
        if !is_gone {
            world.store.put(&chunk, PutObject::create("no chunk")).await.expect("stored");
        }
        let _fleet = fleet(&world, 1, 4, s(1));
        tokio::time::sleep(s(20)).await;
        let of = BatchRef::new(&world.app, batch);
        let shares: Shares = world.store.read_fact(&of).await.expect("a share was claimed");
        assert!(shares.shares.is_empty(), "{shares:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_ends_at_a_queue_where_all_is_paused() {
    let world = world().await;
    let batch = batch(&world, 100, BatchLimits::default()).await;
    ask(&world, batch, Some(true), None).await;
    let said = drain(&world, 4, &Script::always(answers(s(1)))).await;
    assert!(said.contains(&format!("batch {batch} is paused")), "{said}");
    assert!(of(&world, batch).is_empty());
}

/// What waits for its retry is run before the worker ends, and what is paused is not waited for.
#[tokio::test(start_paused = true)]
async fn a_worker_does_not_end_beside_a_paused_batch_while_another_waits_for_a_retry() {
    let world = World::new();
    world.publish(2, s(300), h(5)).await;
    let paused = batch(&world, 100, BatchLimits::default()).await;
    ask(&world, paused, Some(true), None).await;
    let other = batch(&world, 10, BatchLimits::default()).await;
    let script = Script::new(|execution: &Execution| match (execution.number, execution.attempt) {
        (3, 1) => fails(),
        _ => answers(s(1)),
    });
    let said = drain(&world, 4, &script).await;
    assert!(said.contains(&format!("batch {paused} is paused")), "{said}");
    assert!(of(&world, paused).is_empty());
    each_once(&world, other, 10).await;
}

/// A send whose answer was lost makes two messages of one range.
#[tokio::test(start_paused = true)]
async fn a_worker_ends_where_a_paused_range_has_two_messages() {
    let world = world().await;
    let batch = batch(&world, 10, BatchLimits::default()).await;
    ask(&world, batch, Some(true), None).await;
    let message = world.queues[1].bodies().swap_remove(0);
    world.queues[1].send(vec![Outgoing::new(message)]).await.expect("sent");
    let said = drain(&world, 4, &Script::always(answers(s(1)))).await;
    assert!(said.contains("queue `chunks` is not dry: it has 2 that"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_over_cannot_be_changed() {
    let world = world().await;
    let _fleet = fleet(&world, 1, 4, s(1));
    let batch = batch(&world, 4, BatchLimits::default()).await;
    world.over(batch, s(60)).await.expect("over");
    let change = change(&world.deps, batch, "a test", Change { paused: Some(true), limits: None }).await;
    assert!(change.unwrap_err().message().contains("has finished already"));
}

/// A worker finds out only once a call has begun that it cannot run it. It must not hold the limit in the meantime, again and
/// again.
#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_suit_leaves_the_limit_to_one_that_does() {
    let world = world().await;
    let unsuited = Script::always(mismatches().takes(s(20)));
    let _fleet =
        [world.start("unsuited", 4, &unsuited), world.start("suits", 4, &Script::always(answers(s(5))))];
    let batch = batch(&world, 100, at_once(1)).await;
    let took = world.over(batch, h(3)).await.expect("over");
    let ratio = took.as_secs_f64() / s(500).as_secs_f64();
    println!("100 × 5 s, at most one at once, one of two suits: {ratio:.2} × the ideal");
    assert!(ratio <= 1.3, "{ratio}");
    each_once(&world, batch, 100).await;
}
