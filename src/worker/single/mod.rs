//! Runs a single call, from its leased message to its recorded outcome.

mod put_back;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::RwLockReadGuard;

use self::put_back::{hand_on, losses};
use crate::event::Event;
use crate::layout::object::{self, MarkKind, Started};
use crate::layout::{CallMessage, Key, metadata};
use crate::limits;
use crate::model::{AttemptHistory, AttemptId, CallFacts, DeliveryId, Outcome, State, Time, Version};
use crate::planted::planted;
use crate::seam::executor::{Execution, Fault, Invocation, Verdict, Work};
use crate::seam::store::{Object, ObjectInfo, StoreError};
use crate::seam::{ExecutionLog, StoreExt as _};
use crate::worker::attempt::{self, AttemptEnd, Next, Policy};
use crate::worker::definitions::{Definition, Resolved};
use crate::worker::done::Done;
use crate::worker::execution::{self, Completion};
use crate::worker::failed_attempt::{self, FailedAttempt, Following};
use crate::worker::lease::Lease;
use crate::worker::marks::{self, EarlierMark, MarkLocation};
use crate::worker::outcome::{reason, status};
use crate::worker::phase::Phase;
use crate::worker::quarantine::{self, Judgement, Level, SuspectPermit};
use crate::worker::record::{self, AttemptOutput};
use crate::worker::slots::{self, Class, Slot};
use crate::worker::{Abandoned, Shared};

/// The work on one message.
struct SingleCall {
    shared: Arc<Shared>,
    lease: Lease,
    message: CallMessage,
    place: MarkLocation,
    delivery: DeliveryId,
    /// What is known of its executions that ended.
    history: AttemptHistory,
    level: Level,
    /// This delivery has a mark, or may have.
    marked: bool,
}

/// What is needed to run a call.
struct Ready {
    facts: CallFacts,
    /// None until it was read.
    payload: Option<Object>,
    version: Arc<Version>,
    definition: Definition,
}

/// What the preparations came to.
enum Prepared {
    Ready(Box<Ready>),
    /// Nothing is to be run: the outcome is known before.
    Decided {
        facts: Box<CallFacts>,
        status: State,
        reason: String,
    },
    /// Decided or gone.
    Over,
    /// Not before then.
    Early(Time),
}

