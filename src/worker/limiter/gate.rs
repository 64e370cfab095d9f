//! Whether a call of a batch may begin on this worker now: not while the batch is paused, and where it has limits only as
//! far as this worker's share of them goes.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::shares::{Grant, Watch};
use crate::limits;
use crate::model::Rate;
use crate::planted::planted;
use crate::seam::Clock;

pub struct Gate {
    clock: Arc<dyn Clock>,
    /// Neither paused nor limited: what most batches are is known without the lock.
    is_open: AtomicBool,
    state: Mutex<State>,
    changed: Notify,
    /// Held while the share is renewed: what is known of the shares of others.
    pub(super) renewing: tokio::sync::Mutex<Watch>,
}

#[derive(Default)]
struct State {
    paused: bool,
    share: Option<HeldShare>,
    /// Of the batch, on this worker.
    ranges: u32,
    /// Begun under a share.
    running: u32,
    /// Ranges in a row whose version turned out not to suit this worker, and until when others have their turn.
    unsuited: u32,
    abstains_until: Duration,
}

/// What this worker holds of the batch's limits.
#[derive(Debug, Clone, Copy, Default)]
struct HeldShare {
    grant: Grant,
    /// None: starts are not limited.
    rate: Option<Rate>,
    /// Of the renewal that granted it.
    renewed_at: Duration,
    renew_at: Duration,
    next_start: Duration,
    /// Since then.
    starts: u64,
    /// The same: how long calls that had a slot waited for the rate, and since when one does.
    waited: Duration,
    waits_since: Option<Duration>,
}

/// What a call needs to begin.
pub enum Admission {
    Free,
    Permitted(Permit),
    NotNow,
}

/// One execution under a share.
pub struct Permit(Arc<Gate>);

/// One range of a batch in hand.
pub struct RangeClaim(Arc<Gate>);

impl Gate {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Gate> {
        Arc::new(Gate {
            clock,
            is_open: AtomicBool::new(true),
            state: Mutex::default(),
            changed: Notify::new(),
            renewing: Default::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let changed = change(&mut state);
        self.is_open.store(!state.paused && state.share.is_none(), Relaxed);
        drop(state);
        self.changed.notify_waiters();
        changed
    }

    pub fn is_paused(&self) -> bool {
        self.state().paused
    }

    /// Whether this worker has a part in the limits of the batch.
    pub fn has_share(&self) -> bool {
        self.state().has_share(self.clock.monotonic())
    }

    /// A range has ended: whether its version suits this worker. One that does not leaves the limits to others for a while,
    /// longer each time, or it would hold them without use.
    pub fn note_suits(&self, suits: bool) {
        let (now, mut state) = (self.clock.monotonic(), self.state());
        if suits {
            state.unsuited = 0;
            return;
        }
        let doubled =
            limits::SHARE_ABSTENTION * (1 << state.unsuited.min(limits::SHARE_ABSTENTION_DOUBLINGS));
        state.unsuited += 1;
        state.abstains_until = planted!(now + doubled, UnsuitedKeepsShare => now);
    }

    pub fn is_limited(&self) -> bool {
        !self.is_open.load(Relaxed)
    }

    /// Ends when more may begin than at the time of the call, or less.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// A call begins now, if it may.
    pub fn begin(self: &Arc<Gate>) -> Admission {
        if self.is_open.load(Relaxed) {
            return Admission::Free;
        }
        let (now, mut state) = (self.clock.monotonic(), self.state());
        let has_permit = state.has_permit(now);
        if !state.may_begin(now) {
            if let Some(share) = state.share.as_mut().filter(|_| has_permit) {
                share.waits_since.get_or_insert(now);
            }
            return Admission::NotNow;
        }
        let Some(share) = &mut state.share else { return Admission::Free };
        if let Some(since) = share.waits_since.take() {
            share.waited += now.saturating_sub(since);
        }
        if let Some(rate) = share.rate {
            // One that comes a little late does not delay those behind it.
            let interval = rate.interval();
            share.next_start = share.next_start.max(now.saturating_sub(interval)) + interval;
        }
        share.starts += 1;
        state.running += 1;
        Admission::Permitted(Permit(self.clone()))
    }

    /// Whether a call may begin now.
    pub fn may_begin(&self) -> bool {
        self.is_open.load(Relaxed) || self.state().may_begin(self.clock.monotonic())
    }

    /// When to look again: the next start that the rate allows, or the next renewal. None without limits.
    pub fn next_look(&self) -> Option<Duration> {
        if self.is_open.load(Relaxed) {
            return None;
        }
        let (now, state) = (self.clock.monotonic(), self.state());
        let may_run_more = state.has_permit(now);
        let share = state.share?;
        Some(match may_run_more && share.rate.is_some() {
            true => share.renew_at.min(share.next_start),
            false => share.renew_at,
        })
    }

    /// How many calls may run at once here, on a worker of so many slots.
    pub fn slots(&self, slots: usize) -> usize {
        match self.is_limited() {
            true => self.state().share.map_or(slots, |share| slots.min(share.grant.calls.max(1) as usize)),
            false => slots,
        }
    }

    /// Whether other workers could run more of the batch than they do.
    pub fn has_room_elsewhere(&self) -> bool {
        !self.is_limited() || self.state().share.is_none_or(|share| share.grant.is_some_left)
    }

    /// One more range of the batch is in hand; none where two of those in hand have not begun for want of a share.
    pub fn try_claim_range(self: &Arc<Gate>) -> Option<RangeClaim> {
        let mut state = self.state();
        let has_share = state.has_share(self.clock.monotonic());
        if state.paused || !has_share || (state.share.is_some() && state.ranges > state.running + 1) {
            return None;
        }
        state.ranges += 1;
        Some(RangeClaim(self.clone()))
    }

    /// Whether the share could not be renewed, so that others may take it.
    pub fn is_lapsed(&self) -> bool {
        let lapses_at = self.lapses_at();
        lapses_at.is_some_and(|at| at <= self.clock.monotonic())
    }

    /// Runs something under a permit as long as this worker has its share. `None`: it was stopped. What has no permit was begun
    /// before there were limits, and goes on.
    pub async fn while_held<T>(&self, has_permit: bool, run: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = run => Some(done),
            () = self.lapsed(), if has_permit => None,
        }
    }

