//! Where a day is played: the functions with their ways, what they did, and what people were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use afn::catalog::{Catalog, Publish};
use afn::executor::scripted::Act;
use afn::layout::{CallMessage, Message, SuperviseMessage};
use afn::model::{
    AppName, BatchId, CallId, FunctionName, Kind, Limits, MessageId, Outcome, Route, Source, State, Time,
    Version,
};
use afn::seam::Clock as _;
use afn::seam::executor::{Fault, Invocation, Mismatch};
use afn::seam::rng::RngExt as _;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::check::Invariant;
use super::limits::RunningCalls;
use super::plan::{Plan, STUBBORN, Way, attempts_max};
use super::world::World;

/// How long a sick worker is sick.
const SICK: Duration = Duration::from_secs(120);

/// A payload that leads back to its plan.
pub fn payload(batch: usize, index: usize) -> String {
    format!("b {batch} {index}")
}

/// The plan of a payload made by [`payload`].
pub fn planned(payload: &Bytes) -> Option<(usize, usize)> {
    let text = std::str::from_utf8(payload).ok()?;
    let (batch, index) = text.strip_prefix("b ")?.split_once(' ')?;
    Some((batch.parse().ok()?, index.parse().ok()?))
}

/// One execution of a function, as the function itself saw it.
#[derive(Debug, Clone)]
pub struct Execution {
    /// A process, which has a name that no other has.
    pub worker: String,
    pub call: CallId,
    pub attempt: u32,
    /// What it answers, if it answers: different for every execution.
    pub body: String,
    pub ends: State,
    pub begun: Duration,
    /// None for one that still runs, or was cut off.
    pub ended: Option<Duration>,
}

/// What callers were told.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// By plan: every id that was accepted for it.
    pub accepted: BTreeMap<usize, Vec<CallId>>,
    /// Those of them that have a message, or must have. A repetition may rest on one that then died before its send.
    pub sent: BTreeSet<CallId>,
    pub cancelled: BTreeMap<CallId, Outcome>,
    pub cancel_asked: Vec<CallId>,
    /// Batches that were begun, with their plans.
    pub batches: BTreeMap<BatchId, usize>,
    /// Those among them whose submitters were told that all went well.
    pub submitted: BTreeSet<BatchId>,
    /// Batches of failures, with the batches that those are of.
    pub retries: BTreeMap<BatchId, BatchId>,
    pub cancelled_batches: BTreeSet<BatchId>,
    /// Batches that were sealed, or may have been, by people.
    pub sealed_batches: BTreeSet<BatchId>,
    pub cancelled_calls: BTreeSet<CallId>,
}

#[derive(Clone)]
pub struct Stage {
    pub world: Arc<World>,
    pub plan: Arc<Plan>,
    pub app: AppName,
    pub told: Arc<Mutex<Told>>,
    pub executions: Arc<Mutex<Vec<Execution>>>,
    /// What runs at this moment.
    pub running: RunningCalls,
    /// Workers that calls took along.
    pub dead: Arc<Mutex<BTreeSet<String>>>,
    /// How long the calls of a function wait after their first failure.
    pub backoffs: Arc<Mutex<BTreeMap<&'static str, Duration>>>,
}

