//! What varies: store, queue, executor, clock, randomness. Narrow object-safe traits whose methods carry the contract,
//! and decorators around them, one file each. Everything else is plain code.

pub mod body;
pub mod clock;
pub mod count;
pub mod executor;
pub mod fault;
pub mod heard;
pub mod queue;
pub mod retry;
pub mod rng;
pub mod store;
pub mod unreached;
pub mod webhook;

use std::sync::Arc;

pub use body::Body;
pub use clock::Clock;
pub use executor::Executor;
pub use heard::Heard;
pub use queue::{Queue, Queues};
pub use rng::{Rng, RngExt};
pub use store::{Store, StoreError, StoreExt};
pub use unreached::Unreached;
pub use webhook::Webhook;

use crate::event::Listener;
use crate::model::{Nonce, Time};

/// All that the engine is given.
#[derive(Clone)]
pub struct Seams {
    pub store: Arc<dyn Store>,
    pub queues: Queues,
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
    pub events: Arc<dyn Listener>,
}

impl Seams {
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    pub fn nonce(&self) -> Nonce {
        Nonce::new(self.rng.u64())
    }
}
