//! What functions do in these tests: each execution, seen with its worker, call, attempt and time, comes to an act.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use afn::executor::scripted::Act;
use afn::model::CallId;
use afn::seam::executor::{Fault, Mismatch};

/// One execution, as the executor saw it begin.
#[derive(Debug, Clone)]
pub struct Execution {
    pub worker: String,
    pub call: CallId,
    /// In its batch; 0 for a single call.
    pub number: u64,
    /// `AFN_ATTEMPT`.
    pub attempt: u32,
    /// Since the world began.
    pub at: Duration,
    pub payload: String,
}

#[derive(Clone)]
pub struct Script(Arc<dyn Fn(&Execution) -> Act + Send + Sync>);

impl Script {
    pub fn new(acts: impl Fn(&Execution) -> Act + Send + Sync + 'static) -> Script {
        Script(Arc::new(acts))
    }

    /// All executions do the same.
    pub fn always(act: Act) -> Script {
        Script::new(move |_| act.clone())
    }

    /// The first executions of all workers together do this, one after another, and all later ones the last.
    pub fn in_turn(acts: impl Into<Vec<Act>>) -> Script {
        let (acts, next) = (acts.into(), AtomicUsize::new(0));
        Script::new(move |_| acts[next.fetch_add(1, Relaxed).min(acts.len() - 1)].clone())
    }

    pub fn act(&self, execution: &Execution) -> Act {
        (self.0)(execution)
    }
}

pub fn answers(takes: Duration) -> Act {
    Act::answer("done").takes(takes)
}

pub fn fails() -> Act {
    Act::error("exit code 3").takes(ms(100))
}

/// The worker finds out, once the call has begun, that it cannot run it.
pub fn mismatches() -> Act {
    Act::fault(Fault::Mismatch(Mismatch("the image has no linux/amd64".to_owned()))).takes(s(1))
}

/// The worker cannot run anything for a moment.
pub fn falls_sick() -> Act {
    Act::fault(Fault::Worker("docker is down".to_owned())).takes(s(1))
}

pub fn cannot_start() -> Act {
    Act::fault(Fault::Function("image not found: nosuch".to_owned())).takes(ms(100))
}

pub const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub const fn h(hours: u64) -> Duration {
    Duration::from_secs(3_600 * hours)
}
