//! Puts those chunks of a batch on the queue that its submitter did not: a window of them at a time, lowest numbers first. The
//! rest lies in the store, where it keeps nobody waiting and where a pause or a cancellation finds it. Only the batch's
//! supervisor does this, and only while such chunks are left. `ledger` knows what was sent, `window` how much is to be.

mod ledger;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use self::ledger::{Ledger, Sending};
use self::window::{Sight, Window};
use super::{Abandoned, Shared};
use crate::error::Code;
use crate::event::Event;
use crate::layout::batch::Batch;
use crate::layout::{Key, Message};
use crate::limits;
use crate::model::id::NUMBER_MAX;
use crate::model::{BatchRef, Time};
use crate::outcomes::{BatchFacts, Log, Logs, chunks};
use crate::seam::queue::Depth;
use crate::submit::send;

/// Requests of one kind that are under way at once.
const REQUESTS_MAX: usize = 8;

pub(super) struct Dispatcher {
    shared: Arc<Shared>,
    of: BatchRef,
    batch: Arc<Batch>,
    ledger: Ledger,
    window: Window,
    begun: Duration,
    /// What was asked of the batch was read then.
    control_read: Option<Duration>,
    /// When to look at the queue next, while chunks are unsent.
    next_look: Option<Duration>,
}

/// A chunk that is to be sent.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    /// As far as is known: some of its numbers may be of a chunk that is missing.
    first: u64,
    last: u64,
    again: bool,
}

/// The chunks of a batch beyond those of its submitter, as one look finds them.
#[derive(Debug, Default)]
struct Backlog {
    unsent: Vec<Chunk>,
    uncertain: Vec<Chunk>,
    /// Undecided calls that were sent.
    out: u64,
    decided: u64,
}

impl Dispatcher {
    pub fn new(shared: &Arc<Shared>, of: &BatchRef, batch: &Arc<Batch>) -> Dispatcher {
        let begun = shared.deps.clock.monotonic();
        Dispatcher {
            shared: shared.clone(),
            of: of.clone(),
            batch: batch.clone(),
            ledger: Ledger::new(of.clone()),
            window: Window::new(batch.chunking.first_calls),
            begun,
            control_read: None,
            next_look: None,
        }
    }

    /// Returns when the queue is to be looked at again, before the next look at the store.
    pub async fn due(&self) {
        match self.next_look {
            Some(at) => {
                self.shared.deps.clock.sleep(at.saturating_sub(self.shared.deps.clock.monotonic())).await
            }
            None => std::future::pending().await,
        }
    }

    /// Whether a chunk's message was sent, as far as is known. If not, this dispatcher will send it.
    pub fn is_sent(&self, log: &Log) -> bool {
        log.last() <= self.batch.chunking.first_calls || self.ledger.sending(log) == Sending::Sent
    }

    /// How long new chunks of an open batch may wait for the next look at the store, if they come from here.
    pub fn until_new_chunks(&self, logs: &Logs, facts: &BatchFacts, now: Time) -> Option<Duration> {
        let is_open = !facts.sealed.is_there() && !facts.cancelled.is_there();
        let (_, last, _) = logs.ranges().last()?;
        // The next one may be the first that the submitter leaves to the supervisor.
        let comes_here = is_open && 2 * last > self.batch.chunking.first_calls && self.next_look.is_none();
        let age = Duration::from_millis(now.since_ms(logs.youngest_chunk()?));
        comes_here.then(|| (age / 4).clamp(limits::DISPATCH_LOOK_AT_FIRST, limits::DISPATCH_NEW_CHUNK_MAX))
    }

