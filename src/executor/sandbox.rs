//! What an executor is made of: a launcher that starts sandboxes, and sandboxes that run one call at a time. The pool
//! on top of them is the same for Docker and child processes.

use async_trait::async_trait;

use crate::model::Version;
use crate::seam::executor::{Calls, Execution, Fault, Invocation, Mismatch};

/// Why a worker without the process executor does not run an archive. How functions are executed is the worker's choice,
/// never the deployer's.
pub const CONTAINERS_ONLY: &str =
    "this worker runs containers only: start it with --executor process, or give --image";

/// Ends the reason of a worker without Docker for not running an image.
pub const NEEDS_DOCKER: &str = "needs a worker with Docker";

/// Starts sandboxes of one kind.
#[async_trait]
pub trait Launcher: Send + Sync {
    /// See [`crate::seam::Executor::suits`].
    fn suits(&self, version: &Version) -> Result<(), Mismatch>;

    /// Fetches what the version needs and starts a sandbox that is ready for a call (for `http-stream`: listening).
    /// What this takes never counts against the function's timeout.
    async fn start(&self, invocation: &Invocation) -> Result<Box<dyn Sandbox>, Fault>;

    /// See [`crate::seam::Executor::probe`].
    async fn probe(&self) -> Result<(), String>;

    /// Called last, when every sandbox was stopped or dropped: removes what they left.
    async fn close(&self) {}
}

/// A started container or process.
#[async_trait]
pub trait Sandbox: Send {
    /// Runs one call, within the version's timeout. Not to be polled again after it was dropped midway: the sandbox
    /// can then only be stopped.
    async fn invoke(&mut self, invocation: &Invocation) -> Result<Execution, Fault>;

    /// Runs one call after another until there is none or it cannot go on. Returns a call that another sandbox has to run:
    /// this one cannot be used any more, or ended before its function saw anything of the call.
    async fn invoke_many(&mut self, calls: &mut dyn Calls) -> Option<Invocation> {
        loop {
            let invocation = calls.next()?;
            if !self.is_reusable() {
                return Some(invocation);
            }
            match self.invoke(&invocation).await {
                Err(Fault::Function(_)) => return Some(invocation),
                execution => calls.ended(execution),
            }
        }
    }

    /// Whether another call may be run in it. False for the `default` format, after a timeout, after a broken answer.
    fn is_reusable(&self) -> bool;

    /// Removes it, with all its processes. Never fails: the launcher's reaper removes the rest later.
    async fn stop(self: Box<Self>);
}