/// The right to run, given up when dropped.
#[expect(dead_code, reason = "held, not read")]
enum Permit<'a> {
    Among(Slot, RwLockReadGuard<'a, ()>),
    Suspect(SuspectPermit<'a>),
}

pub async fn work(shared: Arc<Shared>, line: slots::SlotTicket, lease: Lease, message: CallMessage) -> Done {
    let slot = tokio::select! {
        biased;
        () = shared.phases.reached(Phase::Drain) => None,
        slot = line.slot() => Some(slot),
        () = shared.deps.clock.sleep(limits::BEGIN_WITHIN) => None,
    };
    let Some(slot) = slot else { return hand_on(&shared, lease, message).await };
    let (app, call) = (message.app.clone(), message.call);
    let delivery = DeliveryId { message: message.id, delivery: lease.delivery };
    let single = SingleCall {
        place: MarkLocation::Call(app.clone(), call),
        history: message.history,
        level: Level::Normal,
        marked: false,
        shared: shared.clone(),
        lease,
        message,
        delivery,
    };
    let place = single.place.clone();
    match single.work(slot).await {
        Ok(done) => done,
        Err(Abandoned(error)) => {
            // Nobody was lost here: a mark of this delivery must not tell so. Tried once.
            let _ = marks::void(&shared, &place, delivery).await;
            shared.emit(Event::RequestFailed {
                what: format!("work on call {call} of app {app}"),
                why: error.to_string(),
            });
            Done::Left
        }
    }
}

impl SingleCall {
    async fn work(mut self, slot: Slot) -> Result<Done, Abandoned> {
        let status = Key::Status(self.message.app.clone(), self.message.call);
        let what = format!("look whether call {} is decided", self.message.call);
        let store = &self.shared.deps.store;
        let look = || async { Ok(store.exists(&status).await?) };
        if record::until_answered(&self.shared, &what, look).await? {
            return Ok(Done::Finished(self.lease));
        }
        let (judged, prepared) = match self.look().await {
            Err(Abandoned(error)) => return self.settle_unread(error).await,
            Ok(looked) => looked,
        };
        let ready = match prepared {
            Prepared::Ready(ready) => *ready,
            Prepared::Over => return Ok(Done::Finished(self.lease)),
            Prepared::Early(not_before) => return self.put_back_until(not_before).await,
            Prepared::Decided { facts, status, reason } => {
                let outcome = self.outcome(&facts, status, Some(reason));
                return self.finish(outcome, AttemptOutput::default()).await;
            }
        };
        let (app, function, version) = (&self.message.app, &ready.facts.function, &ready.version);
        let work = Work { app, function, version, batch: None };
        if let Err(mismatch) = self.shared.executor.accepts(&work) {
            return match self.shared.executor.serves(&work) {
                true => self.put_back_mismatched(ready.facts, mismatch).await,
                false => self.leave_to_others(mismatch).await,
            };
        }
        if self.level > Level::Normal {
            let (app, call) = (self.message.app.clone(), self.message.call);
            let (delivery, suspect) = (self.lease.delivery, self.level.is_suspect());
            self.shared.emit(Event::CallRedelivered { app, call, delivery, suspect });
        }
        if let Some(reason) = judged {
            let outcome = self.outcome(&ready.facts, State::Killed, Some(reason));
            return self.finish(outcome, AttemptOutput::default()).await;
        }
        let shared = self.shared.clone();
        self.run_until_decided(&shared, ready, slot).await
    }

    /// Reads all that tells how it is to run. Nothing has begun yet.
    async fn look(&mut self) -> Result<(Option<String>, Prepared), Abandoned> {
        let lost = marks::of_earlier_deliveries(&self.shared, &self.place, self.delivery).await?;
        for mark in &lost {
            self.history = self.history.merge(mark.history);
        }
        Ok((self.judge(&lost).await?, self.prepare().await?))
    }

    /// How carefully the call runs; or, if it was lost too often, with what reason it is given up.
    async fn judge(&mut self, lost: &[EarlierMark]) -> Result<Option<String>, Abandoned> {
        let losses = losses(&self.message, lost);
        // A message that takes the place of this one carries them, whatever is decided about them here.
        self.message.losses = losses.iter().map(|mark| mark.delivery).collect();
        let losses = match quarantine::judge(&self.shared, &self.place, losses, None).await? {
            Judgement::Condemned(reason) => return Ok(Some(reason)),
            Judgement::Runs(losses) => losses,
        };
        planted!((), ReceiveCountCondemns => if self.lease.delivery > 3 {
            return Ok(Some("its worker was lost".to_owned()));
        });
        self.level = Level::of(losses.len(), self.lease.delivery > 1);
        self.message.losses = losses.into_iter().map(|mark| mark.delivery).collect();
        Ok(None)
    }

    async fn prepare(&self) -> Result<Prepared, Abandoned> {
        let (app, call) = (&self.message.app, self.message.call);
        let store = &self.shared.deps.store;
        let key = Key::Payload(app.clone(), call);
        // Workers may have been lost while they read the payload. So one that came again is read only under its mark.
        let is_new = self.lease.delivery == 1;
        let (metadata, payload) = match is_new {
            true => match store.find(&key, limits::PAYLOAD_BYTES_MAX).await? {
                Some(payload) => (payload.info.metadata.clone(), Some(payload)),
                // A payload is stored before its message is sent and deleted after its outcome was: this call was deleted.
                None => return Ok(Prepared::Over),
            },
            false => match store.head(&key).await {
                Ok(ObjectInfo { bytes, .. }) if bytes > limits::PAYLOAD_BYTES_MAX => {
                    let (key, bytes_max) = (key.to_string(), limits::PAYLOAD_BYTES_MAX);
                    return Err(StoreError::TooLarge { key, bytes, bytes_max }.into());
                }
                Ok(info) => (info.metadata, None),
                Err(StoreError::NotFound) => return Ok(Prepared::Over),
                Err(error) => return Err(error.into()),
            },
        };
        let facts: CallFacts = metadata::decode(&key, metadata.as_deref().unwrap_or_default())?;
        if let Some(not_before) = facts.not_before.filter(|at| *at > self.shared.deps.now()) {
            return Ok(Prepared::Early(not_before));
        }
        let definitions = &self.shared.definitions;
        Ok(match definitions.resolve(app, &facts.function, &facts.version).await? {
            Resolved::Ready(version, definition) => {
                Prepared::Ready(Box::new(Ready { facts, payload, version, definition }))
            }
            Resolved::Gone(reason) => {
                Prepared::Decided { facts: Box::new(facts), status: State::Error, reason }
            }
        })
    }

    /// Waits for the right to run. `None`: it is not to be had here soon.
    async fn enter<'a>(&self, shared: &'a Shared, slot: Option<Slot>) -> Option<Permit<'a>> {
        if self.level.is_suspect() {
            drop(slot);
            let since = self.message.alone_since;
            return tokio::select! {
                biased;
                () = shared.phases.reached(Phase::Drain) => None,
                permit = quarantine::enter(shared, self.level, Class::Call, since) => permit.map(Permit::Suspect),
            };
        }
        let among = async {
            let slot = match slot {
                Some(slot) => slot,
                None => shared.slots.take(Class::Call).await,
            };
            Permit::Among(slot, shared.quarantine.among_others().await)
        };
        tokio::select! {
            biased;
            () = shared.phases.reached(Phase::Drain) => None,
            permit = among => Some(permit),
            () = shared.deps.clock.sleep(limits::BEGIN_WITHIN) => None,
        }
    }

    /// Attempts until the call is decided, or the rest of it is somebody else's.
    async fn run_until_decided(
        mut self,
        shared: &Shared,
        mut ready: Ready,
        slot: Slot,
    ) -> Result<Done, Abandoned> {
        let mut slot = Some(slot);
        loop {
            let Some(permit) = self.enter(shared, slot.take()).await else {
                return self.wait_elsewhere().await;
            };
            if shared.phases.now() >= Phase::Drain || !self.lease.may_begin(shared) {
                return self.replace(Duration::ZERO, true).await;
            }
            self.mark().await?;
            if ready.payload.is_none() {
                let key = Key::Payload(self.message.app.clone(), self.message.call);
                ready.payload = shared.deps.store.find(&key, limits::PAYLOAD_BYTES_MAX).await?;
            }
            let Some(payload) = &ready.payload else { return Ok(Done::Finished(self.lease)) };
            let begun = shared.deps.clock.monotonic();
            let (ending, execution_log) = self.execute(&ready, payload).await;
            let now = shared.deps.clock.monotonic();
            shared.pace.record(now, now.saturating_sub(begun));
            drop(permit);
            let run = match ending {
                Completion::Decided => {
                    self.keep_interrupted_output(&execution_log).await;
                    return Ok(Done::Finished(self.lease));
                }
                Completion::CutOff => return self.replace(Duration::ZERO, true).await,
                Completion::Ended(run) => run,
            };
            let limits = &ready.version.limits;
            let policy = Policy { attempts_max: limits.attempts_max, backoff_ms: limits.retry_backoff_ms };
            let ended = AttemptEnd::of(&run, shared.deps.now());
            match (attempt::next(&mut self.history, ended, &policy), run) {
                (Next::Decide, run) => return self.decide(&ready, run, &execution_log).await,
                (Next::Retry(wait), run) => {
                    if let Some(left) = self.wait(&ready, run, &execution_log, wait).await {
                        return self.replace(left, false).await;
                    }
                }
                (Next::HandBack, Err(Fault::Mismatch(mismatch))) => {
                    return self.replace_after_mismatch(mismatch).await;
                }
                (Next::HandBack, run) => {
                    if let Err(Fault::Worker(why)) = run {
                        shared.health.report(why);
                    }
                    return self.replace(Duration::ZERO, true).await;
                }
            }
        }
    }

    /// Says that the call is about to be read and run, if a worker was lost with it before.
    async fn mark(&mut self) -> Result<(), Abandoned> {
        if self.level > Level::Normal && !self.marked {
            self.marked = true;
            let mark = self.started(self.level.mark_kind(), self.shared.deps.now());
            marks::put_started(&self.shared, &self.place, self.delivery, &mark).await?;
        }
        Ok(())
    }

    /// One execution, marked after a while.
    async fn execute(&mut self, ready: &Ready, payload: &Object) -> (Completion, ExecutionLog) {
        let attempt = self.history.next_attempt();
        let (app, call) = (self.message.app.clone(), self.message.call);
        let function = ready.facts.function.to_string();
        self.shared.emit(Event::CallStarted { app: app.clone(), call, function, attempt });
        let work = Invocation {
            app: app.clone(),
            app_config: ready.definition.app_config.clone(),
            function: ready.definition.function.clone(),
            version: ready.version.clone(),
            call,
            attempt,
            env: Vec::new(),
            headers: ready.facts.headers.clone(),
            content_type: payload.info.content_type.clone(),
            payload: payload.body.clone().into(),
            execution_log: ExecutionLog::default(),
        };
        let execution_log = work.execution_log.clone();
        let mut marked = self.marked;
        let ending = {
            let mark_running = async {
                if marked {
                    return;
                }
                // Set first: a write whose answer never comes may have been done.
                marked = true;
                let at = execution_log.started_at().unwrap_or_else(|| self.shared.deps.now());
                let mark = self.started(MarkKind::Running, at);
                let _ = marks::put_started(&self.shared, &self.place, self.delivery, &mark).await;
            };
            execution::run(&self.shared, work, &app, call, mark_running).await
        };
        self.marked = marked;
        (ending, execution_log)
    }

    fn started(&self, kind: MarkKind, at: Time) -> Started {
        let AttemptHistory { failures, start_failures, .. } = self.history;
        Started {
            at,
            kind,
            attempt: self.history.next_attempt(),
            failures,
            start_failures,
            lease_ms: Some(self.shared.config.visibility.as_millis() as u64),
            worker: self.shared.config.name.clone(),
        }
    }

    fn attempt_id(&self, attempt: u32) -> AttemptId {
        let delivery =
            planted!(self.delivery, AttemptKeyWithoutMessage => crate::planted::of_no_message(self.delivery));
        AttemptId { delivery, attempt }
    }

    /// The call got its outcome while it ran here. What it said is kept beside that.
    async fn keep_interrupted_output(&self, execution_log: &ExecutionLog) {
        let (app, call) = (self.message.app.clone(), self.message.call);
        let key = Key::Status(app.clone(), call);
        let Ok(Some(stands)) = self.shared.deps.store.find(&key, limits::FACT_BYTES_MAX).await else {
            return;
        };
        let Ok(Outcome { status, reason, attempt, .. }) = object::decode(&key, &stands.body) else { return };
        let started_at = execution_log.started_at();
        let run_ms = started_at.map_or(0, |at| self.shared.deps.now().since_ms(at));
        self.shared.emit(Event::CallStopped { app, call, status, ran_ms: run_ms });
        // A send whose answer was lost makes two messages of one id, so two workers' executions may share a name. The log
        // under it is the outcome's.
        if attempt == Some(self.attempt_id(self.history.next_attempt())) {
            return;
        }
        let reason = match (status, reason) {
            (State::Cancelled, Some(reason)) => reason,
            _ => format!("somebody else recorded {status}"),
        };
        let log = execution_log.take_log();
        let failed = FailedAttempt { status: State::Cancelled, reason, started_at, run_ms, log };
        self.keep(failed, self.history.next_attempt(), None).await;
    }

    async fn keep(&self, failed: FailedAttempt, attempt: u32, retry_at: Option<Time>) {
        let following = Following { failures: self.history.attempts, retry_at };
        let (app, call) = (&self.message.app, self.message.call);
        failed_attempt::keep(&self.shared, app, call, self.attempt_id(attempt), failed, following).await;
    }

    async fn decide(
        self,
        ready: &Ready,
        run: Result<Execution, Fault>,
        execution_log: &ExecutionLog,
    ) -> Result<Done, Abandoned> {
        let run = match run {
            Ok(run) => run,
            Err(fault) => {
                let mut outcome = self.outcome(&ready.facts, State::Error, Some(fault.to_string()));
                outcome.attempt = Some(self.attempt_id(self.history.attempts));
                return self
                    .finish(outcome, AttemptOutput { result: None, log: execution_log.take_log() })
                    .await;
            }
        };
        let reason = reason(&run, &ready.version);
        let mut outcome = self.outcome(&ready.facts, status(&run.verdict), reason);
        outcome.attempt = Some(self.attempt_id(self.history.attempts));
        outcome.started_at = Some(run.started_at);
        outcome.run_ms = run.took.as_millis() as u64;
        let result = match run.verdict {
            Verdict::Success { content_type, body } => Some((body, content_type)),
            Verdict::Error { .. } | Verdict::Busy { .. } | Verdict::Timeout => None,
        };
        self.finish(outcome, AttemptOutput { result, log: run.log }).await
    }

    fn outcome(&self, facts: &CallFacts, status: State, reason: Option<String>) -> Outcome {
        Outcome {
            attempts: self.history.attempts,
            worker: Some(self.shared.config.name.clone()),
            worker_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            ..Outcome::without_run(facts, status, reason, self.shared.deps.now())
        }
    }

    async fn finish(self, outcome: Outcome, output: AttemptOutput) -> Result<Done, Abandoned> {
        let (app, call) = (&self.message.app, self.message.call);
        planted!((), DeletedBeforeRecorded => self.lease.delete_message().await?);
        let recorded = record::record(&self.shared, &self.lease, app, call, outcome, output).await?;
        self.shared.emit(Event::CallFinished {
            app: app.clone(),
            call,
            status: recorded.outcome.status,
            reason: recorded.outcome.reason,
            run_ms: recorded.outcome.run_ms,
            adopted: recorded.adopted,
        });
        Ok(Done::Finished(self.lease))
    }

    /// Waits before the next attempt, without a slot, if that is short. `Some`: it is long, or the worker drains; what is
    /// left of it has to travel with a message.
    async fn wait(
        &self,
        ready: &Ready,
        run: Result<Execution, Fault>,
        execution_log: &ExecutionLog,
        wait: Duration,
    ) -> Option<Duration> {
        let clock = &self.shared.deps.clock;
        let until = clock.monotonic() + wait;
        let wait_ms = wait.as_millis() as u64;
        let failed = match run {
            Ok(run) => FailedAttempt {
                status: status(&run.verdict),
                reason: reason(&run, &ready.version).unwrap_or_default(),
                started_at: Some(run.started_at),
                run_ms: run.took.as_millis() as u64,
                log: run.log,
            },
            Err(fault) => FailedAttempt {
                status: State::Error,
                reason: fault.to_string(),
                started_at: None,
                run_ms: 0,
                log: execution_log.take_log(),
            },
        };
        let (app, call, attempt) = (self.message.app.clone(), self.message.call, self.history.attempts);
        let why = failed.reason.clone();
        self.shared.emit(Event::CallRetried { app, call, attempt, why, wait_ms });
        self.keep(failed, attempt, Some(self.shared.deps.now().plus_ms(wait_ms))).await;
        let left = until.saturating_sub(clock.monotonic());
        // A mark must not outlive its run: another call may take the worker along while this one waits.
        if wait_ms > limits::ms(limits::RETRY_IN_PLACE_MAX) || self.level > Level::Normal {
            return Some(left);
        }
        tokio::select! {
            biased;
            () = self.shared.phases.reached(Phase::Drain) => Some(until.saturating_sub(clock.monotonic())),
            () = clock.sleep(left) => None,
        }
    }
}
