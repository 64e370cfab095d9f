//! What is done to the world: functions with their ways, callers with theirs, and a machine room where workers die,
//! freeze, drain and come back. All of it drawn from the seed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use afn::catalog::{Catalog, Publish};
use afn::executor::scripted::{Act, Scripted};
use afn::model::{
    AppName, BatchId, CallId, Format, FunctionName, Kind, Limits, Outcome, Route, Source, State, Time,
    Version,
};
use afn::seam::executor::{Fault, Mismatch, Work};
use afn::seam::fault::Rates;
use afn::seam::rng::{RngExt as _, SeededRng};
use afn::submit::call::{Request, submit};
use afn::submit::cancel::cancel;
use afn::worker::{Config, Stop, Worker};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::batches::{self, BatchPlan};
use super::world::World;

/// How the function behaves on one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Answers,
    Fails,
    /// Fails so many times, then answers.
    FailsFirst(u32),
    RunsTooLong,
    /// Takes its worker along, every time.
    Kills,
    CannotStart,
}

/// The functions there are; their routes are their names.
pub const FUNCTIONS: [&str; 4] = ["once", "patient", "long", "arm"];

#[derive(Debug, Clone)]
pub struct Plan {
    pub rates: Rates,
    pub workers: usize,
    pub slots: usize,
    pub visibility: Duration,
    pub reconcile: bool,
    pub calls: Vec<CallPlan>,
    pub batches: Vec<BatchPlan>,
    /// Deaths and freezes beyond the lease that are nobody's fault.
    pub disturbances: u64,
    pub purge: bool,
    pub drains: u64,
    pub sick: bool,
}

#[derive(Debug, Clone)]
pub struct CallPlan {
    pub function: &'static str,
    pub way: Way,
    pub takes: Duration,
    pub at: Duration,
    pub delay: Duration,
    pub cancel_after: Option<Duration>,
    /// Submitted twice under one idempotency key, by two processes, the second so much later.
    pub twice: Option<Duration>,
    /// The submitting process dies this long into it.
    pub dies_after: Option<Duration>,
}

impl Plan {
    pub fn draw(rng: &SeededRng, reconcile: bool) -> Plan {
        let ms = |max: u64| Duration::from_millis(rng.below(max));
        let chance = |of: u64| rng.below(of) == 0;
        let rates = match rng.below(4) {
            0 => Rates::default(),
            1 => Rates { lose_reply: 500, late: 200, late_max: Duration::from_secs(60), ..Rates::default() },
            _ => Rates::bad_day(),
        };
        let calls = (0..1 + rng.below(10)).map(|_| {
            let function = FUNCTIONS[rng.below(4) as usize];
            let way = match rng.below(12) {
                0 => Way::Fails,
                1 => Way::FailsFirst(1 + rng.below(3) as u32),
                2 => Way::RunsTooLong,
                3 | 4 => Way::Kills,
                5 => Way::CannotStart,
                _ => Way::Answers,
            };
            let takes = match rng.below(3) {
                0 => ms(50),
                1 => ms(5_000),
                _ => ms(if function == "long" { 200_000 } else { 25_000 }),
            };
            CallPlan {
                function,
                way,
                takes,
                at: ms(60_000),
                delay: if chance(5) { ms(120_000) } else { Duration::ZERO },
                cancel_after: chance(6).then(|| ms(90_000)),
                twice: chance(5).then(|| if chance(2) { Duration::ZERO } else { ms(200_000) }),
                dies_after: chance(8).then(|| ms(2_000)),
            }
        });
        let calls = calls.collect();
        let batches = (0..rng.below(3)).map(|_| BatchPlan::draw(rng)).collect();
        Plan {
            batches,
            rates,
            workers: 1 + rng.below(4) as usize,
            slots: 1 + rng.below(3) as usize,
            visibility: Duration::from_secs(30 + rng.below(31)),
            reconcile,
            calls,
            disturbances: rng.below(4),
            purge: reconcile && chance(6),
            drains: rng.below(3),
            sick: chance(4),
        }
    }
}

/// One execution of a function, as the function itself saw it.
#[derive(Debug, Clone)]
pub struct Execution {
    pub call: CallId,
    pub attempt: u32,
    /// What it answers, if it answers: different for every execution.
    pub body: String,
    pub ends: State,
}

/// What callers were told.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// By plan: every id that was accepted for it.
    pub accepted: BTreeMap<usize, Vec<CallId>>,
    /// Those of them that somebody put a message on the queue for. A repetition may rest on one that then died.
    pub sent: Vec<CallId>,
    pub cancelled: BTreeMap<CallId, Outcome>,
    pub cancel_asked: Vec<CallId>,
    /// Batches that were begun, with their plans.
    pub batches: BTreeMap<BatchId, usize>,
    pub cancelled_batches: Vec<BatchId>,
}

#[derive(Clone)]
pub struct Stage {
    pub world: Arc<World>,
    pub plan: Arc<Plan>,
    pub app: AppName,
    pub told: Arc<Mutex<Told>>,
    pub executions: Arc<Mutex<Vec<Execution>>>,
    /// Until then Docker is down on the first worker.
    sick_until: Duration,
}

