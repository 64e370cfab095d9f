//! One simulated day, drawn from a seed: trouble, then healing, then what is left of it weeks later.

mod afterwards;
mod callers;
mod check;
mod guard;
mod limits;
mod machine;
mod network;
mod owners;
pub mod plan;
pub mod stage;
pub mod world;

use std::sync::Arc;
use std::time::Duration;

use afn::model::{Digest, State};
use afn::seam::rng::SeededRng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use check::{Invariant, Verdict, batches, calls, evidence};
use plan::Plan;
use stage::Stage;
pub use world::Journal;
use world::World;

/// The days of one run, each with and without sending again by itself.
pub const SEEDS_FROM: u64 = 1_000;
pub const SEEDS: u64 = 2_000;

/// How long the bad day lasts.
const TROUBLE: Duration = Duration::from_secs(300);
/// Within this after it everything that is owed must be done: two hours until the reconciler may send again, and what
/// a call that kills its worker needs to be condemned.
const HEALED: Duration = Duration::from_secs(6 * 3600);
/// Within this after that the queue must be dry.
const DRY: Duration = Duration::from_secs(2 * 3600);

/// What came of a day.
pub struct Report {
    /// All that was done, in order, where it was to be kept.
    pub lines: Vec<String>,
    pub verdict: Verdict,
    pub injected: u64,
    pub condemned: u64,
}

impl Report {
    pub fn fingerprint(&self) -> Digest {
        Digest::of(self.lines.join("\n").as_bytes())
    }
}

/// Plays the day of a seed, with everything that sends again by itself or, since that hides bugs, without (N14).
pub fn day(seed: u64, resend: bool, journal: Journal) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime can be built").block_on(async {
        let plan = Plan::draw(&SeededRng::new(seed), resend);
        let world = Arc::new(World::new(seed, plan.rates, plan.page, journal));
        let stage = Stage::set(world.clone(), plan).await;
        let mut condemned = 0;
        let verdict = play(&stage, &mut condemned).await;
        Report { lines: world.journal.lines(), verdict, injected: world.injected(), condemned }
    })
}

/// All that was seen so far.
#[derive(Default)]
struct Seen {
    writes: u64,
    calls: calls::Seen,
    batches: batches::Seen,
}

impl Seen {
    /// What must be true at every moment.
    async fn look(&mut self, stage: &Stage) -> Verdict {
        stage.world.guard.verdict()?;
        stage.world.strangers_are_there()?;
        let writes = stage.world.guard.writes();
        if std::mem::replace(&mut self.writes, writes) != writes {
            self.calls.look(stage).await?;
            self.batches.look(stage).await?;
        }
        let fired = self.batches.fired();
        stage.world.guard.supervised(|batch| fired.contains_key(batch), &stage.world.queues[2].bodies())
    }
}

async fn play(stage: &Stage, condemned: &mut u64) -> Verdict {
    let mut machines = JoinSet::new();
    let mut orders = Vec::new();
    for index in 0..stage.plan.workers {
        let (order, taken) = mpsc::unbounded_channel();
        machines.spawn(stage.clone().machine(index, taken));
        orders.push(order);
    }
    let mut people = JoinSet::new();
    for index in 0..stage.plan.calls.len() {
        people.spawn(stage.clone().caller(index));
    }
    for index in 0..stage.plan.batches.len() {
        people.spawn(stage.clone().owner(index));
    }
    people.spawn(stage.clone().trouble(orders.clone()));

    let mut seen = Seen::default();
    while stage.world.elapsed() < TROUBLE || !people.is_empty() {
        tokio::time::sleep(Duration::from_secs(7)).await;
        ended(&mut people)?;
        seen.look(stage).await?;
        if stage.world.elapsed() > HEALED {
            return Err(Invariant::Liveness.broken("people do not come to an end"));
        }
    }

    stage.world.heal();
    for index in 0..stage.plan.batches.len() {
        people.spawn(stage.clone().care(index));
    }
    people.spawn(stage.clone().tidy());
    let healed = stage.world.elapsed();
    loop {
        ended(&mut people)?;
        seen.look(stage).await?;
        let owed = (seen.calls.owed(stage), seen.batches.owed(stage));
        if owed.0.is_empty() && owed.1.is_empty() && people.is_empty() {
            break;
        }
        if stage.world.elapsed() > healed + HEALED {
            return Err(
                Invariant::NothingLost.broken(format!("no outcome, long after all was healed: {owed:?}"))
            );
        }
        tokio::time::sleep(Duration::from_secs(61)).await;
    }
    truthful(stage, &seen).await?;
    let done = stage.world.elapsed();
    while !stage.world.is_dry() {
        if stage.world.elapsed() > done + DRY {
            return Err(Invariant::Liveness.broken("messages without work stay on the queues"));
        }
        tokio::time::sleep(Duration::from_secs(61)).await;
    }
    if stage.world.dead().await.visible > 0 {
        return Err(Invariant::NothingLost.broken("a good message was dead-lettered"));
    }
    seen.look(stage).await?;
    truthful(stage, &seen).await?;
    *condemned = seen.calls.count(State::Killed) + seen.batches.count(State::Killed);
    drop(orders);
    machines.shutdown().await;
    if stage.plan.weeks_later {
        afterwards::weeks_later(stage, &mut seen).await?;
    }
    Ok(())
}

fn ended(people: &mut JoinSet<()>) -> Verdict {
    while let Some(ended) = people.try_join_next() {
        ended.map_err(|error| Invariant::Liveness.broken(format!("somebody panicked: {error}")))?;
    }
    Ok(())
}

/// What must be true of all that is decided.
async fn truthful(stage: &Stage, seen: &Seen) -> Verdict {
    seen.calls.truthful(stage).await?;
    seen.batches.truthful(stage).await?;
    evidence::condemned_on_evidence(stage, seen).await
}
