//! The store is the truth, the queue a hint. The reconciler finds single calls and batches that have lost their message,
//! because a submitter died before its send, a queue was purged or retention ended. It sends the messages of these calls
//! and supervisors again (H9). Sending again is always safe. It also deletes old panics of workers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::definitions::Definitions;
use super::delete;
use super::sweep::Sweep;
use super::walk::{self, CallWalk, StoredCall};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::layout::batch::Pointer;
use crate::layout::object::Reconciled;
use crate::layout::{Key, Message, SuperviseMessage, key};
use crate::limits;
use crate::model::{AppName, BatchId, BatchRef, CallFacts, CallId, Time};
use crate::outcomes::BatchFacts;
use crate::seam::StoreExt as _;
use crate::seam::queue::Received;
use crate::seam::store::List;
use crate::seam::{Deps, RngExt as _};
use crate::store_clock;
use crate::submit::send;

/// When a worker takes its turn as reconciler, by what it receives of `calls`.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// When the last messages were sent that came for the first time, since the queue was last seen empty.
    sent_at: VecDeque<Time>,
    /// The last receive brought nothing.
    saw_empty: bool,
    /// The interval in which this worker has tried to have its turn.
    tried: Option<u64>,
}

/// A turn in this interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    interval: u64,
    /// None if the queue was empty. Otherwise messages sent from then on may still wait on it.
    waits_since: Option<Time>,
}

impl Turns {
    /// After every receive.
    pub fn received(&mut self, messages: &[Received]) {
        self.saw_empty = messages.is_empty();
        if self.saw_empty {
            self.sent_at.clear();
        }
        // What was put back has waited for other reasons.
        let first = messages.iter().filter(|message| message.delivery == 1);
        self.sent_at.extend(first.map(|message| message.sent_at));
        let more = self.sent_at.len().saturating_sub(limits::BACKLOG_SAMPLES);
        self.sent_at.drain(..more);
    }

    /// At an empty queue at once. At one that is never empty later in the interval, so that a worker that sees it empty
    /// goes first: it knows better what is lost.
    pub fn next(&mut self, now: Time) -> Option<Turn> {
        let interval = now.0 / limits::ms(limits::RECONCILE_EVERY);
        let late = now.0 % limits::ms(limits::RECONCILE_EVERY) >= limits::ms(limits::RECONCILE_EVERY) / 2;
        let knows = self.saw_empty || late && self.sent_at.len() == limits::BACKLOG_SAMPLES;
        if self.tried == Some(interval) || !knows {
            return None;
        }
        self.tried = Some(interval);
        Some(Turn { interval, waits_since: self.sent_at.iter().min().copied() })
    }
}

/// One turn an interval, taken by the one worker whose write of `reconciled/{interval}` succeeds.
pub(super) async fn take_turn(shared: Arc<Shared>, turn: Turn) {
    match claim(&shared, turn.interval).await {
        Ok(false) => {}
        Ok(true) => {
            if let Err(error) = reconcile(&shared.deps, turn.waits_since).await {
                failed(&shared, &error);
            }
        }
        Err(error) => failed(&shared, &error),
    }
}

async fn reconcile(deps: &Deps, waits_since: Option<Time>) -> Result<()> {
    let now = store_clock::now(deps).await?;
    resend(deps, now, waits_since).await?;
    delete::old_panics(deps, now).await
}

fn failed(shared: &Shared, error: &Error) {
    shared.emit(Event::RequestFailed { what: "look after lost calls".to_owned(), why: error.to_string() });
}

async fn claim(shared: &Shared, interval: u64) -> Result<bool> {
    let reconciled = Reconciled { worker: shared.config.name.clone(), at: shared.deps.now() };
    // False also when it is our own and the answer was lost: the next interval has another.
    Ok(shared.deps.store.put_fact(&interval, &reconciled).await?)
}

/// Sends again every single call of the last two weeks that has no outcome, is old enough that its message should have
/// been worked on, and has not begun lately. Returns how many.
pub async fn resend_lost(deps: &Deps) -> Result<u64> {
    resend(deps, store_clock::now(deps).await?, None).await
}

