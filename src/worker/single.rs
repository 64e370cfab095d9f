//! Runs a single call: from its leased message to its recorded outcome.

use std::sync::Arc;
use std::time::Duration;

use super::attempt::{self, Ended, Marking};
use super::careful::{self, Past};
use super::definitions::Definition;
use super::kept::{self, Ending, Next};
use super::lease::Lease;
use super::phase::Phase;
use super::record::{self, Left};
use super::slots::Place;
use super::verdict::{reason, status};
use super::{Abandoned, Shared};
use crate::event::Event;
use crate::layout::object::{self, Unsuited};
use crate::layout::{CallMessage, Key, Message, note};
use crate::limits;
use crate::model::{AttemptId, CallFacts, DeliveryId, MessageId, Outcome, State, Time, Version};
use crate::planted::planted;
use crate::seam::executor::{Fault, Mismatch, Run, Verdict, Work};
use crate::seam::store::{Object, PutObject};
use crate::seam::{Heard, RngExt as _, StoreError, StoreExt as _};
use crate::submit::send;

/// How a message's work ended.
pub enum Done {
    /// The call has its outcome: the message is to be deleted.
    Finished(Lease),
    /// A new message took the place of this one, which is to be deleted.
    Replaced { lease: Lease, handed_back: bool },
    /// The message lies on the queue again, or will.
    Left,
    /// This machine cannot run functions; the message was given back.
    Sick(String),
}

/// The work on one message.
struct Single {
    shared: Arc<Shared>,
    lease: Lease,
    message: CallMessage,
    /// This delivery has a `started`, or may have.
    marked: bool,
}

/// What is needed to run a call.
struct Ready {
    facts: CallFacts,
    payload: Object,
    version: Arc<Version>,
    definition: Definition,
}

/// What the preparations came to.
enum Prepared {
    Ready(Box<Ready>),
    /// Nothing is to be run: the outcome is known before.
    Doomed {
        facts: CallFacts,
        status: State,
        reason: String,
    },
    /// Decided or gone.
    Over,
    /// Not before then.
    Early(Time),
}

pub async fn work(shared: Arc<Shared>, place: Place, lease: Lease, message: CallMessage) -> Done {
    let _slot = tokio::select! {
        biased;
        () = shared.phases.reached(Phase::Drain) => return hand_on(&shared, lease, message).await,
        slot = place.slot() => slot,
    };
    let (app, call) = (message.app.clone(), message.call);
    let single = Single { shared: shared.clone(), lease, message, marked: false };
    match single.work().await {
        Ok(done) => done,
        Err(Abandoned(error)) => {
            shared.say(Event::RequestFailed {
                what: format!("work on call {call} of app {app}"),
                why: error.to_string(),
            });
            Done::Left
        }
    }
}

/// It has not begun: others may have it at once. As a new message, or it would look to them as if this worker had been
/// lost with it; one that came before is given back, since its marks go by its id.
async fn hand_on(shared: &Shared, lease: Lease, mut message: CallMessage) -> Done {
    if lease.delivery == 1 {
        message.id = send::message_id(&shared.seams);
        if send::send(&shared.seams.queues.calls, &Message::Call(message), Duration::ZERO).await.is_ok() {
            return Done::Replaced { lease, handed_back: false };
        }
    }
    let _ = lease.give_back(Duration::ZERO).await;
    Done::Left
}