impl Stage {
    pub async fn set(world: Arc<World>, plan: Plan) -> Stage {
        let app: AppName = "sim".parse().expect("a valid name");
        let stage = Stage {
            sick_until: Duration::from_secs(if plan.sick { 90 } else { 0 }),
            world,
            plan: Arc::new(plan),
            app,
            told: Arc::default(),
            executions: Arc::default(),
        };
        let deployer = stage.world.process("deployer");
        for name in FUNCTIONS {
            stage.publish(Catalog::new(deployer.seams.clone()), name).await;
        }
        stage
    }

    async fn publish(&self, catalog: Catalog, name: &'static str) {
        let (attempts_max, retry_backoff_ms, timeout_ms) = match name {
            "patient" => (3, 2_000 + self.world.rng.below(15_000), 30_000),
            "long" => (1, 1_000, 300_000),
            _ => (1, 1_000, 30_000),
        };
        let version = Version {
            v: 1,
            id: "0".parse().expect("a valid version"),
            label: "0.0.1".to_owned(),
            source: Source::Image { reference: name.to_owned(), digest: None },
            os: Some("linux".to_owned()),
            arch: Some(if name == "arm" { "arm64" } else { "amd64" }.to_owned()),
            runtime: None,
            format: Format::Default,
            command: Vec::new(),
            content_type: None,
            limits: Limits { attempts_max, retry_backoff_ms, timeout_ms, ..Limits::default() },
            created_at: Time(0),
        };
        let name: FunctionName = name.parse().expect("a valid name");
        let route: Route = format!("/{name}").parse().expect("a valid route");
        loop {
            let publish = Publish {
                name: name.clone(),
                route: route.clone(),
                kind: Kind::Async,
                config: None,
                annotations: BTreeMap::new(),
                version: version.clone(),
            };
            // On a bad day a deploy may have to be repeated.
            if catalog.publish(&self.app, publish).await.is_ok() {
                return;
            }
        }
    }

    /// How a function behaves on a payload, and how long it takes. The call that follows a batch just answers.
    fn way(&self, payload: &Bytes) -> (Way, Duration) {
        if let Some((batch, index)) = batches::planned(payload) {
            let plan = &self.plan.batches[batch];
            return (plan.ways[index], plan.takes);
        }
        let index = std::str::from_utf8(payload).ok().and_then(|text| text.parse::<usize>().ok());
        index.map_or((Way::Answers, Duration::ZERO), |index| {
            (self.plan.calls[index].way, self.plan.calls[index].takes)
        })
    }

    fn execute(&self, worker: usize, work: &Work, deaths: &mpsc::UnboundedSender<usize>) -> Act {
        let (way, takes) = self.way(&work.payload.to_bytes().expect("it is in memory"));
        if worker == 0 && self.world.clock_elapsed() < self.sick_until {
            return Act::fault(Fault::Worker("docker is down".to_owned()));
        }
        if way == Way::CannotStart {
            return Act::fault(Fault::Function("image not found: nosuch".to_owned()));
        }
        let body = format!("{} {} {:016x}", work.call, work.attempt, self.world.rng.u64());
        let fails = match way {
            Way::FailsFirst(times) => work.attempt <= times,
            way => way == Way::Fails,
        };
        let (mut act, ends) = match way {
            Way::RunsTooLong => (
                Act::answer(Bytes::new()).takes(Duration::from_millis(work.version.limits.timeout_ms + 1)),
                State::Timeout,
            ),
            Way::Kills => {
                let _ = deaths.send(worker);
                (Act::answer(Bytes::new()).takes(Duration::from_secs(20)), State::Killed)
            }
            _ if fails => (Act::error(format!("exit code 3 {body}")).takes(takes), State::Error),
            _ => (Act::answer(Bytes::from(body.clone())).takes(takes), State::Success),
        };
        act.log = Bytes::from(format!("log of {body}"));
        let execution = Execution { call: work.call, attempt: work.attempt, body, ends };
        self.world.journal.note(format!("worker {worker} executes {execution:?}"));
        self.executions.lock().expect("no holder panics").push(execution);
        act
    }