impl Stage {
    pub async fn set(world: Arc<World>, plan: Plan) -> Stage {
        let app: AppName = "sim".parse().expect("a valid name");
        let stage = Stage {
            world,
            plan: Arc::new(plan),
            app,
            told: Arc::default(),
            executions: Arc::default(),
            running: RunningCalls::default(),
            dead: Arc::default(),
            backoffs: Arc::default(),
        };
        let deployer = stage.world.process("deployer");
        for name in stage.plan.functions() {
            stage.publish(Catalog::new(deployer.deps.clone()), name).await;
        }
        if stage.plan.strangers {
            let (id, at) = (MessageId::new(Time(1), 1), stage.world.clock.now());
            let call = CallMessage::new(id, stage.app.clone(), CallId::single(at, 5));
            stage.world.stranger(0, &Message::Call(call)).await;
            let batch = SuperviseMessage::new(id, stage.app.clone(), BatchId::new(at, 5 << 50));
            stage.world.stranger(2, &Message::Supervise(batch)).await;
        }
        stage
    }

    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("no holder panics")
    }

    pub fn executions(&self) -> Vec<Execution> {
        self.executions.lock().expect("no holder panics").clone()
    }

    async fn publish(&self, catalog: Catalog, name: &'static str) {
        let (retry_backoff_ms, timeout_ms) = match name {
            "patient" => (2_000 + self.world.rng.below(15_000), 30_000),
            STUBBORN => (2_000 + self.world.rng.below(13_000), 30_000),
            "long" => (1_000, 300_000),
            _ => (1_000, 30_000),
        };
        let attempts_max = attempts_max(name);
        let backoff = Duration::from_millis(retry_backoff_ms);
        self.backoffs.lock().expect("no holder panics").insert(name, backoff);
        let source = Source::Image { reference: name.to_owned(), digest: None };
        let limits = Limits { attempts_max, retry_backoff_ms, timeout_ms, ..Limits::default() };
        let version = Version {
            os: Some("linux".to_owned()),
            arch: Some(if name == "arm" { "arm64" } else { "amd64" }.to_owned()),
            ..Version::new("0.0.1", source, limits, Time(0)).expect("a version")
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
        if let Some((batch, index)) = planned(payload) {
            let plan = &self.plan.batches[batch];
            return (plan.ways[index], plan.takes);
        }
        let index = std::str::from_utf8(payload).ok().and_then(|text| text.parse::<usize>().ok());
        index.map_or((Way::Answers, Duration::ZERO), |index| {
            (self.plan.calls[index].way, self.plan.calls[index].takes)
        })
    }

    pub fn is_sick(&self, worker: usize) -> bool {
        worker < self.plan.sick && self.world.elapsed() < SICK
    }

    pub fn execute(
        &self,
        worker: usize,
        name: &str,
        work: &Invocation,
        deaths: &mpsc::UnboundedSender<usize>,
    ) -> Act {
        let (way, takes) = self.way(&work.payload.to_bytes().expect("it is in memory"));
        if self.is_sick(worker) {
            return Act::fault(Fault::Worker("docker is down".to_owned()));
        }
        if way == Way::CannotStart || (way == Way::StartsOnOdd && worker.is_multiple_of(2)) {
            return Act::fault(Fault::Function("image not found: nosuch".to_owned()));
        }
        if way == Way::Elsewhere && worker.is_multiple_of(2) && self.plan.workers > 1 {
            let mismatch = Mismatch("the image has no linux/amd64".to_owned());
            return Act::fault(Fault::Mismatch(mismatch)).takes(takes / 3);
        }
        let body = format!("{} {} {:016x}", work.call, work.attempt, self.world.rng.u64());
        let fails = match way {
            Way::FailsFirst(times) => work.attempt <= times,
            way => way == Way::Fails,
        };
        let is_busy = matches!(way, Way::BusyFirst(times) if work.attempt <= times);
        let (mut act, ends) = match way {
            Way::RunsTooLong => (
                Act::answer(Bytes::new()).takes(Duration::from_millis(work.version.limits.timeout_ms + 1)),
                State::Timeout,
            ),
            Way::Kills => {
                let _ = deaths.send(worker);
                (Act::answer(Bytes::new()).takes(Duration::from_secs(20)), State::Killed)
            }
            _ if is_busy => (Act::busy(format!("exit code 75 {body}"), None).takes(takes), State::Error),
            _ if fails => (Act::error(format!("exit code 3 {body}")).takes(takes), State::Error),
            _ => (Act::answer(Bytes::from(body.clone())).takes(takes), State::Success),
        };
        act.log = Bytes::from(format!("log of {body}"));
        let begun = self.world.elapsed();
        let (worker, call, attempt) = (name.to_owned(), work.call, work.attempt);
        let execution = Execution { worker, call, attempt, body, ends, begun, ended: None };
        self.world.journal.note(|| format!("{name} executes {execution:?}"));
        self.executions.lock().expect("no holder panics").push(execution);
        self.suspects_run_one_by_one(name);
        act
    }

    pub fn died(&self, name: &str) {
        self.dead.lock().expect("no holder panics").insert(name.to_owned());
    }

    /// Where nothing but calls takes workers along, a call that was lost twice is a suspect: at most one
    /// such call runs on a worker.
    fn suspects_run_one_by_one(&self, name: &str) {
        let (dead, executions) = (self.dead.lock(), self.executions.lock());
        let (dead, executions) = (dead.expect("no holder panics"), executions.expect("no holder panics"));
        // It was just taken along by the call before, and is not gone yet.
        if dead.contains(name) {
            return;
        }
        let open = || executions.iter().filter(|one| one.ended.is_none());
        let losses =
            |call: CallId| open().filter(|one| one.call == call && dead.contains(&one.worker)).count();
        let suspects = open().filter(|one| one.worker == name && losses(one.call) >= 2);
        let suspects: BTreeSet<CallId> = suspects.map(|one| one.call).collect();
        if self.plan.only_killers && suspects.len() > 1 {
            let what = format!("{name} runs suspects beside each other: {suspects:?}");
            self.world.guard.broken(Invariant::Truthful.broken(what));
        }
    }

    /// An execution has come to its end, which its log names.
    pub fn has_ended(&self, log: &[u8]) {
        let ended = Some(self.world.elapsed());
        let mut executions = self.executions.lock().expect("no holder panics");
        let its = |execution: &&mut Execution| log == format!("log of {}", execution.body).as_bytes();
        if let Some(execution) = executions.iter_mut().rev().find(its) {
            execution.ended = ended;
        }
    }
}
