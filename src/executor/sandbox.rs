//! What an executor is made of: a launcher that starts sandboxes, and sandboxes that run one call at a time. The pool
//! on top of them is the same for Docker and child processes.

use async_trait::async_trait;

use crate::model::Version;
use crate::seam::executor::{Calls, Fault, Mismatch, Run, Work};

/// Starts sandboxes of one kind.
#[async_trait]
pub trait Launcher: Send + Sync {
    /// See [`crate::seam::Executor::suits`].
    fn suits(&self, version: &Version) -> Result<(), Mismatch>;

    /// Fetches what the version needs and starts a sandbox that is ready for a call (for `http-stream`: listening).
    /// What this takes never counts against the function's timeout.
    async fn start(&self, work: &Work) -> Result<Box<dyn Sandbox>, Fault>;

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
    async fn invoke(&mut self, work: &Work) -> Result<Run, Fault>;

    /// Runs one call after another until there is none or it cannot go on. Gives back a call that is another sandbox's:
    /// this one may take no more, or has gone before its function saw anything of the call.
    async fn invoke_many(&mut self, calls: &mut dyn Calls) -> Option<Work> {
        loop {
            let work = calls.next()?;
            if !self.is_reusable() {
                return Some(work);
            }
            match self.invoke(&work).await {
                Err(Fault::Function(_)) => return Some(work),
                run => calls.ended(run),
            }
        }
    }

    /// Whether another call may be run in it. False for the `default` format, after a timeout, after a broken answer.
    fn is_reusable(&self) -> bool;

    /// Removes it, with all its processes. Never fails: what cannot be removed now is left to the launcher's reaper.
    async fn stop(self: Box<Self>);
}
