//! Which chunks of a batch are on the queue. Before anything is sent, an entry `dispatched/{k}` says what may be. A successor
//! learns there what was sent, what was not, and what it cannot know. The entries are written once, so they also stop a
//! supervisor that was replaced while it stood still.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::Abandoned;
use crate::layout::Runs;
use crate::layout::batch::Dispatched;
use crate::limits;
use crate::model::BatchRef;
use crate::outcomes::{Log, dispatched};
use crate::planted::planted;
use crate::seam::{Created, Deps, StoreExt as _};

/// What is known of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendState {
    /// The queue has acknowledged its message.
    Sent,
    /// Its message may be on the queue.
    Uncertain,
    Unsent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Has read nothing yet.
    New,
    Successor,
    /// Has written the last entry.
    Sends,
    /// Another supervisor sends, since when.
    Superseded(Duration),
}

pub(super) struct Ledger {
    of: BatchRef,
    standing: Standing,
    /// Acknowledged.
    sent: Runs<()>,
    /// What is not in `sent`, up to this number, other supervisors may have sent.
    uncertain_to: u64,
    /// Chunks that this one has sent without an acknowledgement, by last number.
    unacknowledged: BTreeSet<u64>,
    /// Since when nothing became uncertain.
    uncertain_since: Duration,
    /// Up to this number this supervisor may send.
    reserved_to: u64,
    /// Up to this number it has.
    tried_to: u64,
    /// The number of the next entry.
    next: u32,
    /// More was sent than the last entry says.
    has_news: bool,
}

impl Ledger {
    pub fn new(of: BatchRef) -> Ledger {
        Ledger {
            of,
            standing: Standing::New,
            sent: Runs::default(),
            uncertain_to: 0,
            unacknowledged: BTreeSet::new(),
            uncertain_since: Duration::ZERO,
            reserved_to: 0,
            tried_to: 0,
            next: 0,
            has_news: false,
        }
    }

    /// Whether this supervisor may send, as far as it knows. Reads what others have written, if it is time to.
    pub async fn may_send(&mut self, deps: &Deps) -> Result<bool, Abandoned> {
        let now = deps.clock.monotonic();
        match self.standing {
            Standing::Sends | Standing::Successor => return Ok(true),
            Standing::Superseded(since) if now.saturating_sub(since) < limits::DISPATCH_SUPERSEDED => {
                return Ok(false);
            }
            Standing::Superseded(_) | Standing::New => {}
        }
        let (last, next) = dispatched::last(&*deps.store, &self.of).await?;
        if let Some(Dispatched { sent, through, .. }) = last {
            self.sent.extend(&sent);
            self.uncertain_to = self.uncertain_to.max(planted!(through, UncertainTakenForUnsent => 0));
            planted!((), ReservedTakenForSent => self.sent.insert(1, through));
        }
        (self.next, self.reserved_to, self.standing) = (next, 0, Standing::Successor);
        self.uncertain_since = now;
        Ok(true)
    }

    pub fn state(&self, log: &Log) -> SendState {
        let last = log.last();
        let is_uncertain = last <= self.uncertain_to || self.unacknowledged.contains(&last);
        let is_sent = planted!(self.sent.contains(last), MissingChunkPassed => last <= self.sent_to());
        if is_sent || (is_uncertain && log.has_started()) {
            SendState::Sent
        } else if is_uncertain {
            SendState::Uncertain
        } else {
            SendState::Unsent
        }
    }

    pub fn uncertain_since(&self) -> Duration {
        self.uncertain_since
    }

    /// How many calls are known to be sent.
    pub fn sent_calls(&self) -> u64 {
        self.sent.iter().map(|run| run.last - run.first + 1).sum()
    }

    /// The last number that was ever sent.
    fn sent_to(&self) -> u64 {
        self.sent.last().unwrap_or(0).max(self.tried_to)
    }

    /// Whether this supervisor is still the one that sends. One that was replaced while it stood still finds out by a HEAD.
    pub async fn holds(&mut self, deps: &Deps) -> Result<bool, Abandoned> {
        let next = planted!(self.next, SupersededSendsOn => u32::MAX);
        let is_replaced = deps.store.fact_exists::<Dispatched>(&(self.of.clone(), next)).await?;
        if is_replaced {
            self.standing = Standing::Superseded(deps.clock.monotonic());
        }
        Ok(!is_replaced)
    }

    pub fn is_reserved(&self, last: u64) -> bool {
        self.standing == Standing::Sends && last <= self.reserved_to
    }

    /// Writes down that what is not sent, up to this number, may be sent from now on. False: another supervisor was first, and
    /// what it may send is not known here.
    pub async fn reserve(&mut self, deps: &Deps, through: u64) -> Result<bool, Abandoned> {
        planted!((), SendsBeforeReserving => {
            (self.reserved_to, self.standing) = (through, Standing::Sends);
            return Ok(true);
        });
        let through = through.max(self.uncertain_to).max(self.reserved_to);
        let entry = Dispatched { sent: self.sent.clone(), through, nonce: deps.nonce() };
        match deps.store.create_fact(&(self.of.clone(), self.next), &entry).await? {
            Created::New => {
                self.next = self.next.saturating_add(1);
                (self.reserved_to, self.standing, self.has_news) = (through, Standing::Sends, false);
                Ok(true)
            }
            // Not seen by the list: it looks again.
            Created::Existing(_) if self.standing == Standing::Successor => {
                self.standing = Standing::New;
                Ok(false)
            }
            Created::Existing(_) => {
                planted!((), SupersededSendsOn => {
                    self.next = self.next.saturating_add(1);
                    self.reserved_to = through;
                    return Ok(true);
                });
                self.standing = Standing::Superseded(deps.clock.monotonic());
                Ok(false)
            }
        }
    }

    /// A message to the chunk from `first` to `last` was sent.
    pub fn record(&mut self, first: u64, last: u64, is_acknowledged: bool, now: Duration) {
        self.tried_to = self.tried_to.max(last);
        self.has_news = true;
        if planted!(is_acknowledged, AmbiguousSendBelieved => true) {
            self.sent.insert(first, last);
            self.unacknowledged.remove(&last);
        } else {
            self.unacknowledged.insert(last);
            self.uncertain_since = now;
        }
    }

    /// Writes down what was sent, so that the next supervisor need not wait. Tried once: without it that one waits.
    pub async fn hand_over(&mut self, deps: &Deps) {
        if self.standing != Standing::Sends || !(self.has_news || self.reserved_to > self.tried_to) {
            return;
        }
        let through = self.uncertain_to.max(self.sent_to());
        let entry = Dispatched { sent: self.sent.clone(), through, nonce: deps.nonce() };
        let _ = deps.store.put_fact(&(self.of.clone(), self.next), &entry).await;
        self.standing = Standing::Superseded(deps.clock.monotonic());
    }
}
