//! The storm itself, and what is told of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use afn::context::Opened;
use afn::layout::Key;
use afn::model::{AppName, BatchId, CallId};
use afn::seam::rng::SeededRng;
use afn::seam::{RngExt as _, StoreExt as _};
use tokio::time::{Instant, sleep};

use super::audit::{Expected, Facts, audit};
use super::figures;
use super::ground::{self, APP, World, right};
use crate::support::Running;

const WORKERS: usize = 4;
const OPTIONS: &str = "-j 2 --visibility 4s --grace 2s";
/// From one blow to the next.
const EVERY: Duration = Duration::from_secs(2);
/// Every such blow stops a worker instead of killing it.
const STOP_ONE_OF: u64 = 3;
/// The storm lasts so long for each call, about as long as the calls take; then they have to end.
const STORM_PER_CALL: Duration = Duration::from_millis(20);
/// Longer than a lease.
const STOPPED: Duration = Duration::from_secs(7);
/// In short.
const CALLS: u64 = 2_000;
const SINGLES: u64 = 40;
/// What a single call is sent lies above all records.
const SINGLE: u64 = 10_000_000;
/// For everything to be decided; a test that meets it fails.
const PATIENCE: Duration = Duration::from_secs(1_200);

/// What workers said until they were killed or ended.
#[derive(Default)]
struct Told {
    lines: Vec<String>,
}

impl Told {
    fn lines_with(&self, part: &str) -> u64 {
        self.lines.iter().filter(|line| line.contains(part)).count() as u64
    }

    /// The numbers before these words, added up.
    fn sum_before(&self, words: &str) -> u64 {
        let number = |line: &String| line.split(words).next()?.rsplit(' ').next()?.parse::<u64>().ok();
        self.lines.iter().filter(|line| line.contains(words)).filter_map(number).sum()
    }
}

struct Worker {
    running: Running,
    /// Until then it is stopped.
    stopped: Option<Instant>,
}

struct Storm<'a> {
    world: &'a World,
    dice: SeededRng,
    workers: Vec<Worker>,
    told: Told,
    lost_workers: BTreeSet<String>,
    kills: u64,
    stops: u64,
}

impl Storm<'_> {
    fn start(&self) -> Worker {
        Worker { running: self.world.spawn(&format!("worker {OPTIONS}")), stopped: None }
    }

    /// `host-4711`, as it says itself first of all; `None`: it has not come so far.
    fn name(running: &Running) -> Option<String> {
        let line = running.lines().into_iter().find(|line| line.contains(" at once"))?;
        Some(line.split_whitespace().nth(1)?.to_owned())
    }

    /// Kills one, or stops it.
    async fn blow(&mut self) {
        let victim = self.dice.below(WORKERS as u64) as usize;
        if self.workers[victim].stopped.is_some() {
            return;
        }
        self.lost_workers.extend(Self::name(&self.workers[victim].running));
        if (self.kills + self.stops) % STOP_ONE_OF == STOP_ONE_OF - 1 {
            self.workers[victim].running.pause().await;
            self.workers[victim].stopped = Some(Instant::now() + STOPPED);
            self.stops += 1;
            return;
        }
        let next = self.start();
        let killed = std::mem::replace(&mut self.workers[victim], next);
        self.told.lines.extend(killed.running.kill().await);
        self.kills += 1;
    }

    fn wake(&mut self, now: Instant) {
        for worker in &mut self.workers {
            if worker.stopped.is_some_and(|until| until <= now) {
                worker.running.go_on();
                worker.stopped = None;
            }
        }
    }

    async fn end(mut self) -> (Told, BTreeSet<String>, u64, u64) {
        self.wake(Instant::now() + STOPPED);
        for worker in &self.workers {
            worker.running.terminate();
        }
        for mut worker in self.workers {
            assert_eq!(worker.running.ended().await, 0, "{:#?}", worker.running.lines());
            self.told.lines.extend(worker.running.lines());
        }
        (self.told, self.lost_workers, self.kills, self.stops)
    }
}