impl Single {
    async fn work(self) -> Result<Done, Abandoned> {
        let ready = match self.prepare().await? {
            Prepared::Ready(ready) => *ready,
            Prepared::Over => return Ok(Done::Finished(self.lease)),
            Prepared::Early(not_before) => return self.put_back_until(not_before).await,
            Prepared::Doomed { facts, status, reason } => {
                let past = careful::past(&self.shared, &self.message, self.lease.delivery).await?;
                let outcome = self.outcome(&facts, status, Some(reason), &past);
                return self.finish(outcome, Left::default()).await;
            }
        };
        let past = careful::past(&self.shared, &self.message, self.lease.delivery).await?;
        if let Err(mismatch) = self.shared.executor.suits(&ready.version) {
            return self.unsuited(&ready, &past, mismatch).await;
        }
        if past.careful {
            let (app, call) = (self.message.app.clone(), self.message.call);
            let delivery = self.lease.delivery;
            self.shared.say(Event::CallRedelivered { app, call, delivery, suspect: past.suspect });
        }
        if past.alone_marks >= limits::ALONE_MARKS_MAX {
            let reason = format!("its worker was lost {} times", past.alone_marks);
            let outcome = self.outcome(&ready.facts, State::Killed, Some(reason), &past);
            return self.finish(outcome, Left::default()).await;
        }
        let shared = self.shared.clone();
        // Whoever waits here for its turn has not begun: on drain it goes back at once.
        if past.suspect {
            tokio::select! {
                biased;
                () = shared.phases.reached(Phase::Drain) => self.replace(&past, Duration::ZERO, true).await,
                _alone = shared.alone() => self.attempts(ready, past).await,
            }
        } else {
            tokio::select! {
                biased;
                () = shared.phases.reached(Phase::Drain) => self.replace(&past, Duration::ZERO, true).await,
                _among_others = shared.solitude.read() => self.attempts(ready, past).await,
            }
        }
    }

    async fn prepare(&self) -> Result<Prepared, Abandoned> {
        let (app, call) = (&self.message.app, self.message.call);
        let store = &self.shared.seams.store;
        if store.exists(&Key::Status(app.clone(), call).to_string()).await? {
            return Ok(Prepared::Over);
        }
        let key = Key::Payload(app.clone(), call).to_string();
        // A payload is stored before its message is sent and deleted after its outcome was: this call was deleted.
        let Some(payload) = store.find(&key).await? else { return Ok(Prepared::Over) };
        let facts: CallFacts = note::decode(&key, payload.info.note.as_deref().unwrap_or_default())?;
        if let Some(not_before) = facts.not_before.filter(|at| *at > self.shared.seams.now()) {
            return Ok(Prepared::Early(not_before));
        }
        let definitions = &self.shared.definitions;
        let Some(version) = definitions.version(app, &facts.function, &facts.version).await? else {
            let reason = format!("version {} of function `{}` is missing", facts.version, facts.function);
            return Ok(Prepared::Doomed { facts, status: State::Error, reason });
        };
        let Some(definition) = definitions.function(app, &facts.function).await? else {
            let reason = format!("function `{}` was deleted before the call ran", facts.function);
            return Ok(Prepared::Doomed { facts, status: State::Error, reason });
        };
        Ok(Prepared::Ready(Box::new(Ready { facts, payload, version, definition })))
    }

    fn delivery(&self) -> DeliveryId {
        DeliveryId { message: self.message.id, delivery: self.lease.delivery }
    }

    async fn attempts(self, ready: Ready, past: Past) -> Result<Done, Abandoned> {
        let (shared, app, call) = (self.shared.clone(), self.message.app.clone(), self.message.call);
        let delivery = self.delivery();
        let done = self.attempts_until_decided(ready, past).await;
        if done.is_err() {
            // Nobody was lost here: a mark of this delivery must not tell so.
            careful::void_if_marked(&shared, &app, call, delivery).await;
        }
        done
    }

