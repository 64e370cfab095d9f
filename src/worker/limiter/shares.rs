//! How workers divide the limits of a batch. Each holds a share in one object that is changed by compare-and-swap; together
//! they never exceed the limits. A share that is not renewed for its term is over. Whoever waits for it measures the term
//! by its own clock, from when it first saw the share as it is; so no two clocks are compared.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::layout::control::Share;
use crate::limits;
use crate::model::{BatchLimits, Nonce};

/// Since when the shares of others stand still.
#[derive(Debug, Default)]
pub struct Watch {
    seen: BTreeMap<Nonce, (u64, Duration)>,
}

impl Watch {
    /// Leaves out the shares that are over.
    pub fn drop_lapsed(&mut self, shares: &mut Vec<Share>, now: Duration) {
        self.seen.retain(|holder, _| shares.iter().any(|share| share.holder == *holder));
        shares.retain(|share| {
            let (renewal, since) = self.seen.entry(share.holder).or_insert((share.renewal, now));
            if *renewal != share.renewal {
                (*renewal, *since) = (share.renewal, now);
            }
            now.saturating_sub(*since) < limits::SHARE_TERM
        });
    }
}

/// What a worker would like to have.
#[derive(Debug, Clone, Copy)]
pub struct Demand {
    pub calls: u32,
    pub per_hour: u64,
    /// Of this batch, on this worker. They count whatever the limits say.
    pub running: u32,
    /// Drawn anew each time.
    pub renewal: u64,
}

/// What a worker may do now. Without calls, or without starts, it may begin nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grant {
    pub calls: u32,
    pub per_hour: u64,
    /// Others could have more too.
    pub is_some_left: bool,
}

/// Puts a worker's share into the list, as large as the limits and the others' shares allow. A share that it has already and
/// that is too large now, because a limit was lowered, shrinks if those before it in the list take up the limit.
pub fn claim(
    shares: &mut Vec<Share>,
    bounds: &BatchLimits,
    holder: &Nonce,
    worker: &str,
    demand: Demand,
) -> Grant {
    let place = shares.iter().position(|share| share.holder == *holder);
    let before = &shares[..place.unwrap_or(shares.len())];
    let (calls_before, starts_before) = sums(before.iter());
    let (calls_of_others, starts_of_others) = sums(shares.iter().filter(|share| share.holder != *holder));
    let own = place.map(|place| shares[place].clone());
    let (own_calls, own_starts) = own.as_ref().map_or((0, 0), |own| (u64::from(own.calls), own.per_hour));

    let calls_max = bounds.concurrency_max.map_or(u64::MAX, u64::from);
    let kept = own_calls.min(calls_max.saturating_sub(calls_before));
    let calls = u64::from(demand.calls).min(kept.max(calls_max.saturating_sub(calls_of_others)));

    let starts_max = bounds.rate_max.map_or(u64::MAX, |rate| rate.per_hour);
    let kept = own_starts.min(starts_max.saturating_sub(starts_before));
    let per_hour = demand.per_hour.min(kept.max(starts_max.saturating_sub(starts_of_others)));

    let is_some_left = calls_max.saturating_sub(calls_of_others) > calls
        && (bounds.rate_max.is_none() || starts_max.saturating_sub(starts_of_others) > per_hour);
    let grant = match calls == 0 || per_hour == 0 || (place.is_none() && shares.len() >= limits::SHARES_MAX) {
        true => Grant::default(),
        false => Grant { calls: calls as u32, per_hour, is_some_left },
    };
    let share = Share {
        holder: *holder,
        worker: worker.to_owned(),
        renewal: demand.renewal,
        calls: grant.calls.max(demand.running),
        per_hour: if bounds.rate_max.is_some() { grant.per_hour } else { 0 },
    };
    match (place, share.calls) {
        (Some(place), 0) => drop(shares.remove(place)),
        (Some(place), _) => shares[place] = share,
        (None, 0) => {}
        (None, _) => shares.push(share),
    }
    grant
}

