//! Runs a single call: from its leased message to its recorded outcome.

use std::sync::Arc;
use std::time::Duration;

use super::attempt::{self, Ended, Marking};
use super::careful::{self, Past};
use super::definitions::Definition;
use super::lease::Lease;
use super::phase::Phase;
use super::record::{self, Left};
use super::slots::Place;
use super::{Abandoned, Shared};
use crate::event::Event;
use crate::layout::object::{self, Unsuited};
use crate::layout::{CallMessage, Key, Message, note};
use crate::limits;
use crate::model::{AttemptId, CallFacts, DeliveryId, Outcome, State, Time, Version};
use crate::seam::executor::{Fault, Mismatch, Run, Verdict, Work};
use crate::seam::store::{Object, PutObject};
use crate::seam::{RngExt as _, StoreError, StoreExt as _};
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
        // It has not begun: others may have it at once.
        () = shared.phases.reached(Phase::Drain) => {
            let _ = lease.give_back(Duration::ZERO).await;
            return Done::Left;
        }
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
        if let Err(mismatch) = self.shared.executor.suits(&ready.version) {
            return self.unsuited(&ready, mismatch).await;
        }
        let past = careful::past(&self.shared, &self.message, self.lease.delivery).await?;
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
                _alone = shared.solitude.write() => self.attempts(ready, past).await,
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
                careful::mark(&self.shared, &app, call, delivery, &past, true).await?;
            }
            let function = ready.facts.function.to_string();
            self.shared.say(Event::CallStarted { app: app.clone(), call, function, attempt: past.attempts });
            let marking = Marking { app: &app, call, delivery, past: &past, marked: self.marked };
            let (ended, marked) =
                attempt::run(&self.shared, self.piece(&ready, past.attempts), marking).await;
            self.marked = marked;

            let fault = match ended {
                Ended::Decided => return Ok(Done::Finished(self.lease)),
                Ended::HandBack => return self.replace(&past, Duration::ZERO, true).await,
                Ended::Run(run) => {
                    let failed = !matches!(run.verdict, Verdict::Success { .. });
                    past.failures += u32::from(failed);
                    if !failed || past.failures >= ready.version.limits.attempts_max {
                        return self.decide(&ready, &past, delivery, run).await;
                    }
                    let why = reason(&run, &ready.version).unwrap_or_default();
                    match self.wait(&ready, &past, past.failures, why).await {
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
                        let outcome = self.outcome(&ready.facts, State::Error, Some(why), &past);
                        return self.finish(outcome, Left::default()).await;
                    }
                    if let Some(delay) = self.wait(&ready, &past, past.function_failures, why).await {
                        return self.replace(&past, delay, false).await;
                    }
                }
                Fault::Mismatch(mismatch) => return self.unsuited(&ready, mismatch).await,
                Fault::Worker(why) => {
                    self.void_mark().await?;
                    // The execution says nothing, so it is not counted either.
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
            version: (*ready.version).clone(),
            call: self.message.call,
            attempt,
            headers: ready.facts.headers.clone(),
            content_type: ready.payload.info.content_type.clone(),
            payload: ready.payload.body.clone(),
        }
    }

    async fn decide(
        self,
        ready: &Ready,
        past: &Past,
        delivery: DeliveryId,
        run: Run,
    ) -> Result<Done, Abandoned> {
        let status = match &run.verdict {
            Verdict::Success { .. } => State::Success,
            Verdict::Error { .. } => State::Error,
            Verdict::Timeout => State::Timeout,
        };
        let mut outcome = self.outcome(&ready.facts, status, reason(&run, &ready.version), past);
        outcome.attempt = Some(AttemptId { delivery, attempt: past.attempts });
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
    async fn wait(&self, ready: &Ready, past: &Past, failures: u32, why: String) -> Option<Duration> {
        let wait_ms = backoff_ms(ready.version.limits.retry_backoff_ms, failures);
        let (app, call, attempt) = (self.message.app.clone(), self.message.call, past.attempts);
        self.shared.say(Event::CallRetried { app, call, attempt, why, wait_ms });
        let wait = Duration::from_millis(wait_ms);
        if wait_ms > limits::RETRY_IN_PLACE_MS_MAX {
            return Some(wait);
        }
        let begun = self.shared.seams.clock.monotonic();
        tokio::select! {
            biased;
            () = self.shared.phases.reached(Phase::Drain) => {
                Some(wait.saturating_sub(self.shared.seams.clock.monotonic().saturating_sub(begun)))
            }
            () = self.shared.seams.clock.sleep(wait) => None,
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
        if self.lease.delivery > limits::PUT_BACK_COUNT_MAX {
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
    async fn unsuited(self, ready: &Ready, mismatch: Mismatch) -> Result<Done, Abandoned> {
        let (app, call) = (self.message.app.clone(), self.message.call);
        self.shared.say(Event::CallMismatched { app: app.clone(), call, why: mismatch.to_string() });
        let now = self.shared.seams.now();
        let past = careful::past(&self.shared, &self.message, self.lease.delivery).await?;
        let since = self.message.mismatch_since.unwrap_or(now);
        if now.since_ms(since) >= limits::MISMATCH_MS_MAX {
            let reason = format!("no worker can run it: {mismatch}");
            let outcome = self.outcome(&ready.facts, State::Error, Some(reason), &past);
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
        single.replace(&past, wait, false).await
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

/// Why a run failed. An exit code says little: what the function wrote last says why.
pub(super) fn reason(run: &Run, version: &Version) -> Option<String> {
    match &run.verdict {
        Verdict::Success { .. } => None,
        Verdict::Error { reason } => Some(match last_line(&run.log) {
            Some(line) if ENDED_BY_ITSELF.iter().any(|end| reason.starts_with(end)) => {
                format!("{reason}: {line}")
            }
            _ => reason.clone(),
        }),
        Verdict::Timeout => {
            let limit = Duration::from_millis(version.limits.timeout_ms);
            Some(format!("timed out after {}", humantime::format_duration(limit)))
        }
    }
}

/// How reasons begin that say of a process no more than how it ended.
const ENDED_BY_ITSELF: [&str; 2] = ["exit code ", "killed by signal "];
const LAST_LINE_CHARS_MAX: usize = 200;

fn last_line(log: &[u8]) -> Option<String> {
    let end = &log[log.len().saturating_sub(8 * LAST_LINE_CHARS_MAX)..];
    let end = String::from_utf8_lossy(end);
    let line = end.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    Some(line.chars().take(LAST_LINE_CHARS_MAX).map(plain).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_what_was_written_last() {
        let last = |log: &str| last_line(log.as_bytes());
        assert_eq!(last("begun\nno such file\n\n").as_deref(), Some("no such file"));
        assert_eq!(last("\u{1b}[31mred").as_deref(), Some(" [31mred"));
        assert_eq!(last(&"x".repeat(5_000)).unwrap().len(), LAST_LINE_CHARS_MAX);
        assert_eq!((last(""), last(" \n")), (None, None));
    }

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let waits: Vec<u64> = (1..=4).map(|failures| backoff_ms(1_000, failures)).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000]);
        assert_eq!(backoff_ms(1_000, 200), limits::RETRY_BACKOFF_MS_MAX);
        assert_eq!(backoff_ms(0, 7), 0);
    }
}