/// `waits_since`: messages that were sent from then on may still wait on the queue. A call is lost only if it is much
/// older (N11).
async fn resend(deps: &Deps, now: Time, waits_since: Option<Time>) -> Result<u64> {
    let backlog_ms =
        waits_since.map_or(0, |since| 2 * now.since_ms(since) + limits::ms(limits::BACKLOG_SLACK));
    let (definitions, age_ms) =
        (Definitions::new(deps.clone()), backlog_ms.max(limits::ms(limits::RESEND_AFTER)));
    let (mut sweep, mut sent) = (Sweep::new(deps, "look after lost calls of"), 0);
    for app in walk::apps(deps).await? {
        let mut resent = 0;
        let done = resend_app(deps, &definitions, &app, now, age_ms, &mut resent).await;
        sweep.take(format_args!("app {app}"), done)?;
        sent += resent;
    }
    Ok(sent + resend_supervisors(deps, now).await?)
}

/// An extra supervisor for every batch of the last two weeks that is not over and has not moved for two hours (N5). It
/// ends where there is nothing to do.
async fn resend_supervisors(deps: &Deps, now: Time) -> Result<u64> {
    let horizon = BatchId::new(now.minus_ms(limits::ms(limits::SUPERVISOR_LOST_WITHIN)), 0);
    let mut left = Some(List::all(key::pointers()).start_after(Key::Pointer(horizon)));
    let (mut sweep, mut sent) = (Sweep::new(deps, "look after the supervisor of"), 0);
    while let Some(page) = deps.store.next_page(&mut left).await? {
        for entry in page.entries {
            let Ok(Key::Pointer(batch)) = entry.key.parse() else { continue };
            let looked = async {
                let Pointer { app, .. } = deps.store.read_fact(&batch).await?;
                resend_supervisor(deps, &app, batch, now).await
            };
            let looked = looked.await;
            sent += u64::from(sweep.take(format_args!("batch {batch}"), looked)? == Some(true));
        }
    }
    Ok(sent)
}

async fn resend_supervisor(deps: &Deps, app: &AppName, batch: BatchId, now: Time) -> Result<bool> {
    let (of, mut facts) = (BatchRef::new(app, batch), BatchFacts::default());
    facts.look(&*deps.store, &of).await?;
    // Without its definition it was never accepted, or was deleted.
    let Some(mut moved_at) = facts.begun_at.filter(|_| !facts.fired.is_there()) else { return Ok(false) };
    for prefix in [key::chunks(app, batch), key::outcomes(app, batch)] {
        let mut left = Some(List::all(prefix));
        while let Some(page) = deps.store.next_page(&mut left).await? {
            moved_at = page.entries.iter().map(|entry| entry.modified_at).fold(moved_at, Time::max);
        }
    }
    if !is_turn_of(now.since_ms(moved_at)) {
        return Ok(false);
    }
    let message = SuperviseMessage { extra: true, ..send::supervise_message(deps, &of) };
    send::send(&deps.queues.batches, &Message::Supervise(message), Duration::ZERO).await?;
    deps.events.on(Event::SupervisorResent { app: app.clone(), batch });
    Ok(true)
}

/// Whether a batch that has not moved for so long may have lost its supervisor, and none was sent lately. A turn of the
/// reconciler may be missed.
fn is_turn_of(quiet_ms: u64) -> bool {
    let period = match quiet_ms < limits::ms(limits::SUPERVISOR_LOST_AGAIN_MAX) {
        true => limits::ms(limits::SUPERVISOR_LOST_AGAIN),
        false => limits::ms(limits::SUPERVISOR_LOST_AGAIN_MAX),
    };
    quiet_ms >= limits::ms(limits::SUPERVISOR_LOST)
        && quiet_ms % period < 2 * limits::ms(limits::RECONCILE_EVERY)
}

