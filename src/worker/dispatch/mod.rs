//! Puts those chunks of a batch on the queue that its submitter did not: a window of them at a time, lowest numbers first. The
//! rest lies in the store, where it keeps nobody waiting and where a pause or a cancellation finds it. Only the batch's
//! supervisor does this, and only while such chunks are left. `ledger` knows what was sent, `window` how much is to be.

mod ledger;
#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use self::ledger::{Ledger, SendState};
use self::window::{Observation, Window};
use super::{Abandoned, Shared, quarantine};
use crate::error::Code;
use crate::event::Event;
use crate::layout::batch::Batch;
use crate::layout::chunk::chunk_first_min;
use crate::layout::{Key, Message, RangeMessage, Runs};
use crate::limits;
use crate::model::id::NUMBER_MAX;
use crate::model::{AttemptHistory, BatchRef};
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
    /// By last number: the first one of the chunks that were sent here.
    firsts: BTreeMap<u64, u64>,
    /// By last number: when a mark was found of a chunk whose message may be somewhere.
    marked_at: BTreeMap<u64, Duration>,
    newest: Option<Newest>,
    looked_at: Duration,
    /// When to look at the queue next, while chunks are unsent.
    next_look: Option<Duration>,
}

/// A chunk that is to be sent.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// As far as is known: some of its numbers may be of a chunk that is missing.
    first: u64,
    last: u64,
    again: bool,
}

/// The chunk with the highest number, and when it was first seen.
#[derive(Debug, Clone, Copy)]
struct Newest {
    last: u64,
    seen_at: Duration,
}

/// The chunks of a batch beyond those of its submitter, as one look finds them.
#[derive(Debug, Default)]
struct Survey {
    unsent: Vec<Candidate>,
    uncertain: Vec<Candidate>,
    /// Undecided calls that were sent.
    out: u64,
    decided: u64,
}

