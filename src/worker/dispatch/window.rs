//! How much of a batch is on the queue: 10 to 40 s of work beside what runs. An empty queue tells that workers may be idle; the
//! rate at which calls are decided tells how much work lasts how long. Neither has to be right: counts decide amounts only.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits;
use crate::seam::queue::Depth;

/// What a supervisor sees when it looks at the queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observation {
    pub now: Duration,
    /// How long the supervisor is at work.
    pub elapsed: Duration,
    pub depth: Depth,
    /// The batch has limits.
    pub is_limited: bool,
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
    /// When they were last.
    filled_at: Option<Duration>,
    last_send: Option<LastSend>,
    /// When how many calls were decided.
    decided: VecDeque<(Duration, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct LastSend {
    at: Duration,
    /// Visible and in flight, once the queue's counts show half of it.
    shown_by: u64,
}

impl Window {
    pub fn new(first_calls: u64) -> Window {
        let ahead = (first_calls / 3).clamp(1, limits::DISPATCH_CALLS_MAX);
        Window { ahead_min: ahead, ahead, filled_at: None, last_send: None, decided: VecDeque::new() }
    }

    /// Whether workers may be idle. Of a batch with limits the counts do not tell: workers put back what they have no share for.
    pub fn is_empty(&self, seen: &Observation) -> bool {
        let saw_it = seen.empty_receive.is_some_and(|at| self.last_send.is_none_or(|sent| at > sent.at));
        !seen.is_limited && (saw_it || (seen.depth.visible == 0 && self.believes(seen)))
    }

    fn believes(&self, Observation { now, depth, .. }: &Observation) -> bool {
        self.last_send.is_none_or(|sent| {
            depth.visible + depth.in_flight >= sent.shown_by
                || now.saturating_sub(sent.at) >= limits::DISPATCH_BELIEF
        })
    }

    /// How many calls are to be sent.
    pub fn calls(&mut self, seen: &Observation) -> u64 {
        self.decided.push_back((seen.now, seen.decided));
        let lag = (seen.elapsed / 3).min(limits::DISPATCH_RATE_OVER);
        // A limit is shared out among workers that have something of the batch: there is to be enough for all of them.
        let ahead = if seen.is_limited { limits::DISPATCH_AHEAD_MAX } else { limits::DISPATCH_AHEAD };
        let wanted = self.in_time(ahead + 2 * seen.mean + lag, seen);
        let by_rate = wanted.saturating_sub(seen.out).min(limits::DISPATCH_CALLS_MAX);
        let since_send = seen.now.saturating_sub(self.last_send.map_or(Duration::ZERO, |sent| sent.at));
        let stands_still = wanted == 0 && since_send >= limits::DISPATCH_STANDSTILL;
        if seen.out > 0 && !stands_still && !self.is_empty(seen) {
            return by_rate;
        }
        match self.filled_at.map(|at| seen.now.saturating_sub(at)) {
            Some(lasted) if lasted < limits::DISPATCH_LASTS_MIN => self.ahead *= 2,
            Some(lasted) if lasted > limits::DISPATCH_LASTS_MAX => self.ahead /= 2,
            Some(_) | None => {}
        }
        let most =
            self.in_time(limits::DISPATCH_AHEAD_MAX, seen).clamp(self.ahead_min, limits::DISPATCH_CALLS_MAX);
        self.ahead = self.ahead.clamp(self.ahead_min, most);
        self.filled_at = Some(seen.now);
        by_rate.max(self.ahead)
    }

    /// How many calls are decided in this time, by the last minute.
    pub fn in_time(&mut self, time: Duration, seen: &Observation) -> u64 {
        while let Some((at, _)) = self.decided.get(1)
            && seen.now.saturating_sub(*at) >= limits::DISPATCH_RATE_OVER
        {
            self.decided.pop_front();
        }
        let Some((since, before)) = self.decided.front() else { return 0 };
        // What a batch had recorded when its supervisor began says nothing of when; nor does the first part after it.
        let shortest = if *before > 0 { limits::DISPATCH_LASTS_MIN } else { Duration::from_millis(1) };
        let ms = limits::ms(seen.now.saturating_sub(*since).max(shortest));
        let calls = u128::from(seen.decided.saturating_sub(*before)) * u128::from(limits::ms(time));
        u64::try_from(calls / u128::from(ms)).unwrap_or(u64::MAX)
    }

    /// So many messages were sent.
    pub fn sent(&mut self, messages: u64, seen: &Observation) {
        let shown_by = seen.depth.visible + seen.depth.in_flight + messages / 2;
        self.last_send = Some(LastSend { at: seen.now, shown_by });
    }
}
