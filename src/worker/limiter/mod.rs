//! Pause and limits of batches. A worker renews its share of a batch's limits while it has ranges of it in hand. The share of a
//! worker that was lost is free once another has seen it unchanged for a minute; a worker that is started in its place is another
//! one. What was begun before a limit was set does not count.
//!
//! Guaranteed: never more executions at once than the limit, nor more starts than the rate allows plus two for each worker.
//! Not guaranteed: a worker that stands still for longer than the term of its share while its functions go on; and a message
//! that a queue delivers twice is run twice, each time within the limits.

mod gate;
mod shares;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

pub use self::gate::{Admission, Gate, Permit, RangeClaim};
use self::shares::{Demand, Watch};
use crate::error::Result;
use crate::layout::control::Shares;
use crate::limits;
use crate::model::{BatchId, BatchLimits, BatchRef, Nonce};
use crate::seam::{Changed, Deps, RngExt as _};

/// Gates past this many are forgotten unless they are in use.
const GATES_MAX: usize = 1_000;

pub struct Limiter {
    deps: Deps,
    /// This worker's process.
    holder: OnceLock<Nonce>,
    worker: String,
    slots: u32,
    gates: Mutex<BTreeMap<BatchId, Arc<Gate>>>,
}

/// What holds for a batch now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Orders {
    pub paused: bool,
    pub limits: BatchLimits,
}

impl Limiter {
    pub fn new(deps: Deps, worker: String, slots: usize) -> Limiter {
        Limiter { deps, holder: OnceLock::new(), worker, slots: slots as u32, gates: Mutex::default() }
    }

    fn holder(&self) -> Nonce {
        *self.holder.get_or_init(|| self.deps.nonce())
    }

    pub fn gate(&self, batch: BatchId) -> Arc<Gate> {
        let mut gates = self.gates.lock().expect("no holder of this lock panics");
        if gates.len() >= GATES_MAX {
            gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        gates.entry(batch).or_insert_with(|| Gate::new(self.deps.clock.clone())).clone()
    }

    /// Brings the gate up to date: with what was asked of the batch, and with this worker's share of its limits.
    pub async fn update(&self, gate: &Gate, of: &BatchRef, orders: Orders) {
        gate.set_paused(orders.paused);
        if orders.limits.is_none() {
            return gate.unlimit();
        }
        if !gate.is_due(self.deps.clock.monotonic()) {
            return;
        }
        let mut watch = gate.renewing.lock().await;
        let now = self.deps.clock.monotonic();
        // Others may have renewed it meanwhile.
        if gate.is_due(now) && self.renew(gate, &mut watch, of, &orders.limits).await.is_err() {
            gate.renew_again_at(now + limits::SHARE_FAILED_PAUSE);
        }
    }

    /// This worker has left a range of the batch. If it was the last in hand, this worker's share is free for others.
    pub async fn leave(&self, of: &BatchRef) {
        let gate = self.gates.lock().expect("no holder of this lock panics").get(&of.batch).cloned();
        let Some(gate) = gate else { return };
        let _renewing = gate.renewing.lock().await;
        if !gate.give_up() {
            return;
        }
        let given_up = self.deps.change(of, |stored: Option<Shares>| {
            Ok(stored.map(|mut stored| {
                stored.shares.retain(|share| share.holder != self.holder());
                stored
            }))
        });
        // A share that nobody renews is over soon.
        let _ = given_up.await;
    }

    async fn renew(&self, gate: &Gate, watch: &mut Watch, of: &BatchRef, bounds: &BatchLimits) -> Result<()> {
        let clock = &*self.deps.clock;
        // When it was claimed, and what there was, at the last try.
        let mut claimed = None;
        let changed = self.deps.change(of, |stored: Option<Shares>| {
            let now = clock.monotonic();
            let mut shares = stored.map_or_else(Vec::new, |stored| stored.shares);
            let before = shares.clone();
            watch.drop_lapsed(&mut shares, now);
            let demand = Demand {
                calls: self.slots,
                per_hour: gate.starts_wanted(now),
                running: gate.running(),
                renewal: self.deps.rng.u64(),
            };
            let grant = shares::claim(&mut shares, bounds, &self.holder(), &self.worker, demand);
            claimed = Some((now, grant));
            Ok((shares != before).then(|| Shares { nonce: self.deps.nonce(), shares }))
        });
        let changed = changed.await?;
        let Some((at, grant)) = claimed.filter(|_| !matches!(changed, Changed::Contended)) else {
            gate.renew_again_at(clock.monotonic() + limits::SHARE_FAILED_PAUSE);
            return Ok(());
        };
        // So that many holders do not renew at once.
        let jitter = Duration::from_millis(self.deps.rng.below(limits::ms(limits::SHARE_RENEWAL_FIRST)));
        gate.grant(at, grant, bounds.rate_max.is_some(), jitter);
        if matches!(changed, Changed::Unchanged) {
            gate.renew_again_at(at + limits::SHARE_NOTHING_LEFT_PAUSE);
        }
        Ok(())
    }
}
