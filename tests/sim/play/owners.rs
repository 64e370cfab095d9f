//! People who own a batch: they submit it, are cut off, resume it beside each other, cancel, seal, retry.

use std::time::Duration;

use afn::Result;
use afn::layout::batch::Then;
use afn::layout::{Key, key};
use afn::model::{BatchId, BatchLimits};
use afn::seam::StoreExt as _;
use afn::seam::store::List;
use afn::submit::batch::{BatchOptions, BatchRequest, Progress, submit};
use afn::submit::cancel_batch::{cancel, cancel_call};
use afn::submit::control::{Change, change as change_control};
use afn::submit::resume::{ResumeRequest, resume};
use afn::submit::retry::retry;
use afn::submit::seal::{Submitter, seal};
use afn::submit::source::{self, Origin, Source, SourceRecord};
use async_trait::async_trait;
use tokio::task::JoinSet;

use super::TROUBLE;
use super::plan::BatchPlan;
use super::stage::{Stage, payload};
use super::world::Process;

const AGAIN: Duration = Duration::from_secs(61);

/// Gives some records, then waits, then gives the rest.
struct Trickle {
    inner: Box<dyn Source>,
    first: usize,
    wait: Duration,
    rest: Vec<SourceRecord>,
}

#[async_trait]
impl Source for Trickle {
    fn origin(&self) -> Origin {
        self.inner.origin()
    }

    async fn next(&mut self) -> Result<Vec<SourceRecord>> {
        if !self.rest.is_empty() {
            tokio::time::sleep(self.wait).await;
            return Ok(std::mem::take(&mut self.rest));
        }
        let mut items = self.inner.next().await?;
        self.rest = items.split_off(std::mem::replace(&mut self.first, usize::MAX).min(items.len()));
        Ok(items)
    }
}

impl Stage {
    fn source(&self, index: usize) -> Box<dyn Source> {
        let plan = &self.plan.batches[index];
        let lines: Vec<String> = (0..plan.ways.len()).map(|call| payload(index, call)).collect();
        let name = if plan.stdin { source::STDIN } else { "lines" };
        let inner = source::text(lines.join("\n"), "lines".parse().expect("a format"), name);
        match plan.trickles {
            Some((first, wait)) => Box::new(Trickle { inner, first, wait, rest: Vec::new() }),
            None => inner,
        }
    }

    fn request(&self, index: usize) -> BatchRequest {
        let plan = &self.plan.batches[index];
        let then = Then { app: self.app.clone(), route: "/once".parse().expect("a route") };
        BatchRequest {
            app: self.app.clone(),
            route: format!("/{}", plan.function).parse().expect("a valid route"),
            source: self.source(index),
            options: BatchOptions {
                chunking: plan.chunking,
                max_failures: plan.max_failures,
                limits: BatchLimits { concurrency_max: plan.limit, rate_max: None },
                then: plan.then.then_some(then),
                ..BatchOptions::default()
            },
        }
    }

    fn batch_of(&self, index: usize) -> Option<BatchId> {
        self.told().batches.iter().find(|(_, its)| **its == index).map(|(batch, _)| *batch)
    }

    async fn submits(self, index: usize, process: Process) {
        let know = |progress: Progress| {
            self.told().batches.insert(progress.batch, index);
        };
        let submitted = submit(&process.deps, self.request(index), &know).await;
        self.world.journal.note(|| format!("batch {index}: {submitted:?}"));
        if let Ok(submitted) = submitted {
            self.told().batches.insert(submitted.batch, index);
            self.told().submitted.insert(submitted.batch);
        }
    }

    /// Whoever owns a batch, while all goes wrong.
    pub async fn owner(self, index: usize) {
        let plan = self.plan.batches[index].clone();
        tokio::time::sleep(plan.at).await;
        let process = self.world.process(&format!("owner {index}"));
        let gate = process.gate.clone();
        if let Some(requests) = plan.cut_after {
            process.line.fuse(requests);
        }
        let mut submission = JoinSet::new();
        submission.spawn(self.clone().submits(index, process));
        let mut others = JoinSet::new();
        for (copy, after) in plan.resumes.iter().copied().enumerate() {
            others.spawn(self.clone().resumes(index, copy, after));
        }
        if let Some(after) = plan.cancel_after {
            others.spawn(self.clone().cancels(index, after));
        }
        if let Some((after, time)) = plan.paused {
            others.spawn(self.clone().pauses(index, after, time));
        }
        if let Some((number, after)) = plan.cancel_call {
            others.spawn(self.clone().cancels_call(index, number, after));
        }
        if let Some((after, time)) = plan.pauses {
            others.spawn(async move {
                tokio::time::sleep(after).await;
                gate.set_open(false);
                tokio::time::sleep(time).await;
                gate.set_open(true);
            });
        }
        if let Some(after) = plan.dies_after {
            tokio::time::sleep(after).await;
            submission.shutdown().await;
        }
        while submission.join_next().await.is_some() {}
        while others.join_next().await.is_some() {}
        while plan.retry && self.world.elapsed() < TROUBLE {
            tokio::time::sleep(Duration::from_secs(7)).await;
            if self.is_over(index).await {
                return self.retries(index).await;
            }
        }
    }