    /// Looks at the queue, and sends what is missing there. Returns the chunks that were sent, first and last number.
    pub async fn look(&mut self, logs: &Logs, facts: &mut BatchFacts) -> Result<Vec<(u64, u64)>, Abandoned> {
        self.next_look = None;
        let belongs_to = facts.sealed.get().map_or(u64::MAX, |sealed| sealed.last);
        if !logs.ranges().any(|(_, last, _)| self.batch.chunking.first_calls < last && last <= belongs_to)
            || !self.ledger.may_send(&self.shared.deps).await?
        {
            return Ok(Vec::new());
        }
        let backlog = self.backlog(logs, belongs_to);
        if backlog.unsent.is_empty() && backlog.uncertain.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.shared.deps.clock.monotonic();
        let elapsed = now.saturating_sub(self.begun);
        let soonest = (elapsed / 2).clamp(limits::DISPATCH_LOOK_MIN, limits::DISPATCH_LOOK_AT_FIRST);
        let pause = (elapsed / 20).min(limits::DISPATCH_LOOK_MAX).max(soonest);
        self.next_look = Some(now + pause);
        let is_cancelled = facts.cancelled.is_there();
        if !is_cancelled {
            self.read_control(facts, now).await?;
            if facts.is_paused() {
                self.next_look = Some(now + limits::DISPATCH_CONTROL);
                return Ok(Vec::new());
            }
        }
        let sight = Sight {
            now,
            elapsed,
            depth: self.depth().await,
            counts_delayed: !facts
                .control
                .as_ref()
                .map_or(self.batch.limits, |control| control.limits)
                .is_none(),
            empty_receive: self.shared.prefetch.empty_receive(),
            out: backlog.out,
            decided: backlog.decided,
            mean: Duration::from_millis(logs.mean_ms()),
        };
        let calls = self.window.calls(&sight);
        if self.window.is_empty(&sight) {
            self.next_look = Some(now + pause.min(limits::DISPATCH_LOOK_AT_FIRST));
        }
        // Workers decide the calls of a cancelled batch without running them.
        let calls = if is_cancelled { limits::DISPATCH_CALLS_MAX } else { calls };
        let is_idle = backlog.out == 0 || self.window.is_empty(&sight);
        let chunks = self.choose(backlog, calls, is_idle, now, sight.mean);
        if chunks.is_empty() || !self.reserve(&chunks, &sight).await? {
            return Ok(Vec::new());
        }
        let sent = self.send(chunks).await?;
        self.window.sent(self.shared.deps.clock.monotonic(), sent.len() as u64);
        Ok(sent)
    }

    /// Nobody sends from now on, until the next supervisor does.
    pub async fn hand_over(&mut self) {
        self.ledger.hand_over(&self.shared.deps).await;
    }

    /// A queue that does not tell is not taken for empty: outcomes tell enough.
    async fn depth(&self) -> Depth {
        let depth = self.shared.deps.queues.chunks.live.depth().await;
        depth.unwrap_or(Depth { visible: 1, ..Depth::default() })
    }

    async fn read_control(&mut self, facts: &mut BatchFacts, now: Duration) -> Result<(), Abandoned> {
        let is_fresh = |read: Duration| now.saturating_sub(read) < limits::DISPATCH_CONTROL;
        if !self.control_read.is_some_and(is_fresh) {
            facts.read_control(&*self.shared.deps.store, &self.of).await?;
            self.control_read = Some(now);
        }
        Ok(())
    }

    fn backlog(&self, logs: &Logs, belongs_to: u64) -> Backlog {
        let mut backlog = Backlog::default();
        for (first, last, log) in logs.ranges().filter(|(_, last, _)| *last <= belongs_to) {
            let decided = log.decided().len();
            backlog.decided += decided;
            if log.decided().covers(first..=last) {
                continue;
            }
            match self.ledger.sending(log) {
                _ if last <= self.batch.chunking.first_calls => {}
                Sending::Sent => {}
                Sending::Uncertain => {
                    backlog.uncertain.push(Chunk { first, last, again: true });
                    continue;
                }
                Sending::Unsent => {
                    backlog.unsent.push(Chunk { first, last, again: false });
                    continue;
                }
            }
            backlog.out += (last - first + 1).saturating_sub(decided);
        }
        backlog
    }

