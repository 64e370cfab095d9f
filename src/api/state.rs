//! What every handler is given.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use crate::limits;
use crate::seam::Seams;

/// What the API serves.
#[derive(Clone)]
pub struct State {
    pub seams: Seams,
    /// Told by `/version`.
    pub version: String,
}

#[derive(Clone)]
pub(super) struct Shared {
    pub seams: Seams,
    pub version: Arc<str>,
    /// Whoever takes in a payload holds one of these.
    pub payloads: Arc<Semaphore>,
    /// Turns true when the server stops: long waits end.
    pub stopped: watch::Receiver<bool>,
}

impl Shared {
    pub fn new(state: State, stopped: watch::Receiver<bool>) -> Shared {
        Shared {
            seams: state.seams,
            version: state.version.into(),
            payloads: Arc::new(Semaphore::new(limits::API_PAYLOADS_MAX)),
            stopped,
        }
    }
}