/// As many as have so many calls.
fn choose(chunks: impl Iterator<Item = Candidate>, calls: u64) -> Vec<Candidate> {
    let mut chosen: u64 = 0;
    let is_wanted = |chunk: &Candidate| {
        let before = chosen;
        chosen += chunk.last - chunk.first + 1;
        before < calls
    };
    chunks.take_while(is_wanted).collect()
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
            firsts: BTreeMap::new(),
            marked_at: BTreeMap::new(),
            newest: None,
            looked_at: begun,
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
        log.last() <= self.batch.chunking.first_calls
            || self.ledger.state(log) == SendState::Sent
            || self.is_marked(log.last())
    }

    /// When new chunks of an open batch are to be looked for, if they come from here.
    pub fn next_store_look(&self, facts: &BatchFacts) -> Option<Duration> {
        let is_open = !facts.sealed.is_there() && !facts.cancelled.is_there();
        let Newest { last, seen_at } = self.newest?;
        // The next one may be the first that the submitter leaves to the supervisor.
        let comes_here = is_open && 2 * last > self.batch.chunking.first_calls && self.next_look.is_none();
        let now = self.shared.deps.clock.monotonic();
        let pause = now.saturating_sub(seen_at) / 4;
        let pause = pause.clamp(limits::DISPATCH_LOOK_AT_FIRST, limits::DISPATCH_NEW_CHUNK_MAX);
        comes_here.then(|| self.looked_at + pause)
    }

    /// Looks at the queue, and sends what is missing there. Returns the chunks that were sent, first and last number.
    pub async fn look(&mut self, logs: &Logs, facts: &mut BatchFacts) -> Result<Vec<(u64, u64)>, Abandoned> {
        self.next_look = None;
        let now = self.shared.deps.clock.monotonic();
        self.looked_at = now;
        let belongs_to = facts.sealed.get().map_or(u64::MAX, |sealed| sealed.last);
        let Some((_, last, _)) = logs.ranges().take_while(|(_, last, _)| *last <= belongs_to).last() else {
            return Ok(Vec::new());
        };
        if self.newest.is_none_or(|newest| newest.last != last) {
            self.newest = Some(Newest { last, seen_at: now });
        }
        if last <= self.batch.chunking.first_calls || !self.ledger.may_send(&self.shared.deps).await? {
            return Ok(Vec::new());
        }
        let survey = self.survey(logs, belongs_to);
        if survey.unsent.is_empty() && survey.uncertain.is_empty() {
            return Ok(Vec::new());
        }
        let elapsed = now.saturating_sub(self.begun);
        let soonest = (elapsed / 2).clamp(limits::DISPATCH_LOOK_MIN, limits::DISPATCH_LOOK_AT_FIRST);
        let pause = (elapsed / 20).min(limits::DISPATCH_LOOK_MAX).max(soonest);
        let is_cancelled = facts.cancelled.is_there();
        let seen = Observation {
            now,
            elapsed,
            depth: self.depth().await,
            is_limited: !facts.control.as_ref().map_or(self.batch.limits, |control| control.limits).is_none(),
            empty_receive: self.shared.prefetch.empty_receive(),
            out: survey.out,
            decided: survey.decided,
            mean: Duration::from_millis(logs.mean_ms()),
        };
        let calls = self.window.calls(&seen);
        let is_idle = survey.out == 0 || self.window.is_empty(&seen);
        let is_soon = is_idle && !survey.unsent.is_empty();
        let at_most = if is_soon { limits::DISPATCH_LOOK_AT_FIRST } else { limits::DISPATCH_LOOK_MAX };
        self.next_look = Some(now + pause.min(at_most));
        // Workers decide the calls of a cancelled batch without running them.
        let chunks = match is_cancelled {
            true => {
                self.next_look = Some(now + limits::DISPATCH_LOOK_MIN);
                choose(survey.unsent.into_iter().chain(survey.uncertain), limits::DISPATCH_CALLS_MAX)
            }
            false => self.choose(survey, calls, is_idle, &seen),
        };
        if chunks.is_empty() {
            return Ok(Vec::new());
        }
        if !is_cancelled {
            facts.read_control(&*self.shared.deps.store, &self.of).await?;
            if facts.is_paused() {
                self.next_look = Some(now + limits::DISPATCH_PAUSED);
                return Ok(Vec::new());
            }
        }
        let firsts = stream::iter(chunks).map(|chunk| self.with_first(chunk)).buffered(2 * REQUESTS_MAX);
        let chunks: Vec<Candidate> = firsts.try_collect().await?;
        if !self.reserve(&chunks, &seen).await? {
            return Ok(Vec::new());
        }
        let sent = self.send(chunks, seen.depth.is_dry()).await?;
        self.window.sent(sent.len() as u64, &seen);
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

    /// Whether a mark of the chunk was found a short time ago.
    fn is_marked(&self, last: u64) -> bool {
        let now = self.shared.deps.clock.monotonic();
        self.marked_at.get(&last).is_some_and(|at| now.saturating_sub(*at) < limits::UNCERTAIN)
    }

    fn survey(&self, logs: &Logs, belongs_to: u64) -> Survey {
        let mut survey = Survey::default();
        let now = self.shared.deps.now();
        for (first, last, log) in logs.ranges().filter(|(_, last, _)| *last <= belongs_to) {
            let decided = log.decided().len();
            survey.decided += decided;
            if log.decided().covers(first..=last) {
                continue;
            }
            match self.ledger.state(log) {
                _ if last <= self.batch.chunking.first_calls => {}
                SendState::Sent => {}
                SendState::Uncertain if self.is_marked(last) => {}
                SendState::Uncertain => {
                    survey.uncertain.push(Candidate { first, last, again: true });
                    continue;
                }
                SendState::Unsent => {
                    survey.unsent.push(Candidate { first, last, again: false });
                    continue;
                }
            }
            // Some numbers may be of a chunk that is missing, and what waits for a retry needs nothing.
            let first = first.max(chunk_first_min(last)).max(self.firsts.get(&last).copied().unwrap_or(0));
            let waiting = log.pending().values().filter(|call| call.due > now).count() as u64;
            survey.out += (last - first + 1).saturating_sub(decided + waiting);
        }
        survey
    }

    /// Unsent chunks first. What may have been sent goes again when workers may be idle, the highest numbers first, because
    /// messages were sent upwards. As many of the lowest as there are messages in flight get their time to show themselves.
    fn choose(&self, survey: Survey, calls: u64, is_idle: bool, seen: &Observation) -> Vec<Candidate> {
        let Survey { unsent, uncertain, .. } = survey;
        // A message that is delayed may wait for a pause to end.
        let delayed = if seen.depth.delayed > 0 { limits::PAUSED_PUT_BACK_MAX } else { Duration::ZERO };
        let since = seen.now.saturating_sub(self.ledger.uncertain_since());
        let is_time = since >= limits::UNCERTAIN + delayed;
        let waiting = if is_time { 0 } else { (seen.depth.in_flight + seen.depth.delayed) as usize };
        let again = uncertain.into_iter().skip(waiting).rev();
        let is_turn = unsent.is_empty() && is_idle;
        choose(unsent.into_iter().chain(again.filter(|_| is_turn)), calls)
    }

    /// Says beforehand what is to be sent. Most of the time this was said already.
    async fn reserve(&mut self, chunks: &[Candidate], seen: &Observation) -> Result<bool, Abandoned> {
        let fresh = chunks.iter().filter(|chunk| !chunk.again).map(|chunk| (chunk.first, chunk.last));
        let ends = fresh.reduce(|(first, _), (_, last)| (first, last));
        let Some((first, last)) = ends else {
            // What may have been sent already is in the last entry. Only who wrote that may go on.
            return match self.ledger.is_reserved(0) {
                true => self.ledger.holds(&self.shared.deps).await,
                false => self.ledger.reserve(&self.shared.deps, 0).await,
            };
        };
        if self.ledger.is_reserved(last) {
            return self.ledger.holds(&self.shared.deps).await;
        }
        let in_time = self.window.in_time(limits::DISPATCH_RESERVED, seen);
        let share = self.ledger.sent_calls() / limits::DISPATCH_RESERVED_SHARE;
        let share = share.min(self.window.in_time(limits::DISPATCH_RESERVED_MAX, seen));
        let through = first.saturating_add(in_time.max(share)).max(last).min(NUMBER_MAX);
        self.ledger.reserve(&self.shared.deps, through).await
    }

    /// Only an acknowledged message is sent (H12).
    async fn send(&mut self, chunks: Vec<Candidate>, is_dry: bool) -> Result<Vec<(u64, u64)>, Abandoned> {
        // Gathered first: a future that holds the closure cannot be sent to another thread.
        let messages: Vec<_> = chunks.iter().map(|chunk| self.message(*chunk, is_dry)).collect();
        let messages: Vec<_> = stream::iter(messages).buffered(REQUESTS_MAX).try_collect().await?;
        let (chunks, messages): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
        let now = self.shared.deps.clock.monotonic();
        let marked = chunks.iter().zip(&messages).filter(|(_, message)| message.is_none());
        self.marked_at.extend(marked.map(|(chunk, _): (&Candidate, _)| (chunk.last, now)));
        let both = chunks.into_iter().zip(messages).filter_map(|(chunk, message)| Some((chunk, message?)));
        let (chunks, messages): (Vec<Candidate>, Vec<Message>) = both.unzip();
        for Candidate { first, last, again } in &chunks {
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
        for (Candidate { first, last, .. }, is_acknowledged) in
            chunks.into_iter().zip(answers.into_iter().flatten())
        {
            self.firsts.insert(last, first);
            self.ledger.record(first, last, is_acknowledged, self.shared.deps.clock.monotonic());
            if is_acknowledged {
                sent.push((first, last));
            }
        }
        Ok(sent)
    }

    /// Calls that go again are as suspect as they were under a message that was lost, maybe by one of them: they run under a mark.
    /// None where a mark tells that a worker has had the chunk's message, and that message may still be somewhere.
    async fn message(
        &self,
        chunk: Candidate,
        is_dry: bool,
    ) -> Result<(Candidate, Option<Message>), Abandoned> {
        let Candidate { first, last, again } = chunk;
        let calls = Runs::one(first, last, AttemptHistory::default());
        let losses = match again {
            true => quarantine::losses(&self.shared, &self.of.app, self.of.batch, last, &calls).await?,
            false => Runs::default(),
        };
        if !losses.is_empty() && !is_dry {
            return Ok((chunk, None));
        }
        let message = send::range_message(&self.shared.deps, &self.of, last, calls);
        let message = Message::Range(RangeMessage { again, lost_before: again, losses, ..message });
        Ok((chunk, Some(message)))
    }

    /// What the chunk says of itself: the chunk before it may be missing. One that cannot be read is sent all the same, so
    /// that a worker records why.
    async fn with_first(&self, chunk: Candidate) -> Result<Candidate, Abandoned> {
        let key = Key::Chunk(self.of.app.clone(), self.of.batch, chunk.last);
        match chunks::read_facts(&self.shared.deps, &key).await {
            Ok(facts) => Ok(Candidate { first: facts.first, ..chunk }),
            // The one before may lie anywhere, a chunk has its bounds.
            Err(error) if error.code() == Code::Internal => {
                Ok(Candidate { first: chunk.first.max(chunk_first_min(chunk.last)), ..chunk })
            }
            Err(error) => Err(error.into()),
        }
    }
}
