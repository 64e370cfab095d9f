//! Faults drawn from seeded randomness at given rates, which can be changed, and switched off, as it runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::{Fate, Fault, Faults, Operation, Request};
use crate::seam::rng::{Rng, RngExt as _};

/// How often each fault happens to a request that it makes sense for, in 10,000, and how far it goes at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    pub busy: u32,
    pub conflict: u32,
    pub lose_request: u32,
    pub lose_reply: u32,
    pub late: u32,
    pub late_max: Duration,
    pub lag: u32,
    pub lag_max: Duration,
    pub duplicate: u32,
    pub delay: u32,
    pub delay_max: Duration,
    pub reorder: u32,
    pub partial: u32,
    /// Drawn beside the others: a slow request may also be lost.
    pub slow: u32,
    pub slow_max: Duration,
}

impl Rates {
    /// A bad day: of twenty requests one is lost in some way, of twenty one is turned away, of ten one is slow.
    pub fn bad_day() -> Rates {
        Rates {
            busy: 400,
            conflict: 200,
            lose_request: 200,
            lose_reply: 200,
            late: 100,
            late_max: Duration::from_secs(90),
            lag: 0,
            lag_max: Duration::ZERO,
            duplicate: 200,
            delay: 200,
            delay_max: Duration::from_secs(5),
            reorder: 500,
            partial: 200,
            slow: 1_000,
            slow_max: Duration::from_secs(5),
        }
    }
}

pub struct SeededFaults {
    rng: Arc<dyn Rng>,
    state: Mutex<Injection>,
}

struct Injection {
    rates: Rates,
    injected: BTreeMap<&'static str, u64>,
}

impl SeededFaults {
    pub fn new(rng: Arc<dyn Rng>, rates: Rates) -> SeededFaults {
        SeededFaults { rng, state: Mutex::new(Injection { rates, injected: BTreeMap::new() }) }
    }

    pub fn set(&self, rates: Rates) {
        self.state().rates = rates;
    }

    /// No more faults. Requests that are late already still arrive.
    pub fn heal(&self) {
        self.set(Rates::default());
    }

    /// How many faults of each kind there were: a run that met none proves nothing.
    pub fn injected(&self) -> BTreeMap<&'static str, u64> {
        self.state().injected.clone()
    }

    fn state(&self) -> MutexGuard<'_, Injection> {
        self.state.lock().expect("no holder of this lock panics")
    }

    fn up_to(&self, max: Duration) -> Duration {
        Duration::from_micros(self.rng.below(max.as_micros() as u64 + 1))
    }

    fn draw(&self, rates: &Rates, operation: Operation) -> (&'static str, Fault) {
        use Operation::*;
        let writes = matches!(operation, Put | Delete | Send | Extend | DeleteMessage);
        let faults: [(&'static str, u32, bool, &dyn Fn() -> Fault); 10] = [
            ("busy", rates.busy, true, &|| Fault::Busy),
            ("conflict", rates.conflict, operation == Put, &|| Fault::Conflict),
            ("lose_request", rates.lose_request, true, &|| Fault::LoseRequest),
            ("lose_reply", rates.lose_reply, true, &|| Fault::LoseReply),
            ("late", rates.late, writes, &|| Fault::Late(self.up_to(rates.late_max))),
            ("lag", rates.lag, operation == List, &|| Fault::Lag(self.up_to(rates.lag_max))),
            ("duplicate", rates.duplicate, matches!(operation, Send | Receive), &|| Fault::Duplicate),
            ("delay", rates.delay, operation == Send, &|| Fault::Delay(self.up_to(rates.delay_max))),
            ("reorder", rates.reorder, operation == Receive, &|| Fault::Reorder),
            ("partial", rates.partial, matches!(operation, Send | DeleteMessage), &|| {
                Fault::Partial(self.rng.u64() as u16)
            }),
        ];
        let mut ticket = self.rng.below(10_000);
        for (kind, rate, _, fault) in faults.into_iter().filter(|(_, _, applies, _)| *applies) {
            if ticket < u64::from(rate) {
                return (kind, fault());
            }
            ticket -= u64::from(rate);
        }
        ("none", Fault::None)
    }
}

impl Faults for SeededFaults {
    fn fate(&self, request: &Request<'_>) -> Fate {
        let mut state = self.state();
        let rates = state.rates;
        if rates == Rates::default() {
            return Fate::default();
        }
        let (kind, fault) = self.draw(&rates, request.operation);
        let mut fate = Fate::of(fault);
        if fault != Fault::None {
            *state.injected.entry(kind).or_default() += 1;
        }
        if self.rng.below(10_000) < u64::from(rates.slow) {
            *state.injected.entry("slow").or_default() += 1;
            let whole = self.up_to(rates.slow_max);
            fate.before = self.up_to(whole);
            fate.after = whole - fate.before;
        }
        fate
    }
}
