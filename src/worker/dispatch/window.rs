//! How much of a batch is on the queue: 10 to 40 s of work beside what runs. An empty queue tells that workers may be idle; the
//! rate at which calls are decided tells how much work lasts how long. Neither has to be right: counts decide amounts only.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits;
use crate::seam::queue::Depth;

/// What a supervisor sees when it looks at the queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    pub now: Duration,
    /// How long the supervisor is at work.
    pub elapsed: Duration,
    pub depth: Depth,
    /// Messages wait for a time because the batch has limits.
    pub counts_delayed: bool,
    /// When this worker last received nothing, if that was its last receive.
    pub empty_receive: Option<Duration>,
    /// Calls on the queue or held by workers, as far as outcomes tell.
    pub out: u64,
    pub decided: u64,
    /// How long an execution takes.
    pub mean: Duration,
}

#[derive(Debug)]
pub(super) struct Window {
    ahead_min: u64,
    /// So many calls are sent to an empty queue.
    ahead: u64,
    sent_at: Option<Duration>,
    /// Messages that were sent then.
    messages: u64,
    /// When how many calls were decided.
    decided: VecDeque<(Duration, u64)>,
}

impl Window {
    pub fn new(first_calls: u64) -> Window {
        let ahead = (first_calls / 3).clamp(1, limits::DISPATCH_CALLS_MAX);
        Window { ahead_min: ahead, ahead, sent_at: None, messages: 0, decided: VecDeque::new() }
    }

    pub fn is_empty(&self, sight: &Sight) -> bool {
        let saw_it = sight.empty_receive.is_some_and(|at| self.sent_at.is_none_or(|sent| at > sent));
        // With limits some workers always have no share, and put back what they receive.
        let delayed = if sight.counts_delayed { sight.depth.delayed } else { 0 };
        let waiting = sight.depth.visible + delayed.saturating_sub(sight.depth.in_flight);
        saw_it || (waiting == 0 && self.believes(sight))
    }

    fn believes(&self, Sight { now, depth, .. }: &Sight) -> bool {
        let is_seen = 2 * (depth.visible + depth.in_flight) >= self.messages;
        self.sent_at.is_none_or(|at| is_seen || now.saturating_sub(at) >= limits::DISPATCH_BELIEF)
    }

    /// How many calls are to be sent.
    pub fn calls(&mut self, sight: &Sight) -> u64 {
        let lag = (sight.elapsed / 3).min(limits::DISPATCH_RATE_OVER);
        let wanted = self.in_time(limits::DISPATCH_AHEAD + sight.mean + lag, sight);
        let by_rate = wanted.saturating_sub(sight.out);
        if sight.out > 0 && !self.is_empty(sight) {
            return by_rate;
        }
        match self.sent_at.map(|at| sight.now.saturating_sub(at)) {
            Some(lasted) if lasted < limits::DISPATCH_LASTS_MIN => {
                self.ahead = (2 * self.ahead).min(limits::DISPATCH_CALLS_MAX);
            }
            Some(lasted) if lasted > limits::DISPATCH_LASTS_MAX => {
                self.ahead = (self.ahead / 2).max(self.ahead_min);
            }
            Some(_) | None => {}
        }
        by_rate.max(self.ahead)
    }

    /// How many calls are decided in this time, by the last minute. Notes what is decided now.
    pub fn in_time(&mut self, time: Duration, sight: &Sight) -> u64 {
        self.decided.push_back((sight.now, sight.decided));
        while let Some((at, _)) = self.decided.get(1)
            && sight.now.saturating_sub(*at) >= limits::DISPATCH_RATE_OVER
        {
            self.decided.pop_front();
        }
        let Some((since, before)) = self.decided.front() else { return 0 };
        let ms = limits::ms(sight.now.saturating_sub(*since)).max(1);
        let calls = u128::from(sight.decided.saturating_sub(*before)) * u128::from(limits::ms(time));
        u64::try_from(calls / u128::from(ms)).unwrap_or(u64::MAX)
    }

    pub fn sent(&mut self, now: Duration, messages: u64) {
        (self.sent_at, self.messages) = (Some(now), messages);
    }
}
