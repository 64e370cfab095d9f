//! The store is the truth, the queue a hint. The reconciler finds single calls and batches that have lost their message,
//! because a submitter died before its send, a queue was purged or retention ended. It sends the messages of these calls
//! and supervisors again (H9). Sending again is always safe.

use std::time::Duration;

use super::definitions::Definitions;
use super::pass::{BatchPass, CallPass, Next, Span};
use super::sweep::Sweep;
use super::turn::Turn;
use super::walk::StoredCall;
use crate::error::Result;
use crate::event::Event;
use crate::layout::watermarks::{Watermark, Watermarks};
use crate::layout::{Key, Message, SuperviseMessage, key};
use crate::limits;
use crate::model::{AppName, BatchId, BatchRef, CallFacts, CallId, Retention, Time};
use crate::outcomes::BatchFacts;
use crate::seam::StoreExt as _;
use crate::seam::store::List;
use crate::seam::{Deps, RngExt as _};
use crate::submit::send;

/// Sends again every single call of the last two weeks that has no outcome, is old enough that its message should have
/// been worked on, and has not begun lately; and supervisors of batches that do not move. Returns how many.
/// `waits_since`: messages that were sent from then on may still wait on the queue. A call is lost only if it is much
/// older (N11).
pub(super) async fn resend(deps: &Deps, turn: &mut Turn, waits_since: Option<Time>) -> Result<u64> {
    let Turn { now, apps, marks, .. } = turn;
    let now = *now;
    let backlog_ms =
        waits_since.map_or(0, |since| 2 * now.since_ms(since) + limits::ms(limits::BACKLOG_SLACK));
    let mut lost = Lost { deps, definitions: Definitions::new(deps.clone()), now, backlog_ms, sent: 0 };
    let mut sweep = Sweep::new(deps, "look after lost messages of");
    for app in &*apps {
        let looked = lost.supervisors(app, marks).await;
        sweep.take(format_args!("the batches of app {app}"), looked)?;
    }
    for app in &*apps {
        let mark = &mut marks.apps.entry(app.clone()).or_default().lost_calls;
        let looked = lost.calls(app, mark).await;
        sweep.take(format_args!("the calls of app {app}"), looked)?;
    }
    Ok(lost.sent)
}

/// Looks for what has lost its message.
struct Lost<'a> {
    deps: &'a Deps,
    definitions: Definitions,
    now: Time,
    /// Younger calls may wait on the queue.
    backlog_ms: u64,
    sent: u64,
}