    /// Attempts until the call is decided, or the rest of it is somebody else's.
    async fn attempts_until_decided(mut self, ready: Ready, mut past: Past) -> Result<Done, Abandoned> {
        let (app, call) = (self.message.app.clone(), self.message.call);
        let delivery = self.delivery();
        loop {
            if self.shared.phases.now() >= Phase::Drain || !self.lease.may_begin(&self.shared) {
                return self.replace(&past, Duration::ZERO, true).await;
            }
            past.attempts += 1;
            if past.careful && !self.marked {
                self.marked = true;
                careful::mark(&self.shared, &app, call, delivery, &past, None).await?;
            }
            let function = ready.facts.function.to_string();
            self.shared.say(Event::CallStarted { app: app.clone(), call, function, attempt: past.attempts });
            let marking = Marking { app: &app, call, delivery, past: &past, marked: self.marked };
            let work = self.piece(&ready, past.attempts);
            let heard = work.heard.clone();
            let (ended, marked) = attempt::run(&self.shared, work, marking).await;
            self.marked = marked;

            let fault = match ended {
                Ended::Decided => {
                    self.stopped(&past, &heard).await;
                    return Ok(Done::Finished(self.lease));
                }
                Ended::HandBack => return self.replace(&past, Duration::ZERO, true).await,
                Ended::Run(run) => {
                    let failed = !matches!(run.verdict, Verdict::Success { .. });
                    past.failures += u32::from(failed);
                    if !failed || past.failures >= ready.version.limits.attempts_max {
                        return self.decide(&ready, &past, run).await;
                    }
                    let ending = Ending {
                        status: status(&run.verdict),
                        reason: reason(&run, &ready.version).unwrap_or_default(),
                        started_at: Some(run.started_at),
                        run_ms: run.took.as_millis() as u64,
                        log: run.log,
                    };
                    match self.wait(&ready, &past, past.failures, ending).await {
                        Some(delay) => return self.replace(&past, delay, false).await,
                        None => continue,
                    }
                }
                Ended::Fault(fault) => fault,
            };
            match fault {
                Fault::Function(why) => {
                    past.function_failures += 1;
                    if past.function_failures > limits::FUNCTION_RETRIES {
                        let mut outcome = self.outcome(&ready.facts, State::Error, Some(why), &past);
                        outcome.attempt = Some(self.attempt(&past));
                        return self.finish(outcome, Left { result: None, log: heard.take_log() }).await;
                    }
                    let ending = Ending {
                        status: State::Error,
                        reason: why,
                        started_at: None,
                        run_ms: 0,
                        log: heard.take_log(),
                    };
                    if let Some(delay) = self.wait(&ready, &past, past.function_failures, ending).await {
                        return self.replace(&past, delay, false).await;
                    }
                }
                // The execution says nothing, so it is not counted either.
                Fault::Mismatch(mismatch) => {
                    past.attempts -= 1;
                    return self.unsuited(&ready, &past, mismatch).await;
                }
                Fault::Worker(why) => {
                    if !planted!(SickMarksStand) {
                        self.void_mark().await?;
                    }
                    past.attempts -= 1;
                    self.give_back(&past).await?;
                    return Ok(Done::Sick(why));
                }
            }
        }
    }

    fn piece(&self, ready: &Ready, attempt: u32) -> Work {
        Work {
            app: self.message.app.clone(),
            app_config: ready.definition.app_config.clone(),
            function: ready.definition.function.clone(),
            version: ready.version.clone(),
            call: self.message.call,
            attempt,
            headers: ready.facts.headers.clone(),
            content_type: ready.payload.info.content_type.clone(),
            payload: ready.payload.body.clone().into(),
            heard: Heard::default(),
        }
    }

    fn attempt(&self, past: &Past) -> AttemptId {
        let mut delivery = self.delivery();
        if planted!(AttemptKeyWithoutMessage) {
            delivery.message = MessageId::new(Time(0), 0);
        }
        AttemptId { delivery, attempt: past.attempts }
    }