async fn is_over(opened: &Opened, batch: BatchId, calls: &BTreeMap<CallId, u64>) -> bool {
    let store = &opened.deps.store;
    let app: AppName = APP.parse().expect("a name");
    let there = async |key: Key| store.exists(&key).await.expect("a store");
    if !there(Key::Fired(app.clone(), batch)).await {
        return false;
    }
    for call in calls.keys() {
        if !there(Key::Status(app.clone(), *call)).await {
            return false;
        }
    }
    for (_, lane) in opened.deps.queues.all() {
        if !lane.live.depth().await.expect("a depth").is_dry() {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn workers_that_are_killed_and_stopped_lose_double_and_spoil_nothing() {
    let records = figures::number("AFN_CHAOS_CALLS").unwrap_or(CALLS);
    let dice = figures::dice("AFN_CHAOS_SEED");
    let (world, opened) = ground::world().await;
    let store = &*opened.deps.store;
    world.write("records.txt", (1..=records).map(|n| format!("{n}\n")).collect::<String>());
    let submitted = world.afn(&format!("batch submit {APP} /f records.txt")).await.json();
    let batch: BatchId = submitted["batch_id"].as_str().expect("an id").parse().expect("an id");
    let mut storm = Storm {
        world: &world,
        dice,
        workers: Vec::new(),
        told: Told::default(),
        lost_workers: BTreeSet::new(),
        kills: 0,
        stops: 0,
    };
    storm.workers = (0..WORKERS).map(|_| storm.start()).collect();
    let (mut calls, mut facts) = (BTreeMap::new(), Facts::default());
    let begun = Instant::now();
    let calm_from = begun + STORM_PER_CALL * u32::try_from(records).expect("not that many");
    let mut next_blow = begun + EVERY;
    while !is_over(&opened, batch, &calls).await || (calls.len() as u64) < SINGLES {
        assert!(
            begun.elapsed() < PATIENCE,
            "not over: {}",
            world.afn(&format!("status {batch}")).await.stdout
        );
        let n = SINGLE + calls.len() as u64;
        if n < SINGLE + SINGLES {
            let said = world.afn(&format!("submit {APP} /f --data {n}")).await.ok();
            calls.insert(said.trim().parse().expect("an id"), n);
        }
        storm.wake(Instant::now());
        if next_blow <= Instant::now() && Instant::now() < calm_from {
            storm.blow().await;
            next_blow = Instant::now() + EVERY;
        }
        if storm.kills % 10 == 5 {
            facts.look(store, &world.app()).await;
        }
        sleep(Duration::from_millis(200)).await;
    }
    let took = begun.elapsed();
    let (told, lost_workers, kills, stops) = storm.end().await;
    let stand = facts.look(store, &world.app()).await;
    let expected = Expected {
        app: &world.app(),
        calls: &calls,
        batches: &BTreeSet::from([batch]),
        record: &|_, number| number,
        right: &right,
        lost_workers: &lost_workers,
    };
    let audit = audit(store, &expected).await;
    let redeliveries = told.lines_with("came back from a lost worker");
    let singles_adopted = told.lines_with("recorded by somebody else");
    let adopted = told.sum_before(" recorded by others") + singles_adopted;
    // Answers 412 to a write that came second. They are told and not asked for: a worker looks before it writes, so whether
    // two meet between the look and the write is chance.
    let refused = told.sum_before(" of the log's parts stood already") + singles_adopted;
    let ran = std::fs::metadata(ground::ran(&world)).expect("it ran").len();
    figures::tell(&format!(
        "{} s, {kills} kills, {stops} stops past the lease, {redeliveries} redeliveries, {refused} answers 412, {adopted} \
         outcomes adopted, {ran} executions; {}; {stand} facts, none changed",
        took.as_secs(),
        audit.figures(),
    ));
    audit.assert_clean();
    assert_eq!((audit.rows, audit.calls), (records, SINGLES));
    for (what, count) in
        [("kills", kills), ("stops", stops), ("redeliveries", redeliveries), ("adopted", adopted)]
    {
        assert!(count > 0, "no {what}: the storm was too weak to tell anything");
    }
}
