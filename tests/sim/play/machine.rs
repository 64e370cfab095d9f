//! The machine room: workers that are killed, freeze, are cut off, drain, have their clocks set, and come back.

use std::sync::Arc;
use std::time::Duration;

use afn::executor::scripted::Scripted;
use afn::model::Version;
use afn::seam::executor::{Execution, Executor, Fault, Invocation, Mismatch};
use afn::seam::rng::{RngExt as _, SeededRng};
use afn::worker::{Config, Phase, Worker};
use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::network::Cut;
use super::stage::Stage;
use super::world::Process;

#[derive(Debug, Clone, Copy)]
pub enum Order {
    Kill,
    Freeze(Duration),
    Cut(Cut, Duration),
    Drain,
    StepClock(i64),
}

/// Tells the stage which executions came to their end.
struct Witnessed {
    inner: Scripted,
    stage: Stage,
    worker: String,
}

#[async_trait]
impl Executor for Witnessed {
    fn suits(&self, version: &Version) -> Result<(), Mismatch> {
        Executor::suits(&self.inner, version)
    }

    async fn run(&self, work: Invocation) -> Result<Execution, Fault> {
        let _running = self.stage.begins(&self.worker, &work);
        let run = self.inner.run(work).await?;
        self.stage.has_ended(&run.log);
        Ok(run)
    }

    async fn probe(&self) -> Result<(), String> {
        Executor::probe(&self.inner).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

impl Stage {
    /// Runs one worker after another until told to end, and kills the one that a call takes along.
    pub async fn machine(self, index: usize, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut life = 0;
        if index > 0 && index + self.plan.late >= self.plan.workers {
            tokio::time::sleep(Duration::from_millis(20_000 + self.world.rng.below(200_000))).await;
        }
        'lives: loop {
            life += 1;
            let process = self.world.process(&format!("worker {index}.{life}"));
            let (deaths, mut died) = mpsc::unbounded_channel();
            let (stop, stopped) = watch::channel(Phase::Run);
            let mut running = JoinSet::new();
            running.spawn(self.worker(index, &process, deaths).run(stopped));
            let mut restored: Option<tokio::time::Instant> = None;
            loop {
                tokio::select! {
                    biased;
                    order = orders.recv() => match order {
                        Some(Order::Kill) => break,
                        Some(Order::Drain) => drop(stop.send_replace(Phase::Drain)),
                        Some(Order::Freeze(time)) => {
                            self.running.freeze(&process.name, time);
                            process.gate.set_open(false);
                            tokio::time::sleep(time).await;
                            process.gate.set_open(true);
                        }
                        Some(Order::Cut(cut, time)) => {
                            process.line.cut(Some(cut));
                            restored = Some(tokio::time::Instant::now() + time);
                        }
                        Some(Order::StepClock(ms)) => process.clock.step(ms),
                        None => return,
                    },
                    Some(_) = died.recv() => break,
                    () = async { tokio::time::sleep_until(restored.expect("looked at before")).await },
                        if restored.is_some() => {
                        process.line.cut(None);
                        restored = None;
                    }
                    _ = running.join_next() => {
                        self.world.journal.note(|| format!("worker {index} has ended"));
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        continue 'lives;
                    }
                }
            }
            self.world.journal.note(|| format!("worker {index} dies"));
            self.died(&process.name);
            running.shutdown().await;
            // Its sandboxes, its connections and its clock are gone with it.
            process.gate.set_open(false);
            tokio::time::sleep(Duration::from_millis(100 + self.world.rng.below(10_000))).await;
        }
    }

    pub fn worker(&self, index: usize, process: &Process, deaths: mpsc::UnboundedSender<usize>) -> Worker {
        let (stage, sick) = (self.clone(), self.clone());
        let arm = index % 2 == 1 || self.plan.workers == 1;
        let name = process.name.clone();
        let executor =
            Scripted::new(process.clock.clone(), move |work| stage.execute(index, &name, work, &deaths))
                .suits(move |version| match version.arch.as_deref() {
                    Some("arm64") if !arm => {
                        Err(Mismatch("linux/arm64, this worker runs linux/amd64".to_owned()))
                    }
                    _ => Ok(()),
                })
                .probe(move || match sick.is_sick(index) && !sick.plan.sick_in_secret {
                    true => Err("docker is down".to_owned()),
                    false => Ok(()),
                });
        let mut config = Config::new(process.name.clone(), self.plan.slots);
        config.visibility = self.plan.visibility;
        config.reconcile = self.plan.resend;
        let executor = Witnessed { inner: executor, stage: self.clone(), worker: process.name.clone() };
        Worker::new(process.deps.clone(), Arc::new(executor), config)
    }

    /// Disturbs workers at random times, until its time is over.
    pub async fn trouble(self, machines: Vec<mpsc::UnboundedSender<Order>>) {
        let rng = SeededRng::new(self.world.rng.u64());
        let mut troubles: Vec<(Duration, Option<Order>)> = Vec::new();
        let mut plan =
            |order: Option<Order>| troubles.push((Duration::from_millis(rng.below(240_000)), order));
        for _ in 0..self.plan.disturbances {
            let beyond_the_lease = self.plan.visibility + Duration::from_millis(rng.below(60_000));
            plan(Some(match rng.below(6) {
                0 | 1 => Order::Kill,
                2 => Order::Freeze(beyond_the_lease),
                3 => Order::Cut(Cut::Sends, 2 * beyond_the_lease),
                4 => Order::Cut(Cut::Writes, 2 * beyond_the_lease),
                _ if rng.below(2) == 0 => Order::Cut(Cut::Requests, beyond_the_lease),
                _ => Order::Cut(Cut::Replies, 2 * beyond_the_lease),
            }));
        }
        for _ in 0..self.plan.drains {
            plan(Some(Order::Drain));
        }
        plan(Some(Order::Freeze(Duration::from_millis(rng.below(15_000)))));
        let step = Order::StepClock(rng.below(7_200_000) as i64 - 3_600_000);
        if !self.plan.calm {
            plan(Some(step));
        }
        if self.plan.purge {
            plan(None);
        }
        troubles.sort_by_key(|(at, _)| *at);
        for (at, order) in troubles {
            tokio::time::sleep(at.saturating_sub(self.world.elapsed())).await;
            self.world.journal.note(|| format!("trouble: {order:?}"));
            match order {
                Some(order) => drop(machines[rng.below(machines.len() as u64) as usize].send(order)),
                None => self.world.purge().await,
            }
        }
    }
}