    /// The call got its outcome while it ran here. What it said is kept beside that.
    async fn stopped(&self, past: &Past, heard: &Heard) {
        let (app, call) = (self.message.app.clone(), self.message.call);
        let key = Key::Status(app.clone(), call).to_string();
        let Ok(Some(stands)) = self.shared.seams.store.find(&key).await else { return };
        let Ok(Outcome { status, reason, .. }) = object::decode(&key, &stands.body) else { return };
        let started_at = heard.started_at();
        let run_ms = started_at.map_or(0, |at| self.shared.seams.now().since_ms(at));
        self.shared.say(Event::CallStopped { app: app.clone(), call, status, ran_ms: run_ms });
        let reason = match (status, reason) {
            (State::Cancelled, Some(reason)) => reason,
            _ => format!("somebody else recorded {status}"),
        };
        let log = heard.take_log();
        let ending = Ending { status: State::Cancelled, reason, started_at, run_ms, log };
        let next = Next { failures: past.failures + past.function_failures, retry_at: None };
        kept::keep(&self.shared, &app, call, self.attempt(past), ending, next).await;
    }

    async fn decide(self, ready: &Ready, past: &Past, run: Run) -> Result<Done, Abandoned> {
        let reason = reason(&run, &ready.version);
        let mut outcome = self.outcome(&ready.facts, status(&run.verdict), reason, past);
        outcome.attempt = Some(self.attempt(past));
        outcome.started_at = Some(run.started_at);
        outcome.run_ms = run.took.as_millis() as u64;
        let result = match run.verdict {
            Verdict::Success { content_type, body } => Some((body, content_type)),
            Verdict::Error { .. } | Verdict::Timeout => None,
        };
        self.finish(outcome, Left { result, log: run.log }).await
    }

    fn outcome(&self, facts: &CallFacts, status: State, reason: Option<String>, past: &Past) -> Outcome {
        Outcome {
            v: 1,
            status,
            reason,
            function: facts.function.clone(),
            version: facts.version.clone(),
            route: facts.route.clone(),
            attempts: past.attempts,
            attempt: None,
            created_at: facts.created_at,
            started_at: None,
            completed_at: self.shared.seams.now(),
            run_ms: 0,
            result: None,
            log: None,
            worker: Some(self.shared.config.name.clone()),
            worker_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        }
    }

    async fn finish(self, outcome: Outcome, left: Left) -> Result<Done, Abandoned> {
        let (app, call) = (&self.message.app, self.message.call);
        if planted!(DeletedBeforeRecorded) {
            self.lease.delete_message().await?;
        }
        let recorded = record::record(&self.shared, &self.lease, app, call, outcome, left).await?;
        self.shared.say(Event::CallFinished {
            app: app.clone(),
            call,
            status: recorded.outcome.status,
            reason: recorded.outcome.reason,
            run_ms: recorded.outcome.run_ms,
            adopted: recorded.adopted,
        });
        Ok(Done::Finished(self.lease))
    }

    /// Waits before the next attempt: in place if that is short, with slot and lease held. `Some`: it is long, or the
    /// worker drains; what is left of it has to travel with a message.
    async fn wait(&self, ready: &Ready, past: &Past, failures: u32, ending: Ending) -> Option<Duration> {
        let clock = &self.shared.seams.clock;
        let wait_ms = backoff_ms(ready.version.limits.retry_backoff_ms, failures);
        let until = clock.monotonic() + Duration::from_millis(wait_ms);
        let (app, call, attempt) = (self.message.app.clone(), self.message.call, past.attempts);
        let why = ending.reason.clone();
        self.shared.say(Event::CallRetried { app: app.clone(), call, attempt, why, wait_ms });
        let next = Next {
            failures: past.failures + past.function_failures,
            retry_at: Some(self.shared.seams.now().plus_ms(wait_ms)),
        };
        kept::keep(&self.shared, &app, call, self.attempt(past), ending, next).await;
        let left = until.saturating_sub(clock.monotonic());
        if wait_ms > limits::RETRY_IN_PLACE_MS_MAX {
            return Some(left);
        }
        tokio::select! {
            biased;
            () = self.shared.phases.reached(Phase::Drain) => Some(until.saturating_sub(clock.monotonic())),
            () = clock.sleep(left) => None,
        }
    }