    /// Returns when others may take the share.
    pub async fn lapsed(&self) {
        loop {
            let changed = self.changed.notified();
            match self.lapses_at() {
                None => changed.await,
                Some(at) => {
                    let left = at.saturating_sub(self.clock.monotonic());
                    if left.is_zero() {
                        return;
                    }
                    tokio::select! {
                        biased;
                        () = self.clock.sleep(left) => {}
                        () = changed => {}
                    }
                }
            }
        }
    }

    /// When what runs under the share must have stopped.
    fn lapses_at(&self) -> Option<Duration> {
        if self.is_open.load(Relaxed) {
            return None;
        }
        let state = self.state();
        let share = planted!(state.share.filter(|_| state.running > 0), LapsedShareUsed => None);
        share.map(|share| share.lapses_at())
    }

    pub(super) fn set_paused(&self, paused: bool) {
        if self.state().paused != paused {
            self.change(|state| state.paused = paused);
        }
    }

    /// There are no limits any more.
    pub(super) fn unlimit(&self) {
        if self.state().share.is_some() {
            self.change(|state| state.share = None);
        }
    }

    /// Whether the share is to be asked for, or renewed.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        let state = self.state();
        let leaves_it = state.ranges == 0 && state.abstains(now);
        !leaves_it && state.share.is_none_or(|share| share.renew_at <= now)
    }

    pub(super) fn running(&self) -> u32 {
        self.state().running
    }

    /// How many starts an hour this worker can use, as far as it has shown.
    pub(super) fn starts_wanted(&self, now: Duration) -> u64 {
        let state = self.state();
        let Some(share) = state.share.filter(|share| share.grant.calls > 0) else { return u64::MAX };
        let elapsed = now.saturating_sub(share.renewed_at);
        let waits = share.waits_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        if (share.waited + waits) * 10 >= elapsed {
            return share.grant.per_hour.saturating_mul(2);
        }
        // A little more, since a count of few starts is inexact; and never so little that it cannot grow again.
        let used = share.starts * 3_600_000 / elapsed.as_millis().max(1) as u64;
        (used * 11 / 10).max(share.grant.per_hour.div_ceil(4))
    }

    /// The share was asked for at `at`, and this is what there was.
    pub(super) fn grant(&self, at: Duration, grant: Grant, is_rate_limited: bool, jitter: Duration) {
        self.change(|state| {
            let before = state.share;
            let rate = is_rate_limited.then_some(Rate { per_hour: grant.per_hour });
            // What a lower rate has put off is not later than this one allows.
            let soonest = rate.map_or(at, |rate| at + rate.interval());
            let renewal = match before {
                Some(before) if before.grant.calls > 0 => limits::SHARE_RENEWAL,
                _ => limits::SHARE_RENEWAL_FIRST,
            };
            state.share = Some(HeldShare {
                grant,
                rate,
                renewed_at: at,
                renew_at: at + renewal.saturating_sub(jitter),
                next_start: before.map_or(at, |before| before.next_start.min(soonest)),
                starts: 0,
                waited: Duration::ZERO,
                waits_since: before.and_then(|before| before.waits_since).map(|_| at),
            });
        });
    }

    /// Gives the share up if no range of the batch is in hand. Returns whether there was one.
    pub(super) fn give_up(&self) -> bool {
        if self.is_open.load(Relaxed) || self.state().ranges > 0 {
            return false;
        }
        self.change(|state| {
            let Some(share) = state.share.as_mut().filter(|share| share.grant.calls > 0) else {
                return false;
            };
            (share.grant, share.renew_at) = (Grant::default(), share.renewed_at);
            true
        })
    }

    /// It could not be renewed: it stays as it is until its term is over, and is tried again in a moment.
    pub(super) fn renew_again_at(&self, at: Duration) {
        self.change(|state| state.share.get_or_insert_default().renew_at = at);
    }
}

impl State {
    fn abstains(&self, now: Duration) -> bool {
        self.share.is_some() && now < self.abstains_until
    }

    fn has_share(&self, now: Duration) -> bool {
        !self.abstains(now) && self.share.is_none_or(|share| share.grant.calls > 0)
    }

    fn has_permit(&self, now: Duration) -> bool {
        let Some(share) = &self.share else { return !self.paused };
        !self.paused
            && planted!(self.running < share.grant.calls, ShareIgnored => true)
            && !share.is_over(now)
    }

    fn may_begin(&self, now: Duration) -> bool {
        self.has_permit(now)
            && self.share.is_none_or(|share| {
                share.rate.is_none_or(|rate| rate.per_hour > 0 && share.next_start <= now)
            })
    }
}

impl HeldShare {
    fn is_over(&self, now: Duration) -> bool {
        planted!(self.lapses_at() <= now, LapsedShareUsed => false)
    }

    fn lapses_at(&self) -> Duration {
        self.renewed_at + limits::SHARE_TERM - limits::SHARE_MARGIN
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.change(|state| state.running -= 1);
    }
}

impl Drop for RangeClaim {
    fn drop(&mut self) {
        self.0.state().ranges -= 1;
    }
}