impl Lost<'_> {
    fn span(&self, age: Duration, from: Duration) -> Span {
        Span {
            now: self.now,
            age_ms: limits::ms(age),
            from: Some(self.now.minus_ms(limits::ms(from))),
            second_ms: Some(limits::ms(limits::SECOND_LOOK)),
            ahead: true,
        }
    }

    async fn calls(&mut self, app: &AppName, mark: &mut Watermark<CallId>) -> Result<()> {
        let span = self.span(limits::RESEND_AFTER, limits::CALL_LOST_WITHIN);
        let mut pass = CallPass::new(self.deps, app, mark, &span);
        let mut sweep = Sweep::new(self.deps, "look after call");
        while let Some(seen) = pass.next().await? {
            let looked = self.call(app, &seen).await;
            pass.settle(seen.call, sweep.take(seen.call, looked)?.unwrap_or(Next::LookAt(self.now)));
        }
        Ok(())
    }

    async fn call(&mut self, app: &AppName, seen: &StoredCall) -> Result<Next> {
        let (deps, mut youngest) = (self.deps, None);
        for (key, entry) in &seen.objects {
            match key {
                Key::Status(..) => return Ok(Next::Nothing),
                Key::Payload(..) | Key::Started(..) => youngest = youngest.max(Some(entry.modified_at)),
                _ => {}
            }
        }
        let Some(youngest) = youngest else { return Ok(Next::Nothing) };
        let age_ms = self.now.since_ms(youngest);
        if age_ms < limits::ms(limits::RESEND_AFTER) {
            return Ok(Next::LookAt(youngest.plus_ms(limits::ms(limits::RESEND_AFTER))));
        }
        if age_ms > limits::ms(limits::CALL_LOST_WITHIN) {
            return Ok(Next::Nothing);
        }
        if age_ms < self.backlog_ms {
            return Ok(Next::LookAt(self.now));
        }
        let key = Key::Payload(app.clone(), seen.call);
        let Some((facts, _)) = deps.store.find_metadata::<CallFacts>(&key).await? else {
            return Ok(Next::Nothing);
        };
        // Without its version the call is sent all the same: the worker records why it cannot run.
        let version = self.definitions.version(app, &facts.function, &facts.version).await?;
        let timeout_ms = version.map_or(0, |version| version.limits.timeout_ms);
        if age_ms < 2 * timeout_ms {
            return Ok(Next::LookAt(youngest.plus_ms(2 * timeout_ms)));
        }
        let mut message = send::call_message(deps, app, seen.call);
        message.again = true;
        // A crowd of lost calls is not to come back in one burst.
        let delay = Duration::from_millis(deps.rng.below(limits::ms(limits::PUT_BACK)));
        send::send(&deps.queues.calls, &Message::Call(message), delay).await?;
        deps.events.on(Event::CallResent { app: app.clone(), call: seen.call });
        self.sent += 1;
        Ok(Next::LookAt(self.again(age_ms, limits::RESEND_AGAIN, limits::RESEND_AGAIN_MAX)))
    }

    /// When to look again at what was sent at this age.
    fn again(&self, age_ms: u64, at_first: Duration, after_a_day: Duration) -> Time {
        let wait = if age_ms < limits::ms(after_a_day) { at_first } else { after_a_day };
        self.now.plus_ms(limits::ms(wait))
    }

    /// An extra supervisor for every batch of the last two weeks that is not over and has not moved for two hours (N5). It
    /// ends where there is nothing to do.
    async fn supervisors(&mut self, app: &AppName, marks: &mut Watermarks) -> Result<()> {
        let mut mark = std::mem::take(&mut marks.apps.entry(app.clone()).or_default().lost_batches);
        let span = self.span(limits::SUPERVISOR_LOST, limits::SUPERVISOR_LOST_WITHIN);
        let looked = self.batches(app, &mut mark, &span, marks).await;
        marks.apps.entry(app.clone()).or_default().lost_batches = mark;
        looked
    }

    async fn batches(
        &mut self,
        app: &AppName,
        mark: &mut Watermark<BatchId>,
        span: &Span,
        marks: &mut Watermarks,
    ) -> Result<()> {
        let mut pass = BatchPass::new(self.deps, app, mark, span);
        let mut sweep = Sweep::new(self.deps, "look after the supervisor of");
        while let Some(batch) = pass.next().await? {
            let looked = self.batch(&BatchRef::new(app, batch), marks, pass.is_second_look()).await;
            let next = sweep.take(format_args!("batch {batch}"), looked)?;
            pass.settle(batch, next.unwrap_or(Next::LookAt(self.now)));
        }
        Ok(())
    }

    async fn batch(&mut self, of: &BatchRef, marks: &mut Watermarks, is_second_look: bool) -> Result<Next> {
        let (deps, mut facts) = (self.deps, BatchFacts::default());
        facts.look(&*deps.store, of).await?;
        // Without its definition it was never accepted, or was deleted.
        let Some(begun_at) = facts.begun_at else { return Ok(Next::Nothing) };
        if facts.fired.is_there() {
            if !is_second_look {
                self.leave_open(of, &mut facts, marks).await?;
            }
            return Ok(Next::Nothing);
        }
        let mut moved_at = begun_at;
        for prefix in [key::chunks(&of.app, of.batch), key::outcomes(&of.app, of.batch)] {
            let mut left = Some(List::all(prefix));
            while let Some(page) = deps.store.next_page(&mut left).await? {
                moved_at = page.entries.iter().map(|entry| entry.modified_at).fold(moved_at, Time::max);
            }
        }
        let quiet_ms = self.now.since_ms(moved_at);
        if quiet_ms < limits::ms(limits::SUPERVISOR_LOST) {
            return Ok(Next::LookAt(moved_at.plus_ms(limits::ms(limits::SUPERVISOR_LOST))));
        }
        if quiet_ms > limits::ms(limits::SUPERVISOR_LOST_WITHIN) {
            return Ok(Next::Nothing);
        }
        facts.read_control(&*deps.store, of).await?;
        if facts.is_paused() {
            return Ok(Next::LookAt(self.now.plus_ms(limits::ms(limits::SUPERVISOR_LOST_AGAIN))));
        }
        let message = SuperviseMessage { extra: true, ..send::supervise_message(deps, of) };
        send::send(&deps.queues.batches, &Message::Supervise(message), Duration::ZERO).await?;
        deps.events.on(Event::SupervisorResent { app: of.app.clone(), batch: of.batch });
        self.sent += 1;
        Ok(Next::LookAt(self.again(
            quiet_ms,
            limits::SUPERVISOR_LOST_AGAIN,
            limits::SUPERVISOR_LOST_AGAIN_MAX,
        )))
    }

    /// Of a batch that is over two things would be found too late. The call that follows it has an id as old as the batch's,
    /// which watermarks of calls may have passed before it was stored. A retention of its own may be shorter than the app's.
    async fn leave_open(&self, of: &BatchRef, facts: &mut BatchFacts, marks: &mut Watermarks) -> Result<()> {
        let Some(batch) = facts.definition.read(&*self.deps.store, of).await? else { return Ok(()) };
        if let Some(then) = &batch.then {
            let (app, call) = (marks.apps.entry(then.app.clone()).or_default(), CallId::following(of.batch));
            for mark in [&mut app.lost_calls, &mut app.kept_calls, &mut app.old_calls] {
                mark.leave_open(call, self.now);
            }
        }
        if batch.retention.and_then(Retention::ms).is_some() {
            let mark = &mut marks.apps.entry(of.app.clone()).or_default().kept_batches;
            if !mark.open.contains_key(&of.batch) {
                mark.leave_open(of.batch, self.now);
            }
        }
        Ok(())
    }
}