    /// Unsent chunks first. What may have been sent gets its time to show itself, and goes again when workers may be idle: the
    /// highest numbers first, because messages were sent upwards.
    fn choose(
        &self,
        backlog: Backlog,
        calls: u64,
        is_idle: bool,
        now: Duration,
        mean: Duration,
    ) -> Vec<Chunk> {
        let Backlog { unsent, mut uncertain, .. } = backlog;
        let shows_itself = limits::UNCERTAIN + 2 * mean;
        let is_time =
            unsent.is_empty() && is_idle && now.saturating_sub(self.ledger.uncertain_since()) >= shows_itself;
        uncertain.reverse();
        let mut chosen: u64 = 0;
        let is_wanted = |chunk: &Chunk| {
            let before = chosen;
            chosen += chunk.last - chunk.first + 1;
            before < calls
        };
        let all = unsent.into_iter().chain(uncertain.into_iter().filter(|_| is_time));
        all.take_while(is_wanted).collect()
    }

    /// Says beforehand what is to be sent. Most of the time this was said already.
    async fn reserve(&mut self, chunks: &[Chunk], sight: &Sight) -> Result<bool, Abandoned> {
        let fresh = chunks.iter().filter(|chunk| !chunk.again).map(|chunk| (chunk.first, chunk.last));
        let ends = fresh.reduce(|(first, _), (_, last)| (first, last));
        let Some((first, last)) = ends else {
            // What may have been sent already is in the last entry. Only who wrote that may go on.
            return if self.ledger.is_reserved(0) {
                Ok(true)
            } else {
                self.ledger.reserve(&self.shared.deps, 0).await
            };
        };
        if self.ledger.is_reserved(last) {
            return Ok(true);
        }
        let in_time = self.window.in_time(limits::DISPATCH_RESERVED, sight);
        let share = self.ledger.sent_calls() / limits::DISPATCH_RESERVED_SHARE;
        let through = first.saturating_add(in_time.max(share)).max(last).min(NUMBER_MAX);
        self.ledger.reserve(&self.shared.deps, through).await
    }

    /// Only an acknowledged message is sent (H12).
    async fn send(&mut self, chunks: Vec<Chunk>) -> Result<Vec<(u64, u64)>, Abandoned> {
        let firsts = stream::iter(chunks).map(|chunk| self.with_first(chunk)).buffered(2 * REQUESTS_MAX);
        let chunks: Vec<Chunk> = firsts.try_collect().await?;
        let messages: Vec<Message> = chunks
            .iter()
            .map(|chunk| {
                send::chunk_message(&self.shared.deps, &self.of, chunk.first, chunk.last, chunk.again)
            })
            .collect();
        for Chunk { first, last, again } in &chunks {
            let (app, batch) = (self.of.app.clone(), self.of.batch);
            self.shared.emit(Event::ChunkDispatched {
                app,
                batch,
                first: *first,
                last: *last,
                again: *again,
            });
        }
        let pair = self.shared.deps.queues.chunks.clone();
        let sends: Vec<_> =
            messages.chunks(limits::QUEUE_BATCH_MAX).map(|some| send::send_each(&pair, some)).collect();
        let answers: Vec<Vec<bool>> = stream::iter(sends).buffered(REQUESTS_MAX).collect().await;
        let mut sent = Vec::new();
        for (Chunk { first, last, .. }, is_acknowledged) in
            chunks.into_iter().zip(answers.into_iter().flatten())
        {
            self.ledger.record(first, last, is_acknowledged, self.shared.deps.clock.monotonic());
            if is_acknowledged {
                sent.push((first, last));
            }
        }
        Ok(sent)
    }

    /// What the chunk says of itself: the chunk before it may be missing. One that cannot be read is sent all the same, so
    /// that a worker records why.
    async fn with_first(&self, chunk: Chunk) -> Result<Chunk, Abandoned> {
        let key = Key::Chunk(self.of.app.clone(), self.of.batch, chunk.last);
        match chunks::read_facts(&self.shared.deps, &key).await {
            Ok(facts) => Ok(Chunk { first: facts.first, ..chunk }),
            Err(error) if error.code() == Code::Internal => Ok(chunk),
            Err(error) => Err(error.into()),
        }
    }
}