    async fn resumes(self, index: usize, copy: usize, after: Duration) {
        tokio::time::sleep(after).await;
        if let Some(batch) = self.batch_of(index) {
            let process = self.world.process(&format!("resumer {index}.{copy}"));
            let _ = self.resume(index, batch, &process).await;
        }
    }

    async fn resume(&self, index: usize, batch: BatchId, process: &Process) -> Result<()> {
        let source = (!self.plan.batches[index].stdin).then(|| self.source(index));
        let resumed = resume(&process.deps, ResumeRequest { batch, source }, &|_| {}).await;
        self.world.journal.note(|| format!("{}: {resumed:?}", process.name));
        resumed.map(drop)
    }

    async fn cancels(self, index: usize, after: Duration) {
        tokio::time::sleep(after).await;
        if let Some(batch) = self.batch_of(index) {
            self.cancel_batch(batch).await;
        }
    }

    /// Pauses the batch, and lets it go on.
    async fn pauses(self, index: usize, after: Duration, time: Duration) {
        tokio::time::sleep(after).await;
        for (paused, time) in [(true, time), (false, Duration::ZERO)] {
            self.asks(index, paused).await;
            tokio::time::sleep(time).await;
        }
    }

    async fn asks(&self, index: usize, paused: bool) {
        let Some(batch) = self.batch_of(index) else { return };
        let process = self.world.process(&format!("pauser of {batch}"));
        self.running.unpause(batch);
        let change = Change { paused: Some(paused), limits: None };
        let changed = change_control(&process.deps, batch, "the simulation", change).await;
        self.world.journal.note(|| format!("{batch} paused {paused}: {changed:?}"));
        if paused && changed.is_ok() {
            self.running.pause(batch, self.world.elapsed());
        }
    }

    async fn cancel_batch(&self, batch: BatchId) {
        self.told().cancelled_batches.insert(batch);
        let process = self.world.process(&format!("canceller of {batch}"));
        let _ = cancel(&process.deps, batch, "the simulation", "cancelled by the simulation").await;
    }

    async fn cancels_call(self, index: usize, number: u64, after: Duration) {
        tokio::time::sleep(after).await;
        let Some(call) = self.batch_of(index).map(|batch| batch.call(number)) else { return };
        self.told().cancelled_calls.insert(call);
        let process = self.world.process(&format!("canceller of {call}"));
        let cancelled = cancel_call(&process.deps, call, "the simulation").await;
        self.world.journal.note(|| format!("{call}: {cancelled:?}"));
    }

    async fn is_over(&self, index: usize) -> bool {
        let Some(batch) = self.batch_of(index) else { return false };
        let summary = Key::Summary(self.app.clone(), batch);
        self.world.store.exists(&summary).await.expect("the store never fails")
    }

    async fn retries(&self, index: usize) {
        let Some(batch) = self.batch_of(index) else { return };
        let know = |progress: Progress| {
            self.told().retries.insert(progress.batch, batch);
        };
        let BatchPlan { chunking, .. } = self.plan.batches[index];
        let options = BatchOptions { chunking, ..BatchOptions::default() };
        let process = self.world.process(&format!("retrier {index}"));
        let retried = retry(&process.deps, batch, options, &know).await;
        self.world.journal.note(|| format!("retry of {batch}: {retried:?}"));
        if let Ok(retried) = retried {
            self.told().retries.insert(retried.batch, batch);
        }
    }

    /// Whoever owns a batch, once all is well again: nothing is left lying.
    pub async fn care(self, index: usize) {
        let Some(batch) = self.batch_of(index) else { return };
        let process = self.world.process(&format!("carer {index}"));
        if self.plan.batches[index].paused.is_some() {
            self.asks(index, false).await;
        }
        let submitted = self.told().submitted.contains(&batch);
        if (!submitted || self.plan.purge) && self.resume(index, batch, &process).await.is_err() {
            if index.is_multiple_of(2) {
                self.cancel_batch(batch).await;
            } else {
                self.told().sealed_batches.insert(batch);
                while seal(&process.deps, batch, "the simulation", Submitter::Unknown).await.is_err() {
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
        if self.plan.batches[index].retry {
            while !self.is_over(index).await {
                tokio::time::sleep(AGAIN).await;
            }
            self.retries(index).await;
        }
    }

    /// Cancels the batches that nobody knows of: their submitters died before they said a word.
    pub async fn tidy(self) {
        let all = self.world.store.list_all(List::all(key::batches(&self.app))).await;
        for entry in all.expect("the store never fails").entries {
            let Ok(Key::Batch(_, batch)) = entry.key.parse() else { continue };
            let known = {
                let told = self.told();
                told.batches.contains_key(&batch) || told.retries.contains_key(&batch)
            };
            if !known {
                self.cancel_batch(batch).await;
            }
        }
    }
}