fn sums<'a>(shares: impl Iterator<Item = &'a Share>) -> (u64, u64) {
    shares.fold((0, 0), |(calls, starts), share| {
        (calls + u64::from(share.calls), starts.saturating_add(share.per_hour))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SHARE_TERM as TERM;
    use crate::model::Rate;

    fn at_most(calls: u32) -> BatchLimits {
        BatchLimits { concurrency_max: Some(calls), rate_max: None }
    }

    /// Another one each time.
    fn renewal() -> u64 {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }

    fn holder(number: u64) -> Nonce {
        Nonce::new(number)
    }

    fn take(shares: &mut Vec<Share>, limits: &BatchLimits, number: u64, calls: u32, running: u32) -> u32 {
        let demand = Demand { calls, per_hour: u64::MAX, running, renewal: renewal() };
        claim(shares, limits, &holder(number), "w", demand).calls
    }

    #[test]
    fn shares_never_exceed_the_limit() {
        let mut shares = Vec::new();
        let limits = at_most(6);
        assert_eq!(take(&mut shares, &limits, 1, 4, 0), 4);
        assert_eq!(take(&mut shares, &limits, 2, 4, 0), 2);
        assert_eq!(take(&mut shares, &limits, 3, 4, 0), 0);
        assert_eq!(shares.len(), 2, "who has nothing is not in the list");
        assert_eq!(take(&mut shares, &limits, 1, 4, 4), 4, "a renewal keeps what it has");
        // A limit is lowered: the first keeps what fits, the others end what runs.
        let limits = at_most(3);
        assert_eq!(take(&mut shares, &limits, 2, 4, 2), 0);
        assert_eq!(shares[1].calls, 2, "what runs counts");
        assert_eq!(take(&mut shares, &limits, 1, 4, 4), 3);
        assert_eq!(take(&mut shares, &limits, 2, 4, 0), 0);
        assert_eq!(shares.len(), 1);
        // It is raised.
        assert_eq!(take(&mut shares, &at_most(9), 2, 4, 0), 4);
    }

    #[test]
    fn starts_are_divided_like_calls() {
        let limits = BatchLimits { concurrency_max: None, rate_max: Some(Rate { per_hour: 100 }) };
        let mut shares = Vec::new();
        let demand = |per_hour| Demand { calls: 4, per_hour, running: 0, renewal: renewal() };
        assert_eq!(claim(&mut shares, &limits, &holder(1), "w", demand(u64::MAX)).per_hour, 100);
        assert_eq!(claim(&mut shares, &limits, &holder(2), "w", demand(u64::MAX)), Grant::default());
        let grant = claim(&mut shares, &limits, &holder(1), "w", demand(30));
        assert_eq!((grant.per_hour, grant.is_some_left), (30, true));
        assert_eq!(claim(&mut shares, &limits, &holder(2), "w", demand(u64::MAX)).per_hour, 70);
    }

    #[test]
    fn a_share_that_stands_still_is_over_and_one_that_is_renewed_is_not() {
        let mut shares = Vec::new();
        take(&mut shares, &at_most(6), 1, 2, 0);
        take(&mut shares, &at_most(6), 2, 2, 0);
        let mut watch = Watch::default();
        watch.drop_lapsed(&mut shares, Duration::ZERO);
        take(&mut shares, &at_most(6), 2, 2, 0);
        watch.drop_lapsed(&mut shares, TERM / 2);
        assert_eq!(shares.len(), 2);
        watch.drop_lapsed(&mut shares, TERM);
        assert_eq!(shares.iter().map(|share| &share.holder).collect::<Vec<_>>(), [&holder(2)]);
        watch.drop_lapsed(&mut shares, TERM / 2 + TERM);
        assert!(shares.is_empty());
    }

    #[test]
    fn a_share_that_was_given_up_and_claimed_again_is_another_one() {
        let (mut shares, mut watch) = (Vec::new(), Watch::default());
        take(&mut shares, &at_most(1), 1, 1, 0);
        watch.drop_lapsed(&mut shares, Duration::ZERO);
        shares.clear();
        take(&mut shares, &at_most(1), 1, 1, 0);
        watch.drop_lapsed(&mut shares, TERM);
        assert_eq!(shares.len(), 1, "it is a moment old");
    }
}