    /// Sends a message that carries all that is known, in place of the present one, which may be deleted once the send
    /// is acknowledged.
    async fn replace(self, past: &Past, delay: Duration, handed_back: bool) -> Result<Done, Abandoned> {
        // The worker outlived what it ran. Should it be lost before the old message is deleted, that is another story.
        self.void_mark().await?;
        let mut message = self.message.clone();
        message.id = send::message_id(&self.shared.seams);
        message.again = false;
        past.onto(&mut message);
        send::send(&self.shared.seams.queues.calls, &Message::Call(message), delay).await?;
        Ok(Done::Replaced { lease: self.lease, handed_back })
    }

    async fn void_mark(&self) -> Result<(), Abandoned> {
        if self.marked {
            careful::void(&self.shared, &self.message.app, self.message.call, self.delivery()).await?;
        }
        Ok(())
    }

    /// The queue shows the message again at once; after many deliveries it is sent anew, far from the queue's own limit.
    async fn give_back(self, past: &Past) -> Result<(), Abandoned> {
        // What failed under this delivery is known to a new message alone.
        let told = &self.message;
        let failed = past.failures > told.failures || past.function_failures > told.function_failures;
        if failed || self.lease.delivery > limits::PUT_BACK_COUNT_MAX {
            if let Done::Replaced { lease, .. } = self.replace(past, Duration::ZERO, true).await? {
                lease.delete().await?;
            }
            return Ok(());
        }
        Ok(self.lease.give_back(Duration::ZERO).await?)
    }

    /// A queue that delivers before the time is up (a re-sent message, a clock that runs ahead).
    async fn put_back_until(self, not_before: Time) -> Result<Done, Abandoned> {
        let wait_ms = not_before.since_ms(self.shared.seams.now()).min(limits::DELAY_MS_MAX);
        let past = careful::past(&self.shared, &self.message, self.lease.delivery).await?;
        self.replace(&past, Duration::from_millis(wait_ms), false).await
    }

    /// This version cannot run here: others get the message after a while. What lasts an hour is recorded.
    async fn unsuited(self, ready: &Ready, past: &Past, mismatch: Mismatch) -> Result<Done, Abandoned> {
        let (app, call) = (self.message.app.clone(), self.message.call);
        self.shared.say(Event::CallMismatched { app: app.clone(), call, why: mismatch.to_string() });
        let now = self.shared.seams.now();
        let since = self.message.mismatch_since.unwrap_or(now);
        if now.since_ms(since) >= limits::MISMATCH_MS_MAX {
            let reason = format!("no worker can run it: {mismatch}");
            let outcome = self.outcome(&ready.facts, State::Error, Some(reason), past);
            return self.finish(outcome, Left::default()).await;
        }
        if self.message.mismatch_since.is_none() {
            let worker = self.shared.config.name.clone();
            let unsuited = Unsuited { v: 1, why: mismatch.to_string(), worker, at: now };
            let key = Key::Unsuited(app, call, self.message.id).to_string();
            match self.shared.seams.store.put(&key, PutObject::create(object::encode(&unsuited))).await {
                Ok(_) | Err(StoreError::Exists) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut single = self;
        single.message.mismatch_since = Some(since);
        let wait = spread(&single.shared, limits::PUT_BACK_MS);
        single.replace(past, wait, false).await
    }
}

/// Up to `ms`, spread out: or the same worker may be first to a message every time.
pub(super) fn spread(shared: &Shared, ms: u64) -> Duration {
    Duration::from_millis(ms / 2 + shared.seams.rng.below(ms / 2))
}

/// Doubles with every failure.
pub(super) fn backoff_ms(first_ms: u64, failures: u32) -> u64 {
    let factor = 1u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
    first_ms.saturating_mul(factor).min(limits::RETRY_BACKOFF_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let waits: Vec<u64> = (1..=4).map(|failures| backoff_ms(1_000, failures)).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000]);
        assert_eq!(backoff_ms(1_000, 200), limits::RETRY_BACKOFF_MS_MAX);
        assert_eq!(backoff_ms(0, 7), 0);
    }
}