    /// A worker's machine: runs one worker after another until told to end, and kills the one that a call takes along.
    pub async fn machine(self, index: usize, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut life = 0;
        'lives: loop {
            life += 1;
            let process = self.world.process(&format!("worker {index}.{life}"));
            let (deaths, mut died) = mpsc::unbounded_channel();
            let stage = self.clone();
            let arm = index % 2 == 1 || self.plan.workers == 1;
            let executor =
                Scripted::new(process.clock.clone(), move |work| stage.execute(index, work, &deaths))
                    .suits(move |version| match version.arch.as_deref() {
                        Some("arm64") if !arm => {
                            Err(Mismatch("linux/arm64, this worker runs linux/amd64".to_owned()))
                        }
                        _ => Ok(()),
                    })
                    .probe({
                        let stage = self.clone();
                        move || match stage.world.clock_elapsed() < stage.sick_until && index == 0 {
                            true => Err("docker is down".to_owned()),
                            false => Ok(()),
                        }
                    });
            let mut config = Config::new(process.name.clone(), self.plan.slots);
            config.visibility = self.plan.visibility;
            config.reconcile = self.plan.reconcile;
            let (stop, stopped) = watch::channel(Stop::Run);
            let mut running = JoinSet::new();
            running.spawn(Worker::new(process.seams.clone(), Arc::new(executor), config).run(stopped));
            loop {
                tokio::select! {
                    biased;
                    order = orders.recv() => match order {
                        Some(Order::Kill) => break,
                        Some(Order::Drain) => { stop.send_replace(Stop::Drain); }
                        Some(Order::Freeze(time)) => {
                            process.gate.set_open(false);
                            tokio::time::sleep(time).await;
                            process.gate.set_open(true);
                        }
                        Some(Order::StepClock(ms)) => process.clock.step(ms),
                        None => return,
                    },
                    Some(_) = died.recv() => break,
                    _ = running.join_next() => {
                        self.world.journal.note(format!("worker {index} has ended"));
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        continue 'lives;
                    }
                }
            }
            self.world.journal.note(format!("worker {index} dies"));
            running.shutdown().await;
            // Its sandboxes, its connections and its clock are gone with it.
            process.gate.set_open(false);
            tokio::time::sleep(Duration::from_millis(100 + self.world.rng.below(10_000))).await;
        }
    }

    /// One caller, from its time on.
    pub async fn caller(self, index: usize) {
        let plan = self.plan.calls[index].clone();
        tokio::time::sleep(plan.at).await;
        let mut submitters = JoinSet::new();
        for (copy, after) in [Some(Duration::ZERO), plan.twice].into_iter().flatten().enumerate() {
            let (stage, plan) = (self.clone(), plan.clone());
            let process = self.world.process(&format!("caller {index}.{copy}"));
            submitters.spawn(async move {
                tokio::time::sleep(after).await;
                let request = Request {
                    app: stage.app.clone(),
                    route: format!("/{}", plan.function).parse().expect("a valid route"),
                    payload: Bytes::from(index.to_string()),
                    content_type: None,
                    headers: BTreeMap::new(),
                    delay: plan.delay,
                    idempotency_key: plan.twice.map(|_| format!("key {index}")),
                };
                if let Ok(accepted) = submit(&process.seams, request).await {
                    let mut told = stage.told.lock().expect("no holder panics");
                    told.accepted.entry(index).or_default().push(accepted.call);
                    told.sent.extend(accepted.sent.then_some(accepted.call));
                }
            });
        }
        if let Some(after) = plan.dies_after {
            tokio::time::sleep(after).await;
            submitters.shutdown().await;
        }
        while submitters.join_next().await.is_some() {}
        let Some(after) = plan.cancel_after else { return };
        tokio::time::sleep(after).await;
        let call = self.told.lock().expect("no holder panics").accepted.get(&index).map(|calls| calls[0]);
        let Some(call) = call else { return };
        let process = self.world.process(&format!("canceller {index}"));
        self.told.lock().expect("no holder panics").cancel_asked.push(call);
        if let Ok(outcome) = cancel(&process.seams, &self.app, call, "the simulation").await {
            self.told.lock().expect("no holder panics").cancelled.insert(call, outcome);
        }
    }

    /// The machine room: disturbs workers at random times, until its time is over.
    pub async fn trouble(self, machines: Vec<mpsc::UnboundedSender<Order>>) {
        let rng = SeededRng::new(self.world.rng.u64());
        let mut troubles: Vec<(Duration, Option<Order>)> = Vec::new();
        let mut plan =
            |order: Option<Order>| troubles.push((Duration::from_millis(rng.below(240_000)), order));
        for _ in 0..self.plan.disturbances {
            let beyond_the_lease = self.plan.visibility + Duration::from_millis(rng.below(60_000));
            plan(Some(if rng.below(2) == 0 { Order::Kill } else { Order::Freeze(beyond_the_lease) }));
        }
        for _ in 0..self.plan.drains {
            plan(Some(Order::Drain));
        }
        plan(Some(Order::Freeze(Duration::from_millis(rng.below(15_000)))));
        plan(Some(Order::StepClock(rng.below(7_200_000) as i64 - 3_600_000)));
        if self.plan.purge {
            plan(None);
        }
        troubles.sort_by_key(|(at, _)| *at);
        for (at, order) in troubles {
            tokio::time::sleep(at.saturating_sub(self.world.clock_elapsed())).await;
            self.world.journal.note(format!("trouble: {order:?}"));
            match order {
                Some(order) => drop(machines[rng.below(machines.len() as u64) as usize].send(order)),
                None => self.world.purge().await,
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Order {
    Kill,
    Freeze(Duration),
    Drain,
    StepClock(i64),
}
