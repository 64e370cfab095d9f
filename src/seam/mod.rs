//! What varies: store, queue, executor, clock, randomness. Narrow object-safe traits whose methods carry the contract,
//! and decorators around them, one file each. Everything else is plain code.

pub mod body;
pub mod buckets;
pub mod clock;
pub mod count;
mod definition;
pub mod execution_log;
pub mod executor;
mod failure;
#[cfg(feature = "testing")]
pub mod fault;
pub mod queue;
pub mod retry;
pub mod rng;
pub mod secrets;
pub mod store;
mod store_ext;
pub mod webhook;

use std::sync::Arc;

pub use body::Body;
pub use buckets::Buckets;
pub use clock::Clock;
pub use definition::Changed;
pub use execution_log::ExecutionLog;
pub use executor::Executor;
pub use failure::{RequestError, RequestFailure, Unreached};
pub use queue::{Queue, Queues};
pub use rng::{Rng, RngExt};
pub use secrets::{SecretError, Secrets};
pub use store::{Created, Store, StoreError, StoreExt};
pub use webhook::Webhook;

use crate::event::Listener;
use crate::model::{Nonce, Time};

/// All that the engine is given.
#[derive(Clone)]
pub struct Deps {
    pub store: Arc<dyn Store>,
    pub queues: Queues,
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
    pub events: Arc<dyn Listener>,
}

impl Deps {
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    pub fn nonce(&self) -> Nonce {
        Nonce::new(self.rng.u64())
    }
}