async fn resend_app(
    deps: &Deps,
    definitions: &Definitions,
    app: &AppName,
    now: Time,
    age_ms: u64,
    sent: &mut u64,
) -> Result<()> {
    // The oldest id there is of that millisecond.
    let horizon =
        CallId::single(now.minus_ms(limits::ms(limits::RETENTION) + limits::ms(limits::RESEND_AFTER)), 0);
    let mut walk = CallWalk::new(deps, app, Some(horizon));
    let mut sweep = Sweep::new(deps, "look after call");
    while let Some(seen) = walk.next().await? {
        let looked = resend_call(deps, definitions, app, &seen, now, age_ms).await;
        *sent += u64::from(sweep.take(seen.call, looked)? == Some(true));
    }
    Ok(())
}

async fn resend_call(
    deps: &Deps,
    definitions: &Definitions,
    app: &AppName,
    seen: &StoredCall,
    now: Time,
    age_ms: u64,
) -> Result<bool> {
    let mut youngest = None;
    for (key, entry) in &seen.objects {
        match key {
            Key::Status(..) => return Ok(false),
            Key::Payload(..) | Key::Started(..) => youngest = youngest.max(Some(entry.modified_at)),
            _ => {}
        }
    }
    let Some(youngest) = youngest else { return Ok(false) };
    if now.since_ms(youngest) < age_ms {
        return Ok(false);
    }
    let key = Key::Payload(app.clone(), seen.call);
    let Some((facts, _)) = deps.store.find_metadata::<CallFacts>(&key).await? else { return Ok(false) };
    // Without its version the call is sent all the same: the worker records why it cannot run.
    let version = definitions.version(app, &facts.function, &facts.version).await?;
    let timeout_ms = version.map_or(0, |version| version.limits.timeout_ms);
    if now.since_ms(youngest) < 2 * timeout_ms {
        return Ok(false);
    }
    let mut message = send::call_message(deps, app, seen.call);
    message.again = true;
    // A crowd of lost calls is not to come back in one burst.
    let delay = Duration::from_millis(deps.rng.below(limits::ms(limits::PUT_BACK)));
    send::send(&deps.queues.calls, &Message::Call(message), delay).await?;
    deps.events.on(Event::CallResent { app: app.clone(), call: seen.call });
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::queue::Receipt;

    const HALF: u64 = limits::ms(limits::RECONCILE_EVERY) / 2;

    fn received(sent_ms: u64, delivery: u32) -> Received {
        let (id, receipt) = (sent_ms.to_string(), Receipt(String::new()));
        Received { id, receipt, body: String::new(), metadata: None, delivery, sent_at: Time(sent_ms) }
    }

    #[test]
    fn an_empty_queue_gives_a_turn_at_once_and_a_busy_one_later() {
        let mut turns = Turns::default();
        turns.received(&[]);
        assert_eq!(turns.next(Time(10)), Some(Turn { interval: 0, waits_since: None }));
        assert_eq!(turns.next(Time(HALF + 10)), None, "one turn an interval");
        let next = 2 * HALF;
        turns.received(&[received(100, 7)]);
        for sent in [next - 30, next - 20, next - 40] {
            turns.received(&[received(sent, 1)]);
        }
        assert_eq!(turns.next(Time(next + HALF)), None, "three say too little");
        turns.received(&[received(next - 10, 1)]);
        assert_eq!(turns.next(Time(next + HALF - 1)), None, "whoever sees it empty goes first");
        let turn = turns.next(Time(next + HALF)).unwrap();
        assert_eq!(turn, Turn { interval: 1, waits_since: Some(Time(next - 40)) });
    }

    #[test]
    fn a_supervisor_is_sent_again_less_and_less_often() {
        let turns = |from_h: u64, to_h: u64| {
            let every = limits::ms(limits::RECONCILE_EVERY);
            let ages = from_h * 3_600_000 / every..to_h * 3_600_000 / every;
            ages.filter(|age| is_turn_of(age * every + 7)).count()
        };
        assert_eq!((turns(0, 2), turns(2, 4), turns(2, 24), turns(24, 240)), (0, 2, 22, 18));
    }
}
